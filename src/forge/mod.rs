//! Forges: one file each, one trait. Nothing outside this folder names one but the API types and this factory.

mod gitea;
mod headers;
pub mod http;

use std::sync::Arc;

use async_trait::async_trait;

use crate::api::{GitProviderSpec, LocalRef, Reason, TokenRef};
use crate::error::{Class, Explain};
use crate::model::GitCredential;
use crate::redact::{SafeUrl, Secret};

pub use self::http::HttpOptions;

/// Who a credential is, and what it reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The login.
    pub name: String,
    /// How many repositories it reaches.
    pub repositories: u64,
}

/// A repository at a forge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    /// `owner/name`.
    pub full_name: String,
    /// Its default branch.
    pub default_branch: String,
    /// Where it is cloned from.
    pub clone_url: SafeUrl,
    /// Seen only by those it is shared with.
    pub private: bool,
}

/// Why a forge cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ForgeError {
    /// The GitProvider's spec says something that cannot work.
    #[error("read the GitProvider: {message}")]
    Spec {
        /// What is wrong with it.
        message: String,
    },
    /// A Secret is there but does not hold what is needed.
    #[error("read the GitProvider's Secret: {message}")]
    Secret {
        /// What is wrong with it.
        message: String,
    },
    /// No connection.
    #[error("reach {url}: {message}")]
    Unreachable {
        /// The forge.
        url: SafeUrl,
        /// What went wrong.
        message: String,
    },
    /// A certificate that cannot be trusted.
    #[error("trust the certificate of {url}: {message}")]
    Tls {
        /// The forge.
        url: SafeUrl,
        /// What is wrong with it.
        message: String,
    },
    /// Something else answers there.
    #[error("recognise {kind} at {url}: {message}")]
    NotRecognised {
        /// The kind that the spec says.
        kind: &'static str,
        /// The forge.
        url: SafeUrl,
        /// What answered.
        message: String,
    },
    /// The credential is refused.
    #[error("sign in at {url}: the token is refused")]
    Auth {
        /// The forge.
        url: SafeUrl,
    },
    /// The credential may not do what is needed.
    #[error("{doing} at {url}: the token lacks the scope {scope}")]
    Scope {
        /// What we tried.
        doing: &'static str,
        /// The forge.
        url: SafeUrl,
        /// What it lacks.
        scope: String,
    },
    /// The credential's owner may not do what is needed.
    #[error("{doing} at {url}: {message}")]
    Forbidden {
        /// What we tried.
        doing: &'static str,
        /// The forge.
        url: SafeUrl,
        /// What it said.
        message: String,
    },
    /// A repository or branch is not there, or may not be seen.
    #[error("find {what} at {url}")]
    NotFound {
        /// What.
        what: String,
        /// The forge.
        url: SafeUrl,
    },
    /// A pause is asked for.
    #[error("ask {url}: it wants a pause of {seconds} s")]
    RateLimited {
        /// The forge.
        url: SafeUrl,
        /// How long.
        seconds: u64,
    },
    /// Anything else.
    #[error("{doing} at {url}: {message}")]
    Other {
        /// What we tried.
        doing: &'static str,
        /// The forge.
        url: SafeUrl,
        /// What it said.
        message: String,
    },
}

impl Explain for ForgeError {
    fn class(&self) -> Class {
        match self {
            Self::Spec { .. }
            | Self::Secret { .. }
            | Self::Tls { .. }
            | Self::NotRecognised { .. }
            | Self::Auth { .. }
            | Self::Scope { .. }
            | Self::Forbidden { .. }
            | Self::NotFound { .. } => Class::Terminal,
            Self::Unreachable { .. } | Self::RateLimited { .. } | Self::Other { .. } => Class::Transient,
        }
    }

    fn reason(&self) -> Reason {
        match self {
            Self::Spec { .. } => Reason::InvalidSpec,
            Self::Secret { .. } => Reason::SecretInvalid,
            Self::Unreachable { .. } => Reason::ForgeUnreachable,
            Self::Tls { .. } => Reason::ForgeTlsFailed,
            Self::NotRecognised { .. } => Reason::ForgeNotRecognised,
            Self::Auth { .. } => Reason::ForgeAuthFailed,
            Self::Scope { .. } | Self::Forbidden { .. } => Reason::ForgeScopeMissing,
            Self::NotFound { .. } => Reason::GitRepositoryNotFound,
            Self::RateLimited { .. } => Reason::ForgeRateLimited,
            Self::Other { .. } => Reason::ForgeFailed,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Tls { .. } => Some("name a Secret with the CA's certificate as ca.crt".to_owned()),
            Self::NotRecognised { .. } => {
                Some("set url to the forge's base address, as in a browser".to_owned())
            }
            Self::Auth { .. } => Some("put a valid token into the Secret".to_owned()),
            Self::Scope { .. } => Some("give the token that scope".to_owned()),
            Self::Forbidden { .. } => Some("check what the token's owner may do there".to_owned()),
            Self::NotFound { .. } => {
                Some("check owner and repository, and what the token may see".to_owned())
            }
            Self::Spec { .. }
            | Self::Secret { .. }
            | Self::RateLimited { .. }
            | Self::Other { .. } => None,
            Self::Unreachable { .. } => Some(
                "check url of the GitProvider, and whether the forge can be reached from here; it is tried again"
                    .to_owned(),
            ),
        }
    }
}

/// A forge, connected with one credential.
#[async_trait]
pub trait Forge: Send + Sync {
    /// Signs in and counts.
    async fn check(&self) -> Result<Account, ForgeError>;

    /// Every repository that the credential reaches, all pages of them.
    async fn repositories(&self) -> Result<Vec<Repository>, ForgeError>;

    /// The names of a repository's branches, all pages of them.
    async fn branches(&self, owner: &str, repository: &str) -> Result<Vec<String>, ForgeError>;

    /// Where a repository is cloned from, without asking: built from the base URL and the names.
    fn clone_url(&self, owner: &str, repository: &str) -> Result<SafeUrl, ForgeError>;

    /// What lets Git in; for Git and nothing else.
    async fn clone_credential(&self) -> Result<GitCredential, ForgeError>;
}

/// The secrets of a GitProvider, read by the controller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForgeSecrets {
    /// The token.
    pub token: Option<Secret>,
    /// Certificates in PEM form to trust in addition to the system's.
    pub ca: Option<Vec<u8>>,
}

/// The forge that a spec names, with the credential that goes with it. Nothing is asked of it yet.
///
/// # Errors
/// A spec without a forge or with a URL that cannot be used, a token or CA that is none.
pub fn connect(
    spec: &GitProviderSpec,
    secrets: ForgeSecrets,
    options: &HttpOptions,
) -> Result<Arc<dyn Forge>, ForgeError> {
    match &spec.gitea {
        Some(gitea) => Ok(Arc::new(gitea::Gitea::new(gitea, secrets, options)?)),
        None => Err(ForgeError::Spec {
            message: "no forge is set".to_owned(),
        }),
    }
}

/// The Secrets that a spec names, and what messages call the fields that name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SecretRefs<'a> {
    /// The token.
    pub token: &'a TokenRef,
    /// The token's field.
    pub token_field: &'static str,
    /// Where there is one, the Secret with the CA's certificate as `ca.crt`.
    pub ca: Option<&'a LocalRef>,
    /// The CA's field.
    pub ca_field: &'static str,
}

/// Which Secrets [`connect`] wants the content of.
pub fn secret_refs(spec: &GitProviderSpec) -> Option<SecretRefs<'_>> {
    spec.gitea.as_ref().map(|gitea| SecretRefs {
        token: &gitea.token_secret_ref,
        token_field: "spec.gitea.tokenSecretRef",
        ca: gitea.ca_secret_ref.as_ref(),
        ca_field: "spec.gitea.caSecretRef",
    })
}

/// The kind of forge that a spec names, as the user writes it, and its URL.
pub fn describe(spec: &GitProviderSpec) -> Option<(&'static str, &str)> {
    spec.gitea.as_ref().map(|gitea| ("gitea", gitea.url.as_str()))
}
