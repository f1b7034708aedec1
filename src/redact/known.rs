//! The values that are hidden from the process's own log.

use std::borrow::Borrow;
use std::collections::{HashSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, LazyLock};

use parking_lot::Mutex;
use zeroize::Zeroizing;

use super::{SHORTEST_MASKED, Secret};

/// The most that is remembered, in bytes; the values that were added first are forgotten first.
const MAX_BYTES: usize = 16 * 1024 * 1024;

static KNOWN: LazyLock<Mutex<Known>> = LazyLock::new(|| Mutex::new(Known::new(MAX_BYTES)));

/// Adds values.
pub(super) fn add<'a>(values: impl IntoIterator<Item = &'a Secret>) {
    let mut known = KNOWN.lock();
    for value in values {
        known.add(value);
    }
}

/// Returns the values and their version, unless the version is still `seen`.
pub(super) fn changed_since(seen: u64) -> Option<(u64, Vec<Value>)> {
    let known = KNOWN.lock();
    (known.version != seen).then(|| (known.version, known.order.iter().cloned().collect()))
}

/// A value, which is wiped when no one holds it any more.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Value(Arc<Zeroizing<Vec<u8>>>);

impl Borrow<[u8]> for Value {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl Hash for Value {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.as_slice().hash(state);
    }
}

struct Known {
    values: HashSet<Value>,
    order: VecDeque<Value>,
    bytes: usize,
    max_bytes: usize,
    version: u64,
}

impl Known {
    fn new(max_bytes: usize) -> Self {
        Self {
            values: HashSet::new(),
            order: VecDeque::new(),
            bytes: 0,
            max_bytes,
            version: 0,
        }
    }

    fn add(&mut self, value: &Secret) {
        if value.expose().len() < SHORTEST_MASKED || self.values.contains(value.expose()) {
            return;
        }
        let value = Value(Arc::new(value.0.clone()));
        self.bytes += value.0.len();
        self.order.push_back(value.clone());
        self.values.insert(value);
        self.version += 1;
        while self.bytes > self.max_bytes && self.order.len() > 1 {
            let Some(oldest) = self.order.pop_front() else {
                break;
            };
            self.bytes -= oldest.0.len();
            self.values.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_is_known_until_newer_ones_need_its_room() {
        let mut known = Known::new(20);
        let mut add = |value: &str| {
            known.add(&Secret::from(value));
            let all = known
                .order
                .iter()
                .map(|value| String::from_utf8_lossy(value.borrow()).into_owned());
            (all.collect::<Vec<_>>().join(","), known.version)
        };
        assert_eq!(add("hunter2"), ("hunter2".to_owned(), 1));
        assert_eq!(add("hunter2"), ("hunter2".to_owned(), 1));
        assert_eq!(add("ab"), ("hunter2".to_owned(), 1));
        assert_eq!(add("correct horse"), ("hunter2,correct horse".to_owned(), 2));
        assert_eq!(add("zebra"), ("correct horse,zebra".to_owned(), 3));
        let long = "x".repeat(100);
        assert_eq!(add(&long), (long, 4));
    }
}
