//! Tokens of an OAuth application that a user has authorised. A forge may make the old pair invalid when it gives a new one,
//! so there is one writer, and a new pair is stored before it is used.

use std::sync::Arc;

use async_trait::async_trait;
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::api::{Api, Authorization};
use super::call::Call;
use super::error::ForgeError;
use crate::api::{OAuthApp, Reason};
use crate::error::{Class, Problem};
use crate::model::Expiring;
use crate::redact::Secret;

/// A token is replaced when it expires within this time. GitLab's are valid for two hours, Gitea's for one.
const MARGIN: SignedDuration = SignedDuration::from_mins(5);
/// How long a token is valid if the forge does not tell.
const LIFETIME: i64 = 3600;
/// How often a new pair is stored again, if another program changed the Secret meanwhile.
const TRIES: usize = 5;

/// An access token and the token that replaces it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// The token for requests.
    pub access: Secret,
    /// The token for the next pair.
    pub refresh: Option<Secret>,
    /// When the access token expires; `None` if that is unknown.
    pub expires_at: Option<Timestamp>,
}

/// Tokens as they are stored, and their version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredTokens {
    /// The tokens.
    pub tokens: Tokens,
    /// The version of the Secret.
    pub version: String,
}

/// Where the tokens are stored.
#[async_trait]
pub trait TokenStore: Send + Sync {
    /// Reads the tokens.
    ///
    /// # Errors
    /// The Secret does not exist, holds no tokens, or cannot be read.
    async fn load(&self) -> Result<StoredTokens, Problem>;

    /// Replaces the tokens of this version. Returns false if the Secret has another version by now.
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
    /// The refresh token that the forge has refused. Asking again would get this address blocked.
    refused: Option<Secret>,
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
    client_id: String,
    client_secret: Option<Secret>,
    writer: TokenWriter,
    /// The forge's web address.
    sign_in: Api,
    /// The path of its token endpoint.
    path: &'static [&'static str],
}

impl OAuth {
    pub fn new(
        app: &OAuthApp,
        client_secret: Option<&Secret>,
        writer: Option<&TokenWriter>,
        sign_in: Api,
        path: &'static [&'static str],
    ) -> Result<Self, ForgeError> {
        let writer = writer.cloned().ok_or_else(|| ForgeError::Secret {
            message: "there are no tokens".to_owned(),
        })?;
        Ok(Self {
            client_id: app.client_id.clone(),
            client_secret: client_secret.map(Secret::trimmed),
            writer,
            sign_in,
            path,
        })
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
        let StoredTokens { tokens, version } = self.writer.store.load().await.map_err(ForgeError::Store)?;
        let token = |tokens: Tokens| Expiring {
            value: tokens.access,
            expires_at: tokens.expires_at,
        };
        let current = token(tokens.clone());
        if current.is_valid_for(MARGIN, Timestamp::now()) {
            return Ok(current);
        }
        let refresh = tokens.refresh.clone().filter(|refresh| !refresh.is_empty());
        let refresh = refresh.ok_or_else(|| self.signed_out("the Secret has no refreshToken"))?;
        if state.refused.as_ref() == Some(&refresh) {
            return Err(self.signed_out("the forge has refused the refresh token"));
        }
        // A new pair that could not be stored would be lost with this process, so a write is tried before the old pair
        // becomes invalid. It changes nothing.
        let is_writable = self.writer.store.store(&tokens, &version).await;
        if !is_writable.map_err(ForgeError::Store)? {
            return Err(changed());
        }
        let new = match self.request(&refresh).await {
            Err(error @ ForgeError::Auth { .. }) => {
                state.refused = Some(refresh);
                return Err(error);
            }
            result => result?,
        };
        state.unsaved = Some((new.clone(), refresh.clone()));
        self.writer.save(&new, &refresh).await?;
        state.unsaved = None;
        Ok(token(new))
    }

    /// Requests a new pair. A forge whose refresh tokens can be used again may leave it out.
    async fn request(&self, refresh: &Secret) -> Result<Tokens, ForgeError> {
        let text = |secret: &Secret| secret.expose_str().unwrap_or_default().to_owned();
        let mut form = vec![
            ("grant_type", "refresh_token".to_owned()),
            ("refresh_token", text(refresh)),
            ("client_id", self.client_id.clone()),
        ];
        if let Some(secret) = &self.client_secret {
            form.push(("client_secret", text(secret)));
        }
        let call = Call::post("refresh the OAuth tokens", self.path.iter().copied()).form(form);
        let (status, reply) = self.sign_in.exchange(&call, None).await?;
        if matches!(status, StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED) {
            let refusal: Option<Refusal> = serde_json::from_slice(&reply.body).ok();
            let code = refusal.map_or_else(|| status.to_string(), |refusal| refusal.error);
            return Err(self.signed_out(&format!("the forge refuses the refresh token ({code})")));
        }
        if !status.is_success() {
            return Err(self.sign_in.other(call.doing, &status.to_string()));
        }
        let Ok(answer) = serde_json::from_slice::<Answer>(&reply.body) else {
            return Err(self.sign_in.other(call.doing, "the answer holds no token"));
        };
        let lifetime = SignedDuration::from_secs(answer.expires_in.unwrap_or(LIFETIME));
        Ok(Tokens {
            access: Secret::from(answer.access_token),
            refresh: Some(answer.refresh_token.map_or_else(|| refresh.clone(), Secret::from)),
            expires_at: Timestamp::now().checked_add(lifetime).ok(),
        })
    }

    fn signed_out(&self, message: &str) -> ForgeError {
        ForgeError::Auth {
            url: self.sign_in.shown().clone(),
            message: Some(format!("{message}; authorise the OAuth application again")),
        }
    }
}

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    refresh_token: Option<String>,
    expires_in: Option<i64>,
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
}
