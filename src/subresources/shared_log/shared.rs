//! One read of a followed replica for all of its readers.

use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::batch::{Batch, Batcher};
use super::origin::{Origin, gather};
use super::place::{Place, Skip};
use super::ring::{Ring, Room, Taken};
use crate::runtime::{LogOptions, RuntimeError};

/// What happens to a reader that wants to join.
#[derive(Debug)]
pub enum Joined {
    /// It has this number.
    As(usize),
    /// Lines that it needs are here no more. The number of the next batch.
    Behind(usize),
    /// The read has ended.
    Over,
}

/// One read of a followed replica.
pub struct Shared {
    /// What is read.
    pub origin: Origin,
    ring: Mutex<Ring>,
    /// There are more lines, or the end.
    news: Notify,
    /// There may be room for more lines.
    room: Notify,
    /// The last reader has left.
    unread: Notify,
}

impl Shared {
    /// Begins to read for a reader that has the log up to `place`. Returns the number of that reader. The read ends with the log or
    /// with its last reader.
    pub fn start(origin: Origin, place: &Place) -> (Arc<Self>, usize) {
        let (ring, reader) = Ring::new(place, Instant::now());
        let shared = Arc::new(Self {
            origin,
            ring: Mutex::new(ring),
            news: Notify::new(),
            room: Notify::new(),
            unread: Notify::new(),
        });
        tokio::spawn(Arc::clone(&shared).run(place.begin()));
        (shared, reader)
    }

    async fn run(self: Arc<Self>, since: Option<Timestamp>) {
        tokio::select! {
            () = self.unread.notified() => {}
            end = self.read(since) => {
                self.ring.lock().finish(end);
                self.news.notify_waiters();
            }
        }
    }

    /// Reads to the end of the log. Returns the error that ended it.
    async fn read(&self, since: Option<Timestamp>) -> Option<Arc<RuntimeError>> {
        let options = LogOptions {
            follow: true,
            since,
            ..LogOptions::default()
        };
        let mut lines = match (self.origin.open)(options).await {
            Ok(lines) => lines,
            Err(error) => return Some(Arc::new(error)),
        };
        let mut batcher = Batcher::default();
        loop {
            let end = gather(&mut lines, &mut batcher, &mut Skip::default()).await;
            if let Some(batch) = batcher.finish() {
                self.append(batch).await;
            }
            if let Some(end) = end {
                return end.err();
            }
        }
    }

    async fn append(&self, batch: Batch) {
        loop {
            let room = self.ring.lock().make_room(batch.size(), Instant::now());
            match room {
                Room::Free => break,
                Room::Later(None) => self.room.notified().await,
                // Both are a reason to look again.
                Room::Later(Some(at)) => timeout_at(at, self.room.notified()).await.unwrap_or_default(),
            }
        }
        self.ring.lock().append(batch);
        self.news.notify_waiters();
    }

    /// Adds a reader that has the log up to `place`, or, if that is given, all batches before this one.
    pub fn join(&self, place: &Place, before: Option<usize>) -> Joined {
        let now = Instant::now();
        let mut ring = self.ring.lock();
        if ring.is_over() {
            return Joined::Over;
        }
        let reader = ring.join(place, now);
        match reader.or_else(|| ring.join_at(before?, now)) {
            Some(reader) => Joined::As(reader),
            None => Joined::Behind(ring.head()),
        }
    }

    /// Removes a reader. Returns true if it was the last one: the read ends.
    pub fn leave(&self, reader: usize) -> bool {
        let (may_find_room, is_over) = {
            let mut ring = self.ring.lock();
            (ring.leave(reader), ring.is_over())
        };
        if may_find_room {
            self.room.notify_one();
        }
        if is_over {
            self.unread.notify_one();
        }
        is_over
    }

    /// What a reader takes next; waits until there is something.
    pub async fn next(&self, reader: usize) -> Taken {
        loop {
            // What is told from here on is not missed.
            let news = self.news.notified();
            let (taken, may_find_room) = self.ring.lock().take(reader, Instant::now());
            if may_find_room {
                self.room.notify_one();
            }
            if !matches!(taken, Taken::Nothing) {
                return taken;
            }
            news.await;
        }
    }

    /// How much memory its lines take, in bytes.
    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        self.ring.lock().bytes()
    }
}
