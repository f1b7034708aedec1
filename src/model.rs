//! Types that all modules share. Pure.

pub mod labels;
mod pull_request;
pub mod requests;

use std::fmt;

use crate::redact::Secret;

pub use pull_request::{ForgeAccount, PullRequest, PushedHead};
/// What the name of a hook ends in for a runtime.
const HOOK: &str = ".predeploy";

/// An Application's namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AppId {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl AppId {
    /// Returns the ID of an Application by namespace and name.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// Returns the ID under which a runtime runs the hook of this Application. No Application can have such a name.
    pub fn hook(&self) -> Self {
        Self::new(&self.namespace, format!("{}{HOOK}", self.name))
    }

    /// Returns the Application of a hook, and any other ID as it is.
    pub fn owner(&self) -> Self {
        let name = self.name.strip_suffix(HOOK).unwrap_or(&self.name);
        Self::new(&self.namespace, name)
    }
}

impl fmt::Display for AppId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Strings in a commit message that keep the commit from being deployed, in lower case.
const SKIP: [&str; 4] = ["[skip ci]", "[ci skip]", "[no ci]", "[skip davit]"];

/// Reports whether a commit message asks for no deployment.
pub fn is_skipped(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    SKIP.iter().any(|marker| message.contains(marker))
}

/// A full commit hash: 40 or 64 lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CommitId(String);

impl CommitId {
    /// Reads a full hash, or returns `None` if the text is not one.
    pub fn parse(text: &str) -> Option<Self> {
        (matches!(text.len(), 40 | 64) && is_hexadecimal(text)).then(|| Self(text.to_owned()))
    }

    /// Returns the full hash.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the first twelve digits, for names and columns.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl fmt::Display for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A SHA-256 digest in the form of OCI: `sha256:` and 64 lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(String);

impl Digest {
    /// Reads a digest, or returns `None` if the text is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("sha256:")?;
        (digits.len() == 64 && is_hexadecimal(digits)).then(|| Self(text.to_owned()))
    }

    /// Returns the algorithm and the digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the first twelve digits, for names and columns.
    pub fn short(&self) -> &str {
        self.0.get(7..19).unwrap_or(&self.0)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An image that cannot change.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ImageRef {
    /// An image that only the engine has, by its ID.
    Engine(Digest),
    /// An image of a registry, by its digest.
    Registry {
        /// The image's name without the digest.
        repository: String,
        /// The digest of its manifest.
        digest: Digest,
    },
}

impl ImageRef {
    /// Reads `repository@sha256:…` or an image ID.
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once('@') {
            None => Digest::parse(text).map(Self::Engine),
            Some((repository, digest)) if !repository.is_empty() => Some(Self::Registry {
                repository: repository.to_owned(),
                digest: Digest::parse(digest)?,
            }),
            Some(_) => None,
        }
    }

    /// Returns the image's ID or the digest of its manifest.
    pub fn digest(&self) -> &Digest {
        match self {
            Self::Engine(digest) | Self::Registry { digest, .. } => digest,
        }
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Engine(id) => fmt::Display::fmt(id, f),
            Self::Registry { repository, digest } => write!(f, "{repository}@{digest}"),
        }
    }
}

/// What a source is pinned to. `Display` is the text in `status.source.revision`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Revision {
    /// A commit of a Git repository.
    Commit(CommitId),
    /// An image that is run as it is.
    Image(ImageRef),
    /// An uploaded archive.
    Archive(Digest),
}

impl Revision {
    /// Reads a full commit hash.
    pub fn commit(text: &str) -> Option<Self> {
        CommitId::parse(text).map(Self::Commit)
    }

    /// Reads `repository@sha256:…` or an image ID.
    pub fn image(text: &str) -> Option<Self> {
        ImageRef::parse(text).map(Self::Image)
    }

    /// Reads the digest of an archive.
    pub fn archive(text: &str) -> Option<Self> {
        Digest::parse(text).map(Self::Archive)
    }

    /// Returns the first twelve digits, for names and columns.
    pub fn short(&self) -> &str {
        match self {
            Self::Commit(commit) => commit.short(),
            Self::Image(image) => image.digest().short(),
            Self::Archive(digest) => digest.short(),
        }
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Commit(commit) => fmt::Display::fmt(commit, f),
            Self::Image(image) => fmt::Display::fmt(image, f),
            Self::Archive(digest) => fmt::Display::fmt(digest, f),
        }
    }
}

/// Returns bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn is_hexadecimal(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// Credentials of a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegistryLogin {
    /// An account with its password, or with a token in place of it.
    Basic {
        /// The account.
        username: String,
        /// Its password or token.
        password: Secret,
    },
    /// A refresh token, which the registry's token server exchanges for access tokens.
    Identity(Secret),
    /// An access token that the registry takes as it is.
    Bearer(Secret),
}

impl RegistryLogin {
    /// An account with its password.
    pub fn basic(username: impl Into<String>, password: impl Into<Secret>) -> Self {
        Self::Basic {
            username: username.into(),
            password: password.into(),
        }
    }

    /// Returns the secrets to mask, also as a registry may repeat them.
    pub fn secrets(&self) -> Vec<Secret> {
        match self {
            Self::Basic { username, password } => {
                vec![password.clone(), Secret::pair(username, password)]
            }
            Self::Identity(token) | Self::Bearer(token) => vec![token.clone()],
        }
    }
}

/// Credentials of a Git server.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum GitCredential {
    /// No authentication.
    #[default]
    Anonymous,
    /// HTTP basic authentication.
    Basic {
        /// The account.
        username: String,
        /// Its password or token.
        password: Secret,
    },
    /// HTTP `Authorization: Bearer`.
    Bearer(Secret),
    /// An ssh key.
    Ssh {
        /// The private key, in OpenSSH or PEM form.
        key: Secret,
        /// The accepted host keys as lines of `known_hosts`; `None` only with `ignore_host_key`.
        known_hosts: Option<String>,
        /// Accept any host key: the explicit insecure opt-out.
        ignore_host_key: bool,
    },
}

/// A check of a commit at its forge: a status, or a run of a workflow or pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Its name.
    pub name: String,
    /// Its result.
    pub state: CheckState,
}

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckState {
    /// The check has not ended.
    Pending,
    /// It passed, or does not matter.
    Passed,
    /// It failed.
    Failed,
}

/// The status of a commit that is reported to its forge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitStatus {
    /// What tells it from the statuses of others.
    pub context: String,
    /// The state.
    pub state: CommitState,
    /// The state in words, at most 140 characters.
    pub description: String,
    /// Where the result can be seen.
    pub url: Option<String>,
}

/// The state of a commit, as every forge has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitState {
    /// It is being deployed.
    Pending,
    /// It is deployed.
    Success,
    /// It is not deployed.
    Failure,
}

/// A ref of a repository that a user names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RefSpec {
    /// The tip of the default branch.
    Default,
    /// The tip of a branch.
    Branch(String),
    /// The commit of a tag.
    Tag(String),
    /// The commit of the highest tag that matches a pattern.
    HighestTag(String),
    /// A commit.
    Commit(CommitId),
}

impl GitCredential {
    /// Returns the secrets to mask. The pair of user and password is one of them, because its base64 form does not
    /// contain that of the password.
    pub fn secrets(&self) -> Vec<Secret> {
        match self {
            Self::Anonymous => Vec::new(),
            Self::Basic { username, password } => {
                vec![password.clone(), Secret::pair(username, password)]
            }
            Self::Bearer(token) => vec![token.clone()],
            Self::Ssh { key, .. } => vec![key.clone()],
        }
    }
}

/// A value that is valid until a point in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiring<T> {
    /// The value.
    pub value: T,
    /// When it expires; `None` if that is unknown or never.
    pub expires_at: Option<jiff::Timestamp>,
}

impl<T> Expiring<T> {
    /// A value that does not expire, or whose expiry is unknown.
    pub fn never(value: T) -> Self {
        Self {
            value,
            expires_at: None,
        }
    }

    /// Another value that is valid as long.
    pub fn map<U>(self, map: impl FnOnce(T) -> U) -> Expiring<U> {
        Expiring {
            value: map(self.value),
            expires_at: self.expires_at,
        }
    }

    /// True if the value is still valid `margin` after `now`.
    pub fn is_valid_for(&self, margin: jiff::SignedDuration, now: jiff::Timestamp) -> bool {
        self.expires_at
            .is_none_or(|at| now.checked_add(margin).is_ok_and(|then| then < at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revision_is_read_back_from_its_display() {
        let (commit, digest) = ("a1".repeat(20), format!("sha256:{}", "0f".repeat(32)));
        for (revision, text) in [
            (Revision::commit(&commit), commit.clone()),
            (Revision::image(&digest), digest.clone()),
            (
                Revision::image(&format!("host:5000/shop:1@{digest}")),
                format!("host:5000/shop:1@{digest}"),
            ),
            (Revision::archive(&digest), digest.clone()),
        ] {
            let revision = revision.unwrap();
            assert_eq!(revision.to_string(), text);
            assert!(
                revision.short().len() == 12 && text.contains(revision.short()),
                "{revision:?}"
            );
        }
    }

    #[test]
    fn revision_of_another_kind_is_refused() {
        let digest = format!("sha256:{}", "0f".repeat(32));
        for text in ["", "main", "a1", "sha256:", "@", "shop:1"] {
            for read in [Revision::commit, Revision::image, Revision::archive] {
                assert_eq!(read(text), None, "{text}");
            }
        }
        assert_eq!(Revision::commit(&digest), None);
        assert_eq!(Revision::image(&"a1".repeat(20)), None);
        assert_eq!(Revision::image(&format!("@{digest}")), None);
        assert_eq!(Revision::archive(&format!("shop@{digest}")), None);
    }
}
