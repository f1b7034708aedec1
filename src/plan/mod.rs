//! Decides, never does: a pure and total function from what is wanted and what there is to the next actions.

mod action;
pub mod backoff;
pub mod desired;
pub mod expand;
pub mod fingerprint;
mod handover;
mod health;
pub mod journal;
pub mod observed;
mod ports;
mod quantities;
mod rollout;
pub mod status;
mod verdict;

use std::time::Duration;

use jiff::Timestamp;

use crate::api::{ConcurrencyPolicy, DeletionPolicy, Reason, ReleasePhase, ReleaseStatus, ReleaseType};
use crate::error::{Class, Problem};
use crate::runtime::{ReplicaState, Running};

pub use action::{Action, End, Occasion, Plan, Unwanted};
pub use rollout::{has_arrived, hash_of, is_to_make, rest_of_deadline};

use handover::heir;
use observed::{JobFailure, JobOutput, JobState, ReleaseView, World, active, last_handled, target};
use rollout::{replicas_of, rollout_problem, was_over};

/// When to look again where the containers could not be looked at, or are to go. Usually the runtime tells earlier.
const BLIND: Duration = Duration::from_secs(5);

/// Decides what to do next.
pub fn plan(world: &World<'_>, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    if world.app.metadata.deletion_timestamp.is_some() {
        delete(world, &mut plan);
        return plan;
    }
    if world.app.spec.suspend {
        suspended(world, &mut plan);
        return plan;
    }
    number(world, &mut plan);
    if world.running.is_err() {
        plan.look_again_in(BLIND);
    }
    let spec = &world.app.spec;
    let nothing_wanted = spec.stopped || matches!(world.wanted, Ok(None));
    let current = target(&world.releases, spec.concurrency_policy).filter(|_| !nothing_wanted);
    end_others(world, current, &mut plan);
    let serving = match current {
        Some(release) => advance(world, release, now, &mut plan),
        None => active(&world.releases).map(|release| release.name.clone()),
    };
    if nothing_wanted {
        clear(world, &mut plan);
    } else {
        let occasion = occasion(world, current);
        create(world, current, occasion, &mut plan);
        let nothing_may = current.is_none_or(|release| release.spec.cancel || !in_rollout(release));
        if current.is_none() && occasion == Occasion::Unrecorded
            || lost(world, serving.as_deref())
            || current.is_none() && is_over(world)
        {
            // What the journal has lost serves on until a new Release knows of it. And of an image that is not there
            // nothing can be made; none of its containers runs either, or the engine would not have let it go.
        } else if let Some(release) = serving {
            plan.push(Action::Deploy {
                release: Some(release),
                beside: left_alone(world, current),
            });
        } else if nothing_may && left_alone(world, current).is_none() {
            // Nothing has ever succeeded: what a failed first Release left is removed.
            clear(world, &mut plan);
        }
    }
    prune(world, &mut plan);
    plan
}

/// Of a suspended Application nothing is begun, repaired or removed; but who asks for the end of a Release gets it, and
/// what a job that was under way came to is recorded.
fn suspended(world: &World<'_>, plan: &mut Plan) {
    number(world, plan);
    for release in world
        .releases
        .iter()
        .filter(|release| !release.has_ended() && release.spec.cancel)
    {
        if in_rollout(release) && world.running.is_ok() {
            plan.push(Action::Deploy {
                release: active(&world.releases).map(|active| active.name.clone()),
                beside: None,
            });
        }
        cancel(world, release, plan);
    }
    let open = |release: &&ReleaseView| !release.has_ended() && !release.spec.cancel;
    for release in world.releases.iter().filter(open) {
        if let Some(JobState::Ended(end)) = world.job_of(release).map(|job| &job.state) {
            take(&release.name, end, plan);
        }
    }
}

/// Records what a job came to and lets it go, unless it is to be tried again: then it stays as it is.
fn take(release: &str, end: &Result<JobOutput, JobFailure>, plan: &mut Plan) {
    match end {
        Err(failure) if failure.is_passing() => return,
        Ok(output) => plan.push(Action::RecordImage {
            release: release.to_owned(),
            output: output.clone(),
            reused: false,
        }),
        Err(failure) => fail(
            plan,
            release,
            failure.step,
            failure.problem.clone(),
            failure.log_tail.clone(),
        ),
    }
    plan.push(Action::ForgetJob);
}

/// Takes away the containers that are there.
fn clear(world: &World<'_>, plan: &mut Plan) {
    if world
        .running
        .as_ref()
        .is_ok_and(|running| !running.replicas.is_empty())
    {
        plan.push(Action::Deploy {
            release: None,
            beside: None,
        });
    }
}

/// Whether what should serve has run to its end and was removed then.
fn is_over(world: &World<'_>) -> bool {
    let (Ok(running), Some(active)) = (&world.running, active(&world.releases)) else {
        return false;
    };
    let there = hash_of(&active.status).map_or(0, |hash| count(running, &hash).0);
    i64::from(there) < replicas_of(&active.status)
        && was_over(world.app, &active.name, &active.status, running).is_some()
}

/// Whether this is the Release whose image is gone.
fn lost(world: &World<'_>, release: Option<&str>) -> bool {
    world.lost.is_some() && world.lost.as_deref() == release
}

/// The Release whose containers stay although it failed: where autoRollback is off, and nothing has been rolled out since.
fn left_alone(world: &World<'_>, current: Option<&ReleaseView>) -> Option<String> {
    if rolls_back(world) || current.is_some_and(in_rollout) {
        return None;
    }
    let began = |release: &&ReleaseView| journal::step_began(&release.status, "Deploying").is_some();
    let newest = world.releases.iter().rev().find(began)?;
    let hash = hash_of(&newest.status)?;
    // Once a hand has removed them there is nothing to look at any more.
    let there = world.running.as_ref().map_or(true, |running| {
        running.replicas.iter().any(|replica| replica.hash == hash)
    });
    (newest.status.phase == ReleasePhase::Failed && there).then(|| newest.name.clone())
}

/// Whether the containers that run are of a Release whose record somebody deleted, and of none that failed: to forget how
/// something came to run is no reason to stop it.
fn is_unrecorded(world: &World<'_>) -> bool {
    let Ok(running) = &world.running else { return false };
    let newest_is_good = world
        .releases
        .last()
        .is_none_or(|newest| newest.status.phase == ReleasePhase::Succeeded);
    let known: Vec<String> = world
        .releases
        .iter()
        .filter_map(|release| hash_of(&release.status))
        .collect();
    newest_is_good
        && !running.replicas.is_empty()
        && !running
            .replicas
            .iter()
            .any(|replica| known.contains(&replica.hash))
}

/// Whether its containers are to be made, or are being made: from the moment that its image is there.
fn in_rollout(release: &ReleaseView) -> bool {
    !release.has_ended() && release.status.image.is_some()
}

fn delete(world: &World<'_>, plan: &mut Plan) {
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

/// The number after the highest one that was ever given.
fn next_number(world: &World<'_>) -> i64 {
    let counted = world
        .app
        .status
        .as_ref()
        .and_then(|status| status.release.as_ref())
        .map_or(0, |release| release.count);
    let highest = world
        .releases
        .iter()
        .filter_map(|release| release.status.number)
        .max()
        .unwrap_or(0);
    counted.max(highest) + 1
}

/// The numbers of those Releases, of all in their order, that have none yet: from `least` on, after the highest there is.
pub fn numbers(releases: &[ReleaseView], least: i64) -> impl Iterator<Item = (&ReleaseView, i64)> {
    let highest = releases.iter().filter_map(|release| release.status.number).max();
    let new = releases.iter().filter(|release| release.status.number.is_none());
    new.zip(least.max(highest.unwrap_or(0) + 1)..)
}

fn number(world: &World<'_>, plan: &mut Plan) {
    for (release, number) in numbers(&world.releases, next_number(world)) {
        if release.has_ended() {
            // Cancelled before it was seen: nothing else wakes the pass that goes on from here.
            plan.look_again_in(Duration::ZERO);
        }
        plan.push(Action::Number {
            release: release.name.clone(),
            number,
        });
    }
    // Those that somebody made, and those that an earlier Application of this name left (`--cascade=orphan`).
    for release in world.releases.iter().filter(|release| !release.owned) {
        plan.push(Action::Adopt {
            release: release.name.clone(),
        });
    }
}

/// Releases that are open beside the current one: superseded, refused or left waiting, as the policy says; and all of
/// them cancelled where nothing is wanted.
fn end_others(world: &World<'_>, current: Option<&ReleaseView>, plan: &mut Plan) {
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

/// Takes the current Release a step further. Returns the Release whose containers should serve meanwhile.
fn advance(world: &World<'_>, release: &ReleaseView, now: Timestamp, plan: &mut Plan) -> Option<String> {
    let name = release.name.clone();
    let before = active(&world.releases).map(|release| release.name.clone());
    let job = world.job_of(release);
    if release.spec.cancel {
        cancel(world, release, plan);
        return before;
    }
    if in_rollout(release) {
        // Under the other policy a new one takes its place.
        if lost(world, Some(&name)) && world.app.spec.concurrency_policy != ConcurrencyPolicy::Supersede {
            let problem = Problem::new(
                Class::Terminal,
                Reason::ImageNotFound,
                "the image was removed from the engine before its containers were made: create another Release",
            );
            fail(plan, &name, "Deploying", problem, String::new());
            return before;
        }
        if let Some(problem) = rollout_problem(world, release, now) {
            fail(plan, &name, "Verifying", problem, String::new());
            return before.filter(|_| rolls_back(world));
        }
        return Some(name);
    }
    let desired = match &world.target {
        Some(Ok(desired)) => desired,
        Some(Err(problem)) if problem.class == Class::Terminal => {
            fail(plan, &name, "Pending", problem.clone(), String::new());
            return before;
        }
        Some(Err(_)) | None => return before,
    };
    if !release.has_begun() {
        plan.push(Action::Begin {
            release: name.clone(),
            desired: Box::new(desired.clone()),
        });
    }
    match job.map(|job| &job.state) {
        Some(JobState::Ended(Err(failure))) if failure.is_passing() => {
            // Kept as it is until the pause is over; then the same Release tries again.
            match world.retry_at.filter(|next| *next > failure.at) {
                // This failure is not on record yet: this pass does that, and then it is known when the next try is.
                None => {}
                Some(at) if at > now => plan.look_again_in(until(at, now)),
                // Work for an engine that is away would only fail again.
                Some(_) if world.running.is_err() => {}
                Some(_) => plan.push(Action::StartJob {
                    release: name,
                    desired: Box::new(desired.clone()),
                }),
            }
        }
        Some(JobState::Ended(end)) => {
            take(&name, end, plan);
            return if end.is_ok() { Some(name) } else { before };
        }
        Some(JobState::Queued { .. } | JobState::Fetching { .. } | JobState::Building { .. }) => {}
        None if world.job.is_some() => {} // Another Release's job must end first.
        None => match &world.image {
            Some(image) if release.spec.kind != ReleaseType::Redeploy && !release.spec.clean_cache => {
                plan.push(Action::RecordImage {
                    release: name.clone(),
                    output: image.clone(),
                    reused: true,
                });
                return Some(name);
            }
            _ if world.running.is_err() => {}
            // Davit was restarted in the pause before the next try.
            _ if let Some(at) = world.retry_at
                && at > now
                && journal::waits(&release.status) =>
            {
                plan.look_again_in(until(at, now));
            }
            _ => plan.push(Action::StartJob {
                release: name,
                desired: Box::new(desired.clone()),
            }),
        },
    }
    before
}

fn fail(plan: &mut Plan, release: &str, step: &'static str, problem: Problem, log_tail: String) {
    plan.push(Action::End {
        release: release.to_owned(),
        end: End::Failed {
            step,
            problem,
            log_tail,
        },
    });
    // What serves from here on is decided on the next pass, from the record of this end.
    plan.look_again_in(Duration::ZERO);
}

fn rolls_back(world: &World<'_>) -> bool {
    world
        .app
        .spec
        .rollout
        .as_ref()
        .and_then(|rollout| rollout.auto_rollback)
        .unwrap_or(true)
}

/// A Release is Cancelled only when its job has ended and none of its own containers is left.
fn cancel(world: &World<'_>, release: &ReleaseView, plan: &mut Plan) {
    if world.job_of(release).is_some_and(|job| !job.state.has_ended()) {
        plan.push(Action::CancelJob);
        return;
    }
    let own = hash_of(&release.status);
    let kept = active(&world.releases).and_then(|active| hash_of(&active.status));
    let left = match (&world.running, own) {
        (Ok(running), Some(own)) if kept.as_ref() != Some(&own) => {
            running.replicas.iter().any(|replica| replica.hash == own)
        }
        (Ok(_), _) => false,
        (Err(_), own) => own.is_some(),
    };
    if left {
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

fn until(at: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(now)).unwrap_or_default()
}

/// What would make a Release now, beside what is wanted being another thing.
fn occasion(world: &World<'_>, current: Option<&ReleaseView>) -> Occasion {
    let newest = world.releases.last();
    let runs = active(&world.releases).map(|active| &active.status);
    let failed = last_handled(&world.releases).is_some_and(|newest| {
        let phase = newest.status.phase;
        matches!(phase, ReleasePhase::Failed | ReleasePhase::Cancelled) && !is_moot(&newest.status, runs)
    });
    if current.is_none() && is_unrecorded(world) {
        Occasion::Unrecorded
    } else if lost(world, newest.map(|newest| newest.name.as_str())) {
        // Of the newest only: where a newer one has failed, making it again would fail again.
        Occasion::ImageLost
    } else if world.requested && failed {
        Occasion::Requested
    } else {
        Occasion::Change
    }
}

/// Whether a Release that was called off was for nothing but what runs already: then it leaves nothing to be done.
pub(crate) fn is_moot(release: &ReleaseStatus, runs: Option<&ReleaseStatus>) -> bool {
    let called_off = matches!(release.phase, ReleasePhase::Cancelled | ReleasePhase::Superseded);
    called_off && release.handled.is_some() && runs.is_some_and(|runs| runs.handled == release.handled)
}

/// Makes a Release where what is wanted is not what the newest one was made for, or there is another occasion.
fn create(world: &World<'_>, current: Option<&ReleaseView>, occasion: Occasion, plan: &mut Plan) {
    let Ok(Some(wanted)) = &world.wanted else { return };
    if current.is_some() && world.app.spec.concurrency_policy != ConcurrencyPolicy::Supersede {
        return;
    }
    let newest = world.releases.last();
    if newest
        .is_some_and(|newest| newest.status.number.is_none() || !newest.has_begun() && !newest.has_ended())
    {
        return; // Somebody just asked for one; it begins with what is wanted now.
    }
    let handled = last_handled(&world.releases).and_then(ReleaseView::handled);
    let same = handled == Some(wanted.identity().as_str());
    if same && occasion == Occasion::Change {
        return;
    }
    // What is made again is what was there, and not what the branch has come to meanwhile.
    let lost = newest.filter(|_| same && occasion == Occasion::ImageLost);
    let revision = lost
        .and_then(|lost| lost.status.source.as_ref())
        .map(|source| source.revision.clone())
        .filter(|revision| *revision != wanted.source.revision);
    plan.push(Action::Create {
        number: next_number(world),
        desired: Box::new(wanted.clone()),
        revision,
        occasion: if same { occasion } else { Occasion::Change },
    });
}

/// Removes what the history limits leave no room for: never the active Release, never one that has not ended, never
/// the newest, never the one that remembers what was handled.
fn prune(world: &World<'_>, plan: &mut Plan) {
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

/// How many replicas with this hash there are, and how many of them are healthy and answer to the name.
pub fn count(running: &Running, hash: &str) -> (i32, i32) {
    let own = running.of(hash);
    let all = own.clone().count();
    let ready = own
        .filter(|replica| replica.state == ReplicaState::Healthy && replica.serving)
        .count();
    (
        i32::try_from(all).unwrap_or(i32::MAX),
        i32::try_from(ready).unwrap_or(i32::MAX),
    )
}
