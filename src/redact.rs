//! Values that must never be shown: [`Secret`] and [`SafeUrl`] cannot be printed, and a [`Masker`] removes known
//! values from text that other programs wrote. Pure: no I/O.

use std::borrow::Cow;
use std::fmt;

use aho_corasick::{AhoCorasick, MatchKind};
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

    /// The value as text, or nothing where it is not UTF-8.
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

/// Replaces every known secret in text: as it is, each line of a value of several lines, and its base64 forms.
#[derive(Clone, Debug, Default)]
pub struct Masker(Option<AhoCorasick>);

impl Masker {
    /// Learns the values. Those shorter than [`SHORTEST_MASKED`] are left out.
    pub fn new<'a>(values: impl IntoIterator<Item = &'a Secret>) -> Self {
        let mut patterns: Vec<Vec<u8>> = Vec::new();
        for value in values {
            let whole = value.expose().trim_ascii();
            for line in whole.split(|byte| *byte == b'\n') {
                patterns.push(line.trim_ascii().to_vec());
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
        // Longest first, so that a value which contains another leaves nothing of itself behind.
        Self(
            AhoCorasick::builder()
                .match_kind(MatchKind::LeftmostLongest)
                .build(patterns)
                .ok(),
        )
    }

    /// How many bytes the longest known form has. Of a text that was cut before it was masked, so many at the end may be
    /// the beginning of a secret.
    pub fn longest(&self) -> usize {
        self.0.as_ref().map_or(0, AhoCorasick::max_pattern_len)
    }

    /// The text with every known value replaced by [`MASK`].
    pub fn mask<'t>(&self, text: &'t str) -> Cow<'t, str> {
        match &self.0 {
            Some(searcher) if searcher.is_match(text) => {
                let bytes = searcher.replace_all_with_mask(text);
                Cow::Owned(bytes)
            }
            _ => Cow::Borrowed(text),
        }
    }
}

/// One kind of replacement for every pattern, so that no list of replacements is needed.
trait ReplaceAllWithMask {
    fn replace_all_with_mask(&self, text: &str) -> String;
}

impl ReplaceAllWithMask for AhoCorasick {
    fn replace_all_with_mask(&self, text: &str) -> String {
        let mut masked = String::with_capacity(text.len());
        self.replace_all_with(text, &mut masked, |_, _, out| {
            out.push_str(MASK);
            true
        });
        masked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    }
}
