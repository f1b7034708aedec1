//! The memory that request bodies may take.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

/// The memory of request bodies.
pub(super) struct Budget {
    total: usize,
    taken: Mutex<(usize, HashMap<Arc<str>, usize>)>,
}

/// The part of one body; dropping it gives it back.
pub(super) struct Held {
    budget: Arc<Budget>,
    user: Arc<str>,
    bytes: usize,
}

impl Budget {
    pub(super) fn new(total: usize) -> Arc<Self> {
        Arc::new(Self {
            total,
            taken: Mutex::default(),
        })
    }
}

impl Held {
    /// Nothing yet.
    pub(super) fn new(budget: Arc<Budget>, user: Arc<str>) -> Self {
        Self {
            budget,
            user,
            bytes: 0,
        }
    }

    /// Takes more; `false` if the user, or all users together, have too much.
    pub(super) fn grow(&mut self, bytes: usize) -> bool {
        let mut taken = self.budget.taken.lock();
        let (all, users) = &mut *taken;
        let own = users.get(&self.user).copied().unwrap_or_default();
        if *all + bytes > self.budget.total || own + bytes > self.budget.total / 2 {
            return false;
        }
        *all += bytes;
        users.insert(self.user.clone(), own + bytes);
        self.bytes += bytes;
        true
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut taken = self.budget.taken.lock();
        let (all, users) = &mut *taken;
        *all -= self.bytes;
        if let Some(own) = users.get_mut(&self.user) {
            *own -= self.bytes;
            if *own == 0 {
                users.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budget_is_shared_and_comes_back() {
        let budget = Budget::new(100);
        let held = |name: &str| Held::new(budget.clone(), name.into());
        let (mut hog, mut again, mut other) = (held("hog"), held("hog"), held("other"));
        assert!(hog.grow(40) && !again.grow(20), "half of it is for one user");
        assert!(other.grow(50) && !other.grow(20));
        drop(hog);
        assert!(again.grow(50), "it comes back");
    }
}
