//! From the spec of a GitProvider to a connection: the only file that lists the kinds of forge.

use std::sync::Arc;

use super::client::{Forge, ForgeSecrets};
use super::error::ForgeError;
use super::http::HttpOptions;
use super::{bitbucket, gitea, github, gitlab};
use crate::api::{ForgeKind, GitProviderSpec, LocalRef};

/// The connection that a spec describes. Nothing is sent yet.
///
/// # Errors
/// A spec without a forge or with a URL that cannot be used; an invalid token, private key or CA.
pub fn connect(
    spec: &GitProviderSpec,
    secrets: &ForgeSecrets,
    options: &HttpOptions,
) -> Result<Arc<dyn Forge>, ForgeError> {
    let kind = spec.kind().ok_or_else(|| ForgeError::Spec {
        message: "no forge is set: set one of github, gitlab, bitbucket and gitea".to_owned(),
    })?;
    Ok(match kind {
        ForgeKind::GitHub(spec) => Arc::new(github::GitHub::new(spec, secrets, options)?),
        ForgeKind::GitLab(spec) => Arc::new(gitlab::GitLab::new(spec, secrets, options)?),
        ForgeKind::Bitbucket(spec) => Arc::new(bitbucket::Bitbucket::new(spec, secrets, options)?),
        ForgeKind::Gitea(spec) => Arc::new(gitea::Gitea::new(spec, secrets, options)?),
    })
}

/// A key of a Secret that a spec names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CredentialRef<'a> {
    /// The Secret.
    pub name: &'a str,
    /// The key.
    pub key: &'a str,
    /// The field that names it, for messages.
    pub field: &'static str,
}

/// The Secrets that a spec names, with the fields that name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SecretRefs<'a> {
    /// The credential; `None` for a public OAuth application.
    pub credential: Option<CredentialRef<'a>>,
    /// The Secret with the tokens of an OAuth application, and its field. It is not among those whose change makes a new
    /// connection.
    pub tokens: Option<(&'a str, &'static str)>,
    /// The Secret with the CA's certificate as `ca.crt`.
    pub ca: Option<&'a LocalRef>,
    /// The CA's field.
    pub ca_field: &'static str,
}

/// The Secrets whose content [`connect`] needs; `None` for a spec that admission refuses.
pub fn secret_refs(spec: &GitProviderSpec) -> Option<SecretRefs<'_>> {
    let reference = |name, key, field| CredentialRef { name, key, field };
    Some(match spec.kind()? {
        ForgeKind::GitHub(spec) => SecretRefs {
            credential: Some(match (&spec.private_key_secret_ref, &spec.token_secret_ref) {
                (Some(key), _) => reference(&key.name, &key.key, "spec.github.privateKeySecretRef"),
                (None, token) => {
                    let token = token.as_ref()?;
                    reference(&token.name, &token.key, "spec.github.tokenSecretRef")
                }
            }),
            tokens: None,
            ca: spec.ca_secret_ref.as_ref(),
            ca_field: "spec.github.caSecretRef",
        },
        ForgeKind::GitLab(spec) => {
            let secret = spec.oauth.as_ref().and_then(|app| app.client_secret_ref.as_ref());
            let credential = match (&spec.token_secret_ref, secret) {
                (Some(token), _) => Some(reference(&token.name, &token.key, "spec.gitlab.tokenSecretRef")),
                (None, Some(secret)) => Some(reference(
                    &secret.name,
                    &secret.key,
                    "spec.gitlab.oauth.clientSecretRef",
                )),
                (None, None) => None,
            };
            let tokens = spec.oauth.as_ref().map(|app| app.tokens_secret_ref.name.as_str());
            SecretRefs {
                credential,
                tokens: tokens.map(|name| (name, "spec.gitlab.oauth.tokensSecretRef")),
                ca: spec.ca_secret_ref.as_ref(),
                ca_field: "spec.gitlab.caSecretRef",
            }
        }
        ForgeKind::Bitbucket(spec) => {
            let credential = if let Some(token) = &spec.api_token_secret_ref {
                reference(&token.name, &token.key, "spec.bitbucket.apiTokenSecretRef")
            } else if let Some(token) = &spec.access_token_secret_ref {
                reference(&token.name, &token.key, "spec.bitbucket.accessTokenSecretRef")
            } else {
                let secret = &spec.oauth.as_ref()?.client_secret_ref;
                reference(&secret.name, &secret.key, "spec.bitbucket.oauth.clientSecretRef")
            };
            let tokens = spec.oauth.as_ref().and_then(|app| app.tokens_secret_ref.as_ref());
            SecretRefs {
                credential: Some(credential),
                tokens: tokens.map(|tokens| (tokens.name.as_str(), "spec.bitbucket.oauth.tokensSecretRef")),
                ca: None,
                ca_field: "",
            }
        }
        ForgeKind::Gitea(spec) => {
            let secret = spec.oauth.as_ref().and_then(|app| app.client_secret_ref.as_ref());
            let credential = match (&spec.token_secret_ref, secret) {
                (Some(token), _) => Some(reference(&token.name, &token.key, "spec.gitea.tokenSecretRef")),
                (None, Some(secret)) => Some(reference(
                    &secret.name,
                    &secret.key,
                    "spec.gitea.oauth.clientSecretRef",
                )),
                (None, None) => None,
            };
            let tokens = spec.oauth.as_ref().map(|app| app.tokens_secret_ref.name.as_str());
            SecretRefs {
                credential,
                tokens: tokens.map(|name| (name, "spec.gitea.oauth.tokensSecretRef")),
                ca: spec.ca_secret_ref.as_ref(),
                ca_field: "spec.gitea.caSecretRef",
            }
        }
    })
}

/// The kind of forge that a spec names, as in the spec, and its URL.
pub fn describe(spec: &GitProviderSpec) -> Option<(&'static str, &str)> {
    let kind = spec.kind()?;
    let url = match kind {
        ForgeKind::GitHub(spec) => spec.url.as_str(),
        ForgeKind::GitLab(spec) => spec.url.as_str(),
        ForgeKind::Bitbucket(_) => "https://bitbucket.org",
        ForgeKind::Gitea(spec) => spec.url.as_str(),
    };
    Some((kind.name(), url))
}
