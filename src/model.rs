//! Nouns that all modules share. Pure.

use std::fmt;

use crate::redact::Secret;

/// An Application's namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AppId {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl AppId {
    /// From its parts.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for AppId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A full commit hash: 40 or 64 lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CommitId(String);

impl CommitId {
    /// Reads a full hash; nothing where the text is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let hexadecimal = text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        (hexadecimal && matches!(text.len(), 40 | 64)).then(|| Self(text.to_owned()))
    }

    /// The full hash.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its first twelve digits, for names and columns.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl fmt::Display for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who one is towards a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryLogin {
    /// The account.
    pub username: String,
    /// Its password or token.
    pub password: Secret,
}

/// How one is let in by a Git server.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum GitCredential {
    /// Nobody in particular.
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
        /// The lines of `known_hosts` that the server's key must be among; nothing only with `ignore_host_key`.
        known_hosts: Option<String>,
        /// Accept any host key: the explicit insecure opt-out.
        ignore_host_key: bool,
    },
}

/// Which commit of a repository is meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RefSpec {
    /// The default branch's tip.
    Default,
    /// A branch's tip.
    Branch(String),
    /// What a tag names.
    Tag(String),
    /// This very commit.
    Commit(CommitId),
}

impl GitCredential {
    /// The secrets in it, for a text that must hide them: of a user and a password the pair too, since in base64 that
    /// holds nothing of what the password alone is.
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
