//! The job of a Release: queued, fetching, building, failed, done.

use jiff::Timestamp;

use crate::api::{
    BuilderUsed, ConditionType, Failure, QueuePlace, Reason, ReleasePhase, ReleaseStatus, condition,
};
use crate::builder::BuilderDetails;
use crate::error::{Class, Problem, cut_beginning};
use crate::plan::state::{JobFailure, JobOutput, JobState};
use crate::plan::step::Step;

use super::{enter, finish_step, is_rolling, step_began, summarise};

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
        JobState::Pushing { since } => {
            status.queue = None;
            enter(status, ReleasePhase::Pushing, *since);
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
    if let Some(at) = failure.pushed_at
        && step_began(status, Step::Pushing) != Some(at)
    {
        enter(status, ReleasePhase::Pushing, at);
    }
    if let Some((builder, details)) = failure.builder.as_deref() {
        status.builder = Some(used(builder, details, false));
    }
    if let Some((message, author)) = &failure.commit {
        commit(status, Some(message), Some(author));
    }
}

fn used(builder: &str, details: &BuilderDetails, reused: bool) -> BuilderUsed {
    BuilderUsed {
        kind: builder.to_owned(),
        version: details.version.clone(),
        digests: details.digests.clone(),
        detected: details.detected.clone(),
        reused,
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
            | Reason::PreDeploy
            | Reason::Queued
            | Reason::Cancelling
            | Reason::ProgressingWithRetry
            | Reason::Suspended
            | Reason::ApplicationNotFound
    );
    (!usual).then(|| Problem::new(Class::Transient, reason, last.message.clone()))
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
    if let Some(at) = output.pushed_at {
        enter(status, ReleasePhase::Pushing, at);
    }
    status.queue = None;
    let reason = match (reused, output.pushed_at) {
        (true, _) => Reason::ImageReused,
        (false, Some(_)) => Reason::Pushed,
        (false, None) => Reason::Built,
    };
    finish_step(status, reason, now);
    status.image = Some(output.image.clone());
    if output.builder.is_none() || output.tag.is_some() {
        status.image_tag.clone_from(&output.tag);
    }
    status.failure = None;
    if let Some(builder) = &output.builder {
        status.builder = Some(used(builder, &output.details, reused));
    }
    commit(status, output.message.as_ref(), output.author.as_ref());
}
