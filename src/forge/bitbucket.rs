//! Bitbucket Cloud, with an API token, an access token or an OAuth consumer.

mod checks;
mod pages;
mod pulls;

use async_trait::async_trait;
use http::Method;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::json;
use url::Url;

use super::api::{Api, Authorization, Reply};
use super::call::{Call, at};
use super::client::credential;
use super::http::{HttpOptions, base_url};
use super::oauth::OAuth;
use super::pagination::{Collected, Cursor, PAGE_SIZE, Page};
use super::token_endpoint::{OAuthServer, TokenEndpoint, lifetime, margin};
use super::{
    Account, Forge, ForgeError, ForgeSecrets, Hook, PullRequests, Repository, RepositoryPath, WantedHook,
};
use crate::api::BitbucketSpec;
use crate::model::{Check, CommitId, CommitStatus, Expiring, GitCredential};
use crate::redact::{SafeUrl, Secret};

/// The OAuth server. The scopes are fixed with the consumer.
pub(super) const OAUTH: OAuthServer = OAuthServer {
    authorize: &["site", "oauth2", "authorize"],
    token: &["site", "oauth2", "access_token"],
    has_pkce: false,
    is_basic: true,
    scopes: "",
};

/// The most characters of a webhook's secret.
const LONGEST_SECRET: usize = 128;

/// A workspace of Bitbucket Cloud with one identity.
pub(super) struct Bitbucket {
    api: Api,
    sign_in: Api,
    web: Url,
    workspace: String,
    identity: Identity,
    most_pages: u32,
}

enum Identity {
    /// Of an Atlassian account. REST wants its e-mail address, Git a fixed user name.
    ApiToken { auth: Authorization, token: Secret },
    /// Of a repository, a project or a workspace.
    AccessToken { auth: Authorization, token: Secret },
    /// Signs in as itself. The slot is held while a token is requested, so that concurrent builds share one request.
    Consumer {
        auth: Authorization,
        slot: tokio::sync::Mutex<Option<(Expiring<Secret>, SignedDuration)>>,
    },
    /// A user has authorised the consumer.
    User(Box<OAuth>),
}

impl Bitbucket {
    /// The connection that a spec describes.
    pub fn new(
        spec: &BitbucketSpec,
        secrets: &ForgeSecrets,
        options: &HttpOptions,
    ) -> Result<Self, ForgeError> {
        let secret = credential(secrets)?;
        let token = secret.trimmed();
        let web = base_url(&options.bitbucket_web, options.allow_loopback_http)?;
        let sign_in = || Api::new("bitbucket", &options.bitbucket_web, &web, None, options);
        let identity = if let Some(consumer) = &spec.oauth {
            if consumer.tokens_secret_ref.is_some() {
                let endpoint = TokenEndpoint::new(sign_in()?, &OAUTH, &consumer.client_id, Some(secret))?;
                Identity::User(Box::new(OAuth::new(endpoint, secrets.tokens.as_ref())?))
            } else {
                Identity::Consumer {
                    auth: Authorization::basic(&consumer.client_id, secret)?,
                    slot: tokio::sync::Mutex::default(),
                }
            }
        } else if let Some(email) = spec
            .email
            .as_ref()
            .filter(|_| spec.api_token_secret_ref.is_some())
        {
            let auth = Authorization::basic(email, secret)?;
            Identity::ApiToken { auth, token }
        } else {
            let auth = Authorization::scheme("Bearer", secret)?;
            Identity::AccessToken { auth, token }
        };
        let address = format!("{}/2.0", options.bitbucket_api.trim_end_matches('/'));
        Ok(Self {
            api: Api::new("bitbucket", &address, &web, None, options)?,
            sign_in: sign_in()?,
            web,
            workspace: spec.workspace.clone(),
            identity,
            most_pages: options.most_pages,
        })
    }

    /// The header for requests to the API.
    async fn auth(&self) -> Result<Authorization, ForgeError> {
        match &self.identity {
            Identity::ApiToken { auth, .. } | Identity::AccessToken { auth, .. } => Ok(auth.clone()),
            Identity::Consumer { .. } => Authorization::scheme("Bearer", &self.token().await?.value),
            Identity::User(app) => app.auth().await,
        }
    }

    /// The token itself: the one from before, or for a consumer a new one shortly before that expires.
    async fn token(&self) -> Result<Expiring<Secret>, ForgeError> {
        let (auth, slot) = match &self.identity {
            Identity::ApiToken { token, .. } | Identity::AccessToken { token, .. } => {
                return Ok(Expiring::never(token.clone()));
            }
            Identity::User(app) => return app.token().await,
            Identity::Consumer { auth, slot } => (auth, slot),
        };
        let mut slot = slot.lock().await;
        let now = Timestamp::now();
        if let Some((token, margin)) = slot.as_ref()
            && token.is_valid_for(*margin, now)
        {
            return Ok(token.clone());
        }
        let call = Call::post("sign in as the OAuth consumer", OAUTH.token.iter().copied())
            .form(vec![("grant_type", "client_credentials".to_owned())]);
        let reply: Result<Reply<Token>, ForgeError> = self.sign_in.send(&call, Some(auth)).await;
        let reply = match reply {
            // RFC 6749 allows 400 for a client that is unknown or whose secret is wrong.
            Err(ForgeError::Other { message, url, .. }) if message.starts_with("400") => {
                let message = Some(message);
                return Err(ForgeError::Auth { url, message });
            }
            reply => reply?,
        };
        let lifetime = lifetime(reply.body.expires_in);
        let token = Expiring {
            value: Secret::from(reply.body.access_token),
            expires_at: now.checked_add(lifetime).ok(),
        };
        *slot = Some((token.clone(), margin(lifetime)));
        Ok(token)
    }

    fn list(&self) -> Call {
        let call = Call::get("list the repositories", ["repositories", self.workspace.as_str()])
            .what(format!("the workspace {}", self.workspace))
            .scope("repository");
        match self.identity {
            // Without it, public repositories of the workspace that the account does not belong to are listed too.
            Identity::ApiToken { .. } | Identity::User(_) => call.query("role", "member"),
            Identity::AccessToken { .. } | Identity::Consumer { .. } => call,
        }
    }

    async fn account(&self, auth: &Authorization) -> Result<String, ForgeError> {
        if !matches!(self.identity, Identity::ApiToken { .. }) {
            return Ok(self.workspace.clone());
        }
        let call = Call::get("read the account", ["user"])
            .what("the account")
            .scope("read:user:bitbucket");
        let user: Reply<User> = self.api.send(&call, Some(auth)).await?;
        let User {
            username,
            nickname,
            display_name,
        } = user.body;
        let name = username.or(nickname).or(display_name);
        Ok(name.unwrap_or_else(|| self.workspace.clone()))
    }
}

#[async_trait]
impl Forge for Bitbucket {
    async fn check(&self) -> Result<Account, ForgeError> {
        let auth = self.auth().await?;
        let name = self.account(&auth).await?;
        let first = at(&self.list(), &Cursor::first(&[("pagelen", "1")]));
        let first: Reply<Listing<Repo>> = self.api.send(&first, Some(&auth)).await?;
        let repositories = match first.body.size {
            Some(size) => size,
            None => self.count_repositories().await?,
        };
        Ok(Account {
            name,
            repositories,
            more: false,
            expires_at: None,
        })
    }

    async fn repositories(&self, cursor: Option<&Cursor>) -> Result<Page<Repository>, ForgeError> {
        let first = Cursor::first(&[("pagelen", PAGE_SIZE)]);
        let cursor = cursor.unwrap_or(&first);
        let page: Page<Repo> = self.page(&self.list(), cursor).await?;
        page.try_map(|repo| repo.repository(&self.web))
    }

    async fn branches(
        &self,
        repository: &RepositoryPath,
        cursor: Option<&Cursor>,
    ) -> Result<Page<String>, ForgeError> {
        let (workspace, name) = self.workspace_and_name(repository)?;
        let call = Call::get(
            "list the branches",
            ["repositories", workspace, name, "refs", "branches"],
        )
        .what(format!("the repository {repository}"))
        .scope("repository");
        let first = Cursor::first(&[("pagelen", PAGE_SIZE)]);
        let page: Page<Branch> = self.page(&call, cursor.unwrap_or(&first)).await?;
        Ok(page.map(|branch| branch.name))
    }

    async fn clone_url(&self, repository: &RepositoryPath) -> Result<SafeUrl, ForgeError> {
        self.workspace_and_name(repository)?;
        repository.clone_url(&self.web)
    }

    async fn present_path(&self, repository: &RepositoryPath) -> Result<RepositoryPath, ForgeError> {
        let (workspace, name) = self.workspace_and_name(repository)?;
        let what = format!("the repository {repository}");
        let call = Call::get("read the repository", ["repositories", workspace, name])
            .scope("repository")
            .what(what.as_str());
        let found: Reply<Repo> = self.api.send(&call, Some(&self.auth().await?)).await?;
        RepositoryPath::parse(&found.body.full_name).ok_or_else(|| self.api.not_found(what))
    }

    fn repository_at(&self, url: &SafeUrl) -> Option<RepositoryPath> {
        RepositoryPath::at(&self.web, url)
    }

    async fn clone_credential(&self, _: &RepositoryPath) -> Result<Expiring<GitCredential>, ForgeError> {
        let token = self.token().await?;
        let username = match self.identity {
            Identity::ApiToken { .. } => "x-bitbucket-api-token-auth",
            Identity::AccessToken { .. } | Identity::Consumer { .. } | Identity::User(_) => "x-token-auth",
        };
        Ok(token.map(|password| GitCredential::Basic {
            username: username.to_owned(),
            password,
        }))
    }

    fn forget_credential(&self, _: &RepositoryPath) -> bool {
        match &self.identity {
            Identity::ApiToken { .. } | Identity::AccessToken { .. } | Identity::User(_) => false,
            // A token that is being requested is a new one.
            Identity::Consumer { slot, .. } => slot.try_lock().is_ok_and(|mut slot| slot.take().is_some()),
        }
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
        let all: Collected<RepositoryHook> = self.pages(&call, PAGE_SIZE, self.most_pages).await?;
        let all = all.complete().ok_or_else(|| self.too_long(call.doing))?;
        Ok(all.into_iter().map(RepositoryHook::hook).collect())
    }

    async fn create_hook(
        &self,
        repository: &RepositoryPath,
        wanted: &WantedHook,
    ) -> Result<String, ForgeError> {
        let call = self.hook_call(Method::POST, "create a webhook", repository, None)?;
        self.write_hook(call, wanted).await
    }

    async fn update_hook(
        &self,
        repository: &RepositoryPath,
        id: &str,
        wanted: &WantedHook,
    ) -> Result<String, ForgeError> {
        let call = self.hook_call(Method::PUT, "repair the webhook", repository, Some(id))?;
        self.write_hook(call, wanted).await
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

impl Bitbucket {
    fn hook_call(
        &self,
        method: Method,
        doing: &'static str,
        repository: &RepositoryPath,
        id: Option<&str>,
    ) -> Result<Call, ForgeError> {
        let (workspace, name) = self.workspace_and_name(repository)?;
        let path = ["repositories", workspace, name, "hooks"].into_iter().chain(id);
        let call = Call::new(method, doing, path).scope("webhook");
        Ok(call.what(format!(
            "the repository {repository}, or the right to administer it"
        )))
    }

    async fn write_hook(&self, call: Call, wanted: &WantedHook) -> Result<String, ForgeError> {
        let secret = wanted.secret.expose_str().unwrap_or_default();
        if secret.len() > LONGEST_SECRET {
            let message = format!(
                "the secret has more than the {LONGEST_SECRET} characters that Bitbucket accepts: put a shorter one into the Secret of webhook.secretRef"
            );
            return Err(self.api.other(call.doing, &message));
        }
        let call = call.json(json!({
            "description": "Davit",
            "url": wanted.url,
            "active": true,
            "secret": secret,
            "events": if wanted.pull_requests {
                json!([
                    "repo:push",
                    "pullrequest:created",
                    "pullrequest:updated",
                    "pullrequest:approved",
                    "pullrequest:unapproved",
                    "pullrequest:fulfilled",
                    "pullrequest:rejected",
                ])
            } else {
                json!(["repo:push"])
            },
        }));
        let written: Reply<RepositoryHook> = self.api.send(&call, Some(&self.auth().await?)).await?;
        Ok(written.body.uuid)
    }

    fn workspace_and_name<'r>(
        &self,
        repository: &'r RepositoryPath,
    ) -> Result<(&'r str, &'r str), ForgeError> {
        repository
            .owner_and_name()
            .ok_or_else(|| self.api.not_found(format!("the repository {repository}")))
    }
}

#[derive(Deserialize)]
struct Token {
    access_token: String,
    expires_in: Option<i64>,
}

#[derive(Deserialize)]
struct User {
    username: Option<String>,
    nickname: Option<String>,
    display_name: Option<String>,
}

#[derive(Deserialize)]
struct Listing<T> {
    #[serde(default = "Vec::new")]
    values: Vec<T>,
    next: Option<String>,
    size: Option<u64>,
}

#[derive(Deserialize)]
struct Repo {
    full_name: String,
    mainbranch: Option<Branch>,
    #[serde(default)]
    is_private: bool,
}

impl Repo {
    fn repository(self, web: &Url) -> Option<Result<Repository, ForgeError>> {
        let path = RepositoryPath::parse(&self.full_name)?;
        Some(path.clone_url(web).map(|clone_url| Repository {
            clone_url,
            default_branch: self.mainbranch.map(|branch| branch.name),
            private: self.is_private,
            archived: false,
            path,
        }))
    }
}

#[derive(Deserialize)]
struct Branch {
    name: String,
}

#[derive(Deserialize)]
struct RepositoryHook {
    /// In braces.
    uuid: String,
    #[serde(default)]
    url: String,
    #[serde(default)]
    active: bool,
    #[serde(default)]
    events: Vec<String>,
    #[serde(default)]
    secret_set: Option<bool>,
    #[serde(default)]
    skip_cert_verification: bool,
}

impl RepositoryHook {
    fn hook(self) -> Hook {
        Hook {
            id: self.uuid,
            pull_requests: self.events.iter().any(|event| event == "pullrequest:created"),
            is_intact: self.active
                && self.events.iter().any(|event| event == "repo:push")
                && self.secret_set != Some(false)
                && !self.skip_cert_verification,
            url: self.url,
        }
    }
}
