//! When a Release is created, and its number.

use std::time::Duration;

use crate::api::{Application, ConcurrencyPolicy, ReleasePhase, ReleaseType};

use super::action::{Action, CreateReason, Plan};
use super::containers::hash_of;
use super::hold::{hold, is_let_go};
use super::input::{DesiredState, PlanInput};
use super::newest::{is_noop, lacked_a_reference, newest_significant};
use super::restart;
use super::state::{ReleaseView, active, last_handled};

/// Returns the highest number that was ever given, also to Releases that were deleted.
fn counted(input: &PlanInput<'_>) -> i64 {
    let status = input.app.status.as_ref();
    let summary = status.and_then(|status| status.release.as_ref());
    summary.map_or(0, |release| release.count)
}

/// Returns the number after the highest one of these Releases and `counted`.
fn next_number(releases: &[ReleaseView], counted: i64) -> i64 {
    let highest = releases.iter().filter_map(|release| release.status.number).max();
    counted.max(highest.unwrap_or(0)) + 1
}

/// Returns the numbers for the Releases that have none yet; `counted` is the highest number given so far.
pub fn numbers(releases: &[ReleaseView], counted: i64) -> impl Iterator<Item = (&ReleaseView, i64)> {
    let new = releases.iter().filter(|release| release.status.number.is_none());
    new.zip(next_number(releases, counted)..)
}

/// Returns the name of the Release of this number that Davit creates.
pub fn release_name(app: &Application, number: i64) -> String {
    format!("{}-{number}", app.metadata.name.as_deref().unwrap_or_default())
}

/// Reports whether the image of this Release is missing in the engine.
pub(super) fn is_missing_image(input: &PlanInput<'_>, release: Option<&str>) -> bool {
    input.missing_image.is_some() && input.missing_image.as_deref() == release
}

pub(super) fn number(input: &PlanInput<'_>, plan: &mut Plan) {
    for (release, number) in numbers(&input.releases, counted(input)) {
        if release.has_ended() {
            // The Release was cancelled before its first reconcile, and no event triggers the next one.
            plan.requeue_in(Duration::ZERO);
        }
        plan.push(Action::Number {
            release: release.name.clone(),
            number,
        });
    }
    // Releases that a user created, or that an earlier Application of this name left (`--cascade=orphan`).
    for release in input.releases.iter().filter(|release| !release.owned) {
        plan.push(Action::Adopt {
            release: release.name.clone(),
        });
    }
}

/// Reports whether the running containers belong to a deleted Release. Deleting the record stops no container, unless the
/// newest Release failed.
fn is_unrecorded(input: &PlanInput<'_>) -> bool {
    let Ok(running) = &input.running else { return false };
    let newest_is_good = input
        .releases
        .last()
        .is_none_or(|newest| newest.status.phase == ReleasePhase::Succeeded);
    let known: Vec<String> = input
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

/// Returns why a Release would be created now if the desired state is the same.
pub(super) fn create_reason(input: &PlanInput<'_>, current: Option<&ReleaseView>) -> CreateReason {
    let newest = newest_significant(&input.releases, |release| &release.status);
    let runs = active(&input.releases).map(|active| &active.status);
    let failed = last_handled(&input.releases).is_some_and(|newest| {
        let phase = newest.status.phase;
        matches!(phase, ReleasePhase::Failed | ReleasePhase::Cancelled) && !is_noop(&newest.status, runs)
    });
    // While a restart is under way, the old containers have the mark from before.
    let restarts =
        active(&input.releases).is_some_and(|active| restart::before(input.app, &active.status).is_some());
    if current.is_none() && !restarts && is_unrecorded(input) {
        CreateReason::Unrecorded
    } else if current.is_none_or(|current| current.spec.kind != ReleaseType::Rollback)
        && is_missing_image(input, newest.map(|newest| newest.name.as_str()))
    {
        // Only for the newest Release: if a newer one failed, building again would fail again.
        CreateReason::ImageLost
    } else if input.requested && failed {
        CreateReason::Requested
    } else {
        CreateReason::Change
    }
}

/// Reports whether the newest Release failed because something that it refers to was missing or invalid, and all of it can be read now.
/// While it is missing no Release is created, since the next one would fail in the same way.
fn is_readable_again(input: &PlanInput<'_>) -> bool {
    let newest = newest_significant(&input.releases, |release| &release.status);
    let lacked = newest.is_some_and(|newest| {
        newest.spec.kind != ReleaseType::Rollback && lacked_a_reference(&newest.status)
    });
    lacked && input.inputs.access.is_ok() && input.inputs.values.is_ok()
}

/// Creates a Release if the desired state is not the one of the newest Release, or there is another reason.
pub(super) fn create(
    input: &PlanInput<'_>,
    current: Option<&ReleaseView>,
    reason: CreateReason,
    plan: &mut Plan,
) {
    let DesiredState::Known(desired) = &input.desired else {
        return;
    };
    if current.is_some() && input.app.spec.concurrency_policy != ConcurrencyPolicy::Supersede {
        return;
    }
    let newest = input.releases.last();
    if newest
        .is_some_and(|newest| newest.status.number.is_none() || !newest.has_begun() && !newest.has_ended())
    {
        return; // A user just created a Release, which begins with the desired state.
    }
    let handled = last_handled(&input.releases).and_then(ReleaseView::handled);
    // After a rollback, a new revision or value is not deployed. A lost image is made again all the same.
    let held = hold(input.app, &input.releases, |release| {
        (&release.name, &release.status)
    })
    .is_some();
    let is_handled = handled == Some(desired.fingerprint().as_str())
        && !is_readable_again(input)
        && !is_let_go(input.app, &input.releases, desired);
    let same = held || is_handled;
    // A delivery requests a reconcile, too: during a hold it deploys nothing.
    if same && reason == CreateReason::Change || held && reason == CreateReason::Requested {
        return;
    }
    // The lost image is built again from its own revision, not from the current one of the branch.
    let mut all = input.releases.iter();
    let missing = all.find(|release| {
        same && reason == CreateReason::ImageLost && is_missing_image(input, Some(&release.name))
    });
    let revision = missing
        .and_then(|missing| missing.status.source.as_ref())
        .map(|source| source.revision.clone())
        .filter(|revision| *revision != desired.source.revision.to_string());
    plan.push(Action::Create {
        number: next_number(&input.releases, counted(input)),
        desired: desired.clone(),
        revision,
        reason: if same { reason } else { CreateReason::Change },
    });
}
