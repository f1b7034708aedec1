//! How checks ended, for clients that ask again.

use std::collections::VecDeque;

use parking_lot::Mutex;

/// How many are remembered.
const MOST: usize = 64;

/// The last outcomes `V` of checks of `K`, the oldest first.
pub(super) struct Outcomes<K, V>(Mutex<VecDeque<Ended<K, V>>>);

struct Ended<K, V> {
    of: K,
    outcome: V,
    lasts: bool,
}

impl<K, V> Default for Outcomes<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: PartialEq, V: Clone> Outcomes<K, V> {
    /// Remembers an outcome. One that lasts is what every other check would say; another one is told once.
    pub fn add(&self, of: K, outcome: V, lasts: bool) {
        let mut all = self.0.lock();
        all.retain(|ended| ended.of != of);
        if all.len() >= MOST {
            all.pop_front();
        }
        all.push_back(Ended { of, outcome, lasts });
    }

    /// Forgets the outcome.
    pub fn forget(&self, of: &K) {
        self.0.lock().retain(|ended| ended.of != *of);
    }

    /// Tells the outcome.
    pub fn tell(&self, of: &K) -> Option<V> {
        let mut all = self.0.lock();
        let at = all.iter().position(|ended| ended.of == *of)?;
        let ended = all.get(at)?;
        if ended.lasts {
            return Some(ended.outcome.clone());
        }
        all.remove(at).map(|ended| ended.outcome)
    }

    /// Returns the outcome if it lasts.
    pub fn lasting(&self, of: &K) -> Option<V> {
        let all = self.0.lock();
        let ended = all.iter().find(|ended| ended.lasts && ended.of == *of);
        ended.map(|ended| ended.outcome.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcome_that_does_not_last_is_told_once() {
        let outcomes = Outcomes::default();
        outcomes.add("lasts", 1, true);
        outcomes.add("passes", 2, false);
        assert_eq!(
            (outcomes.lasting(&"passes"), outcomes.lasting(&"lasts")),
            (None, Some(1))
        );
        assert_eq!(
            [outcomes.tell(&"passes"), outcomes.tell(&"passes")],
            [Some(2), None]
        );
        assert_eq!(
            [outcomes.tell(&"lasts"), outcomes.tell(&"lasts")],
            [Some(1), Some(1)]
        );
        outcomes.forget(&"lasts");
        assert_eq!(outcomes.tell(&"lasts"), None);
        for number in 0..=MOST {
            outcomes.add("again", number, true);
        }
        assert_eq!(outcomes.tell(&"again"), Some(MOST));
        assert_eq!(outcomes.0.lock().len(), 1);
    }
}
