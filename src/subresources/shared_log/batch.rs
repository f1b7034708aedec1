//! Lines that are read, kept and sent as one. Their text is in memory once for all readers. Pure.

use axum::body::Bytes;
use jiff::Timestamp;

use super::place::{Latest, Place, Skip};
use crate::runtime::LogLine;

/// About what a [`Batch`] takes beside its lines, in bytes.
const OVERHEAD: usize = 256;

/// At least one line.
#[derive(Debug)]
pub struct Batch {
    text: Bytes,
    lines: Box<[Line]>,
    latest: Latest,
    earliest: Timestamp,
}

#[derive(Clone, Copy, Debug)]
struct Line {
    at: Timestamp,
    /// Where its text ends, with its line feed.
    end: usize,
}

impl Batch {
    /// The lines, each with a line feed.
    pub fn text(&self) -> &Bytes {
        &self.text
    }

    /// The time and the text of each line, with its line feed.
    pub fn lines(&self) -> impl Iterator<Item = (Timestamp, &[u8])> {
        let mut begin = 0;
        self.lines.iter().map(move |line| {
            let text = self.text.get(begin..line.end).unwrap_or_default();
            begin = line.end;
            (line.at, text)
        })
    }

    /// How much memory it takes, in bytes.
    pub fn size(&self) -> usize {
        self.text.len() + size_of_val(&*self.lines) + OVERHEAD
    }

    /// The latest time of its lines.
    pub fn latest(&self) -> Timestamp {
        self.latest.at()
    }

    /// Moves a place behind its lines.
    pub fn pass(&self, place: &mut Place) {
        place.pass_all(self.latest, self.lines.iter().map(|line| line.at));
    }

    /// The lines that are left of it; nothing if it is left as it is.
    pub fn rest(&self, skip: &mut Skip) -> Option<Batcher> {
        if skip.passes_all(self.earliest) {
            return None;
        }
        let mut rest = Batcher::default();
        for (at, text) in self.lines() {
            if skip.is_new(at) {
                rest.add(at, &[text]);
            }
        }
        Some(rest)
    }
}

/// Collects the lines of the next [`Batch`].
#[derive(Debug, Default)]
pub struct Batcher {
    text: Vec<u8>,
    lines: Vec<Line>,
    /// Of the lines so far.
    times: Option<(Latest, Timestamp)>,
}

impl Batcher {
    /// Adds a line.
    pub fn push(&mut self, line: &LogLine) {
        self.add(line.at, &[line.text.as_bytes(), b"\n"]);
    }

    fn add(&mut self, at: Timestamp, text: &[&[u8]]) {
        for part in text {
            self.text.extend_from_slice(part);
        }
        let end = self.text.len();
        self.lines.push(Line { at, end });
        match &mut self.times {
            Some((latest, earliest)) => {
                latest.pass(at);
                *earliest = at.min(*earliest);
            }
            None => self.times = Some((Latest::new(at), at)),
        }
    }

    /// The length of the lines so far, in bytes.
    pub fn len(&self) -> usize {
        self.text.len()
    }

    /// The lines so far, if there are any. It is empty afterwards.
    pub fn finish(&mut self) -> Option<Batch> {
        let (latest, earliest) = self.times.take()?;
        // Copied, because a batch stays in memory, and what it grew in is larger.
        let batch = Batch {
            text: Bytes::copy_from_slice(&self.text),
            lines: self.lines.as_slice().into(),
            latest,
            earliest,
        };
        self.text.clear();
        self.lines.clear();
        Some(batch)
    }
}
