//! Gitea and Forgejo, over the API that both have: `/api/v1`.

mod checks;
mod pulls;

use async_trait::async_trait;
use http::Method;
use serde::Deserialize;
use serde_json::json;
use url::Url;

use super::api::{Api, Authorization, Reply, SignIn};
use super::call::{Call, at};
use super::client::credential;
use super::http::{HttpOptions, base_url};
use super::oauth::OAuth;
use super::pagination::{Collected, Cursor, PAGE_SIZE, Page, Paging, total};
use super::token_endpoint::{OAuthServer, TokenEndpoint};
use super::{
    Account, Forge, ForgeError, ForgeSecrets, Hook, PullRequests, Repository, RepositoryPath, WantedHook,
};
use crate::api::GiteaSpec;
use crate::model::{Check, CommitId, CommitStatus, Expiring, GitCredential};
use crate::redact::{SafeUrl, Secret};

/// The user name for Git. Gitea reads the token from the password, and this name marks it as one.
const TOKEN_USER: &str = "oauth2";

/// The OAuth server. To report statuses and to register webhooks needs the scope `write:repository`.
pub(super) const OAUTH: OAuthServer = OAuthServer {
    authorize: &["login", "oauth", "authorize"],
    token: &["login", "oauth", "access_token"],
    has_pkce: true,
    is_basic: false,
    scopes: "read:repository read:user",
};

/// A Gitea with one identity.
pub(super) struct Gitea {
    api: Api,
    base: Url,
    identity: Identity,
    most_pages: u32,
}

enum Identity {
    Token { auth: Authorization, token: Secret },
    OAuth(Box<OAuth>),
}

impl Gitea {
    /// The connection that a spec describes.
    pub fn new(spec: &GiteaSpec, secrets: &ForgeSecrets, options: &HttpOptions) -> Result<Self, ForgeError> {
        let base = base_url(&spec.url, options.allow_loopback_http)?;
        let api = Api::new("gitea", &spec.url, &base, secrets.ca.as_deref(), options)?;
        let identity = match &spec.oauth {
            Some(app) => {
                let sign_in = Api::new("gitea", &spec.url, &base, secrets.ca.as_deref(), options)?;
                let (secret, tokens) = (secrets.credential.as_ref(), secrets.tokens.as_ref());
                let endpoint = TokenEndpoint::new(sign_in, &OAUTH, &app.client_id, secret)?;
                Identity::OAuth(Box::new(OAuth::new(endpoint, tokens)?))
            }
            None => Identity::Token {
                auth: Authorization::scheme("token", credential(secrets)?)?,
                token: credential(secrets)?.trimmed(),
            },
        };
        Ok(Self {
            api: api.paging(Paging::LinksOrNumbers),
            base,
            identity,
            most_pages: options.most_pages,
        })
    }

    /// Asks for the version, which every Gitea and Forgejo reports: first without the token, so that a wrong URL never
    /// sees it, and with the token where the forge requires everybody to sign in.
    async fn recognise(&self) -> Result<(), ForgeError> {
        let call = Call::get("ask for the version", ["api", "v1", "version"]);
        let reply: Result<Reply<Version>, ForgeError> = match self.api.send(&call, None).await {
            Err(ForgeError::Auth { .. } | ForgeError::Forbidden { .. } | ForgeError::Scope { .. }) => {
                self.api.send(&call, Some(&self.auth().await?)).await
            }
            reply => reply,
        };
        match reply {
            Ok(Reply {
                body: Version { version: _ },
                ..
            }) => Ok(()),
            Err(ForgeError::NotFound { .. }) => Err(self.api.not_recognised("there is no /api/v1/version")),
            Err(error) => Err(error),
        }
    }

    fn list_repositories() -> Call {
        Call::get("list the repositories", ["api", "v1", "user", "repos"])
            .scope("read:repository")
            .what("the repositories")
    }
}

#[async_trait]
impl SignIn for Gitea {
    async fn auth(&self) -> Result<Authorization, ForgeError> {
        match &self.identity {
            Identity::Token { auth, .. } => Ok(auth.clone()),
            Identity::OAuth(app) => app.auth().await,
        }
    }
}

#[async_trait]
impl Forge for Gitea {
    async fn check(&self) -> Result<Account, ForgeError> {
        self.recognise().await?;
        let call = Call::get("read the account", ["api", "v1", "user"])
            .scope("read:user")
            .what("the account");
        let user: Reply<User> = self.api.send(&call, Some(&self.auth().await?)).await?;
        let first = at(&Self::list_repositories(), &Cursor::first(&[("limit", "1")]));
        let first: Reply<Option<Vec<Repo>>> = self.api.send(&first, Some(&self.auth().await?)).await?;
        let repositories = match total(&first.headers) {
            Some(total) => total,
            None => self.count_repositories().await?,
        };
        Ok(Account {
            name: user.body.login,
            repositories,
            more: false,
            expires_at: None,
        })
    }

    async fn repositories(&self, cursor: Option<&Cursor>) -> Result<Page<Repository>, ForgeError> {
        let first = Cursor::first(&[("limit", PAGE_SIZE)]);
        let cursor = cursor.unwrap_or(&first);
        let page: Page<Repo> = self
            .api
            .page(&Self::list_repositories(), cursor, &self.auth().await?)
            .await?;
        // The clone URL in the answer is made from the server's own idea of its address.
        page.try_map(|repo| repo.repository(&self.base))
    }

    async fn branches(
        &self,
        repository: &RepositoryPath,
        cursor: Option<&Cursor>,
    ) -> Result<Page<String>, ForgeError> {
        let (owner, name) = self.owner_and_name(repository)?;
        let call = Call::get(
            "list the branches",
            ["api", "v1", "repos", owner, name, "branches"],
        )
        .scope("read:repository")
        .what(format!("the repository {repository}"));
        let first = Cursor::first(&[("limit", PAGE_SIZE)]);
        let page: Page<Branch> = self
            .api
            .page(&call, cursor.unwrap_or(&first), &self.auth().await?)
            .await?;
        Ok(page.map(|branch| branch.name))
    }

    async fn clone_url(&self, repository: &RepositoryPath) -> Result<SafeUrl, ForgeError> {
        self.owner_and_name(repository)?;
        repository.clone_url(&self.base)
    }

    async fn present_path(&self, repository: &RepositoryPath) -> Result<RepositoryPath, ForgeError> {
        let (owner, name) = self.owner_and_name(repository)?;
        let what = format!("the repository {repository}");
        let call = Call::get("read the repository", ["api", "v1", "repos", owner, name])
            .scope("read:repository")
            .what(what.as_str());
        let found: Reply<Repo> = self.api.send(&call, Some(&self.auth().await?)).await?;
        RepositoryPath::parse(&found.body.full_name).ok_or_else(|| self.api.not_found(what))
    }

    fn repository_at(&self, url: &SafeUrl) -> Option<RepositoryPath> {
        RepositoryPath::at(&self.base, url)
    }

    async fn clone_credential(&self, _: &RepositoryPath) -> Result<Expiring<GitCredential>, ForgeError> {
        let token = match &self.identity {
            Identity::Token { token, .. } => Expiring::never(token.clone()),
            Identity::OAuth(app) => app.token().await?,
        };
        Ok(token.map(|password| GitCredential::Basic {
            username: TOKEN_USER.to_owned(),
            password,
        }))
    }

    async fn checks(&self, repository: &RepositoryPath, commit: &CommitId) -> Result<Vec<Check>, ForgeError> {
        self.read_checks(repository, commit).await
    }

    async fn report_status(
        &self,
        repository: &RepositoryPath,
        commit: &CommitId,
        status: &CommitStatus,
    ) -> Result<(), ForgeError> {
        self.report(repository, commit, status).await
    }

    fn pull_requests(&self) -> Option<&dyn PullRequests> {
        Some(self)
    }

    async fn hooks(&self, repository: &RepositoryPath) -> Result<Vec<Hook>, ForgeError> {
        let call = self.hook_call(Method::GET, "list the webhooks", repository, None)?;
        let first = Cursor::first(&[("limit", PAGE_SIZE)]);
        let all: Collected<RepositoryHook> = self.api.pages(&call, &first, self.most_pages, self).await?;
        let all = all.complete().ok_or_else(|| self.too_long(call.doing))?;
        Ok(all.into_iter().map(RepositoryHook::hook).collect())
    }

    async fn create_hook(
        &self,
        repository: &RepositoryPath,
        wanted: &WantedHook,
    ) -> Result<String, ForgeError> {
        let call = self
            .hook_call(Method::POST, "create a webhook", repository, None)?
            .json(json!({
                "type": "gitea",
                // A hook is inactive by default.
                "active": true,
                "events": if wanted.pull_requests { json!(["push", "pull_request"]) } else { json!(["push"]) },
                "branch_filter": "*",
                "config": {
                    "url": wanted.url,
                    "content_type": "json",
                    "secret": wanted.secret.expose_str().unwrap_or_default(),
                },
            }));
        let created: Reply<RepositoryHook> = self.api.send(&call, Some(&self.auth().await?)).await?;
        Ok(created.body.id.to_string())
    }

    /// An update ignores the secret, so a new hook takes the place of the old one.
    async fn update_hook(
        &self,
        repository: &RepositoryPath,
        id: &str,
        wanted: &WantedHook,
    ) -> Result<String, ForgeError> {
        let new = self.create_hook(repository, wanted).await?;
        self.delete_hook(repository, id).await?;
        Ok(new)
    }

    async fn delete_hook(&self, repository: &RepositoryPath, id: &str) -> Result<(), ForgeError> {
        let call = self.hook_call(Method::DELETE, "remove the webhook", repository, Some(id))?;
        self.api.gone(&call, &self.auth().await?).await
    }

    fn most_pages(&self) -> u32 {
        self.most_pages
    }

    fn too_long(&self, doing: &'static str) -> ForgeError {
        let message = format!("the list has more than {} pages", self.most_pages);
        self.api.other(doing, &message)
    }
}

impl Gitea {
    fn hook_call(
        &self,
        method: Method,
        doing: &'static str,
        repository: &RepositoryPath,
        id: Option<&str>,
    ) -> Result<Call, ForgeError> {
        let (owner, name) = self.owner_and_name(repository)?;
        let path = ["api", "v1", "repos", owner, name, "hooks"].into_iter().chain(id);
        let call = Call::new(method, doing, path).scope("write:repository");
        Ok(call.what(format!(
            "the repository {repository}, or the right to administer it"
        )))
    }

    fn owner_and_name<'r>(&self, repository: &'r RepositoryPath) -> Result<(&'r str, &'r str), ForgeError> {
        repository
            .owner_and_name()
            .ok_or_else(|| self.api.not_found(format!("the repository {repository}")))
    }
}

#[derive(Deserialize)]
struct Version {
    #[expect(dead_code, reason = "its presence tells a Gitea from other servers")]
    version: String,
}

#[derive(Deserialize)]
struct User {
    login: String,
}

#[derive(Deserialize)]
struct Repo {
    full_name: String,
    default_branch: Option<String>,
    #[serde(default)]
    private: bool,
    #[serde(default)]
    archived: bool,
    #[serde(default)]
    empty: bool,
}

impl Repo {
    fn repository(self, base: &Url) -> Option<Result<Repository, ForgeError>> {
        let path = RepositoryPath::parse(&self.full_name)?;
        Some(path.clone_url(base).map(|clone_url| {
            Repository {
                clone_url,
                default_branch: self
                    .default_branch
                    .filter(|branch| !self.empty && !branch.is_empty()),
                private: self.private,
                archived: self.archived,
                path,
            }
        }))
    }
}

#[derive(Deserialize)]
struct Branch {
    name: String,
}

#[derive(Deserialize)]
struct RepositoryHook {
    id: i64,
    #[serde(default)]
    active: bool,
    #[serde(default)]
    events: Vec<String>,
    #[serde(default)]
    branch_filter: String,
    #[serde(default)]
    config: HookConfig,
}

#[derive(Default, Deserialize)]
struct HookConfig {
    #[serde(default)]
    url: String,
    #[serde(default)]
    content_type: String,
}

impl RepositoryHook {
    fn hook(self) -> Hook {
        Hook {
            id: self.id.to_string(),
            pull_requests: self.events.iter().any(|event| event == "pull_request"),
            is_intact: self.active
                && self.events.iter().any(|event| event == "push")
                && matches!(self.branch_filter.as_str(), "" | "*")
                && self.config.content_type == "json",
            url: self.config.url,
        }
    }
}
