//! The log of one Release: a bounded file, every line masked before it is written.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use crate::error::{cut, printable};
use crate::redact::Masker;

/// The most that a log keeps, in bytes: the first part and, in memory, the last lines.
pub const LARGEST_LOG: u64 = 4 * 1024 * 1024;
/// The most that [`JobLog::tail`] returns, in bytes.
pub const TAIL: usize = 2048;
/// The longest line, in bytes; the rest of it is left out, and the line says so.
const LONGEST_LINE: usize = 16 * 1024;

/// Takes the lines of one job. Cheap to share by reference; lines of concurrent writers never mix.
#[derive(Debug)]
pub struct JobLog {
    path: PathBuf,
    masker: Masker,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: File,
    written: u64,
    full: bool,
    tail: String,
}

impl JobLog {
    /// Opens the log at `path` (mode 0600), after what it already holds: a job that goes on after a restart goes on in
    /// its log.
    ///
    /// # Errors
    /// The file or its directory cannot be made.
    pub fn open(path: &Path, masker: Masker) -> io::Result<Self> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(path)?;
        let written = file.metadata()?.len();
        let state = State {
            file,
            written,
            full: written >= LARGEST_LOG,
            tail: String::new(),
        };
        Ok(Self {
            path: path.to_path_buf(),
            masker,
            state: Mutex::new(state),
        })
    }

    /// Gives the log at `path` a second name, `other`: what is written from now on is in both, and each goes by itself.
    /// The job may not have begun to write yet.
    ///
    /// # Errors
    /// One of the two cannot be made.
    pub fn share(path: &Path, other: &Path) -> io::Result<()> {
        Self::open(path, Masker::new(&[]))?;
        match std::fs::hard_link(path, other) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    }

    /// Where the log is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends text, line by line, masked. A write that fails is left out: a full disk must not end a build.
    pub fn write(&self, text: &str) {
        for line in text.lines() {
            self.line(line);
        }
    }

    fn line(&self, line: &str) {
        // In this order: half a secret at the cut would not be known any more.
        let masked = self.masker.mask(line.trim_end());
        let masked = shortened(&masked);
        let mut state = self.state.lock();
        // Shown in status; the file is as it was said.
        state.tail.push_str(&printable(&masked));
        state.tail.push('\n');
        let excess = state.tail.len().saturating_sub(TAIL);
        if excess > 0 {
            let mut start = excess;
            while !state.tail.is_char_boundary(start) {
                start += 1;
            }
            state.tail.drain(..start);
        }
        if state.full {
            return;
        }
        let size = masked.len() as u64 + 1;
        let text = if state.written + size > LARGEST_LOG {
            state.full = true;
            "… the log is full; only its last lines are kept from here on".to_owned()
        } else {
            masked
        };
        if state.file.write_all(format!("{text}\n").as_bytes()).is_ok() {
            state.written += size;
        }
    }

    /// The last lines, at most [`TAIL`] bytes, beginning with a whole line.
    pub fn tail(&self) -> String {
        let state = self.state.lock();
        if state.tail.len() < TAIL {
            return state.tail.clone();
        }
        state
            .tail
            .split_once('\n')
            .map_or_else(|| state.tail.clone(), |(_, rest)| rest.to_owned())
    }

    /// How much at the end of a line that was cut may be the beginning of a secret, in bytes.
    pub fn longest_secret(&self) -> usize {
        self.masker.longest()
    }

    /// The text with every known secret masked, for messages that do not go through the log.
    pub fn mask(&self, text: &str) -> String {
        self.masker.mask(text).into_owned()
    }
}

/// The line without what is more than a line may be.
fn shortened(line: &str) -> String {
    let kept = cut(line, LONGEST_LINE);
    if kept.len() == line.len() {
        return kept;
    }
    let left_out = line
        .len()
        .saturating_sub(kept.len().saturating_sub('…'.len_utf8()));
    format!("{kept} {left_out} bytes of this line are left out")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redact::Secret;

    #[test]
    fn a_log_is_masked_bounded_and_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b.log");
        let log = JobLog::open(&path, Masker::new(&[Secret::from("hunter2")])).unwrap();
        log.write("one hunter2\ntwo");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one ***\ntwo\n");
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        // A secret at the place where a line is cut is masked whole.
        log.write(&format!("{}hunter2 and more", "y".repeat(LONGEST_LINE - 6)));
        let written = std::fs::read_to_string(&path).unwrap();
        assert!(written.len() > LONGEST_LINE && !written.contains("hunt"));
        assert!(
            written.ends_with("… 9 bytes of this line are left out\n"),
            "{written:?}"
        );
        log.write("\u{1b}[31mred\u{1b}[0m");
        assert!(log.tail().ends_with("\u{fffd}[31mred\u{fffd}[0m\n"));
        let long = "x".repeat(10_000);
        for _ in 0..1000 {
            log.write(&long);
        }
        log.write("the end");
        assert!(std::fs::metadata(&path).unwrap().len() <= LARGEST_LOG + 200);
        assert!(log.tail().ends_with("the end\n"));
        assert!(log.tail().len() <= TAIL);
    }

    #[test]
    fn a_value_of_several_lines_is_masked_before_the_tail_is_cut() {
        let value = "correct horse battery\nstaple zebra 77\ndoor handle green\n".repeat(3);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        for room in TAIL - 200..=TAIL {
            let log = JobLog::open(&path, Masker::new(&[Secret::from(value.as_str())])).unwrap();
            log.write(&value);
            log.write(&"x".repeat(room));
            let tail = log.tail();
            for word in value.split_whitespace().filter(|word| word.len() > 3) {
                assert!(!tail.contains(word), "{room}: {tail}");
            }
        }
        let written = std::fs::read_to_string(&path).unwrap();
        assert!(!written.contains("zebra") && written.contains("***"));
    }
}
