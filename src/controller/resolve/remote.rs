//! Repositories of sources. The credential of a forge is requested when Git starts, so that it cannot expire while a build
//! waits in the queue.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::api::Reason;
use crate::error::Problem;
use crate::forge::{Forge, ForgeError, Moves, RepositoryPath};
use crate::model::{GitCredential, RefSpec};
use crate::redact::SafeUrl;
use crate::source::{Connection, CredentialSource, Fields, Git, GitRemote, ResolvedRef};

/// A repository, and how Git gets its URL and its credential.
#[derive(Clone, Debug)]
pub enum Remote {
    /// The spec and its Secret hold both.
    Fixed(GitRemote),
    /// A forge is asked for them.
    Forge(ForgeRemote),
}

/// A repository at a forge.
#[derive(Clone)]
pub struct ForgeRemote {
    /// The connection.
    pub forge: Arc<dyn Forge>,
    /// The repository as the spec names it.
    pub named: RepositoryPath,
    /// Where repositories of the connection are now.
    pub moves: Moves,
    /// Whether the credential is for this repository only. Otherwise submodules on the same connection get it too.
    pub only_own: bool,
    /// What identifies the connection for as long as it belongs to the same account: the cache of repositories knows it
    /// by this text.
    pub identity: String,
    /// Certificates in PEM form to trust in addition to the system's.
    pub ca: Option<Vec<u8>>,
    /// The forge's address, to bound the requests to one server.
    pub server: String,
    /// The fields that messages name.
    pub fields: Fields,
}

impl fmt::Debug for ForgeRemote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.named, self.server)
    }
}

impl Remote {
    /// The server that is asked: scheme, host and port, since a host may have several.
    pub fn server(&self) -> String {
        match self {
            Self::Forge(remote) => remote.server.clone(),
            Self::Fixed(remote) => {
                let url = remote.url.expose();
                let port = url.port_or_known_default().map(|port| format!(":{port}"));
                format!(
                    "{}://{}{}",
                    url.scheme(),
                    url.host_str().unwrap_or_default(),
                    port.unwrap_or_default()
                )
            }
        }
    }

    /// The fields that messages name.
    pub fn fields(&self) -> &Fields {
        match self {
            Self::Fixed(remote) => &remote.fields,
            Self::Forge(remote) => &remote.fields,
        }
    }

    /// The URL and a credential that is valid now.
    ///
    /// # Errors
    /// The forge does not give them.
    pub async fn open(&self) -> Result<GitRemote, Problem> {
        match self {
            Self::Fixed(remote) => Ok(remote.clone()),
            Self::Forge(remote) => remote.open().await,
        }
    }

    /// The commit that a ref names now. A forge's credential that the server refuses is requested again once: the one in
    /// the cache may have been revoked. A repository that was renamed is looked for under its present path.
    ///
    /// # Errors
    /// The server cannot be asked, or has no such ref.
    pub async fn resolve(&self, git: &Git, spec: &RefSpec) -> Result<ResolvedRef, Problem> {
        let problem = match self.resolve_once(git, spec).await {
            Err(problem) => problem,
            found => return found,
        };
        let Self::Forge(remote) = self else {
            return Err(problem);
        };
        let may_succeed = match problem.reason {
            Reason::GitAuthFailed => remote.forge.forget_credential(&remote.repository()),
            // Git follows no redirect, so that a credential is not sent elsewhere. The forge names the present path.
            Reason::GitRepositoryNotFound => remote.has_moved().await,
            _ => false,
        };
        if !may_succeed {
            return Err(problem);
        }
        self.resolve_once(git, spec).await
    }

    async fn resolve_once(&self, git: &Git, spec: &RefSpec) -> Result<ResolvedRef, Problem> {
        let remote = self.open().await?;
        let cancel = CancellationToken::new();
        let resolved = git.resolve(&remote, spec, &cancel).await;
        resolved.map_err(|error| Problem::of(&error))
    }
}

impl ForgeRemote {
    /// The repository under its present path.
    pub fn repository(&self) -> RepositoryPath {
        self.moves.present(&self.named)
    }

    /// Keeps the credential from submodules: the code names them, and its author may not be allowed to read them. The cache knows the
    /// repository under another text, so that it gives no repository that was fetched with the credential.
    pub fn restrict(&mut self) {
        self.only_own = true;
        self.identity.push_str(" without submodules");
    }

    /// Asks the forge for the present path of the repository. Returns whether it is another one than before.
    async fn has_moved(&self) -> bool {
        match self.forge.present_path(&self.named).await {
            Ok(present) => self.moves.learn(&self.named, &present),
            Err(error) => {
                tracing::debug!(repository = %self.named, %error, "the forge names no other path of the repository");
                false
            }
        }
    }

    async fn open(&self) -> Result<GitRemote, Problem> {
        let problem = |error| {
            let problem = Problem::of(&error);
            let message = format!("{}: {}", self.fields.url, problem.message);
            Problem::new(problem.class, problem.reason, message)
        };
        let repository = self.repository();
        let url = self.forge.clone_url(&repository).await.map_err(problem)?;
        let credential = self.forge.clone_credential(&repository).await;
        Ok(GitRemote {
            url,
            credential: credential.map_err(problem)?.value,
            ca: self.ca.clone(),
            fields: self.fields,
            connection: Some(Connection(Arc::new(self.clone()))),
        })
    }
}

#[async_trait]
impl CredentialSource for ForgeRemote {
    fn identity(&self) -> &str {
        &self.identity
    }

    async fn credential(&self, url: &SafeUrl) -> Result<Option<GitCredential>, Problem> {
        let Some(repository) = self.forge.repository_at(url) else {
            return Ok(None);
        };
        if self.only_own && repository != self.repository() {
            return Ok(None);
        }
        match self.forge.clone_credential(&repository).await {
            Ok(credential) => Ok(Some(credential.value)),
            Err(ForgeError::NotFound { .. }) => Ok(None),
            Err(error) => Err(Problem::of(&error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redact::SafeUrl;

    #[test]
    fn servers_of_one_host_are_told_apart_by_scheme_and_port() {
        let server = |url: &str| {
            let remote = GitRemote {
                url: SafeUrl::parse(url).unwrap(),
                credential: GitCredential::Anonymous,
                ca: None,
                fields: Fields::GIT,
                connection: None,
            };
            Remote::Fixed(remote).server()
        };
        assert_eq!(server("https://h.example/a"), server("https://h.example:443/b/c"));
        let others = [
            "https://h.example:8443/a",
            "ssh://git@h.example/a",
            "ssh://git@h.example:2222/a",
            "https://other.example/a",
        ];
        let mut all: Vec<_> = others.iter().map(|url| server(url)).collect();
        all.push(server("https://h.example/a"));
        all.sort();
        all.dedup();
        assert_eq!(all.len(), others.len() + 1, "{all:?}");
    }
}
