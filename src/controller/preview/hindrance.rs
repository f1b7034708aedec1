//! What keeps a pass, or only its comments, from being done, and when that is tried again.

use std::time::Duration;

use tokio::time::Instant;

use crate::plan::backoff;

/// Nothing is done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Why, if that is a problem.
    pub why: Option<String>,
}

/// Why a pass could not do everything.
pub struct PassProblem {
    /// The message.
    pub message: String,
    /// When it is tried again, if not after a backoff.
    pub pause: Option<Duration>,
    /// The longest backoff.
    pub longest: Duration,
    /// Whether an event reports it.
    pub is_reported: bool,
    /// Whether nothing is done until then.
    pub holds: bool,
}

/// What went wrong last, and when it is tried again.
#[derive(Default)]
pub struct Hindrance {
    /// The failures in a row.
    pub failures: u32,
    /// When it is tried again.
    pub not_before: Option<Instant>,
    /// Whether nothing is done until then.
    pub holds: bool,
    /// The problem, so that it is reported once.
    pub problem: Option<String>,
}

impl Hindrance {
    /// The time until then.
    pub fn rest(&self) -> Option<Duration> {
        let at = self.not_before?;
        Some(at.saturating_duration_since(Instant::now()))
    }

    /// Returns the problem if it is a new one.
    pub fn note(&mut self, problem: Option<PassProblem>) -> Option<String> {
        let Some(problem) = problem else {
            *self = Self::default();
            return None;
        };
        self.failures += 1;
        let backoff = backoff::pause(self.failures, 0).min(problem.longest);
        self.not_before = Some(Instant::now() + problem.pause.unwrap_or(backoff));
        self.holds = problem.holds;
        if !problem.is_reported {
            return None;
        }
        let is_new = self.problem.as_ref() != Some(&problem.message);
        self.problem = Some(problem.message.clone());
        is_new.then_some(problem.message)
    }
}
