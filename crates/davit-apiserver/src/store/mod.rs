//! The store: every object in memory, every acknowledged write on disk, one revision counter across all kinds.
//!
//! Reads never wait for a write: they take what is in memory, which changes batch by batch after its commit. Writes
//! go to one thread, which checks them in order, commits all that wait together (one fsync for the batch), shows the
//! batch to readers and watchers, and then answers. So what was acknowledged is durable, what is seen is durable, and
//! the order of revisions is the order of everything.

mod backend;
mod backup;
mod change;
mod cipher;
mod database;
mod disk;
#[cfg(test)]
mod disk_tests;
mod envelope;
mod error;
#[cfg(test)]
mod format_tests;
mod object;
#[cfg(test)]
mod simulated_disk;
mod snapshot;
mod wal;
mod writer;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

pub use backend::{Backend, Memory, Record};
pub use backup::{Backup, restore, verify};
pub use change::{Change, Expect, Notice, Refused};
pub use disk::Disk;
pub use envelope::Sealing;
pub use error::StoreError;
pub use object::{GroupResource, Object, ObjectKey, Owner};
pub use snapshot::{Event, Page, View};

use change::Command;

/// A handle on the store.
pub struct Store {
    view: Arc<View>,
    commands: Mutex<Option<mpsc::Sender<Command>>>,
    writer: Mutex<Option<std::thread::JoinHandle<()>>>,
    sealing: Option<Arc<Sealing>>,
    /// Whether the last commit failed.
    failing: Arc<AtomicBool>,
}

/// How long a write is tried out.
const PROBE: std::time::Duration = std::time::Duration::from_secs(1);
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
        let failing = Arc::new(AtomicBool::new(false));
        let (commands, receiver) = mpsc::channel(QUEUE);
        let writer = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn({
                let (view, failing) = (view.clone(), failing.clone());
                move || writer::run(receiver, &mut backend, &view, &notices, &failing)
            })
            .map_err(StoreError::Thread)?;
        Ok(Self {
            view,
            commands: Mutex::new(Some(commands)),
            writer: Mutex::new(Some(writer)),
            sealing,
            failing,
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

    /// Whether writes can be made durable. After a failed commit this is tried out, which also makes the store take
    /// writes again.
    pub async fn takes_writes(&self) -> bool {
        if !self.failing.load(Ordering::Relaxed) {
            return true;
        }
        let none = Arc::new(GroupResource::new("", ""));
        let nothing = self.write(
            &none,
            ObjectKey::new("", ""),
            Expect::Revision(0),
            Change::Delete(None),
        );
        let tried = tokio::time::timeout(PROBE, nothing).await;
        !matches!(tried, Err(_) | Ok(Err(Refused::Failed(_))))
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
