//! Whether a rollout can still succeed: what its containers do, and how much of its deadline is left.

use std::time::Duration;

use jiff::Timestamp;

use crate::api::{ApplicationSpec, Reason, ReleaseStatus};
use crate::error::{Class, Problem};
use crate::runtime::ReplicaState;

use super::containers::{has_ended_for_good, hash_of, is_fully_rolled_out, replicas_of, restart_of};
use super::describe::{how, keeps_ending, with_output};
use super::input::PlanInput;
use super::release_status;
use super::state::ReleaseView;
use super::step::Step;

/// How often a container may be started again by the engine before its Release counts as failed.
const RESTARTS: i64 = 3;

/// Why a rollout cannot succeed any more: a container that keeps ending, or time that has run out.
pub(super) fn rollout_problem(
    input: &PlanInput<'_>,
    release: &ReleaseView,
    now: Timestamp,
) -> Option<Problem> {
    let hash = hash_of(&release.status)?;
    let running = input.running.as_ref().ok()?;
    // Once they serve it is the old ones that take their time.
    let late = !is_fully_rolled_out(&release.status, running)
        && remaining_deadline(&input.app.spec, &release.status, now).is_some_and(|rest| rest.is_zero());
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
                let text = with_output(text, message);
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
                        "container {} is not healthy: {said}: check spec.healthCheck and the output of the container",
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
                "the containers were not healthy within spec.rollout.progressDeadline: check spec.healthCheck, or raise the deadline"
            };
            Problem::new(Class::Terminal, Reason::ProgressDeadlineExceeded, text)
        })
    })
}

/// What is left of `spec.rollout.progressDeadline` for a Release: when it must be looked at again at the latest. Nothing
/// where its rollout has not begun or it has ended.
pub fn remaining_deadline(
    spec: &ApplicationSpec,
    release: &ReleaseStatus,
    now: Timestamp,
) -> Option<Duration> {
    if release.phase.has_ended() {
        return None;
    }
    let began = release_status::step_began(release, Step::Deploying)?;
    let rollout = spec.rollout.as_ref();
    let deadline = rollout
        .and_then(|rollout| rollout.progress_deadline.as_ref())
        .map_or(Duration::from_mins(5), crate::api::Duration::get);
    let passed = Duration::try_from(now.duration_since(began)).unwrap_or_default();
    Some(deadline.saturating_sub(passed))
}
