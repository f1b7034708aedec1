//! Decides, never does: a pure and total function from what is wanted and what there is to the next actions.

mod action;
pub mod application_status;
pub mod backoff;
mod capabilities;
mod conditions;
mod create_release;
pub mod desired;
mod end_release;
pub mod env_expansion;
pub mod fingerprint;
mod health;
mod ports;
mod progress_deadline;
mod quantities;
mod redaction;
pub mod release_status;
mod reuse_job;
pub mod state;

use std::time::Duration;

use jiff::Timestamp;

use crate::api::{ConcurrencyPolicy, Reason, ReleasePhase, ReleaseType};
use crate::error::{Class, Problem};
use crate::runtime::{ReplicaState, Running};

pub use action::{Action, End, Occasion, Plan, Unwanted};
pub use create_release::numbers;
pub use progress_deadline::{has_arrived, hash_of, is_to_make, rest_of_deadline};
pub use redaction::redaction_policy;

use create_release::{create, newest_that_counts, number, occasion};
use desired::Desired;
use end_release::{cancel, delete, end_others, has_left, prune};
use progress_deadline::rollout_problem;
use state::{JobFailure, JobOutput, JobState, ReleaseView, World, active, target};

/// When to look again where the containers could not be looked at, or are to go. Usually the runtime tells earlier.
const BLIND: Duration = Duration::from_secs(5);

/// Decides what to do next.
pub fn plan(world: &World<'_>, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    if world.app.metadata.deletion_timestamp.is_some() {
        delete(world, &mut plan);
        return plan;
    }
    number(world, &mut plan);
    if world.app.spec.suspend {
        suspended(world, &mut plan);
        return plan;
    }
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
        if current.is_none() && occasion == Occasion::Unrecorded || lost(world, serving.as_deref()) {
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
    for release in world
        .releases
        .iter()
        .filter(|release| !release.has_ended() && release.spec.cancel)
    {
        if has_left(world, release) && world.running.is_ok() {
            plan.push(Action::Deploy {
                release: active(&world.releases).map(|active| active.name.clone()),
                beside: None,
            });
        }
        cancel(world, release, plan);
    }
    let open = |release: &&ReleaseView| !release.has_ended() && !release.spec.cancel;
    for release in world.releases.iter().filter(open) {
        match world.job_of(release).map(|job| &job.state) {
            Some(JobState::Ended(end)) => take(&release.name, end, plan),
            // It has not begun, and may not now.
            Some(JobState::Queued { .. }) => plan.push(Action::CancelJob),
            Some(JobState::Fetching { .. } | JobState::Building { .. }) | None => {}
        }
    }
}

/// Records what a job came to and lets it go, unless it is to be tried again: then it stays as it is.
fn take(release: &str, end: &Result<JobOutput, JobFailure>, plan: &mut Plan) {
    match end {
        Err(failure) if failure.is_passing() => return,
        // It was taken from the queue while its Application was suspended, and is begun again when it may be.
        Err(failure) if failure.cancelled => plan.look_again_in(Duration::ZERO),
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

/// Whether this is the Release whose image is gone.
fn lost(world: &World<'_>, release: Option<&str>) -> bool {
    world.lost.is_some() && world.lost.as_deref() == release
}

/// The Release whose containers stay although it failed: where autoRollback is off, and nothing has been rolled out since.
fn left_alone(world: &World<'_>, current: Option<&ReleaseView>) -> Option<String> {
    if rolls_back(world) || current.is_some_and(in_rollout) {
        return None;
    }
    let began = |release: &&ReleaseView| release_status::step_began(&release.status, "Deploying").is_some();
    let newest = world.releases.iter().rev().find(began)?;
    let hash = hash_of(&newest.status)?;
    // Once a hand has removed them there is nothing to look at any more.
    let there = world.running.as_ref().map_or(true, |running| {
        running.replicas.iter().any(|replica| replica.hash == hash)
    });
    (newest.status.phase == ReleasePhase::Failed && there).then(|| newest.name.clone())
}

/// Whether its containers are to be made, or are being made: from the moment that its image is there.
fn in_rollout(release: &ReleaseView) -> bool {
    !release.has_ended() && release.status.image.is_some()
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
        Some(Err(problem)) => {
            wait(plan, &name, problem);
            return before;
        }
        None => return before,
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
                Some(_) => start_job(world, &name, desired, plan),
            }
        }
        Some(JobState::Ended(end)) => {
            take(&name, end, plan);
            return if end.is_ok() { Some(name) } else { before };
        }
        Some(JobState::Queued { .. } | JobState::Fetching { .. } | JobState::Building { .. }) => {}
        None if world.job.is_some() => {} // Another Release's job must end first.
        None => match &world.image {
            Err(problem) => wait(plan, &name, problem),
            Ok(Some(image)) if release.spec.kind != ReleaseType::Redeploy && !release.spec.clean_cache => {
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
                && release_status::waits(&release.status) =>
            {
                plan.look_again_in(until(at, now));
            }
            _ => start_job(world, &name, desired, plan),
        },
    }
    before
}

/// Starts the job of a Release, or records why that cannot be done.
fn start_job(world: &World<'_>, release: &str, desired: &Desired, plan: &mut Plan) {
    match &world.access {
        Ok(()) => plan.push(Action::StartJob {
            release: release.to_owned(),
            desired: Box::new(desired.clone()),
        }),
        Err(problem) if problem.class == Class::Terminal => {
            fail(plan, release, "Fetching", problem.clone(), String::new());
        }
        Err(problem) => wait(plan, release, problem),
    }
}

/// Records what the work for a Release waits for. A watch triggers the next reconcile if that is another object.
fn wait(plan: &mut Plan, release: &str, problem: &Problem) {
    plan.push(Action::Wait {
        release: release.to_owned(),
        problem: problem.clone(),
    });
    if problem.class == Class::Transient {
        plan.look_again_in(BLIND);
    }
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

fn until(at: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(now)).unwrap_or_default()
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
