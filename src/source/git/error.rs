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
    #[error("read {field}: {why}")]
    UrlInvalid {
        /// The field that holds it.
        field: &'static str,
        /// What is wrong.
        why: &'static str,
    },
    /// Its transport is not allowed.
    #[error("use {url} of {field}: {why}")]
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
    #[error("read {field}: {name:?} is no name of a branch or tag")]
    RefInvalid {
        /// The field that holds it.
        field: String,
        /// The name.
        name: String,
    },
    /// The server refused the credential, or wants one.
    #[error("sign in at {url} with {field}: {said}")]
    AuthFailed {
        /// The field that names the credential.
        field: &'static str,
        /// The repository.
        url: SafeUrl,
        /// What Git said.
        said: String,
    },
    /// No known_hosts, and no opt-out.
    #[error("trust the host key of {url}: the Secret of {field} has no known_hosts")]
    HostKeyMissing {
        /// The field that names the Secret.
        field: &'static str,
        /// The repository.
        url: SafeUrl,
    },
    /// The host key is not the one that is known.
    #[error("trust the host key of {url}: {said}")]
    HostKeyUnknown {
        /// The field that names the Secret.
        field: &'static str,
        /// The repository.
        url: SafeUrl,
        /// What ssh said.
        said: String,
    },
    /// The repository is not there.
    #[error("find the repository {url} of {field}: {said}")]
    RepositoryNotFound {
        /// The field that names it.
        field: &'static str,
        /// The repository.
        url: SafeUrl,
        /// What Git said.
        said: String,
    },
    /// The server sends one elsewhere.
    #[error("read {url} of {field}: the server sends to another address, which a credential must not follow")]
    Redirected {
        /// The field that names it.
        field: &'static str,
        /// The repository.
        url: SafeUrl,
    },
    /// The branch, tag or commit is not there.
    #[error("find {what} of {field} in {url}{}", default_branch_part(.default_branch.as_deref()))]
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
    #[error(
        "read {field}: {id} is no commit but the id of an annotated tag, which names the commit {commit}"
    )]
    IsATag {
        /// The field that holds it.
        field: String,
        /// What it holds.
        id: String,
        /// What the tag names.
        commit: String,
    },
    /// A submodule's server requires a credential, and the source has no credential for it.
    #[error(
        "sign in at {url}: it wants a credential, and that of {field} is for {server} only, where the repository is"
    )]
    NoCredential {
        /// The field that names the credential.
        field: &'static str,
        /// The submodule's repository.
        url: SafeUrl,
        /// The server of the credential.
        server: String,
    },
    /// The server's certificate cannot be trusted.
    #[error("trust the certificate of {url}: {said}")]
    Tls {
        /// The field that names the Secret.
        field: &'static str,
        /// The repository.
        url: SafeUrl,
        /// What Git said.
        said: String,
    },
    /// There is no commit at all.
    #[error("find {what} of {field} in {url}: the repository is empty")]
    Empty {
        /// The field that names it.
        field: String,
        /// What, as `branch main`.
        what: String,
        /// The repository.
        url: SafeUrl,
    },
    /// The private key is invalid.
    #[error("read the private key of {field} for {url}: ssh finds no key in it")]
    KeyInvalid {
        /// The field that names the Secret.
        field: &'static str,
        /// The repository.
        url: SafeUrl,
    },
    /// No answer, or one that says to come back later.
    #[error("reach {url} of {field}: {said}")]
    Unreachable {
        /// The field that names it.
        field: &'static str,
        /// The repository.
        url: SafeUrl,
        /// What Git said.
        said: String,
    },
    /// The repository's content is refused: a broken or hostile object.
    #[error("accept the content of {url}: {said}")]
    Refused {
        /// The repository.
        url: SafeUrl,
        /// What Git said.
        said: String,
    },
    /// The content of Git LFS files cannot be had.
    #[error("fetch the Git LFS files of {url}: {why}")]
    Lfs {
        /// The repository.
        url: SafeUrl,
        /// What is wrong.
        why: String,
    },
    /// No tag matches.
    #[error("find a tag that matches {pattern:?} in {url}: {}", if *.tags == 0 { "it has no tags".to_owned() } else { format!("none of its {} tags does", .tags) })]
    NoMatchingTag {
        /// The pattern.
        pattern: String,
        /// The repository.
        url: SafeUrl,
        /// How many tags the repository has.
        tags: usize,
    },
    /// The pattern of tags is invalid.
    #[error("read spec.trigger.tagPattern {pattern:?}: {why}")]
    TagPatternInvalid {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        why: String,
    },
    /// The connection gives no credential.
    #[error("request a credential for {url}: {}", .problem.message)]
    Credential {
        /// The repository.
        url: SafeUrl,
        /// What the connection answered.
        problem: Problem,
    },
    /// A submodule failed.
    #[error("fetch submodule {path}")]
    Submodule {
        /// Where it is in the repository.
        path: String,
        /// Why.
        #[source]
        source: Box<SourceError>,
    },
    /// A submodule is not described so that it could be fetched.
    #[error("fetch submodule {path}: {why}")]
    SubmoduleInvalid {
        /// Where it is in the repository, or its name.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// No space.
    #[error("{doing}: no space left on the device")]
    DiskFull {
        /// What we tried.
        doing: String,
    },
    /// It was cancelled, and Git has ended.
    #[error("fetching the source was cancelled")]
    Cancelled,
    /// Git fails in a way that is not known.
    #[error("{doing}: {said}")]
    Failed {
        /// What we tried.
        doing: String,
        /// What Git said.
        said: String,
    },
    /// Git cannot be run.
    #[error("run git")]
    Program(#[source] ProcessError),
    /// The cache or the destination cannot be used.
    #[error("{doing}")]
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
            Self::UrlInvalid { .. } => "write https://host/path or ssh://user@host/path".to_owned(),
            Self::TransportForbidden { solution, .. } => (*solution).to_owned(),
            Self::RefInvalid { field, .. } => format!("set {field} to the name alone, without refs/heads/ or refs/tags/"),
            Self::AuthFailed { field, .. } => {
                format!("check the credential of {field}, and whether it may read the repository")
            }
            Self::HostKeyMissing { .. } => {
                "add known_hosts to it (ssh-keyscan prints the lines; compare them with what the server's owner publishes)".to_owned()
            }
            Self::HostKeyUnknown { field, .. } => {
                format!("put the server's present host key into known_hosts of the Secret of {field}, if its owner confirms the change")
            }
            Self::RepositoryNotFound { field, .. } => {
                format!("check {field}; a private repository also looks like this to who may not read it")
            }
            Self::Redirected { field, .. } => {
                format!("set {field} to the repository's present address; some servers want it to end in .git")
            }
            Self::IsATag { field, commit, .. } => format!("set {field} to {commit}"),
            Self::NoCredential { server, .. } => format!(
                "give the submodule a relative url on {server}, or one that everybody may read, or leave submodules out"
            ),
            Self::RefNotFound { field, .. } => format!("set {field} to one that is there, or push it"),
            Self::Tls { field, .. } => {
                format!("for a CA of one's own put its certificate as ca.crt into the Secret of {field}")
            }
            Self::DiskFull { .. } => {
                "free space on the disk of the data directory, or lower --git-cache; it is tried again".to_owned()
            }
            Self::Submodule { source, .. } => match source.as_ref() {
                Self::RefNotFound { .. } => {
                    "push that commit of it, or have the repository name one that is there".to_owned()
                }
                other => return other.hint(),
            },
            Self::Lfs { .. } => {
                "push the objects with git lfs push, or store the files in Git itself".to_owned()
            }
            Self::SubmoduleInvalid { .. } => "correct .gitmodules, or leave submodules out".to_owned(),
            Self::Refused { .. } => "repair the repository: git fsck shows what is wrong with it".to_owned(),
            Self::Program(ProcessError::Start { .. }) => "install git".to_owned(),
            Self::Empty { .. } => "push a commit".to_owned(),
            Self::KeyInvalid { .. } => {
                "put the whole private key file into ssh-privatekey, with its BEGIN and END lines".to_owned()
            }
            Self::Unreachable { field, .. } => {
                format!("check {field}, and whether its server can be reached from here; it is tried again")
            }
            Self::NoMatchingTag { .. } => {
                "push a tag that matches, or change spec.trigger.tagPattern; the tags are looked at again every spec.trigger.pollInterval".to_owned()
            }
            Self::TagPatternInvalid { .. } => {
                "write it like v* or release-[0-9]*, where * stands for any characters but /".to_owned()
            }
            Self::Cancelled
            | Self::Credential { .. }
            | Self::Failed { .. }
            | Self::Program(_)
            | Self::Io { .. } => return None,
        })
    }
}
