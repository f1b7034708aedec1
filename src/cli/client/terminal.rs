//! The terminal: colours, its width, and a line that is drawn again.

use std::io::{self, IsTerminal as _, Write as _};

use super::args::Color;
use crate::config;

/// The width that is assumed if the terminal does not report one.
const WIDTH: usize = 80;

/// Colours of words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// Under way.
    Busy,
    /// Failed.
    Bad,
    /// Of less importance.
    Faint,
}

impl Tone {
    fn code(self) -> &'static str {
        match self {
            Self::Good => "32",
            Self::Busy => "33",
            Self::Bad => "31",
            Self::Faint => "2",
        }
    }
}

/// Returns the tone of a phase, of a condition's status or of another word in a column.
pub fn tone_of(word: &str) -> Option<Tone> {
    match word {
        "done" | "Succeeded" | "True" => Some(Tone::Good),
        "running" | "Pending" | "Fetching" | "Building" | "Pushing" | "Deploying" | "Verifying" => {
            Some(Tone::Busy)
        }
        "error" | "Failed" | "False" => Some(Tone::Bad),
        "idle" | "Cancelled" | "Superseded" | "Unknown" => Some(Tone::Faint),
        _ => None,
    }
}

/// The standard output and error of this process.
#[derive(Clone, Copy, Debug)]
pub struct Terminal {
    /// Whether standard output has colours.
    pub colored: bool,
    /// The width of standard output, if that is a terminal.
    pub width: Option<usize>,
    /// The width of standard error, if that is a terminal.
    pub progress_width: Option<usize>,
}

impl Terminal {
    /// Observes the terminal.
    pub fn new(color: Color) -> Self {
        let width = |is_terminal: bool, size: rustix::io::Result<rustix::termios::Winsize>| {
            let columns = size.map_or(0, |size| usize::from(size.ws_col));
            is_terminal.then_some(if columns == 0 { WIDTH } else { columns })
        };
        let (out, error) = (io::stdout(), io::stderr());
        Self {
            colored: match color {
                Color::Always => true,
                Color::Never => false,
                Color::Auto => out.is_terminal() && config::wants_color(),
            },
            width: width(out.is_terminal(), rustix::termios::tcgetwinsize(&out)),
            progress_width: width(error.is_terminal(), rustix::termios::tcgetwinsize(&error)),
        }
    }

    /// Returns the text in a colour, if there are colours.
    pub fn paint(&self, tone: Option<Tone>, text: &str) -> String {
        match tone {
            Some(tone) if self.colored => format!("\u{1b}[{}m{text}\u{1b}[0m", tone.code()),
            _ => text.to_owned(),
        }
    }

    /// Shows one line on standard error: in place of the previous one on a terminal, else below it.
    pub fn show(&self, line: &str) {
        let mut error = io::stderr();
        // Progress is not worth a failed command.
        let _ = match self.progress_width {
            Some(width) => write!(error, "\r\u{1b}[K{}", cut(line, width.saturating_sub(1))),
            None => writeln!(error, "{line}"),
        };
        let _ = error.flush();
    }

    /// Removes the line that [`Terminal::show`] left on a terminal.
    pub fn clear(&self) {
        if self.progress_width.is_some() {
            let _ = write!(io::stderr(), "\r\u{1b}[K");
        }
    }
}

/// Returns the beginning of a text that has at most this many characters.
pub fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// Returns the lines of a text at this width, broken at spaces where there are any.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        let longer = line.chars().count() + 1 + word.chars().count();
        if !line.is_empty() && longer > width {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_and_wrapped_at_the_width() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("äbcdef", 4), "äbc…");
        assert_eq!(cut("abc", 0), "…");
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("averylongword b", 5), ["averylongword", "b"]);
        assert_eq!(wrap("", 5), [""]);
    }

    #[test]
    fn only_a_terminal_with_colours_gets_escape_sequences() {
        let mut terminal = Terminal {
            colored: false,
            width: None,
            progress_width: None,
        };
        assert_eq!(terminal.paint(Some(Tone::Bad), "error"), "error");
        terminal.colored = true;
        assert_eq!(
            terminal.paint(tone_of("error"), "error"),
            "\u{1b}[31merror\u{1b}[0m"
        );
        assert_eq!(terminal.paint(None, "shop"), "shop");
    }
}
