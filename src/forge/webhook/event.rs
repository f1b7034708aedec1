//! Senders, events, and why a delivery is refused.

use http::HeaderMap;

use crate::api::ForgeKind;
use crate::forge::RepositoryPath;

/// The largest body of a delivery that is read, in bytes.
pub const MAX_BODY: usize = 3 << 20;

/// Strings in a commit message that keep it from being deployed.
const SKIP: [&str; 4] = ["[skip ci]", "[ci skip]", "[no ci]", "[skip davit]"];

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

    /// True if a connection of this kind may send it.
    pub fn belongs_to(self, kind: ForgeKind<'_>) -> bool {
        match kind {
            ForgeKind::GitHub(_) => self == Self::GitHub,
            ForgeKind::GitLab(_) => self == Self::GitLab,
            ForgeKind::Bitbucket(_) => self == Self::Bitbucket,
            ForgeKind::Gitea(_) => self == Self::Gitea,
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
}

/// A branch or a tag that was moved, created or deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// The repository.
    pub repository: RepositoryPath,
    /// The branch or the tag.
    pub reference: PushedRef,
    /// The commit that it names now; `None` if it was deleted.
    pub commit: Option<String>,
    /// The message of that commit, if the delivery has it.
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

impl Push {
    /// True if the commit message asks for no deployment.
    pub fn is_skipped(&self) -> bool {
        let message = self.message.as_deref().unwrap_or_default().to_ascii_lowercase();
        SKIP.iter().any(|marker| message.contains(marker))
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
