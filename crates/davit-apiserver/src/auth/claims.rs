//! The claims of service account tokens.

use serde::Deserialize;

/// What a token of ours states.
#[derive(Deserialize)]
pub struct Claims {
    pub(super) aud: Vec<String>,
    /// None for one that lasts as long as its Secret.
    pub(super) exp: Option<i64>,
    #[serde(default)]
    pub(super) jti: String,
    #[serde(rename = "kubernetes.io")]
    pub(super) subject: Subject,
}

#[derive(Deserialize)]
pub(super) struct Subject {
    pub(super) namespace: String,
    pub(super) serviceaccount: Named,
    /// The Secret with which the token goes.
    pub(super) secret: Option<Named>,
}

/// What a token names: an account, or what it goes with.
#[derive(Deserialize, serde::Serialize)]
pub struct Named {
    pub name: String,
    pub uid: String,
}
