//! Of several controllers one works: the holder of a Lease. The others wait for it.
//!
//! Clocks of machines differ, so a Lease has expired when it has not changed for its duration by the local clock, as for the
//! components of Kubernetes.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{Pod, Secret as ApiSecret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::time::Instant;

use crate::error::chain;
use crate::redact::Secret;

/// How long a Lease is valid that is not renewed. Another controller works at most this long and one [`RETRY`] later.
const DURATION: Duration = Duration::from_secs(10);
/// How long the holder tries to renew it; after that it must stop.
const RENEW: Duration = Duration::from_secs(6);
/// The pause between two tries.
const RETRY: Duration = Duration::from_secs(2);
/// The label of the Pod that holds the Lease: Services select by it.
const LABEL: &str = "davit.dev/leader";
/// The key in the Secret with the key of all digests.
const KEY: &str = "key";
const MANAGER: &str = "davit";

/// The name of a Lease: `NAMESPACE/NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseName {
    namespace: String,
    name: String,
}

impl fmt::Display for LeaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl FromStr for LeaseName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
                Ok(Self {
                    namespace: namespace.to_owned(),
                    name: name.to_owned(),
                })
            }
            _ => Err(format!("{text:?} is not a Lease: write NAMESPACE/NAME")),
        }
    }
}

/// What was seen of a Lease, and since when by the local clock.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    version: Option<String>,
    at: Instant,
}

/// What to do about a Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Create,
    /// It is free, has expired, or is this controller's.
    Take,
    Wait,
}

/// Decides about a Lease that was last seen to change at `changed`.
fn decide(found: Option<&LeaseSpec>, identity: &str, changed: Instant, now: Instant) -> Step {
    let Some(spec) = found else {
        return Step::Create;
    };
    let holder = spec.holder_identity.as_deref().unwrap_or_default();
    let seconds = spec.lease_duration_seconds.unwrap_or_default();
    let duration = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
    if holder.is_empty() || holder == identity || now.duration_since(changed) >= duration {
        Step::Take
    } else {
        Step::Wait
    }
}

/// This controller among those that want the Lease.
pub struct Election {
    api: Api<Lease>,
    pods: Api<Pod>,
    secrets: Api<ApiSecret>,
    lease: LeaseName,
    /// The name of this Pod.
    host: String,
    identity: String,
}

impl Election {
    /// `host` is the name of the machine, which in a cluster is that of the Pod.
    pub fn new(client: Client, lease: LeaseName, host: &str) -> Self {
        let namespace = &lease.namespace;
        Self {
            api: Api::namespaced(client.clone(), namespace),
            pods: Api::namespaced(client.clone(), namespace),
            secrets: Api::namespaced(client, namespace),
            host: host.to_owned(),
            identity: format!("{host}_{:016x}", rand::random::<u64>()),
            lease,
        }
    }

    /// Waits until this controller holds the Lease.
    pub async fn acquire(&self) {
        self.mark(false).await;
        let mut seen: Option<Seen> = None;
        let mut holder = String::new();
        loop {
            match self.try_to_take(&mut seen).await {
                Ok(None) => break,
                Ok(Some(other)) => {
                    if other != holder {
                        tracing::info!(lease = %self.lease, holder = other, "another controller works; this one waits");
                    }
                    holder = other;
                }
                Err(error) => {
                    tracing::warn!(lease = %self.lease, error = %chain(&error), "the Lease cannot be read or written");
                }
            }
            tokio::time::sleep(RETRY).await;
        }
        tracing::info!(lease = %self.lease, identity = self.identity, "this controller works");
        self.mark(true).await;
    }

    /// Takes the Lease if that is possible. Returns its holder if it is another controller.
    async fn try_to_take(&self, seen: &mut Option<Seen>) -> Result<Option<String>, kube::Error> {
        let found = self.api.get_opt(&self.lease.name).await?;
        let version = found
            .as_ref()
            .and_then(|lease| lease.metadata.resource_version.clone());
        let now = Instant::now();
        if seen.as_ref().is_none_or(|seen| seen.version != version) {
            *seen = Some(Seen { version, at: now });
        }
        let changed = seen.as_ref().map_or(now, |seen| seen.at);
        let spec = found.as_ref().and_then(|lease| lease.spec.as_ref());
        let written = match decide(spec, &self.identity, changed, now) {
            Step::Wait => {
                let holder = spec.and_then(|spec| spec.holder_identity.clone());
                return Ok(holder.or_else(|| Some(String::new())));
            }
            Step::Create => {
                let lease = self.record(None);
                self.api.create(&PostParams::default(), &lease).await
            }
            Step::Take => {
                let lease = self.record(found);
                self.api
                    .replace(&self.lease.name, &PostParams::default(), &lease)
                    .await
            }
        };
        match written {
            Ok(_) => Ok(None),
            // Another controller was faster.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(Some(String::new())),
            Err(error) => Err(error),
        }
    }

    /// The Lease with this controller as its holder.
    fn record(&self, found: Option<Lease>) -> Lease {
        let mut lease = found.unwrap_or_else(|| Lease {
            metadata: ObjectMeta {
                name: Some(self.lease.name.clone()),
                ..ObjectMeta::default()
            },
            ..Lease::default()
        });
        let spec = lease.spec.get_or_insert_default();
        let now = Some(MicroTime(Timestamp::now()));
        if spec.holder_identity.as_ref() != Some(&self.identity) {
            spec.lease_transitions = Some(spec.lease_transitions.map_or(0, |count| count.saturating_add(1)));
            spec.acquire_time.clone_from(&now);
        }
        spec.holder_identity = Some(self.identity.clone());
        spec.lease_duration_seconds = i32::try_from(DURATION.as_secs()).ok();
        spec.renew_time = now;
        lease
    }

    /// Renews the Lease, and returns when it is lost.
    pub async fn hold(&self) -> String {
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep(RETRY).await;
            if renewed.elapsed() >= RENEW {
                return format!("the Lease {} could not be renewed for {RENEW:?}", self.lease);
            }
            let rest = RENEW.saturating_sub(renewed.elapsed());
            let mut seen = None;
            match tokio::time::timeout(rest, self.try_to_take(&mut seen)).await {
                Ok(Ok(None)) => renewed = Instant::now(),
                Ok(Ok(Some(holder))) if !holder.is_empty() => {
                    return format!("{holder} holds the Lease {} now", self.lease);
                }
                Ok(Ok(Some(_))) => {}
                Ok(Err(error)) => {
                    tracing::warn!(lease = %self.lease, error = %chain(&error), "the Lease could not be renewed");
                }
                Err(_) => return format!("the Lease {} could not be renewed for {RENEW:?}", self.lease),
            }
        }
    }

    /// Gives the Lease back, so that another controller need not wait until it expires.
    pub async fn release(&self) {
        let released = async {
            let Some(mut lease) = self.api.get_opt(&self.lease.name).await? else {
                return Ok(());
            };
            let spec = lease.spec.get_or_insert_default();
            if spec.holder_identity.as_ref() != Some(&self.identity) {
                return Ok(());
            }
            spec.holder_identity = Some(String::new());
            spec.lease_duration_seconds = Some(1);
            let replaced = self
                .api
                .replace(&self.lease.name, &PostParams::default(), &lease)
                .await;
            replaced.map(|_| ())
        };
        let released: Result<Result<(), kube::Error>, _> = tokio::time::timeout(RETRY, released).await;
        if let Ok(Err(error)) = released {
            tracing::warn!(lease = %self.lease, error = %chain(&error), "the Lease could not be given back; it expires");
        }
    }

    /// The key of all digests, which all controllers share: that of the Secret `LEASE-key`. The first one writes its own.
    ///
    /// # Errors
    /// The Secret cannot be read or created, or has no key.
    pub async fn shared_key(&self, own: &Secret) -> anyhow::Result<Secret> {
        let name = format!("{}-key", self.lease.name);
        let wanted = ApiSecret {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                ..ObjectMeta::default()
            },
            data: Some([(KEY.to_owned(), ByteString(own.expose().to_vec()))].into()),
            immutable: Some(true),
            ..ApiSecret::default()
        };
        let found = match self.secrets.get_opt(&name).await? {
            Some(found) => found,
            None => match self.secrets.create(&PostParams::default(), &wanted).await {
                Err(kube::Error::Api(status)) if status.code == 409 => self.secrets.get(&name).await?,
                created => created?,
            },
        };
        let key = found.data.and_then(|mut data| data.remove(KEY));
        let key = key.filter(|key| !key.0.is_empty()).ok_or_else(|| {
            let namespace = &self.lease.namespace;
            anyhow::anyhow!(
                "the Secret {namespace}/{name} has no key {KEY:?}: delete the Secret; everything is deployed anew then"
            )
        })?;
        Ok(Secret::new(key.0))
    }

    /// Labels this Pod, or takes the label from it. Outside of a cluster there is no such Pod.
    async fn mark(&self, leads: bool) {
        let value = leads.then_some("true");
        let patch = json!({"metadata": {"labels": {LABEL: value}}});
        let params = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        match self
            .pods
            .patch_metadata(&self.host, &params, &Patch::Merge(patch))
            .await
        {
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => tracing::warn!(
                pod = self.host,
                error = %chain(&error),
                "the Pod could not be labelled with {LABEL}; Services that select by it do not reach this controller"
            ),
            Ok(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(holder: &str, seconds: i32) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(seconds),
            ..LeaseSpec::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn lease_is_taken_when_it_has_not_changed_for_its_duration() {
        let changed = Instant::now();
        let after = |seconds| changed + Duration::from_secs(seconds);
        for (found, now, step) in [
            (None, 0, Step::Create),
            (Some(held("a", 10)), 0, Step::Take),
            (Some(held("", 1)), 0, Step::Take),
            (Some(held("b", 10)), 9, Step::Wait),
            (Some(held("b", 10)), 10, Step::Take),
        ] {
            assert_eq!(
                decide(found.as_ref(), "a", changed, after(now)),
                step,
                "{found:?}"
            );
        }
    }

    #[test]
    fn lease_has_a_namespace_and_a_name() {
        let lease: LeaseName = "davit-system/davit".parse().unwrap();
        assert_eq!(lease.to_string(), "davit-system/davit");
        for wrong in ["davit", "/davit", "davit/", "a/b/c"] {
            assert!(
                wrong.parse::<LeaseName>().unwrap_err().contains("NAMESPACE/NAME"),
                "{wrong}"
            );
        }
    }
}
