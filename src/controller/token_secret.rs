//! The Secret with the tokens of an OAuth application.

use std::collections::BTreeMap;

use async_trait::async_trait;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret as KubeSecret;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;

use crate::api::{MANAGER, Reason};
use crate::error::{Class, Problem};
use crate::forge::{StoredTokens, TokenStore, Tokens};
use crate::redact::{self, Secret};

use super::problem::cluster_problem;

/// The keys of the Secret.
const ACCESS: &str = "accessToken";
const REFRESH: &str = "refreshToken";
const EXPIRES_AT: &str = "expiresAt";
const REPLACING_SINCE: &str = "replacingSince";

/// A Secret by its name.
pub struct TokenSecret {
    api: Api<KubeSecret>,
    name: String,
    /// The field that names it, for messages.
    field: &'static str,
}

impl TokenSecret {
    /// The Secret of this name.
    pub fn new(client: Client, namespace: &str, name: &str, field: &'static str) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            field,
        }
    }
}

#[async_trait]
impl TokenStore for TokenSecret {
    async fn load(&self) -> Result<StoredTokens, Problem> {
        let found = self.api.get_opt(&self.name).await;
        let secret = found
            .map_err(|error| cluster_problem("read the OAuth tokens", &error))?
            .ok_or_else(|| {
                let message = format!(
                    "{} names the Secret {:?}, which does not exist: create it with {ACCESS}, {REFRESH} and {EXPIRES_AT}",
                    self.field, self.name
                );
                Problem::new(Class::Terminal, Reason::SecretNotFound, message)
            })?;
        let data = secret.data.unwrap_or_default();
        let value = |key: &str| {
            let value = data.get(key).map(|value| Secret::new(value.0.clone()).trimmed());
            value.filter(|value| !value.is_empty())
        };
        let refresh = value(REFRESH);
        let access = value(ACCESS).or_else(|| refresh.as_ref().map(|_| Secret::from(String::new())));
        let access = access.ok_or_else(|| {
            let message = format!(
                "{} names the Secret {:?}, which has neither {ACCESS} nor {REFRESH}: authorise the OAuth application and store both",
                self.field, self.name
            );
            Problem::new(Class::Terminal, Reason::SecretKeyMissing, message)
        })?;
        redact::log::hide(
            [&access]
                .into_iter()
                .chain(&refresh)
                .filter(|secret| !secret.is_empty()),
        );
        let expires_at = value(EXPIRES_AT).and_then(|text| text.expose_str()?.parse().ok());
        Ok(StoredTokens {
            tokens: Tokens {
                // A pair without a time is replaced at once, if it can be.
                expires_at: expires_at.or_else(|| refresh.as_ref().map(|_| jiff::Timestamp::UNIX_EPOCH)),
                access,
                refresh,
            },
            version: secret.metadata.resource_version.unwrap_or_default(),
            replacing_since: value(REPLACING_SINCE).and_then(|text| text.expose_str()?.parse().ok()),
        })
    }

    async fn store(&self, tokens: &Tokens, version: &str) -> Result<bool, Problem> {
        redact::log::hide([&tokens.access].into_iter().chain(&tokens.refresh));
        let value = |value: &Secret| Some(ByteString(value.expose().to_vec()));
        let mut data = BTreeMap::from([(ACCESS, value(&tokens.access)), (REPLACING_SINCE, None)]);
        if let Some(refresh) = &tokens.refresh {
            data.insert(REFRESH, value(refresh));
        }
        let expires_at = tokens
            .expires_at
            .map(|at| ByteString(at.to_string().into_bytes()));
        data.insert(EXPIRES_AT, expires_at);
        self.write(&data, version).await
    }

    async fn begin(&self, since: jiff::Timestamp, version: &str) -> Result<bool, Problem> {
        let since = Some(ByteString(since.to_string().into_bytes()));
        self.write(&BTreeMap::from([(REPLACING_SINCE, since)]), version)
            .await
    }
}

impl TokenSecret {
    /// Merges keys into this version of the Secret; `None` removes a key.
    async fn write(&self, data: &BTreeMap<&str, Option<ByteString>>, version: &str) -> Result<bool, Problem> {
        let patch = Patch::Merge(json!({"metadata": {"resourceVersion": version}, "data": data}));
        let params = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        match self.api.patch(&self.name, &params, &patch).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(cluster_problem("store the new OAuth tokens", &error)),
        }
    }
}
