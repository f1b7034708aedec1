//! Logs of containers and tasks as lines.

use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::query_parameters::{LogsOptions, LogsOptionsBuilder};
use futures::stream::{self, BoxStream, Stream, StreamExt as _};
use jiff::Timestamp;

use super::errors;
use crate::redact::Masker;
use crate::runtime::RuntimeError;
use crate::runtime::log::{self, Lines, LogLine, LogOptions};

/// The request for this part of a log. The engine counts in seconds; [`lines`] leaves out the rest.
pub fn request(options: &LogOptions) -> LogsOptions {
    let since = options.since.map_or(0, Timestamp::as_second);
    let tail = options
        .tail
        .map_or_else(|| "all".to_owned(), |lines| lines.to_string());
    LogsOptionsBuilder::new()
        .stdout(true)
        .stderr(true)
        .timestamps(true)
        .follow(options.follow)
        .since(i32::try_from(since).unwrap_or_default())
        .tail(&tail)
        .build()
}

/// The lines of the answer. The engine is read as fast as the stream is polled, and no faster.
pub fn lines(
    entries: impl Stream<Item = Result<LogOutput, Error>> + Send + 'static,
    masker: Option<Masker>,
    options: &LogOptions,
    until: Option<Timestamp>,
) -> BoxStream<'static, Result<LogLine, RuntimeError>> {
    let lines = Lines::new(masker, options.since, until);
    let state = Some((entries.boxed(), lines));
    stream::unfold(state, |state| async move {
        let (mut entries, mut lines) = state?;
        loop {
            match entries.next().await {
                Some(Ok(entry)) => {
                    let stream = match &entry {
                        LogOutput::StdErr { .. } => log::Stream::Error,
                        LogOutput::StdOut { .. } | LogOutput::StdIn { .. } | LogOutput::Console { .. } => {
                            log::Stream::Output
                        }
                    };
                    if let Some(line) = lines.push(stream, &entry.into_bytes()) {
                        return Some((vec![Ok(line)], Some((entries, lines))));
                    }
                }
                Some(Err(error)) => {
                    return Some((
                        vec![Err(errors::error("read the log of a container", &error))],
                        None,
                    ));
                }
                None => return Some((lines.finish().map(Ok).collect(), None)),
            }
        }
    })
    .flat_map(stream::iter)
    .boxed()
}
