//! What to do next, from what is there: the whole of a rollout as one pure function. The same function drives the fake
//! engine, so that the loop's tests meet the decisions that the real engine meets.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::api::Strategy;
use crate::runtime::{Progress, Restart};

/// How often a rollout that waits for nothing in particular is looked at: only a net beneath the events.
const SAFETY_NET: Duration = Duration::from_secs(30);

/// The pause until it is looked at again whether a reverse proxy still sends requests to a container that has left. Usually
/// the controller calls earlier, when the proxy has loaded its new configuration.
const PROXY_PAUSE: Duration = Duration::from_secs(2);

/// One container as the rollout sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerView {
    /// The engine's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The number at the end of its name, where it bears the wanted hash.
    pub index: Option<u32>,
    /// It was made for the wanted hash of the same Application, and nothing about it must be made anew.
    pub current: bool,
    /// It was made for a Release that failed or was cancelled.
    pub abandoned: bool,
    /// It ran to its end and counts as a replica for good: it stays as it is.
    pub over: bool,
    /// How it is.
    pub phase: Phase,
    /// How its health is; only of a running one.
    pub health: Health,
    /// It has an endpoint in the namespace's network.
    pub attached: bool,
    /// The endpoint bears the Application's name.
    pub named: bool,
    /// When it left the name, if it did.
    pub left: Option<Timestamp>,
    /// It was stopped by us to be started again, should the way lead back.
    pub kept: bool,
    /// What of it a hand changed that can be put right as it runs.
    pub drift: Drift,
    /// Something of ours is at work on it.
    pub busy: Option<InProgress>,
    /// A reverse proxy may still send requests to it.
    pub routed: bool,
    /// How often the engine started it again.
    pub restarts: i64,
}

/// How a container is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Made, never started.
    Created,
    /// Runs.
    Running,
    /// Its processes are frozen.
    Paused,
    /// The engine waits before it starts it again.
    Restarting,
    /// ExitStatus with this code.
    Exited(i64),
    /// The engine is removing it.
    Removing,
}

/// How the health of a running container is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Not known yet; where time alone decides, when it will be.
    Starting(Option<Timestamp>),
    /// Healthy since then.
    Healthy(Timestamp),
    /// Not healthy.
    Unhealthy {
        /// Why.
        why: String,
        /// When it will be, where time alone decides.
        until: Option<Timestamp>,
    },
}

/// What a hand changed that can be put right as the container runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drift {
    /// It has another name.
    pub name: bool,
    /// It has other limits or another restart policy.
    pub limits: bool,
    /// It is in networks that are not its namespace's.
    pub networks: bool,
}

/// What of ours is at work on a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InProgress {
    /// It is being stopped, and stays.
    Stopping,
    /// It is being stopped and removed.
    Retiring,
}

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RolloutSpec {
    /// How many containers.
    pub replicas: u32,
    /// Which containers come first.
    pub strategy: Strategy,
    /// How long a replica must have been healthy.
    pub min_ready: Duration,
    /// What happens when a container ends by itself.
    pub restart: Restart,
    /// How long a container that has left the name continues to answer clients that have just resolved it.
    pub drain: Duration,
}

/// One thing to do. A step's object is a container's id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make the container with this number; it bears the name from the start where that is set.
    Create {
        /// The number in its name.
        index: u32,
        /// It answers to the Application's name as soon as it runs.
        named: bool,
    },
    /// Start it, under its own name.
    Start(String),
    /// Thaw its processes.
    Unpause(String),
    /// Give it back its own name.
    Rename(String),
    /// Give it back its limits and restart policy.
    Update(String),
    /// Take it out of the networks that are not its namespace's.
    Detach(String),
    /// Bring it into the network, without the Application's name.
    Attach(String),
    /// Give it the Application's name.
    Join(String),
    /// Take the Application's name from it; it goes on serving what is under way.
    Leave(String),
    /// Stop it and keep it; goes on in the background.
    Stop(String),
    /// Stop and remove it; goes on in the background.
    Retire(String),
}

/// What follows from what is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Next {
    /// What to do now, in this order. Empty: there is nothing to do but to wait for what `progress` names.
    pub steps: Vec<Step>,
    /// How far it is.
    pub progress: Progress,
    /// Containers that wait until a reverse proxy sends no more requests to them, before they leave the name.
    pub leaving: Vec<String>,
}

impl ContainerView {
    fn active(&self) -> bool {
        matches!(self.phase, Phase::Running | Phase::Paused | Phase::Restarting)
    }

    /// When it has been healthy long enough, where that is only a question of time.
    fn ready_at(&self, want: &RolloutSpec) -> Option<Timestamp> {
        match (self.phase, &self.health) {
            (Phase::Running, Health::Healthy(since)) => Some(later(*since, want.min_ready)),
            _ => None,
        }
    }

    fn ready(&self, want: &RolloutSpec, now: Timestamp) -> bool {
        self.busy.is_none() && self.ready_at(want).is_some_and(|at| at <= now)
    }

    /// The best come first: what serves already is kept before what would have to be started.
    fn rank(&self, want: &RolloutSpec, now: Timestamp) -> u8 {
        match self.phase {
            Phase::Running if self.ready(want, now) => u8::from(!self.named),
            Phase::Running if matches!(self.health, Health::Unhealthy { .. }) => 4,
            Phase::Running => 2 + u8::from(!self.named),
            Phase::Paused => 5,
            Phase::Restarting => 6,
            Phase::Created => 7,
            Phase::Exited(_) => 8,
            Phase::Removing => 9,
        }
    }
}

/// How many containers are still to run of `replicas`, of which these have run to their end, unless they run again.
pub fn still_to_run(replicas: u32, ended: &[String], seen: &[ContainerView]) -> u32 {
    let runs_again = |id: &&String| seen.iter().any(|it| it.id == **id && !it.over);
    let over = ended.iter().filter(|id| !runs_again(id)).count();
    replicas.saturating_sub(u32::try_from(over).unwrap_or(u32::MAX))
}

/// The number of restarts rounded down to a power of two, so that a report of it changes ever more seldom.
pub fn in_steps(times: i64) -> i64 {
    times.checked_ilog2().map_or(0, |power| 1 << power)
}

/// The next steps from what is there towards what is wanted, and how far it is.
pub fn next(seen: &[ContainerView], want: &RolloutSpec, now: Timestamp) -> Next {
    let (mut kept, mut rest): (Vec<&ContainerView>, Vec<&ContainerView>) = seen
        .iter()
        .filter(|it| !it.over)
        .partition(|it| it.current && it.phase != Phase::Removing && it.busy != Some(InProgress::Retiring));
    kept.sort_by_key(|it| (it.rank(want, now), it.index, &it.name));
    let wanted = usize::try_from(want.replicas).unwrap_or(usize::MAX);
    rest.extend(kept.split_off(wanted.min(kept.len())));

    let mut plan = Plan {
        want,
        now,
        steps: Vec::new(),
        waits: Vec::new(),
        leaving: Vec::new(),
        soonest: None,
    };
    // While an old container may hold the host port, a new one is made but not started.
    let blocked =
        want.strategy == Strategy::StopFirst && rest.iter().any(|it| it.active() || it.busy.is_some());
    let settled = kept.len() == wanted && kept.iter().all(|it| it.ready(want, now) && it.named);
    plan.create(seen, wanted.saturating_sub(kept.len()));
    for it in &kept {
        plan.bring(it, blocked && !settled);
    }
    for it in &rest {
        plan.part(it, settled, it.current || it.abandoned);
    }
    let ready = kept.iter().filter(|it| it.ready(want, now)).count();
    plan.finish(kept.len(), ready, settled && rest.is_empty())
}

struct Plan<'a> {
    want: &'a RolloutSpec,
    now: Timestamp,
    steps: Vec<Step>,
    waits: Vec<String>,
    leaving: Vec<String>,
    soonest: Option<Timestamp>,
}

impl Plan<'_> {
    fn create(&mut self, seen: &[ContainerView], missing: usize) {
        let free = (0..).filter(|index| !seen.iter().any(|it| it.index == Some(*index)));
        // If no other container answers to the name, there are no requests to protect, and joining later would only take
        // time: the container is away from the network meanwhile.
        let serves = |it: &ContainerView| {
            it.named && it.phase == Phase::Running && !matches!(it.health, Health::Unhealthy { .. })
        };
        let named = self.want.strategy == Strategy::StopFirst || !seen.iter().any(serves);
        self.steps
            .extend(free.take(missing).map(|index| Step::Create { index, named }));
    }

    /// Brings a container that is wanted to where it serves.
    fn bring(&mut self, it: &ContainerView, blocked: bool) {
        if it.busy.is_some() {
            return self.wait(
                format!("{} is being stopped before it is started again", it.name),
                None,
            );
        }
        let id = || it.id.clone();
        match it.phase {
            Phase::Created | Phase::Exited(_) if blocked => {
                return self.wait("the old containers to stop".to_owned(), None);
            }
            Phase::Created => return self.steps.push(Step::Start(id())),
            Phase::Exited(code) if it.kept || self.want.restart.starts_again(code, it.restarts) => {
                return self.steps.push(Step::Start(id()));
            }
            Phase::Exited(code) => {
                let waits = format!("{} ended with exit code {code} and is not started again", it.name);
                return self.wait(waits, None);
            }
            Phase::Paused => return self.steps.push(Step::Unpause(id())),
            Phase::Restarting => {
                let waits = format!("{} ended {} times and is started again", it.name, it.restarts);
                return self.wait(waits, None);
            }
            Phase::Running | Phase::Removing => {}
        }
        if it.drift.name || it.kept {
            self.steps.push(Step::Rename(id()));
        }
        if it.drift.limits {
            self.steps.push(Step::Update(id()));
        }
        if it.drift.networks {
            self.steps.push(Step::Detach(id()));
        }
        let ready = it.ready(self.want, self.now);
        if ready && !it.named {
            self.steps.push(Step::Join(id()));
        } else if !it.attached {
            self.steps.push(Step::Attach(id()));
        } else if !ready {
            self.wait_for_health(it);
        }
    }

    fn wait_for_health(&mut self, it: &ContainerView) {
        match &it.health {
            Health::Starting(until) => {
                self.wait(format!("{} has not been seen healthy yet", it.name), *until);
            }
            Health::Healthy(_) => {
                let waits = format!("{} is healthy, but not for long enough yet", it.name);
                self.wait(waits, it.ready_at(self.want));
            }
            Health::Unhealthy { why, until } => {
                self.wait(format!("{} is unhealthy: {why}", it.name), *until);
            }
        }
    }

    /// Removes an unwanted container gracefully. `spare`: it may serve as long as it is healthy, but no replacement is
    /// awaited. It is of the wanted kind, and there are only too many; or its Release was given up.
    fn part(&mut self, it: &ContainerView, settled: bool, spare: bool) {
        if it.busy.is_some() || it.phase == Phase::Removing {
            return self.wait(format!("{} to stop", it.name), None);
        }
        let id = || it.id.clone();
        let sick = matches!(it.health, Health::Unhealthy { .. });
        if self.want.replicas == 0 {
            return self.steps.push(Step::Retire(id()));
        }
        match self.want.strategy {
            Strategy::StopFirst if settled => self.steps.push(Step::Retire(id())),
            Strategy::StopFirst if it.active() => self.steps.push(Step::Stop(id())),
            // No way leads back to it, and where what is wanted has ended for good nothing would ever settle.
            Strategy::StopFirst if it.abandoned => self.steps.push(Step::Retire(id())),
            // Stopped and kept: the way back, until the new ones are seen to work.
            Strategy::StopFirst => {}
            Strategy::StartFirst if !it.active() => self.steps.push(Step::Retire(id())),
            Strategy::StartFirst => match it.left.map(|left| later(left, self.want.drain)) {
                Some(drained) if drained <= self.now && it.routed => self.wait_for_proxy(it),
                Some(drained) if drained <= self.now => self.steps.push(Step::Retire(id())),
                Some(drained) => self.wait(format!("{} to drain", it.name), Some(drained)),
                // It never had the name, so no client is connected to it.
                None if !it.named => self.steps.push(Step::Retire(id())),
                None if !(settled || spare && sick) => {}
                None if it.phase == Phase::Restarting => self.steps.push(Step::Retire(id())),
                None if it.phase == Phase::Paused => self.steps.push(Step::Unpause(id())),
                // It is frozen for a moment when it leaves: no request should meet that.
                None if it.routed => {
                    self.leaving.push(id());
                    self.wait_for_proxy(it);
                }
                None => self.steps.push(Step::Leave(id())),
            },
        }
    }

    fn wait_for_proxy(&mut self, it: &ContainerView) {
        let soon = later(self.now, PROXY_PAUSE);
        let waits = format!("the reverse proxy to send no more requests to {}", it.name);
        self.wait(waits, Some(soon));
    }

    fn wait(&mut self, what: String, until: Option<Timestamp>) {
        self.waits.push(what);
        self.soonest = [self.soonest, until].into_iter().flatten().min();
    }

    fn finish(self, created: usize, ready: usize, complete: bool) -> Next {
        if complete && self.steps.is_empty() {
            return Next {
                steps: self.steps,
                progress: Progress::Complete,
                leaving: self.leaving,
            };
        }
        let check_in = self.soonest.map_or(SAFETY_NET, |at| {
            Duration::try_from(at.duration_since(self.now))
                .unwrap_or_default()
                .min(SAFETY_NET)
        });
        let waiting_for = match (self.waits.first(), self.waits.len()) {
            (None, _) => "its next step".to_owned(),
            (Some(first), 1) => first.clone(),
            (Some(first), several) => format!("{first}, and {} more", several - 1),
        };
        Next {
            steps: self.steps,
            progress: Progress::Rolling {
                created: u32::try_from(created).unwrap_or(u32::MAX),
                ready: u32::try_from(ready).unwrap_or(u32::MAX),
                check_in: Some(check_in),
                waiting_for,
            },
            leaving: self.leaving,
        }
    }
}

fn later(at: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by)
        .ok()
        .and_then(|by| at.checked_add(by).ok())
        .unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
