//! Writes: what they change, what they require, and why one is refused.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::{GroupResource, Object, ObjectKey};

/// What a write does.
pub enum Change {
    /// Store this object; its resourceVersion is set by the writer.
    Put(serde_json::Map<String, serde_json::Value>),
    /// Remove the object. Watchers see the given last state, or else the stored one, with the new resourceVersion.
    Delete(Option<serde_json::Map<String, serde_json::Value>>),
}

/// What must hold for a write to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// No object of that key.
    Absent,
    /// The object at exactly this revision.
    Revision(u64),
}

/// Why a write was not made.
#[derive(Debug)]
pub enum Refused {
    /// The object is there already.
    Exists,
    /// The object has changed meanwhile.
    Changed,
    /// The object is gone.
    Gone,
    /// The disk, or the object's own form, failed it.
    Failed(String),
}

/// A write on its way to the writer.
pub(super) struct Command {
    pub(super) collection: Arc<GroupResource>,
    pub(super) key: ObjectKey,
    pub(super) expect: Expect,
    pub(super) change: Change,
    pub(super) reply: oneshot::Sender<Result<Arc<Object>, Refused>>,
}

/// What the lifecycle worker is told of each write that may concern it.
#[derive(Debug, Clone)]
pub struct Notice {
    pub collection: Arc<GroupResource>,
    /// The version that was written; for a deletion the last one.
    pub object: Arc<Object>,
    /// Whether it was removed.
    pub removed: bool,
}
