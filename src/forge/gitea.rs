//! Gitea and Forgejo, over the API that both speak: `/api/v1`.

use async_trait::async_trait;
use serde::Deserialize;

use super::headers::total;
use super::http::{Answer, Api, Ask, HttpOptions, beneath};
use super::{Account, Forge, ForgeError, ForgeSecrets, Repository};
use crate::api::GiteaSpec;
use crate::model::GitCredential;
use crate::redact::{SafeUrl, Secret};

/// How many entries of a list are asked for at once: the most that a Gitea gives unless it is told otherwise.
const PAGE: (&str, &str) = ("limit", "50");

/// The account's name towards Git: Gitea looks at the password when that is a token, and this name says so.
const TOKEN_USER: &str = "oauth2";

/// A Gitea with a token.
pub(super) struct Gitea {
    api: Api,
    token: Secret,
}

impl Gitea {
    /// From what the user wrote and the Secrets that it names.
    pub fn new(spec: &GiteaSpec, secrets: ForgeSecrets, options: &HttpOptions) -> Result<Self, ForgeError> {
        let token = secrets.token.ok_or_else(|| ForgeError::Secret {
            message: "there is no token".to_owned(),
        })?;
        let api = Api::new(
            "gitea",
            &spec.url,
            ("token", &token),
            secrets.ca.as_deref(),
            options,
        )?;
        Ok(Self {
            api,
            token: token.trimmed(),
        })
    }

    /// Asks for the version, which every Gitea and Forgejo tells: first as nobody, so that a wrong URL never sees the
    /// token, and with the token where the forge wants everybody to sign in.
    async fn recognise(&self) -> Result<(), ForgeError> {
        let ask = Ask {
            doing: "ask for the version",
            path: &["api", "v1", "version"],
            scope: "",
            what: "/api/v1/version",
        };
        let answer: Result<Answer<Version>, ForgeError> = match self.api.get_anonymously(&ask).await {
            Err(ForgeError::Auth { .. } | ForgeError::Forbidden { .. } | ForgeError::Scope { .. }) => {
                self.api.get(&ask, &[]).await
            }
            answer => answer,
        };
        match answer {
            Ok(Answer {
                body: Version { version: _ },
                ..
            }) => Ok(()),
            Err(ForgeError::NotFound { .. }) => Err(self.api.not_recognised("there is no /api/v1/version")),
            Err(error) => Err(error),
        }
    }

    fn ask_repositories() -> Ask<'static> {
        Ask {
            doing: "list the repositories",
            path: &["api", "v1", "user", "repos"],
            scope: "read:repository",
            what: "the repositories",
        }
    }
}

#[async_trait]
impl Forge for Gitea {
    async fn check(&self) -> Result<Account, ForgeError> {
        self.recognise().await?;
        let ask = Ask {
            doing: "ask whose token it is",
            path: &["api", "v1", "user"],
            scope: "read:user",
            what: "the account",
        };
        let user: Answer<User> = self.api.get(&ask, &[]).await?;
        let ask = Self::ask_repositories();
        let first: Answer<Option<Vec<Repo>>> = self.api.get(&ask, &[("limit", "1")]).await?;
        let repositories = match total(&first.headers) {
            Some(total) => total,
            None => self.api.pages::<Repo>(&ask, &[PAGE]).await?.len() as u64,
        };
        Ok(Account {
            name: user.body.login,
            repositories,
        })
    }

    async fn repositories(&self) -> Result<Vec<Repository>, ForgeError> {
        let repos: Vec<Repo> = self.api.pages(&Self::ask_repositories(), &[PAGE]).await?;
        repos
            .into_iter()
            .map(|repo| {
                let (owner, name) = repo.full_name.split_once('/').unwrap_or_default();
                Ok(Repository {
                    // Not the one in the answer: that is made from the server's own idea of its address.
                    clone_url: self.clone_url(owner, name)?,
                    default_branch: repo.default_branch.unwrap_or_default(),
                    private: repo.private,
                    full_name: repo.full_name,
                })
            })
            .collect()
    }

    async fn branches(&self, owner: &str, repository: &str) -> Result<Vec<String>, ForgeError> {
        let what = self.named(owner, repository)?;
        let ask = Ask {
            doing: "list the branches",
            path: &["api", "v1", "repos", owner, repository, "branches"],
            scope: "read:repository",
            what: &what,
        };
        let branches: Vec<Branch> = self.api.pages(&ask, &[PAGE]).await?;
        Ok(branches.into_iter().map(|branch| branch.name).collect())
    }

    fn clone_url(&self, owner: &str, repository: &str) -> Result<SafeUrl, ForgeError> {
        self.named(owner, repository)?;
        let repository = repository.strip_suffix(".git").unwrap_or(repository);
        let url = beneath(self.api.base(), &[owner, &format!("{repository}.git")]);
        SafeUrl::parse(url.as_str()).map_err(|error| ForgeError::Spec {
            message: error.to_string(),
        })
    }

    async fn clone_credential(&self) -> Result<GitCredential, ForgeError> {
        Ok(GitCredential::Basic {
            username: TOKEN_USER.to_owned(),
            password: self.token.clone(),
        })
    }
}

impl Gitea {
    /// How the repository is called in messages; an error for names that would climb out of the path.
    fn named(&self, owner: &str, repository: &str) -> Result<String, ForgeError> {
        let what = format!("the repository {owner}/{repository}");
        if [owner, repository]
            .iter()
            .any(|name| matches!(*name, "" | "." | ".."))
        {
            return Err(ForgeError::NotFound {
                what,
                url: self.api.shown().clone(),
            });
        }
        Ok(what)
    }
}

#[derive(Deserialize)]
struct Version {
    #[expect(
        dead_code,
        reason = "that it is there is what tells a Gitea from anything else"
    )]
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
}

#[derive(Deserialize)]
struct Branch {
    name: String,
}
