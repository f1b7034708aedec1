//! `spec.webhook` of a GitProvider and `spec.trigger.webhook` of an Application.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::values::is_false;

/// Deliveries of a forge, about all repositories of the connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProviderWebhook {
    /// The secret that the forge signs each delivery with.
    pub secret_ref: WebhookSecretRef,
    /// Register one hook per repository in use at the forge, repair it if it is changed, and remove it when it is unused.
    /// The credential needs the scope for webhooks. Default false: the user adds `status.webhookUrl` at the forge.
    #[serde(default, skip_serializing_if = "is_false")]
    pub manage: bool,
}

/// Deliveries to an Application's own URL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TriggerWebhook {
    /// The secret that a delivery is signed with, or that it has as its bearer token.
    pub secret_ref: WebhookSecretRef,
}

/// A key of a Secret that holds the secret of a webhook.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct WebhookSecretRef {
    /// The Secret, in the namespace of the object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key. Default `webhookSecret`.
    #[serde(default = "webhook_secret")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

fn webhook_secret() -> String {
    "webhookSecret".to_owned()
}
