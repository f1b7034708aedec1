//! Senders, events, and why a delivery is refused.

use std::fmt;

use http::HeaderMap;

use crate::api::ForgeKind;
use crate::forge::RepositoryPath;
use crate::model;

/// The largest body of a delivery that is read, in bytes.
pub const MAX_BODY: usize = 3 << 20;

/// The longest ID of a delivery that is kept, in bytes.
const LONGEST_ID: usize = 128;

/// The kind of program that sent a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// Gitea or Forgejo.
    Gitea,
    /// GitLab.
    GitLab,
    /// Bitbucket Cloud.
    Bitbucket,
    /// GitHub, or its container registry.
    GitHub,
    /// Docker Hub, a distribution registry, or a script.
    Other,
}

impl Sender {
    /// The sender by its headers. Gitea and Forgejo also send those of GitHub, so they come first.
    pub fn of(headers: &HeaderMap) -> Self {
        let has = |name: &str| headers.contains_key(name);
        if has("x-forgejo-event") || has("x-gitea-event") {
            Self::Gitea
        } else if has("x-gitlab-event") {
            Self::GitLab
        } else if has("x-event-key") {
            Self::Bitbucket
        } else if has("x-github-event") {
            Self::GitHub
        } else {
            Self::Other
        }
    }

    /// The event of GitHub, Gitea or Forgejo. A relay may pass on only the header of the forge itself.
    pub(super) fn event(self, headers: &HeaderMap) -> &str {
        let names: &[&str] = match self {
            Self::Gitea => &["x-forgejo-event", "x-gitea-event"],
            Self::GitHub => &["x-github-event"],
            Self::GitLab | Self::Bitbucket | Self::Other => &[],
        };
        let mut values = names.iter().filter_map(|name| headers.get(*name)?.to_str().ok());
        values.next().unwrap_or_default()
    }

    /// True if a connection of this kind may send it.
    pub fn belongs_to(self, kind: ForgeKind<'_>) -> bool {
        match kind {
            ForgeKind::GitHub(_) => self == Self::GitHub,
            ForgeKind::GitLab(_) => self == Self::GitLab,
            ForgeKind::Bitbucket(_) => self == Self::Bitbucket,
            ForgeKind::Gitea(_) => self == Self::Gitea,
        }
    }

    /// The ID that the sender gave to a delivery; a repeated delivery has the same one.
    pub fn delivery_id(self, headers: &HeaderMap) -> Option<String> {
        let names: &[&str] = match self {
            Self::Gitea => &["x-forgejo-delivery", "x-gitea-delivery"],
            Self::GitLab => &["idempotency-key", "webhook-id", "x-gitlab-event-uuid"],
            Self::Bitbucket => &["x-request-uuid"],
            Self::GitHub => &["x-github-delivery"],
            Self::Other => &[],
        };
        let text = |name: &&str| headers.get(*name)?.to_str().ok().filter(|text| !text.is_empty());
        let id = names.iter().find_map(text)?;
        (id.len() <= LONGEST_ID).then(|| id.to_owned())
    }

    /// True if a delivery only asks whether it arrives.
    pub fn is_ping(self, headers: &HeaderMap) -> bool {
        let is = |name: &str, value: &str| headers.get(name).is_some_and(|found| found == value);
        match self {
            Self::GitHub => is("x-github-event", "ping"),
            Self::Bitbucket => is("x-event-key", "diagnostics:ping"),
            Self::Gitea | Self::GitLab | Self::Other => false,
        }
    }
}

/// What a delivery reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A branch or a tag was moved, created or deleted.
    Push(Push),
    /// An image was pushed to a registry. It is a hint only: the registry is asked for the digest.
    Image {
        /// The repository at the registry; its host may be missing.
        repository: String,
        /// The tag.
        tag: String,
    },
    /// A pull request was opened, changed or closed. It is a hint only: the forge is asked for the pull requests.
    PullRequest {
        /// The repository.
        repository: RepositoryPath,
        /// Its number or ID at the forge, if the delivery has it: it stays when the repository is renamed.
        id: Option<String>,
    },
    /// A script asks to look at the source now.
    Request,
}

/// A branch or a tag that was moved, created or deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// The repository.
    pub repository: RepositoryPath,
    /// Its number or ID at the forge, if the delivery has it: it stays when the repository is renamed.
    pub id: Option<String>,
    /// Its default branch, if the delivery has it.
    pub default_branch: Option<String>,
    /// The branch or the tag.
    pub reference: PushedRef,
    /// The commit that it names now; `None` if it was deleted.
    pub commit: Option<String>,
    /// The commit that it named before, if the delivery has it and there was one.
    pub before: Option<String>,
    /// The message of the commit that it names now, if the delivery has it.
    pub message: Option<String>,
    /// The account that pushed.
    pub actor: Option<String>,
}

/// A branch or a tag by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PushedRef {
    /// A branch.
    Branch(String),
    /// A tag.
    Tag(String),
}

impl PushedRef {
    /// Reads `refs/heads/…` or `refs/tags/…`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let branch = text
            .strip_prefix("refs/heads/")
            .map(str::to_owned)
            .map(Self::Branch);
        branch.or_else(|| text.strip_prefix("refs/tags/").map(str::to_owned).map(Self::Tag))
    }
}

impl fmt::Display for PushedRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Branch(name) => write!(f, "refs/heads/{name}"),
            Self::Tag(name) => write!(f, "refs/tags/{name}"),
        }
    }
}

impl Push {
    /// True if the commit message asks for no deployment.
    pub fn is_skipped(&self) -> bool {
        self.message.as_deref().is_some_and(model::is_skipped)
    }
}

/// Why a delivery is refused. The reason is counted and logged; nothing of the delivery is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no signature or token.
    #[error("the delivery is not signed")]
    Unsigned,
    /// The signature or token does not fit the secret.
    #[error("the signature does not fit")]
    WrongSignature,
    /// The signed time is too far from now.
    #[error("the delivery is too old, or its sender's clock is wrong")]
    Expired,
    /// The configured secret is empty.
    #[error("no secret is configured")]
    NoSecret,
    /// The body is not what its sender sends.
    #[error("the delivery cannot be read")]
    Malformed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skip_markers_are_read_in_any_case() {
        let skipped = |message: &str| {
            let push = Push {
                repository: RepositoryPath::parse("acme/shop").unwrap(),
                id: None,
                default_branch: None,
                reference: PushedRef::Branch("main".to_owned()),
                commit: None,
                before: None,
                message: Some(message.to_owned()),
                actor: None,
            };
            push.is_skipped()
        };
        for message in ["Mend [skip ci]", "[CI SKIP] x", "a\n\n[no ci]", "[skip davit]"] {
            assert!(skipped(message), "{message}");
        }
        for message in ["skip ci", "[skip]", ""] {
            assert!(!skipped(message), "{message}");
        }
    }
}
