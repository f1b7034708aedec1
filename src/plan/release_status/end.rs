//! How a Release ends.

use jiff::Timestamp;

use crate::api::{Failure, Reason, ReleasePhase, ReleaseStatus};
use crate::error::cut_beginning;
use crate::plan::action::{CancelReason, ReleaseOutcome};
use crate::plan::step::Step;

use super::{enter, finish_step, step_began, summarise};

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
            "cancelled on request: to deploy again, create another Release or change the spec",
            now,
        ),
        ReleaseOutcome::Superseded => close(
            status,
            ReleasePhase::Superseded,
            Reason::Superseded,
            "replaced by a newer release",
            now,
        ),
        ReleaseOutcome::NotNeeded(why) => {
            // What it was for is not handled: it is released when something is to run again.
            status.handled = None;
            let has_begun = !status.inputs.is_empty();
            if *why == CancelReason::NotOnBranch {
                // The next one is compared with the one before.
                status.inputs.clear();
            }
            let (reason, message) = match why {
                CancelReason::Stopped if has_begun => (
                    Reason::Stopped,
                    "spec.stopped of the Application became true before the release ended: start it with davit start",
                ),
                CancelReason::Stopped => (
                    Reason::Stopped,
                    "the Application is stopped, because its spec.stopped is true: start it with davit start, then create the \
                     release again",
                ),
                CancelReason::NoSource if has_begun => (
                    Reason::NoSource,
                    "the source of the Application was removed before the release ended: set spec.source",
                ),
                CancelReason::NoSource => (
                    Reason::NoSource,
                    "the Application has no source: set spec.source, then create the release again",
                ),
                CancelReason::Deleted => (
                    Reason::Deleting,
                    "the Application was deleted before the release ended",
                ),
                CancelReason::NotOnBranch => (
                    Reason::NotOnBranch,
                    "the branch no longer leads to the commit that a delivery announced: it was moved before the release began",
                ),
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

/// Cancel was asked for, and the work is being stopped.
pub fn cancelling(status: &mut ReleaseStatus, now: Timestamp) {
    if !status.phase.has_ended() {
        summarise(status, Reason::Cancelling, "the work is being stopped", now);
    }
}

/// Ends a Release.
pub(super) fn close(
    status: &mut ReleaseStatus,
    phase: ReleasePhase,
    reason: Reason,
    message: &str,
    now: Timestamp,
) {
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

/// Seconds as kubectl shows them in a column.
fn human(seconds: i64) -> String {
    match seconds {
        i64::MIN..=119 => format!("{}s", seconds.max(0)),
        120..=7199 => format!("{}m{}s", seconds / 60, seconds % 60),
        _ => format!("{}h{}m", seconds / 3600, seconds % 3600 / 60),
    }
}
