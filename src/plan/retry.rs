//! When failed work is tried again.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::api::Retry;

use super::backoff::pause;
use super::input::PlanInput;
use super::release_status;
use super::state::ReleaseView;

/// Returns the failures in a row of the job or of resolving the source, and the time of the next try. The record is kept
/// in the status, so that a restart continues the backoff.
pub fn retry(input: &PlanInput<'_>, now: Timestamp) -> Option<Retry> {
    let recorded = input.app.status.as_ref().and_then(|status| status.retry.clone());
    if let Some(failure) = input.transient_failure() {
        if input.retry_at.is_some_and(|next| next > failure.at) {
            return recorded;
        }
        let attempts = recorded.map_or(0, |retry| retry.attempts) + 1;
        let wait = pause(
            u32::try_from(attempts).unwrap_or(1),
            now.as_millisecond().unsigned_abs(),
        );
        return Some(after(attempts, wait, now));
    }
    if input.inputs.attempts > 0 {
        let attempts = i32::try_from(input.inputs.attempts).unwrap_or(i32::MAX);
        let known = recorded.filter(|retry| retry.attempts == attempts);
        let wait = input.inputs.check_in.unwrap_or_default();
        return known.or_else(|| Some(after(attempts, wait, now)));
    }
    // The count is kept while the retried job runs, or waits for that after a restart. Only success clears it.
    let runs = input.job.as_ref().is_some_and(|job| !job.state.has_ended());
    let waits = |release: &ReleaseView| !release.has_ended() && release_status::waits(&release.status);
    recorded.filter(|_| runs || input.releases.iter().any(waits))
}

fn after(attempts: i32, wait: Duration, now: Timestamp) -> Retry {
    let at = SignedDuration::try_from(wait)
        .ok()
        .and_then(|wait| now.checked_add(wait).ok());
    Retry {
        attempts,
        not_before: at.unwrap_or(now).to_string(),
    }
}

/// Returns the time until the next try.
pub fn remaining_pause(retry: &Retry, now: Timestamp) -> Option<Duration> {
    let next: Timestamp = retry.not_before.parse().ok()?;
    Duration::try_from(next.duration_since(now))
        .ok()
        .filter(|rest| !rest.is_zero())
}
