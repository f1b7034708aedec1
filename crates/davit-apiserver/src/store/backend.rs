//! What makes batches of writes durable.

use std::sync::Arc;

use super::{GroupResource, Object, ObjectKey, StoreError, envelope::Sealing};

/// One line of a batch, as it goes to disk.
pub struct Record {
    pub collection: Arc<GroupResource>,
    /// Its namespace and name.
    pub key: ObjectKey,
    /// The new version; none for a deletion.
    pub object: Option<Arc<Object>>,
}

/// Where batches are made durable.
pub trait Backend: Send + 'static {
    /// Gives every object to `each` and returns the last revision.
    fn load(&mut self, each: &mut dyn FnMut(GroupResource, Object)) -> Result<u64, StoreError>;

    /// Makes a batch durable, all or nothing, before it returns.
    fn commit(&mut self, revision: u64, records: &[Record]) -> Result<(), StoreError>;

    /// Called after a commit that failed, until it succeeds: makes the backend usable again and returns the revision
    /// that is durable. That is the failed one where it went through after all.
    fn recover(&mut self) -> Result<u64, StoreError>;

    /// What seals objects in a backup; none where there is no key.
    fn sealing(&self) -> Option<Arc<Sealing>> {
        None
    }
}

/// A backend that forgets: for tests and throw-away servers.
pub struct Memory;

impl Backend for Memory {
    fn load(&mut self, _each: &mut dyn FnMut(GroupResource, Object)) -> Result<u64, StoreError> {
        Ok(1)
    }

    fn commit(&mut self, _revision: u64, _records: &[Record]) -> Result<(), StoreError> {
        Ok(())
    }

    fn recover(&mut self) -> Result<u64, StoreError> {
        // Never asked: no commit fails.
        Ok(0)
    }
}
