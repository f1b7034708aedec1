//! An engine in memory for the loop's tests. It takes the same decisions as the real one ([`rolling`]), its containers do
//! what a test wrote down for their image, and nothing takes time unless a test holds it.

mod manual;
pub mod orchestrator;
mod said;
mod state;

pub use state::{Behaviour, Calls, FakeContainer};

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use jiff::Timestamp;
use parking_lot::Mutex;

use super::event_hub::EventHub;
use super::rolling::{self, ContainerView, InProgress, Phase, RolloutSpec, Step};
use super::{
    Capabilities, CpuUsage, Deployment, History, Identity, LogLine, LogOptions, PodSpec, Progress,
    RedactionPolicy, RolloutPolicy, Running, Runtime, RuntimeError, RuntimeEvent, Traffic, Usage, log,
};
use crate::model::AppId;
pub use manual::ManualAction;
use state::State;

/// The engine in memory. A clone is the same engine.
#[derive(Clone)]
pub struct FakeRuntime {
    state: Arc<Mutex<State>>,
    hub: Arc<EventHub>,
}

impl Default for FakeRuntime {
    fn default() -> Self {
        let hub = EventHub::default();
        hub.connected(true);
        Self {
            state: Arc::default(),
            hub: Arc::new(hub),
        }
    }
}

impl FakeRuntime {
    /// What the containers of this image do, those that run already too.
    pub fn script(&self, image: &str, behaviour: &Behaviour) {
        let now = self.now();
        let mut state = self.state.lock();
        state.behaviours.insert(image.to_owned(), behaviour.clone());
        let mut changed = BTreeSet::new();
        for one in state
            .containers
            .iter_mut()
            .filter(|one| one.deployment.spec.image == image)
        {
            if matches!(one.seen.phase, Phase::Running | Phase::Restarting) {
                one.behave(behaviour, now);
                changed.insert(one.deployment.identity.app.clone());
            }
        }
        drop(state);
        for app in changed {
            self.hub.changed(app);
        }
    }

    /// What the containers of this image write to their log as soon as they run.
    pub fn write_log(&self, image: &str, output: &str) {
        self.state
            .lock()
            .outputs
            .insert(image.to_owned(), output.to_owned());
    }

    /// All containers write this line to their log. From the first one on a log consists of such lines, and a log that is
    /// followed does not end.
    pub fn say(&self, line: &str) {
        let now = self.now();
        let mut state = self.state.lock();
        let said = state.said.get_or_insert_default();
        said.send_modify(|said| said.push((now, line.to_owned())));
    }

    /// The engine does not have this image (any more).
    pub fn lose_image(&self, image: &str) {
        self.state.lock().missing.insert(image.to_owned());
    }

    /// The engine has this image (again).
    pub fn gain_image(&self, image: &str) {
        self.state.lock().missing.remove(image);
    }

    /// Marks a host port as taken.
    pub fn occupy(&self, port: u16, by: &str) {
        self.state.lock().occupied.insert(port, by.to_owned());
    }

    /// It is free again.
    pub fn vacate(&self, port: u16) {
        self.state.lock().occupied.remove(&port);
    }

    /// The next call fails with this; several are taken in order.
    pub fn fail_next(&self, error: RuntimeError) {
        self.state.lock().failures.push_back(error);
    }

    /// From now on no step can be taken, for this reason; nothing: steps can be taken again.
    pub fn fail_deploys(&self, error: Option<RuntimeError>) {
        self.state.lock().broken = error.map(|error| error.to_string());
    }

    /// The engine goes away: every call fails until [`FakeRuntime::come_back`].
    pub fn go_away(&self) {
        self.state.lock().away = true;
        self.hub.connected(false);
    }

    /// The engine is there again, with its containers as they were.
    pub fn come_back(&self) {
        self.state.lock().away = false;
        self.hub.connected(true);
    }

    /// How long a container that has left the name is kept; 0 at first.
    pub fn set_drain(&self, drain: Duration) {
        self.state.lock().drain = drain;
    }

    /// From now on containers that are told to stop do so only with [`FakeRuntime::finish_stops`].
    pub fn hold_stops(&self) {
        self.state.lock().slow_stops = true;
    }

    /// Containers stop at once again, those too that were told to.
    pub fn let_stop(&self) {
        self.state.lock().slow_stops = false;
        self.finish_stops();
    }

    /// All containers that were told to stop have stopped.
    pub fn finish_stops(&self) {
        let mut state = self.state.lock();
        let busy = |one: &FakeContainer| one.seen.busy.is_some();
        let apps: BTreeSet<_> = state
            .containers
            .iter()
            .filter(|one| busy(one))
            .map(|one| one.deployment.identity.app.clone())
            .collect();
        state
            .containers
            .retain(|one| one.seen.busy != Some(InProgress::Retiring));
        for one in state.containers.iter_mut().filter(|one| busy(one)) {
            one.seen.busy = None;
            one.seen.phase = Phase::Exited(0);
        }
        drop(state);
        for app in apps {
            self.hub.changed(app);
        }
    }

    /// The engine's clock moves on; what ended and is to be started again is, and ends again.
    pub fn advance(&self, by: Duration) {
        let now = self.now().checked_add(by).unwrap_or(Timestamp::MAX);
        let mut state = self.state.lock();
        state.offset += by;
        let State {
            containers,
            behaviours,
            ..
        } = &mut *state;
        for one in containers
            .iter_mut()
            .filter(|one| one.seen.phase == Phase::Restarting)
        {
            let behaviour = behaviours.get(&one.deployment.spec.image);
            one.behave(behaviour.unwrap_or(&Behaviour::Healthy), now);
        }
        let apps: BTreeSet<_> = state
            .containers
            .iter()
            .map(|one| one.deployment.identity.app.clone())
            .collect();
        drop(state);
        for app in apps {
            self.hub.changed(app);
        }
    }

    /// The Application's containers as they are.
    pub fn containers(&self, app: &AppId) -> Vec<FakeContainer> {
        let state = self.state.lock();
        state
            .containers
            .iter()
            .filter(|one| one.deployment.identity.app == *app)
            .cloned()
            .collect()
    }

    /// The volumes that are there.
    pub fn volumes(&self) -> Vec<(AppId, String)> {
        self.state.lock().volumes.iter().cloned().collect()
    }

    /// How often each thing was asked for until now.
    pub fn calls(&self) -> Calls {
        self.state.lock().calls.clone()
    }

    fn now(&self) -> Timestamp {
        let offset = self.state.lock().offset;
        Timestamp::now().checked_add(offset).unwrap_or(Timestamp::MAX)
    }
}

#[async_trait]
impl Runtime for FakeRuntime {
    fn capabilities(&self) -> Capabilities {
        Capabilities::DOCKER
    }

    async fn observe(&self, app: &AppId, redaction: &RedactionPolicy) -> Result<Running, RuntimeError> {
        let mut state = self.state.lock();
        state.calls.observe += 1;
        state.may_call()?;
        let own = state
            .containers
            .iter()
            .filter(|one| one.deployment.identity.app == *app);
        let redacted = |one: &FakeContainer| {
            let mut replica = one.replica();
            redaction.redact(&mut replica.state, &replica.hash, &one.given());
            replica
        };
        let mut replicas: Vec<_> = own.map(redacted).collect();
        replicas.sort_by(|one, two| one.name.cmp(&two.name));
        Ok(Running {
            replicas,
            ..Running::default()
        })
    }

    async fn log_tail(
        &self,
        app: &AppId,
        replica: &str,
        redaction: &RedactionPolicy,
    ) -> Result<String, RuntimeError> {
        let mut state = self.state.lock();
        state.may_call()?;
        let mut containers = state.containers.iter();
        let found = containers.find(|one| one.deployment.identity.app == *app && one.seen.id == replica);
        Ok(found.map_or_else(String::new, |one| {
            redaction.redact_log_tail(
                &one.output(&state.outputs),
                &one.deployment.identity.hash,
                &one.given(),
            )
        }))
    }

    async fn log(
        &self,
        app: &AppId,
        replica: &str,
        options: &LogOptions,
        redaction: &RedactionPolicy,
    ) -> Result<BoxStream<'static, Result<LogLine, RuntimeError>>, RuntimeError> {
        let now = self.now();
        let mut state = self.state.lock();
        // A log that is followed beside the loop takes no failure away from it.
        if !options.follow {
            state.may_call()?;
        }
        let state = &mut *state;
        let mut containers = state.containers.iter();
        let found = containers.find(|one| one.deployment.identity.app == *app && one.seen.id == replica);
        let Some(one) = found.filter(|_| !options.previous) else {
            return Ok(futures::stream::empty().boxed());
        };
        let masker = redaction.masker(&one.deployment.identity.hash, &one.given());
        if let Some(said) = &state.said {
            state.calls.followed += usize::from(options.follow);
            return Ok(said::lines(said, masker, options));
        }
        Ok(log::written(&one.output(&state.outputs), now, masker, options))
    }

    /// Each container uses the same.
    async fn usage(&self, app: &AppId) -> Result<Vec<Usage>, RuntimeError> {
        let at = self.now();
        let mut state = self.state.lock();
        state.may_call()?;
        let own = state
            .containers
            .iter()
            .filter(|one| one.deployment.identity.app == *app);
        Ok(own
            .map(|one| Usage {
                id: one.seen.id.clone(),
                name: one.replica().name,
                release: one.deployment.identity.release.clone(),
                at,
                cpu: CpuUsage::Total(Duration::from_secs(90)),
                cpu_limit: None,
                memory: 3 << 20,
                memory_limit: Some(12 << 20),
                network: Some(Traffic { r#in: 10, out: 20 }),
                block: None,
                restarts: 1,
            })
            .collect())
    }

    async fn deploy(&self, deployment: &Deployment) -> Result<Progress, RuntimeError> {
        let now = self.now();
        let mut state = self.state.lock();
        state.calls.deploy += 1;
        state.may_call()?;
        if let Some(message) = state.broken.clone() {
            let doing = "take a step";
            return Err(RuntimeError::Engine { doing, message });
        }
        let mut want = RolloutSpec {
            replicas: deployment.policy.replicas,
            strategy: deployment.policy.strategy,
            min_ready: deployment.policy.min_ready.unwrap_or_default(),
            restart: deployment.spec.restart,
            drain: state.drain,
        };
        let mut ended = false;
        loop {
            let own = state
                .containers
                .iter()
                .filter(|one| one.deployment.identity.app == deployment.identity.app)
                .filter(|one| deployment.history.preserved.as_ref() != Some(&one.deployment.identity.hash));
            let seen: Vec<_> = own
                .map(|one| {
                    let same = one.deployment.identity.hash == deployment.identity.hash
                        && one.deployment.identity.uid == deployment.identity.uid
                        && !one.is_spent(deployment);
                    let index = one.seen.index.filter(|_| same);
                    ContainerView {
                        current: same,
                        abandoned: deployment
                            .history
                            .abandoned
                            .contains(&one.deployment.identity.hash),
                        over: matches!(one.seen.phase, Phase::Exited(_))
                            && deployment.history.completed.contains(&one.seen.id),
                        index,
                        routed: deployment
                            .history
                            .routed
                            .may_reach(state::address(&one.seen.id).as_deref()),
                        ..one.seen.clone()
                    }
                })
                .collect();
            want.replicas =
                rolling::still_to_run(deployment.policy.replicas, &deployment.history.completed, &seen);
            let next = rolling::next(&seen, &want, now);
            for one in &mut state.containers {
                if one.deployment.identity.app == deployment.identity.app {
                    one.leaving = next.leaving.contains(&one.seen.id);
                }
            }
            if next.steps.is_empty() {
                drop(state);
                if ended {
                    self.hub.changed(deployment.identity.app.clone());
                }
                return Ok(next.progress);
            }
            for step in next.steps {
                let started = match &step {
                    Step::Start(id) => Some(id.clone()),
                    _ => None,
                };
                state.apply(deployment, step, now)?;
                // The engine tells of what ended by itself, as the real one does.
                ended |= started.is_some_and(|id| !state.serves(&id));
            }
        }
    }

    async fn stop(&self, app: &AppId) -> Result<Progress, RuntimeError> {
        let mut state = self.state.lock();
        state.calls.deploy += 1;
        state.may_call()?;
        if let Some(message) = state.broken.clone() {
            let doing = "take a step";
            return Err(RuntimeError::Engine { doing, message });
        }
        let left = state.retire_all(app);
        Ok(match left {
            0 => Progress::Complete,
            left => Progress::stopping(left),
        })
    }

    async fn remove(&self, app: &AppId, volumes: bool) -> Result<bool, RuntimeError> {
        let mut state = self.state.lock();
        state.calls.remove += 1;
        state.may_call()?;
        let left = state.retire_all(app) > 0;
        if volumes && !left {
            state.volumes.retain(|(owner, _)| owner != app);
        }
        Ok(!left)
    }

    async fn has_image(&self, image: &str) -> Result<bool, RuntimeError> {
        let mut state = self.state.lock();
        state.may_call()?;
        Ok(!state.missing.contains(image))
    }

    async fn apps(&self) -> Result<Vec<(AppId, String)>, RuntimeError> {
        let mut state = self.state.lock();
        state.may_call()?;
        let owners = state.containers.iter().map(|one| {
            (
                one.deployment.identity.app.clone(),
                one.deployment.identity.uid.clone(),
            )
        });
        let owners: BTreeSet<_> = owners.collect();
        Ok(owners.into_iter().collect())
    }

    fn events(&self) -> BoxStream<'static, RuntimeEvent> {
        self.hub.listen().boxed()
    }
}

/// A small deployment for tests: one container without ports, checks or mounts, healthy as soon as it runs.
pub fn deployment(namespace: &str, name: &str, hash: &str) -> Deployment {
    Deployment {
        identity: Identity {
            app: AppId::new(namespace, name),
            uid: format!("uid-{name}"),
            release: format!("{name}-1"),
            hash: hash.to_owned(),
        },
        spec: PodSpec {
            image: "busybox:davit-test".to_owned(),
            ..PodSpec::default()
        },
        policy: RolloutPolicy::default(),
        history: History::default(),
        registry: None,
    }
}
