//! Values that must never be shown: [`Secret`] and [`SafeUrl`] cannot be printed, and a [`Masker`] removes known
//! values from text that other programs wrote. Pure: no I/O.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use base64::Engine as _;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// What is written in place of a secret.
pub const MASK: &str = "***";

/// The shortest value, in bytes, that a [`Masker`] replaces: hiding every `1` or `on` would make a log unreadable
/// without protecting anybody.
pub const SHORTEST_MASKED: usize = 3;

/// Bytes that are never printed: no `Display`, no `Serialize`, and `Debug` shows only the mask. Wiped when dropped.
///
/// ```
/// let token = davit::redact::Secret::from("hunter2");
/// assert_eq!(format!("{token:?}"), "***");
/// assert_eq!(token.expose(), b"hunter2");
/// ```
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes over.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// `user:password`, as basic authentication sends it.
    pub fn pair(user: &str, password: &Self) -> Self {
        let mut pair = Zeroizing::new(Vec::with_capacity(user.len() + 1 + password.0.len()));
        pair.extend_from_slice(user.as_bytes());
        pair.push(b':');
        pair.extend_from_slice(&password.0);
        Self(pair)
    }

    /// The raw bytes, for the one place that must hand them on.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The value as text, or `None` if it is not UTF-8.
    pub fn expose_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// True where there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same secret without white space around it: a token file usually ends in a line feed.
    pub fn trimmed(&self) -> Self {
        Self::new(self.0.trim_ascii())
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text.as_bytes())
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text.into_bytes())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

/// Compared in constant time over the raw bytes, so that the time taken tells nothing of the content.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_slice().ct_eq(other.0.as_slice()).into()
    }
}

impl Eq for Secret {}

/// A URL whose `Display` and `Debug` show neither credentials nor query nor fragment.
#[derive(Clone, PartialEq, Eq, Hash)]
// Boxed, because it is carried by most errors and a `Url` alone is 88 bytes.
pub struct SafeUrl(Box<url::Url>);

impl SafeUrl {
    /// Parses an absolute URL.
    ///
    /// # Errors
    /// A URL that cannot be parsed; the text itself is not repeated, because it may hold a credential.
    pub fn parse(text: &str) -> Result<Self, url::ParseError> {
        url::Url::parse(text).map(|url| Self(Box::new(url)))
    }

    /// Parses the address of a Git repository: an absolute URL, or `user@host:path`, which means `ssh://user@host/path`.
    ///
    /// # Errors
    /// An address that is neither; it is not repeated, because it may hold a credential.
    pub fn parse_git(text: &str) -> Result<Self, url::ParseError> {
        match text.split_once(':') {
            Some((place, path)) if place.contains('@') && !place.contains('/') && !path.starts_with("//") => {
                Self::parse(&format!("ssh://{place}/{}", path.trim_start_matches('/')))
            }
            _ => Self::parse(text),
        }
    }

    /// The whole URL, for the one place that must hand it on.
    pub fn expose(&self) -> &url::Url {
        &self.0
    }

    /// True where the URL itself names a user or a password.
    pub fn has_credentials(&self) -> bool {
        !self.0.username().is_empty() || self.0.password().is_some()
    }
}

impl fmt::Display for SafeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = &self.0;
        write!(f, "{}://", url.scheme())?;
        if self.0.password().is_some() {
            write!(f, "{MASK}@")?;
        } else if !url.username().is_empty() {
            // `ssh://git@host` is an account's name, not a secret; over https a lone user is usually a token.
            let user = if url.scheme() == "ssh" {
                url.username()
            } else {
                MASK
            };
            write!(f, "{user}@")?;
        }
        f.write_str(url.host_str().unwrap_or_default())?;
        if let Some(port) = url.port() {
            write!(f, ":{port}")?;
        }
        f.write_str(url.path())
    }
}

impl fmt::Debug for SafeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What stands where text was cut, as [`crate::error::cut`] writes it. A [`Masker`] knows that beside it may stand half a
/// secret.
pub const CUT: char = '…';

/// The shortest part of a value, in bytes, that a [`Masker`] replaces beside a [`CUT`].
const SHORTEST_PART: usize = 4;

/// Replaces every known secret in text: as it is, each line of a value of several lines, and its base64 forms. Where text
/// was cut before it was masked, and a [`CUT`] says so, also what is left there of a secret. So code that
/// does not have the secrets may truncate text first, on one side only: the middle of a secret, without its beginning and
/// end, is not recognised.
#[derive(Clone, Default)]
pub struct Masker(Option<Known>);

#[derive(Clone)]
struct Known {
    searcher: AhoCorasick,
    patterns: Vec<Vec<u8>>,
}

impl Masker {
    /// Learns the values. Those shorter than [`SHORTEST_MASKED`] are left out.
    pub fn new<'a>(values: impl IntoIterator<Item = &'a Secret>) -> Self {
        let mut patterns: Vec<Vec<u8>> = Vec::new();
        for value in values {
            let whole = value.expose().trim_ascii();
            // Whole too, for the lines that are too short to be hidden alone.
            let lines = whole.split(|byte| matches!(byte, b'\n' | b'\r'));
            for line in lines.map(<[u8]>::trim_ascii).chain([whole]) {
                patterns.push(line.to_vec());
                if let Cow::Owned(shown) = String::from_utf8_lossy(line) {
                    patterns.push(shown.into_bytes());
                }
            }
            for engine in [
                base64::engine::general_purpose::STANDARD_NO_PAD,
                base64::engine::general_purpose::URL_SAFE_NO_PAD,
            ] {
                patterns.push(engine.encode(value.expose()).into_bytes());
                patterns.push(engine.encode(whole).into_bytes());
            }
            patterns.push(
                url::form_urlencoded::byte_serialize(whole)
                    .collect::<String>()
                    .into_bytes(),
            );
        }
        patterns.retain(|pattern| pattern.len() >= SHORTEST_MASKED);
        patterns.sort_unstable();
        patterns.dedup();
        if patterns.is_empty() {
            return Self(None);
        }
        // The fastest kind would take a hundred times the memory of a large value.
        let searcher = AhoCorasick::builder()
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(&patterns);
        Self(searcher.ok().map(|searcher| Known { searcher, patterns }))
    }

    /// How many bytes the longest known form has. Of a text that was cut before it was masked, so many at the end may be
    /// the beginning of a secret.
    pub fn longest(&self) -> usize {
        self.0
            .as_ref()
            .map_or(0, |known| known.searcher.max_pattern_len())
    }

    /// The text with every known value replaced by [`MASK`], and what of one is left beside a [`CUT`].
    pub fn mask<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut hidden = self.0.as_ref().map_or_else(Vec::new, |known| known.find(text));
        if hidden.is_empty() {
            return Cow::Borrowed(text);
        }
        hidden.sort_unstable_by_key(|range| range.start);
        let mut masked = String::with_capacity(text.len());
        let mut done = 0;
        for range in hidden {
            // Values that overlap have one mask: the rest of the later one would be shown otherwise.
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

/// Prints a mask, because a masker holds secrets.
impl fmt::Debug for Masker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl Known {
    /// The ranges of the text to mask, at character boundaries.
    fn find(&self, text: &str) -> Vec<Range<usize>> {
        let whole = self.searcher.find_overlapping_iter(text);
        let mut hidden: Vec<Range<usize>> = whole.map(|found| found.range()).collect();
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

    /// The length of the longest end of a pattern that the piece begins with.
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

    /// The length of the longest beginning of a pattern that the piece ends with.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn git_address_may_be_written_as_scp_does() {
        for (text, url) in [
            ("git@h.example:acme/shop.git", "ssh://git@h.example/acme/shop.git"),
            ("git@h.example:/srv/shop.git", "ssh://git@h.example/srv/shop.git"),
            ("ssh://git@h.example:22/a.git", "ssh://git@h.example:22/a.git"),
            ("https://h.example/a@b:c.git", "https://h.example/a@b:c.git"),
        ] {
            assert_eq!(SafeUrl::parse_git(text).unwrap().expose().as_str(), url);
        }
        assert!(SafeUrl::parse_git("h.example/a.git").is_err());
    }

    #[test]
    fn a_secret_shows_nothing() {
        assert_eq!(format!("{:?}", Secret::from("hunter2")), MASK);
        assert_eq!(Secret::from("a"), Secret::from("a"));
        assert_ne!(Secret::from("a"), Secret::from("ab"));
    }

    #[test]
    fn a_url_shows_no_credential_and_no_query() {
        for (given, shown) in [
            ("https://user:tok@host/a.git?token=x#y", "https://***@host/a.git"),
            ("https://tok@host:8443/a.git", "https://***@host:8443/a.git"),
            ("ssh://git@host/a.git", "ssh://git@host/a.git"),
        ] {
            let url = SafeUrl::parse(given).unwrap();
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), shown);
        }
    }

    #[test]
    fn every_known_value_is_masked_in_all_its_forms() {
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
    fn what_a_cut_left_of_a_value_is_masked_too() {
        let several = Secret::from("correct horse battery\nab\ncd\nstaple zebra");
        let masker = Masker::new(&[Secret::from("S3cret-9f8e7d6c"), several]);
        for (text, masked) in [
            ("token S3cret-9f…", "token ***…"),
            ("…8e7d6c is no token", "…*** is no token"),
            // Truncated text with a hint appended.
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
    fn values_that_overlap_leave_nothing_of_each_other() {
        let masker = Masker::new(&[Secret::from("abcdef"), Secret::from("defghijklm")]);
        assert_eq!(masker.mask("<abcdefghijklm>"), "<***>");
        assert_eq!(masker.mask("<abcdefabcdef>"), "<******>");
        assert_eq!(Masker::new(&[Secret::from("xxx")]).mask("-xxxxxxxx-"), "-***-");
    }

    #[test]
    fn a_large_value_does_not_take_all_memory() {
        // A key store in a Secret: no two lines, and bytes of every kind.
        let value: Vec<u8> = (0..64 * 1024_u32).map(|at| (at * 7919 % 251) as u8).collect();
        let masker = Masker::new(&[Secret::new(value)]);
        let used = masker.0.unwrap().searcher.memory_usage();
        assert!(used < 16 * 1024 * 1024, "{used}");
    }

    #[test]
    fn a_value_that_is_no_text_is_masked_by_whole_characters() {
        // `¿` is c2 bf: the value begins within it.
        let masker = Masker::new(&[Secret::new(*b"\xbfAB\xe2\x82")]);
        assert_eq!(masker.mask("-¿AB€-"), "-***-");
        assert_eq!(masker.mask("-\u{fffd}AB\u{fffd}-"), "-***-");
    }

    proptest! {
        #[test]
        fn of_a_value_nothing_is_left_wherever_it_is_cut(
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
