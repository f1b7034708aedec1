//! The newest lines of a followed replica, and where its readers are in them. It decides which reader is waited for.
//!
//! While the ring is full, the read waits for the readers of its oldest lines. As long as all other readers have lines to send, this
//! delays none of them. A reader that lets others wait for new lines may do so for [`PATIENCE`] and a tenth of the time.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::batch::Batch;
use super::place::Place;
use crate::runtime::RuntimeError;

/// How much memory the lines take, in bytes.
pub const CAPACITY: usize = 1 << 20;
/// How long a reader may let others wait.
pub const PATIENCE: Duration = Duration::from_millis(100);
/// Which part of the time that passes a reader may let others wait beside that: one of so many.
const PART: u32 = 10;

/// What a reader finds.
#[derive(Debug)]
pub enum Taken {
    /// The next lines.
    Batch(Arc<Batch>),
    /// No more lines now.
    Nothing,
    /// It was put out, because it let others wait: it has to read for itself.
    Out,
    /// The end of the log.
    End(Option<Arc<RuntimeError>>),
}

/// Whether there is room for more lines.
#[derive(Debug, PartialEq, Eq)]
pub enum Room {
    /// There is.
    Free,
    /// Not before [`Change::wake`], or this moment.
    Later(Option<Instant>),
}

struct Slot {
    batch: Arc<Batch>,
    /// How many readers take it next.
    readers: usize,
}

struct Reader {
    /// The number of the batch that it takes next.
    next: usize,
    /// The number of the batch that it was told to wait for.
    awaits: Option<usize>,
    /// How long it let others wait.
    delay: Duration,
    /// When `delay` was counted.
    counted: Instant,
}

impl Reader {
    fn delay(&self, now: Instant) -> Duration {
        let passed = now.saturating_duration_since(self.counted);
        self.delay.saturating_sub(passed / PART)
    }
}

/// How the log ended: by itself, or by an error.
struct Ended(Option<Arc<RuntimeError>>);

/// The newest lines of a replica.
pub struct Ring {
    slots: VecDeque<Slot>,
    /// The number of the first slot's batch.
    first: usize,
    bytes: usize,
    /// Lines up to this time may be missing.
    gone: Option<Timestamp>,
    end: Option<Ended>,
    readers: HashMap<usize, Reader>,
    /// How many readers there were.
    joined: usize,
    /// How many readers have taken all batches.
    at_head: usize,
    /// How many of them were told to wait.
    idle: usize,
    /// Whether there was no room.
    is_full: bool,
    /// Since when the readers of the first slot let others wait.
    blocked: Option<Instant>,
}

impl Ring {
    /// A ring for a read from [`Place::begin`], and the number of its first reader.
    pub fn new(place: &Place, now: Instant) -> (Self, usize) {
        let mut ring = Self {
            slots: VecDeque::new(),
            first: 0,
            bytes: 0,
            gone: place.begin(),
            end: None,
            readers: HashMap::new(),
            joined: 0,
            at_head: 0,
            idle: 0,
            is_full: false,
            blocked: None,
        };
        let reader = ring.seat(0, now);
        (ring, reader)
    }

    /// Whether no reader can join any more.
    pub fn is_over(&self) -> bool {
        self.end.is_some() || self.readers.is_empty()
    }

    /// The number of the next batch.
    pub fn head(&self) -> usize {
        self.first + self.slots.len()
    }

    /// Adds a reader that has the log up to `place`, if all lines behind it are here or still to come. Returns its number.
    pub fn join(&mut self, place: &Place, now: Instant) -> Option<usize> {
        if !place.is_covered(self.gone) {
            return None;
        }
        // The place is not in batches that are older as a whole.
        let reach = place.reach();
        let older = |slot: &&Slot| reach.is_some_and(|reach| slot.batch.latest() < reach);
        let skipped = self.slots.iter().take_while(older).count();
        Some(self.seat(self.first + skipped, now))
    }

    /// Adds a reader that has all batches before this one, if this one is here or still to come.
    pub fn join_at(&mut self, next: usize, now: Instant) -> Option<usize> {
        (self.first..=self.head())
            .contains(&next)
            .then(|| self.seat(next, now))
    }

    fn seat(&mut self, next: usize, counted: Instant) -> usize {
        let number = self.joined;
        self.joined += 1;
        self.count(next, |readers| *readers += 1);
        let (awaits, delay) = (None, Duration::ZERO);
        let reader = Reader {
            next,
            awaits,
            delay,
            counted,
        };
        self.readers.insert(number, reader);
        number
    }

    fn count(&mut self, next: usize, change: impl FnOnce(&mut usize)) {
        if next == self.head() {
            change(&mut self.at_head);
        } else if let Some(slot) = next
            .checked_sub(self.first)
            .and_then(|index| self.slots.get_mut(index))
        {
            change(&mut slot.readers);
        }
    }

    /// What a reader takes next, and whether the read may find room now.
    pub fn take(&mut self, number: usize, now: Instant) -> (Taken, bool) {
        let head = self.head();
        let Some(reader) = self.readers.get_mut(&number) else {
            return (Taken::Out, false);
        };
        let next = reader.next;
        if next == head {
            if let Some(end) = &self.end {
                return (Taken::End(end.0.clone()), false);
            }
            if reader.awaits.replace(head) == Some(head) {
                return (Taken::Nothing, false);
            }
            self.idle += 1;
            return (Taken::Nothing, self.is_full);
        }
        let is_first = next == self.first;
        let index = next.saturating_sub(self.first);
        let Some(slot) = self.slots.get_mut(index) else {
            return (Taken::Out, false);
        };
        slot.readers -= 1;
        let batch = Arc::clone(&slot.batch);
        let is_free = is_first && slot.readers == 0;
        if let Some(since) = self.blocked.filter(|_| is_first) {
            reader.delay = reader.delay(now) + now.saturating_duration_since(since);
            reader.counted = now;
        }
        reader.next += 1;
        self.count(next + 1, |readers| *readers += 1);
        (Taken::Batch(batch), is_free && self.is_full)
    }

    /// Removes a reader. Returns whether the read may find room now.
    pub fn leave(&mut self, number: usize) -> bool {
        let Some(reader) = self.readers.remove(&number) else {
            return false;
        };
        if reader.awaits == Some(self.head()) {
            self.idle -= 1;
        }
        self.count(reader.next, |readers| *readers -= 1);
        self.is_full
    }

    /// Drops old lines until there is room for a batch of this size. Puts out the readers that let others wait for too long.
    pub fn make_room(&mut self, size: usize, now: Instant) -> Room {
        loop {
            while self.bytes + size > CAPACITY && self.slots.front().is_some_and(|slot| slot.readers == 0) {
                self.drop_first();
            }
            self.is_full = self.bytes + size > CAPACITY && !self.slots.is_empty();
            if !self.is_full {
                self.blocked = None;
                return Room::Free;
            }
            if self.idle == 0 {
                self.blocked = None;
                return Room::Later(None);
            }
            let since = *self.blocked.get_or_insert(now);
            let waited = now.saturating_duration_since(since);
            let readers = self.readers.iter();
            let at_first = readers.filter(|(_, reader)| reader.next == self.first);
            let (late, others): (Vec<_>, Vec<_>) = at_first
                .map(|(number, reader)| (*number, PATIENCE.saturating_sub(reader.delay(now) + waited)))
                .partition(|(_, left)| left.is_zero());
            if late.is_empty() {
                let soonest = others.into_iter().map(|(_, left)| left).min();
                return Room::Later(Some(now + soonest.unwrap_or(PATIENCE)));
            }
            for (number, _) in late {
                self.leave(number);
            }
        }
    }

    fn drop_first(&mut self) {
        let Some(slot) = self.slots.pop_front() else {
            return;
        };
        self.first += 1;
        self.bytes -= slot.batch.size();
        self.gone = self.gone.max(Some(slot.batch.latest()));
        self.blocked = None;
    }

    /// Adds lines, for which there is room.
    pub fn append(&mut self, batch: Batch) {
        self.bytes += batch.size();
        self.slots.push_back(Slot {
            batch: Arc::new(batch),
            readers: std::mem::take(&mut self.at_head),
        });
        self.idle = 0;
    }

    /// The log has ended.
    pub fn finish(&mut self, end: Option<Arc<RuntimeError>>) {
        self.end = Some(Ended(end));
    }

    /// How much memory the lines take, in bytes.
    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}
