//! The log of a Pod's container.

use std::pin::Pin;

use futures::stream::{self, BoxStream, StreamExt as _};
use futures::{AsyncRead, AsyncReadExt as _};
use kube::api::LogParams;

use super::names::CONTAINER;
use crate::redact::Masker;
use crate::runtime::log::{Lines, Stream};
use crate::runtime::{LogLine, LogOptions, RuntimeError};

/// From which size on a part of a line is passed on, in bytes.
const PIECE: usize = 16 * 1024;
/// How much is read at once, in bytes.
const READ: usize = 8 * 1024;

/// The request for this part of a log. The API server counts in seconds; [`lines`] leaves out the rest.
pub fn request(options: &LogOptions) -> LogParams {
    LogParams {
        container: Some(CONTAINER.to_owned()),
        follow: options.follow,
        previous: options.previous,
        since_time: options
            .since
            .and_then(|since| jiff::Timestamp::from_second(since.as_second()).ok()),
        tail_lines: options.tail.and_then(|tail| i64::try_from(tail).ok()),
        timestamps: true,
        ..LogParams::default()
    }
}

struct Reader {
    from: Pin<Box<dyn AsyncRead + Send>>,
    buffer: Vec<u8>,
    lines: Lines,
}

/// The lines of the answer. It is read as fast as the stream is polled, and no faster.
pub fn lines(
    from: impl AsyncRead + Send + 'static,
    masker: Option<Masker>,
    options: &LogOptions,
) -> BoxStream<'static, Result<LogLine, RuntimeError>> {
    let reader = Reader {
        from: Box::pin(from),
        buffer: Vec::new(),
        lines: Lines::of(masker, options, None),
    };
    stream::unfold(Some(reader), |reader| async move {
        let mut reader = reader?;
        loop {
            let mut part = [0; READ];
            match reader.from.read(&mut part).await {
                Ok(0) => {
                    let rest = std::mem::take(&mut reader.buffer);
                    let last = reader.lines.push(Stream::Output, &rest);
                    let last: Vec<_> = last.into_iter().chain(reader.lines.finish()).map(Ok).collect();
                    return Some((last, None));
                }
                Ok(size) => {
                    reader
                        .buffer
                        .extend_from_slice(part.get(..size).unwrap_or_default());
                    let lines = reader.complete();
                    if !lines.is_empty() {
                        return Some((lines, Some(reader)));
                    }
                }
                Err(error) => {
                    let error = RuntimeError::Engine {
                        doing: "read the log of a Pod",
                        message: error.to_string(),
                    };
                    return Some((vec![Err(error)], None));
                }
            }
        }
    })
    .flat_map(stream::iter)
    .boxed()
}

impl Reader {
    /// Takes the whole lines, and the parts of a long one, out of the buffer.
    fn complete(&mut self) -> Vec<Result<LogLine, RuntimeError>> {
        let mut lines = Vec::new();
        let mut begin = 0;
        while let Some(rest) = self.buffer.get(begin..) {
            let size = match rest.iter().position(|byte| *byte == b'\n') {
                Some(end) => end + 1,
                None if rest.len() >= PIECE => rest.len(),
                None => break,
            };
            let entry = rest.get(..size).unwrap_or_default();
            lines.extend(self.lines.push(Stream::Output, entry).map(Ok));
            begin += size;
        }
        self.buffer.drain(..begin);
        lines
    }
}

#[cfg(test)]
mod tests {
    use futures::io::Cursor;

    use super::*;

    #[tokio::test]
    async fn answer_becomes_masked_lines() {
        let long = "x".repeat(3 * PIECE);
        let text = format!(
            "2026-11-29T15:00:01.000000001Z one hunter2\n2026-11-29T15:00:02Z {long}\n2026-11-29T15:00:03Z end"
        );
        let masker = Masker::new(&["hunter2".into()]);
        let options = LogOptions::default();
        let lines: Vec<_> = lines(Cursor::new(text.into_bytes()), Some(masker), &options)
            .collect()
            .await;
        let texts: Vec<String> = lines.into_iter().map(|line| line.unwrap().text).collect();
        assert_eq!(texts, ["one ***".to_owned(), long, "end".to_owned()]);
    }
}
