//! Errors of forges, and the reason, the class and the solution of each.

use jiff::Timestamp;

use crate::api::Reason;
use crate::error::{Class, Explain, Problem};
use crate::redact::SafeUrl;

/// Why a forge cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ForgeError {
    /// The GitProvider's spec has a value that cannot work.
    #[error("the GitProvider is invalid: {message}")]
    Spec {
        /// What is wrong with it.
        message: String,
    },
    /// A Secret does not hold what the spec needs.
    #[error("the Secret of the GitProvider is invalid: {message}")]
    Secret {
        /// What is wrong with it.
        message: String,
    },
    /// No connection could be made.
    #[error("{url} cannot be reached: {message}")]
    Unreachable {
        /// The forge.
        url: SafeUrl,
        /// What went wrong.
        message: String,
    },
    /// The forge did not answer in time.
    #[error("cannot {doing} at {url}: no answer within {seconds} s")]
    Timeout {
        /// What was tried.
        doing: &'static str,
        /// The forge.
        url: SafeUrl,
        /// The time that was allowed.
        seconds: u64,
    },
    /// The server's certificate is not trusted.
    #[error("the certificate of {url} is not trusted: {message}")]
    Tls {
        /// The forge.
        url: SafeUrl,
        /// What is wrong with it.
        message: String,
    },
    /// The server is not a forge of this kind.
    #[error("{url} is not a {kind}: {message}")]
    NotRecognised {
        /// The kind in the spec.
        kind: &'static str,
        /// The forge.
        url: SafeUrl,
        /// What the server answered.
        message: String,
    },
    /// The server redirects to another host.
    #[error(
        "cannot {doing} at {url}: it redirects to {target}, and the credential is not sent to another host"
    )]
    Redirected {
        /// What was tried.
        doing: &'static str,
        /// The forge.
        url: SafeUrl,
        /// The scheme, host and port of the target.
        target: String,
    },
    /// The connection ended before the answer did.
    #[error("cannot {doing} at {url}: the answer ended early: {message}")]
    Incomplete {
        /// What was tried.
        doing: &'static str,
        /// The forge.
        url: SafeUrl,
        /// What went wrong.
        message: String,
    },
    /// The answer is not JSON.
    #[error("cannot {doing} at {url}: {message}")]
    InvalidResponse {
        /// What was tried.
        doing: &'static str,
        /// The forge.
        url: SafeUrl,
        /// What is wrong with it.
        message: String,
    },
    /// The credential is refused.
    #[error("{url} refused the credential{}", detail(.message.as_deref()))]
    Auth {
        /// The forge.
        url: SafeUrl,
        /// The forge's own words.
        message: Option<String>,
    },
    /// The forge does not accept the OAuth application itself.
    #[error("{url} refuses the OAuth application: {message}")]
    Client {
        /// The forge.
        url: SafeUrl,
        /// The forge's own words.
        message: String,
    },
    /// The clock of this machine is wrong.
    #[error("{url} refused the credential: the clock of this machine is {} s {} the clock of the forge", .seconds.unsigned_abs(), if *.seconds > 0 { "ahead of" } else { "behind" })]
    Clock {
        /// The forge.
        url: SafeUrl,
        /// How far this machine's clock is ahead.
        seconds: i64,
    },
    /// The credential lacks a permission.
    #[error("cannot {doing} at {url}: the credential lacks the scope {scope}")]
    Scope {
        /// What was tried.
        doing: &'static str,
        /// The forge.
        url: SafeUrl,
        /// What it lacks.
        scope: String,
    },
    /// The credential's owner is not allowed to do it.
    #[error("cannot {doing} at {url}: {message}")]
    Forbidden {
        /// What was tried.
        doing: &'static str,
        /// The forge.
        url: SafeUrl,
        /// The forge's own words.
        message: String,
    },
    /// No account has installed the App.
    #[error("no account at {url} has installed the App {app}")]
    NotInstalled {
        /// The App.
        app: String,
        /// The forge.
        url: SafeUrl,
        /// Where it is installed.
        install_url: String,
    },
    /// A repository or branch does not exist, or is hidden from the credential.
    #[error("{what} not found at {url}")]
    NotFound {
        /// What was looked for.
        what: String,
        /// The forge.
        url: SafeUrl,
    },
    /// The rate limit is used up.
    #[error("the rate limit of {url} is used up until {until}")]
    RateLimited {
        /// The forge.
        url: SafeUrl,
        /// When the forge answers again.
        until: Timestamp,
    },
    /// The tokens of an OAuth application cannot be read or stored.
    #[error("{}", .0.message)]
    Store(Problem),
    /// Anything else.
    #[error("cannot {doing} at {url}: {message}")]
    Other {
        /// What was tried.
        doing: &'static str,
        /// The forge.
        url: SafeUrl,
        /// The forge's own words.
        message: String,
    },
}

fn detail(message: Option<&str>) -> String {
    message.map(|message| format!(": {message}")).unwrap_or_default()
}

impl Explain for ForgeError {
    fn class(&self) -> Class {
        match self {
            Self::Spec { .. }
            | Self::Secret { .. }
            | Self::Tls { .. }
            | Self::NotRecognised { .. }
            | Self::Redirected { .. }
            | Self::Auth { .. }
            | Self::Client { .. }
            | Self::Scope { .. }
            | Self::Forbidden { .. }
            | Self::NotInstalled { .. }
            | Self::NotFound { .. } => Class::Terminal,
            Self::Store(problem) => problem.class,
            Self::Unreachable { .. }
            | Self::Timeout { .. }
            | Self::Incomplete { .. }
            | Self::InvalidResponse { .. }
            | Self::Clock { .. }
            | Self::RateLimited { .. }
            | Self::Other { .. } => Class::Transient,
        }
    }

    fn reason(&self) -> Reason {
        match self {
            Self::Spec { .. } => Reason::InvalidSpec,
            Self::Secret { .. } => Reason::SecretInvalid,
            Self::Unreachable { .. } => Reason::ForgeUnreachable,
            Self::Timeout { .. } => Reason::ForgeTimeout,
            Self::Tls { .. } => Reason::ForgeTlsFailed,
            Self::NotRecognised { .. } => Reason::ForgeNotRecognised,
            Self::Redirected { .. } => Reason::ForgeRedirected,
            Self::Incomplete { .. } => Reason::ForgeResponseIncomplete,
            Self::InvalidResponse { .. } => Reason::ForgeResponseInvalid,
            Self::Auth { .. } | Self::Client { .. } => Reason::ForgeAuthFailed,
            Self::Clock { .. } => Reason::ForgeClockSkewed,
            Self::Scope { .. } | Self::Forbidden { .. } => Reason::ForgeScopeMissing,
            Self::NotInstalled { .. } => Reason::ForgeAppNotInstalled,
            Self::NotFound { .. } => Reason::GitRepositoryNotFound,
            Self::RateLimited { .. } => Reason::ForgeRateLimited,
            Self::Store(problem) => problem.reason,
            Self::Other { .. } => Reason::ForgeFailed,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Tls { .. } => "set caSecretRef to a Secret with the certificate of the CA as ca.crt",
            Self::NotRecognised { .. } => "set url to the forge's base address, as in a browser",
            Self::Redirected { .. } => "set url to the address that the forge redirects to",
            Self::Auth { .. } => "put a valid credential into the Secret",
            Self::Client { .. } => "correct its ID and its secret",
            Self::Clock { .. } => "set the clock of this machine; Davit tries again",
            Self::Scope { .. } => "give the credential that scope",
            Self::Forbidden { .. } => "check the permissions of the credential's owner",
            Self::NotInstalled { install_url, .. } => return Some(format!("install it at {install_url}")),
            Self::NotFound { .. } => {
                "correct the name, or give the credential access: a forge hides a repository from a credential without access"
            }
            Self::Unreachable { .. } => {
                "check url of the GitProvider, and whether Davit can reach the forge; Davit tries again"
            }
            Self::Timeout { .. } | Self::Incomplete { .. } | Self::InvalidResponse { .. } => {
                "check the forge and the proxies on the way to it; Davit tries again"
            }
            Self::Spec { .. }
            | Self::Secret { .. }
            | Self::RateLimited { .. }
            | Self::Store(_)
            | Self::Other { .. } => {
                return None;
            }
        };
        Some(hint.to_owned())
    }
}
