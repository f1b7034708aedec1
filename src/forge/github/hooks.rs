//! Hooks of repositories. An App needs the permission for webhooks, and uses a token that can do nothing else.

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{GitHub, Identity, first_page};
use crate::forge::api::{Authorization, Reply};
use crate::forge::call::Call;
use crate::forge::pagination::Collected;
use crate::forge::{Forge as _, ForgeError, Hook, RepositoryPath, WantedHook};

impl GitHub {
    pub(super) async fn list_hooks(&self, repository: &RepositoryPath) -> Result<Vec<Hook>, ForgeError> {
        let call = self.hook_call(Method::GET, "list the webhooks", repository, None)?;
        let auth = self.auth_for_hooks(repository).await?;
        let first = first_page();
        let all: Collected<RepositoryHook> = self.api.pages(&call, &first, self.most_pages, &auth).await?;
        let all = all.complete().ok_or_else(|| self.too_long(call.doing))?;
        Ok(all.into_iter().map(RepositoryHook::hook).collect())
    }

    /// Creates a hook, or makes an existing one what it should be. An update without the secret would remove it.
    pub(super) async fn write_hook(
        &self,
        repository: &RepositoryPath,
        id: Option<&str>,
        wanted: &WantedHook,
    ) -> Result<String, ForgeError> {
        let call = match id {
            None => self.hook_call(Method::POST, "create a webhook", repository, None)?,
            Some(_) => self.hook_call(Method::PATCH, "repair the webhook", repository, id)?,
        };
        let mut body = json!({
            "active": true,
            "events": if wanted.pull_requests {
                json!(["push", "pull_request", "pull_request_review"])
            } else {
                json!(["push"])
            },
            "config": {
                "url": wanted.url,
                "content_type": "json",
                "secret": wanted.secret.expose_str().unwrap_or_default(),
                "insecure_ssl": "0",
            },
        });
        if id.is_none() {
            body["name"] = json!("web");
        }
        let auth = self.auth_for_hooks(repository).await?;
        let written: Reply<RepositoryHook> = self.api.send(&call.json(body), Some(&auth)).await?;
        Ok(written.body.id.to_string())
    }

    pub(super) async fn remove_hook(&self, repository: &RepositoryPath, id: &str) -> Result<(), ForgeError> {
        let call = self.hook_call(Method::DELETE, "remove the webhook", repository, Some(id))?;
        self.api
            .gone(&call, &self.auth_for_hooks(repository).await?)
            .await
    }

    async fn auth_for_hooks(&self, repository: &RepositoryPath) -> Result<Authorization, ForgeError> {
        match &self.identity {
            Identity::Token { auth, .. } => Ok(auth.clone()),
            Identity::App(app) => app.hook_token(&self.api, repository).await,
        }
    }

    fn hook_call(
        &self,
        method: Method,
        doing: &'static str,
        repository: &RepositoryPath,
        id: Option<&str>,
    ) -> Result<Call, ForgeError> {
        let (owner, name) = self.owner_and_name(repository)?;
        let path = ["repos", owner, name, "hooks"].into_iter().chain(id);
        let call = Call::new(method, doing, path).scope("admin:repo_hook (classic) or Webhooks: write");
        Ok(call.what(format!(
            "the repository {repository}, or the right to administer it"
        )))
    }
}

#[derive(Deserialize)]
struct RepositoryHook {
    id: i64,
    #[serde(default)]
    active: bool,
    #[serde(default)]
    events: Vec<String>,
    #[serde(default)]
    config: HookConfig,
}

#[derive(Default, Deserialize)]
struct HookConfig {
    #[serde(default)]
    url: String,
    #[serde(default)]
    content_type: String,
    #[serde(default)]
    insecure_ssl: Value,
}

impl RepositoryHook {
    fn hook(self) -> Hook {
        let checks_certificates = self.config.insecure_ssl == "0" || self.config.insecure_ssl == 0;
        let events = self.events.iter().map(String::as_str);
        Hook {
            id: self.id.to_string(),
            pull_requests: events.clone().any(|event| event == "pull_request"),
            is_intact: self.active
                && { events }.any(|event| matches!(event, "push" | "*"))
                && self.config.content_type == "json"
                && checks_certificates,
            url: self.config.url,
        }
    }
}
