//! What a Release's status becomes by each thing that happens to it. Pure; an ended Release never
//! changes again, but for what its containers came to.

mod begin;

use jiff::Timestamp;

use crate::api::{
    BuilderUsed, ConditionType, EndedContainer, Failure, QueuePlace, Reason, ReleasePhase, ReleaseProgress,
    ReleaseStatus, ResolvedSource, StepStatus, condition,
};
use crate::error::{Class, Problem, cut_beginning};
use crate::runtime::{Progress, ReplicaState, Running};

use super::action::{CancelReason, ReleaseOutcome};
use super::containers::{has_ended_for_good, hash_of, replicas_of, restart_of};
use super::describe::unhealthy;
use super::desired::PinnedSource;
use super::state::{JobFailure, JobOutput, JobState};
use super::step::Step;

pub use begin::{begin, recall};

/// The source as it stands in status.
pub fn resolved(source: &PinnedSource) -> ResolvedSource {
    ResolvedSource {
        kind: source.kind.to_owned(),
        revision: source.revision.to_string(),
        short_revision: source.short_revision(),
        message: None,
        author: None,
        observed_generation: None,
    }
}

/// How the job of a Release stands.
pub fn job(status: &mut ReleaseStatus, job: &JobState, now: Timestamp) {
    match job {
        JobState::Queued { position } => {
            enter(status, ReleasePhase::Pending, now);
            status.queue = Some(QueuePlace {
                position: i32::try_from(*position).unwrap_or(i32::MAX),
            });
            let message = format!("queued for a build slot (position {position})");
            summarise(status, Reason::Queued, &message, now);
        }
        JobState::Fetching { since } => {
            status.queue = None;
            enter(status, ReleasePhase::Fetching, *since);
        }
        JobState::Building { since } => {
            status.queue = None;
            enter(status, ReleasePhase::Building, *since);
        }
        JobState::Ended(Ok(output)) => commit(status, output.message.as_ref(), output.author.as_ref()),
        JobState::Ended(Err(failure)) => failed_of(status, failure),
    }
}

/// What was fetched, and that it came to building, is told also where nothing came of it.
fn failed_of(status: &mut ReleaseStatus, failure: &JobFailure) {
    if let Some(at) = failure.built_at
        && step_began(status, Step::Building) != Some(at)
    {
        enter(status, ReleasePhase::Building, at);
    }
    if let Some((message, author)) = &failure.commit {
        commit(status, Some(message), Some(author));
    }
}

fn commit(status: &mut ReleaseStatus, message: Option<&String>, author: Option<&String>) {
    if let Some(source) = &mut status.source {
        source.message = message.cloned().or_else(|| source.message.take());
        source.author = author.cloned().or_else(|| source.author.take());
    }
}

/// The work failed for a passing reason and is tried again.
pub fn retrying(status: &mut ReleaseStatus, failure: &JobFailure, now: Timestamp) {
    if status.phase.has_ended() {
        return;
    }
    status.queue = None;
    failed_of(status, failure);
    finish_step(status, failure.problem.reason, now);
    status.failure = Some(Failure {
        step: failure.step.to_string(),
        reason: failure.problem.reason.to_string(),
        message: failure.problem.message.clone(),
        log_tail: Some(cut_beginning(&failure.log_tail, 2048)).filter(|tail| !tail.is_empty()),
    });
    status.phase = ReleasePhase::Pending;
    summarise(
        status,
        Reason::ProgressingWithRetry,
        &failure.problem.message,
        now,
    );
}

/// The work for the Release cannot begin until something else has changed.
pub fn waiting(status: &mut ReleaseStatus, problem: &Problem, now: Timestamp) {
    if !status.phase.has_ended() && !is_rolling(status) {
        summarise(status, problem.reason, &problem.message, now);
    }
}

/// The problem of another object that a Release waits for before its work can begin, if any.
pub fn waits_for(status: &ReleaseStatus) -> Option<Problem> {
    let last = condition::find(&status.conditions, ConditionType::Succeeded)
        .filter(|_| status.phase == ReleasePhase::Pending)?;
    let reason: Reason = last.reason.parse().ok()?;
    let usual = matches!(
        reason,
        Reason::Pending
            | Reason::Queued
            | Reason::Cancelling
            | Reason::ProgressingWithRetry
            | Reason::Suspended
            | Reason::ApplicationNotFound
    );
    (!usual).then(|| Problem::new(Class::Transient, reason, last.message.clone()))
}

/// It waits until what could not be done is tried again.
pub fn waits(status: &ReleaseStatus) -> bool {
    condition::find(&status.conditions, ConditionType::Succeeded)
        .is_some_and(|last| last.reason == Reason::ProgressingWithRetry.as_str())
}

/// The image of a Release is there.
pub fn image(status: &mut ReleaseStatus, output: &JobOutput, reused: bool, now: Timestamp) {
    if let Some(at) = output.fetched_at
        && step_began(status, Step::Fetching).is_none()
    {
        enter(status, ReleasePhase::Fetching, at);
    }
    if let Some(at) = output.built_at {
        enter(status, ReleasePhase::Building, at);
    }
    status.queue = None;
    finish_step(
        status,
        if reused {
            Reason::ImageReused
        } else {
            Reason::Built
        },
        now,
    );
    status.image = Some(output.image.clone());
    if output.builder.is_none() {
        status.image_tag.clone_from(&output.tag);
    }
    status.failure = None;
    if let Some(builder) = &output.builder {
        status.builder = Some(BuilderUsed {
            kind: builder.clone(),
            reused,
        });
    }
    commit(status, output.message.as_ref(), output.author.as_ref());
}

/// How far the containers of a Release are.
pub fn progress(status: &mut ReleaseStatus, progress: &Progress, replicas: u32, now: Timestamp) {
    if status.phase.has_ended() {
        return;
    }
    match progress {
        Progress::Rolling { created, .. } => {
            let phase = if *created >= replicas {
                ReleasePhase::Verifying
            } else {
                ReleasePhase::Deploying
            };
            if hindrance(status).is_some() {
                let reason = if status.phase == ReleasePhase::Verifying {
                    Reason::Verifying
                } else {
                    Reason::Deploying
                };
                summarise(status, reason, reason.sentence(), now);
            }
            if status.phase == ReleasePhase::Verifying && phase == ReleasePhase::Deploying {
                return; // A container that is put right in the middle of it is no step back.
            }
            if step_began(status, Step::Deploying).is_none() {
                enter(status, ReleasePhase::Deploying, now);
            }
            enter(status, phase, now);
        }
        Progress::Complete => {
            if step_began(status, Step::Deploying).is_none() {
                enter(status, ReleasePhase::Deploying, now);
            }
            finish_step(status, Reason::Healthy, now);
            close(
                status,
                ReleasePhase::Succeeded,
                Reason::Succeeded,
                "every replica is healthy",
                now,
            );
        }
    }
}

/// Records what keeps the containers of an open Release from being healthy: once for each kind of trouble, although the
/// answer of a health check may differ each time.
pub fn observe_progress(status: &mut ReleaseStatus, running: &Running) {
    let Some(hash) = hash_of(status).filter(|_| is_rolling(status)) else {
        status.progress = None;
        return;
    };
    let is_starting = running
        .replicas
        .iter()
        .any(|replica| matches!(replica.state, ReplicaState::Created | ReplicaState::Starting));
    match (unhealthy(running, &hash), &status.progress) {
        (Some((reason, _)), Some(known)) if known.reason == reason => {}
        (Some((reason, message)), _) => status.progress = Some(ReleaseProgress { reason, message }),
        // A container that is restarted shows nothing for a moment.
        (None, Some(_)) if is_starting => {}
        (None, _) => status.progress = None,
    }
}

/// A step towards its containers could not be taken; it is tried again until the deadline, which counts from the first try.
pub fn hindered(status: &mut ReleaseStatus, problem: &Problem, now: Timestamp) {
    if status.phase.has_ended() {
        return;
    }
    if problem.reason == Reason::EngineUnavailable {
        return outage(status, Some(problem), now); // No fault of the Release, so its deadline does not count.
    }
    if step_began(status, Step::Deploying).is_none() {
        enter(status, ReleasePhase::Deploying, now);
    }
    summarise(status, problem.reason, &problem.message, now);
}

/// What a Release in its rollout is hindered by, if by anything.
pub fn hindrance(status: &ReleaseStatus) -> Option<Problem> {
    let said =
        condition::find(&status.conditions, ConditionType::Succeeded).filter(|_| is_rolling(status))?;
    let reason: Reason = said.reason.parse().ok()?;
    let usual = matches!(
        reason,
        Reason::Deploying
            | Reason::Verifying
            | Reason::Cancelling
            | Reason::ProgressingWithRetry
            | Reason::Suspended
    );
    (!usual).then(|| Problem::new(Class::Terminal, reason, said.message.clone()))
}

/// What runs cannot be seen, or can be seen again, in the middle of a rollout. That is no fault of the Release: its
/// deadline counts anew from when the containers can be worked on again.
pub fn outage(status: &mut ReleaseStatus, problem: Option<&Problem>, now: Timestamp) {
    if !is_rolling(status) {
        return;
    }
    match problem {
        Some(problem) => summarise(status, Reason::ProgressingWithRetry, &problem.message, now),
        None if waits(status) => roll_anew(status, now),
        None => {}
    }
}

/// What of a Release that serves has run to its end is remembered, whatever becomes of its containers; and forgotten where
/// it is stopped, since what is started then runs again.
pub fn ended(status: &mut ReleaseStatus, running: &Running, stopped: bool) {
    if stopped {
        return status.ended.clear();
    }
    let Some(hash) = hash_of(status).filter(|_| status.phase == ReleasePhase::Succeeded) else {
        return;
    };
    let restart = restart_of(status);
    for replica in running
        .of(&hash)
        .filter(|replica| has_ended_for_good(replica, restart))
    {
        if let ReplicaState::Exited { code, .. } = replica.state
            && !status.ended.iter().any(|known| known.id == replica.id)
        {
            status.ended.push(EndedContainer {
                id: replica.id.clone(),
                name: replica.name.clone(),
                exit_code: code,
            });
        }
    }
    // The same containers may have been started manually many times.
    let most = usize::try_from(replicas_of(status)).unwrap_or_default();
    let surplus = status.ended.len().saturating_sub(most);
    status.ended.drain(..surplus);
}

/// A Release has ended otherwise than well.
pub fn end(status: &mut ReleaseStatus, end: &ReleaseOutcome, now: Timestamp) {
    if status.phase.has_ended() {
        return;
    }
    match end {
        ReleaseOutcome::Cancelled => close(
            status,
            ReleasePhase::Cancelled,
            Reason::Cancelled,
            "it was cancelled; create another Release, or change the spec, to deploy again",
            now,
        ),
        ReleaseOutcome::Superseded => close(
            status,
            ReleasePhase::Superseded,
            Reason::Superseded,
            "a newer release took its place",
            now,
        ),
        ReleaseOutcome::NotNeeded(why) => {
            // What it was for is not handled: it is released when something is to run again.
            status.handled = None;
            let (reason, message) = match why {
                CancelReason::Stopped => (
                    Reason::Stopped,
                    "spec.stopped of the Application became true before it ended",
                ),
                CancelReason::NoSource => (
                    Reason::NoSource,
                    "spec.source of the Application was removed before it ended",
                ),
                CancelReason::Deleted => (Reason::Deleting, "the Application was deleted before it ended"),
            };
            close(status, ReleasePhase::Cancelled, reason, message, now);
        }
        ReleaseOutcome::Failed {
            step,
            problem,
            log_tail,
        } => {
            if *step == Step::Deploying && step_began(status, *step).is_none() {
                enter(status, ReleasePhase::Deploying, now);
            }
            status.failure = Some(Failure {
                step: step.to_string(),
                reason: problem.reason.to_string(),
                message: problem.message.clone(),
                log_tail: Some(cut_beginning(log_tail, 2048)).filter(|tail| !tail.is_empty()),
            });
            close(
                status,
                ReleasePhase::Failed,
                problem.reason,
                &problem.message,
                now,
            );
        }
    }
}

/// The Application that it names is not there: it waits for it, as objects of one `kubectl apply` come in any order.
pub fn without_application(status: &mut ReleaseStatus, application: &str, now: Timestamp) {
    let message = format!(
        "spec.application: there is no Application {application} in this namespace; the release begins when there is"
    );
    summarise(status, Reason::ApplicationNotFound, &message, now);
}

/// Its Application is suspended and nothing works for it: it begins, or goes on, when that is looked after again.
pub fn suspended(status: &mut ReleaseStatus, now: Timestamp) {
    if status.phase.has_ended() {
        return;
    }
    if !is_rolling(status) {
        status.queue = None;
        enter(status, ReleasePhase::Pending, now);
    }
    let how = if status.inputs.is_empty() {
        "begins"
    } else {
        "goes on"
    };
    let message = format!("spec.suspend of the Application is true; the release {how} when it is false");
    summarise(status, Reason::Suspended, &message, now);
}

/// The Application that it waited for is there, and looked after.
pub fn with_application(status: &mut ReleaseStatus, now: Timestamp) {
    let waited = |reason: Reason| {
        let ready = condition::find(&status.conditions, ConditionType::Ready);
        ready.is_some_and(|ready| ready.reason == reason.as_str())
    };
    if waited(Reason::Suspended) && is_rolling(status) {
        roll_anew(status, now);
    } else if waited(Reason::ApplicationNotFound) || waited(Reason::Suspended) {
        summarise(status, Reason::Pending, Reason::Pending.sentence(), now);
    }
}

fn is_rolling(status: &ReleaseStatus) -> bool {
    matches!(status.phase, ReleasePhase::Deploying | ReleasePhase::Verifying)
}

/// Its containers can be worked on again: its deadline counts anew.
fn roll_anew(status: &mut ReleaseStatus, now: Timestamp) {
    status.phase = ReleasePhase::Pending;
    status.steps.retain(|step| step.name != Step::Verifying.as_str());
    enter(status, ReleasePhase::Deploying, now);
}

/// Cancel was asked for, and the work is being stopped.
pub fn cancelling(status: &mut ReleaseStatus, now: Timestamp) {
    if !status.phase.has_ended() {
        summarise(status, Reason::Cancelling, "the work is being stopped", now);
    }
}

fn close(status: &mut ReleaseStatus, phase: ReleasePhase, reason: Reason, message: &str, now: Timestamp) {
    finish_step(status, reason, now);
    status.queue = None;
    status.progress = None;
    status.phase = phase;
    status.finished_at = Some(now.to_string());
    let began = status
        .started_at
        .as_ref()
        .and_then(|text| text.parse::<Timestamp>().ok())
        .unwrap_or(now);
    if status.started_at.is_none() {
        status.started_at = Some(now.to_string());
    }
    status.duration = Some(human(now.as_second() - began.as_second()));
    summarise(status, reason, message, now);
}

/// Enters a phase: the step before ends, a new one begins.
fn enter(status: &mut ReleaseStatus, phase: ReleasePhase, at: Timestamp) {
    if status.phase.has_ended() {
        return;
    }
    if status.phase != phase || status.conditions.is_empty() {
        let (step, reason) = match phase {
            ReleasePhase::Pending => (None, Reason::Pending),
            ReleasePhase::Fetching => (Some(Step::Fetching), Reason::Fetching),
            ReleasePhase::Building => (Some(Step::Building), Reason::Building),
            ReleasePhase::Pushing => (Some(Step::Pushing), Reason::Progressing),
            ReleasePhase::Deploying => (Some(Step::Deploying), Reason::Deploying),
            ReleasePhase::Verifying => (Some(Step::Verifying), Reason::Verifying),
            ReleasePhase::Succeeded
            | ReleasePhase::Failed
            | ReleasePhase::Cancelled
            | ReleasePhase::Superseded => return,
        };
        finish_step(status, Reason::Succeeded, at);
        if let Some(step) = step {
            // A step that is tried again is listed once, with the time of its latest try.
            status.steps.retain(|known| known.name != step.as_str());
            status.steps.push(StepStatus {
                name: step.to_string(),
                started_at: at.to_string(),
                finished_at: None,
                reason: None,
                exit_code: None,
            });
        }
        status.phase = phase;
        summarise(status, reason, reason.sentence(), at);
    }
}

fn finish_step(status: &mut ReleaseStatus, reason: Reason, at: Timestamp) {
    if let Some(step) = status.steps.last_mut()
        && step.finished_at.is_none()
    {
        step.finished_at = Some(at.to_string());
        step.reason = Some(reason.to_string());
    }
}

/// When a step began, if it has.
pub fn step_began(status: &ReleaseStatus, step: Step) -> Option<Timestamp> {
    status
        .steps
        .iter()
        .find(|known| known.name == step.as_str())
        .and_then(|step| step.started_at.parse().ok())
}

/// The conditions of a Release: Succeeded is Unknown until it has ended, and says the same as Ready.
fn summarise(status: &mut ReleaseStatus, reason: Reason, message: &str, now: Timestamp) {
    let generation = status.observed_generation.max(1);
    let verdict = match status.phase {
        ReleasePhase::Succeeded => Some(true),
        ReleasePhase::Failed | ReleasePhase::Cancelled | ReleasePhase::Superseded => Some(false),
        ReleasePhase::Pending
        | ReleasePhase::Fetching
        | ReleasePhase::Building
        | ReleasePhase::Pushing
        | ReleasePhase::Deploying
        | ReleasePhase::Verifying => None,
    };
    let all = &mut status.conditions;
    condition::set(
        all,
        ConditionType::Succeeded,
        verdict,
        reason,
        message,
        generation,
        now,
    );
    condition::set(
        all,
        ConditionType::Ready,
        Some(verdict == Some(true)),
        reason,
        message,
        generation,
        now,
    );
    match verdict {
        None => condition::set(
            all,
            ConditionType::Reconciling,
            Some(true),
            reason,
            message,
            generation,
            now,
        ),
        Some(_) => condition::remove(all, ConditionType::Reconciling),
    }
    if verdict == Some(false) {
        condition::set(
            all,
            ConditionType::Stalled,
            Some(true),
            reason,
            message,
            generation,
            now,
        );
    } else {
        condition::remove(all, ConditionType::Stalled);
    }
}

/// Seconds as kubectl shows them in a column.
fn human(seconds: i64) -> String {
    match seconds {
        i64::MIN..=119 => format!("{}s", seconds.max(0)),
        120..=7199 => format!("{}m{}s", seconds / 60, seconds % 60),
        _ => format!("{}h{}m", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests;
