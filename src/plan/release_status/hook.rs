//! The step of a Release in which its hook runs.

use jiff::Timestamp;

use crate::api::{Reason, ReleasePhase, ReleaseStatus, StepStatus};
use crate::plan::step::Step;

use super::{finish_step, step_began, summarise};

/// The hook runs. The phase is Pending, because no container of the Release has started.
pub fn hook_runs(status: &mut ReleaseStatus, now: Timestamp) {
    if status.phase.has_ended() || step_began(status, Step::PreDeploy).is_some() {
        return;
    }
    finish_step(status, Reason::Succeeded, now);
    status.steps.push(StepStatus {
        name: Step::PreDeploy.to_string(),
        started_at: now.to_string(),
        finished_at: None,
        reason: None,
        exit_code: None,
    });
    status.phase = ReleasePhase::Pending;
    summarise(status, Reason::PreDeploy, Reason::PreDeploy.sentence(), now);
}

/// The hook ended with this code, or was stopped.
pub fn hook_ended(status: &mut ReleaseStatus, code: Option<i32>, now: Timestamp) {
    if status.phase.has_ended() {
        return;
    }
    hook_runs(status, now);
    if let Some(step) = status.steps.last_mut() {
        step.exit_code = code;
    }
    if code == Some(0) {
        finish_step(status, Reason::Succeeded, now);
        summarise(status, Reason::Pending, Reason::Pending.sentence(), now);
    }
}
