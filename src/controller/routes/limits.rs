//! The hosts that namespaces are limited to: read once for each namespace with routes, and again when its annotations change.

use std::collections::BTreeMap;

use kube::Client;
use parking_lot::Mutex;

use super::{Routes, values};
use crate::error::Problem;

/// What is known of the namespaces with routes.
#[derive(Default)]
pub(super) struct Limits(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// The number of changes: what was read before one is not kept.
    changes: u64,
    limits: BTreeMap<String, Limit>,
}

/// The hosts that a namespace is limited to; `None` if the installation's limit holds.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Limit(Option<String>);

impl Limits {
    /// What is known of a namespace, and the number of changes.
    fn known(&self, namespace: &str) -> (Option<Limit>, u64) {
        let known = self.0.lock();
        (known.limits.get(namespace).cloned(), known.changes)
    }

    /// Keeps what was read, unless something has changed meanwhile.
    fn keep(&self, namespace: &str, hosts: Option<String>, changes: u64) {
        let mut known = self.0.lock();
        if known.changes == changes {
            known.limits.insert(namespace.to_owned(), Limit(hosts));
        }
    }

    fn forget(&self, namespace: &str) {
        let mut known = self.0.lock();
        known.changes += 1;
        known.limits.remove(namespace);
    }
}

impl Routes {
    /// Returns the hosts that a namespace is limited to.
    ///
    /// # Errors
    /// The API server does not answer.
    pub async fn allowed_hosts(&self, client: &Client, namespace: &str) -> Result<Option<String>, Problem> {
        let (known, changes) = self.limits.known(namespace);
        if let Some(Limit(known)) = known {
            return Ok(known);
        }
        let hosts = values::allowed_hosts(client, namespace).await?;
        self.limits.keep(namespace, hosts.clone(), changes);
        Ok(hosts)
    }

    /// The labels or annotations of a namespace have changed.
    pub fn namespace_changed(&self, namespace: &str) {
        self.limits.forget(namespace);
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
