//! Restart: new containers of the same Release take the place of the old ones, by the annotation `davit.dev/restartedAt`.

use std::time::Duration;

use jiff::Timestamp;

use crate::api::{Application, RESTARTED_AT, ReleaseStatus};

use super::fingerprint::RESTARTED;
use super::input::PlanInput;
use super::state::{ReleaseView, active};

/// How long the new containers may take if `spec.rollout.progressDeadline` is not set.
const DEADLINE: Duration = Duration::from_mins(5);

/// Returns the restart that the user asked for last.
fn asked(app: &Application) -> Option<&String> {
    app.metadata.annotations.as_ref()?.get(RESTARTED_AT)
}

/// Marks the containers of a Release with the restart that the user asked for last: part of their identity, so that another
/// mark replaces them.
pub(super) fn mark(status: &mut ReleaseStatus, app: &Application) {
    match asked(app) {
        Some(asked) => status.inputs.insert(RESTARTED.to_owned(), asked.clone()),
        None => status.inputs.remove(RESTARTED),
    };
}

/// Returns the serving Release if the user asked for a restart since it was marked, and no other Release is under way.
pub(super) fn due<'r>(input: &'r PlanInput<'_>, current: Option<&ReleaseView>) -> Option<&'r ReleaseView> {
    let asked = asked(input.app)?;
    let serves = active(&input.releases).filter(|_| current.is_none())?;
    (serves.status.inputs.get(RESTARTED) != Some(asked)).then_some(serves)
}

/// Records that a restart begins: also a container that ran to its end runs again.
pub(super) fn begin(status: &mut ReleaseStatus, app: &Application) {
    mark(status, app);
    status.ended.clear();
}

/// Returns a Release with the mark of its containers before the restart, if a restart is under way.
pub(super) fn before(app: &Application, release: &ReleaseStatus) -> Option<ReleaseStatus> {
    let mark = release.inputs.get(RESTARTED)?;
    let complete = app
        .status
        .as_ref()
        .and_then(|status| status.restarted_at.as_ref());
    if complete == Some(mark) {
        return None;
    }
    let mut before = release.clone();
    match complete {
        Some(complete) => before.inputs.insert(RESTARTED.to_owned(), complete.clone()),
        None => before.inputs.remove(RESTARTED),
    };
    Some(before)
}

/// Returns how long a restart may still take. A value that is not a time gives it no limit.
pub(super) fn remaining(app: &Application, now: Timestamp) -> Option<Duration> {
    let begun: Timestamp = asked(app)?.parse().ok()?;
    let rollout = app.spec.rollout.as_ref();
    let limit = rollout.and_then(|rollout| rollout.progress_deadline.as_ref());
    let limit = limit.map_or(DEADLINE, crate::api::Duration::get);
    let passed = Duration::try_from(now.duration_since(begun)).unwrap_or_default();
    Some(limit.saturating_sub(passed))
}
