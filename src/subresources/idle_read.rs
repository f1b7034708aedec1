//! Reads of a log that hold nothing of the engine while their client stands still.
//!
//! An engine keeps a connection and files open for each of its readers, and reads ahead for it. So a read of which nothing is taken for
//! some seconds is given back. It begins again behind the last line that was taken, when the client goes on.

use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{Stream, StreamExt as _};
use futures::{FutureExt as _, ready};
use parking_lot::Mutex;

use super::shared_log::{Lines, Open, Place, Skip};
use crate::runtime::{LogLine, LogOptions, RuntimeError};

/// How often reads are looked at.
const LOOK: Duration = Duration::from_secs(5);
/// After how many looks a read is given back that has a line, and one that waits for the engine. The latter may have a client, too.
const STANDS: u32 = 2;
const WAITS: u32 = 4;

/// Begins to read a log that has an end.
///
/// # Errors
/// The engine does not answer.
pub(super) async fn read(open: Open, options: LogOptions) -> Result<Lines, RuntimeError> {
    let lines = open(options.clone()).await?;
    let held = Arc::new(Mutex::new(Held {
        lines: Some(lines),
        looks: 0,
        waits: WAITS,
        waiting: None,
    }));
    tokio::spawn(look_after(Arc::downgrade(&held)));
    let place = Place::since(options.since);
    let read = IdleRead {
        open,
        options,
        place,
        skip: Skip::default(),
        has_begun: false,
        held,
        opening: None,
        has_ended: false,
    };
    Ok(read.boxed())
}

/// Gives a read back when its client stands still, until it is dropped.
async fn look_after(held: Weak<Mutex<Held>>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(held) = held.upgrade() else { return };
        held.lock().look();
    }
}

/// A read of the engine.
struct Held {
    /// `None` if it was given back.
    lines: Option<Lines>,
    /// How often it was looked at since a line was asked for.
    looks: u32,
    /// After how many looks it is given back if it waits for the engine.
    waits: u32,
    /// The task that waits for the engine.
    waiting: Option<Waker>,
}

impl Held {
    fn look(&mut self) {
        self.looks = self.looks.saturating_add(1);
        let most = if self.waiting.is_some() {
            self.waits
        } else {
            STANDS
        };
        if self.looks < most || self.lines.is_none() {
            return;
        }
        self.lines = None;
        if let Some(waiting) = self.waiting.take() {
            // An engine that is slow gets more time.
            self.waits = self.waits.saturating_mul(2);
            waiting.wake();
        }
    }

    /// The next line; `None` if the read was given back.
    fn poll(&mut self, cx: &mut Context<'_>) -> Option<Poll<Option<Result<LogLine, RuntimeError>>>> {
        let lines = self.lines.as_mut()?;
        let polled = lines.poll_next_unpin(cx);
        self.looks = 0;
        self.waiting = polled.is_pending().then(|| cx.waker().clone());
        if polled.is_ready() {
            self.waits = WAITS;
        }
        Some(polled)
    }
}

struct IdleRead {
    open: Open,
    options: LogOptions,
    place: Place,
    skip: Skip,
    /// Whether a line was taken.
    has_begun: bool,
    held: Arc<Mutex<Held>>,
    opening: Option<BoxFuture<'static, Result<Lines, RuntimeError>>>,
    has_ended: bool,
}

impl IdleRead {
    /// Begins again behind the last line that was taken.
    fn begin_again(&mut self) {
        let mut options = self.options.clone();
        if self.has_begun {
            if self.options.tail.is_some() {
                self.place.round_up();
            }
            self.skip = self.place.skip();
            options.tail = None;
            options.since = self.place.begin();
        }
        self.opening = Some((self.open)(options));
    }
}

impl Stream for IdleRead {
    type Item = Result<LogLine, RuntimeError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        while !this.has_ended {
            if let Some(opening) = &mut this.opening {
                let opened = ready!(opening.poll_unpin(cx));
                this.opening = None;
                match opened {
                    Ok(lines) => this.held.lock().lines = Some(lines),
                    Err(error) => {
                        this.has_ended = true;
                        return Poll::Ready(Some(Err(error)));
                    }
                }
            }
            let polled = this.held.lock().poll(cx);
            let Some(polled) = polled else {
                this.begin_again();
                continue;
            };
            match ready!(polled) {
                Some(Ok(line)) if this.skip.is_new(line.at) => {
                    this.place.pass(line.at);
                    this.has_begun = true;
                    return Poll::Ready(Some(Ok(line)));
                }
                Some(Ok(_)) => {}
                end => {
                    this.has_ended = true;
                    this.held.lock().lines = None;
                    return Poll::Ready(end);
                }
            }
        }
        Poll::Ready(None)
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use jiff::Timestamp;

    use super::*;

    /// A log of lines with the times 1, 2, 2, 3 and so on, as an engine reads it. Each read keeps `token`.
    fn open(token: &Arc<()>) -> Open {
        let token = Arc::clone(token);
        Arc::new(move |options: LogOptions| {
            let token = Arc::clone(&token);
            let lines = [1, 2, 2, 3, 4, 5]
                .into_iter()
                .enumerate()
                .map(|(number, second)| LogLine {
                    at: Timestamp::from_second(second).unwrap(),
                    text: number.to_string(),
                });
            let mut lines: Vec<_> = lines
                .filter(|line| options.since.is_none_or(|since| line.at > since))
                .collect();
            let tail = options
                .tail
                .map_or(lines.len(), |tail| usize::try_from(tail).unwrap());
            lines.drain(..lines.len().saturating_sub(tail));
            let lines = stream::iter(lines).map(move |line| {
                // The token lives as long as the stream.
                let _: &_ = &token;
                Ok::<_, RuntimeError>(line)
            });
            async move { Ok::<Lines, RuntimeError>(lines.boxed()) }.boxed()
        })
    }

    async fn next(lines: &mut Lines) -> Option<String> {
        lines.next().await.map(|line| line.unwrap().text)
    }

    #[tokio::test(start_paused = true)]
    async fn client_that_stands_still_holds_no_read_and_misses_no_line() {
        for (tail, first) in [(None, 0), (Some(4), 2)] {
            for taken in 0..=(6 - first) {
                let token = Arc::new(());
                let options = LogOptions {
                    tail,
                    ..LogOptions::default()
                };
                let mut lines = read(open(&token), options).await.unwrap();
                let mut seen = Vec::new();
                for _ in 0..taken {
                    seen.push(next(&mut lines).await.unwrap());
                }
                // The log itself, and the read of it.
                assert_eq!(Arc::strong_count(&token), 3);
                tokio::time::sleep(LOOK * (STANDS + 1)).await;
                assert_eq!(Arc::strong_count(&token), 2, "a read is kept");
                while let Some(line) = next(&mut lines).await {
                    seen.push(line);
                }
                let all: Vec<String> = (first..6).map(|number| number.to_string()).collect();
                assert_eq!(seen, all, "{tail:?} after {taken}");
                assert_eq!(next(&mut lines).await, None);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn engine_that_is_slow_is_asked_again() {
        let asked = Arc::new(Mutex::new(0));
        let count = Arc::clone(&asked);
        let open: Open = Arc::new(move |_: LogOptions| {
            *count.lock() += 1;
            let delay = LOOK * (2 * WAITS - 1);
            let line = LogLine {
                at: Timestamp::UNIX_EPOCH,
                text: "late".to_owned(),
            };
            let lines = stream::once(async move {
                tokio::time::sleep(delay).await;
                Ok::<_, RuntimeError>(line)
            });
            async move { Ok::<Lines, RuntimeError>(lines.boxed()) }.boxed()
        });
        let mut lines = read(open, LogOptions::default()).await.unwrap();
        assert_eq!(next(&mut lines).await.as_deref(), Some("late"));
        assert_eq!(next(&mut lines).await, None);
        assert!(*asked.lock() > 1);
    }
}
