//! Many readers that follow a replica share one read of the engine: its lines are decoded and masked once.
//!
//! The newest lines are in a [`ring`], in which each reader has a position. A reader that is not as fast as the others reads for
//! itself, from its own place in the log, until it has caught up. So it holds up no other reader, and loses no line.

mod batch;
mod origin;
mod place;
mod ring;
mod shared;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::stream::{self, Stream};
use parking_lot::Mutex;

pub use self::batch::Batch;
use self::batch::Batcher;
use self::origin::gather;
pub use self::origin::{Lines, Open, Origin};
pub use self::place::{Place, Skip};
use self::ring::Taken;
use self::shared::{Joined, Shared};
use crate::runtime::{LogOptions, RuntimeError};

/// How long a reader waits that finds nothing in the log, and not its place in the shared read.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The replicas that are followed. Clones share them.
#[derive(Clone, Default)]
pub struct Followed(Arc<Mutex<Vec<Arc<Shared>>>>);

/// Lines that a reader has not seen yet.
#[derive(Debug)]
pub struct Read {
    /// The lines.
    pub lines: Arc<Batch>,
    /// The reader's place behind them.
    pub place: Place,
}

impl Followed {
    /// Follows a replica from a place in its log. An error is the last item.
    pub fn follow(
        &self,
        origin: Origin,
        place: Place,
    ) -> impl Stream<Item = Result<Read, Arc<RuntimeError>>> + Send + use<> {
        let reader = Reader {
            followed: self.clone(),
            origin,
            place,
            phase: Phase::Join,
        };
        stream::unfold(reader, Reader::next)
    }

    /// Joins the read of a replica, or begins one. If a reader has all that was written before `mark`, it needs what came since.
    fn join(&self, origin: &Origin, place: &Place, mark: Option<&Mark>) -> Result<Seat, Mark> {
        let mut all = self.0.lock();
        if let Some(index) = all.iter().position(|shared| shared.origin.is_same(origin))
            && let Some(shared) = all.get(index)
        {
            let before = mark.filter(|mark| std::ptr::eq(mark.shared.as_ptr(), Arc::as_ptr(shared)));
            match shared.join(place, before.map(|mark| mark.next)) {
                Joined::As(reader) => return Ok(self.seat(shared, reader)),
                Joined::Behind(next) => {
                    let shared = Arc::downgrade(shared);
                    return Err(Mark { shared, next });
                }
                // Its readers still take what it has.
                Joined::Over => drop(all.swap_remove(index)),
            }
        }
        let (shared, reader) = Shared::start(origin.clone(), place);
        let seat = self.seat(&shared, reader);
        all.push(shared);
        Ok(seat)
    }

    fn seat(&self, shared: &Arc<Shared>, reader: usize) -> Seat {
        Seat {
            followed: self.clone(),
            shared: Arc::clone(shared),
            reader,
        }
    }
}

/// How far a shared read was.
struct Mark {
    shared: Weak<Shared>,
    next: usize,
}

/// A reader's part in a shared read.
struct Seat {
    followed: Followed,
    shared: Arc<Shared>,
    reader: usize,
}

impl Drop for Seat {
    fn drop(&mut self) {
        if self.shared.leave(self.reader) {
            let mut all = self.followed.0.lock();
            all.retain(|shared| !Arc::ptr_eq(shared, &self.shared));
        }
    }
}

/// A read of what was written so far, for one reader.
struct Alone {
    lines: Lines,
    batcher: Batcher,
    skip: Skip,
    /// How far the shared read was when this one began.
    mark: Mark,
    /// Whether it had a line.
    is_of_use: bool,
}

enum Phase {
    Join,
    Shared(Seat, Skip),
    Begin(Mark),
    Alone(Box<Alone>),
    /// The end of a read for one reader.
    Rejoin(Mark, bool),
    Failed(Arc<RuntimeError>),
    End,
}

struct Reader {
    followed: Followed,
    origin: Origin,
    place: Place,
    phase: Phase,
}

impl Reader {
    async fn next(mut self) -> Option<(Result<Read, Arc<RuntimeError>>, Self)> {
        loop {
            let lines = match std::mem::replace(&mut self.phase, Phase::End) {
                Phase::Join => {
                    self.phase = match self.followed.join(&self.origin, &self.place, None) {
                        Ok(seat) => Phase::Shared(seat, self.place.skip()),
                        Err(mark) => Phase::Begin(mark),
                    };
                    None
                }
                Phase::Shared(seat, skip) => self.shared(seat, skip).await,
                Phase::Begin(mark) => {
                    self.phase = self.begin(mark).await;
                    None
                }
                Phase::Alone(alone) => self.alone(alone).await,
                Phase::Rejoin(mark, was_of_use) => {
                    self.phase = match self.followed.join(&self.origin, &self.place, Some(&mark)) {
                        Ok(seat) => Phase::Shared(seat, self.place.skip()),
                        Err(mark) => {
                            if !was_of_use {
                                tokio::time::sleep(LOOK_AGAIN).await;
                            }
                            Phase::Begin(mark)
                        }
                    };
                    None
                }
                Phase::Failed(error) => return Some((Err(error), self)),
                Phase::End => return None,
            };
            if let Some(lines) = lines {
                lines.pass(&mut self.place);
                let place = self.place;
                return Some((Ok(Read { lines, place }), self));
            }
        }
    }

    /// Takes the next lines of a shared read.
    async fn shared(&mut self, seat: Seat, mut skip: Skip) -> Option<Arc<Batch>> {
        match seat.shared.next(seat.reader).await {
            Taken::Batch(batch) => {
                let lines = match batch.rest(&mut skip) {
                    Some(mut rest) => rest.finish().map(Arc::new),
                    None => Some(batch),
                };
                self.phase = Phase::Shared(seat, skip);
                lines
            }
            Taken::Nothing => {
                self.phase = Phase::Shared(seat, skip);
                None
            }
            Taken::Out => {
                self.phase = Phase::Join;
                None
            }
            Taken::End(error) => {
                self.phase = error.map_or(Phase::End, Phase::Failed);
                None
            }
        }
    }

    /// Begins to read for this reader what was written so far.
    async fn begin(&mut self, mark: Mark) -> Phase {
        let options = LogOptions {
            since: self.place.begin(),
            whole: true,
            ..LogOptions::default()
        };
        match (self.origin.open)(options).await {
            Ok(lines) => Phase::Alone(Box::new(Alone {
                lines,
                batcher: Batcher::default(),
                skip: self.place.skip(),
                mark,
                is_of_use: false,
            })),
            Err(error) => Phase::Failed(Arc::new(error)),
        }
    }

    /// Reads on for this reader, unless it has caught up.
    async fn alone(&mut self, mut alone: Box<Alone>) -> Option<Arc<Batch>> {
        if alone.is_of_use
            && let Ok(seat) = self.followed.join(&self.origin, &self.place, None)
        {
            self.phase = Phase::Shared(seat, self.place.skip());
            return None;
        }
        let end = gather(&mut alone.lines, &mut alone.batcher, &mut alone.skip).await;
        let lines = alone.batcher.finish().map(Arc::new);
        alone.is_of_use |= lines.is_some();
        self.phase = match end {
            None => Phase::Alone(alone),
            Some(Ok(())) => Phase::Rejoin(alone.mark, alone.is_of_use),
            Some(Err(error)) => Phase::Failed(error),
        };
        lines
    }
}
