//! How containers ended that the engine started again: with the start it forgets the exit code, and soon the rest. What is
//! told of one that ends again and again must not change with each end, or each would be a write of status.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;

use super::observe::ContainerInfo;
use crate::runtime::ExitStatus;
use crate::runtime::rolling::{Health, Phase};

/// How long a container must run after the engine had to start it again until that is forgotten: the time after which the
/// engine itself forgets that it failed.
const CALM: Duration = Duration::from_secs(10);
/// A container whose check succeeds at once is believed so often, although the engine had to start it again just now.
const BELIEVED: i64 = 1;
/// Between what the engine says of want of memory and what it says of the end that came of it: no more nanoseconds than this.
const SAME_MOMENT: i64 = 5_000_000_000;

/// The last end of each container, and its log tail then.
#[derive(Debug, Default)]
pub struct RestartHistory(Mutex<HashMap<String, Known>>);

#[derive(Debug, Default)]
struct Known {
    last: Option<ExitStatus>,
    at: i64,
    starved_at: Option<i64>,
    output: Option<((i64, Option<ExitStatus>), String)>,
}

impl Known {
    fn judge(&mut self) {
        let starved = self
            .starved_at
            .is_some_and(|starved| starved.abs_diff(self.at) <= SAME_MOMENT.unsigned_abs());
        if let Some(last) = &mut self.last {
            last.oom |= starved;
        }
    }
}

impl RestartHistory {
    /// A container ended with this code, at this time in nanoseconds.
    pub fn died(&self, id: &str, code: i64, at: i64) {
        let mut all = self.0.lock();
        let known = all.entry(id.to_owned()).or_default();
        (known.last, known.at) = (Some(ExitStatus { code, oom: false }), at);
        known.judge();
    }

    /// A container had not enough memory, at this time in nanoseconds; told shortly before or after its end.
    pub fn starved(&self, id: &str, at: i64) {
        let mut all = self.0.lock();
        let known = all.entry(id.to_owned()).or_default();
        known.starved_at = Some(at);
        known.judge();
    }

    /// Forgets a container that is gone.
    pub fn forget(&self, id: &str) {
        self.0.lock().remove(id);
    }

    /// The cached log tail for this exit status and restart count, if any.
    pub fn output(&self, id: &str, times: i64, last: Option<ExitStatus>) -> Option<String> {
        let all = self.0.lock();
        let (key, output) = all.get(id)?.output.as_ref()?;
        (*key == (times, last)).then(|| output.clone())
    }

    /// Caches this log tail for [`RestartHistory::output`].
    pub fn cache(&self, id: &str, times: i64, last: Option<ExitStatus>, output: &str) {
        let mut all = self.0.lock();
        all.entry(id.to_owned()).or_default().output = Some(((times, last), output.to_owned()));
    }

    /// Sees whether a container ends again and again: the engine waits before it starts it again, or has only just done so.
    pub fn judge(&self, looked: &mut ContainerInfo, now: Timestamp) {
        let started: Timestamp = looked.started.parse().unwrap_or(now);
        let calm = started.checked_add(CALM).unwrap_or(Timestamp::MAX);
        let checked = looked.checked && looked.restarts <= BELIEVED;
        let well = checked && matches!(looked.health, Health::Healthy(_));
        looked.keeps_ending = match looked.phase {
            Phase::Restarting => true,
            Phase::Running => looked.restarts > 0 && now < calm && !well,
            Phase::Created | Phase::Paused | Phase::Exited(_) | Phase::Removing => false,
        };
        let mut all = self.0.lock();
        match looked.phase {
            // What the engine knows at this moment it knows best.
            Phase::Exited(_) | Phase::Restarting => {
                let known = all.entry(looked.id.clone()).or_default();
                let before = known.last.filter(|last| last.code == looked.code);
                let oom = looked.oom || before.is_some_and(|last| last.oom);
                let code = looked.code;
                known.last = Some(ExitStatus { code, oom });
            }
            Phase::Running if looked.keeps_ending => {
                looked.health = Health::Unhealthy {
                    why: "it keeps ending".to_owned(),
                    until: Some(calm),
                };
            }
            Phase::Running | Phase::Created | Phase::Paused | Phase::Removing => {}
        }
        looked.last = all.get(&looked.id).and_then(|known| known.last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn want_of_memory_is_told_before_or_after_the_end_that_came_of_it() {
        let second = 1_000_000_000;
        for (starved, died, oom) in [
            (10 * second, 11 * second, true),
            (11 * second, 10 * second, true),
            // It went on after that: a child was killed, and this is another end.
            (10 * second, 60 * second, false),
        ] {
            for swap in [false, true] {
                let ends = RestartHistory::default();
                if swap {
                    ends.died("a", 137, died);
                    ends.starved("a", starved);
                } else {
                    ends.starved("a", starved);
                    ends.died("a", 137, died);
                }
                let last = ends.0.lock().get("a").and_then(|known| known.last);
                assert_eq!(
                    last,
                    Some(ExitStatus { code: 137, oom }),
                    "{starved} {died} {swap}"
                );
            }
        }
    }
}
