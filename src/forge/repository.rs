//! Repositories and their paths.

use std::fmt;

use url::Url;

use super::ForgeError;
use super::http::{beneath, safe};
use crate::redact::SafeUrl;

/// A repository at a forge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    /// Its path.
    pub path: RepositoryPath,
    /// Its default branch; `None` if it is empty.
    pub default_branch: Option<String>,
    /// The URL that Git clones it from.
    pub clone_url: SafeUrl,
    /// Only visible to accounts with access.
    pub private: bool,
    /// Read-only.
    pub archived: bool,
}

/// The path of a repository at its forge: `owner/name`, or with groups of any depth.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepositoryPath(Vec<String>);

impl RepositoryPath {
    /// Reads a path; `None` if a segment is empty, `.` or `..`. A `.git` at the end is dropped.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim_matches('/');
        let mut segments: Vec<String> = text.split('/').map(str::to_owned).collect();
        let last = segments.last_mut()?;
        if let Some(name) = last.strip_suffix(".git") {
            *last = name.to_owned();
        }
        let valid = |segment: &String| {
            !matches!(segment.as_str(), "" | "." | "..") && !segment.contains(char::is_control)
        };
        segments.iter().all(valid).then_some(Self(segments))
    }

    /// Owner and name, if those are all there is.
    pub fn owner_and_name(&self) -> Option<(&str, &str)> {
        match self.0.as_slice() {
            [owner, name] => Some((owner, name)),
            _ => None,
        }
    }

    /// The segments.
    pub fn segments(&self) -> &[String] {
        &self.0
    }

    /// The URL of the repository below `base`, with `.git`.
    pub(super) fn clone_url(&self, base: &Url) -> Result<SafeUrl, ForgeError> {
        let mut segments = self.0.clone();
        if let Some(last) = segments.last_mut() {
            last.push_str(".git");
        }
        safe(&beneath(base, &segments))
    }

    /// The repository that a URL below `base` names.
    pub(super) fn at(base: &Url, url: &SafeUrl) -> Option<Self> {
        let url = url.expose();
        if url.origin() != base.origin() {
            return None;
        }
        let prefix = base.path().trim_end_matches('/');
        let path = url.path().strip_prefix(prefix)?.strip_prefix('/')?;
        let decoded = percent_decode(path)?;
        Self::parse(&decoded)
    }
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            let digits = std::str::from_utf8(&digits).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

impl fmt::Display for RepositoryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("/"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_of_any_depth_is_read_and_cannot_leave_the_forge() {
        for (text, path) in [
            ("acme/shop", Some("acme/shop")),
            ("acme/shop.git", Some("acme/shop")),
            ("/a/b/c/d/", Some("a/b/c/d")),
            ("42", Some("42")),
            ("", None),
            ("a//b", None),
            ("a/../b", None),
            ("a/.", None),
            ("a/.git", None),
            ("a\n/b", None),
        ] {
            let found = RepositoryPath::parse(text).map(|path| path.to_string());
            assert_eq!(found.as_deref(), path, "{text:?}");
        }
    }

    #[test]
    fn clone_url_leads_back_to_its_repository() {
        let base = Url::parse("https://git.example.com/sub").unwrap();
        for text in ["acme/shop", "a/b/c", "a/ü#?%2f"] {
            let path = RepositoryPath::parse(text).unwrap();
            let url = path.clone_url(&base).unwrap();
            assert!(
                url.expose().as_str().starts_with("https://git.example.com/sub/a"),
                "{url}"
            );
            assert_eq!(RepositoryPath::at(&base, &url).unwrap(), path);
        }
        for other in [
            "https://git.example.com/acme/shop.git",
            "https://git.example.com/subway/shop.git",
            "http://git.example.com/sub/acme/shop.git",
            "https://evil.example.com/sub/acme/shop.git",
            "https://git.example.com:444/sub/acme/shop.git",
        ] {
            let url = SafeUrl::parse(other).unwrap();
            assert_eq!(RepositoryPath::at(&base, &url), None, "{other}");
        }
    }
}
