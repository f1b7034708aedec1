//! How an error becomes a condition: the required action ([`Class`]), the cause in one word ([`Reason`]), and the solution.
//! Pure. Every module has one error enum of its own and implements [`Explain`] for it with an exhaustive match.

use std::error::Error;

use crate::api::Reason;

/// The action that an error requires; it decides the conditions and the time of the next reconcile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Only the user can help: `Stalled=True`, looked at again when the object or what it refers to changes.
    Terminal,
    /// Another object must come first: `Reconciling=True`, its watch wakes us.
    Waiting,
    /// No action is needed; the operation is retried with backoff: `Reconciling=True` with `ProgressingWithRetry`.
    Transient,
}

/// What every module's error can say of itself.
pub trait Explain: Error {
    /// The action that it requires.
    fn class(&self) -> Class;
    /// The one word shared by condition, event and metric.
    fn reason(&self) -> Reason;
    /// The way out, as a sentence for the user, where there is one.
    fn hint(&self) -> Option<String> {
        None
    }
}

/// The way out when the container engine does not answer, for builder, source and runtime alike.
pub const ENGINE_UNAVAILABLE: &str =
    "start the container engine, or set davit's --docker-host to a running one; Davit tries again";

/// The longest message of a condition, in bytes.
pub const LONGEST_MESSAGE: usize = 1024;

/// An error as plain data: what conditions, events and a Release's `failure` are made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The action that it requires.
    pub class: Class,
    /// The one word.
    pub reason: Reason,
    /// The whole chain on one line, with the way out at its end; at most [`LONGEST_MESSAGE`] bytes.
    pub message: String,
}

impl Problem {
    /// A problem from its parts; the message is cut to fit.
    pub fn new(class: Class, reason: Reason, message: impl Into<String>) -> Self {
        Self {
            class,
            reason,
            message: cut(&one_line(&message.into()), LONGEST_MESSAGE),
        }
    }

    /// Returns a problem of a spec that only the user can solve.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Class::Terminal, Reason::InvalidSpec, message)
    }

    /// What `error` says of itself, with its sources.
    pub fn of(error: &(impl Explain + 'static)) -> Self {
        Self::masked(error, str::to_owned)
    }

    /// The same for an error that may tell a secret: masked before it is cut, since half a secret would not be known.
    pub fn masked(error: &(impl Explain + 'static), mask: impl Fn(&str) -> String) -> Self {
        let mut message = mask(&chain(error));
        if let Some(hint) = error.hint() {
            message.push_str(": ");
            message.push_str(&hint);
        }
        Self::new(error.class(), error.reason(), message)
    }
}

/// The error and its sources on one line, without repeating what is on the line already: many libraries print their
/// source inside `Display` and return it from `source()` too.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let text = source.to_string();
        if !text.is_empty() && !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        next = source.source();
    }
    one_line(&line)
}

/// The text on one line, [`printable`].
pub fn one_line(text: &str) -> String {
    printable(&text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// The text without characters that a terminal obeys: what programs print is shown in terminals that are not theirs. Line
/// feeds stay, other white space becomes a space, and everything else that is not for the eye a `\u{fffd}`.
pub fn printable(text: &str) -> String {
    let shown = |char: char| match char {
        '\n' => char,
        _ if char.is_whitespace() => ' ',
        // Beside controls what turns the direction of writing around.
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => char::REPLACEMENT_CHARACTER,
        _ if char.is_control() => char::REPLACEMENT_CHARACTER,
        _ => char,
    };
    text.replace("\r\n", "\n").chars().map(shown).collect()
}

/// The text cut to at most `limit` bytes at a character boundary, with an ellipsis where something was cut.
pub fn cut(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let mut end = limit.saturating_sub('…'.len_utf8());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", text.get(..end).unwrap_or_default())
}

/// The same where the end says more than the beginning: that is cut off.
pub fn cut_beginning(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let mut start = text.len() - limit.saturating_sub('…'.len_utf8());
    while !text.is_char_boundary(start) {
        start += 1;
    }
    format!("…{}", text.get(start..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("fetch the source")]
    struct Outer(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("host\n  not found")]
    struct Inner;

    #[test]
    fn the_chain_is_one_line_without_repetition() {
        assert_eq!(chain(&Outer(Inner)), "fetch the source: host not found");
        let io = std::io::Error::other(Inner);
        assert_eq!(chain(&io), "host not found");
    }

    #[test]
    fn a_secret_is_masked_before_the_message_is_cut() {
        #[derive(Debug, thiserror::Error)]
        #[error("{}hunter2", "x".repeat(LONGEST_MESSAGE - 7))]
        struct Long;
        impl Explain for Long {
            fn class(&self) -> Class {
                Class::Terminal
            }
            fn reason(&self) -> Reason {
                Reason::Internal
            }
        }
        let told = Problem::masked(&Long, |text| text.replace("hunter2", "***"));
        assert!(told.message.ends_with("x***"), "{}", told.message);
    }

    #[test]
    fn a_message_is_cut_at_a_character() {
        assert_eq!(cut("äöü", 5), "ä…");
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut_beginning("äöü", 5), "…ü");
        assert_eq!(cut_beginning("abc", 3), "abc");
        assert_eq!(cut_beginning("abc", 1), "…");
        assert!(cut(&"é".repeat(2000), LONGEST_MESSAGE).len() <= LONGEST_MESSAGE);
    }

    #[test]
    fn a_terminal_obeys_nothing_of_what_is_shown() {
        assert_eq!(
            printable("\u{1b}[31mred\u{7}\0\u{9b}m\t\u{202e}x\r\none\rtwo\n"),
            "\u{fffd}[31mred\u{fffd}\u{fffd}\u{fffd}m \u{fffd}x\none two\n"
        );
        assert_eq!(one_line(" a\n\tb \u{1b}c "), "a b \u{fffd}c");
        let problem = Problem::new(Class::Terminal, Reason::Internal, "a\u{1b}]0;title\u{7}\nb");
        assert_eq!(problem.message, "a\u{fffd}]0;title\u{fffd} b");
    }
}
