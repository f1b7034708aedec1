//! Truncates the output of containers and probes. Secrets are not known here, so an `…` marks every cut: redaction can then
//! recognise half a secret. Pure.

use crate::error::{cut, cut_beginning};
use crate::redact::CUT;
use crate::runtime::MAX_OUTPUT;

/// How many of its last lines a container is asked for.
pub const LINES: usize = 20;
/// The engine keeps so many bytes of what a check printed, and writes three dots behind them where there were more.
const ENGINE_KEEPS: usize = 4096;

/// What a check printed.
pub fn of_check(printed: &str) -> String {
    let kept = printed.strip_suffix("...").unwrap_or(printed);
    if kept.len() < ENGINE_KEEPS {
        return printed.trim().to_owned();
    }
    // The cut may have split a character.
    let kept = kept.trim_end_matches(char::REPLACEMENT_CHARACTER).trim();
    cut(&format!("{kept}{CUT}"), MAX_OUTPUT)
}

/// The last bytes of a container's output, at most twice [`MAX_OUTPUT`]: a line can be as long as a log.
#[derive(Debug, Default)]
pub struct LogTail {
    bytes: Vec<u8>,
    entries: usize,
    missing: bool,
}

impl LogTail {
    /// One entry of the engine's log: a line, or a part of a long one.
    pub fn push(&mut self, entry: &[u8]) {
        self.bytes.extend_from_slice(entry);
        self.entries += 1;
        // Twice as much, so that not each entry moves all.
        if self.bytes.len() > 2 * MAX_OUTPUT {
            self.bytes.drain(..self.bytes.len() - MAX_OUTPUT);
            self.missing = true;
        }
    }

    /// Returns the end of the output, which explains more than its beginning; empty if there is no output.
    pub fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes);
        let missing = self.missing || self.entries >= LINES;
        let text = match text.trim() {
            text if missing => text.trim_start_matches(char::REPLACEMENT_CHARACTER),
            text => text,
        };
        if missing && !text.is_empty() {
            cut_beginning(&format!("{CUT}{text}"), MAX_OUTPUT)
        } else {
            cut_beginning(text, MAX_OUTPUT)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redact::{Masker, Secret};

    fn told(entries: &[&[u8]]) -> String {
        let mut tail = LogTail::default();
        for entry in entries {
            tail.push(entry);
        }
        tail.text()
    }

    #[test]
    fn what_is_missing_is_told() {
        let line: &[u8] = b"line\n";
        assert_eq!(told(&[]), "");
        assert_eq!(told(&[b"one\n", b"two\n"]), "one\ntwo");
        // A character in two entries.
        assert_eq!(told(&[b"\xc3", b"\xa4\n"]), "ä");
        assert_eq!(told(&vec![line; LINES - 1]).len(), 5 * (LINES - 1) - 1);
        assert!(told(&vec![line; LINES]).starts_with("…line\n"));
        let long = "ä".repeat(MAX_OUTPUT);
        let text = told(&[long.as_bytes(), b"the end"]);
        assert!(text.starts_with("…ä") && text.ends_with("äthe end") && text.len() <= MAX_OUTPUT);
        let text = told(&[long.as_bytes(); 10]);
        assert!(text.starts_with("…ä") && text.len() <= MAX_OUTPUT, "{text}");
    }

    #[test]
    fn no_more_is_kept_than_is_handed_on() {
        let mut tail = LogTail::default();
        for _ in 0..1000 {
            tail.push(&[b'x'; 16 * 1024]);
        }
        assert!(tail.bytes.len() <= 2 * MAX_OUTPUT && tail.bytes.capacity() < 128 * 1024);
    }

    #[test]
    fn of_a_secret_at_the_engines_own_cut_nothing_is_left() {
        let secret = "Sé¢ret-Value-9f8e7d6c";
        let masker = Masker::new(&[Secret::from(secret)]);
        for before in ENGINE_KEEPS - secret.len()..ENGINE_KEEPS {
            let text = format!("{}{secret}", "x".repeat(before)).into_bytes();
            let kept = String::from_utf8_lossy(&text[..ENGINE_KEEPS]).into_owned();
            let told = of_check(&format!("{kept}..."));
            assert!(told.ends_with(CUT) && told.len() <= MAX_OUTPUT);
            let masked = masker.mask(&told);
            let left = masked
                .trim_end_matches(CUT)
                .trim_end_matches("***")
                .trim_start_matches('x');
            // Fewer than four bytes can be told from nothing.
            assert!(left.len() < 4, "{before}: {left:?}");
        }
        assert_eq!(of_check(" waits ...\n"), "waits ...");
    }
}
