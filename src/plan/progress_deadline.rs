//! Whether a rollout can still succeed: what its containers do, and how much of its deadline is left.

use std::time::Duration;

use jiff::Timestamp;

use crate::api::{ApplicationSpec, ConcurrencyPolicy, EndedContainer, Reason, ReleaseStatus};
use crate::error::{Class, Problem};
use crate::runtime::{Replica, ReplicaState, Restart, Running};

use super::conditions::{how, keeps_ending, with_words};
use super::desired::{container_hash, restart};
use super::state::{ReleaseView, World, active, target};
use super::{count, release_status};

/// How often a container may be started again by the engine before its Release counts as failed.
const RESTARTS: i64 = 3;

/// Why a rollout cannot succeed any more: a container that keeps ending, or time that has run out.
pub(super) fn rollout_problem(world: &World<'_>, release: &ReleaseView, now: Timestamp) -> Option<Problem> {
    let hash = hash_of(&release.status)?;
    let running = world.running.as_ref().ok()?;
    // Once they serve it is the old ones that take their time.
    let late = !has_arrived(&release.status, running)
        && rest_of_deadline(&world.app.spec, &release.status, now).is_some_and(|rest| rest.is_zero());
    let restart = restart_of(&release.status);
    let own = running.replicas.iter().filter(|replica| replica.hash == hash);
    let mut last = None;
    let mut healthy = 0;
    for replica in own {
        healthy += i64::from(replica.state == ReplicaState::Healthy);
        // How often one ended under an earlier Release of the same containers says nothing of this one, and what ended for
        // good then is made anew for it.
        let made_for_it = replica.release == release.name;
        match &replica.state {
            ReplicaState::Exited { code, oom, message } => {
                let text = format!(
                    "container {} ended{}, {} restarts",
                    replica.name,
                    how(*code, *oom),
                    replica.restarts
                );
                let text = with_words(text, message);
                let problem = Problem::new(Class::Terminal, Reason::ContainerExited, text);
                if made_for_it && (replica.restarts >= RESTARTS || has_ended_for_good(replica, restart)) {
                    return Some(problem);
                }
                last = Some(problem);
            }
            ReplicaState::KeepsEnding {
                last: ended, message, ..
            } => {
                let text = keeps_ending(&replica.name, *ended, replica.restarts, message);
                let problem = Problem::new(Class::Terminal, Reason::ContainerExited, text);
                if made_for_it && replica.restarts >= RESTARTS {
                    return Some(problem);
                }
                last = Some(problem);
            }
            ReplicaState::Unhealthy(said) => {
                last = Some(Problem::new(
                    Class::Terminal,
                    Reason::Unhealthy,
                    format!(
                        "container {} is not healthy: {said}; check spec.healthCheck and the container's output",
                        replica.name
                    ),
                ));
            }
            ReplicaState::Healthy | ReplicaState::Kept => {}
            ReplicaState::Starting | ReplicaState::Created => {
                if made_for_it && replica.restarts > RESTARTS {
                    return Some(Problem::new(
                        Class::Terminal,
                        Reason::ContainerExited,
                        format!(
                            "container {} was started {} times and ended each time; look at its output",
                            replica.name,
                            replica.restarts + 1
                        ),
                    ));
                }
            }
        }
    }
    late.then(|| {
        last.or_else(|| release_status::hindrance(&release.status)).unwrap_or_else(|| {
            let text = if healthy >= replicas_of(&release.status) {
                "the containers are healthy, but were not for spec.rollout.minReady within spec.rollout.progressDeadline; \
                 lower the one or raise the other"
            } else {
                "the containers were not healthy within spec.rollout.progressDeadline; check spec.healthCheck, or raise it"
            };
            Problem::new(Class::Terminal, Reason::ProgressDeadlineExceeded, text)
        })
    })
}

/// The restart policy that a Release runs with.
pub(super) fn restart_of(release: &ReleaseStatus) -> Restart {
    let recorded = release
        .config
        .as_ref()
        .and_then(|config| config.0.get("restartPolicy"));
    match recorded
        .map(|policy| serde_json::from_value(policy.clone()))
        .transpose()
    {
        Ok(policy) => restart(policy),
        // A container whose policy is unknown must not run twice.
        Err(_) => Restart::Never,
    }
}

/// Whether a container has ended and by this policy nobody starts it again.
pub(super) fn has_ended_for_good(replica: &Replica, restart: Restart) -> bool {
    matches!(replica.state, ReplicaState::Exited { code, .. } if !restart.starts_again(code, replica.restarts))
}

/// How many containers of a Release have run to their end and are there no more: nobody makes them again.
pub(super) fn gone_for_good(release: &ReleaseStatus, running: &Running) -> i64 {
    let there = |ended: &&EndedContainer| running.replicas.iter().any(|replica| replica.id == ended.id);
    let gone = release.ended.iter().filter(|ended| !there(ended)).count();
    i64::try_from(gone).unwrap_or(i64::MAX)
}

/// The Release of which containers are to be made next: that which is being rolled out, else what should serve.
pub fn is_to_make<'r>(
    releases: &'r [ReleaseView],
    policy: ConcurrencyPolicy,
    running: &Running,
) -> Option<&'r ReleaseView> {
    let misses = |release: &&ReleaseView| {
        let there =
            |hash: String| i64::from(count(running, &hash).0) + gone_for_good(&release.status, running);
        hash_of(&release.status).is_some_and(|hash| there(hash) < replicas_of(&release.status))
    };
    let current =
        target(releases, policy).filter(|release| super::in_rollout(release) && !release.spec.cancel);
    current.or_else(|| active(releases)).filter(misses)
}

/// The hash of a Release's containers, once it has an image.
pub fn hash_of(release: &ReleaseStatus) -> Option<String> {
    let image = release.image.as_ref()?;
    Some(container_hash(&release.inputs, image))
}

/// How many replicas a Release has.
pub(super) fn replicas_of(release: &ReleaseStatus) -> i64 {
    release
        .config
        .as_ref()
        .and_then(|config| config.0.get("replicas"))
        .and_then(serde_json::Value::as_i64)
        .unwrap_or(1)
}

/// Whether all replicas of a Release are healthy and answer to the name, whatever is left of those before them.
pub fn has_arrived(release: &ReleaseStatus, running: &Running) -> bool {
    hash_of(release).is_some_and(|hash| {
        let (_, ready) = count(running, &hash);
        ready > 0 && i64::from(ready) >= replicas_of(release)
    })
}

/// What is left of `spec.rollout.progressDeadline` for a Release: when it must be looked at again at the latest. Nothing
/// where its rollout has not begun or it has ended.
pub fn rest_of_deadline(spec: &ApplicationSpec, release: &ReleaseStatus, now: Timestamp) -> Option<Duration> {
    if release.phase.has_ended() {
        return None;
    }
    let began = release_status::step_began(release, "Deploying")?;
    let rollout = spec.rollout.as_ref();
    let deadline = rollout
        .and_then(|rollout| rollout.progress_deadline.as_ref())
        .map_or(Duration::from_mins(5), crate::api::Duration::get);
    let passed = Duration::try_from(now.duration_since(began)).unwrap_or_default();
    Some(deadline.saturating_sub(passed))
}
