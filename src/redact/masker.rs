//! [`Masker`]: removes known secrets from text.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use aho_corasick::{AhoCorasick, AhoCorasickKind, packed};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use super::escapes::Unescaped;
use super::windows::Windows;
use super::{MASK, SHORTEST_MASKED, Secret, known, windows};

/// The mark in text that was cut, as [`crate::error::cut`] writes it. Beside it may be a part of a secret.
pub const CUT: char = '…';

/// The shortest part of a value, in bytes, that a [`Masker`] replaces beside a [`CUT`].
const SHORTEST_PART: usize = 4;

/// The shortest base64 form within a larger one that is masked: shorter ones occur in any base64 text.
const SHORTEST_INNER_BASE64: usize = 6;

/// The shortest line of a value with several lines that is masked alone, in bytes. Shorter ones, such as `end` or `},`, are words of
/// any message, and say little of the value.
const SHORTEST_LINE: usize = 8;

/// Where programs break base64 into lines: `base64` and MIME, and PEM and OpenSSL.
const BASE64_WIDTHS: [usize; 2] = [76, 64];

/// The longest pattern of the automaton, in bytes: it takes about a hundred times the memory of its patterns. Longer values
/// are found by their [`Windows`].
const LONGEST_PATTERN: usize = 512;

/// Replaces every known secret in text: the value itself, each line of at least 8 bytes of a value with several lines, its base64
/// forms, also in lines, and all of these in the escapes of JSON, of Rust's `Debug` and of URLs. Beside a [`CUT`] it also replaces the part of a
/// secret that was left there; text that was cut on both sides within one secret is not recognised.
#[derive(Clone, Default)]
pub struct Masker(Option<Arc<Known>>);

struct Known {
    /// Of the patterns up to [`LONGEST_PATTERN`].
    searcher: AhoCorasick,
    /// Finds out several times faster whether text has any of them; `None` if they are too many.
    filter: Option<packed::Searcher>,
    /// Of the longer ones.
    windows: Windows,
    /// Those of which parts are masked too: all but the encoded forms of long values.
    patterns: Vec<Vec<u8>>,
    longest: usize,
}

impl Masker {
    /// Returns a masker for the values, and hides them from Davit's own log too. Values shorter than [`SHORTEST_MASKED`]
    /// are left out.
    pub fn new<'a>(values: impl IntoIterator<Item = &'a Secret>) -> Self {
        let values: Vec<&Secret> = values.into_iter().collect();
        known::add(values.iter().copied());
        Self::of(values.into_iter().map(Secret::expose))
    }

    pub(super) fn of<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let (mut patterns, mut encoded): (Vec<Vec<u8>>, Vec<Vec<u8>>) = (Vec::new(), Vec::new());
        let mut windows = Windows::default();
        for value in values {
            add_patterns(value, &mut patterns, &mut encoded);
            add_base64_lines(value, &mut windows, &mut encoded);
        }
        patterns.retain(|pattern| pattern.len() >= SHORTEST_MASKED);
        if patterns.is_empty() {
            return Self(None);
        }
        let longest = patterns.iter().chain(&encoded).map(Vec::len).max();
        for long in patterns
            .iter()
            .chain(&encoded)
            .filter(|pattern| pattern.len() > LONGEST_PATTERN)
        {
            windows.add(long);
        }
        encoded.retain(|pattern| (SHORTEST_MASKED..=LONGEST_PATTERN).contains(&pattern.len()));
        patterns.append(&mut encoded);
        patterns.sort_unstable();
        patterns.dedup();
        let short = patterns.iter().filter(|pattern| pattern.len() <= LONGEST_PATTERN);
        let filter = packed::Searcher::new(short.clone());
        // The fastest kind would take a hundred times the memory.
        let searcher = AhoCorasick::builder()
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(short);
        let known = searcher.map(|searcher| Known {
            searcher,
            filter,
            windows,
            patterns,
            longest: longest.unwrap_or_default(),
        });
        Self(known.ok().map(Arc::new))
    }

    /// Returns the length of the longest known form. So many bytes at the end of text that was cut before it was masked
    /// may be the beginning of a secret.
    pub fn longest(&self) -> usize {
        self.0.as_ref().map_or(0, |known| known.longest)
    }

    /// Returns the text with every known value, and every part of one beside a [`CUT`], replaced by [`MASK`].
    pub fn mask<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut hidden = self.0.as_ref().map_or_else(Vec::new, |known| known.find(text));
        if hidden.is_empty() {
            return Cow::Borrowed(text);
        }
        hidden.sort_unstable_by_key(|range| range.start);
        let mut masked = String::with_capacity(text.len());
        let mut done = 0;
        for range in hidden {
            // Values that overlap share a mask; otherwise the rest of the later one would be shown.
            if range.start >= done {
                masked.push_str(text.get(done..range.start).unwrap_or_default());
                masked.push_str(MASK);
            }
            done = done.max(range.end);
        }
        masked.push_str(text.get(done..).unwrap_or_default());
        Cow::Owned(masked)
    }
}

/// A masker contains the secrets.
impl fmt::Debug for Masker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl Known {
    /// Returns the ranges of the text to mask, from character to character.
    fn find(&self, text: &str) -> Vec<Range<usize>> {
        let mut hidden = self.find_whole(text.as_bytes());
        if let Some(unescaped) = Unescaped::new(text.as_bytes()) {
            let found = self.find_whole(&unescaped.bytes);
            hidden.extend(found.iter().map(|range| unescaped.original(range)));
        }
        let mut start = 0;
        for piece in text.split(CUT) {
            let end = start + piece.len();
            if start > 0 {
                let tail = self.tail_at_the_start(piece.as_bytes());
                hidden.extend(tail.map(|len| start..start + len));
            }
            if end < text.len() {
                let head = self.head_at_the_end(piece.as_bytes());
                hidden.extend(head.map(|len| end - len..end));
            }
            start = end + CUT.len_utf8();
        }
        // A value of any bytes may begin or end within a character.
        for range in &mut hidden {
            while !text.is_char_boundary(range.start) {
                range.start -= 1;
            }
            while !text.is_char_boundary(range.end) {
                range.end += 1;
            }
        }
        hidden
    }

    fn find_whole(&self, text: &[u8]) -> Vec<Range<usize>> {
        let mut found: Vec<Range<usize>> = Vec::new();
        if self
            .filter
            .as_ref()
            .is_none_or(|filter| filter.find(text).is_some())
        {
            let all = self.searcher.find_overlapping_iter(text);
            found.extend(all.map(|found| found.range()));
        }
        found.extend(self.windows.find(text));
        found
    }

    /// Returns the length of the longest end of a pattern that the piece begins with.
    fn tail_at_the_start(&self, piece: &[u8]) -> Option<usize> {
        let fits = |pattern: &[u8], len: usize| {
            let tail = pattern
                .len()
                .checked_sub(len)
                .and_then(|from| pattern.get(from..));
            tail.is_some_and(|tail| piece.starts_with(tail))
        };
        self.longest_part(piece, fits)
    }

    /// Returns the length of the longest beginning of a pattern that the piece ends with.
    fn head_at_the_end(&self, piece: &[u8]) -> Option<usize> {
        let fits = |pattern: &[u8], len: usize| pattern.get(..len).is_some_and(|head| piece.ends_with(head));
        self.longest_part(piece, fits)
    }

    fn longest_part(&self, piece: &[u8], fits: impl Fn(&[u8], usize) -> bool) -> Option<usize> {
        let of = |pattern: &Vec<u8>| {
            let mut lengths = (SHORTEST_PART..=pattern.len().min(piece.len())).rev();
            lengths.find(|len| fits(pattern, *len))
        };
        self.patterns.iter().filter_map(of).max()
    }
}

/// Adds every form in which a value may stand in text: as it is, and encoded.
fn add_patterns(value: &[u8], patterns: &mut Vec<Vec<u8>>, encoded: &mut Vec<Vec<u8>>) {
    let whole = value.trim_ascii();
    if whole.len() < SHORTEST_MASKED {
        return;
    }
    // The whole value too, for the lines that are too short to be masked alone.
    let lines = whole.split(|byte| matches!(byte, b'\n' | b'\r'));
    let lines = lines
        .map(<[u8]>::trim_ascii)
        .filter(|line| line.len() >= SHORTEST_LINE);
    for line in lines.chain([whole]) {
        patterns.push(line.to_vec());
        if let Cow::Owned(shown) = String::from_utf8_lossy(line) {
            patterns.push(shown.into_bytes());
        }
        // A value may contain what looks like an escape: text with it is compared without escapes.
        patterns.extend(Unescaped::new(line).map(|line| line.bytes));
    }
    for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
        encoded.push(engine.encode(value).into_bytes());
        encoded.push(engine.encode(whole).into_bytes());
        let inner = (0..3).map(|before| inner_base64(&engine, whole, before));
        encoded.extend(inner.filter(|inner| inner.len() >= SHORTEST_INNER_BASE64));
    }
    // Escapes are undone, but a space that is written as `+` is not an escape.
    encoded.push(
        url::form_urlencoded::byte_serialize(whole)
            .collect::<String>()
            .into_bytes(),
    );
    if whole.contains(&b' ') {
        let plus = whole.iter().map(|byte| if *byte == b' ' { b'+' } else { *byte });
        encoded.push(plus.collect());
    }
}

/// Adds the base64 form of a value as programs write it in lines. The automaton would take too much memory for the lines of a large
/// value.
fn add_base64_lines(value: &[u8], windows: &mut Windows, encoded: &mut Vec<Vec<u8>>) {
    let whole = value.trim_ascii();
    if whole.len() < SHORTEST_MASKED {
        return;
    }
    for form in [
        STANDARD_NO_PAD.encode(value).into_bytes(),
        STANDARD_NO_PAD.encode(whole).into_bytes(),
        // With something behind it, such as the line feed of `echo`.
        inner_base64(&STANDARD_NO_PAD, whole, 0),
    ] {
        for width in BASE64_WIDTHS.into_iter().filter(|width| form.len() > *width) {
            for line in form.chunks(width) {
                if line.len() >= windows::WIDTH {
                    windows.add(line);
                } else if line.len() >= SHORTEST_INNER_BASE64 {
                    encoded.push(line.to_vec());
                }
            }
        }
    }
}

/// Returns the base64 digits that depend on nothing but the value, in a text in which `before` bytes, modulo 3, precede it.
fn inner_base64(engine: &impl base64::Engine, value: &[u8], before: usize) -> Vec<u8> {
    let mut padded = vec![0; before];
    padded.extend_from_slice(value);
    let bits = padded.len() * 8;
    let mut digits = engine.encode(padded).into_bytes();
    digits.truncate(bits / 6);
    digits.drain(..(before * 8).div_ceil(6).min(digits.len()));
    digits
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_value_is_masked_in_all_its_forms() {
        let key = Secret::from("-----BEGIN-----\nabcDEF123\n-----END-----\n");
        let values = [
            Secret::from("hunter2"),
            Secret::from("hunter2-longer"),
            Secret::from("a b&c"),
            key,
        ];
        let masker = Masker::new(&values);
        assert_eq!(masker.mask("x hunter2 y"), "x *** y");
        assert_eq!(masker.mask("hunter2-longer"), MASK);
        assert_eq!(masker.mask("line abcDEF123"), "line ***");
        assert_eq!(masker.mask("aHVudGVyMg=="), "***==");
        assert_eq!(masker.mask("q=a+b%26c"), "q=***");
        assert_eq!(masker.mask("nothing here"), "nothing here");
        assert_eq!(format!("{masker:?}"), MASK);
    }

    #[test]
    fn short_line_of_a_value_is_no_word_to_mask() {
        let masker = Masker::new(&[Secret::from("start\nabcDEF123\n},\nend\n1234567\n12345678")]);
        assert_eq!(
            masker.mask("error sending request to start 1234567"),
            "error sending request to start 1234567"
        );
        assert_eq!(masker.mask("abcDEF123 12345678"), "*** ***");
        assert_eq!(
            masker.mask("<start\nabcDEF123\n},\nend\n1234567\n12345678>"),
            "<***>"
        );
        // A value of one line is masked from 3 bytes on.
        assert_eq!(Masker::new(&[Secret::from("end\n")]).mask("the end"), "the ***");
    }

    #[test]
    fn base64_in_lines_is_masked() {
        for length in [49_u8, 57, 60, 100, 250] {
            let value: Vec<u8> = (0..length).map(|at| b'!' + at % 90).collect();
            let masker = Masker::new(&[Secret::new(value.clone())]);
            for behind in ["", "\n", "\nmore text"] {
                let text = STANDARD_NO_PAD.encode([value.as_slice(), behind.as_bytes()].concat());
                let of_value = value.len() * 8 / 6;
                for width in BASE64_WIDTHS {
                    for (number, line) in text.as_bytes().chunks(width).enumerate() {
                        let line = std::str::from_utf8(line).unwrap();
                        let its = of_value.saturating_sub(number * width).min(line.len());
                        let masked = masker.mask(line).into_owned();
                        let shown = masked.replace(MASK, "").len();
                        // One digit is of the last byte and of what is behind it.
                        assert!(
                            its < SHORTEST_INNER_BASE64 || shown <= line.len() - its,
                            "{length} {width} {number}: {line} as {masked}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn part_of_a_value_beside_a_cut_is_masked() {
        let several = Secret::from("correct horse battery\nab\ncd\nstaple zebra");
        let masker = Masker::new(&[Secret::from("S3cret-9f8e7d6c"), several]);
        for (text, masked) in [
            ("token S3cret-9f…", "token ***…"),
            ("…8e7d6c is no token", "…*** is no token"),
            // A hint was appended after the cut.
            ("S3cret-9f…; see spec.command", "***…; see spec.command"),
            ("correct hor…", "***…"),
            ("…cd\nstaple zebra\nend", "…***\nend"),
            // Fewer bytes than can be told from anything else.
            ("this is S3c…", "this is S3c…"),
            // Nothing was cut here.
            ("S3cret-9f", "S3cret-9f"),
            ("8e7d6c", "8e7d6c"),
            ("…", "…"),
        ] {
            assert_eq!(masker.mask(text), masked, "{text:?}");
        }
    }

    #[test]
    fn value_is_masked_in_the_escapes_of_any_number_of_layers() {
        let value = "pa\"ss\\wo\nrd ä%41 end";
        let masker = Masker::new(&[Secret::from(value)]);
        let json = serde_json::to_string(&serde_json::json!({"Env": [format!("A={value}")]})).unwrap();
        let bytes = bytes::Bytes::from(json.clone());
        let url: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
        for text in [
            json.clone(),
            serde_json::to_string(&json).unwrap(),
            format!("{json:?}"),
            format!("{bytes:?}"),
            serde_json::to_string(&format!("{bytes:?}")).unwrap(),
            format!("{:?}", value.as_bytes()),
            format!("{:#?}", value.as_bytes()),
            format!("x={url}&y"),
            format!("x={}", url.replace('+', "%20")),
        ] {
            let masked = masker.mask(&text).into_owned();
            assert!(masked.contains(MASK), "{text}");
            for part in ["ss", "wo", "rd", "end", "41", "110"] {
                assert!(!masked.contains(part), "{part} of {text} is left in {masked}");
            }
        }
    }

    #[test]
    fn value_is_masked_within_a_larger_base64_text() {
        let masker = Masker::new(&[Secret::from("correct horse?>")]);
        for before in ["", "a", "ab", "abc"] {
            for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
                let text = engine.encode(format!("{before}correct horse?> and more"));
                let masked = masker.mask(&text).into_owned();
                // At most the digits at both ends that the bytes around it decide too.
                let shown = masked.len() - MASK.len();
                assert!(
                    masked.contains(MASK) && shown <= text.len() - 18,
                    "{masked} of {text}"
                );
            }
        }
    }

    #[test]
    fn long_value_is_masked_whole_and_beside_a_cut() {
        let value: String = (0..200_000_u32)
            .map(|at| char::from(b'a' + (at * 7919 % 251 % 26) as u8))
            .collect();
        let masker = Masker::new(&[Secret::from(value.as_str())]);
        let masked = masker.mask(&format!("<{value}>")).into_owned();
        assert!(!masked.contains(&value[..8]) && !masked.contains(&value[value.len() - 8..]));
        assert_eq!(
            masked
                .trim_matches('*')
                .trim_matches(['<', '>'])
                .replace(MASK, ""),
            ""
        );
        let cut = format!("<{}{CUT}", &value[..100_000 + 17]);
        assert_eq!(masker.mask(&cut), format!("<{MASK}{CUT}"));
    }

    #[test]
    fn overlapping_values_are_masked_whole() {
        let masker = Masker::new(&[Secret::from("abcdef"), Secret::from("defghijklm")]);
        assert_eq!(masker.mask("<abcdefghijklm>"), "<***>");
        assert_eq!(masker.mask("<abcdefabcdef>"), "<******>");
        assert_eq!(Masker::new(&[Secret::from("xxx")]).mask("-xxxxxxxx-"), "-***-");
    }

    #[test]
    fn large_value_takes_bounded_memory() {
        // A key store in a Secret: no two lines, and bytes of every kind.
        let value: Vec<u8> = (0..1024 * 1024_u64).map(|at| (at * 7919 % 251) as u8).collect();
        let masker = Masker::new(&[Secret::new(value)]);
        let known = masker.0.unwrap();
        let patterns: usize = known.patterns.iter().map(Vec::len).sum();
        let used = known.searcher.memory_usage() + patterns;
        assert!(used < 16 * 1024 * 1024, "{used}");
    }

    #[test]
    fn value_that_is_not_text_is_masked_by_whole_characters() {
        // `¿` is c2 bf: the value begins within it.
        let masker = Masker::new(&[Secret::new(*b"\xbfAB\xe2\x82")]);
        assert_eq!(masker.mask("-¿AB€-"), "-***-");
        assert_eq!(masker.mask("-\u{fffd}AB\u{fffd}-"), "-***-");
    }

    proptest! {
        #[test]
        fn value_leaves_nothing_wherever_it_is_cut(
            value in "[a-zé0-9 \n+/=]{12,80}",
            before in "[A-Z ]{0,60}",
            behind in "[A-Z ]{0,60}",
            from in 0_usize..200,
            to in 0_usize..200,
            front in any::<bool>(),
        ) {
            let value = value.trim();
            prop_assume!(value.len() >= 8);
            let text = format!("{before}{value}{behind}");
            let at = |mut at: usize| {
                at = at.min(text.len());
                while !text.is_char_boundary(at) {
                    at -= 1;
                }
                at
            };
            let cut = if front {
                format!("{CUT}{}", &text[at(from)..])
            } else {
                format!("{}{CUT}", &text[..at(to)])
            };
            let masked = Masker::new(&[Secret::from(value)]).mask(&cut).into_owned();
            // Of what is shown nothing may be of the value but what the text says anyhow.
            for at in 0..masked.len() {
                for end in at + 6..=masked.len() {
                    if let Some(part) = masked.get(at..end).filter(|part| !part.trim().is_empty()) {
                        prop_assert!(!value.contains(part), "{part:?} of {value:?} is left in {masked:?}");
                    }
                }
            }
        }
    }
}
