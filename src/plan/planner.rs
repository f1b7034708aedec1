//! The next actions for an Application.

use std::time::Duration;

use jiff::Timestamp;

use crate::api::{ConcurrencyPolicy, Reason, ReleasePhase, ReleaseType};
use crate::error::{Class, Problem};

use super::action::{Action, CancelReason, CreateReason, Plan, ReleaseOutcome};
use super::containers::{hash_of, in_rollout};
use super::create_release::{create, create_reason, is_missing_image, number};
use super::desired::Desired;
use super::end_release::{BLIND, cancel, delete, end_others, has_containers, prune};
use super::input::{DesiredState, PlanInput};
use super::job_spec::JobSpec;
use super::progress_deadline::rollout_problem;
use super::rollback::Verdict;
use super::state::{JobFailure, JobOutput, JobState, ReleaseView, active, target};
use super::step::Step;
use super::{hook, release_status, restart, rollback, source_kind};

/// Decides what to do next.
pub fn plan(input: &PlanInput<'_>, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    if input.app.metadata.deletion_timestamp.is_some() {
        delete(input, &mut plan);
        return plan;
    }
    number(input, &mut plan);
    if input.app.spec.suspend {
        suspended(input, &mut plan);
        return plan;
    }
    if let Some(release) = input.refuted() {
        plan.push(Action::End {
            release: release.name.clone(),
            outcome: ReleaseOutcome::NotNeeded(CancelReason::NotOnBranch),
        });
        plan.requeue_in(Duration::ZERO);
        return plan;
    }
    if input.running.is_err() {
        plan.requeue_in(BLIND);
    }
    let spec = &input.app.spec;
    let nothing_wanted = spec.stopped || matches!(input.desired, DesiredState::None);
    let current = target(&input.releases, spec.concurrency_policy).filter(|_| !nothing_wanted);
    if let Some(release) = current
        && !may_begin(input, release, &mut plan)
    {
        return plan;
    }
    end_others(input, current, &mut plan);
    let serving = match current {
        Some(release) => advance(input, release, now, &mut plan),
        None => active(&input.releases).map(|release| release.name.clone()),
    };
    if nothing_wanted {
        clear(input, &mut plan);
    } else {
        if let Some(release) = restart::due(input, current) {
            plan.push(Action::Restart {
                release: release.name.clone(),
            });
        }
        let reason = create_reason(input, current);
        create(input, current, reason, &mut plan);
        let nothing_may = current.is_none_or(|release| release.spec.cancel || !in_rollout(release));
        if current.is_none() && reason == CreateReason::Unrecorded
            || is_missing_image(input, serving.as_deref())
        {
            // Containers of a deleted Release serve until a new Release adopts them. Without its image no container of a
            // Release can be created, and none runs, because the engine keeps an image in use.
        } else if let Some(release) = serving {
            plan.push(Action::Deploy {
                release: Some(release),
                preserve: preserved(input, current),
            });
        } else if nothing_may && preserved(input, current).is_none() {
            // No Release has ever succeeded: the containers of a failed first Release are removed.
            clear(input, &mut plan);
        }
    }
    prune(input, &mut plan);
    plan
}

/// Reports whether the current Release may take the place of what is under way. A Rollback that cannot run is refused before
/// that: what is under way goes on with the next reconcile.
fn may_begin(input: &PlanInput<'_>, current: &ReleaseView, plan: &mut Plan) -> bool {
    match rollback::verdict(input, current) {
        Verdict::Runs => true,
        Verdict::Waits(problem) => {
            wait(plan, &current.name, &problem);
            false
        }
        Verdict::Refused(problem) => {
            fail(plan, &current.name, Step::Pending, problem, String::new());
            false
        }
    }
}

/// While `spec.suspend` is set, no job is started and no container is created, repaired or removed. Cancellation is still
/// honoured, and the result of a running job is still recorded.
fn suspended(input: &PlanInput<'_>, plan: &mut Plan) {
    for release in input
        .releases
        .iter()
        .filter(|release| !release.has_ended() && release.spec.cancel)
    {
        if has_containers(input, release) && input.running.is_ok() {
            plan.push(Action::Deploy {
                release: active(&input.releases).map(|active| active.name.clone()),
                preserve: None,
            });
        }
        cancel(input, release, plan);
    }
    let open = |release: &&ReleaseView| !release.has_ended() && !release.spec.cancel;
    for release in input.releases.iter().filter(open) {
        match input.job_of(release).map(|job| &job.state) {
            Some(JobState::Ended(end)) => finish_job(release, end, plan),
            // The job has not begun, and must not begin now.
            Some(JobState::Queued { .. }) => plan.push(Action::CancelJob),
            Some(JobState::Fetching { .. } | JobState::Building { .. } | JobState::Pushing { .. }) | None => {
            }
        }
    }
}

/// Records the result of a job and removes it from the queue. A job that is tried again stays as it is.
fn finish_job(release: &ReleaseView, end: &Result<JobOutput, JobFailure>, plan: &mut Plan) {
    match end {
        Err(failure) if failure.is_transient() => return,
        // The job was removed from the queue because of `spec.suspend`, and starts again afterwards.
        Err(failure) if failure.cancelled => plan.requeue_in(Duration::ZERO),
        Ok(output) => plan.push(Action::RecordImage {
            release: release.name.clone(),
            output: output.clone(),
            reused: output.reused,
        }),
        Err(failure) => fail(
            plan,
            &release.name,
            failure.step,
            source_kind::of_asked_revision(&release.spec, &failure.problem),
            failure.log_tail.clone(),
        ),
    }
    plan.push(Action::ForgetJob);
}

/// Removes all containers.
fn clear(input: &PlanInput<'_>, plan: &mut Plan) {
    if input
        .running
        .as_ref()
        .is_ok_and(|running| !running.replicas.is_empty())
    {
        plan.push(Action::Deploy {
            release: None,
            preserve: None,
        });
    }
}

/// Returns the failed Release whose containers stay for inspection: `autoRollback` is off, and no later rollout began.
fn preserved(input: &PlanInput<'_>, current: Option<&ReleaseView>) -> Option<String> {
    if rolls_back(input) || current.is_some_and(in_rollout) {
        return None;
    }
    let began =
        |release: &&ReleaseView| release_status::step_began(&release.status, Step::Deploying).is_some();
    let newest = input.releases.iter().rev().find(began)?;
    let hash = hash_of(&newest.status)?;
    // If the containers were removed manually, there is nothing left to inspect.
    let there = input.running.as_ref().map_or(true, |running| {
        running.replicas.iter().any(|replica| replica.hash == hash)
    });
    (newest.status.phase == ReleasePhase::Failed && there).then(|| newest.name.clone())
}

/// Whether the hook of a Release must end before its containers start; then the next reconcile observes the hook.
fn runs_hook(release: &ReleaseView, now: Timestamp, plan: &mut Plan) -> bool {
    let Some(hook) = hook::pending(&release.status) else {
        return false;
    };
    let rest = hook::remaining(&release.status, &hook, now);
    let overdue = rest.is_zero();
    plan.push(Action::RunHook {
        release: release.name.clone(),
        overdue,
    });
    if !overdue {
        plan.requeue_in(rest);
    }
    true
}

/// Advances the current Release. Returns the Release whose containers should serve meanwhile.
fn advance(input: &PlanInput<'_>, release: &ReleaseView, now: Timestamp, plan: &mut Plan) -> Option<String> {
    let name = release.name.clone();
    let before = active(&input.releases).map(|release| release.name.clone());
    let job = input.job_of(release);
    if release.spec.cancel {
        cancel(input, release, plan);
        return before;
    }
    if in_rollout(release) {
        // With `Supersede`, a new Release replaces it, unless it is a rollback, which no new Release can repeat.
        if is_missing_image(input, Some(&name))
            && (input.app.spec.concurrency_policy != ConcurrencyPolicy::Supersede
                || release.spec.kind == ReleaseType::Rollback)
        {
            let problem = Problem::new(
                Class::Terminal,
                Reason::ImageNotFound,
                "the image was removed from the engine before its containers were made: create another Release",
            );
            fail(plan, &name, Step::Deploying, problem, String::new());
            return before;
        }
        if runs_hook(release, now, plan) {
            return before;
        }
        if let Some(problem) = rollout_problem(input, release, now) {
            fail(plan, &name, Step::Verifying, problem, String::new());
            return before.filter(|_| rolls_back(input));
        }
        return Some(name);
    }
    if input.is_unconfirmed(release) {
        return before; // The answer of the repository triggers the next reconcile.
    }
    let desired = match &input.target {
        DesiredState::Known(desired) => desired,
        DesiredState::Unknown(problem) if problem.class == Class::Terminal => {
            fail(plan, &name, Step::Pending, problem.clone(), String::new());
            return before;
        }
        DesiredState::Unknown(problem) => {
            wait(plan, &name, problem);
            return before;
        }
        DesiredState::None => return before,
    };
    if !release.has_begun() {
        plan.push(Action::Begin {
            release: name.clone(),
            desired: desired.clone(),
        });
    }
    match job.map(|job| &job.state) {
        Some(JobState::Ended(Err(failure))) if failure.is_transient() => {
            // The job stays as it is until the pause is over; then the same Release tries again.
            match input.retry_at.filter(|next| *next > failure.at) {
                // This reconcile records the failure and with it the time of the next try.
                None => {}
                Some(at) if at > now => plan.requeue_in(until(at, now)),
                // A job would fail again while the engine is away.
                Some(_) if input.running.is_err() => {}
                Some(_) => start_job(input, release, desired, plan),
            }
        }
        Some(JobState::Ended(end)) => {
            finish_job(release, end, plan);
            return if end.is_ok() {
                serving_next(desired, name, before, plan)
            } else {
                before
            };
        }
        Some(
            JobState::Queued { .. }
            | JobState::Fetching { .. }
            | JobState::Building { .. }
            | JobState::Pushing { .. },
        ) => {}
        None if input.job.is_some() => {} // The job of another Release must end first.
        None => match &input.image {
            Err(problem) => wait(plan, &name, problem),
            Ok(Some(image)) if release.spec.kind != ReleaseType::Redeploy && !release.spec.clean_cache => {
                plan.push(Action::RecordImage {
                    release: name.clone(),
                    output: image.clone(),
                    reused: true,
                });
                return serving_next(desired, name, before, plan);
            }
            Ok(_) if release.spec.kind == ReleaseType::Rollback => {
                let problem = rollback::image_is_gone(input.app, release, &input.releases);
                fail(plan, &name, Step::Deploying, problem, String::new());
            }
            _ if input.running.is_err() => {}
            // Davit was restarted during the pause before the next try.
            _ if let Some(at) = input.retry_at
                && at > now
                && release_status::waits(&release.status) =>
            {
                plan.requeue_in(until(at, now));
            }
            _ => start_job(input, release, desired, plan),
        },
    }
    before
}

/// Returns the Release whose containers should serve once an image is recorded: its hook runs first, if it has one.
fn serving_next(desired: &Desired, name: String, before: Option<String>, plan: &mut Plan) -> Option<String> {
    if hook::of(&desired.config).is_none() {
        return Some(name);
    }
    plan.requeue_in(Duration::ZERO);
    before
}

/// Starts the job of a Release, or records why it cannot be started.
fn start_job(input: &PlanInput<'_>, release: &ReleaseView, desired: &Desired, plan: &mut Plan) {
    let job = match (&input.inputs.access, &input.inputs.values) {
        (Ok(()), Ok(values)) => JobSpec::new(input.uid(), release, desired, values),
        (Err(problem), _) | (_, Err(problem)) => Err(problem.clone()),
    };
    match job {
        Ok(job) => plan.push(Action::StartJob {
            release: release.name.clone(),
            job: Box::new(job),
        }),
        Err(problem) if problem.class == Class::Terminal => {
            fail(plan, &release.name, Step::Fetching, problem, String::new());
        }
        Err(problem) => wait(plan, &release.name, &problem),
    }
}

/// Records what the work for a Release waits for. A watch triggers the next reconcile if that is another object.
fn wait(plan: &mut Plan, release: &str, problem: &Problem) {
    plan.push(Action::Wait {
        release: release.to_owned(),
        problem: problem.clone(),
    });
    if problem.class == Class::Transient {
        plan.requeue_in(BLIND);
    }
}

fn fail(plan: &mut Plan, release: &str, step: Step, problem: Problem, log_tail: String) {
    plan.push(Action::End {
        release: release.to_owned(),
        outcome: ReleaseOutcome::Failed {
            step,
            problem,
            log_tail,
        },
    });
    // The next reconcile decides what serves, from the record of this end.
    plan.requeue_in(Duration::ZERO);
}

fn rolls_back(input: &PlanInput<'_>) -> bool {
    input
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
