//! Tokens of an OAuth application that a user has authorised. A forge may make the old pair invalid when it gives a new one,
//! so there is one writer, and a new pair is stored before it is used.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::api::Authorization;
use super::error::ForgeError;
use super::token_endpoint::{MARGIN, TokenEndpoint, Tokens, margin};
use crate::api::Reason;
use crate::error::{Class, Problem};
use crate::model::Expiring;
use crate::redact::Secret;

/// How often a new pair is stored again, if another program changed the Secret meanwhile.
const TRIES: usize = 5;

/// When an application that the forge has refused is tried again although nothing has changed here.
const APPLICATION_AGAIN: Duration = Duration::from_mins(5);

/// Tokens as they are stored, and their version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredTokens {
    /// The tokens.
    pub tokens: Tokens,
    /// The version of the Secret.
    pub version: String,
    /// When a replacement began that has not ended: the forge may have made these tokens invalid.
    pub replacing_since: Option<Timestamp>,
}

/// Where the tokens are stored.
#[async_trait]
pub trait TokenStore: Send + Sync {
    /// Reads the tokens.
    ///
    /// # Errors
    /// The Secret does not exist, holds no tokens, or cannot be read.
    async fn load(&self) -> Result<StoredTokens, Problem>;

    /// Records that the tokens of this version are being replaced. Returns false if the Secret has another version by now.
    ///
    /// # Errors
    /// The Secret cannot be written.
    async fn begin(&self, since: Timestamp, version: &str) -> Result<bool, Problem>;

    /// Replaces the tokens of this version, and ends their replacement. Returns false if the Secret has another version by
    /// now.
    ///
    /// # Errors
    /// The Secret cannot be written.
    async fn store(&self, tokens: &Tokens, version: &str) -> Result<bool, Problem>;
}

/// The only writer of the tokens in one Secret. Clones are the same writer.
#[derive(Clone)]
pub struct TokenWriter {
    store: Arc<dyn TokenStore>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// A new pair that is not stored yet, and the refresh token that it was given for.
    unsaved: Option<(Tokens, Secret)>,
    /// What the forge has refused last. Asking again would get this address blocked.
    refused: Option<Refused>,
    /// The access token that was given last, and how long before its end it is replaced.
    newest: Option<(Secret, SignedDuration)>,
}

/// What a forge has refused.
struct Refused {
    /// The refresh token, and the ID and the secret of the application that it was sent with.
    sent: (Secret, String, Option<Secret>),
    /// The forge's words if it refused the application, and not the token.
    application: Option<String>,
    at: Instant,
}

impl TokenWriter {
    /// The writer for a store.
    pub fn new(store: Arc<dyn TokenStore>) -> Self {
        Self {
            store,
            state: Arc::default(),
        }
    }

    /// Stores a pair, unless a user has signed in anew meanwhile.
    async fn save(&self, tokens: &Tokens, used: &Secret) -> Result<(), ForgeError> {
        for _ in 0..TRIES {
            let stored = self.store.load().await.map_err(ForgeError::Store)?;
            if stored.tokens.refresh.as_ref() != Some(used) {
                return Ok(());
            }
            let is_stored = self.store.store(tokens, &stored.version).await;
            if is_stored.map_err(ForgeError::Store)? {
                return Ok(());
            }
        }
        Err(changed())
    }
}

fn changed() -> ForgeError {
    ForgeError::Store(Problem::new(
        Class::Transient,
        Reason::ClusterUnavailable,
        "store the new OAuth tokens: another program changed the Secret at the same time; it is tried again",
    ))
}

impl std::fmt::Debug for TokenWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenWriter")
    }
}

/// The OAuth application of a connection.
pub(super) struct OAuth {
    endpoint: TokenEndpoint,
    writer: TokenWriter,
}

impl OAuth {
    pub fn new(endpoint: TokenEndpoint, writer: Option<&TokenWriter>) -> Result<Self, ForgeError> {
        let writer = writer.cloned().ok_or_else(|| ForgeError::Secret {
            message: "there are no tokens".to_owned(),
        })?;
        Ok(Self { endpoint, writer })
    }

    /// The header for requests to the API.
    pub async fn auth(&self) -> Result<Authorization, ForgeError> {
        Authorization::scheme("Bearer", &self.token().await?.value)
    }

    /// The access token: the stored one, or a new one shortly before that expires.
    pub async fn token(&self) -> Result<Expiring<Secret>, ForgeError> {
        // Held while a pair is requested and stored, so that concurrent builds share one request.
        let mut state = self.writer.state.lock().await;
        if let Some((tokens, used)) = state.unsaved.clone() {
            self.writer.save(&tokens, &used).await?;
            state.unsaved = None;
        }
        let stored = self.writer.store.load().await.map_err(ForgeError::Store)?;
        let token = |tokens: Tokens| Expiring {
            value: tokens.access,
            expires_at: tokens.expires_at,
        };
        let current = token(stored.tokens.clone());
        let newest = state
            .newest
            .as_ref()
            .filter(|(access, _)| *access == current.value);
        let before_end = newest.map_or(MARGIN, |(_, margin)| *margin);
        if current.is_valid_for(before_end, Timestamp::now()) {
            return Ok(current);
        }
        let refresh = stored.tokens.refresh.clone();
        let refresh = refresh.filter(|refresh| !refresh.is_empty());
        let refresh = refresh.ok_or_else(|| self.signed_out("the Secret has no refreshToken", None))?;
        let sent = self.endpoint.sent_with(&refresh);
        if let Some(refused) = state.refused.as_ref().filter(|refused| refused.sent == sent) {
            match &refused.application {
                None => {
                    let message = "the forge has refused the refresh token";
                    return Err(self.signed_out(message, stored.replacing_since));
                }
                Some(message) if refused.at.elapsed() < APPLICATION_AGAIN => {
                    return Err(self.endpoint.refused_application(message));
                }
                Some(_) => {}
            }
        }
        // A new pair that could not be stored would be lost with this process, so a write is tried before the old pair
        // becomes invalid. If this process ends before the new pair is stored, the next one finds what happened.
        let since = stored.replacing_since.unwrap_or_else(Timestamp::now);
        let is_writable = self.writer.store.begin(since, &stored.version).await;
        if !is_writable.map_err(ForgeError::Store)? {
            return Err(changed());
        }
        let new = match self.endpoint.refresh(&refresh).await {
            Err(ForgeError::Auth { message, .. }) => {
                state.refused = Some(Refused {
                    sent,
                    application: None,
                    at: Instant::now(),
                });
                self.give_up(&stored, &refresh).await;
                return Err(self.signed_out(&message.unwrap_or_default(), stored.replacing_since));
            }
            Err(ForgeError::Client { message, .. }) => {
                let error = self.endpoint.refused_application(&message);
                state.refused = Some(Refused {
                    sent,
                    application: Some(message),
                    at: Instant::now(),
                });
                self.give_up(&stored, &refresh).await;
                return Err(error);
            }
            result => result?,
        };
        state.newest = new.expires_at.map(|at| {
            let lifetime = at.duration_since(Timestamp::now());
            (new.access.clone(), margin(lifetime))
        });
        state.unsaved = Some((new.clone(), refresh.clone()));
        self.writer.save(&new, &refresh).await?;
        state.unsaved = None;
        Ok(token(new))
    }

    /// The forge has answered that it gives no pair, so that the replacement has ended, if it began here.
    async fn give_up(&self, stored: &StoredTokens, refresh: &Secret) {
        if stored.replacing_since.is_none()
            && let Err(error) = self.writer.save(&stored.tokens, refresh).await
        {
            tracing::debug!(%error, "the end of a replacement of OAuth tokens is not recorded");
        }
    }

    fn signed_out(&self, message: &str, replacing_since: Option<Timestamp>) -> ForgeError {
        let lost = replacing_since.map_or_else(String::new, |since| {
            format!("; the tokens that were to replace it since {since} never arrived in the Secret")
        });
        let message = format!("{message}{lost}; authorise the OAuth application again");
        self.endpoint.refused(&message)
    }
}
