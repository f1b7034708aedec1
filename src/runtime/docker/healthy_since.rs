//! The time since which containers are healthy.

use std::collections::HashMap;

use jiff::Timestamp;
use parking_lot::Mutex;

/// Since when the engine's own checks have succeeded, per container and start. The engine remembers only the last five
/// results, so a longer time must be remembered here.
#[derive(Debug, Default)]
pub struct Since(Mutex<HashMap<String, (String, Timestamp)>>);

impl Since {
    /// Since when this start of the container has been healthy, where it is known to have been at `now`.
    pub fn earliest(&self, id: &str, started: &str, now: Timestamp) -> Timestamp {
        let mut known = self.0.lock();
        let entry = known
            .entry(id.to_owned())
            .or_insert_with(|| (started.to_owned(), now));
        if entry.0 != started {
            *entry = (started.to_owned(), now);
        }
        entry.1 = entry.1.min(now);
        entry.1
    }

    /// Forgets a container that is gone or not healthy.
    pub fn forget(&self, id: &str) {
        self.0.lock().remove(id);
    }
}
