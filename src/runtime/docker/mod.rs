//! Containers on a Docker Engine.
//!
//! [`rolling`] decides; everything else observes ([`observe`]) or executes. Nothing is remembered that the containers'
//! labels, names and aliases do not say, but for what is under way at this moment, so a restart of Davit goes on where it
//! was. Two Davits share an engine when their instance differs: all names and labels contain it.

mod architecture;
pub(super) mod container_log;
mod create;
pub mod docker_host;
mod endpoint;
pub(super) mod errors;
mod events;
mod exec;
mod execute;
mod healthy_since;
pub(super) mod labels;
pub(super) mod log_tail;
mod network;
mod network_removal;
mod observe;
mod output;
mod probe;
pub mod proxy;
mod restart_history;
mod subnet;
mod usage;
mod volumes;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Once};
use std::time::Duration;

use async_trait::async_trait;
use bollard::Docker;
use bollard::models::{ContainerInspectResponse, ContainerSummary};
use bollard::query_parameters::{InspectContainerOptions, ListContainersOptionsBuilder};
use futures::StreamExt as _;
use futures::stream::BoxStream;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::{RwLock, mpsc};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    Capabilities, Deployment, Exec, ExecRequest, LogLine, LogOptions, Progress, RedactionPolicy, Running,
    Runtime, RuntimeError, RuntimeEvent, Usage,
};
use crate::error::chain;
use crate::model::AppId;
use crate::runtime::event_hub::EventHub;
use crate::runtime::rolling::{self, ContainerView, Health, InProgress, Phase, RolloutSpec};
use healthy_since::Since;
use labels::{Names, app_of};
use observe::ContainerInfo;
use probe::{Check, Probes, Target};
use restart_history::RestartHistory;

/// How often the next steps are asked for in one call of `deploy`; a rollout needs four at most.
const ROUNDS: usize = 8;
/// How long a replica without any health check must have run by default.
const MIN_READY_UNCHECKED: Duration = Duration::from_secs(1);

/// What can be chosen about the Docker runtime.
#[derive(Clone, Debug)]
pub struct DockerOptions {
    /// Which Davit this is, where several share an engine; empty by default. Of letters and digits.
    pub instance: String,
    /// What sets this Davit apart from another one of the same name: what that made is left alone. Empty by default.
    pub installation: String,
    /// How long a container that has left the Application's name still answers clients that have just resolved it; 3 s by
    /// default, because a SYN that was lost in the moment of leaving is sent again after 1 s.
    pub drain: Duration,
}

impl Default for DockerOptions {
    fn default() -> Self {
        Self {
            instance: String::new(),
            installation: String::new(),
            drain: Duration::from_secs(3),
        }
    }
}

/// Containers on a Docker Engine.
pub struct DockerRuntime {
    inner: Arc<Inner>,
    // Dropped with the runtime: ends the tasks that listen to the engine.
    _guard: DropGuard,
}

struct Inner {
    docker: Docker,
    names: Names,
    options: DockerOptions,
    hub: Arc<EventHub>,
    probes: Probes,
    since: Since,
    ends: RestartHistory,
    busy: Mutex<HashMap<String, InProgress>>,
    /// Containers that wait until a reverse proxy sends no more requests to them. The next deployment finds them again.
    leaving: Mutex<HashSet<String>>,
    changed: mpsc::UnboundedSender<AppId>,
    /// Read: containers are being made. Write: a network is being removed because no container is left.
    using_networks: RwLock<()>,
    /// Read: volumes of files are being filled and not yet those of a container. Write: those of none are being removed.
    using_files: RwLock<()>,
    /// One network is created at a time: the engine would create two of one name.
    subnets: tokio::sync::Mutex<network::Subnets>,
    following: Once,
    stop: CancellationToken,
}

impl DockerRuntime {
    /// Uses this engine. Must be called within a tokio runtime.
    pub fn new(docker: Docker, options: DockerOptions) -> Self {
        let (changed, receiver) = mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let inner = Arc::new(Inner {
            probes: Probes::new(docker.clone(), changed.clone()),
            docker,
            names: Names::new(&options.instance, &options.installation),
            options,
            hub: Arc::default(),
            since: Since::default(),
            ends: RestartHistory::default(),
            busy: Mutex::default(),
            leaving: Mutex::default(),
            changed,
            using_networks: RwLock::default(),
            using_files: RwLock::default(),
            subnets: tokio::sync::Mutex::default(),
            following: Once::new(),
            stop: stop.clone(),
        });
        let gather = Inner::gather(Arc::downgrade(&inner), receiver);
        tokio::spawn(stop.clone().run_until_cancelled_owned(gather));
        Self {
            inner,
            _guard: stop.drop_guard(),
        }
    }
}

#[async_trait]
impl Runtime for DockerRuntime {
    fn capabilities(&self) -> Capabilities {
        Capabilities::DOCKER
    }

    async fn observe(&self, app: &AppId, redaction: &RedactionPolicy) -> Result<Running, RuntimeError> {
        let mut running = Running::default();
        let all = self.inner.containers(app).await?;
        self.inner.hub.reached();
        for looked in all {
            let busy = self.inner.busy.lock().contains_key(&looked.id);
            let message = if looked.keeps_ending {
                self.inner.output_of_restarting(&looked).await
            } else if matches!(looked.phase, Phase::Exited(_)) {
                self.inner.last_output(&looked).await
            } else {
                String::new()
            };
            let given = looked.given.clone();
            let mut replica = looked.replica(busy, message);
            replica.leaving = self.inner.leaving.lock().contains(&replica.id);
            redaction.redact(&mut replica.state, &replica.hash, &given);
            running.replicas.push(replica);
        }
        running.replicas.sort_by(|one, two| one.name.cmp(&two.name));
        Ok(running)
    }

    async fn log_tail(
        &self,
        app: &AppId,
        replica: &str,
        redaction: &RedactionPolicy,
    ) -> Result<String, RuntimeError> {
        let inner = &self.inner;
        let Some(looked) = inner.inspect(replica).await? else {
            return Ok(String::new());
        };
        if !inner.names.ours(&looked.labels) || app_of(&looked.labels).as_ref() != Some(app) {
            return Ok(String::new());
        }
        let output = inner.output(&looked.id).await;
        Ok(redaction.redact_log_tail(&output, &looked.config(), &looked.given))
    }

    async fn log(
        &self,
        app: &AppId,
        replica: &str,
        options: &LogOptions,
        redaction: &RedactionPolicy,
    ) -> Result<BoxStream<'static, Result<LogLine, RuntimeError>>, RuntimeError> {
        self.inner.log(app, replica, options, redaction).await
    }

    async fn exec(&self, app: &AppId, replica: &str, request: &ExecRequest) -> Result<Exec, RuntimeError> {
        self.inner.exec(app, replica, request).await
    }

    async fn usage(&self, app: &AppId) -> Result<Vec<Usage>, RuntimeError> {
        self.inner.usage(app).await
    }

    async fn deploy(&self, deployment: &Deployment) -> Result<Progress, RuntimeError> {
        let inner = &self.inner;
        let mut last = None;
        for _ in 0..ROUNDS {
            let mut looked = inner.containers(&deployment.identity.app).await?;
            looked.retain(|one| {
                deployment.history.preserved.is_none()
                    || one.labels.get(labels::CONFIG) != deployment.history.preserved.as_ref()
            });
            inner.not_executed(deployment, &looked).await?;
            let busy = inner.busy.lock().clone();
            let seen: Vec<_> = looked
                .iter()
                .map(|looked| looked.seen(deployment, &inner.names, busy.get(&looked.id).copied()))
                .collect();
            let want = inner.want(deployment, &looked, &seen);
            let next = rolling::next(&seen, &want, Timestamp::now());
            {
                let mut leaving = inner.leaving.lock();
                leaving.retain(|id| !looked.iter().any(|one| one.id == *id));
                leaving.extend(next.leaving.iter().cloned());
            }
            if next.steps.is_empty() {
                if deployment.policy.replicas == 0 && next.progress == Progress::Complete {
                    inner
                        .remove_unused_network(&deployment.identity.app.namespace)
                        .await?;
                }
                return Ok(next.progress);
            }
            inner.execute(deployment, &looked, next.steps).await?;
            inner.prepare_subnet();
            last = Some(next.progress);
        }
        Ok(match last {
            Some(Progress::Rolling {
                created,
                ready,
                waiting_for,
                ..
            }) => Progress::Rolling {
                created,
                ready,
                check_in: Some(Duration::from_secs(1)),
                waiting_for,
            },
            other => other.unwrap_or(Progress::Complete),
        })
    }

    async fn stop(&self, app: &AppId) -> Result<Progress, RuntimeError> {
        let inner = &self.inner;
        let replicas = inner.containers(app).await?;
        for replica in &replicas {
            inner.retire(&replica.id, app.clone(), InProgress::Retiring);
        }
        if replicas.is_empty() {
            inner.remove_unused_network(&app.namespace).await?;
            return Ok(Progress::Complete);
        }
        Ok(Progress::stopping(replicas.len()))
    }

    async fn remove(&self, app: &AppId, volumes: bool) -> Result<bool, RuntimeError> {
        let inner = &self.inner;
        let listed = inner.list(&inner.names.app_labels(app)).await?;
        for container in &listed {
            let id = container.id.as_deref().unwrap_or_default();
            inner.retire(id, app.clone(), InProgress::Retiring);
        }
        if !listed.is_empty() {
            return Ok(false);
        }
        let mut gone = volumes::remove_files(&inner.docker, &inner.names, app).await?;
        if volumes {
            gone &= volumes::remove_data(&inner.docker, &inner.names, app).await?;
        }
        inner.remove_unused_network(&app.namespace).await?;
        Ok(gone)
    }

    async fn has_image(&self, image: &str) -> Result<bool, RuntimeError> {
        let found = self.inner.docker.inspect_image(image).await;
        Ok(errors::unless_gone("inspect an image", found)?.is_some())
    }

    async fn apps(&self) -> Result<Vec<(AppId, String)>, RuntimeError> {
        let inner = &self.inner;
        let ours = inner.names.namespace_labels("");
        let ours: HashMap<_, _> = ours
            .into_iter()
            .filter(|(key, _)| key == labels::INSTANCE)
            .collect();
        let mut files = ours.clone();
        files.insert(labels::ROLE.to_owned(), labels::ROLE_FILES.to_owned());
        let containers = inner.list_all(&ours).await?.into_iter();
        let containers: Vec<_> = containers.filter_map(|container| container.labels).collect();
        inner.warn_of_others(&containers);
        let containers = containers.into_iter().filter(|labels| inner.names.ours(labels));
        let volumes = volumes::list(&inner.docker, &inner.names, &files).await?;
        let found: BTreeSet<_> = containers
            .chain(volumes.into_iter().map(|(_, labels)| labels))
            .filter_map(|labels| Some((app_of(&labels)?, labels.get(labels::UID)?.clone())))
            .collect();
        Ok(found.into_iter().collect())
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

impl Inner {
    /// Our containers with these labels, whatever their state.
    async fn list(&self, labels: &HashMap<String, String>) -> Result<Vec<ContainerSummary>, RuntimeError> {
        let mut listed = self.list_all(labels).await?;
        listed.retain(|container| {
            let labels = container.labels.as_ref();
            labels.is_none_or(|labels| self.names.of_another(labels).is_none())
        });
        Ok(listed)
    }

    /// Warns about another installation with the same instance name on the engine.
    fn warn_of_others(&self, containers: &[HashMap<String, String>]) {
        let others: BTreeSet<&str> = containers
            .iter()
            .filter_map(|labels| self.names.of_another(labels))
            .collect();
        for installation in others {
            tracing::warn!(
                instance = self.options.instance,
                "left alone are the containers of {}",
                labels::another(installation)
            );
        }
    }

    /// The containers with these labels, also those that another installation made.
    async fn list_all(
        &self,
        labels: &HashMap<String, String>,
    ) -> Result<Vec<ContainerSummary>, RuntimeError> {
        let options = ListContainersOptionsBuilder::new()
            .all(true)
            .filters(&Names::query(labels))
            .build();
        let listed = self.docker.list_containers(Some(options)).await;
        listed.map_err(|refusal| errors::error("list containers", &refusal))
    }

    /// All replicas of an Application.
    async fn containers(&self, app: &AppId) -> Result<Vec<ContainerInfo>, RuntimeError> {
        let listed = self.list(&self.names.app_labels(app)).await?;
        let ids = listed.into_iter().filter_map(|container| container.id);
        let all = futures::future::join_all(ids.map(|id| async move { self.inspect(&id).await })).await;
        let mut looked: Vec<ContainerInfo> = Vec::new();
        for one in all {
            looked.extend(one?.filter(ContainerInfo::is_replica));
        }
        let running = looked
            .iter()
            .filter(|one| matches!(one.phase, Phase::Running | Phase::Paused));
        let running: HashSet<&str> = running.map(|one| one.id.as_str()).collect();
        self.probes.retain(app, &running);
        Ok(looked)
    }

    /// One container; `None` if it does not exist.
    async fn inspect(&self, id: &str) -> Result<Option<ContainerInfo>, RuntimeError> {
        let answer = self
            .docker
            .inspect_container(id, None::<InspectContainerOptions>)
            .await;
        let answer: Option<ContainerInspectResponse> = errors::unless_gone("inspect a container", answer)?;
        let Some(answer) = answer else { return Ok(None) };
        let mut looked = observe::read(answer, &self.names, &self.since, Timestamp::now());
        // What is not ours is nothing for us to check.
        if looked.phase == Phase::Running && self.names.ours(&looked.labels) {
            self.check(&mut looked);
        }
        self.ends.judge(&mut looked, Timestamp::now());
        Ok(Some(looked))
    }

    /// What our own checks know better than the engine, which makes none or waits too long with its first.
    fn check(&self, looked: &mut ContainerInfo) {
        let ours = looked
            .labels
            .get(labels::HEALTH)
            .and_then(|label| Check::from_label(label));
        let undecided = matches!(looked.health, Health::Starting(_));
        let engines = looked.check.clone().filter(|_| undecided);
        if ours.is_none() && engines.is_none() {
            // The engine knows: what we found before it did is of no use any more.
            self.probes.drop(&looked.id);
        }
        if let (Some(check), Some(app)) = (ours.or(engines), app_of(&looked.labels)) {
            let ip = looked.endpoint.as_ref().and_then(|endpoint| endpoint.ip.clone());
            looked.checked = true;
            looked.health = self.probes.health(Target {
                id: looked.id.clone(),
                started: looked.started.clone(),
                ip: ip.unwrap_or_default(),
                app,
                check,
            });
            if let Health::Healthy(since) = looked.health {
                // So that the engine's own first success, which comes later, changes nothing.
                self.since.earliest(&looked.id, &looked.started, since);
            }
        }
    }

    /// Takes up the checks of all containers that have one of ours, and removes unused networks;
    /// called whenever the engine is connected.
    async fn resume(self: &Arc<Self>) -> Result<(), RuntimeError> {
        let label = vec![self.names.instance_label(), labels::HEALTH.to_owned()];
        let filters = HashMap::from([("label".to_owned(), label)]);
        let options = ListContainersOptionsBuilder::new().filters(&filters).build();
        let listed = self.docker.list_containers(Some(options)).await;
        for container in listed.map_err(|refusal| errors::error("list containers", &refusal))? {
            self.inspect(container.id.as_deref().unwrap_or_default()).await?;
        }
        self.prepare_subnet();
        // What cannot be removed now is no reason not to look at what runs.
        if let Err(error) = self.remove_unused_networks().await {
            tracing::warn!(error = %chain(&error), "unused networks could not be removed");
        }
        Ok(())
    }

    /// Chooses the subnet of the next namespace's network in the background.
    fn prepare_subnet(self: &Arc<Self>) {
        // A task that holds the lock is using a subnet, or choosing one.
        if !self.subnets.try_lock().is_ok_and(|subnets| subnets.is_empty()) {
            return;
        }
        let inner = Arc::clone(self);
        let prepare = async move {
            let prepared = inner
                .subnets
                .lock()
                .await
                .prepare(&inner.docker, &inner.names)
                .await;
            if let Err(error) = prepared {
                tracing::debug!(%error, "the subnet of the next network could not be chosen in advance");
            }
        };
        tokio::spawn(self.stop.clone().run_until_cancelled_owned(prepare));
    }

    fn want(&self, deployment: &Deployment, looked: &[ContainerInfo], seen: &[ContainerView]) -> RolloutSpec {
        let of_this =
            |one: &&ContainerInfo| one.labels.get(labels::CONFIG) == Some(&deployment.identity.hash);
        let checked =
            deployment.spec.health.is_some() || looked.iter().filter(of_this).any(|one| one.checked);
        let default = if checked {
            Duration::ZERO
        } else {
            MIN_READY_UNCHECKED
        };
        RolloutSpec {
            replicas: rolling::still_to_run(deployment.policy.replicas, &deployment.history.completed, seen),
            strategy: deployment.policy.strategy,
            min_ready: deployment.policy.min_ready.unwrap_or(default),
            restart: deployment.spec.restart,
            drain: self.options.drain,
        }
    }
}
