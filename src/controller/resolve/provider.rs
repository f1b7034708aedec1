//! The repository of a source that names a GitProvider.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::runtime::reflector::ObjectRef;
use kube::{Api, ResourceExt as _};

use crate::api::{
    AllowedFrom, Application, ConditionType, FromForge, GitProvider, Reason, Source, condition,
};
use crate::controller::dereference::Reader;
use crate::controller::problem::cluster_problem;
use crate::error::{Class, Problem};
use crate::forge::{self, RepositoryPath};
use crate::model::AppId;
use crate::source::Fields;

use super::Resolver;
use super::credentials::connection;
use super::remote::ForgeRemote;

impl Resolver {
    /// The repository of an Application at its forge.
    ///
    /// # Errors
    /// Its source is of another kind, or its GitProvider cannot be used.
    pub async fn repository(&self, id: &AppId, app: &Application) -> Result<ForgeRemote, Problem> {
        let found = app.spec.source.as_ref().and_then(Source::forge);
        let found = found.ok_or_else(|| {
            Problem::invalid("spec.previews needs a source of a GitProvider: use one, or leave previews out")
        })?;
        let (remote, _) = self.forge_remote(id, &found).await?;
        Ok(remote)
    }

    /// The repository of a source that names a GitProvider: only where that allows it, and only with its credential.
    pub(super) async fn forge_remote(
        &self,
        id: &AppId,
        found: &FromForge<'_>,
    ) -> Result<(ForgeRemote, String), Problem> {
        let namespace = found.provider.namespace.as_deref().unwrap_or(&id.namespace);
        let name = &found.provider.name;
        let reference = ObjectRef::<GitProvider>::new(name).within(namespace);
        let is_ready = |provider: &Arc<GitProvider>| {
            let status = provider.status.as_ref();
            status.is_some_and(|status| condition::is_true(&status.conditions, ConditionType::Ready))
        };
        let provider = if let Some(provider) = self.providers.get(&reference).filter(is_ready) {
            provider
        } else {
            // The cache may be behind the change that began this reconcile, or incomplete after a start.
            let api: Api<GitProvider> = Api::namespaced(self.client.clone(), namespace);
            let found = api.get_opt(name).await;
            let found = found.map_err(|error| cluster_problem("read the GitProvider", &error))?;
            Arc::new(found.ok_or_else(|| {
                let message = format!(
                    "spec.source names the GitProvider {namespace}/{name}, which is not there: create it"
                );
                Problem::new(Class::Terminal, Reason::ProviderNotFound, message)
            })?)
        };
        self.allowed(id, namespace, &provider).await?;
        if let Some((kind, _)) = forge::describe(&provider.spec)
            && kind != found.kind
        {
            let message = format!(
                "{} names the GitProvider {namespace}/{name}, which connects to {kind}: name one that connects to {}, or use spec.source.{kind}",
                found.provider_field, found.kind
            );
            return Err(Problem::new(Class::Terminal, Reason::InvalidSpec, message));
        }
        if provider.spec.suspend {
            let message = format!(
                "the GitProvider {namespace}/{name} is suspended, and nothing new is looked up through it: set spec.suspend there to false"
            );
            return Err(Problem::new(Class::Waiting, Reason::ProviderNotReady, message));
        }
        let status = provider.status.clone().unwrap_or_default();
        let ready = condition::find(&status.conditions, ConditionType::Ready);
        if ready.is_none_or(|ready| ready.status != "True") {
            let said = ready.map_or("it was not looked at yet", |ready| ready.message.as_str());
            let message = format!("the GitProvider {namespace}/{name} is not ready: {said}");
            // Where only the user can help the GitProvider, only the user can help this one.
            let class = if condition::is_true(&status.conditions, ConditionType::Stalled) {
                Class::Terminal
            } else {
                Class::Waiting
            };
            return Err(Problem::new(class, Reason::ProviderNotReady, message));
        }
        let reader = Reader::new(self.client.clone(), namespace);
        let (forge, ca, version) = connection(&self.tools.forges, &provider, &reader).await?;
        let path = RepositoryPath::parse(&found.repository).ok_or_else(|| {
            let message = format!(
                "{} is {:?}, which is not the path of a repository: write it as in the forge's address",
                found.repository_field, found.repository
            );
            Problem::new(Class::Terminal, Reason::InvalidSpec, message)
        })?;
        let url = forge::describe(&provider.spec).map_or("", |(_, url)| url);
        let remote = ForgeRemote {
            forge,
            named: path,
            only_own: false,
            moves: self.tools.forges.moves(&provider.uid().unwrap_or_default()),
            identity: format!(
                "{} {version} {}",
                provider.uid().unwrap_or_default(),
                status.account.as_deref().unwrap_or_default()
            ),
            ca,
            server: url.trim_end_matches('/').to_owned(),
            fields: Fields {
                url: found.repository_field,
                git_ref: found.ref_field,
                credential: found.provider_field,
                path: found.path_field,
            },
        };
        Ok((remote, version))
    }

    /// Checks that the namespace may use the connection. The error reveals nothing about the connection.
    async fn allowed(&self, id: &AppId, owner: &str, provider: &GitProvider) -> Result<(), Problem> {
        let rule = &provider.spec.allowed_namespaces;
        let decides = id.namespace != owner && rule.from == AllowedFrom::Selector;
        let labels = if decides {
            let api: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(self.client.clone());
            let found = api.get_metadata_opt(&id.namespace).await;
            let namespace = found.map_err(|error| cluster_problem("read the namespace", &error))?;
            namespace
                .map(|namespace| namespace.labels().clone())
                .unwrap_or_default()
        } else {
            BTreeMap::new()
        };
        let allowed = rule.allow(owner, &id.namespace, || rule.matches(&labels));
        if allowed {
            return Ok(());
        }
        let message = format!(
            "the GitProvider {owner}/{} does not allow namespace {} to use it: add it to spec.allowedNamespaces there",
            provider.name_any(),
            id.namespace
        );
        Err(Problem::new(Class::Terminal, Reason::AccessDenied, message))
    }
}
