//! Bounds how much runs at once for one name: a server, a repository, a namespace. What does not answer holds up its own name only.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Semaphore;

/// A number of places for each name, for as long as one of them is taken or waited for.
#[derive(Debug)]
pub struct Shares {
    size: usize,
    places: Mutex<HashMap<String, Arc<Semaphore>>>,
}

impl Shares {
    /// This many places for each name.
    pub fn of(size: usize) -> Self {
        Self {
            size,
            places: Mutex::default(),
        }
    }

    /// The places of a name.
    pub fn get(&self, name: &str) -> Arc<Semaphore> {
        let mut all = self.places.lock();
        all.retain(|_, places| Arc::strong_count(places) > 1);
        let places = all
            .entry(name.to_owned())
            .or_insert_with(|| Arc::new(Semaphore::new(self.size)));
        Arc::clone(places)
    }

    /// How many names have places that are taken.
    pub fn len(&self) -> usize {
        self.places.lock().len()
    }

    /// Whether no place is taken.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
