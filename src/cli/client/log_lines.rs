//! Lines of a log with the name of their replica and their time: which are new, and how they look. Pure.

use std::collections::BTreeMap;

use serde_json::json;

use super::terminal::Terminal;

/// The colours of replicas, in the order of their first line.
const COLORS: [&str; 6] = ["36", "33", "32", "35", "34", "31"];

/// One line, as the API server sends it: `[replica] time text`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    replica: String,
    time: String,
    text: Vec<u8>,
}

impl Line {
    fn parse(line: &[u8]) -> Option<Self> {
        let mut parts = line.splitn(3, |byte| *byte == b' ');
        let (replica, time, text) = (parts.next()?, parts.next()?, parts.next()?);
        let replica = std::str::from_utf8(replica).ok()?;
        Some(Self {
            replica: replica.strip_prefix('[')?.strip_suffix(']')?.to_owned(),
            time: std::str::from_utf8(time).ok()?.to_owned(),
            text: text.to_vec(),
        })
    }
}

/// Whole lines from pieces of a log.
#[derive(Debug, Default)]
pub struct Split {
    partial: Vec<u8>,
}

impl Split {
    /// The lines that this piece completes.
    pub fn push(&mut self, piece: &[u8]) -> Vec<Line> {
        let mut lines = Vec::new();
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            self.partial.extend_from_slice(part);
            if let Some(line) = self.partial.strip_suffix(b"\n") {
                lines.extend(Line::parse(line));
                self.partial.clear();
            }
        }
        lines
    }
}

/// The time of the last line of each replica. Times have one length, so that their texts are in the order of time.
#[derive(Debug, Default)]
pub struct Seen {
    last: BTreeMap<String, String>,
    resumed_after: BTreeMap<String, String>,
}

impl Seen {
    /// Whether nothing was seen yet.
    pub fn is_empty(&self) -> bool {
        self.last.is_empty()
    }

    /// Whether a line was not seen before the log was continued.
    pub fn is_new(&mut self, line: &Line) -> bool {
        let before = self.resumed_after.get(&line.replica);
        if before.is_some_and(|before| line.time <= *before) {
            return false;
        }
        self.last.insert(line.replica.clone(), line.time.clone());
        true
    }

    /// The time after which the log must be continued so that no line is missing.
    pub fn earliest(&mut self) -> Option<&str> {
        self.resumed_after.clone_from(&self.last);
        self.last.values().min().map(String::as_str)
    }
}

/// The lines of a build as objects.
#[derive(Debug)]
pub struct Objects {
    release: String,
    partial: Vec<u8>,
}

impl Objects {
    /// Of the log of this Release.
    pub fn of(release: &str) -> Self {
        Self {
            release: release.to_owned(),
            partial: Vec::new(),
        }
    }

    /// The objects of the lines that this piece completes.
    pub fn push(&mut self, piece: &[u8]) -> Vec<u8> {
        let mut objects = Vec::new();
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            self.partial.extend_from_slice(part);
            if self.partial.ends_with(b"\n") {
                objects.extend(self.object());
            }
        }
        objects
    }

    /// The object of a last line without a line feed.
    pub fn rest(mut self) -> Vec<u8> {
        if self.partial.is_empty() {
            return Vec::new();
        }
        self.object()
    }

    fn object(&mut self) -> Vec<u8> {
        let line = std::mem::take(&mut self.partial);
        let message = String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(&line)).into_owned();
        format!("{}\n", json!({"release": self.release, "message": message})).into_bytes()
    }
}

/// The form of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As they were written.
    Text {
        /// With the name of the replica before them.
        prefix: bool,
        /// With their time before them.
        timestamps: bool,
    },
    /// An object for each.
    Json,
}

/// How lines look.
#[derive(Debug)]
pub struct Painter {
    terminal: Terminal,
    form: Form,
    replicas: Vec<String>,
}

impl Painter {
    /// Lines in this form.
    pub fn new(terminal: Terminal, form: Form) -> Self {
        Self {
            terminal,
            form,
            replicas: Vec::new(),
        }
    }

    /// Appends a line.
    pub fn paint(&mut self, line: &Line, into: &mut Vec<u8>) {
        let Form::Text { prefix, timestamps } = self.form else {
            let message = String::from_utf8_lossy(&line.text);
            let object = json!({"replica": line.replica, "time": line.time, "message": message});
            into.extend_from_slice(format!("{object}\n").as_bytes());
            return;
        };
        if prefix {
            let known = self.replicas.iter().position(|known| *known == line.replica);
            let index = known.unwrap_or_else(|| {
                self.replicas.push(line.replica.clone());
                self.replicas.len() - 1
            });
            let name = &line.replica;
            let color = COLORS.get(index % COLORS.len()).copied().unwrap_or_default();
            let prefix = if self.terminal.colored {
                format!("\u{1b}[{color}m[{name}]\u{1b}[0m ")
            } else {
                format!("[{name}] ")
            };
            into.extend_from_slice(prefix.as_bytes());
        }
        if timestamps {
            into.extend_from_slice(line.time.as_bytes());
            into.push(b' ');
        }
        into.extend_from_slice(&line.text);
        into.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<Line> {
        Split::default().push(text.as_bytes())
    }

    #[test]
    fn lines_become_objects() {
        let terminal = Terminal {
            colored: true,
            width: None,
            progress_width: None,
        };
        let mut painter = Painter::new(terminal, Form::Json);
        let mut text = Vec::new();
        for line in lines("[a.0] 1 one \"two\"\n[b.0] 2 \n") {
            painter.paint(&line, &mut text);
        }
        let objects: Vec<serde_json::Value> = String::from_utf8(text)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(
            objects,
            [
                json!({"replica": "a.0", "time": "1", "message": "one \"two\""}),
                json!({"replica": "b.0", "time": "2", "message": ""})
            ]
        );
        let mut objects = Objects::of("shop-1");
        assert_eq!(objects.push(b"step "), b"");
        let text = [objects.push(b"1\nlast"), objects.rest()].concat();
        let text = String::from_utf8(text).unwrap();
        let messages: Vec<String> = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["message"].to_string())
            .collect();
        assert_eq!(messages, ["\"step 1\"", "\"last\""]);
    }

    #[test]
    fn pieces_become_lines() {
        let mut split = Split::default();
        assert_eq!(split.push(b"[a.0] 1 one\n[b.0] 2 t").len(), 1);
        let lines = split.push(b"w o\n\n[c.0] 3 \n");
        assert_eq!(lines.len(), 2);
        assert_eq!(
            (lines[0].replica.as_str(), lines[0].text.as_slice()),
            ("b.0", &b"tw o"[..])
        );
        assert_eq!(lines[1].text, b"");
    }

    #[test]
    fn continued_log_misses_no_line_and_repeats_none() {
        let mut seen = Seen::default();
        let shown = |seen: &mut Seen, text: &str| {
            let new = lines(text).into_iter().filter(|line| seen.is_new(line));
            new.map(|line| line.time).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            shown(&mut seen, "[a] 1 x\n[a] 1 y\n[b] 2 x\n[a] 3 x\n"),
            "1 1 2 3"
        );
        assert_eq!(seen.earliest(), Some("2"), "b may have written since");
        // The API server repeats what a wrote after 2.
        assert_eq!(
            shown(&mut seen, "[a] 3 x\n[b] 3 y\n[a] 4 x\n[a] 4 y\n[c] 1 x\n"),
            "3 4 4 1"
        );
    }

    #[test]
    fn replicas_have_colours_on_a_terminal_only() {
        let paint = |colored, prefix, timestamps| {
            let terminal = Terminal {
                colored,
                width: None,
                progress_width: None,
            };
            let mut painter = Painter::new(terminal, Form::Text { prefix, timestamps });
            let mut text = Vec::new();
            for line in lines("[a.0] 1 one\n[b.0] 2 two\n[a.0] 3 three\n") {
                painter.paint(&line, &mut text);
            }
            String::from_utf8(text).unwrap()
        };
        assert_eq!(paint(true, false, false), "one\ntwo\nthree\n");
        assert_eq!(
            paint(false, true, true),
            "[a.0] 1 one\n[b.0] 2 two\n[a.0] 3 three\n"
        );
        assert_eq!(
            paint(true, true, false),
            "\u{1b}[36m[a.0]\u{1b}[0m one\n\u{1b}[33m[b.0]\u{1b}[0m two\n\u{1b}[36m[a.0]\u{1b}[0m three\n"
        );
    }
}
