//! Writes a summary as conditions, from which the phase follows.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::api::{ConditionType, Phase, Reason, condition};
use crate::plan::conditions::ConditionValue;

use super::summary::Summary;

/// Writes the conditions. Times of those that did not change are kept.
pub fn write(all: &mut Vec<Condition>, summary: &Summary, suspended: bool, generation: i64, now: Timestamp) {
    let always = |value| Some(value);
    for (kind, value) in [
        (ConditionType::Ready, always(&summary.ready)),
        (ConditionType::Deployed, always(&summary.deployed)),
        (ConditionType::Healthy, always(&summary.healthy)),
        (ConditionType::SourceReady, summary.source.as_ref()),
        (ConditionType::Built, summary.built.as_ref()),
        (ConditionType::AutoDeployHeld, summary.held.as_ref()),
    ] {
        if suspended && kind == ConditionType::SourceReady {
            continue; // As it was when it was last looked at.
        }
        match value {
            Some(ConditionValue {
                status,
                reason,
                message,
            }) => condition::set(all, kind, *status, *reason, message, generation, now),
            None => condition::remove(all, kind),
        }
    }
    match &summary.reconciling {
        Some((reason, message)) if !summary.stalled => {
            condition::set(
                all,
                ConditionType::Reconciling,
                Some(true),
                *reason,
                message,
                generation,
                now,
            );
        }
        _ => condition::remove(all, ConditionType::Reconciling),
    }
    if summary.stalled {
        condition::set(
            all,
            ConditionType::Stalled,
            Some(true),
            summary.ready.reason,
            &summary.ready.message,
            generation,
            now,
        );
    } else {
        condition::remove(all, ConditionType::Stalled);
    }
    all.sort_by_key(|condition| order(&condition.type_));
}

/// Returns the position of a condition of this type in the status.
pub fn order(kind: &str) -> usize {
    [
        "Ready",
        "Reconciling",
        "Stalled",
        "SourceReady",
        "Built",
        "Deployed",
        "Healthy",
        "RoutesReady",
        "AutoDeployHeld",
    ]
    .iter()
    .position(|known| *known == kind)
    .unwrap_or(usize::MAX)
}

/// Returns the phase, which follows from the conditions alone.
pub fn phase(conditions: &[Condition]) -> Phase {
    let reason =
        |kind| condition::find(conditions, kind).and_then(|found| found.reason.parse::<Reason>().ok());
    let is_true = |kind| condition::is_true(conditions, kind);
    if reason(ConditionType::Ready) == Some(Reason::Suspended) {
        return match reason(ConditionType::Deployed) {
            _ if is_true(ConditionType::Ready) => Phase::Done,
            Some(Reason::Progressing) => Phase::Running,
            // Whatever runs: nothing is under way.
            Some(Reason::Pending | Reason::Stopped) | None => Phase::Idle,
            Some(_) => Phase::Error,
        };
    }
    if is_true(ConditionType::Stalled) {
        Phase::Error
    } else if is_true(ConditionType::Ready) {
        Phase::Done
    } else if matches!(
        reason(ConditionType::Ready),
        Some(Reason::Stopped | Reason::NoSource) | None
    ) {
        if is_true(ConditionType::Reconciling) {
            Phase::Running
        } else {
            Phase::Idle
        }
    } else if reason(ConditionType::Reconciling) == Some(Reason::ProgressingWithRetry)
        || is_true(ConditionType::Deployed)
            && !matches!(
                reason(ConditionType::Ready),
                Some(Reason::Deleting | Reason::Restarting | Reason::ChecksPending)
            )
    {
        Phase::Error
    } else {
        Phase::Running
    }
}
