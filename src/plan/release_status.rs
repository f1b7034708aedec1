//! Transitions of the status of a Release. Pure. The status of a Release that has ended does not change, except for the
//! containers that ran to completion.

mod begin;
mod end;
mod hook;
mod job;
mod rollout;

use jiff::Timestamp;

use crate::api::{ConditionType, Reason, ReleasePhase, ReleaseStatus, ResolvedSource, StepStatus, condition};

use super::desired::PinnedSource;
use super::step::Step;

pub use begin::{Earlier, begin, cause, recall};
pub use end::{cancelling, end, without_application};
pub use hook::{hook_ended, hook_runs};
pub use job::{image, job, retrying, waiting, waits_for};
pub use rollout::{
    ended, hindered, hindrance, observe_progress, outage, progress, suspended, with_application,
};

/// The source as it stands in status.
pub fn resolved(source: &PinnedSource) -> ResolvedSource {
    ResolvedSource {
        kind: source.kind.to_owned(),
        revision: source.revision.to_string(),
        short_revision: source.short_revision(),
        message: None,
        author: None,
        tag: source.tag.clone(),
        unwatched_revision: source.unwatched.as_ref().map(ToString::to_string),
        observed_generation: None,
    }
}

fn is_rolling(status: &ReleaseStatus) -> bool {
    matches!(status.phase, ReleasePhase::Deploying | ReleasePhase::Verifying)
}

/// It waits until what could not be done is tried again.
pub fn waits(status: &ReleaseStatus) -> bool {
    condition::find(&status.conditions, ConditionType::Succeeded)
        .is_some_and(|last| last.reason == Reason::ProgressingWithRetry.as_str())
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
            ReleasePhase::Pushing => (Some(Step::Pushing), Reason::Pushing),
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

#[cfg(test)]
mod tests;
