//! The fake engine's containers, and what each step does to them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use jiff::Timestamp;

use super::said::Said;
use crate::api::Strategy;
use crate::model::AppId;
use crate::runtime::redaction::GivenSecrets;
use crate::runtime::rolling::in_steps;
use crate::runtime::rolling::{ContainerView, Drift, Health, InProgress, Phase, Step};
use crate::runtime::{Deployment, ExitStatus, MountSource, Port, Replica, ReplicaState, RuntimeError};

/// What the containers of an image do once they are started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// They are healthy at once.
    Healthy,
    /// Their health is not known.
    Starting,
    /// They are not healthy.
    Unhealthy(String),
    /// They end by themselves, and do so again when they are started again.
    Exits {
        /// With this code.
        code: i64,
        /// And these last words.
        message: String,
    },
    /// The engine refuses to start them: an entrypoint that is not there.
    RefusesToStart(String),
}

/// How often each thing was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// Calls of `Runtime::observe`.
    pub observe: usize,
    /// Calls of `Runtime::deploy`.
    pub deploy: usize,
    /// Calls of `Runtime::remove`.
    pub remove: usize,
    /// Containers made.
    pub created: usize,
    /// Containers stopped.
    pub stopped: usize,
    /// Logs followed, since there is something that was [said](super::FakeRuntime::say).
    pub followed: usize,
}

/// One container of the fake engine.
#[derive(Clone, Debug)]
pub struct FakeContainer {
    /// How the rollout sees it.
    pub seen: ContainerView,
    /// What it was made from, as it was then.
    pub deployment: Deployment,
    code: i64,
    message: String,
    /// It waits until a reverse proxy sends no more requests to it.
    pub(super) leaving: bool,
}

/// Everything that the engine has.
#[derive(Default)]
pub(super) struct State {
    pub(super) containers: Vec<FakeContainer>,
    pub(super) behaviours: BTreeMap<String, Behaviour>,
    pub(super) outputs: BTreeMap<String, String>,
    pub(super) said: Option<Said>,
    pub(super) missing: BTreeSet<String>,
    pub(super) occupied: BTreeMap<u16, String>,
    pub(super) volumes: BTreeSet<(AppId, String)>,
    pub(super) failures: VecDeque<RuntimeError>,
    pub(super) calls: Calls,
    pub(super) next_id: u64,
    pub(super) away: bool,
    pub(super) broken: Option<String>,
    pub(super) slow_stops: bool,
    pub(super) drain: Duration,
    pub(super) offset: Duration,
}

impl FakeContainer {
    fn runs(&self) -> bool {
        matches!(
            self.seen.phase,
            Phase::Running | Phase::Paused | Phase::Restarting
        )
    }

    pub(super) fn behave(&mut self, behaviour: &Behaviour, now: Timestamp) {
        let seen = &mut self.seen;
        seen.phase = Phase::Running;
        match behaviour {
            Behaviour::Healthy => {
                if !matches!(seen.health, Health::Healthy(_)) {
                    seen.health = Health::Healthy(now);
                }
            }
            Behaviour::Starting | Behaviour::RefusesToStart(_) => seen.health = Health::Starting(None),
            Behaviour::Unhealthy(why) => {
                seen.health = Health::Unhealthy {
                    why: why.clone(),
                    until: None,
                };
            }
            Behaviour::Exits { code, message } => {
                self.message.clone_from(message);
                self.code = *code;
                seen.health = Health::Starting(None);
                let again = self.deployment.spec.restart.starts_again(*code, seen.restarts);
                seen.restarts += i64::from(again);
                seen.phase = if again {
                    Phase::Restarting
                } else {
                    Phase::Exited(*code)
                };
            }
        }
    }

    /// Whether it ended for good under an earlier Release.
    pub(super) fn is_spent(&self, wanted: &Deployment) -> bool {
        matches!(self.seen.phase, Phase::Exited(code) if !wanted.spec.restart.starts_again(code, self.seen.restarts))
            && !self.seen.kept
            && self.deployment.identity.release != wanted.identity.release
    }

    pub(super) fn given(&self) -> GivenSecrets {
        let deployment = &self.deployment;
        let confidential = deployment
            .spec
            .env
            .iter()
            .filter(|variable| variable.confidential);
        GivenSecrets {
            env: confidential.map(|variable| variable.value.clone()).collect(),
            files: deployment.spec.has_confidential_files(),
        }
    }

    /// What its containers wrote until now.
    pub(super) fn output(&self, outputs: &BTreeMap<String, String>) -> String {
        let more = outputs
            .get(&self.deployment.spec.image)
            .map(String::as_str)
            .unwrap_or_default();
        format!("{more}{}", self.message)
    }

    pub(super) fn replica(&self) -> Replica {
        let seen = &self.seen;
        let state = match (seen.phase, &seen.health) {
            (Phase::Created, _) => ReplicaState::Created,
            (Phase::Running, Health::Healthy(_)) => ReplicaState::Healthy,
            (Phase::Running, Health::Starting(_)) => ReplicaState::Starting,
            (Phase::Running, Health::Unhealthy { why, .. }) => ReplicaState::Unhealthy(why.clone()),
            (Phase::Paused, _) => ReplicaState::Unhealthy("it is paused".to_owned()),
            (Phase::Exited(_), _) if seen.kept => ReplicaState::Kept,
            (Phase::Exited(code), _) => ReplicaState::Exited {
                code,
                oom: false,
                message: self.message.clone(),
            },
            (Phase::Restarting, _) => ReplicaState::KeepsEnding {
                last: Some(ExitStatus {
                    code: self.code,
                    oom: false,
                }),
                times: in_steps(seen.restarts),
                message: self.message.clone(),
            },
            (Phase::Removing, _) => ReplicaState::Exited {
                code: self.code,
                oom: false,
                message: self.message.clone(),
            },
        };
        let healthy_since = match (&state, &seen.health) {
            (ReplicaState::Healthy, Health::Healthy(since)) => Some(*since),
            _ => None,
        };
        let running = matches!(seen.phase, Phase::Running | Phase::Paused);
        Replica {
            id: seen.id.clone(),
            name: seen.name.clone(),
            hash: self.deployment.identity.hash.clone(),
            release: self.deployment.identity.release.clone(),
            image: self.deployment.spec.image.clone(),
            state,
            healthy_since,
            serving: running && seen.named,
            draining: seen.left.is_some() || seen.busy.is_some(),
            leaving: self.leaving,
            restarts: seen.restarts,
            address: address(&seen.id).filter(|_| running),
            endpoints: self
                .deployment
                .spec
                .ports
                .iter()
                .filter(|port| running && port.host.is_some())
                .map(|port| Port {
                    name: None, // An engine does not know it.
                    ..port.clone()
                })
                .collect(),
        }
    }
}

/// The address of a container, from its id.
pub(super) fn address(id: &str) -> Option<String> {
    let number = u32::from_str_radix(id.trim_start_matches('0'), 16).ok()?;
    Some(format!("10.9.{}.{}", number / 256, number % 256))
}

impl State {
    pub(super) fn may_call(&mut self) -> Result<(), RuntimeError> {
        if self.away {
            return Err(RuntimeError::EngineUnavailable("connection refused".to_owned()));
        }
        self.failures.pop_front().map_or(Ok(()), Err)
    }

    /// Stops and removes all containers of an Application. Returns how many are left, because stops are held.
    pub(super) fn retire_all(&mut self, app: &AppId) -> usize {
        let slow = self.slow_stops;
        let of_app = |one: &FakeContainer| one.deployment.identity.app == *app;
        let fresh = self
            .containers
            .iter()
            .filter(|one| of_app(one) && one.seen.busy.is_none());
        self.calls.stopped += fresh.filter(|one| one.runs()).count();
        self.containers.retain(|one| !of_app(one) || slow && one.runs());
        let mut left = 0;
        for one in self
            .containers
            .iter_mut()
            .filter(|one| one.deployment.identity.app == *app)
        {
            one.seen.busy = Some(InProgress::Retiring);
            left += 1;
        }
        left
    }

    pub(super) fn apply(
        &mut self,
        deployment: &Deployment,
        step: Step,
        now: Timestamp,
    ) -> Result<(), RuntimeError> {
        match step {
            Step::Create { index, named } => self.create(deployment, index, named)?,
            Step::Start(id) => self.start(deployment, &id, now)?,
            Step::Stop(id) | Step::Retire(id) if self.slow_stops && self.runs(&id) => {
                self.calls.stopped += 1;
                let what = if deployment.policy.strategy == Strategy::StopFirst {
                    InProgress::Stopping
                } else {
                    InProgress::Retiring
                };
                self.one(&id, |seen| {
                    (seen.busy, seen.kept) = (Some(what), what == InProgress::Stopping);
                });
            }
            Step::Stop(id) => {
                self.calls.stopped += 1;
                self.one(&id, |seen| (seen.phase, seen.kept) = (Phase::Exited(0), true));
            }
            Step::Retire(id) => {
                self.calls.stopped += usize::from(self.runs(&id));
                self.containers.retain(|one| one.seen.id != id);
            }
            Step::Unpause(id) => self.one(&id, |seen| seen.phase = Phase::Running),
            Step::Rename(id) => {
                let taken: Vec<_> = self.containers.iter().filter_map(|one| one.seen.index).collect();
                let index = (0..=u32::MAX).find(|index| !taken.contains(index));
                self.one(&id, |seen| {
                    (seen.index, seen.drift.name, seen.kept) = (seen.index.or(index), false, false);
                });
            }
            Step::Update(id) => self.one(&id, |seen| seen.drift.limits = false),
            Step::Detach(id) => self.one(&id, |seen| seen.drift.networks = false),
            Step::Attach(id) => self.one(&id, |seen| seen.attached = true),
            Step::Join(id) => {
                self.one(&id, |seen| {
                    (seen.attached, seen.named, seen.left) = (true, true, None);
                });
            }
            Step::Leave(id) => self.one(&id, |seen| (seen.named, seen.left) = (false, Some(now))),
        }
        Ok(())
    }

    pub(super) fn one(&mut self, id: &str, change: impl FnOnce(&mut ContainerView)) {
        if let Some(one) = self.containers.iter_mut().find(|one| one.seen.id == id) {
            change(&mut one.seen);
        }
    }

    pub(super) fn serves(&self, id: &str) -> bool {
        let one = self.containers.iter().find(|one| one.seen.id == id);
        one.is_some_and(|one| one.seen.phase == Phase::Running)
    }

    pub(super) fn runs(&self, id: &str) -> bool {
        let one = self.containers.iter().find(|one| one.seen.id == id);
        one.is_some_and(FakeContainer::runs)
    }

    fn create(&mut self, deployment: &Deployment, index: u32, named: bool) -> Result<(), RuntimeError> {
        if self.missing.contains(&deployment.spec.image) {
            return Err(RuntimeError::ImageMissing(deployment.spec.image.clone()));
        }
        for mount in deployment
            .spec
            .mounts
            .iter()
            .filter(|mount| mount.source == MountSource::Volume)
        {
            self.volumes
                .insert((deployment.identity.app.clone(), mount.name.clone()));
        }
        self.next_id += 1;
        self.calls.created += 1;
        let AppId { namespace, name } = &deployment.identity.app;
        let seen = ContainerView {
            id: format!("{:064x}", self.next_id),
            name: format!("davit-{namespace}-{name}-{}-{index}", deployment.identity.hash),
            index: Some(index),
            current: true,
            abandoned: false,
            over: false,
            phase: Phase::Created,
            health: Health::Starting(None),
            attached: true,
            named,
            left: None,
            kept: false,
            drift: Drift::default(),
            busy: None,
            routed: false,
            restarts: 0,
        };
        self.containers.push(FakeContainer {
            seen,
            deployment: deployment.clone(),
            code: 0,
            message: String::new(),
            leaving: false,
        });
        Ok(())
    }

    fn start(&mut self, deployment: &Deployment, id: &str, now: Timestamp) -> Result<(), RuntimeError> {
        let behaviour = self
            .behaviours
            .get(&deployment.spec.image)
            .cloned()
            .unwrap_or(Behaviour::Healthy);
        if let Behaviour::RefusesToStart(why) = &behaviour {
            return Err(RuntimeError::Rejected {
                message: why.clone(),
                fields: Some("spec.command"),
            });
        }
        for port in &deployment.spec.ports {
            let holder = self.containers.iter().find(|one| {
                one.seen.id != id
                    && one.runs()
                    && one.deployment.spec.ports.iter().any(|it| it.excludes(port))
            });
            let holder = holder.map(|one| {
                format!(
                    "Application {} (container {})",
                    one.deployment.identity.app, one.seen.name
                )
            });
            let occupied = port.host.and_then(|host| self.occupied.get(&host).cloned());
            if let Some(by) = occupied.or(holder) {
                let port = port.clone();
                return Err(RuntimeError::PortTaken { port, by });
            }
        }
        if let Some(one) = self.containers.iter_mut().find(|one| one.seen.id == id) {
            (one.seen.kept, one.seen.health) = (false, Health::Starting(None));
            one.behave(&behaviour, now);
        }
        Ok(())
    }
}
