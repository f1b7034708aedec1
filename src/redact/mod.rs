//! Values that must never be shown: [`Secret`] and [`SafeUrl`] cannot be printed, a [`Masker`] removes known values from
//! text that other programs wrote, and [`log`] removes every value that Davit has read from its own log. Pure: no I/O.

mod escapes;
mod known;
pub mod log;
mod masker;
mod windows;

pub use masker::{CUT, Masker};

use std::fmt;

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// What is written in place of a secret.
pub const MASK: &str = "***";

/// The shortest value, in bytes, that a [`Masker`] replaces: hiding every `1` or `on` would make a log unreadable
/// without protecting anything.
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
    /// Takes ownership of the bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// Returns `user:password`, as basic authentication sends it.
    pub fn pair(user: &str, password: &Self) -> Self {
        let mut pair = Zeroizing::new(Vec::with_capacity(user.len() + 1 + password.0.len()));
        pair.extend_from_slice(user.as_bytes());
        pair.push(b':');
        pair.extend_from_slice(&password.0);
        Self(pair)
    }

    /// Returns the raw bytes, for the one place that must pass them on.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Returns the value as text, or `None` if it is not UTF-8.
    pub fn expose_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// Reports whether the value is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the secret without leading and trailing white space: a token file usually ends in a line feed.
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

/// Compares the raw bytes in constant time, so that the time taken reveals nothing about the content.
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

    /// Returns the whole URL, for the one place that must pass it on.
    pub fn expose(&self) -> &url::Url {
        &self.0
    }

    /// Reports whether the URL contains a user name or a password.
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
}
