//! The hosts that namespaces are limited to: read once for each namespace with routes, and again when its annotations change.

use std::collections::BTreeMap;

use parking_lot::Mutex;

/// What is known of the namespaces with routes.
#[derive(Default)]
pub struct Limits(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// The number of changes: what was read before one is not kept.
    changes: u64,
    limits: BTreeMap<String, Limit>,
}

/// The hosts that a namespace is limited to; `None` if the installation's limit holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit(pub Option<String>);

impl Limits {
    /// What is known of a namespace, and the number of changes.
    pub fn known(&self, namespace: &str) -> (Option<Limit>, u64) {
        let known = self.0.lock();
        (known.limits.get(namespace).cloned(), known.changes)
    }

    /// Keeps what was read, unless something has changed meanwhile.
    pub fn keep(&self, namespace: &str, hosts: Option<String>, changes: u64) {
        let mut known = self.0.lock();
        if known.changes == changes {
            known.limits.insert(namespace.to_owned(), Limit(hosts));
        }
    }

    pub fn forget(&self, namespace: &str) {
        let mut known = self.0.lock();
        known.changes += 1;
        known.limits.remove(namespace);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_that_was_read_before_a_change_is_not_kept() {
        let limits = Limits::default();
        let (known, changes) = limits.known("shop");
        assert_eq!(known, None);
        limits.forget("shop");
        limits.keep("shop", Some("old.example.com".to_owned()), changes);
        let (known, changes) = limits.known("shop");
        assert_eq!(known, None);
        limits.keep("shop", None, changes);
        assert_eq!(limits.known("shop").0, Some(Limit(None)));
        limits.forget("other");
        assert_eq!(limits.known("shop").0, Some(Limit(None)));
        limits.forget("shop");
        assert_eq!(limits.known("shop").0, None);
    }
}
