//! The secrets that deliveries are signed with. They are kept for a short time, so that the API server is not asked for each
//! delivery.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret as KubeSecret;
use kube::{Api, Client};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::api::WebhookSecretRef;
use crate::redact::{self, Secret};

/// How long a value is used.
pub const LIFETIME: Duration = Duration::from_secs(30);
/// How old a value is at most if a signature did not fit it: the Secret may have been changed. Wrong signatures therefore
/// cost at most one request in this time.
pub const RECHECK: Duration = Duration::from_secs(1);

/// Namespace, name and key.
type Key = (String, String, String);

#[derive(Debug, Default)]
struct Slot {
    value: Option<Secret>,
    read: Option<Instant>,
}

/// The secrets by reference. A slot is locked while the API server is asked, so that deliveries that arrive together share one
/// request.
pub struct Secrets {
    client: Client,
    slots: Mutex<HashMap<Key, Arc<tokio::sync::Mutex<Slot>>>>,
}

impl Secrets {
    /// Knows no secret yet.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            slots: Mutex::default(),
        }
    }

    /// The value that a reference names, at most `age` old; `None` if the Secret or the key does not exist.
    ///
    /// # Errors
    /// The API server does not answer or refuses.
    pub async fn get(
        &self,
        namespace: &str,
        reference: &WebhookSecretRef,
        age: Duration,
    ) -> Result<Option<Secret>, kube::Error> {
        let WebhookSecretRef { name, key } = reference;
        let slot = {
            let key = (namespace.to_owned(), name.clone(), key.clone());
            self.slots.lock().entry(key).or_default().clone()
        };
        let mut slot = slot.lock().await;
        if slot.read.is_some_and(|read| read.elapsed() < age) {
            return Ok(slot.value.clone());
        }
        let secrets: Api<KubeSecret> = Api::namespaced(self.client.clone(), namespace);
        let found = secrets.get_opt(name).await?;
        let value = found.and_then(|found| found.data?.remove(key));
        slot.value = value.map(|value| Secret::new(value.0));
        slot.read = Some(Instant::now());
        redact::log::hide(slot.value.iter());
        Ok(slot.value.clone())
    }
}
