//! Reads the Secrets and ConfigMaps that a spec refers to.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Secret as KubeSecret};
use kube::{Api, Client};
use tokio::sync::Mutex;

use crate::api::{ApplicationSpec, EnvFrom, EnvVar, KeyRef, Reason, WebhookSecretRef};
use crate::error::{Class, Problem};
use crate::forge::webhook;
use crate::image::RegistryLogins;
use crate::plan::env_expansion::{self, Expanded, expand};
use crate::plan::values::Values;
use crate::plan::{Origins, ValueOrigin};
use crate::redact::{self, Secret};
use crate::source::docker_config_json::registry_logins;

use super::problem::cluster_problem;

/// The data of a Secret or ConfigMap, and the version it was read at.
#[derive(Debug)]
pub struct Data {
    /// Value by key.
    pub entries: BTreeMap<String, Secret>,
    /// The keys of a ConfigMap's `binaryData`.
    pub binary: BTreeSet<String>,
    /// Its resourceVersion.
    pub version: String,
}

/// Reads Secrets and ConfigMaps of one namespace, each once; lives for one pass.
pub struct Reader {
    client: Client,
    namespace: String,
    read: Mutex<Seen>,
}

/// The objects that were read; `None` if an object does not exist.
type Seen = HashMap<(Kind, String), Option<Arc<Data>>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Secret,
    ConfigMap,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
        }
    }

    fn origin(self, name: &str) -> ValueOrigin {
        match self {
            Self::Secret => ValueOrigin::Secret(name.to_owned()),
            Self::ConfigMap => ValueOrigin::ConfigMap(name.to_owned()),
        }
    }

    fn missing(self) -> Reason {
        match self {
            Self::Secret => Reason::SecretNotFound,
            Self::ConfigMap => Reason::ConfigMapNotFound,
        }
    }

    fn key_missing(self) -> Reason {
        match self {
            Self::Secret => Reason::SecretKeyMissing,
            Self::ConfigMap => Reason::ConfigMapKeyMissing,
        }
    }
}

impl Reader {
    /// A reader that has read nothing yet.
    pub fn new(client: Client, namespace: &str) -> Self {
        Self {
            client,
            namespace: namespace.to_owned(),
            read: Mutex::default(),
        }
    }

    /// The client that it reads with.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The Secret that `field` names.
    ///
    /// # Errors
    /// It is not there, or the API server does not answer.
    pub async fn secret(&self, name: &str, field: &str) -> Result<Arc<Data>, Problem> {
        self.object(Kind::Secret, name)
            .await?
            .ok_or_else(|| self.not_found(Kind::Secret, name, field))
    }

    /// The secret of a webhook that `field` names.
    ///
    /// # Errors
    /// It is missing or empty, or the API server does not answer.
    pub async fn webhook_secret(&self, reference: &WebhookSecretRef, field: &str) -> Result<Secret, Problem> {
        let key = KeyRef {
            name: reference.name.clone(),
            key: reference.key.clone(),
            optional: false,
        };
        let secret = self.key(Kind::Secret, &key, field).await?;
        let secret = secret.map_or_else(|| Secret::from(""), |secret| secret.trimmed());
        if secret.expose_str().is_none() || !webhook::is_usable(&secret) {
            let message = format!(
                "{field}: the key {:?} of the Secret {:?} is empty, not text, or a signing token without a key of 24 bytes: put a long random word into it",
                reference.key, reference.name
            );
            return Err(Problem::new(Class::Terminal, Reason::SecretInvalid, message));
        }
        Ok(secret)
    }

    fn not_found(&self, kind: Kind, name: &str, field: &str) -> Problem {
        let message = format!(
            "{field} names the {} {name:?}, which is not in namespace {}: create it",
            kind.name(),
            self.namespace
        );
        Problem::new(Class::Terminal, kind.missing(), message)
    }

    async fn object(&self, kind: Kind, name: &str) -> Result<Option<Arc<Data>>, Problem> {
        let mut read = self.read.lock().await;
        if let Some(known) = read.get(&(kind, name.to_owned())) {
            return Ok(known.clone());
        }
        let data = match kind {
            Kind::Secret => {
                let found: Option<KubeSecret> = self.get(name).await?;
                found.map(|secret| Data {
                    binary: BTreeSet::new(),
                    version: secret.metadata.resource_version.unwrap_or_default(),
                    entries: secret
                        .data
                        .into_iter()
                        .flatten()
                        .map(|(key, value)| (key, Secret::new(value.0)))
                        .collect(),
                })
            }
            Kind::ConfigMap => {
                let found: Option<ConfigMap> = self.get(name).await?;
                found.map(|map| {
                    let keys = map.binary_data.iter().flat_map(BTreeMap::keys).cloned().collect();
                    let text = map
                        .data
                        .into_iter()
                        .flatten()
                        .map(|(key, value)| (key, Secret::from(value)));
                    let binary = map
                        .binary_data
                        .into_iter()
                        .flatten()
                        .map(|(key, value)| (key, Secret::new(value.0)));
                    Data {
                        binary: keys,
                        version: map.metadata.resource_version.unwrap_or_default(),
                        entries: text.chain(binary).collect(),
                    }
                })
            }
        };
        let data = data.map(Arc::new);
        if kind == Kind::Secret {
            redact::log::hide(data.iter().flat_map(|data| data.entries.values()));
        }
        read.insert((kind, name.to_owned()), data.clone());
        Ok(data)
    }

    async fn get<K>(&self, name: &str) -> Result<Option<K>, Problem>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + serde::de::DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), &self.namespace);
        api.get_opt(name)
            .await
            .map_err(|error| cluster_problem("read what the spec refers to", &error))
    }

    async fn key(&self, kind: Kind, reference: &KeyRef, field: &str) -> Result<Option<Secret>, Problem> {
        let Some(data) = self.object(kind, &reference.name).await? else {
            if reference.optional {
                return Ok(None);
            }
            return Err(self.not_found(kind, &reference.name, field));
        };
        match data.entries.get(&reference.key) {
            Some(value) => Ok(Some(value.clone())),
            None if reference.optional => Ok(None),
            None => {
                let message = format!(
                    "{field} names the key {:?}, which the {} {:?} does not have: add it",
                    reference.key,
                    kind.name(),
                    reference.name
                );
                Err(Problem::new(Class::Terminal, kind.key_missing(), message))
            }
        }
    }

    /// Returns the value of a variable and whether it is confidential, or `None` if an optional reference is missing.
    async fn variable(&self, variable: &EnvVar, list: &str) -> Result<Option<(Secret, bool)>, Problem> {
        let field = |end: &str| format!("{list} {}: valueFrom.{end}", variable.name);
        let Some(from) = &variable.value_from else {
            return Ok(Some((
                Secret::from(variable.value.clone().unwrap_or_default()),
                false,
            )));
        };
        if let Some(reference) = &from.secret_key_ref {
            let value = self.key(Kind::Secret, reference, &field("secretKeyRef")).await?;
            return Ok(value.map(|value| (value, true)));
        }
        if let Some(reference) = &from.config_map_key_ref {
            let value = self
                .key(Kind::ConfigMap, reference, &field("configMapKeyRef"))
                .await?;
            return Ok(value.map(|value| (value, false)));
        }
        Ok(None)
    }

    async fn env_from(&self, source: &EnvFrom, into: &mut Environment) -> Result<(), Problem> {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        for (kind, reference) in [
            (Kind::Secret, &source.secret_ref),
            (Kind::ConfigMap, &source.config_map_ref),
        ] {
            let Some(reference) = reference else { continue };
            match self.object(kind, &reference.name).await? {
                Some(data) => {
                    // As in Kubernetes, only `data` becomes variables.
                    let entries = data.entries.iter().filter(|(key, _)| !data.binary.contains(*key));
                    for (key, value) in entries {
                        let name = format!("{prefix}{key}");
                        if !EnvVar::is_name(&name) {
                            into.skipped
                                .push(format!("{name:?} of {}", kind.origin(&reference.name)));
                            continue;
                        }
                        let origin = BTreeSet::from([kind.origin(&reference.name)]);
                        into.set(name, value.clone(), kind == Kind::Secret, origin);
                    }
                }
                None if reference.optional => {}
                None => return Err(self.not_found(kind, &reference.name, "spec.envFrom")),
            }
        }
        Ok(())
    }

    /// The credentials of the Secret that `field` names, each for a registry: one without would be sent to any registry that
    /// an image's name has.
    ///
    /// # Errors
    /// The Secret is missing, has no credentials, or does not name their registry.
    pub async fn registry_logins(&self, name: &str, field: &str) -> Result<RegistryLogins, Problem> {
        let data = self.secret(name, field).await?;
        let logins = registry_logins(name, &data.entries).map_err(|error| Problem::of(&error))?;
        if logins.names_none() {
            let message = format!(
                "{field}: the Secret {name:?} names no registry: create it with kubectl create secret docker-registry"
            );
            return Err(Problem::new(Class::Terminal, Reason::SecretInvalid, message));
        }
        // Within the Secret they are encoded.
        redact::log::hide(&logins.secrets());
        Ok(logins)
    }

    /// Every value that a spec refers to.
    ///
    /// # Errors
    /// The first reference that leads nowhere, with its field.
    pub async fn values(&self, spec: &ApplicationSpec) -> Result<Values, Problem> {
        let mut environment = Environment::default();
        for source in &spec.env_from {
            self.env_from(source, &mut environment).await?;
        }
        for variable in &spec.env {
            if variable.value_from.is_none() {
                environment.literal(variable)?;
            } else if let Some((value, confidential)) = self.variable(variable, "spec.env").await? {
                let origins = origin(variable).into_iter().collect();
                environment.set(variable.name.clone(), value, confidential, origins);
            }
        }
        let mut values = Values {
            env: environment.ordered,
            confidential: environment.confidential,
            origins: environment.origins,
            skipped: environment.skipped,
            ..Values::default()
        };
        let build = spec.build.clone().unwrap_or_default();
        for variable in &build.args {
            if let Some((value, confidential)) = self.variable(variable, "spec.build.args").await? {
                if confidential {
                    values.confidential.push(value.clone());
                }
                values.record_origin(format!("build.args.{}", variable.name), origin(variable));
                values.args.insert(variable.name.clone(), value);
            }
        }
        for variable in &build.secrets {
            if let Some((value, _)) = self.variable(variable, "spec.build.secrets").await? {
                values.confidential.push(value.clone());
                values.record_origin(format!("build.secrets.{}", variable.name), origin(variable));
                values.secrets.insert(variable.name.clone(), value);
            }
        }
        let push = spec
            .image
            .as_ref()
            .and_then(|image| image.push_secret_ref.as_ref());
        if let Some(reference) = push {
            // Read here too, so that a missing one is reported before anything is built.
            let logins = self
                .registry_logins(&reference.name, "spec.image.pushSecretRef")
                .await?;
            values.confidential.extend(logins.secrets());
        }
        if let Some(reference) = &build.pull_secret_ref {
            const FIELD: &str = "spec.build.pullSecretRef";
            values.registries = self.registry_logins(&reference.name, FIELD).await?;
            values.confidential.extend(values.registries.secrets());
        }
        for volume in &spec.volumes {
            for (kind, reference) in [
                (Kind::Secret, &volume.secret),
                (Kind::ConfigMap, &volume.config_map),
            ] {
                let Some(reference) = reference else { continue };
                let field = format!("spec.volumes {}", volume.name);
                let data = self
                    .object(kind, &reference.name)
                    .await?
                    .ok_or_else(|| self.not_found(kind, &reference.name, &field))?;
                if kind == Kind::Secret {
                    values.confidential.extend(data.entries.values().cloned());
                }
                values.record_origin(
                    format!("run.volumes.{}", volume.name),
                    Some(kind.origin(&reference.name)),
                );
                values.files.insert(volume.name.clone(), data.entries.clone());
            }
        }
        Ok(values)
    }
}

/// Which object a variable's value comes from.
fn origin(variable: &EnvVar) -> Option<ValueOrigin> {
    let from = variable.value_from.as_ref()?;
    let secret = from
        .secret_key_ref
        .as_ref()
        .map(|key| Kind::Secret.origin(&key.name));
    secret.or_else(|| {
        let map = from.config_map_key_ref.as_ref()?;
        Some(Kind::ConfigMap.origin(&map.name))
    })
}

/// Variables in the order in which they were first named; a later value replaces an earlier one.
#[derive(Default)]
struct Environment {
    ordered: Vec<(String, Secret)>,
    confidential: Vec<Secret>,
    /// The names of those that no log may show.
    hidden: BTreeSet<String>,
    origins: Origins,
    /// Keys that are not names, with the object that they are from.
    skipped: Vec<String>,
}

impl Environment {
    /// A variable that the spec gives itself, which may name those before it.
    fn literal(&mut self, variable: &EnvVar) -> Result<(), Problem> {
        let text = variable.value.as_deref().unwrap_or_default();
        let field = format!("spec.env {}", variable.name);
        let value_of = |name: &str| {
            let known = self.ordered.iter().find(|(known, _)| known == name);
            known.map(|(_, value)| value)
        };
        let Expanded { text, used } = expand(text, &field, value_of)?;
        let confidential = used.iter().any(|name| self.hidden.contains(name));
        let origin = env_expansion::origins(&used, &self.origins);
        self.set(variable.name.clone(), text, confidential, origin);
        Ok(())
    }

    fn set(&mut self, name: String, value: Secret, confidential: bool, origins: BTreeSet<ValueOrigin>) {
        let field = field_of(&name);
        if origins.is_empty() {
            self.origins.remove(&field);
        } else {
            self.origins.insert(field, origins);
        }
        if confidential {
            self.confidential.push(value.clone());
            self.hidden.insert(name.clone());
        } else {
            self.hidden.remove(&name);
        }
        match self.ordered.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => self.ordered.push((name, value)),
        }
    }
}

/// The field of a variable among the inputs.
fn field_of(name: &str) -> String {
    format!("run.env.{name}")
}
