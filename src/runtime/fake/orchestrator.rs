//! An orchestrator in memory that performs rollouts itself, as Swarm and Kubernetes do: a call of `deploy` only records what
//! is wanted. Tasks are replaced, not repaired.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use jiff::Timestamp;
use parking_lot::Mutex;

use super::state::Behaviour;
use crate::api::Strategy;
use crate::model::AppId;
use crate::runtime::event_hub::EventHub;
use crate::runtime::redaction::GivenSecrets;
use crate::runtime::rolling::in_steps;
use crate::runtime::{
    Capabilities, Deployment, ExitStatus, LogLine, LogOptions, MountSource, Progress, RedactionPolicy,
    Replica, ReplicaState, Running, Runtime, RuntimeError, RuntimeEvent, log,
};

/// One task.
#[derive(Clone, Debug)]
struct Task {
    id: String,
    number: u64,
    deployment: Deployment,
    state: ReplicaState,
    since: Timestamp,
    restarts: i64,
}

#[derive(Default)]
struct State {
    wanted: BTreeMap<AppId, Deployment>,
    tasks: Vec<Task>,
    behaviours: BTreeMap<String, Behaviour>,
    outputs: BTreeMap<String, String>,
    missing: Vec<String>,
    volumes: Vec<(AppId, String)>,
    next: u64,
}

/// The orchestrator. A clone is the same one.
#[derive(Clone)]
pub struct FakeOrchestrator {
    state: Arc<Mutex<State>>,
    hub: Arc<EventHub>,
}

impl Default for FakeOrchestrator {
    fn default() -> Self {
        let hub = EventHub::default();
        hub.connected(true);
        Self {
            state: Arc::default(),
            hub: Arc::new(hub),
        }
    }
}

impl FakeOrchestrator {
    /// What the containers of this image do.
    pub fn script(&self, image: &str, behaviour: &Behaviour) {
        self.state
            .lock()
            .behaviours
            .insert(image.to_owned(), behaviour.clone());
    }

    /// What the containers of this image write to their log.
    pub fn write_log(&self, image: &str, output: &str) {
        self.state
            .lock()
            .outputs
            .insert(image.to_owned(), output.to_owned());
    }

    /// No node can pull this image.
    pub fn lose_image(&self, image: &str) {
        self.state.lock().missing.push(image.to_owned());
    }

    /// Removes a container of an Application manually. The orchestrator replaces it.
    pub fn remove_container(&self, app: &AppId) {
        let mut state = self.state.lock();
        if let Some(index) = state
            .tasks
            .iter()
            .position(|task| task.deployment.identity.app == *app)
        {
            state.tasks.remove(index);
        }
        state.reconcile(app);
        drop(state);
        self.hub.changed(app.clone());
    }

    /// The volumes that exist.
    pub fn volumes(&self) -> Vec<(AppId, String)> {
        self.state.lock().volumes.clone()
    }
}

impl State {
    fn behaviour(&self, image: &str) -> Behaviour {
        self.behaviours.get(image).cloned().unwrap_or(Behaviour::Healthy)
    }

    /// Moves the tasks of an Application towards what is wanted, as far as they can get without time.
    fn reconcile(&mut self, app: &AppId) {
        let Some(wanted) = self.wanted.get(app).cloned() else {
            self.tasks.retain(|task| task.deployment.identity.app != *app);
            return;
        };
        let is_current = |task: &Task| {
            task.deployment.identity.hash == wanted.identity.hash
                && task.deployment.identity.uid == wanted.identity.uid
        };
        let of_app = |task: &Task| task.deployment.identity.app == *app;
        let preserved =
            |task: &Task| wanted.history.preserved.as_ref() == Some(&task.deployment.identity.hash);
        if wanted.policy.strategy == Strategy::StopFirst {
            self.tasks
                .retain(|task| !of_app(task) || is_current(task) || preserved(task));
        }
        let completed = wanted.history.completed.len();
        let there =
            |task: &Task| of_app(task) && is_current(task) && !wanted.history.completed.contains(&task.id);
        let count = usize::try_from(wanted.policy.replicas)
            .unwrap_or(usize::MAX)
            .saturating_sub(completed);
        while self.tasks.iter().filter(|task| there(task)).count() < count {
            self.start(&wanted);
        }
        while self.tasks.iter().filter(|task| there(task)).count() > count {
            let Some(surplus) = self.tasks.iter().rposition(there) else {
                break;
            };
            self.tasks.remove(surplus);
        }
        let ready = self
            .tasks
            .iter()
            .filter(|task| there(task) && task.state == ReplicaState::Healthy)
            .count();
        if ready >= count {
            self.tasks
                .retain(|task| !of_app(task) || is_current(task) || preserved(task));
        }
    }

    fn start(&mut self, wanted: &Deployment) {
        self.next += 1;
        let mut task = Task {
            id: format!("task-{}", self.next),
            number: self.next,
            deployment: wanted.clone(),
            state: ReplicaState::Healthy,
            since: Timestamp::now(),
            restarts: 0,
        };
        for mount in wanted
            .spec
            .mounts
            .iter()
            .filter(|mount| mount.source == MountSource::Volume)
        {
            let volume = (wanted.identity.app.clone(), mount.name.clone());
            if !self.volumes.contains(&volume) {
                self.volumes.push(volume);
            }
        }
        task.state = match self.behaviour(&wanted.spec.image) {
            Behaviour::Healthy => ReplicaState::Healthy,
            Behaviour::Starting => ReplicaState::Starting,
            Behaviour::Unhealthy(why) => ReplicaState::Unhealthy(why),
            Behaviour::RefusesToStart(message) => ReplicaState::Unhealthy(message),
            Behaviour::Exits { code, message } => {
                let last = Some(ExitStatus { code, oom: false });
                if wanted.spec.restart.starts_again(code, 0) {
                    task.restarts = 1;
                    ReplicaState::KeepsEnding {
                        last,
                        times: in_steps(task.restarts),
                        message,
                    }
                } else {
                    ReplicaState::Exited {
                        code,
                        oom: false,
                        message,
                    }
                }
            }
        };
        self.tasks.push(task);
    }

    fn given(task: &Task) -> GivenSecrets {
        let confidential = task
            .deployment
            .spec
            .env
            .iter()
            .filter(|variable| variable.confidential);
        GivenSecrets {
            env: confidential.map(|variable| variable.value.clone()).collect(),
            files: task.deployment.spec.has_confidential_files(),
        }
    }
}

#[async_trait]
impl Runtime for FakeOrchestrator {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            name: "orchestrator",
            needs_registry: true,
            host_ports: false,
            host_ip: false,
            ..Capabilities::DOCKER
        }
    }

    async fn observe(&self, app: &AppId, redaction: &RedactionPolicy) -> Result<Running, RuntimeError> {
        let state = self.state.lock();
        let own = state
            .tasks
            .iter()
            .filter(|task| task.deployment.identity.app == *app);
        let replicas = own.map(|task| {
            let identity = &task.deployment.identity;
            let healthy = task.state == ReplicaState::Healthy;
            let mut replica = Replica {
                id: task.id.clone(),
                name: format!("{}-{}", identity.app.name, task.number),
                hash: identity.hash.clone(),
                release: identity.release.clone(),
                image: task.deployment.spec.image.clone(),
                state: task.state.clone(),
                healthy_since: Some(task.since).filter(|_| healthy),
                serving: healthy,
                draining: false,
                leaving: false,
                restarts: task.restarts,
                address: Some(format!("10.8.0.{}", task.number)).filter(|_| healthy),
                endpoints: Vec::new(),
            };
            redaction.redact(&mut replica.state, &replica.hash, &State::given(task));
            replica
        });
        Ok(Running {
            replicas: replicas.collect(),
            ..Running::default()
        })
    }

    async fn log_tail(
        &self,
        app: &AppId,
        replica: &str,
        redaction: &RedactionPolicy,
    ) -> Result<String, RuntimeError> {
        let state = self.state.lock();
        let mut own = state
            .tasks
            .iter()
            .filter(|task| task.deployment.identity.app == *app);
        let Some(task) = own.find(|task| task.id == replica) else {
            return Ok(String::new());
        };
        let mut output = state
            .outputs
            .get(&task.deployment.spec.image)
            .cloned()
            .unwrap_or_default();
        if let ReplicaState::Exited { message, .. } | ReplicaState::KeepsEnding { message, .. } = &task.state
        {
            output.push_str(message);
        }
        Ok(redaction.redact_log_tail(&output, &task.deployment.identity.hash, &State::given(task)))
    }

    async fn log(
        &self,
        app: &AppId,
        replica: &str,
        options: &LogOptions,
        redaction: &RedactionPolicy,
    ) -> Result<BoxStream<'static, Result<LogLine, RuntimeError>>, RuntimeError> {
        let state = self.state.lock();
        let mut own = state
            .tasks
            .iter()
            .filter(|task| task.deployment.identity.app == *app);
        let Some(task) = own.find(|task| task.id == replica && !options.previous) else {
            return Ok(futures::stream::empty().boxed());
        };
        let output = state.outputs.get(&task.deployment.spec.image);
        let masker = redaction.masker(&task.deployment.identity.hash, &State::given(task));
        let output = output.map(String::as_str).unwrap_or_default();
        Ok(log::written(output, task.since, masker, options))
    }

    async fn deploy(&self, deployment: &Deployment) -> Result<Progress, RuntimeError> {
        let mut state = self.state.lock();
        let image = &deployment.spec.image;
        if state.missing.contains(image) {
            return Err(RuntimeError::ImageMissing(image.clone()));
        }
        if let Behaviour::RefusesToStart(message) = state.behaviour(image) {
            let fields = Some("spec.command");
            return Err(RuntimeError::Rejected { message, fields });
        }
        let app = &deployment.identity.app;
        let news = state.wanted.insert(app.clone(), deployment.clone()).as_ref() != Some(deployment);
        state.reconcile(app);
        let own = state
            .tasks
            .iter()
            .filter(|task| task.deployment.identity.app == *app);
        let own = own.filter(|task| !deployment.history.completed.contains(&task.id));
        let (current, others): (Vec<&Task>, Vec<&Task>) =
            own.partition(|task| task.deployment.identity.hash == deployment.identity.hash);
        let ready = current
            .iter()
            .filter(|task| task.state == ReplicaState::Healthy)
            .count();
        let waiting = current.iter().find_map(|task| match &task.state {
            ReplicaState::Unhealthy(why) => Some(format!("task {} is unhealthy: {why}", task.id)),
            ReplicaState::Exited { code, .. } => {
                Some(format!("task {} ended with exit code {code}", task.id))
            }
            ReplicaState::KeepsEnding { .. } => Some(format!("task {} keeps ending", task.id)),
            ReplicaState::Starting => Some(format!("task {} starts", task.id)),
            ReplicaState::Created | ReplicaState::Healthy | ReplicaState::Kept => None,
        });
        let left = others.len();
        let created = current.len();
        if news {
            self.hub.changed(app.clone());
        }
        if waiting.is_none() && left == 0 && ready == created {
            return Ok(Progress::Complete);
        }
        Ok(Progress::Rolling {
            created: u32::try_from(created).unwrap_or(u32::MAX),
            ready: u32::try_from(ready).unwrap_or(u32::MAX),
            check_in: None,
            waiting_for: waiting.unwrap_or_else(|| format!("{left} tasks to stop")),
        })
    }

    async fn stop(&self, app: &AppId) -> Result<Progress, RuntimeError> {
        let mut state = self.state.lock();
        state.wanted.remove(app);
        state.reconcile(app);
        Ok(Progress::Complete)
    }

    async fn remove(&self, app: &AppId, volumes: bool) -> Result<bool, RuntimeError> {
        self.stop(app).await?;
        if volumes {
            self.state.lock().volumes.retain(|(owner, _)| owner != app);
        }
        Ok(true)
    }

    async fn has_image(&self, image: &str) -> Result<bool, RuntimeError> {
        Ok(!self.state.lock().missing.iter().any(|missing| missing == image))
    }

    async fn apps(&self) -> Result<Vec<(AppId, String)>, RuntimeError> {
        let state = self.state.lock();
        let wanted = state.wanted.iter();
        Ok(wanted
            .map(|(app, wanted)| (app.clone(), wanted.identity.uid.clone()))
            .collect())
    }

    fn events(&self) -> BoxStream<'static, RuntimeEvent> {
        self.hub.listen().boxed()
    }
}
