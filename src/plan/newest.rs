//! The newest Release that counts.

use crate::api::{CauseKind, Reason, ReleasePhase, ReleaseStatus};

use super::release_status::step_began;
use super::step::Step;

/// Reports whether a Release affects the Application's status. Releases that were rejected, superseded or cancelled before
/// they started do not.
fn is_significant(release: &ReleaseStatus) -> bool {
    let refused = match release.phase {
        ReleasePhase::Cancelled | ReleasePhase::Superseded => true,
        ReleasePhase::Failed => {
            let is_rollback = release
                .cause
                .as_ref()
                .is_some_and(|cause| cause.kind == CauseKind::Rollback);
            let failure = release.failure.as_ref();
            is_rollback || failure.is_some_and(|failure| failure.reason == Reason::Concurrent.as_str())
        }
        _ => false,
    };
    !(refused && release.handled.is_none())
}

/// Reports whether a cancelled or superseded Release was for the state that serves already.
pub(super) fn is_noop(release: &ReleaseStatus, runs: Option<&ReleaseStatus>) -> bool {
    let called_off = matches!(release.phase, ReleasePhase::Cancelled | ReleasePhase::Superseded);
    called_off && release.handled.is_some() && runs.is_some_and(|runs| runs.handled == release.handled)
}

/// Reports whether a Release failed before its job began, because an object that it refers to was missing or invalid. Such a
/// failure says nothing about the state that was asked for: it is tried again when the object is there.
pub(super) fn lacked_a_reference(release: &ReleaseStatus) -> bool {
    const MISSING: [Reason; 5] = [
        Reason::SecretNotFound,
        Reason::SecretKeyMissing,
        Reason::ConfigMapNotFound,
        Reason::ConfigMapKeyMissing,
        Reason::ProviderNotFound,
    ];
    let Some(failure) = release
        .failure
        .as_ref()
        .filter(|_| release.phase == ReleasePhase::Failed)
    else {
        return false;
    };
    let missing = MISSING.iter().any(|missing| failure.reason == missing.as_str());
    if failure.step == Step::Pending.as_str() {
        return missing || failure.reason == Reason::SecretInvalid.as_str();
    }
    // What a job reports is not tried again here: the job reads other objects than the reconcile, and could fail forever.
    missing && step_began(release, Step::Fetching).is_none()
}

/// Returns the newest Release that affects the Application's status, or the serving one if the newest was cancelled and for
/// the same state.
pub(super) fn newest_significant<R>(all: &[R], status_of: impl Fn(&R) -> &ReleaseStatus) -> Option<&R> {
    let runs = all
        .iter()
        .rev()
        .find(|release| status_of(release).phase == ReleasePhase::Succeeded);
    let newest = all
        .iter()
        .rev()
        .find(|release| is_significant(status_of(release)))?;
    if is_noop(status_of(newest), runs.map(&status_of)) {
        runs
    } else {
        Some(newest)
    }
}
