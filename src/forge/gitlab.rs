//! GitLab.com and self-managed GitLab, with personal, project and group access tokens, or an OAuth application.

mod checks;
mod pulls;

use std::collections::HashMap;

use async_trait::async_trait;
use http::Method;
use http::header::CONTENT_TYPE;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::api::{Api, Authorization, Reply, SignIn};
use super::call::{Call, at};
use super::client::credential;
use super::http::{HttpOptions, base_url};
use super::oauth::OAuth;
use super::pagination::{Collected, Cursor, PAGE_SIZE, Page, total};
use super::refusal::is_page;
use super::token_endpoint::{OAuthServer, TokenEndpoint};
use super::{
    Account, Forge, ForgeError, ForgeSecrets, Hook, PullRequests, Repository, RepositoryPath, WantedHook,
};
use crate::api::GitLabSpec;
use crate::model::{Check, CommitId, CommitStatus, Expiring, GitCredential};
use crate::redact::{SafeUrl, Secret};

/// The user name for Git. GitLab accepts any with a token as the password.
const TOKEN_USER: &str = "oauth2";
/// Roles below Reporter cannot clone a private project.
const REPORTER: &str = "20";
/// GitLab leaves the length of longer lists out.
const COUNTED: u64 = 10_000;

/// The OAuth server. To report statuses and to register webhooks needs the scope `api`.
pub(super) const OAUTH: OAuthServer = OAuthServer {
    authorize: &["oauth", "authorize"],
    token: &["oauth", "token"],
    has_pkce: true,
    is_basic: false,
    scopes: "read_api read_repository",
};

/// A GitLab with one identity.
pub(super) struct GitLab {
    api: Api,
    base: Url,
    group: Option<String>,
    identity: Identity,
    most_pages: u32,
    /// The paths of projects that are named by their ID.
    paths: Mutex<HashMap<String, RepositoryPath>>,
}

enum Identity {
    Token { auth: Authorization, token: Secret },
    OAuth(Box<OAuth>),
}

impl GitLab {
    /// The connection that a spec describes.
    pub fn new(spec: &GitLabSpec, secrets: &ForgeSecrets, options: &HttpOptions) -> Result<Self, ForgeError> {
        let base = base_url(&spec.url, options.allow_loopback_http)?;
        let address = format!("{}/api/v4", base.as_str().trim_end_matches('/'));
        let identity = match &spec.oauth {
            Some(app) => {
                let sign_in = Api::new("gitlab", base.as_str(), &base, secrets.ca.as_deref(), options)?;
                let (secret, tokens) = (secrets.credential.as_ref(), secrets.tokens.as_ref());
                let endpoint = TokenEndpoint::new(sign_in, &OAUTH, &app.client_id, secret)?;
                Identity::OAuth(Box::new(OAuth::new(endpoint, tokens)?))
            }
            None => Identity::Token {
                auth: Authorization::private_token(credential(secrets)?)?,
                token: credential(secrets)?.trimmed(),
            },
        };
        Ok(Self {
            api: Api::new("gitlab", &address, &base, secrets.ca.as_deref(), options)?,
            base,
            group: spec.group.clone(),
            identity,
            most_pages: options.most_pages,
            paths: Mutex::default(),
        })
    }

    /// Checks that the server is a GitLab before it sees the token: without one, it refuses to name its version, in JSON.
    async fn recognise(&self) -> Result<(), ForgeError> {
        let call = Call::get("ask for the version", ["version"]);
        let (status, reply) = self.api.exchange(&call, None).await?;
        let json = reply
            .headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.starts_with("application/json"));
        let body: Option<Value> = serde_json::from_slice(&reply.body).ok().filter(|_| json);
        let has = |key: &str| body.as_ref().is_some_and(|body| body[key].is_string());
        match status.as_u16() {
            200 if has("version") => Ok(()),
            401 | 403 if has("message") || has("error") => Ok(()),
            500..=599 => Err(self.api.other(call.doing, &status.to_string())),
            _ if is_page(&reply.headers) => Err(self
                .api
                .not_recognised("a web page answers at /api/v4/version, where its API should")),
            _ => Err(self.api.not_recognised("no GitLab answers at /api/v4/version")),
        }
    }

    /// The expiry and the scopes of the token. A token may lack the scope to read them.
    async fn token_details(&self) -> Result<Option<TokenDetails>, ForgeError> {
        if matches!(self.identity, Identity::OAuth(_)) {
            return Ok(None);
        }
        let call = Call::get("read the token", ["personal_access_tokens", "self"]);
        let details: Result<Reply<TokenDetails>, ForgeError> =
            self.api.send(&call, Some(&self.auth().await?)).await;
        match details {
            Ok(details) => Ok(Some(details.body)),
            Err(ForgeError::NotFound { .. } | ForgeError::Forbidden { .. } | ForgeError::Scope { .. }) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The list of all projects, or of those of the group. Keyset pages have no end that depends on their number.
    fn list(&self) -> (Call, Cursor) {
        let doing = "list the projects";
        let call = match &self.group {
            Some(group) => Call::get(doing, ["groups", group, "projects"])
                .query("include_subgroups", "true")
                .what(format!("the group {group}")),
            None => Call::get(doing, ["projects"])
                .query("membership", "true")
                .what("the projects"),
        };
        let call = call
            .query("min_access_level", REPORTER)
            .query("simple", "true")
            .scope("read_api");
        let mut first = vec![("per_page", PAGE_SIZE), ("order_by", "id"), ("sort", "asc")];
        if self.group.is_none() {
            first.push(("pagination", "keyset"));
        }
        (call, Cursor::first(&first))
    }
}

#[async_trait]
impl SignIn for GitLab {
    async fn auth(&self) -> Result<Authorization, ForgeError> {
        match &self.identity {
            Identity::Token { auth, .. } => Ok(auth.clone()),
            Identity::OAuth(app) => app.auth().await,
        }
    }
}

impl GitLab {
    /// The path of a project that is named by a path or by its ID.
    async fn read_path(&self, repository: &RepositoryPath) -> Result<RepositoryPath, ForgeError> {
        let what = format!("the project {repository}");
        let call = Call::get(
            "read the project",
            ["projects".to_owned(), repository.to_string()],
        )
        .what(what.as_str())
        .scope("read_api");
        let found: Reply<Project> = self.api.send(&call, Some(&self.auth().await?)).await?;
        RepositoryPath::parse(&found.body.path_with_namespace).ok_or_else(|| self.api.not_found(what))
    }
}

#[async_trait]
impl Forge for GitLab {
    async fn check(&self) -> Result<Account, ForgeError> {
        self.recognise().await?;
        let details = self.token_details().await?;
        if let Some(scopes) = details.as_ref().and_then(|details| details.scopes.as_ref())
            && !scopes.is_empty()
        {
            let has = |scope: &str| scopes.iter().any(|held| held == scope || held == "api");
            for needed in ["read_api", "read_repository"] {
                if !has(needed) {
                    return Err(self.api.scope_missing("check the token", needed));
                }
            }
        }
        let call = Call::get("read the account", ["user"])
            .what("the account")
            .scope("read_api");
        let user: Reply<User> = self.api.send(&call, Some(&self.auth().await?)).await?;
        let (list, _) = self.list();
        let first = at(&list, &Cursor::first(&[("per_page", "1")]));
        let first: Result<Reply<Vec<Project>>, ForgeError> =
            self.api.send(&first, Some(&self.auth().await?)).await;
        let first = match (first, &self.group) {
            (Err(ForgeError::NotFound { .. }), Some(group)) => {
                let message =
                    format!("spec.gitlab.group {group:?} is no group that the token reaches: correct it");
                return Err(ForgeError::Spec { message });
            }
            (first, _) => first?,
        };
        let counted = total(&first.headers);
        Ok(Account {
            name: user.body.username,
            repositories: counted.unwrap_or(if first.body.is_empty() { 0 } else { COUNTED }),
            more: counted.is_none() && !first.body.is_empty(),
            expires_at: details.and_then(|details| details.expiry()),
        })
    }

    async fn repositories(&self, cursor: Option<&Cursor>) -> Result<Page<Repository>, ForgeError> {
        let (call, first) = self.list();
        let page: Page<Project> = self
            .api
            .page(&call, cursor.unwrap_or(&first), &self.auth().await?)
            .await?;
        page.try_map(|project| project.repository(&self.base))
    }

    async fn branches(
        &self,
        repository: &RepositoryPath,
        cursor: Option<&Cursor>,
    ) -> Result<Page<String>, ForgeError> {
        let path = repository.to_string();
        let call = Call::get(
            "list the branches",
            ["projects", path.as_str(), "repository", "branches"],
        )
        .what(format!("the project {path}"))
        .scope("read_api");
        let first = Cursor::first(&[("per_page", PAGE_SIZE)]);
        let page: Page<Branch> = self
            .api
            .page(&call, cursor.unwrap_or(&first), &self.auth().await?)
            .await?;
        Ok(page.map(|branch| branch.name))
    }

    async fn clone_url(&self, repository: &RepositoryPath) -> Result<SafeUrl, ForgeError> {
        let [id] = repository.segments() else {
            return repository.clone_url(&self.base);
        };
        let known = self.paths.lock().get(id).cloned();
        if let Some(path) = known {
            return path.clone_url(&self.base);
        }
        let path = self.read_path(repository).await?;
        self.paths.lock().insert(id.clone(), path.clone());
        path.clone_url(&self.base)
    }

    async fn present_path(&self, repository: &RepositoryPath) -> Result<RepositoryPath, ForgeError> {
        let path = self.read_path(repository).await?;
        if let [id] = repository.segments() {
            self.paths.lock().insert(id.clone(), path.clone());
        }
        Ok(path)
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
        let call = hook_call(Method::GET, "list the webhooks", repository, None);
        let first = Cursor::first(&[("per_page", PAGE_SIZE)]);
        let all: Collected<ProjectHook> = self.api.pages(&call, &first, self.most_pages, self).await?;
        let all = all.complete().ok_or_else(|| self.too_long(call.doing))?;
        Ok(all.into_iter().map(ProjectHook::hook).collect())
    }

    async fn create_hook(
        &self,
        repository: &RepositoryPath,
        wanted: &WantedHook,
    ) -> Result<String, ForgeError> {
        let call = hook_call(Method::POST, "create a webhook", repository, None);
        self.write_hook(call, repository, wanted).await
    }

    /// GitLab revives a hook that it disabled only when the hook is created anew.
    async fn update_hook(
        &self,
        repository: &RepositoryPath,
        id: &str,
        wanted: &WantedHook,
    ) -> Result<String, ForgeError> {
        let call = hook_call(Method::GET, "read the webhook", repository, Some(id));
        let found: Reply<ProjectHook> = self.api.send(&call, Some(&self.auth().await?)).await?;
        if found.body.is_disabled() {
            let new = self.create_hook(repository, wanted).await?;
            self.delete_hook(repository, id).await?;
            return Ok(new);
        }
        let call = hook_call(Method::PUT, "repair the webhook", repository, Some(id));
        self.write_hook(call, repository, wanted).await
    }

    async fn delete_hook(&self, repository: &RepositoryPath, id: &str) -> Result<(), ForgeError> {
        let call = hook_call(Method::DELETE, "remove the webhook", repository, Some(id));
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

impl GitLab {
    /// Writes everything, because GitLab drops the token of a hook whose URL changes. A secret that begins with `whsec_` is
    /// a signing token, which GitLab knows from version 19.0 on; an older one gets it as the plain token.
    async fn write_hook(
        &self,
        call: Call,
        repository: &RepositoryPath,
        wanted: &WantedHook,
    ) -> Result<String, ForgeError> {
        let secret = wanted.secret.expose_str().unwrap_or_default();
        let body = |field: &str| {
            json!({
                "url": wanted.url,
                "push_events": true,
                "tag_push_events": true,
                "merge_requests_events": wanted.pull_requests,
                "push_events_branch_filter": "",
                "enable_ssl_verification": true,
                field: secret,
            })
        };
        let signs = secret.starts_with("whsec_");
        let written = call
            .clone()
            .json(body(if signs { "signing_token" } else { "token" }));
        let written: Reply<ProjectHook> = self.api.send(&written, Some(&self.auth().await?)).await?;
        let id = written.body.id.to_string();
        if signs && written.body.signing_token_present != Some(true) {
            let call = hook_call(Method::PUT, call.doing, repository, Some(&id)).json(body("token"));
            let _: Reply<ProjectHook> = self.api.send(&call, Some(&self.auth().await?)).await?;
        }
        Ok(id)
    }
}

fn hook_call(method: Method, doing: &'static str, repository: &RepositoryPath, id: Option<&str>) -> Call {
    let project = repository.to_string();
    let path = ["projects", project.as_str(), "hooks"].into_iter().chain(id);
    Call::new(method, doing, path)
        .what(format!("the project {project}, or the role Maintainer in it"))
        .scope("api")
}

#[derive(Deserialize)]
struct ProjectHook {
    id: i64,
    #[serde(default)]
    url: String,
    #[serde(default)]
    push_events: bool,
    #[serde(default)]
    tag_push_events: bool,
    #[serde(default)]
    merge_requests_events: bool,
    #[serde(default)]
    push_events_branch_filter: Option<String>,
    #[serde(default)]
    enable_ssl_verification: bool,
    #[serde(default)]
    alert_status: Option<String>,
    #[serde(default)]
    signing_token_present: Option<bool>,
}

impl ProjectHook {
    fn is_disabled(&self) -> bool {
        self.alert_status.as_deref() == Some("disabled")
    }

    fn hook(self) -> Hook {
        Hook {
            id: self.id.to_string(),
            pull_requests: self.merge_requests_events,
            is_intact: self.push_events
                && self.tag_push_events
                && self.enable_ssl_verification
                && self
                    .push_events_branch_filter
                    .as_deref()
                    .unwrap_or_default()
                    .is_empty()
                && !self.is_disabled(),
            url: self.url,
        }
    }
}

#[derive(Deserialize)]
struct TokenDetails {
    scopes: Option<Vec<String>>,
    expires_at: Option<String>,
}

impl TokenDetails {
    /// The token ends at the beginning of the day in UTC.
    fn expiry(&self) -> Option<Timestamp> {
        let day: Date = self.expires_at.as_ref()?.parse().ok()?;
        Some(day.to_zoned(TimeZone::UTC).ok()?.timestamp())
    }
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Deserialize)]
struct Project {
    path_with_namespace: String,
    default_branch: Option<String>,
    visibility: Option<String>,
    #[serde(default)]
    archived: bool,
}

impl Project {
    fn repository(self, base: &Url) -> Option<Result<Repository, ForgeError>> {
        let path = RepositoryPath::parse(&self.path_with_namespace)?;
        Some(path.clone_url(base).map(|clone_url| Repository {
            clone_url,
            default_branch: self.default_branch,
            // The short form of a project leaves it out for tokens that are not an administrator's.
            private: self.visibility.as_deref() != Some("public"),
            archived: self.archived,
            path,
        }))
    }
}

#[derive(Deserialize)]
struct Branch {
    name: String,
}
