//! GitHub and GitHub Enterprise Server, with an App or a personal access token.

mod app;
mod checks;
mod hooks;
mod pulls;
mod purpose;

use async_trait::async_trait;
use http::header::{ACCEPT, HeaderMap};
use http::{HeaderName, HeaderValue};
use jiff::Timestamp;
use serde::Deserialize;
use url::Url;

use self::app::App;
use super::api::{Api, Authorization, Reply};
use super::call::{Call, at};
use super::client::credential;
use super::http::{HttpOptions, base_url};
use super::pagination::{Cursor, PAGE_SIZE, Page, Paging, last_page, next};
use super::refusal::is_page;
use super::{
    Account, Forge, ForgeError, ForgeSecrets, Hook, PullRequests, Repository, RepositoryPath, WantedHook,
};
use crate::api::GitHubSpec;
use crate::model::{Check, CommitId, CommitStatus, Expiring, GitCredential};
use crate::redact::{SafeUrl, Secret};

/// The user name for Git with any kind of token.
const TOKEN_USER: &str = "x-access-token";
/// The dialect of the API; every GitHub Enterprise Server that is supported speaks it.
const API_VERSION: &str = "2022-11-28";

/// A GitHub with one identity.
pub(super) struct GitHub {
    api: Api,
    web: Url,
    hosted: bool,
    identity: Identity,
    most_pages: u32,
}

enum Identity {
    Token { auth: Authorization, token: Secret },
    App(Box<App>),
}

impl GitHub {
    /// The connection that a spec describes.
    pub fn new(spec: &GitHubSpec, secrets: &ForgeSecrets, options: &HttpOptions) -> Result<Self, ForgeError> {
        let secret = credential(secrets)?;
        let web = base_url(&spec.url, options.allow_loopback_http)?;
        let identity = match &spec.app_id {
            Some(id) => Identity::App(Box::new(App::new(id.to_string(), secret, spec.installation_id)?)),
            None => Identity::Token {
                auth: Authorization::scheme("Bearer", secret)?,
                token: secret.trimmed(),
            },
        };
        let (address, hosted) = api_address(&web);
        let api = Api::new("github", &address, &web, secrets.ca.as_deref(), options)?
            .header(ACCEPT, HeaderValue::from_static("application/vnd.github+json"))
            .header(
                HeaderName::from_static("x-github-api-version"),
                HeaderValue::from_static(API_VERSION),
            );
        Ok(Self {
            api,
            web,
            hosted,
            identity,
            most_pages: options.most_pages,
        })
    }

    /// Checks that a server of one's own is a GitHub before it sees a credential.
    async fn recognise(&self) -> Result<(), ForgeError> {
        if self.hosted {
            return Ok(());
        }
        let call = Call::get("ask for the version", ["meta"]);
        let (_, reply) = self.api.exchange(&call, None).await?;
        let known = ["x-github-request-id", "x-github-enterprise-version"];
        if known.iter().any(|name| reply.headers.contains_key(*name)) {
            return Ok(());
        }
        Err(self.api.not_recognised(if is_page(&reply.headers) {
            "a web page answers at /api/v3/meta, where its API should"
        } else {
            "no GitHub answers at /api/v3/meta"
        }))
    }

    /// The credential for requests about one repository.
    async fn auth_for(&self, repository: &RepositoryPath) -> Result<Authorization, ForgeError> {
        match &self.identity {
            Identity::Token { auth, .. } => Ok(auth.clone()),
            Identity::App(app) => {
                let token = app.repository_token(&self.api, repository).await?;
                Authorization::scheme("Bearer", &token.value)
            }
        }
    }

    async fn check_token(&self, auth: &Authorization) -> Result<Account, ForgeError> {
        let call = Call::get("read the account", ["user"]).what("the account");
        let user: Reply<User> = self.api.send(&call, Some(auth)).await?;
        if let Some(scopes) = user.headers.get("x-oauth-scopes") {
            let scopes = scopes.to_str().unwrap_or_default();
            let reads = |scope: &str| matches!(scope.trim(), "repo" | "public_repo");
            if !scopes.split(',').any(reads) {
                return Err(self.api.scope_missing("check the token", "repo"));
            }
        }
        let first = at(&list_for_user(), &Cursor::first(&[("per_page", "1")]));
        let first: Reply<Vec<Repo>> = self.api.send(&first, Some(auth)).await?;
        let repositories = last_page(&first.headers).unwrap_or(first.body.len() as u64);
        Ok(Account {
            name: user.body.login,
            repositories,
            more: false,
            expires_at: expiry(&user.headers),
        })
    }

    async fn check_app(&self, app: &App) -> Result<Account, ForgeError> {
        let installations = app.usable_installations(&self.api).await?;
        let mut repositories = 0;
        for installation in &installations {
            let auth = app.listing_token(&self.api, installation.id).await?;
            let first = at(&list_for_installation(), &Cursor::first(&[("per_page", "1")]));
            let first: Reply<Wrapped> = self.api.send(&first, Some(&auth)).await?;
            repositories += first.body.total_count;
        }
        let mut names: Vec<_> = installations
            .iter()
            .take(3)
            .map(app::Installation::login)
            .collect();
        if installations.len() > names.len() {
            names.push("…".to_owned());
        }
        Ok(Account {
            name: names.join(", "),
            repositories,
            more: false,
            expires_at: None,
        })
    }

    /// One page of an installation; behind its last one follows the first of the next installation.
    async fn installation_page(&self, app: &App, cursor: &Cursor) -> Result<Page<Repository>, ForgeError> {
        let installations = app.installations(&self.api).await?;
        let Some(installation) = installations.get(cursor.part) else {
            return Ok(Page {
                items: Vec::new(),
                next: None,
                total: None,
            });
        };
        let auth = app.listing_token(&self.api, installation.id).await?;
        let reply: Reply<Wrapped> = self
            .api
            .send(&at(&list_for_installation(), cursor), Some(&auth))
            .await?;
        let total = reply.body.total_count;
        let length = reply.body.repositories.len();
        self.api.is_page(&list_for_installation(), length)?;
        let following = next(cursor, &reply.headers, length, Paging::Links)
            .filter(|next| next.seen < total)
            .or_else(|| {
                let part = cursor.part + 1;
                (part < installations.len()).then(|| Cursor { part, ..first_page() })
            });
        let page = Page {
            items: reply.body.repositories,
            next: following,
            total: (installations.len() == 1).then_some(total),
        };
        page.try_map(|repo| repo.repository(&self.web))
    }
}

#[async_trait]
impl Forge for GitHub {
    async fn check(&self) -> Result<Account, ForgeError> {
        self.recognise().await?;
        match &self.identity {
            Identity::Token { auth, .. } => self.check_token(auth).await,
            Identity::App(app) => self.check_app(app).await,
        }
    }

    async fn repositories(&self, cursor: Option<&Cursor>) -> Result<Page<Repository>, ForgeError> {
        let first = first_page();
        let cursor = cursor.unwrap_or(&first);
        match &self.identity {
            Identity::Token { auth, .. } => {
                let page: Page<Repo> = self.api.page(&list_for_user(), cursor, auth).await?;
                page.try_map(|repo| repo.repository(&self.web))
            }
            Identity::App(app) => self.installation_page(app, cursor).await,
        }
    }

    async fn branches(
        &self,
        repository: &RepositoryPath,
        cursor: Option<&Cursor>,
    ) -> Result<Page<String>, ForgeError> {
        let (owner, name) = self.owner_and_name(repository)?;
        let call = Call::get("list the branches", ["repos", owner, name, "branches"])
            .what(format!("the repository {repository}"))
            .scope("Contents: read");
        let first = first_page();
        let auth = self.auth_for(repository).await?;
        let page: Page<Branch> = self.api.page(&call, cursor.unwrap_or(&first), &auth).await?;
        Ok(page.map(|branch| branch.name))
    }

    async fn clone_url(&self, repository: &RepositoryPath) -> Result<SafeUrl, ForgeError> {
        self.owner_and_name(repository)?;
        repository.clone_url(&self.web)
    }

    async fn present_path(&self, repository: &RepositoryPath) -> Result<RepositoryPath, ForgeError> {
        let (owner, name) = self.owner_and_name(repository)?;
        let what = format!("the repository {repository}");
        let auth = match &self.identity {
            Identity::Token { auth, .. } => auth.clone(),
            // A token for one repository is refused under the old name.
            Identity::App(app) => {
                let all = app.installations(&self.api).await?;
                let of_owner = all.iter().find(|found| found.login().eq_ignore_ascii_case(owner));
                let installation = of_owner.ok_or_else(|| self.api.not_found(what.as_str()))?;
                app.listing_token(&self.api, installation.id).await?
            }
        };
        let call = Call::get("read the repository", ["repos", owner, name])
            .scope("Metadata: read")
            .what(what.as_str());
        let found: Reply<Repo> = self.api.send(&call, Some(&auth)).await?;
        RepositoryPath::parse(&found.body.full_name).ok_or_else(|| self.api.not_found(what))
    }

    fn repository_at(&self, url: &SafeUrl) -> Option<RepositoryPath> {
        RepositoryPath::at(&self.web, url)
    }

    async fn clone_credential(
        &self,
        repository: &RepositoryPath,
    ) -> Result<Expiring<GitCredential>, ForgeError> {
        let token = match &self.identity {
            Identity::Token { token, .. } => Expiring::never(token.clone()),
            Identity::App(app) => app.repository_token(&self.api, repository).await?,
        };
        Ok(token.map(|password| GitCredential::Basic {
            username: TOKEN_USER.to_owned(),
            password,
        }))
    }

    fn forget_credential(&self, repository: &RepositoryPath) -> bool {
        match &self.identity {
            Identity::Token { .. } => false,
            Identity::App(app) => app.forget(repository),
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
        self.list_hooks(repository).await
    }

    async fn create_hook(
        &self,
        repository: &RepositoryPath,
        wanted: &WantedHook,
    ) -> Result<String, ForgeError> {
        self.write_hook(repository, None, wanted).await
    }

    async fn update_hook(
        &self,
        repository: &RepositoryPath,
        id: &str,
        wanted: &WantedHook,
    ) -> Result<String, ForgeError> {
        self.write_hook(repository, Some(id), wanted).await
    }

    async fn delete_hook(&self, repository: &RepositoryPath, id: &str) -> Result<(), ForgeError> {
        self.remove_hook(repository, id).await
    }

    fn most_pages(&self) -> u32 {
        self.most_pages
    }

    fn too_long(&self, doing: &'static str) -> ForgeError {
        let message = format!("the list has more than {} pages", self.most_pages);
        self.api.other(doing, &message)
    }
}

impl GitHub {
    fn owner_and_name<'r>(&self, repository: &'r RepositoryPath) -> Result<(&'r str, &'r str), ForgeError> {
        repository
            .owner_and_name()
            .ok_or_else(|| self.api.not_found(format!("the repository {repository}")))
    }
}

/// The address of the API, and whether GitHub itself runs it.
pub(super) fn api_address(web: &Url) -> (String, bool) {
    match web.host_str().unwrap_or_default() {
        "github.com" | "www.github.com" => ("https://api.github.com".to_owned(), true),
        host if host.ends_with(".ghe.com") => (format!("https://api.{host}"), true),
        _ => (format!("{}/api/v3", web.as_str().trim_end_matches('/')), false),
    }
}

fn first_page() -> Cursor {
    Cursor::first(&[("per_page", PAGE_SIZE)])
}

fn list_for_user() -> Call {
    Call::get("list the repositories", ["user", "repos"])
        .query("affiliation", "owner,collaborator,organization_member")
        .what("the repositories")
        .scope("repo")
}

fn list_for_installation() -> Call {
    Call::get("list the repositories", ["installation", "repositories"])
        .what("the repositories")
        .scope("Metadata: read")
}

/// When the token expires: `2027-10-12 09:00:00 UTC`, or with a numeric offset.
fn expiry(headers: &HeaderMap) -> Option<Timestamp> {
    let text = headers
        .get("github-authentication-token-expiration")?
        .to_str()
        .ok()?;
    let text = text.replace(" UTC", " +0000");
    let time = jiff::fmt::strtime::parse("%Y-%m-%d %H:%M:%S %z", text.trim()).ok()?;
    time.to_timestamp().ok()
}

#[derive(Deserialize)]
struct User {
    login: String,
}

#[derive(Deserialize)]
struct Wrapped {
    total_count: u64,
    repositories: Vec<Repo>,
}

#[derive(Deserialize)]
struct Repo {
    full_name: String,
    default_branch: Option<String>,
    #[serde(default)]
    private: bool,
    #[serde(default)]
    archived: bool,
}

impl Repo {
    fn repository(self, web: &Url) -> Option<Result<Repository, ForgeError>> {
        let path = RepositoryPath::parse(&self.full_name)?;
        Some(path.clone_url(web).map(|clone_url| Repository {
            clone_url,
            default_branch: self.default_branch.filter(|branch| !branch.is_empty()),
            private: self.private,
            archived: self.archived,
            path,
        }))
    }
}

#[derive(Deserialize)]
struct Branch {
    name: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn api_address_follows_from_the_url_of_the_spec() {
        for (url, address) in [
            ("https://github.com", "https://api.github.com"),
            ("https://github.com/", "https://api.github.com"),
            ("https://acme.ghe.com", "https://api.acme.ghe.com"),
            ("https://git.example.com", "https://git.example.com/api/v3"),
            (
                "https://github.com.evil.example",
                "https://github.com.evil.example/api/v3",
            ),
        ] {
            assert_eq!(api_address(&base_url(url, false).unwrap()).0, address, "{url}");
        }
    }

    #[test]
    fn expiry_is_read_in_both_forms() {
        let read = |text: &'static str| {
            let name = HeaderName::from_static("github-authentication-token-expiration");
            expiry(&HeaderMap::from_iter([(name, HeaderValue::from_static(text))])).map(|at| at.to_string())
        };
        assert_eq!(
            read("2027-10-12 09:00:00 UTC").as_deref(),
            Some("2027-10-12T09:00:00Z")
        );
        assert_eq!(
            read("2027-10-12 09:00:00 -0700").as_deref(),
            Some("2027-10-12T16:00:00Z")
        );
        assert_eq!(read("soon"), None);
    }
}
