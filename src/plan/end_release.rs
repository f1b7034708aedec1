//! How Releases, and an Application, come to their end.

use std::time::Duration;

use crate::api::{ConcurrencyPolicy, DeletionPolicy, Reason, ReleasePhase};
use crate::error::{Class, Problem};

use super::action::{Action, End, Plan, Unwanted};
use super::reuse_job::heir;
use super::state::{ReleaseView, World, active, last_handled};
use super::{BLIND, hash_of};

pub(super) fn delete(world: &World<'_>, plan: &mut Plan) {
    if let Some(job) = &world.job
        && !job.state.has_ended()
    {
        plan.push(Action::CancelJob);
        return;
    }
    let mut open = world
        .releases
        .iter()
        .filter(|release| !release.has_ended())
        .peekable();
    if open.peek().is_some() {
        // They may be left behind (`--cascade=orphan`), and then nobody ends them any more.
        for release in open {
            plan.push(Action::End {
                release: release.name.clone(),
                end: if release.spec.cancel {
                    End::Cancelled
                } else {
                    End::Unwanted(Unwanted::Deleted)
                },
            });
        }
        plan.look_again_in(Duration::ZERO);
        return;
    }
    if world.app.spec.deletion_policy == DeletionPolicy::Orphan {
        if world.job.is_some() {
            plan.push(Action::ForgetJob);
        }
        plan.push(Action::Orphan);
        return;
    }
    plan.push(Action::RemoveContainers {
        volumes: world.app.spec.deletion_policy == DeletionPolicy::DeleteWithVolumes,
    });
    plan.push(Action::Forget);
}

/// Releases that are open beside the current one: superseded, refused or left waiting, as the policy says; and all of
/// them cancelled where nothing is wanted.
pub(super) fn end_others(world: &World<'_>, current: Option<&ReleaseView>, plan: &mut Plan) {
    let is_current = |release: &ReleaseView| current.is_some_and(|current| current.name == release.name);
    let mut handed_over = false;
    if let Some(job) = &world.job
        && current.is_none_or(|current| world.job_of(current).is_none())
    {
        if let Some((release, desired)) = current.and_then(|current| heir(world, job, current)) {
            handed_over = true;
            plan.push(Action::HandOver {
                release: release.name.clone(),
                desired: Box::new(desired.clone()),
            });
        } else if job.state.has_ended() {
            plan.push(Action::ForgetJob);
            // The current Release waited for this end.
            plan.look_again_in(Duration::ZERO);
        } else {
            plan.push(Action::CancelJob);
        }
    }
    for release in world
        .releases
        .iter()
        .filter(|release| !release.has_ended() && !is_current(release))
    {
        let works = world.job_of(release).is_some_and(|job| !job.state.has_ended());
        if works && !handed_over {
            continue; // It has ended only when its job has.
        }
        let end = match (current, world.app.spec.concurrency_policy) {
            (None, _) | (Some(_), ConcurrencyPolicy::Queue) if release.spec.cancel => End::Cancelled,
            (None, _) if world.app.spec.stopped => End::Unwanted(Unwanted::Stopped),
            (None, _) => End::Unwanted(Unwanted::NoSource),
            (Some(_), ConcurrencyPolicy::Supersede) => End::Superseded,
            (Some(_), ConcurrencyPolicy::Queue) => continue,
            (Some(current), ConcurrencyPolicy::Forbid) => End::Failed {
                step: "Pending",
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
            end,
        });
    }
}

/// A Release is Cancelled only when its job has ended and none of its own containers is left.
pub(super) fn cancel(world: &World<'_>, release: &ReleaseView, plan: &mut Plan) {
    if world.job_of(release).is_some_and(|job| !job.state.has_ended()) {
        plan.push(Action::CancelJob);
        return;
    }
    if has_left(world, release) {
        // The runtime tells when they are gone, unless it lost its voice meanwhile.
        plan.look_again_in(BLIND);
        return;
    }
    plan.push(Action::End {
        release: release.name.clone(),
        end: End::Cancelled,
    });
    if world.job.as_ref().is_some_and(|job| job.state.has_ended()) {
        plan.push(Action::ForgetJob);
    }
}

/// Whether any container is left of a Release that is not also one of what should serve; where nobody can see, it may be.
pub(super) fn has_left(world: &World<'_>, release: &ReleaseView) -> bool {
    let own = hash_of(&release.status);
    let kept = active(&world.releases).and_then(|active| hash_of(&active.status));
    match (&world.running, own) {
        (Ok(running), Some(own)) if kept.as_ref() != Some(&own) => {
            running.replicas.iter().any(|replica| replica.hash == own)
        }
        (Ok(_), _) => false,
        (Err(_), own) => own.is_some(),
    }
}

/// Removes what the history limits leave no room for: never the active Release, never one that has not ended, never
/// the newest, never the one that remembers what was handled.
pub(super) fn prune(world: &World<'_>, plan: &mut Plan) {
    let limits = world.app.spec.history.unwrap_or_default();
    let kept = [
        active(&world.releases),
        world.releases.last(),
        last_handled(&world.releases),
    ];
    let mut succeeded = 0;
    let mut others = 0;
    let mut gone: Vec<&ReleaseView> = Vec::new();
    for release in world.releases.iter().rev().filter(|release| release.has_ended()) {
        let (count, limit) = if release.status.phase == ReleasePhase::Succeeded {
            (&mut succeeded, limits.succeeded)
        } else {
            (&mut others, limits.failed)
        };
        *count += 1;
        if *count > limit && !kept.contains(&Some(release)) {
            gone.push(release);
        }
    }
    for release in gone.iter().rev() {
        let tag = release.status.image_tag.as_ref();
        let shared = world.releases.iter().any(|other| {
            other.status.image_tag.as_ref() == tag && !gone.iter().any(|gone| gone.name == other.name)
        });
        plan.push(Action::Prune {
            release: release.name.clone(),
            image_tag: tag.filter(|_| !shared).cloned(),
        });
    }
}
