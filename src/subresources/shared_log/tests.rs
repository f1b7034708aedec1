//! Readers of one log, which a test writes.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::stream::BoxStream;
use futures::{FutureExt as _, StreamExt as _};
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::ring::{CAPACITY, PATIENCE};
use super::*;
use crate::model::AppId;
use crate::redact::Secret;
use crate::runtime::{LogLine, RedactionPolicy};

/// The length of a line, so that a ring has room for about a thousand.
const LENGTH: usize = 1000;

#[derive(Default)]
struct Log {
    lines: Vec<LogLine>,
    has_failed: bool,
}

/// An engine with one container.
struct Engine {
    log: watch::Sender<Log>,
    /// The time of each line, in milliseconds.
    time: fn(u32) -> u32,
    /// How often the log was followed, and read up to its end.
    reads: [AtomicUsize; 2],
}

impl Engine {
    fn new() -> Arc<Self> {
        Self::with_times(|number| number)
    }

    fn with_times(time: fn(u32) -> u32) -> Arc<Self> {
        let (log, _) = watch::channel(Log::default());
        let reads = Default::default();
        Arc::new(Self { log, time, reads })
    }

    fn at(&self, number: u32) -> Timestamp {
        Timestamp::from_millisecond(i64::from((self.time)(number))).unwrap()
    }

    /// Writes the lines up to this number.
    fn write(&self, last: u32) {
        self.log.send_modify(|log| {
            let next = u32::try_from(log.lines.len()).unwrap() + 1;
            log.lines.extend((next..=last).map(|number| LogLine {
                at: self.at(number),
                text: format!("{number:0LENGTH$}"),
            }));
        });
    }

    /// Ends every read that follows the log.
    fn fail(&self) {
        self.log.send_modify(|log| log.has_failed = true);
    }

    fn reads(&self) -> [usize; 2] {
        [0, 1].map(|index| self.reads[index].load(Ordering::Relaxed))
    }

    fn read(&self, options: &LogOptions) -> Lines {
        self.reads[usize::from(!options.follow)].fetch_add(1, Ordering::Relaxed);
        let (follow, since) = (options.follow, options.since);
        let lines = stream::unfold((self.log.subscribe(), 0), move |(mut log, next)| async move {
            loop {
                let (line, has_failed) = {
                    let log = log.borrow_and_update();
                    (log.lines.get(next).cloned(), log.has_failed)
                };
                match line {
                    Some(line) => return Some((Ok(line), (log, next + 1))),
                    None if !follow => return None,
                    None if has_failed => {
                        let error = RuntimeError::EngineUnavailable("gone".to_owned());
                        return Some((Err(error), (log, next)));
                    }
                    None => log.changed().await.ok()?,
                }
            }
        });
        let is_wanted = move |line: &Result<LogLine, RuntimeError>| {
            let at = line.as_ref().ok().map(|line| line.at);
            at.is_none_or(|at| since.is_none_or(|since| at > since))
        };
        lines
            .filter(move |line| std::future::ready(is_wanted(line)))
            .boxed()
    }

    fn origin(self: &Arc<Self>, secrets: &[&str]) -> Origin {
        let engine = Arc::clone(self);
        Origin {
            app: AppId::new("default", "shop"),
            replica: "1".to_owned(),
            redaction: Arc::new(RedactionPolicy {
                confidential: Some(secrets.iter().map(|secret| Secret::from(*secret)).collect()),
                ..RedactionPolicy::default()
            }),
            open: Arc::new(move |options: LogOptions| {
                std::future::ready(Ok::<_, RuntimeError>(engine.read(&options))).boxed()
            }),
        }
    }

    /// A reader that has the lines up to this number.
    fn reader(self: &Arc<Self>, followed: &Followed, last: u32) -> Client {
        let mut place = Place::default();
        (1..=last).for_each(|number| place.pass(self.at(number)));
        let stream = followed.follow(self.origin(&[]), place).boxed();
        Client {
            stream,
            first: last + 1,
            seen: Vec::new(),
        }
    }
}

struct Client {
    stream: BoxStream<'static, Result<Read, Arc<RuntimeError>>>,
    first: u32,
    seen: Vec<u32>,
}

impl Client {
    async fn once(&mut self) {
        let read = self.stream.next().await.unwrap().unwrap();
        for (_, text) in read.lines.lines() {
            assert_eq!(text.len(), LENGTH + 1);
            let number = std::str::from_utf8(&text[LENGTH - 8..LENGTH]);
            self.seen.push(number.unwrap().parse().unwrap());
        }
    }

    /// Reads up to a line. Each line comes once, and in order.
    async fn until(&mut self, last: u32) {
        while self.seen.last() != Some(&last) {
            self.once().await;
        }
        assert!(self.seen.iter().copied().eq(self.first..=last), "{:?}", self.seen);
    }
}

/// How much memory the lines of all reads take.
fn bytes(followed: &Followed) -> usize {
    followed.0.lock().iter().map(|shared| shared.bytes()).sum()
}

#[tokio::test(start_paused = true)]
async fn two_hundred_readers_share_one_read() {
    let (engine, followed) = (Engine::new(), Followed::default());
    let readers: Vec<_> = (0..200)
        .map(|_| {
            let mut reader = engine.reader(&followed, 0);
            tokio::spawn(async move { reader.until(5000).await })
        })
        .collect();
    for last in [1, 2, 700, 5000] {
        engine.write(last);
        tokio::task::yield_now().await;
    }
    for reader in readers {
        reader.await.unwrap();
    }
    assert_eq!(engine.reads(), [1, 0]);
    // The last reader to leave ends the read.
    engine.log.closed().await;
    assert!(followed.0.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn reader_that_is_stuck_delays_the_others_once_and_loses_nothing() {
    let times: [fn(u32) -> u32; 3] = [
        |number| number,
        // Lines with the same time, and times that decrease.
        |number| number / 300,
        |number| number ^ 7,
    ];
    for time in times {
        let (engine, followed) = (Engine::with_times(time), Followed::default());
        let [mut one, mut two, mut stuck] = [0; 3].map(|_| engine.reader(&followed, 0));
        engine.write(100);
        tokio::join!(one.until(100), two.until(100), stuck.once());
        let start = Instant::now();
        engine.write(9000);
        tokio::join!(one.until(9000), two.until(9000));
        assert!(start.elapsed() >= PATIENCE, "it is waited for");
        assert!(start.elapsed() < PATIENCE * 3 / 2, "{:?}", start.elapsed());
        assert!(bytes(&followed) <= CAPACITY);
        assert_eq!(engine.reads(), [1, 0]);
        // It catches up by itself, and joins the others again.
        stuck.until(9000).await;
        engine.write(9100);
        tokio::join!(one.until(9100), two.until(9100), stuck.until(9100));
        assert_eq!(engine.reads(), [1, 1]);
    }
}

#[tokio::test(start_paused = true)]
async fn reader_that_is_slow_slows_down_only_itself() {
    let (engine, followed) = (Engine::new(), Followed::default());
    let (mut fast, mut slow) = (engine.reader(&followed, 0), engine.reader(&followed, 0));
    engine.write(9000);
    let start = Instant::now();
    let slow = tokio::spawn(async move {
        while slow.seen.last() != Some(&9000) {
            slow.once().await;
            sleep(PATIENCE / 3).await;
        }
        slow.until(9000).await;
    });
    fast.until(9000).await;
    assert!(start.elapsed() < PATIENCE * 2, "{:?}", start.elapsed());
    slow.await.unwrap();
    assert!(start.elapsed() > PATIENCE * 20, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn engine_is_read_as_fast_as_the_fastest_reader_and_no_further() {
    let (engine, followed) = (Engine::new(), Followed::default());
    let mut only = engine.reader(&followed, 0);
    engine.write(9000);
    only.once().await;
    sleep(PATIENCE * 100).await;
    let kept = bytes(&followed);
    assert!((CAPACITY / 2..=CAPACITY).contains(&kept), "{kept}");
    // It delays no other, so it is not put out.
    only.until(9000).await;
    assert_eq!(engine.reads(), [1, 0]);
}

#[tokio::test(start_paused = true)]
async fn late_reader_joins_where_it_is_or_catches_up_first() {
    let (engine, followed) = (Engine::new(), Followed::default());
    let mut first = engine.reader(&followed, 0);
    engine.write(5000);
    first.until(5000).await;
    // Its next line is still there.
    let mut within = engine.reader(&followed, 4800);
    within.until(5000).await;
    assert_eq!(engine.reads(), [1, 0]);
    let mut behind = engine.reader(&followed, 100);
    behind.until(5000).await;
    let mut new = engine.reader(&followed, 0);
    new.until(5000).await;
    assert_eq!(engine.reads(), [1, 2]);
    // It has lines that the shared read has not reached.
    engine.write(5500);
    let mut ahead = engine.reader(&followed, 5400);
    engine.write(5600);
    tokio::join!(
        first.until(5600),
        within.until(5600),
        behind.until(5600),
        new.until(5600),
        ahead.until(5600)
    );
    assert_eq!(engine.reads(), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn reader_of_an_empty_log_joins_a_read_that_began_later_in_it() {
    let (engine, followed) = (Engine::with_times(|number| 1000 + number), Followed::default());
    let since = Place::since(Some(Timestamp::from_millisecond(1000).unwrap()));
    let mut first = engine.reader(&followed, 0);
    first.stream = followed.follow(engine.origin(&[]), since).boxed();
    assert!(first.stream.next().now_or_never().is_none());
    let mut second = engine.reader(&followed, 0);
    assert!(second.stream.next().now_or_never().is_none());
    engine.write(10);
    tokio::join!(first.until(10), second.until(10));
    assert_eq!(engine.reads(), [1, 1]);
}

#[tokio::test(start_paused = true)]
async fn lines_are_shared_only_if_they_are_masked_alike() {
    let (engine, followed) = (Engine::new(), Followed::default());
    let mut readers: Vec<_> = [&["one"][..], &["two"], &["one"], &["one", "two"], &[]]
        .iter()
        .map(|secrets| followed.follow(engine.origin(secrets), Place::default()).boxed())
        .collect();
    engine.write(1);
    for reader in &mut readers {
        reader.next().await.unwrap().unwrap();
    }
    assert_eq!(engine.reads(), [4, 0]);
    let mut other = engine.origin(&["one"]);
    other.replica = "2".to_owned();
    let mut other = followed.follow(other, Place::default()).boxed();
    other.next().await.unwrap().unwrap();
    assert_eq!(engine.reads(), [5, 0]);
}

#[tokio::test(start_paused = true)]
async fn every_reader_gets_the_error_that_ends_the_log() {
    let (engine, followed) = (Engine::new(), Followed::default());
    let mut readers = [0; 3].map(|_| engine.reader(&followed, 0));
    engine.write(10);
    for reader in &mut readers {
        reader.until(10).await;
    }
    engine.write(20);
    engine.fail();
    for reader in &mut readers {
        reader.until(20).await;
        let error = reader.stream.next().await.unwrap().unwrap_err();
        assert!(matches!(*error, RuntimeError::EngineUnavailable(_)));
        assert!(reader.stream.next().await.is_none());
    }
    assert_eq!(engine.reads(), [1, 0]);
    assert!(followed.0.lock().is_empty());
    // Another reader begins another read.
    engine.reader(&followed, 0).until(20).await;
    assert_eq!(engine.reads(), [2, 0]);
}
