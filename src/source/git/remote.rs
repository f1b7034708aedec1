//! A Git repository as the specification names it: address, credential and the fields that messages name.

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
}

/// A ref that was looked up at the remote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedRef {
    /// The commit that it names now.
    pub commit: CommitId,
    /// The ref that was asked for.
    pub spec: RefSpec,
}
