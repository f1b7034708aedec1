//! The store: every object in memory, every acknowledged write on disk, one revision counter across all kinds.
//!
//! Reads never wait for a write: they take what is in memory, which changes batch by batch after its commit. Writes
//! go to one thread, which checks them in order, commits all that wait together (one fsync for the batch), shows the
//! batch to readers and watchers, and then answers. So what was acknowledged is durable, what is seen is durable, and
//! the order of revisions is the order of everything.

mod backup;
mod crypt;
mod disk;
#[cfg(test)]
mod disk_tests;
mod error;
mod log;
mod object;
#[cfg(test)]
mod platter;
mod seal;
mod table;
mod view;
mod writer;

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

pub use backup::{Backup, restore, verify};
pub use disk::Disk;
pub use error::StoreError;
pub use object::{Object, ObjectKey, Owner};
pub use seal::Sealing;
pub use view::{Event, Page, View};

/// Group and plural resource name: what a collection is called.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupResource {
    /// The API group; empty for the core group.
    pub group: Box<str>,
    /// The plural name.
    pub resource: Box<str>,
}

impl GroupResource {
    /// The resource `resource` of `group`.
    pub fn new(group: &str, resource: &str) -> Self {
        Self {
            group: group.into(),
            resource: resource.into(),
        }
    }
}

impl std::fmt::Display for GroupResource {
    /// `widgets.example.com`, or `secrets` in the core group, as messages name a resource.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &*self.group {
            "" => f.write_str(&self.resource),
            group => write!(f, "{}.{group}", self.resource),
        }
    }
}

/// One line of a batch, as it goes to disk.
pub struct Record {
    /// The object's collection.
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

struct Command {
    collection: Arc<GroupResource>,
    key: ObjectKey,
    expect: Expect,
    change: Change,
    reply: oneshot::Sender<Result<Arc<Object>, Refused>>,
}

/// What the lifecycle worker is told of each write that may concern it.
#[derive(Debug, Clone)]
pub struct Notice {
    /// The object's collection.
    pub collection: Arc<GroupResource>,
    /// The version that was written; for a deletion the last one.
    pub object: Arc<Object>,
    /// Whether it was removed.
    pub removed: bool,
}

/// A handle on the store.
pub struct Store {
    view: Arc<View>,
    commands: Mutex<Option<mpsc::Sender<Command>>>,
    writer: Mutex<Option<std::thread::JoinHandle<()>>>,
    sealing: Option<Arc<Sealing>>,
}

/// How many writes may wait for the writer before the next one waits to be queued.
const QUEUE: usize = 4096;

impl Store {
    /// Loads everything from `backend` and starts the writer. Each write is also told to `notices`.
    pub fn open(
        mut backend: impl Backend,
        notices: mpsc::UnboundedSender<Notice>,
    ) -> Result<Self, StoreError> {
        let view = Arc::new(View::load(&mut backend)?);
        let sealing = backend.sealing();
        let (commands, receiver) = mpsc::channel(QUEUE);
        let writer = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn({
                let view = view.clone();
                move || writer::run(receiver, &mut backend, &view, &notices)
            })
            .map_err(StoreError::Thread)?;
        Ok(Self {
            view,
            commands: Mutex::new(Some(commands)),
            writer: Mutex::new(Some(writer)),
            sealing,
        })
    }

    /// What is stored now.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Everything as it is at this moment, to be written somewhere else; none where there is no key to seal it with.
    pub fn backup(&self) -> Option<Backup> {
        let sealing = self.sealing.clone()?;
        Some(Backup::new(self.view.everything(), sealing))
    }

    /// Makes one write; when it returns, the write is on disk and every reader sees it.
    ///
    /// For a deletion the result is the last state as watchers see it.
    pub async fn write(
        &self,
        collection: &Arc<GroupResource>,
        key: ObjectKey,
        expect: Expect,
        change: Change,
    ) -> Result<Arc<Object>, Refused> {
        let closed = || Refused::Failed("the store is closed".into());
        let (reply, answer) = oneshot::channel();
        let command = Command {
            collection: collection.clone(),
            key,
            expect,
            change,
            reply,
        };
        let commands = self.commands.lock().clone().ok_or_else(closed)?;
        commands.send(command).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }
}

impl Store {
    /// Takes no more writes, makes those that wait durable, and closes the file: the next `open` finds it free.
    pub async fn close(&self) {
        self.commands.lock().take();
        let writer = self.writer.lock().take();
        if let Some(writer) = writer {
            // A writer that panicked has nothing left to close.
            let _ = tokio::task::spawn_blocking(move || writer.join()).await;
        }
    }
}
