//! Where in an expression a word stands: the parser does not keep that, and people want to be shown the place.

use std::ops::Range;

/// A word of the expression, or a sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Name,
    Literal,
    Sign,
}

/// The words of an expression, read from the left to the right.
pub(crate) struct Tokens<'a> {
    source: &'a str,
    all: Vec<(Sort, usize, &'a str)>,
    /// The first word that has not been passed.
    next: usize,
}

/// Where the texts and bytes of an expression stand, with their prefixes and quotes.
pub(crate) fn quoted(source: &str) -> impl Iterator<Item = Range<usize>> {
    let words = Tokens::new(source).all.into_iter();
    words
        .filter(|(sort, _, text)| *sort == Sort::Literal && text.contains(['"', '\'']))
        .map(|(_, at, text)| at..at + text.len())
}

impl<'a> Tokens<'a> {
    pub(crate) fn new(source: &'a str) -> Self {
        let mut all = Vec::new();
        let mut at = 0;
        while let Some(rest) = source.get(at..).filter(|rest| !rest.is_empty()) {
            let (sort, length) = word(rest);
            if let Some(sort) = sort {
                all.push((sort, at, rest.get(..length).unwrap_or_default()));
            }
            at += length.max(1);
        }
        Self { source, all, next: 0 }
    }

    fn find(&mut self, fits: impl Fn(Sort, &str) -> bool) -> Option<usize> {
        let rest = self.all.get(self.next..)?;
        let found = rest.iter().position(|(sort, _, text)| fits(*sort, text))?;
        let offset = rest.get(found).map(|(_, offset, _)| *offset);
        self.next += found + 1;
        offset
    }

    /// Passes the next occurrence of a name or sign; without one, nothing is passed.
    pub(crate) fn pass(&mut self, wanted: &str) -> usize {
        let before = self.next;
        let found = self.find(|sort, text| sort != Sort::Literal && text == wanted);
        found.unwrap_or_else(|| {
            self.next = before;
            self.here()
        })
    }

    /// Passes the next literal.
    pub(crate) fn pass_literal(&mut self) -> usize {
        let before = self.next;
        let found =
            self.find(|sort, text| sort == Sort::Literal || matches!(text, "true" | "false" | "null"));
        found.unwrap_or_else(|| {
            self.next = before;
            self.here()
        })
    }

    /// Passes the dot before a name and the name; the dot's place.
    pub(crate) fn pass_field(&mut self, name: &str) -> usize {
        let after = self.all.get(self.next..).unwrap_or_default();
        let dot = after.windows(3).position(|words| match words {
            [(_, _, "."), (_, _, field), _] if *field == name => true,
            [(_, _, "."), (_, _, "?"), (_, _, field)] => *field == name,
            _ => false,
        });
        // At the very end there are but two words.
        let dot = dot.or_else(|| {
            let last = after.len().checked_sub(2)?;
            matches!(after.get(last..), Some([(_, _, "."), (_, _, field)]) if *field == name).then_some(last)
        });
        let Some(dot) = dot else { return self.here() };
        self.next += dot;
        let place = self.here();
        self.pass(name);
        place
    }

    /// The place of the next occurrence of a sign, which is not passed.
    pub(crate) fn place_of(&mut self, wanted: &str) -> usize {
        let before = self.next;
        let place = self.pass(wanted);
        self.next = before;
        place
    }

    /// The place of the next word.
    pub(crate) fn here(&self) -> usize {
        self.all
            .get(self.next)
            .map_or(self.source.len(), |(_, offset, _)| *offset)
    }
}

/// The sort of the first word and its length; no sort for spaces and comments.
fn word(text: &str) -> (Option<Sort>, usize) {
    let bytes = text.as_bytes();
    let first = text.chars().next().unwrap_or_default();
    let second = bytes.get(1).copied().unwrap_or_default();
    let quoted = |begin: usize| matches!(bytes.get(begin), Some(b'"' | b'\''));
    let prefixes = bytes
        .iter()
        .take_while(|byte| matches!(byte, b'r' | b'R' | b'b' | b'B'))
        .count();
    if prefixes <= 2 && quoted(prefixes) {
        let raw = bytes
            .iter()
            .take(prefixes)
            .any(|byte| matches!(byte, b'r' | b'R'));
        return (Some(Sort::Literal), string(bytes, prefixes, raw));
    }
    if first.is_whitespace() {
        return (None, first.len_utf8());
    }
    if text.starts_with("//") {
        return (None, text.find('\n').unwrap_or(text.len()));
    }
    if first == '_' || first.is_ascii_alphabetic() {
        let end = text.find(|c: char| c != '_' && !c.is_ascii_alphanumeric());
        return (Some(Sort::Name), end.unwrap_or(text.len()));
    }
    if first.is_ascii_digit() || (first == '.' && second.is_ascii_digit()) {
        let end = text.find(|c: char| c != '.' && !c.is_ascii_alphanumeric());
        return (Some(Sort::Literal), end.unwrap_or(text.len()));
    }
    let two = text.get(..2).unwrap_or_default();
    let length = if matches!(two, "==" | "!=" | "<=" | ">=" | "&&" | "||") {
        2
    } else {
        first.len_utf8()
    };
    (Some(Sort::Sign), length)
}

/// The length of a quoted text that begins with so many prefixes.
fn string(bytes: &[u8], prefixes: usize, raw: bool) -> usize {
    let Some(quote) = bytes.get(prefixes).copied() else {
        return bytes.len();
    };
    let triple = bytes.get(prefixes..prefixes + 3) == Some(&[quote; 3]);
    let width = if triple { 3 } else { 1 };
    let mut at = prefixes + width;
    while let Some(byte) = bytes.get(at) {
        if *byte == b'\\' && !raw {
            at += 2;
        } else if bytes
            .get(at..at + width)
            .is_some_and(|end| end.iter().all(|byte| *byte == quote))
        {
            return at + width;
        } else {
            at += 1;
        }
    }
    bytes.len()
}

/// An error as upstream shows it: the place, the text, and the line with a mark below the place.
pub(crate) fn shown(source: &str, offset: usize, message: &str) -> String {
    let before = source.get(..offset).unwrap_or(source);
    let line = before.matches('\n').count();
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count();
    let text = source.split('\n').nth(line).unwrap_or_default();
    format!(
        "ERROR: <input>:{}:{}: {message}\n | {text}\n | {}^",
        line + 1,
        column + 1,
        ".".repeat(column)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let mut tokens = Tokens::new("self.a.all(x, x == 'a.b' || self.?c[0] > 1.5) // x");
        assert_eq!(tokens.pass("self"), 0);
        assert_eq!(tokens.pass_field("a"), 4);
        assert_eq!(tokens.pass("=="), 16);
        assert_eq!(tokens.pass_literal(), 19);
        assert_eq!(tokens.pass("||"), 25);
        assert_eq!(tokens.pass_field("c"), 32);
        assert_eq!(tokens.pass("["), 35);
        assert_eq!(tokens.pass_literal(), 36);
        assert_eq!(tokens.pass_literal(), 41);
        assert_eq!(tokens.pass("none"), 44);
        assert_eq!(shown("a\n+ b", 4, "m"), "ERROR: <input>:2:3: m\n | + b\n | ..^");
        for text in ["'", "\"\"\"a", "r'\\'", "é.b", "b'a\\'", ""] {
            Tokens::new(text).pass("x");
        }
    }
}
