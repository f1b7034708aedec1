//! Why a source cannot be had.

use std::io;

use crate::api::Reason;
use crate::error::{Class, Explain, Problem};
use crate::process::ProcessError;
use crate::redact::SafeUrl;

/// Why a commit cannot be resolved or fetched. What Git said is in `said`, masked and short.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The URL is not one that can work.
    #[error("the URL of the repository is invalid: {why}")]
    UrlInvalid {
        /// The field that holds it.
        field: &'static str,
        /// What is wrong.
        why: &'static str,
    },
    /// Its transport is not allowed.
    #[error("{url} cannot be used: {why}")]
    TransportForbidden {
        /// The field that holds it.
        field: &'static str,
        /// The URL.
        url: String,
        /// What is wrong.
        why: &'static str,
        /// The way out.
        solution: &'static str,
    },
    /// A name that no ref can have.
    #[error("{name:?} is not a valid name of a branch or tag")]
    RefInvalid {
        /// The field that holds it.
        field: String,
        /// The name.
        name: String,
    },
    /// The server refused the credential, or wants one.
    #[error("access to {url} is denied: {said}")]
    AuthFailed {
        /// The field that names the credential.
        field: &'static str,
        /// The repository.
        url: SafeUrl,
        /// What Git said.
        said: String,
    },
    /// No known_hosts, and no opt-out.
    #[error("the host key of {url} cannot be checked, because the Secret has no known_hosts")]
    HostKeyMissing {
        /// The field that names the Secret.
        field: &'static str,
        /// The repository.
        url: SafeUrl,
    },
    /// The host key is not the one that is known.
    #[error("the host key of {url} is not the known one: {said}")]
    HostKeyUnknown {
        /// The field that names the Secret.
        field: &'static str,
        /// The repository.
        url: SafeUrl,
        /// What ssh said.
        said: String,
    },
    /// The repository is not there.
    #[error("repository {url} not found: {said}")]
    RepositoryNotFound {
        /// The field that names it.
        field: &'static str,
        /// The repository.
        url: SafeUrl,
        /// What Git said.
        said: String,
    },
    /// The server sends one elsewhere.
    #[error("{url} redirects to another address, and a credential is not sent there")]
    Redirected {
        /// The field that names it.
        field: &'static str,
        /// The repository.
        url: SafeUrl,
    },
    /// The branch, tag or commit is not there.
    #[error("{what} not found in {url}{}", default_branch_part(.default_branch.as_deref()))]
    RefNotFound {
        /// The field that names it.
        field: String,
        /// What, as `branch main`.
        what: String,
        /// The repository.
        url: SafeUrl,
        /// The default branch, where it was cheap to learn.
        default_branch: Option<String>,
    },
    /// What stands for a commit is the id of a tag.
    #[error("{id} is not a commit but an annotated tag, which points to commit {commit}")]
    IsATag {
        /// The field that holds it.
        field: String,
        /// What it holds.
        id: String,
        /// What the tag names.
        commit: String,
    },
    /// A submodule's server requires a credential, and the source has no credential for it.
    #[error("{url} requires a credential, and the credential of {field} is for {server} only")]
    NoCredential {
        /// The field that names the credential.
        field: &'static str,
        /// The submodule's repository.
        url: SafeUrl,
        /// The server of the credential.
        server: String,
    },
    /// The server's certificate cannot be trusted.
    #[error("the certificate of {url} is not trusted: {said}")]
    Tls {
        /// The field that names the Secret.
        field: &'static str,
        /// The repository.
        url: SafeUrl,
        /// What Git said.
        said: String,
    },
    /// There is no commit at all.
    #[error("{what} not found in {url}, because the repository is empty")]
    Empty {
        /// The field that names it.
        field: String,
        /// What, as `branch main`.
        what: String,
        /// The repository.
        url: SafeUrl,
    },
    /// The private key is invalid.
    #[error("the private key for {url} is invalid: ssh finds no key in it")]
    KeyInvalid {
        /// The field that names the Secret.
        field: &'static str,
        /// The repository.
        url: SafeUrl,
    },
    /// No answer, or one that says to come back later.
    #[error("{url} cannot be reached: {said}")]
    Unreachable {
        /// The field that names it.
        field: &'static str,
        /// The repository.
        url: SafeUrl,
        /// What Git said.
        said: String,
    },
    /// The repository's content is refused: a broken or hostile object.
    #[error("the content of {url} is refused: {said}")]
    Refused {
        /// The repository.
        url: SafeUrl,
        /// What Git said.
        said: String,
    },
    /// The content of Git LFS files cannot be had.
    #[error("the Git LFS files of {url} cannot be fetched: {why}")]
    Lfs {
        /// The repository.
        url: SafeUrl,
        /// What is wrong.
        why: String,
    },
    /// No tag matches.
    #[error("no tag of {url} matches {pattern:?}: {}", if *.tags == 0 { "it has no tags".to_owned() } else { format!("it has {} tags", .tags) })]
    NoMatchingTag {
        /// The pattern.
        pattern: String,
        /// The repository.
        url: SafeUrl,
        /// How many tags the repository has.
        tags: usize,
    },
    /// The pattern of tags is invalid.
    #[error("the pattern {pattern:?} is invalid: {why}")]
    TagPatternInvalid {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        why: String,
    },
    /// The connection gives no credential.
    #[error("no credential for {url}: {}", .problem.message)]
    Credential {
        /// The repository.
        url: SafeUrl,
        /// What the connection answered.
        problem: Problem,
    },
    /// A submodule failed.
    #[error("submodule {path} cannot be fetched")]
    Submodule {
        /// Where it is in the repository.
        path: String,
        /// Why.
        #[source]
        source: Box<SourceError>,
    },
    /// A submodule is not described so that it could be fetched.
    #[error("submodule {path} is invalid: {why}")]
    SubmoduleInvalid {
        /// Where it is in the repository, or its name.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// No space.
    #[error("cannot {doing}: no space left on the device")]
    DiskFull {
        /// What we tried.
        doing: String,
    },
    /// It was cancelled, and Git has ended.
    #[error("the fetch was cancelled")]
    Cancelled,
    /// Git fails in a way that is not known.
    #[error("cannot {doing}: {said}")]
    Failed {
        /// What we tried.
        doing: String,
        /// What Git said.
        said: String,
    },
    /// Git cannot be run.
    #[error("Git cannot be run")]
    Program(#[source] ProcessError),
    /// The cache or the destination cannot be used.
    #[error("cannot {doing}")]
    Io {
        /// What we tried.
        doing: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

fn default_branch_part(name: Option<&str>) -> String {
    name.map(|name| format!(" (its default branch is {name})"))
        .unwrap_or_default()
}

impl SourceError {
    /// A failure of the file system; a full disk has a reason of its own.
    pub(super) fn io(doing: impl Into<String>, source: io::Error) -> Self {
        let doing = doing.into();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { doing },
            _ => Self::Io { doing, source },
        }
    }

    /// True where a cache that is broken could be what is wrong.
    pub(super) fn may_be_the_cache(&self) -> bool {
        matches!(self, Self::Failed { .. } | Self::Refused { .. } | Self::Io { .. })
    }
}

impl Explain for SourceError {
    fn class(&self) -> Class {
        match self {
            Self::UrlInvalid { .. }
            | Self::TransportForbidden { .. }
            | Self::RefInvalid { .. }
            | Self::AuthFailed { .. }
            | Self::HostKeyMissing { .. }
            | Self::HostKeyUnknown { .. }
            | Self::RepositoryNotFound { .. }
            | Self::Redirected { .. }
            | Self::RefNotFound { .. }
            | Self::NoMatchingTag { .. }
            | Self::TagPatternInvalid { .. }
            | Self::IsATag { .. }
            | Self::NoCredential { .. }
            | Self::Empty { .. }
            | Self::KeyInvalid { .. }
            | Self::Tls { .. }
            | Self::Refused { .. }
            | Self::SubmoduleInvalid { .. }
            | Self::Lfs { .. }
            | Self::Cancelled => Class::Terminal,
            Self::Submodule { source, .. } => source.class(),
            Self::Credential { problem, .. } => problem.class,
            Self::Unreachable { .. }
            | Self::DiskFull { .. }
            | Self::Failed { .. }
            | Self::Program(_)
            | Self::Io { .. } => Class::Transient,
        }
    }

    fn reason(&self) -> Reason {
        match self {
            Self::UrlInvalid { .. } | Self::RefInvalid { .. } | Self::TagPatternInvalid { .. } => {
                Reason::InvalidSpec
            }
            Self::NoMatchingTag { .. } => Reason::NoMatchingTag,
            Self::TransportForbidden { .. } => Reason::GitTransportForbidden,
            Self::AuthFailed { .. } | Self::NoCredential { .. } => Reason::GitAuthFailed,
            Self::HostKeyMissing { .. } => Reason::GitHostKeyMissing,
            Self::HostKeyUnknown { .. } => Reason::GitHostKeyUnknown,
            Self::RepositoryNotFound { .. } | Self::Redirected { .. } => Reason::GitRepositoryNotFound,
            Self::RefNotFound { .. } | Self::IsATag { .. } | Self::Empty { .. } => Reason::GitRefNotFound,
            Self::KeyInvalid { .. } => Reason::SecretInvalid,
            Self::Tls { .. } => Reason::GitTlsFailed,
            Self::Unreachable { .. } => Reason::GitUnreachable,
            Self::SubmoduleInvalid { .. } => Reason::SubmoduleFailed,
            Self::Credential { problem, .. } => problem.reason,
            Self::Lfs { .. } => Reason::GitLfsFailed,
            // The user's disk and the user's wish are no fault of the submodule.
            Self::Submodule { source, .. } => match source.reason() {
                reason @ (Reason::DiskFull | Reason::Cancelled) => reason,
                _ => Reason::SubmoduleFailed,
            },
            Self::DiskFull { .. } => Reason::DiskFull,
            Self::Cancelled => Reason::Cancelled,
            Self::Refused { .. } | Self::Failed { .. } | Self::Program(_) => Reason::GitFailed,
            Self::Io { .. } => Reason::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::UrlInvalid { field, .. } => {
                format!("set {field} to https://host/path or ssh://user@host/path")
            }
            Self::TransportForbidden { field, solution, .. } => format!("set {field} to {solution}"),
            Self::RefInvalid { field, .. } => {
                format!("set {field} to the name alone, without refs/heads/ or refs/tags/")
            }
            Self::AuthFailed { field, .. } => {
                format!("check the credential of {field}, and whether it may read the repository")
            }
            Self::HostKeyMissing { field, .. } => format!(
                "add it to the Secret of {field} (ssh-keyscan prints the lines; compare them with what the server's owner publishes)"
            ),
            Self::HostKeyUnknown { field, .. } => format!(
                "put the server's present host key into known_hosts of the Secret of {field}, if its owner confirms the change"
            ),
            Self::RepositoryNotFound { field, .. } => format!(
                "correct {field}, or give the credential access: a server hides a private repository from a credential without access"
            ),
            Self::Redirected { field, .. } => format!(
                "set {field} to the repository's present address; some servers require that it ends in .git"
            ),
            Self::IsATag { field, commit, .. } => format!("set {field} to {commit}"),
            Self::NoCredential { server, .. } => format!(
                "give the submodule a relative URL on {server}, or a public URL, or set submodules to false"
            ),
            Self::RefNotFound { field, what, .. } => {
                let kind = what.split_once(' ').map_or("ref", |(kind, _)| kind);
                format!("set {field} to an existing {kind}, or push it")
            }
            Self::Tls { field, .. } => {
                format!("to trust your own CA, put its certificate as ca.crt into the Secret of {field}")
            }
            Self::DiskFull { .. } => {
                "free space on the disk of the data directory, or lower --git-cache; Davit tries again"
                    .to_owned()
            }
            Self::Submodule { source, .. } => match source.as_ref() {
                Self::RefNotFound { .. } => {
                    "push that commit to the submodule, or let the repository refer to an existing commit"
                        .to_owned()
                }
                other => return other.hint(),
            },
            Self::Lfs { .. } => {
                "push the objects with git lfs push, or store the files in Git itself".to_owned()
            }
            Self::SubmoduleInvalid { .. } => "correct .gitmodules, or set submodules to false".to_owned(),
            Self::Refused { .. } => "repair the repository: git fsck shows its errors".to_owned(),
            Self::Program(ProcessError::Start { .. }) => "install git".to_owned(),
            Self::Empty { .. } => "push a commit".to_owned(),
            Self::KeyInvalid { field, .. } => format!(
                "put the whole private key file, with its BEGIN and END lines, into ssh-privatekey of the Secret of {field}"
            ),
            Self::Unreachable { field, .. } => {
                format!("check {field}, and whether Davit can reach its server; Davit tries again")
            }
            Self::NoMatchingTag { .. } => {
                "push a tag that matches, or change spec.trigger.tagPattern; Davit tries again after spec.trigger.pollInterval".to_owned()
            }
            Self::TagPatternInvalid { .. } => {
                "set spec.trigger.tagPattern to a pattern such as v* or release-[0-9]*, where * stands for any characters except /".to_owned()
            }
            Self::Cancelled
            | Self::Credential { .. }
            | Self::Failed { .. }
            | Self::Program(_)
            | Self::Io { .. } => return None,
        })
    }
}
