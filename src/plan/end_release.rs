//! How Releases and Applications end.

use std::time::Duration;

use crate::api::{Application, CLEARED, ConcurrencyPolicy, DeletionPolicy, Reason, ReleasePhase};
use crate::error::{Class, Problem};

use super::action::{Action, CancelReason, Plan, ReleaseOutcome};
use super::containers::hash_of;
use super::hold::hold;
use super::input::PlanInput;
use super::reuse_job::reusable_job;
use super::state::{ReleaseView, active, last_handled};
use super::step::Step;

/// The time between two observations of containers that are being removed, or that cannot be observed. Usually an event
/// of the runtime triggers the next reconcile earlier.
pub(super) const BLIND: Duration = Duration::from_secs(5);

pub(super) fn delete(input: &PlanInput<'_>, plan: &mut Plan) {
    if let Some(job) = &input.job
        && !job.state.has_ended()
    {
        plan.push(Action::CancelJob);
        return;
    }
    let mut open = input
        .releases
        .iter()
        .filter(|release| !release.has_ended())
        .peekable();
    if open.peek().is_some() {
        // With `--cascade=orphan` the Releases stay, and no later reconcile ends them.
        for release in open {
            plan.push(Action::End {
                release: release.name.clone(),
                outcome: if release.spec.cancel {
                    ReleaseOutcome::Cancelled
                } else {
                    ReleaseOutcome::NotNeeded(CancelReason::Deleted)
                },
            });
        }
        plan.requeue_in(Duration::ZERO);
        return;
    }
    if input.app.spec.deletion_policy == DeletionPolicy::Orphan {
        if input.job.is_some() {
            plan.push(Action::ForgetJob);
        }
        plan.push(Action::Orphan);
        return;
    }
    plan.push(Action::RemoveContainers {
        volumes: input.app.spec.deletion_policy == DeletionPolicy::DeleteWithVolumes,
    });
    plan.push(Action::Forget);
}

/// Ends the open Releases besides the current one: `concurrencyPolicy` decides whether they are superseded, rejected or left
/// waiting. All are cancelled if nothing is to run.
pub(super) fn end_others(input: &PlanInput<'_>, current: Option<&ReleaseView>, plan: &mut Plan) {
    let is_current = |release: &ReleaseView| current.is_some_and(|current| current.name == release.name);
    let mut handed_over = false;
    if let Some(job) = &input.job
        && current.is_none_or(|current| input.job_of(current).is_none())
    {
        if let Some((release, reused)) = current.and_then(|current| reusable_job(input, job, current)) {
            handed_over = true;
            plan.push(Action::HandOver {
                release: release.name.clone(),
                job: Box::new(reused),
            });
        } else if job.state.has_ended() {
            plan.push(Action::ForgetJob);
            // The current Release waited for the end of the job.
            plan.requeue_in(Duration::ZERO);
        } else {
            plan.push(Action::CancelJob);
        }
    }
    for release in input
        .releases
        .iter()
        .filter(|release| !release.has_ended() && !is_current(release))
    {
        let works = input.job_of(release).is_some_and(|job| !job.state.has_ended());
        if works && !handed_over {
            continue; // A Release ends only after its job.
        }
        let outcome = match (current, input.app.spec.concurrency_policy) {
            (None, _) | (Some(_), ConcurrencyPolicy::Queue) if release.spec.cancel => {
                ReleaseOutcome::Cancelled
            }
            (None, _) if input.app.spec.stopped => ReleaseOutcome::NotNeeded(CancelReason::Stopped),
            (None, _) => ReleaseOutcome::NotNeeded(CancelReason::NoSource),
            (Some(_), ConcurrencyPolicy::Supersede) => ReleaseOutcome::Superseded,
            (Some(_), ConcurrencyPolicy::Queue) => continue,
            (Some(current), ConcurrencyPolicy::Forbid) => ReleaseOutcome::Failed {
                step: Step::Pending,
                problem: Problem::new(
                    Class::Terminal,
                    Reason::Concurrent,
                    format!(
                        "release {} is under way and spec.concurrencyPolicy is Forbid: wait for its end or cancel it",
                        current.name
                    ),
                ),
                log_tail: String::new(),
            },
        };
        plan.push(Action::End {
            release: release.name.clone(),
            outcome,
        });
    }
}

/// Cancels a Release once its job has ended and its own containers are removed.
pub(super) fn cancel(input: &PlanInput<'_>, release: &ReleaseView, plan: &mut Plan) {
    if input.job_of(release).is_some_and(|job| !job.state.has_ended()) {
        plan.push(Action::CancelJob);
        return;
    }
    if has_containers(input, release) {
        // A runtime event triggers the next reconcile; also poll, in case the event stream is down.
        plan.requeue_in(BLIND);
        return;
    }
    plan.push(Action::End {
        release: release.name.clone(),
        outcome: ReleaseOutcome::Cancelled,
    });
    if input.job.as_ref().is_some_and(|job| job.state.has_ended()) {
        plan.push(Action::ForgetJob);
    }
}

/// Reports whether containers of a Release are left that do not serve. While the engine is away, they may be.
pub(super) fn has_containers(input: &PlanInput<'_>, release: &ReleaseView) -> bool {
    let own = hash_of(&release.status);
    let kept = active(&input.releases).and_then(|active| hash_of(&active.status));
    match (&input.running, own) {
        (Ok(running), Some(own)) if kept.as_ref() != Some(&own) => {
            running.replicas.iter().any(|replica| replica.hash == own)
        }
        (Ok(_), _) => false,
        (Err(_), own) => own.is_some(),
    }
}

/// Removes Releases over the history limits, and those that the user cleared.
pub(super) fn prune(input: &PlanInput<'_>, plan: &mut Plan) {
    let annotations = input.app.metadata.annotations.as_ref();
    let cleared = annotations.and_then(|all| all.get(CLEARED)?.parse().ok());
    let gone = prunable(input.app, &input.releases, cleared.unwrap_or_default());
    for release in gone.iter().rev() {
        let tag = release.status.image_tag.as_ref();
        let shared = input.releases.iter().any(|other| {
            other.status.image_tag.as_ref() == tag && !gone.iter().any(|gone| gone.name == other.name)
        });
        plan.push(Action::Prune {
            release: release.name.clone(),
            image_tag: tag.filter(|_| !shared).cloned(),
        });
    }
}

/// Returns the Releases that always stay: the active one, the newest one, and the one with the last fingerprint.
fn kept(releases: &[ReleaseView]) -> [Option<&ReleaseView>; 3] {
    [active(releases), releases.last(), last_handled(releases)]
}

/// Returns the Releases to remove, the newest first: those over the history limits, and all that ended up to the number
/// `cleared`; except the active one, the newest one, the one with the last fingerprint, and those that a kept Rollback
/// refers to. Those that stayed when the user cleared stay afterwards: only the history limits remove them.
pub fn prunable<'r>(app: &Application, releases: &'r [ReleaseView], cleared: i64) -> Vec<&'r ReleaseView> {
    let limits = app.spec.history.unwrap_or_default();
    let is_of_then = |release: &&ReleaseView| release.status.number.is_some_and(|number| number <= cleared);
    let then = releases.iter().take_while(is_of_then).count();
    let kept_then = kept(releases.get(..then).unwrap_or_default());
    let kept = kept(releases);
    // A repair may have taken its place, and it holds all the same.
    let held = hold(app, releases, |release| (&release.name, &release.status)).map(|hold| hold.release);
    let mut succeeded = 0;
    let mut others = 0;
    let mut gone: Vec<&ReleaseView> = Vec::new();
    // A Rollback is newer than the Release that it refers to, so from the newest on each reference is seen in time.
    let open = releases.iter().filter(|release| !release.has_ended());
    let mut referenced: Vec<&str> = open
        .filter_map(|release| release.spec.rollback_to.as_deref())
        .collect();
    for release in releases.iter().rev().filter(|release| release.has_ended()) {
        let (count, limit) = if release.status.phase == ReleasePhase::Succeeded {
            (&mut succeeded, limits.succeeded)
        } else {
            (&mut others, limits.failed)
        };
        *count += 1;
        let is_referenced = referenced.contains(&release.name.as_str());
        let is_cleared = is_of_then(&release) && !kept_then.contains(&Some(release));
        let stays = is_referenced || kept.contains(&Some(release)) || held.as_ref() == Some(&release.name);
        if (*count > limit || is_cleared) && !stays {
            gone.push(release);
        } else if let Some(rollback) = &release.status.rollback {
            referenced.push(&rollback.release);
        }
    }
    gone
}
