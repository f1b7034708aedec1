//! Which namespaces a GitProvider allows to use it: no other one receives anything of its deliveries.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, ResourceExt as _};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::api::{AllowedFrom, GitProvider};

/// How long the labels of a namespace are used, so that the API server is not asked for each delivery.
const LIFETIME: Duration = Duration::from_secs(10);

type Labels = BTreeMap<String, String>;

/// The labels of namespaces.
pub struct Namespaces {
    client: Client,
    read: Mutex<HashMap<String, (Instant, Labels)>>,
}

impl Namespaces {
    /// Knows no labels yet.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            read: Mutex::default(),
        }
    }

    /// Reports whether a namespace may use a GitProvider.
    ///
    /// # Errors
    /// The API server does not answer or refuses.
    pub async fn allows(&self, provider: &GitProvider, namespace: &str) -> Result<bool, kube::Error> {
        let own = provider.namespace().unwrap_or_default();
        let rule = &provider.spec.allowed_namespaces;
        let labels = if own != namespace && rule.from == AllowedFrom::Selector {
            self.labels(namespace).await?
        } else {
            Labels::new()
        };
        Ok(rule.allow(&own, namespace, || rule.matches(&labels)))
    }

    async fn labels(&self, namespace: &str) -> Result<Labels, kube::Error> {
        let known = {
            let mut read = self.read.lock();
            read.retain(|_, (at, _)| at.elapsed() < LIFETIME);
            read.get(namespace).map(|(_, labels)| labels.clone())
        };
        if let Some(labels) = known {
            return Ok(labels);
        }
        let api: Api<Namespace> = Api::all(self.client.clone());
        let found = api.get_metadata_opt(namespace).await?;
        let labels = found.map(|found| found.labels().clone()).unwrap_or_default();
        let kept = (Instant::now(), labels.clone());
        self.read.lock().insert(namespace.to_owned(), kept);
        Ok(labels)
    }
}
