//! What the sources of all Applications were resolved to last, and for how long that holds.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::api::{Application, ApplicationSpec, ConditionType, Reason, Source, condition};
use crate::error::{Class, Problem};
use crate::model::AppId;
use crate::plan::backoff;
use crate::plan::checks::Passing;
use crate::plan::desired::PinnedSource;
use crate::plan::source_kind::{pinned, poll_interval, revision};

/// The times between looks at pending checks: the first and the longest.
const CHECKS_INTERVAL: [Duration; 2] = [Duration::from_secs(15), Duration::from_mins(5)];
/// After how many looks in a row the time between two of them grows by the first interval: checks that never end must not use
/// up the requests that the forge allows.
const LOOKS: u32 = 20;

/// What was found last.
#[derive(Clone, Debug)]
pub struct Found {
    /// What it depends on; another one makes it worthless.
    pub key: String,
    pub result: Result<PinnedSource, Problem>,
    /// What was found last in place of an error, of the same source.
    good: Option<(String, PinnedSource)>,
    /// The newest revision of the same source that was chosen, whatever was found since.
    accepted: Option<(String, PinnedSource)>,
    pub attempts: u32,
    /// How often in a row checks were pending.
    pending: u32,
    /// When it was found.
    at: Instant,
    pause: Pause,
}

/// How long what was found holds.
#[derive(Clone, Copy, Debug)]
enum Pause {
    /// So long: it is tried again after a failure that may heal by itself.
    Backoff(Duration),
    /// So long, and no longer than the poll interval: checks are pending.
    Checks(Duration),
    /// This share of the present poll interval: a changed interval applies at once.
    Poll(f64),
}

impl Found {
    /// Returns the remaining validity under the current poll interval; `None` if the result never expires.
    pub fn holds(&self, spec: &ApplicationSpec, id: &AppId) -> Option<Duration> {
        let pause = match self.pause {
            Pause::Backoff(pause) => pause,
            Pause::Checks(pause) => poll_interval(spec, salt(id)).map_or(pause, |poll| pause.min(poll)),
            Pause::Poll(share) => poll_interval(spec, salt(id))?.mul_f64(share),
        };
        Some(pause.saturating_sub(self.at.elapsed()))
    }

    /// What was found last, where that was of this source and is not known to be gone.
    pub fn last(&self, source: &str) -> Option<PinnedSource> {
        let passes = self
            .result
            .as_ref()
            .err()
            .is_none_or(|problem| problem.class != Class::Terminal);
        let good = self.good.as_ref().filter(|(of, _)| passes && of == source);
        good.map(|(_, good)| good.clone())
    }
}

/// The latest result of each Application.
#[derive(Debug, Default)]
pub struct Cache {
    found: Mutex<HashMap<AppId, Found>>,
    /// Failures in a row to find out where a source is, and when it is tried again.
    missed: Mutex<HashMap<AppId, (u32, tokio::time::Instant)>>,
    passing: Mutex<HashMap<AppId, Arc<Mutex<Option<Passing>>>>>,
}

impl Cache {
    /// Forgets an Application.
    pub fn forget(&self, app: &AppId) {
        self.found.lock().remove(app);
        self.missed.lock().remove(app);
        self.passing.lock().remove(app);
    }

    /// Returns where the checks that were seen to have passed are kept.
    pub fn passing(&self, app: &AppId) -> Arc<Mutex<Option<Passing>>> {
        Arc::clone(self.passing.lock().entry(app.clone()).or_default())
    }

    /// Returns the latest result.
    pub fn found(&self, app: &AppId) -> Option<Found> {
        self.found.lock().get(app).cloned()
    }

    /// Keeps what was found, for as long as it holds.
    pub fn store(
        &self,
        id: &AppId,
        key: String,
        text: String,
        result: Result<PinnedSource, Problem>,
        [last, accepted]: [Option<PinnedSource>; 2],
    ) -> Found {
        let transient = result
            .as_ref()
            .is_err_and(|problem| problem.class != Class::Terminal);
        let mut all = self.found.lock();
        let before = all.get(id).filter(|found| found.key == key);
        let reason = result.as_ref().err().map(|problem| problem.reason);
        let is_pending = reason == Some(Reason::ChecksPending);
        let transient = transient && !is_pending && reason != Some(Reason::ChecksFailed);
        let attempts = if transient {
            before.map_or(0, |found| found.attempts) + 1
        } else {
            0
        };
        // The message names the commit and what is pending, so that another one begins anew.
        let pending = match before.filter(|_| is_pending) {
            Some(found) if found.result == result => found.pending + 1,
            _ => u32::from(is_pending),
        };
        let pause = if is_pending {
            Pause::Checks(backoff::jitter(checks_interval(pending), salt(id)))
        } else if transient {
            Pause::Backoff(backoff::pause(attempts, salt(id)))
        } else {
            Pause::Poll(1.0)
        };
        let found = Found {
            key,
            good: result.clone().ok().or(last).map(|good| (text.clone(), good)),
            accepted: result.clone().ok().or(accepted).map(|accepted| (text, accepted)),
            result,
            attempts,
            pending,
            at: Instant::now(),
            pause,
        };
        all.insert(id.clone(), found.clone());
        found
    }

    /// What was found last of this source: in memory, or after a restart in the status.
    pub fn last(&self, id: &AppId, app: &Application, source: &Source, text: &str) -> Option<PinnedSource> {
        let found = self.found.lock();
        found
            .get(id)
            .map_or_else(|| recorded(app, source), |found| found.last(text))
    }

    /// The newest revision of this source that was chosen: the next one is compared with it.
    pub fn accepted(
        &self,
        id: &AppId,
        app: &Application,
        source: &Source,
        text: &str,
    ) -> Option<PinnedSource> {
        let found = self.found.lock();
        let Some(found) = found.get(id) else {
            return recorded(app, source);
        };
        let accepted = found.accepted.as_ref().filter(|(of, _)| of == text);
        accepted.map(|(_, accepted)| accepted.clone())
    }

    /// Failures in a row to find out where a source is, and when to try again: not more of them with every pass.
    pub fn missed(&self, id: &AppId, failed: bool) -> (u32, Option<Duration>) {
        let mut missed = self.missed.lock();
        if !failed {
            missed.remove(id);
            return (0, None);
        }
        let now = tokio::time::Instant::now();
        let (attempts, next) = missed.entry(id.clone()).or_insert((0, now));
        if *next <= now {
            *attempts += 1;
            *next = now + backoff::pause(*attempts, salt(id));
        }
        (*attempts, Some(*next - now))
    }

    /// What was found before, if it still holds: in memory, or after a restart in the status.
    pub fn known(&self, id: &AppId, app: &Application, source: &Source, key: &str) -> Option<Found> {
        let mut found = self.found.lock();
        if let Some(known) = found.get(id) {
            let due = known.holds(&app.spec, id).is_some_and(|left| left.is_zero());
            return (known.key == key && !due).then(|| known.clone());
        }
        let conditions = &app.status.as_ref()?.conditions;
        if !condition::is_true(conditions, ConditionType::SourceReady) {
            return None;
        }
        let found_then = recorded(app, source)?;
        let text = serde_json::to_string(source).unwrap_or_default();
        let known = Found {
            key: key.to_owned(),
            result: Ok(found_then.clone()),
            good: Some((text.clone(), found_then.clone())),
            accepted: Some((text, found_then)),
            attempts: 0,
            pending: 0,
            at: Instant::now(),
            // Spread over the whole interval, so that a restart with many Applications asks no forge all at once.
            pause: Pause::Poll(fraction(salt(id))),
        };
        found.insert(id.clone(), known.clone());
        Some(known)
    }
}

/// The time until pending checks are looked at again.
fn checks_interval(pending: u32) -> Duration {
    let [first, longest] = CHECKS_INTERVAL;
    (first * (1 + pending / LOOKS)).min(longest)
}

/// The source as the status has it, where that is of the spec as it is now.
fn recorded(app: &Application, source: &Source) -> Option<PinnedSource> {
    let found = app.status.as_ref()?.source.as_ref()?;
    let of_today =
        found.observed_generation.is_some() && found.observed_generation == app.metadata.generation;
    let pinned = pinned(source, revision(source, &found.revision)?).filter(|_| of_today)?;
    let unwatched = found.unwatched_revision.as_ref();
    let conditions = &app.status.as_ref()?.conditions;
    let ready = condition::find(conditions, ConditionType::SourceReady);
    Some(PinnedSource {
        tag: found.tag.clone(),
        unwatched: unwatched.and_then(|text| revision(source, text)),
        skipped: ready.is_some_and(|ready| ready.reason == Reason::CommitSkipped.as_str()),
        ..pinned
    })
}

/// A number that differs from Application to Application and from time to time.
fn salt(id: &AppId) -> u64 {
    use std::hash::BuildHasher as _;
    // Seeded anew in each process: jitter need not be the same after a restart.
    static SEED: std::sync::OnceLock<std::hash::RandomState> = std::sync::OnceLock::new();

    SEED.get_or_init(std::hash::RandomState::new).hash_one(id)
}

/// A number from 0 to 1.
fn fraction(salt: u64) -> f64 {
    f64::from(u32::try_from(salt >> 32).unwrap_or_default()) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_that_never_end_are_looked_at_less_and_less_often() {
        let day = Duration::from_hours(24);
        let (mut looks, mut time) = (0, Duration::ZERO);
        while time < day {
            looks += 1;
            time += checks_interval(looks);
        }
        assert!((300..700).contains(&looks), "{looks} looks in a day");
        assert_eq!(checks_interval(1), Duration::from_secs(15));
        assert_eq!(checks_interval(10_000), Duration::from_mins(5));
    }
}
