//! Containers on a Kubernetes cluster: an Application becomes a Deployment, or a Job if its containers run to completion.
//!
//! The cluster performs the rollout: [`KubernetesRuntime::deploy`] compares the objects with the deployment, applies those that
//! differ, and reports the states of the Pods. Labels, as on a Docker Engine, are the only state.

mod configuration;
mod errors;
mod events;
mod exec;
mod log;
mod names;
mod objects;
mod observe;
mod progress;
mod quantity;
mod render;
mod rollout;
mod usage;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Once};

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1 as apps;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{ListParams, LogParams};
use kube::{Api, Client};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::docker::log_tail::{LINES, LogTail};
use super::event_hub::EventHub;
use super::redaction::GivenSecrets;
use super::{
    Capabilities, Deployment, Exec, ExecRequest, LogLine, LogOptions, Progress, RedactionPolicy,
    ReplicaState, Running, Runtime, RuntimeError, RuntimeEvent, Usage,
};
use crate::model::AppId;

/// Containers on the cluster that has the Applications.
pub struct KubernetesRuntime {
    inner: Arc<Inner>,
    // Dropped with the runtime: ends the task that follows the watches.
    _guard: DropGuard,
}

struct Inner {
    client: Client,
    hub: EventHub,
    following: Once,
    stop: CancellationToken,
}

impl KubernetesRuntime {
    /// Uses the cluster of this client.
    pub fn new(client: Client) -> Self {
        let stop = CancellationToken::new();
        Self {
            inner: Arc::new(Inner {
                client,
                hub: EventHub::default(),
                following: Once::new(),
                stop: stop.clone(),
            }),
            _guard: stop.drop_guard(),
        }
    }
}

#[async_trait]
impl Runtime for KubernetesRuntime {
    fn capabilities(&self) -> Capabilities {
        Capabilities::KUBERNETES
    }

    async fn observe(&self, app: &AppId, redaction: &RedactionPolicy) -> Result<Running, RuntimeError> {
        let inner = &self.inner;
        let state = inner.state(app).await?;
        let mut running = Running {
            replicas: observe::replicas(&state.jobs, &state.pods, &state.failures, Timestamp::now()),
            selector: Some(format!("{}={}", names::APPLICATION, app.name)),
        };
        let mut known: BTreeMap<String, GivenSecrets> = BTreeMap::new();
        for replica in &mut running.replicas {
            let has_output = match &replica.state {
                ReplicaState::Unhealthy(output) => !output.is_empty(),
                ReplicaState::Exited { message, .. } | ReplicaState::KeepsEnding { message, .. } => {
                    !message.is_empty()
                }
                ReplicaState::Created
                | ReplicaState::Starting
                | ReplicaState::Healthy
                | ReplicaState::Kept => false,
            };
            if !has_output {
                continue;
            }
            if !known.contains_key(&replica.hash) {
                let pod = state.pods.iter().find(|pod| observe::name(pod) == replica.id);
                let given = match pod.filter(|pod| observe::has_configuration(pod)) {
                    Some(_) => inner.given(app, &replica.hash).await?,
                    None => GivenSecrets::default(),
                };
                known.insert(replica.hash.clone(), given);
            }
            if let Some(given) = known.get(&replica.hash) {
                redaction.redact(&mut replica.state, &replica.hash, given);
            }
        }
        Ok(running)
    }

    async fn log_tail(
        &self,
        app: &AppId,
        replica: &str,
        redaction: &RedactionPolicy,
    ) -> Result<String, RuntimeError> {
        let inner = &self.inner;
        let Some((hash, given)) = inner.replica(app, replica).await? else {
            return Ok(String::new());
        };
        let request = LogParams {
            container: Some(names::CONTAINER.to_owned()),
            tail_lines: i64::try_from(LINES).ok(),
            ..LogParams::default()
        };
        let text = inner.pods(app).logs(replica, &request).await;
        let mut tail = LogTail::default();
        for line in readable(text)?.unwrap_or_default().split_inclusive('\n') {
            tail.push(line.as_bytes());
        }
        Ok(redaction.redact_log_tail(&tail.text(), &hash, &given))
    }

    async fn log(
        &self,
        app: &AppId,
        replica: &str,
        options: &LogOptions,
        redaction: &RedactionPolicy,
    ) -> Result<BoxStream<'static, Result<LogLine, RuntimeError>>, RuntimeError> {
        let inner = &self.inner;
        let Some((hash, given)) = inner.replica(app, replica).await? else {
            return Ok(futures::stream::empty().boxed());
        };
        let answer = inner.pods(app).log_stream(replica, &log::request(options)).await;
        let Some(answer) = readable(answer)? else {
            return Ok(futures::stream::empty().boxed());
        };
        Ok(log::lines(answer, redaction.masker(&hash, &given), options))
    }

    async fn exec(&self, app: &AppId, replica: &str, request: &ExecRequest) -> Result<Exec, RuntimeError> {
        self.inner.exec(app, replica, request).await
    }

    async fn usage(&self, app: &AppId) -> Result<Vec<Usage>, RuntimeError> {
        self.inner.usage(app).await
    }

    async fn deploy(&self, deployment: &Deployment) -> Result<Progress, RuntimeError> {
        self.inner.deploy(deployment).await
    }

    async fn stop(&self, app: &AppId) -> Result<Progress, RuntimeError> {
        self.inner.stop(app).await
    }

    async fn remove(&self, app: &AppId, volumes: bool) -> Result<bool, RuntimeError> {
        self.inner.remove(app, volumes).await
    }

    async fn orphan(&self, app: &AppId) -> Result<(), RuntimeError> {
        self.inner.orphan(app).await
    }

    async fn has_image(&self, _: &str) -> Result<bool, RuntimeError> {
        // Nodes pull images from a registry; a missing image is an error of its Pods.
        Ok(true)
    }

    async fn apps(&self) -> Result<Vec<(AppId, String)>, RuntimeError> {
        let params = ListParams::default().labels(&names::all());
        let client = &self.inner.client;
        let deployments = Api::<apps::Deployment>::all(client.clone())
            .list_metadata(&params)
            .await;
        let deployments = deployments.map_err(|error| errors::error("list Deployments", &error))?;
        let jobs = Api::<Job>::all(client.clone()).list_metadata(&params).await;
        let jobs = jobs.map_err(|error| errors::error("list Jobs", &error))?;
        let deployments = deployments.items.into_iter().map(|object| object.metadata);
        let all = deployments.chain(jobs.items.into_iter().map(|object| object.metadata));
        let apps: BTreeSet<_> = all
            .filter_map(|meta| Some((names::app_of(&meta)?, names::label(&meta, names::UID).to_owned())))
            .collect();
        Ok(apps.into_iter().collect())
    }

    fn events(&self) -> BoxStream<'static, RuntimeEvent> {
        let inner = &self.inner;
        let stream = inner.hub.listen();
        inner.following.call_once(|| {
            let follow = Inner::follow(Arc::downgrade(inner));
            tokio::spawn(inner.stop.clone().run_until_cancelled_owned(follow));
        });
        stream.boxed()
    }
}

/// The answer to a request for a log; `None` if the container has not started, or not before.
fn readable<T>(answer: Result<T, kube::Error>) -> Result<Option<T>, RuntimeError> {
    match answer {
        Err(kube::Error::Api(status)) if status.code == 400 => Ok(None),
        other => errors::unless_gone("read the log of a Pod", other),
    }
}

impl Inner {
    fn pods(&self, app: &AppId) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &app.namespace)
    }

    /// The configuration of a replica, and the secrets that it was given; `None` if the Application has no such Pod.
    async fn replica(&self, app: &AppId, name: &str) -> Result<Option<(String, GivenSecrets)>, RuntimeError> {
        let found = self.pods(app).get_opt(name).await;
        let found = found.map_err(|error| errors::error("get a Pod", &error))?;
        let Some(pod) = found.filter(|pod| names::is_ours(&pod.metadata, app)) else {
            return Ok(None);
        };
        let hash = names::label(&pod.metadata, names::CONFIG).to_owned();
        let given = if observe::has_configuration(&pod) {
            self.given(app, &hash).await?
        } else {
            GivenSecrets::default()
        };
        Ok(Some((hash, given)))
    }

    /// The secrets that Pods of a configuration were given. Without the Secret, they may have been anything.
    async fn given(&self, app: &AppId, hash: &str) -> Result<GivenSecrets, RuntimeError> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &app.namespace);
        let found = secrets.get_opt(&names::config_secret(app, hash)).await;
        let found = found.map_err(|error| errors::error("get a Secret", &error))?;
        let found = found.filter(|secret| names::is_ours(&secret.metadata, app));
        Ok(found.map_or(
            GivenSecrets {
                env: Vec::new(),
                files: true,
            },
            |secret| configuration::given(&secret.data.unwrap_or_default()),
        ))
    }
}
