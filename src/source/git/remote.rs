//! A Git repository as the specification names it: address, credential and the fields that messages name.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::error::Problem;
use crate::model::{CommitId, GitCredential, RefSpec};
use crate::redact::SafeUrl;

/// The fields of a spec that a message about a repository names, so that the user finds the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields {
    /// Where the address comes from.
    pub url: &'static str,
    /// Where the ref comes from.
    pub git_ref: &'static str,
    /// Where the credential comes from.
    pub credential: &'static str,
    /// Which directory is built.
    pub path: &'static str,
}

impl Fields {
    /// Those of a `git` source.
    pub const GIT: Self = Self {
        url: "spec.source.git.url",
        git_ref: "spec.source.git.ref",
        credential: "spec.source.git.secretRef",
        path: "spec.source.git.path",
    };

    /// Those of a submodule: what describes it is in the repository. Its credential is the parent's.
    pub(super) fn of_submodule(parent: &Self) -> Self {
        Self {
            url: "the submodule's url in .gitmodules",
            git_ref: "the submodule",
            ..*parent
        }
    }

    /// A field beneath that of the ref, where there is one.
    pub(super) fn in_ref(&self, name: &str) -> String {
        if self.git_ref.starts_with("spec.") {
            format!("{}.{name}", self.git_ref)
        } else {
            self.git_ref.to_owned()
        }
    }
}

/// The credentials of a connection to a server. A credential is requested when Git starts, and may be valid for one
/// repository and one hour only.
#[async_trait]
pub trait CredentialSource: Send + Sync {
    /// Returns the text that identifies the connection: it is the same for all its credentials, and another one for
    /// another account.
    fn identity(&self) -> &str;

    /// Requests the credential for the repository at `url`. `None` if the connection reaches no such repository.
    ///
    /// # Errors
    /// The server that hands out credentials does not.
    async fn credential(&self, url: &SafeUrl) -> Result<Option<GitCredential>, Problem>;
}

/// The connection that a repository is reached through.
#[derive(Clone)]
pub struct Connection(pub Arc<dyn CredentialSource>);

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connection")
    }
}

impl PartialEq for Connection {
    fn eq(&self, other: &Self) -> bool {
        self.0.identity() == other.0.identity()
    }
}

impl Eq for Connection {}

/// A repository and how to be let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitRemote {
    /// Where it is: https, ssh, or (with the development flag) file. It holds no credential itself.
    pub url: SafeUrl,
    /// The credential for the server.
    pub credential: GitCredential,
    /// Certificates in PEM form to trust in addition to the system's.
    pub ca: Option<Vec<u8>>,
    /// What messages name.
    pub fields: Fields,
    /// The connection that gave the credential; `None` if the credential is fixed. The cache knows the repository by it,
    /// and submodules get credentials of their own from it.
    pub connection: Option<Connection>,
}

/// A ref that was looked up at the remote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedRef {
    /// The commit that it names now.
    pub commit: CommitId,
    /// The ref that was asked for.
    pub spec: RefSpec,
    /// The tag, where the highest one was asked for.
    pub tag: Option<String>,
}
