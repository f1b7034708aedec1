//! Containers on a Docker Swarm: an Application becomes a service, a namespace an overlay network.
//!
//! Swarm performs the rollout: [`SwarmRuntime::deploy`] only compares the service with the deployment, updates it if they
//! differ, and reports the progress of its tasks. Labels, as on a Docker Engine, are the only state.

mod events;
mod files;
mod log;
mod progress;
mod spec;
mod tasks;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Once};

use async_trait::async_trait;
use bollard::Docker;
use bollard::models::{NetworkCreateRequest, Service, ServiceUpdateStatusStateEnum, Task};
use bollard::query_parameters::{
    InspectContainerOptions, InspectNetworkOptionsBuilder, InspectServiceOptions, ListServicesOptionsBuilder,
    ListTasksOptionsBuilder, ListVolumesOptionsBuilder, LogsOptionsBuilder, RemoveVolumeOptions,
    UpdateServiceOptionsBuilder,
};
use futures::StreamExt as _;
use futures::stream::BoxStream;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::Value;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::docker::errors;
use super::docker::labels::{self, Names, app_of};
use super::docker::log_tail::{self, LogTail};
use super::event_hub::EventHub;
use super::{
    Capabilities, Deployment, LogLine, LogOptions, Progress, RedactionPolicy, ReplicaState, Restart, Running,
    Runtime, RuntimeError, RuntimeEvent, subset,
};
use crate::image::credentials;
use crate::model::AppId;
use progress::{progress, rolling};

/// Containers on a Docker Swarm, through one of its managers.
pub struct SwarmRuntime {
    inner: Arc<Inner>,
    // Dropped with the runtime: ends the task that polls the engine.
    _guard: DropGuard,
}

struct Inner {
    docker: Docker,
    names: Names,
    hub: EventHub,
    following: Once,
    /// The specification that was last written per service, with the one that the engine made of it: the engine changes some
    /// fields, and that is no reason to write the service again.
    written: Mutex<HashMap<String, (Value, Value)>>,
    stop: CancellationToken,
}

impl SwarmRuntime {
    /// Uses the Swarm that this engine is a manager of. `instance` and `installation` as in
    /// [`DockerOptions`](super::docker::DockerOptions).
    pub fn new(docker: Docker, instance: &str, installation: &str) -> Self {
        let stop = CancellationToken::new();
        Self {
            inner: Arc::new(Inner {
                docker,
                names: Names::new(instance, installation),
                hub: EventHub::default(),
                following: Once::new(),
                written: Mutex::default(),
                stop: stop.clone(),
            }),
            _guard: stop.drop_guard(),
        }
    }
}

#[async_trait]
impl Runtime for SwarmRuntime {
    fn capabilities(&self) -> Capabilities {
        Capabilities::SWARM
    }

    async fn observe(&self, app: &AppId, redaction: &RedactionPolicy) -> Result<Running, RuntimeError> {
        let inner = &self.inner;
        let Some(service) = inner.service(app).await? else {
            return Ok(Running::default());
        };
        let tasks = inner.tasks(&service).await?;
        let mut running = Running::default();
        for mut seen in tasks::replicas(&service, &tasks, Timestamp::now()) {
            if let Some(failed) = &seen.failed {
                let out_of_memory = inner.out_of_memory(&tasks, failed).await;
                let output = inner.output(failed).await;
                match &mut seen.replica.state {
                    ReplicaState::Exited { message, oom, .. } => {
                        *oom = out_of_memory;
                        if !output.is_empty() {
                            *message = output;
                        }
                    }
                    ReplicaState::KeepsEnding { message, last, .. } => {
                        if let Some(last) = last {
                            last.oom = out_of_memory;
                        }
                        if !output.is_empty() {
                            *message = output;
                        }
                    }
                    _ => {}
                }
            }
            redaction.redact(&mut seen.replica.state, &seen.replica.hash, &seen.given);
            running.replicas.push(seen.replica);
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
        let Some(service) = inner.service(app).await? else {
            return Ok(String::new());
        };
        let tasks = inner.tasks(&service).await?;
        let mut all = tasks::replicas(&service, &tasks, Timestamp::now()).into_iter();
        let Some(seen) = all.find(|seen| seen.replica.id == replica) else {
            return Ok(String::new());
        };
        let output = inner.output(seen.failed.as_deref().unwrap_or(replica)).await;
        Ok(redaction.redact_log_tail(&output, &seen.replica.hash, &seen.given))
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

    async fn deploy(&self, deployment: &Deployment) -> Result<Progress, RuntimeError> {
        let inner = &self.inner;
        let app = &deployment.identity.app;
        let existing = inner.service(app).await?;
        let existing_labels = existing.as_ref().map(labels_of).unwrap_or_default();
        if existing.is_some() && existing_labels.get(labels::UID) != Some(&deployment.identity.uid) {
            // The service of a deleted Application of the same name.
            return inner.delete(app).await;
        }
        let network = inner.ensure_network(&app.namespace).await?;
        let files = files::ensure(&inner.docker, &inner.names, deployment).await?;
        let mut wanted = spec::service(&inner.names, deployment, &network, &files)?;
        let login = deployment.registry.as_ref().map(credentials);
        let Some(existing) = existing else {
            let created = inner.docker.create_service(wanted, login).await;
            created.map_err(|refusal| errors::creation(deployment, &refusal))?;
            return Ok(rolling(0, 0, "the tasks of the new service".to_owned()));
        };
        Inner::keep_release(deployment, &existing, &mut wanted);
        let update = existing.update_status.as_ref().and_then(|status| status.state);
        if matches!(
            update,
            Some(
                ServiceUpdateStatusStateEnum::ROLLBACK_STARTED
                    | ServiceUpdateStatusStateEnum::ROLLBACK_PAUSED
                    | ServiceUpdateStatusStateEnum::ROLLBACK_COMPLETED
            )
        ) && existing_labels.get(labels::CONFIG) != Some(&deployment.identity.hash)
        {
            tracing::warn!(%app, "the service was rolled back outside of Davit; it is updated again");
        }
        if inner.differs(&existing, &wanted)? {
            inner.update(deployment, &existing, wanted).await?;
            return Ok(rolling(0, 0, "the service to be updated".to_owned()));
        }
        let tasks = inner.tasks(&existing).await?;
        let progress = progress(deployment, &existing, &tasks);
        if progress == Progress::Complete {
            let except = HashSet::from([deployment.identity.hash.clone()]);
            files::remove(&inner.docker, &inner.names, app, &except).await?;
        }
        Ok(progress)
    }

    async fn stop(&self, app: &AppId) -> Result<Progress, RuntimeError> {
        self.inner.delete(app).await
    }

    async fn remove(&self, app: &AppId, volumes: bool) -> Result<bool, RuntimeError> {
        let inner = &self.inner;
        if inner.delete(app).await? != Progress::Complete {
            return Ok(false);
        }
        let mut removed = files::remove(&inner.docker, &inner.names, app, &HashSet::new()).await?;
        if volumes {
            removed &= inner.remove_volumes(app).await?;
        }
        removed &= inner.remove_unused_network(&app.namespace).await?;
        Ok(removed)
    }

    async fn has_image(&self, _: &str) -> Result<bool, RuntimeError> {
        // Nodes pull images from a registry; a missing image is a rejected task.
        Ok(true)
    }

    async fn apps(&self) -> Result<Vec<(AppId, String)>, RuntimeError> {
        let services = self.inner.services(&self.inner.names.instance_labels()).await?;
        let apps: BTreeSet<_> = services
            .iter()
            .map(labels_of)
            .filter_map(|labels| Some((app_of(&labels)?, labels.get(labels::UID)?.clone())))
            .collect();
        Ok(apps.into_iter().collect())
    }

    fn events(&self) -> BoxStream<'static, RuntimeEvent> {
        let inner = &self.inner;
        let stream = inner.hub.listen();
        inner.following.call_once(|| {
            let poll = Inner::poll(Arc::downgrade(inner));
            tokio::spawn(inner.stop.clone().run_until_cancelled_owned(poll));
        });
        stream.boxed()
    }
}

fn labels_of(service: &Service) -> HashMap<String, String> {
    let spec = service.spec.as_ref();
    spec.and_then(|spec| spec.labels.clone()).unwrap_or_default()
}

impl Inner {
    /// The service of an Application, if it is this installation's.
    async fn service(&self, app: &AppId) -> Result<Option<Service>, RuntimeError> {
        let doing = "inspect a service";
        let name = self.names.service(app);
        let found = self
            .docker
            .inspect_service(&name, None::<InspectServiceOptions>)
            .await;
        let Some(service) = errors::unless_gone(doing, found)? else {
            return Ok(None);
        };
        let labels = labels_of(&service);
        if self.names.ours(&labels) {
            return Ok(Some(service));
        }
        let message = match self.names.of_another(&labels) {
            Some(other) => format!("the service {name} belongs to {}", labels::another(other)),
            None => format!("the service {name} is not Davit's: remove it with docker service rm {name}"),
        };
        Err(RuntimeError::Engine { doing, message })
    }

    async fn services(&self, labels: &HashMap<String, String>) -> Result<Vec<Service>, RuntimeError> {
        let options = ListServicesOptionsBuilder::new()
            .filters(&Names::query(labels))
            .build();
        let listed = self.docker.list_services(Some(options)).await;
        let mut listed = listed.map_err(|refusal| errors::error("list services", &refusal))?;
        listed.retain(|service| self.names.ours(&labels_of(service)));
        Ok(listed)
    }

    async fn tasks(&self, service: &Service) -> Result<Vec<Task>, RuntimeError> {
        let id = service.id.clone().unwrap_or_default();
        let filters = HashMap::from([("service".to_owned(), vec![id])]);
        let options = ListTasksOptionsBuilder::new().filters(&filters).build();
        let listed = self.docker.list_tasks(Some(options)).await;
        listed.map_err(|refusal| errors::error("list tasks", &refusal))
    }

    /// Containers keep the label of the Release that created them, unless the new one must run to completion again: a changed
    /// label would replace them.
    fn keep_release(deployment: &Deployment, existing: &Service, wanted: &mut bollard::models::ServiceSpec) {
        let task = existing
            .spec
            .as_ref()
            .and_then(|spec| spec.task_template.as_ref());
        let container = task.and_then(|task| task.container_spec.as_ref());
        let found = container.and_then(|container| container.labels.as_ref());
        let same = found.and_then(|labels| labels.get(labels::CONFIG)) == Some(&deployment.identity.hash);
        let release = found.and_then(|labels| labels.get(labels::RELEASE)).cloned();
        let Some(template) = wanted.task_template.as_mut() else {
            return;
        };
        template.force_update = task.and_then(|task| task.force_update);
        let runs_again = deployment.spec.restart != Restart::Always;
        if let (true, false, Some(release), Some(container)) =
            (same, runs_again, release, template.container_spec.as_mut())
            && let Some(labels) = container.labels.as_mut()
        {
            labels.insert(labels::RELEASE.to_owned(), release);
        }
    }

    /// Whether the service must be written.
    fn differs(
        &self,
        existing: &Service,
        wanted: &bollard::models::ServiceSpec,
    ) -> Result<bool, RuntimeError> {
        let found = json(&existing.spec)?;
        let wanted = json(wanted)?;
        if let Some((written, became)) = self
            .written
            .lock()
            .get(existing.id.as_deref().unwrap_or_default())
            && *written == wanted
        {
            return Ok(*became != found);
        }
        Ok(!subset::contains(&found, &wanted))
    }

    async fn update(
        &self,
        deployment: &Deployment,
        existing: &Service,
        wanted: bollard::models::ServiceSpec,
    ) -> Result<(), RuntimeError> {
        let id = existing.id.clone().unwrap_or_default();
        let version = existing
            .version
            .as_ref()
            .and_then(|version| version.index)
            .unwrap_or_default();
        let options = UpdateServiceOptionsBuilder::new()
            .version(i32::try_from(version).unwrap_or(i32::MAX))
            .build();
        let login = deployment.registry.as_ref().map(credentials);
        let updated = self
            .docker
            .update_service(&id, wanted.clone(), options, login)
            .await;
        match updated {
            // The service was changed meanwhile; the next call reads it again.
            Err(bollard::errors::Error::DockerResponseServerError { message, .. })
                if message.contains("out of sequence") =>
            {
                return Ok(());
            }
            other => other.map_err(|refusal| errors::creation(deployment, &refusal))?,
        };
        let written = self
            .docker
            .inspect_service(&id, None::<InspectServiceOptions>)
            .await;
        if let Some(service) = errors::unless_gone("inspect a service", written)? {
            let pair = (json(&wanted)?, json(&service.spec)?);
            self.written.lock().insert(id, pair);
        }
        Ok(())
    }

    async fn delete(&self, app: &AppId) -> Result<Progress, RuntimeError> {
        let Some(service) = self.service(app).await? else {
            return Ok(Progress::Complete);
        };
        let id = service.id.clone().unwrap_or_default();
        let tasks = self.tasks(&service).await?;
        errors::unless_gone("remove a service", self.docker.delete_service(&id).await)?;
        self.written.lock().remove(&id);
        let active = tasks.iter().filter(|task| tasks::is_active(task)).count();
        Ok(Progress::stopping(active.max(1)))
    }

    /// The id of the namespace's network, which is created if it is missing.
    async fn ensure_network(&self, namespace: &str) -> Result<String, RuntimeError> {
        let doing = "make the namespace's network";
        let name = self.names.network(namespace);
        // The node's copy of a network that was just made or removed lacks the labels.
        let options = InspectNetworkOptionsBuilder::new().scope("swarm").build();
        let found = self.docker.inspect_network(&name, Some(options)).await;
        if let Some(network) = errors::unless_gone(doing, found)? {
            let labels = network.labels.unwrap_or_default();
            if self.names.ours(&labels) && network.driver.as_deref() == Some("overlay") {
                return Ok(network.id.unwrap_or_default());
            }
            let message = format!("there is a network {name} that is not Davit's: docker network rm {name}");
            return Err(RuntimeError::Engine { doing, message });
        }
        let request = NetworkCreateRequest {
            name: name.clone(),
            driver: Some("overlay".to_owned()),
            attachable: Some(true),
            labels: Some(self.names.made(self.names.namespace_labels(namespace))),
            ..Default::default()
        };
        let created = self.docker.create_network(request).await;
        created
            .map(|created| created.id)
            .map_err(|refusal| errors::error(doing, &refusal))
    }

    /// Removes the namespace's network if it has no service. False while stopping tasks hold it.
    async fn remove_unused_network(&self, namespace: &str) -> Result<bool, RuntimeError> {
        if !self
            .services(&self.names.namespace_labels(namespace))
            .await?
            .is_empty()
        {
            return Ok(true);
        }
        match self.docker.remove_network(&self.names.network(namespace)).await {
            Err(bollard::errors::Error::DockerResponseServerError { message, .. })
                if message.contains("in use") || message.contains("active endpoints") =>
            {
                Ok(false)
            }
            // Swarm reports an unknown network with another status than 404.
            Err(bollard::errors::Error::DockerResponseServerError { message, .. })
                if message.ends_with("not found") =>
            {
                Ok(true)
            }
            other => errors::unless_gone("remove the namespace's network", other).map(|_| true),
        }
    }

    /// Removes the volumes of an Application on this node. False while a stopping task holds one.
    async fn remove_volumes(&self, app: &AppId) -> Result<bool, RuntimeError> {
        let filters = Names::query(&self.names.app_labels(app));
        let options = ListVolumesOptionsBuilder::new().filters(&filters).build();
        let listed = self.docker.list_volumes(Some(options)).await;
        let listed = listed.map_err(|refusal| errors::error("list volumes", &refusal))?;
        let mut removed = true;
        for volume in listed.volumes.unwrap_or_default() {
            if !self.names.ours(&volume.labels) {
                continue;
            }
            match self
                .docker
                .remove_volume(&volume.name, None::<RemoveVolumeOptions>)
                .await
            {
                Err(refusal) if errors::status(&refusal) == Some(409) => removed = false,
                other => {
                    errors::unless_gone("remove a volume", other)?;
                }
            }
        }
        Ok(removed)
    }

    /// The last lines of a task's output. Empty if its container is gone.
    async fn output(&self, task: &str) -> String {
        let options = LogsOptionsBuilder::new()
            .stdout(true)
            .stderr(true)
            .tail(&log_tail::LINES.to_string())
            .build();
        let mut tail = LogTail::default();
        let mut entries = std::pin::pin!(self.docker.task_logs(task, Some(options)));
        while let Some(Ok(entry)) = entries.next().await {
            tail.push(&entry.into_bytes());
        }
        tail.text()
    }

    /// Whether the kernel ended the task's container for lack of memory, if the container is on this node.
    async fn out_of_memory(&self, tasks: &[Task], id: &str) -> bool {
        let task = tasks.iter().find(|task| task.id.as_deref() == Some(id));
        let container = task
            .and_then(|task| {
                task.status
                    .as_ref()?
                    .container_status
                    .as_ref()?
                    .container_id
                    .clone()
            })
            .filter(|container| !container.is_empty());
        let Some(container) = container else { return false };
        let found = self
            .docker
            .inspect_container(&container, None::<InspectContainerOptions>)
            .await;
        found.is_ok_and(|found| found.state.and_then(|state| state.oom_killed).unwrap_or_default())
    }
}

/// An engine object as JSON.
fn json(value: &impl serde::Serialize) -> Result<Value, RuntimeError> {
    serde_json::to_value(value).map_err(|error| RuntimeError::Engine {
        doing: "compare a service",
        message: error.to_string(),
    })
}
