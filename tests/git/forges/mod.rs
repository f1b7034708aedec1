//! The trait `Forge` on servers that answer as GitHub, GitLab, Bitbucket and Gitea do: one contract for all, each kind of
//! credential, and bad answers. The real Gitea runs beside these, in the tests that need Git.

mod app;
mod bad_answers;
mod browser;
mod budget;
mod clone;
mod contract;
mod credentials;
mod echoes;
mod hooks;
mod mocks;
mod oauth;
mod oauth_credentials;
mod openapi;
mod payloads;
mod pulls;
mod recorded;
mod servers;

use std::sync::Arc;

use davit::api::GitProviderSpec;
use davit::error::Problem;
use davit::forge::{Forge, ForgeError, ForgeSecrets, HttpOptions, RepositoryPath, connect};
use davit::redact::Secret;
use serde_json::Value;

use crate::forge::loopback_options;

pub use self::browser::authorise;

/// The connection that a spec describes, with the content of its Secret.
fn try_connect(spec: &Value, secret: &str, options: &HttpOptions) -> Result<Arc<dyn Forge>, ForgeError> {
    let spec: GitProviderSpec = serde_json::from_value(spec.clone()).unwrap();
    let secrets = ForgeSecrets {
        credential: Some(Secret::from(secret)),
        ca: None,
        tokens: None,
    };
    connect(&spec, &secrets, options)
}

fn connected(spec: &Value, secret: &str) -> Arc<dyn Forge> {
    try_connect(spec, secret, &loopback_options()).unwrap()
}

fn path(text: &str) -> RepositoryPath {
    RepositoryPath::parse(text).unwrap()
}

/// What a user reads if the check fails. The secret is never in it.
async fn problem(forge: &dyn Forge, secret: &str) -> Problem {
    let error = forge.check().await.expect_err("the check fails");
    assert!(!format!("{error:?} {error}").contains(secret), "{error:?}");
    Problem::of(&error)
}
