//! Whether a rollout can still succeed: what its containers do, and how much of its deadline is left.

use std::time::Duration;

use jiff::Timestamp;

use crate::api::{ApplicationSpec, Reason, ReleaseStatus};
use crate::error::{Class, Problem};
use crate::runtime::ReplicaState;

use super::desired::container_hash;
use super::journal;
use super::observed::{ReleaseView, World};

/// How often a container may be started again by the engine before its Release counts as failed.
const RESTARTS: i64 = 3;

/// Why a rollout cannot succeed any more: a container that keeps ending, or time that has run out.
pub(super) fn rollout_problem(world: &World<'_>, release: &ReleaseView, now: Timestamp) -> Option<Problem> {
    let image = release.status.image.as_ref()?;
    let hash = container_hash(&release.status.inputs, image);
    let late = rest_of_deadline(&world.app.spec, &release.status, now).is_some_and(|rest| rest.is_zero());
    let running = world.running.as_ref().ok()?;
    let own = running.replicas.iter().filter(|replica| replica.hash == hash);
    let never_again = world
        .app
        .spec
        .restart_policy
        .as_ref()
        .is_some_and(|policy| policy.condition == crate::api::RestartCondition::Never);
    let mut last = None;
    for replica in own {
        match &replica.state {
            ReplicaState::Exited { code, oom, message } => {
                let why = if *oom {
                    ", killed for want of memory (see spec.resources.limits.memory)"
                } else {
                    ""
                };
                let text = format!(
                    "container {} ended with code {code}{why}, {} restarts; {message}",
                    replica.name, replica.restarts
                );
                let problem = Problem::new(Class::Terminal, Reason::ContainerExited, text);
                if replica.restarts >= RESTARTS || never_again {
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
            ReplicaState::Starting | ReplicaState::Healthy | ReplicaState::Created => {
                if replica.restarts > RESTARTS {
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
        last.unwrap_or_else(|| {
            Problem::new(
                Class::Terminal,
                Reason::ProgressDeadlineExceeded,
                "the containers were not healthy within spec.rollout.progressDeadline; check spec.healthCheck, or raise it",
            )
        })
    })
}

/// What is left of `spec.rollout.progressDeadline` for a Release: when it must be looked at again at the latest. Nothing
/// where its rollout has not begun or it has ended.
pub fn rest_of_deadline(spec: &ApplicationSpec, release: &ReleaseStatus, now: Timestamp) -> Option<Duration> {
    if release.phase.has_ended() {
        return None;
    }
    let began = journal::step_began(release, "Deploying")?;
    let rollout = spec.rollout.as_ref();
    let deadline = rollout
        .and_then(|rollout| rollout.progress_deadline.as_ref())
        .map_or(Duration::from_mins(5), crate::api::Duration::get);
    let passed = Duration::try_from(now.duration_since(began)).unwrap_or_default();
    Some(deadline.saturating_sub(passed))
}
