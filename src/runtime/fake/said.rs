//! What the fake engine's containers say while their logs are followed.

use futures::stream::{self, BoxStream, StreamExt as _};
use jiff::Timestamp;
use tokio::sync::watch;

use crate::redact::Masker;
use crate::runtime::log::{Lines, Stream};
use crate::runtime::{LogLine, LogOptions, RuntimeError};

/// Lines, each with its time.
pub(super) type Said = watch::Sender<Vec<(Timestamp, String)>>;

/// The log of a container: what was said so far, and from then on.
pub(super) fn lines(
    said: &Said,
    masker: Option<Masker>,
    options: &LogOptions,
) -> BoxStream<'static, Result<LogLine, RuntimeError>> {
    let (follow, lines) = (options.follow, Lines::of(masker, options, None));
    let state = (said.subscribe(), 0, lines);
    let lines = stream::unfold(state, move |(mut said, next, mut lines)| async move {
        loop {
            let entry = said.borrow_and_update().get(next).cloned();
            match entry {
                Some((at, text)) => {
                    let line = lines.push(Stream::Output, format!("{at} {text}\n").as_bytes());
                    return Some((line.map(Ok), (said, next + 1, lines)));
                }
                None if follow => said.changed().await.ok()?,
                None => return None,
            }
        }
    });
    lines.filter_map(std::future::ready).boxed()
}
