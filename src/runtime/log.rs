//! The log of a container: parts of lines as an engine sends them become whole, masked lines. Pure.

use std::borrow::Cow;

use futures::stream::{self, BoxStream, StreamExt as _};
use jiff::Timestamp;

use super::error::RuntimeError;
use crate::redact::Masker;

/// From which size on a line is passed on in pieces, in bytes.
const LONGEST_LINE: usize = 256 * 1024;
/// Stands where a line is divided: at the end of a piece, and at the beginning of the next one.
const DIVIDED: char = '…';
/// Replaces the output of a container whose secrets are unknown.
pub const HIDDEN: &str = "output hidden: a Secret mounted in this container has changed";

/// Which part of a container's log is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Wait for further output until the container ends.
    pub follow: bool,
    /// At most so many lines of the end.
    pub tail: Option<u64>,
    /// Lines after this time only.
    pub since: Option<Timestamp>,
    /// The output from before the container's last start only.
    pub previous: bool,
    /// Without a last line that is not complete yet, for a reader that goes on reading later.
    pub whole: bool,
}

/// One line, masked, without its line feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// When its end was written.
    pub at: Timestamp,
    /// The text.
    pub text: String,
}

/// Where a container writes to. Lines of both mix only as whole ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Output,
    Error,
}

/// Makes lines of the entries of an engine's log.
#[derive(Debug)]
pub(super) struct Lines {
    masker: Option<Masker>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    whole: bool,
    partial: [Vec<u8>; 2],
    /// Whether a piece of the line was passed on already.
    divided: [bool; 2],
    last: Timestamp,
}

impl Lines {
    /// Masks with `masker`; without one no line is shown. Lines up to `since` and after `until` are left out.
    pub fn new(masker: Option<Masker>, since: Option<Timestamp>, until: Option<Timestamp>) -> Self {
        Self {
            masker,
            since,
            until,
            whole: false,
            partial: Default::default(),
            divided: Default::default(),
            last: Timestamp::UNIX_EPOCH,
        }
    }

    /// Lines for a read with these options; see [`Lines::new`].
    pub fn of(masker: Option<Masker>, options: &LogOptions, until: Option<Timestamp>) -> Self {
        Self {
            whole: options.whole,
            ..Self::new(masker, options.since, until)
        }
    }

    /// Takes one entry: a time, a space, and a line or a part of one. Returns the line that it completes.
    pub fn push(&mut self, stream: Stream, entry: &[u8]) -> Option<LogLine> {
        let (time, text) = split(entry);
        self.last = time.unwrap_or(self.last);
        if self.since.is_some_and(|since| self.last <= since)
            || self.until.is_some_and(|until| self.last > until)
        {
            return None;
        }
        let partial = self.partial.get_mut(stream as usize)?;
        if partial.is_empty() && text.last() == Some(&b'\n') {
            return Some(self.piece_of_line(stream, text, true));
        }
        partial.extend_from_slice(text);
        if partial.last() == Some(&b'\n') {
            let line = std::mem::take(partial);
            return Some(self.piece_of_line(stream, &line, true));
        }
        if partial.len() > LONGEST_LINE {
            let piece = self.piece(stream);
            return Some(self.piece_of_line(stream, &piece, false));
        }
        None
    }

    /// The lines that the end of the log left incomplete.
    pub fn finish(&mut self) -> impl Iterator<Item = LogLine> {
        let rest = std::mem::take(&mut self.partial);
        let rest = [Stream::Output, Stream::Error].into_iter().zip(rest);
        let mut lines = Vec::new();
        for (stream, rest) in rest {
            if !rest.is_empty() && !self.whole {
                lines.push(self.piece_of_line(stream, &rest, true));
            }
        }
        lines.into_iter()
    }

    /// A line, or a piece of one, which says that it is one. `ends` if the line feed is behind it.
    fn piece_of_line(&mut self, stream: Stream, bytes: &[u8], ends: bool) -> LogLine {
        let mut line = self.line(bytes);
        let Some(divided) = self.divided.get_mut(stream as usize) else {
            return line;
        };
        let continues = std::mem::replace(divided, !ends);
        if self.masker.is_some() {
            if continues {
                line.text.insert(0, DIVIDED);
            }
            if !ends {
                line.text.push(DIVIDED);
            }
        }
        line
    }

    /// The beginning of a very long line, cut where no secret is.
    fn piece(&mut self, stream: Stream) -> Vec<u8> {
        let Some(partial) = self.partial.get_mut(stream as usize) else {
            return Vec::new();
        };
        let longest = self.masker.as_ref().map_or(0, Masker::longest).max(1);
        let hides = |text: &[u8]| {
            let text = String::from_utf8_lossy(text);
            self.masker
                .as_ref()
                .is_some_and(|masker| matches!(masker.mask(&text), Cow::Owned(_)))
        };
        let mut cut = partial.len().saturating_sub(longest);
        while cut > LONGEST_LINE / 2 {
            let around = partial.get(cut.saturating_sub(longest)..partial.len().min(cut + longest));
            if !around.is_some_and(hides) {
                break;
            }
            cut = cut.saturating_sub(longest);
        }
        if cut <= LONGEST_LINE / 2 {
            // It consists of secrets.
            return std::mem::take(partial);
        }
        let rest = partial.split_off(cut);
        std::mem::replace(partial, rest)
    }

    fn line(&self, bytes: &[u8]) -> LogLine {
        // The check alone is several times faster than the replacement of what is not UTF-8.
        let text = std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed);
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        let text = match &self.masker {
            Some(masker) => masker.mask(text).into_owned(),
            None => HIDDEN.to_owned(),
        };
        LogLine { at: self.last, text }
    }
}

/// The log of a container in memory: everything was written at `at`.
pub(super) fn written(
    output: &str,
    at: Timestamp,
    masker: Option<Masker>,
    options: &LogOptions,
) -> BoxStream<'static, Result<LogLine, RuntimeError>> {
    let mut lines = Lines::of(masker, options, None);
    let entries = output.split_inclusive('\n').map(|line| format!("{at} {line}"));
    let mut all: Vec<LogLine> = entries
        .filter_map(|entry| lines.push(Stream::Output, entry.as_bytes()))
        .collect();
    all.extend(lines.finish());
    let tail = options.tail.and_then(|tail| usize::try_from(tail).ok());
    let skipped = tail.map_or(0, |tail| all.len().saturating_sub(tail));
    stream::iter(all.into_iter().skip(skipped).map(Ok)).boxed()
}

/// The time at the beginning of an entry, and the rest.
fn split(entry: &[u8]) -> (Option<Timestamp>, &[u8]) {
    let space = entry.iter().position(|byte| *byte == b' ');
    let Some((time, rest)) = space.and_then(|space| entry.split_at_checked(space)) else {
        return (None, entry);
    };
    let time = std::str::from_utf8(time).ok().and_then(|time| time.parse().ok());
    match time {
        Some(time) => (Some(time), rest.get(1..).unwrap_or_default()),
        None => (None, entry),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redact::Secret;

    fn at(second: u32) -> String {
        format!("2026-11-29T15:00:{second:02}.000000001Z")
    }

    fn lines(masker: Option<Masker>) -> Lines {
        Lines::new(masker, None, None)
    }

    fn known(secret: &str) -> Masker {
        Masker::new(&[Secret::from(secret)])
    }

    #[test]
    fn parts_become_masked_lines_per_stream() {
        let mut lines = lines(Some(known("hunter2")));
        let mut push = |stream, second, text: &str| {
            let entry = format!("{} {text}", at(second));
            lines.push(stream, entry.as_bytes()).map(|line| line.text)
        };
        assert_eq!(push(Stream::Output, 1, "one\n").as_deref(), Some("one"));
        // A value in two parts of a line, with a line of the other stream between.
        assert_eq!(push(Stream::Output, 2, "pass hun"), None);
        assert_eq!(push(Stream::Error, 2, "oops\r\n").as_deref(), Some("oops"));
        assert_eq!(
            push(Stream::Output, 3, "ter2 end\n").as_deref(),
            Some("pass *** end")
        );
        assert_eq!(push(Stream::Output, 4, "\n").as_deref(), Some(""));
        assert_eq!(push(Stream::Error, 5, "no line feed"), None);
        let rest: Vec<_> = lines.finish().collect();
        assert_eq!(rest.len(), 1);
        assert_eq!(
            (rest[0].text.as_str(), rest[0].at.to_string()),
            ("no line feed", at(5))
        );
    }

    #[test]
    fn incomplete_line_is_left_to_the_next_read() {
        for (whole, expected) in [(false, 1), (true, 0)] {
            let options = LogOptions {
                whole,
                ..LogOptions::default()
            };
            let mut lines = Lines::of(Some(known("x")), &options, None);
            assert_eq!(
                lines.push(Stream::Output, format!("{} begins", at(1)).as_bytes()),
                None
            );
            assert_eq!(lines.finish().count(), expected);
        }
    }

    #[test]
    fn times_bound_the_lines_exactly() {
        let time = |second| Some(at(second).parse().unwrap());
        let mut lines = Lines::new(Some(known("x")), time(2), time(4));
        let shown: Vec<u32> = (1..=5)
            .filter(|second| {
                let entry = format!("{} line\n", at(*second));
                lines.push(Stream::Output, entry.as_bytes()).is_some()
            })
            .collect();
        assert_eq!(shown, [3, 4]);
    }

    #[test]
    fn output_is_hidden_if_the_secrets_are_unknown() {
        let line = lines(None).push(Stream::Output, format!("{} secret\n", at(1)).as_bytes());
        assert_eq!(line.unwrap().text, HIDDEN);
    }

    #[test]
    fn endless_line_is_passed_on_in_pieces_that_cut_no_secret() {
        let secret = "correct-horse-battery-staple";
        let mut lines = lines(Some(known(secret)));
        let mut shown = String::new();
        let (mut most, mut pieces) = (0, 0);
        let text = format!("{}{secret}", "x".repeat(997)).repeat(2000);
        for part in text.as_bytes().chunks(16 * 1024) {
            let entry = [at(1).as_bytes(), b" ", part].concat();
            let line = lines.push(Stream::Output, &entry);
            if let Some(line) = line {
                assert!(line.text.ends_with(DIVIDED));
                assert_eq!(line.text.starts_with(DIVIDED), pieces > 0);
                shown.push_str(&line.text);
                pieces += 1;
            }
            most = most.max(lines.partial[0].len());
        }
        shown.extend(lines.finish().map(|line| line.text));
        assert_eq!(shown.matches(DIVIDED).count(), 2 * pieces);
        let next = lines.push(Stream::Output, format!("{} next\n", at(2)).as_bytes());
        assert_eq!(next.unwrap().text, "next");
        assert!(!shown.contains("correct") && !shown.contains("staple"));
        assert_eq!(shown.matches("***").count(), 2000);
        assert_eq!(shown.matches('x').count(), 997 * 2000);
        assert!(most <= LONGEST_LINE + 16 * 1024, "{most}");
    }
}
