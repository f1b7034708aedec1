//! Requests to the routes of an Application.

use std::collections::BTreeMap;

/// What was requested of an Application since its proxy started.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Requests {
    /// The requests, by the first digit of the answer's status: 1xx to 5xx.
    pub answers: [u64; 5],
    /// How long all of them took, in seconds.
    pub seconds: f64,
    /// How many took at most so long, by microseconds; the last bound is [`u64::MAX`].
    pub within: BTreeMap<u64, u64>,
}

impl Requests {
    /// All requests.
    pub fn count(&self) -> u64 {
        self.answers.iter().sum()
    }

    /// Those that the server could not answer.
    pub fn errors(&self) -> u64 {
        let [.., errors] = self.answers;
        errors
    }

    /// Returns what was requested since an earlier time. A proxy that was started again counts from zero.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        if self.count() < before.count() {
            return self.clone();
        }
        let mut new = self.clone();
        for (new, old) in new.answers.iter_mut().zip(before.answers) {
            *new = new.saturating_sub(old);
        }
        new.seconds = (new.seconds - before.seconds).max(0.0);
        for (bound, count) in &mut new.within {
            *count = count.saturating_sub(before.within.get(bound).copied().unwrap_or_default());
        }
        new
    }

    /// Returns the latency that this share of the requests did not exceed, in seconds, from the bounds on both sides of it.
    /// `None` without requests. Above the last bound it is that bound.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let all = number(*self.within.get(&u64::MAX)?);
        if all <= 0.0 {
            return None;
        }
        let wanted = all * share;
        let (mut bound, mut count) = (0.0, 0.0);
        for (next, within) in &self.within {
            let within = number(*within);
            if *next == u64::MAX {
                return Some(bound);
            }
            let next = number(*next) / 1e6;
            if within >= wanted {
                let part = if within > count {
                    (wanted - count) / (within - count)
                } else {
                    1.0
                };
                return Some(bound + (next - bound) * part);
            }
            (bound, count) = (next, within);
        }
        Some(bound)
    }
}

#[expect(clippy::cast_precision_loss, reason = "rates and latencies are shown rounded")]
fn number(count: u64) -> f64 {
    count as f64
}
