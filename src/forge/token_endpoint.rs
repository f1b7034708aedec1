//! The token endpoint of an OAuth server: a code or a refresh token becomes a pair of tokens.

use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::api::{Api, Authorization};
use super::call::Call;
use super::error::ForgeError;
use super::refusal;
use crate::redact::Secret;

/// How long before its end a token is replaced at most. GitLab's are valid for two hours, Gitea's and Bitbucket's for one.
pub(super) const MARGIN: SignedDuration = SignedDuration::from_mins(5);
/// How long a token is valid if the forge does not tell.
const LIFETIME: i64 = 3600;
/// The longest lifetime that counts, in seconds: ten years.
const LONGEST_LIFETIME: i64 = 10 * 365 * 86_400;

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

/// The OAuth server of a forge.
#[derive(Clone, Copy, Debug)]
pub(super) struct OAuthServer {
    /// The path of the page on which a user authorises an application.
    pub authorize: &'static [&'static str],
    /// The path of the token endpoint.
    pub token: &'static [&'static str],
    /// Whether it checks a code verifier.
    pub has_pkce: bool,
    /// Whether an application signs in with `Authorization: Basic`, and not in the form.
    pub is_basic: bool,
    /// The scopes that an application asks for by default; empty if they are those of the application.
    pub scopes: &'static str,
}

/// A token endpoint, and the application that uses it.
pub(super) struct TokenEndpoint {
    api: Api,
    path: &'static [&'static str],
    client_id: String,
    client_secret: Option<Secret>,
    basic: Option<Authorization>,
}

impl TokenEndpoint {
    /// The endpoint of `server`, whose web address `api` has. A public application has no secret.
    pub fn new(
        api: Api,
        server: &OAuthServer,
        client_id: &str,
        client_secret: Option<&Secret>,
    ) -> Result<Self, ForgeError> {
        let client_secret = client_secret.map(Secret::trimmed);
        let basic = match &client_secret {
            Some(secret) if server.is_basic => Some(Authorization::basic(client_id, secret)?),
            _ => None,
        };
        Ok(Self {
            api,
            path: server.token,
            client_id: client_id.to_owned(),
            client_secret,
            basic,
        })
    }

    /// Exchanges a refresh token for a pair. A forge whose refresh tokens can be used again may leave a new one out.
    pub async fn refresh(&self, refresh: &Secret) -> Result<Tokens, ForgeError> {
        let form = vec![
            ("grant_type", "refresh_token".to_owned()),
            ("refresh_token", text(refresh)),
        ];
        let new = self
            .exchange("refresh the OAuth tokens", form, "the refresh token")
            .await?;
        Ok(Tokens {
            refresh: new.refresh.or_else(|| Some(refresh.clone())),
            ..new
        })
    }

    /// Exchanges a code for the first pair. `redirect` is the address to which the browser was led back.
    pub async fn redeem(
        &self,
        code: &str,
        redirect: &str,
        verifier: Option<&Secret>,
    ) -> Result<Tokens, ForgeError> {
        let mut form = vec![
            ("grant_type", "authorization_code".to_owned()),
            ("code", code.to_owned()),
            ("redirect_uri", redirect.to_owned()),
        ];
        form.extend(verifier.map(|verifier| ("code_verifier", text(verifier))));
        self.exchange("exchange the code", form, "the code").await
    }

    async fn exchange(
        &self,
        doing: &'static str,
        mut form: Vec<(&'static str, String)>,
        what: &str,
    ) -> Result<Tokens, ForgeError> {
        if self.basic.is_none() {
            form.push(("client_id", self.client_id.clone()));
            form.extend(
                self.client_secret
                    .as_ref()
                    .map(|secret| ("client_secret", text(secret))),
            );
        }
        let call = Call::post(doing, self.path.iter().copied()).form(form);
        let (status, reply) = self.api.exchange(&call, self.basic.as_ref()).await?;
        // Another answer, as of a proxy, says nothing about the application.
        let refusal: Option<Refusal> = serde_json::from_slice(&reply.body).ok();
        let is_refused = matches!(status, StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED);
        if let Some(Refusal {
            error,
            error_description,
        }) = refusal.filter(|_| is_refused)
        {
            let detail = error_description.map_or_else(String::new, |text| format!(": {text}"));
            let code = refusal::words(&format!("{error}{detail}"));
            if error == "invalid_client" {
                return Err(self.refused_application(&code));
            }
            return Err(self.refused(&format!("the forge refuses {what} ({code})")));
        }
        if !status.is_success() {
            return Err(self.api.other(doing, &status.to_string()));
        }
        let Ok(answer) = serde_json::from_slice::<Answer>(&reply.body) else {
            return Err(self.api.other(doing, "the answer holds no token"));
        };
        let lifetime = lifetime(answer.expires_in);
        Ok(Tokens {
            access: Secret::from(answer.access_token),
            refresh: answer.refresh_token.map(Secret::from),
            expires_at: Timestamp::now().checked_add(lifetime).ok(),
        })
    }

    /// What refuses a refresh token for good: the token, and the application that it was sent with.
    pub fn sent_with(&self, refresh: &Secret) -> (Secret, String, Option<Secret>) {
        (
            refresh.clone(),
            self.client_id.clone(),
            self.client_secret.clone(),
        )
    }

    /// The error of an application whose ID or secret is wrong.
    pub fn refused_application(&self, message: &str) -> ForgeError {
        ForgeError::Client {
            url: self.api.shown().clone(),
            message: message.to_owned(),
        }
    }

    /// The error of an application that has to be authorised again.
    pub fn refused(&self, message: &str) -> ForgeError {
        ForgeError::Auth {
            url: self.api.shown().clone(),
            message: Some(message.to_owned()),
        }
    }
}

/// How long a token is valid by the answer that brought it.
pub(super) fn lifetime(expires_in: Option<i64>) -> SignedDuration {
    let seconds = expires_in.filter(|seconds| *seconds > 0).unwrap_or(LIFETIME);
    SignedDuration::from_secs(seconds.min(LONGEST_LIFETIME))
}

/// How long before its end a token with this lifetime is replaced: what begins with a token has to end with it, but one that is
/// valid for minutes must not be replaced at every use.
pub(super) fn margin(lifetime: SignedDuration) -> SignedDuration {
    MARGIN.min(lifetime / 10)
}

fn text(secret: &Secret) -> String {
    secret.expose_str().unwrap_or_default().to_owned()
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
    error_description: Option<String>,
}
