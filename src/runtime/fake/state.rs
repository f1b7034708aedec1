//! The fake engine's containers, and what each step does to them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use jiff::Timestamp;

use super::{Behaviour, Calls};
use crate::api::Strategy;
use crate::model::AppId;
use crate::runtime::docker::restart_history::in_steps;
use crate::runtime::docker::rollout::{Busy, Health, Mend, Phase, Seen, Step};
use crate::runtime::redaction::GivenSecrets;
use crate::runtime::{Ended, MountSource, Replica, ReplicaState, RuntimeError, Workload};

/// One container of the fake engine.
#[derive(Clone, Debug)]
pub struct FakeContainer {
    /// How the rollout sees it.
    pub seen: Seen,
    /// What it was made from, as it was then.
    pub workload: Workload,
    code: i64,
    message: String,
}

/// Everything that the engine has.
#[derive(Default)]
pub(super) struct State {
    pub(super) containers: Vec<FakeContainer>,
    pub(super) behaviours: BTreeMap<String, Behaviour>,
    pub(super) outputs: BTreeMap<String, String>,
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
                let again = self.workload.restart.starts_again(*code, seen.restarts);
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
    pub(super) fn is_spent(&self, wanted: &Workload) -> bool {
        matches!(self.seen.phase, Phase::Exited(code) if !wanted.restart.starts_again(code, self.seen.restarts))
            && !self.seen.kept
            && self.workload.release != wanted.release
    }

    pub(super) fn given(&self) -> GivenSecrets {
        let workload = &self.workload;
        let confidential = workload
            .env
            .iter()
            .filter(|(name, _)| workload.secret_env.contains(name));
        GivenSecrets {
            env: confidential.map(|(_, value)| value.clone()).collect(),
            files: workload.secret_files,
        }
    }

    /// What its containers wrote until now.
    pub(super) fn output(&self, outputs: &BTreeMap<String, String>) -> String {
        let more = outputs
            .get(&self.workload.image)
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
                last: Some(Ended {
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
            hash: self.workload.hash.clone(),
            release: self.workload.release.clone(),
            image: self.workload.image.clone(),
            state,
            healthy_since,
            serving: running && seen.named,
            draining: seen.left.is_some() || seen.busy.is_some(),
            restarts: seen.restarts,
            host_ports: self
                .workload
                .ports
                .iter()
                .filter(|port| running && port.host.is_some())
                .cloned()
                .collect(),
        }
    }
}

impl State {
    pub(super) fn may_call(&mut self) -> Result<(), RuntimeError> {
        if self.away {
            return Err(RuntimeError::EngineUnavailable("connection refused".to_owned()));
        }
        self.failures.pop_front().map_or(Ok(()), Err)
    }

    pub(super) fn take(
        &mut self,
        workload: &Workload,
        step: Step,
        now: Timestamp,
    ) -> Result<(), RuntimeError> {
        match step {
            Step::Create { index, named } => self.create(workload, index, named)?,
            Step::Start(id) => self.start(workload, &id, now)?,
            Step::Stop(id) | Step::Retire(id) if self.slow_stops && self.runs(&id) => {
                self.calls.stopped += 1;
                let what = if workload.strategy == Strategy::StopFirst {
                    Busy::Stopping
                } else {
                    Busy::Retiring
                };
                self.one(&id, |seen| {
                    (seen.busy, seen.kept) = (Some(what), what == Busy::Stopping);
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
                    (seen.index, seen.mend.name, seen.kept) = (seen.index.or(index), false, false);
                });
            }
            Step::Update(id) => self.one(&id, |seen| seen.mend.limits = false),
            Step::Detach(id) => self.one(&id, |seen| seen.mend.networks = false),
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

    pub(super) fn one(&mut self, id: &str, change: impl FnOnce(&mut Seen)) {
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
        one.is_some_and(|one| matches!(one.seen.phase, Phase::Running | Phase::Paused | Phase::Restarting))
    }

    fn create(&mut self, workload: &Workload, index: u32, named: bool) -> Result<(), RuntimeError> {
        if self.missing.contains(&workload.image) {
            return Err(RuntimeError::ImageMissing(workload.image.clone()));
        }
        for mount in workload
            .mounts
            .iter()
            .filter(|mount| mount.source == MountSource::Volume)
        {
            self.volumes.insert((workload.app.clone(), mount.name.clone()));
        }
        self.next_id += 1;
        self.calls.created += 1;
        let AppId { namespace, name } = &workload.app;
        let seen = Seen {
            id: format!("{:064x}", self.next_id),
            name: format!("davit-{namespace}-{name}-{}-{index}", workload.hash),
            index: Some(index),
            current: true,
            given_up: false,
            over: false,
            phase: Phase::Created,
            health: Health::Starting(None),
            attached: true,
            named,
            left: None,
            kept: false,
            mend: Mend::default(),
            busy: None,
            restarts: 0,
        };
        self.containers.push(FakeContainer {
            seen,
            workload: workload.clone(),
            code: 0,
            message: String::new(),
        });
        Ok(())
    }

    fn start(&mut self, workload: &Workload, id: &str, now: Timestamp) -> Result<(), RuntimeError> {
        let behaviour = self
            .behaviours
            .get(&workload.image)
            .cloned()
            .unwrap_or(Behaviour::Healthy);
        if let Behaviour::RefusesToStart(why) = &behaviour {
            return Err(RuntimeError::Rejected {
                message: why.clone(),
                fields: Some("spec.command"),
            });
        }
        for port in &workload.ports {
            let holder = self.containers.iter().find(|one| {
                one.seen.id != id
                    && self.runs(&one.seen.id)
                    && one.workload.ports.iter().any(|it| it.excludes(port))
            });
            let holder =
                holder.map(|one| format!("Application {} (container {})", one.workload.app, one.seen.name));
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
