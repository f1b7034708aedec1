//! When an Application is reconciled again if no event triggers that earlier.

use std::time::Duration;

use jiff::Timestamp;

use crate::api::Retry;
use crate::runtime::Progress;

use super::action::Plan;
use super::containers::is_fully_rolled_out;
use super::input::PlanInput;
use super::progress_deadline::remaining_deadline;
use super::record::{Records, retries};
use super::restart;
use super::retry::remaining_pause;
use super::state::active;

/// The longest time between two reconciles.
const LONGEST: Duration = Duration::from_mins(10);
/// The time after a problem that no event ends.
const AFTER_PROBLEM: Duration = Duration::from_secs(5);

/// Returns the time until the next reconcile.
pub fn requeue(
    input: &PlanInput<'_>,
    plan: &Plan,
    records: &Records,
    retry: Option<&Retry>,
    now: Timestamp,
) -> Duration {
    // The deadline does not count while the engine is away, so its end is no reason to reconcile.
    let running = input.running.as_ref().ok().filter(|_| !input.app.spec.suspend);
    let deadline = records
        .statuses
        .values()
        // A Release that serves has no deadline any more, however long the old containers take.
        .filter(|status| running.is_some_and(|running| !is_fully_rolled_out(status, running)))
        .filter_map(|status| remaining_deadline(&input.app.spec, status, now))
        .min();
    let restarts = active(&input.releases).and_then(|active| restart::before(input.app, &active.status));
    let restart = restarts
        .and_then(|_| restart::remaining(input.app, now))
        .filter(|rest| !rest.is_zero());
    let rolling = match &records.progress {
        Some(Progress::Rolling { check_in, .. }) => *check_in,
        Some(Progress::Complete) | None => None,
    };
    let problems = records.problem.iter().chain(input.problem());
    let problem = problems.into_iter().any(retries).then_some(AFTER_PROBLEM);
    [
        records.requeue_now.then_some(Duration::ZERO),
        deadline,
        restart,
        rolling,
        problem,
        retry.and_then(|retry| remaining_pause(retry, now)),
        plan.check_in,
        input.inputs.check_in,
    ]
    .into_iter()
    .flatten()
    .min()
    .unwrap_or(LONGEST)
    .clamp(Duration::from_millis(1), LONGEST)
}
