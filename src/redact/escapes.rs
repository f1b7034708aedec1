//! Undoes escapes, so that a value is found in text whatever number of layers (JSON, Rust's `Debug`, URL encoding) wrote it.

use std::ops::Range;

/// The deepest nesting of escapes that is undone.
const MAX_LAYERS: usize = 8;

/// Text without escapes, and where each of its bytes comes from.
pub(super) struct Unescaped {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The offset in the original text at which each byte begins, and the length of the original text at the end.
    starts: Vec<usize>,
}

impl Unescaped {
    /// Undoes every escape in `text`, or returns `None` if it contains none.
    pub fn new(text: &[u8]) -> Option<Self> {
        // Most text with these characters has no escape, and costs no memory.
        let mut beginnings = memchr::memchr3_iter(b'\\', b'%', b'[', text);
        if !beginnings.any(|at| text.get(at..).is_some_and(|rest| decode(rest).is_some())) {
            return None;
        }
        let mut all = Self {
            bytes: text.to_vec(),
            starts: (0..=text.len()).collect(),
        };
        let mut layers = 0;
        while layers < MAX_LAYERS && all.undo_one_layer() {
            layers += 1;
        }
        (layers > 0).then_some(all)
    }

    /// Returns the range of the original text for a range of the bytes.
    pub fn original(&self, range: &Range<usize>) -> Range<usize> {
        let at = |index: usize| self.starts.get(index).copied().unwrap_or_default();
        at(range.start)..at(range.end)
    }

    /// Undoes one layer of escapes; reports whether there was one.
    fn undo_one_layer(&mut self) -> bool {
        let (mut bytes, mut starts) = (Vec::with_capacity(self.bytes.len()), Vec::new());
        let mut at = 0;
        while let Some(rest) = self.bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let (decoded, used) =
                decode(rest).unwrap_or_else(|| (rest.get(..1).unwrap_or_default().to_vec(), 1));
            let start = self.starts.get(at).copied().unwrap_or_default();
            starts.extend(std::iter::repeat_n(start, decoded.len()));
            bytes.extend(decoded);
            at += used;
        }
        starts.extend(self.starts.last());
        let changed = bytes.len() != self.bytes.len();
        *self = Self { bytes, starts };
        changed
    }
}

/// Decodes the escape that `text` begins with: the bytes that it stands for, and its length.
fn decode(text: &[u8]) -> Option<(Vec<u8>, usize)> {
    match text {
        [b'\\', b'x', hex @ ..] | [b'%', hex @ ..] => {
            let digits = hex.get(..2)?;
            Some((
                vec![u8::try_from(number(digits)?).ok()?],
                text.len() - hex.len() + 2,
            ))
        }
        [b'\\', b'u', b'{', rest @ ..] => {
            let end = rest.iter().take(7).position(|byte| *byte == b'}')?;
            Some((utf8(number(rest.get(..end)?)?)?, end + 4))
        }
        [b'\\', b'u', rest @ ..] => {
            let unit = number(rest.get(..4)?)?;
            let low = match rest.get(4..10) {
                Some([b'\\', b'u', low @ ..]) if (0xd800..0xdc00).contains(&unit) => number(low),
                _ => None,
            };
            match low.filter(|low| (0xdc00..0xe000).contains(low)) {
                Some(low) => Some((utf8(0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00))?, 12)),
                None => Some((utf8(unit)?, 6)),
            }
        }
        [b'\\', escaped, ..] => {
            let byte = match escaped {
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'b' => 8,
                b'f' => 12,
                b'0' => 0,
                b'"' | b'\'' | b'/' | b'\\' => *escaped,
                _ => return None,
            };
            Some((vec![byte], 2))
        }
        [b'[', rest @ ..] => byte_list(rest).map(|(bytes, used)| (bytes, used + 1)),
        _ => None,
    }
}

/// Reads the numbers of a list of bytes as `Debug` writes it, `104, 117]`, and how long it is.
fn byte_list(text: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut bytes = Vec::new();
    let (mut value, mut digits) = (0_u32, 0);
    for (at, byte) in text.iter().enumerate() {
        match byte {
            b'0'..=b'9' if digits < 3 => {
                value = value * 10 + u32::from(byte - b'0');
                digits += 1;
            }
            b',' | b']' => {
                // A pretty-printed list has a comma at its end too.
                if digits > 0 {
                    bytes.push(u8::try_from(value).ok()?);
                }
                (value, digits) = (0, 0);
                if *byte == b']' {
                    return (bytes.len() >= super::SHORTEST_MASKED).then_some((bytes, at + 1));
                }
            }
            b' ' | b'\n' if digits == 0 => {}
            // The list was cut, or is not one.
            _ => break,
        }
    }
    None
}

fn number(digits: &[u8]) -> Option<u32> {
    let all_digits = digits.iter().all(u8::is_ascii_hexdigit);
    let text = std::str::from_utf8(digits).ok().filter(|_| all_digits)?;
    u32::from_str_radix(text, 16).ok()
}

fn utf8(code: u32) -> Option<Vec<u8>> {
    Some(char::from_u32(code)?.to_string().into_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escapes_of_several_layers_are_undone() {
        for (text, bytes) in [
            (r#"{\"a\":\"x\\\"y\"}"#, r#"{"a":"x"y"}"#),
            (r"a\x41\u{e4}\u00e4\ud83d\ude00", "aAää😀"),
            ("a%20b%C3%A4", "a bä"),
            ("ByteString([104, 117, 110])", "ByteString(hun)"),
            ("[\n    104,\n    117,\n    110,\n]", "hun"),
        ] {
            let undone = Unescaped::new(text.as_bytes()).unwrap();
            assert_eq!(String::from_utf8(undone.bytes).unwrap(), bytes);
        }
        for text in ["plain", "[2/5] RUN", "[1, 2]", "[256, 1, 2]", "100%", r"C:\q"] {
            assert!(Unescaped::new(text.as_bytes()).is_none(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn each_byte_comes_from_the_escape_that_wrote_it(value in "[a-z\"\\\\\n%\u{e4}\u{1f600}]{0,40}", before in "[a-z]{0,5}") {
            let text = format!("{before}{}", serde_json::to_string(&value).unwrap());
            if let Some(undone) = Unescaped::new(text.as_bytes()) {
                let all = undone.original(&(0..undone.bytes.len()));
                prop_assert_eq!(all, 0..text.len());
                for at in 0..undone.bytes.len() {
                    let range = undone.original(&(at..at + 1));
                    prop_assert!(range.start <= range.end && range.end <= text.len());
                }
            }
        }
    }
}
