//! The name of an image at a registry, Docker Hub's short forms written out: the grammar of
//! <https://pkg.go.dev/github.com/distribution/reference>.
//!
//! The parser is Davit's own, because the regular expression of available crates needs 16 MiB of memory, more than all of
//! Davit. A property test compares it with such a crate.

use std::fmt;

const HUB: &str = "docker.io";
const HUB_BEFORE: &str = "index.docker.io";
/// Where Docker Hub keeps images of a single name.
const OFFICIAL: &str = "library";
/// The longest repository, and the longest tag.
const MOST: (usize, usize) = (255, 128);

/// `registry/repository:tag@digest`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageName {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<String>,
}

/// Why a text is not the name of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAName {
    /// It is empty.
    #[error("it is empty")]
    Empty,
    /// A part of the path is not what a registry takes.
    #[error(
        "a repository is lower-case letters and digits, with `.`, `_`, `__` or `-` between them, in parts with `/` between them, \
         at most {} characters",
        MOST.0
    )]
    Repository,
    /// What stands before the first `/` is no host.
    #[error("what stands before the first `/` is not a host with or without a port")]
    Registry,
    /// What follows `:`.
    #[error("a tag is at most {} letters, digits, `_`, `.` and `-`, and begins with none of the last two", MOST.1)]
    Tag,
    /// What follows `@`.
    #[error("a digest is `sha256:` and 64 hexadecimal digits, or `sha384:` and 96, or `sha512:` and 128")]
    Digest,
}

impl ImageName {
    /// Reads a name; one without tag and digest has the tag `latest`.
    ///
    /// # Errors
    /// It does not follow the grammar.
    pub fn parse(text: &str) -> Result<Self, NotAName> {
        if text.is_empty() {
            return Err(NotAName::Empty);
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        if digest.is_some_and(|digest| !is_digest(digest)) {
            return Err(NotAName::Digest);
        }
        // A colon before the last slash belongs to a port.
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(NotAName::Tag);
        }
        let (registry, path) = match name.split_once('/') {
            Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (Some(host), path),
            _ => (None, name),
        };
        if registry.is_some_and(|host| !is_host(host)) {
            return Err(NotAName::Registry);
        }
        if !path.split('/').all(is_component) {
            return Err(NotAName::Repository);
        }
        let registry = match registry {
            None | Some(HUB_BEFORE) => HUB,
            Some(host) => host,
        };
        let repository = if registry == HUB && !path.contains('/') {
            format!("{OFFICIAL}/{path}")
        } else {
            path.to_owned()
        };
        if repository.len() > MOST.0 {
            return Err(NotAName::Repository);
        }
        Ok(Self {
            registry: registry.to_owned(),
            repository,
            tag: match (tag, digest) {
                (None, None) => Some("latest".to_owned()),
                (tag, _) => tag.map(str::to_owned),
            },
            digest: digest.map(str::to_owned),
        })
    }

    /// Reports whether this name follows the tag that another name has. The hosts are not compared: a registry may have
    /// another name for its users than for itself.
    pub fn follows(&self, moved: &Self) -> bool {
        let plain = |repository: &str| {
            repository
                .strip_prefix("library/")
                .unwrap_or(repository)
                .to_owned()
        };
        self.digest.is_none() && self.tag == moved.tag && plain(&self.repository) == plain(&moved.repository)
    }

    /// The registry's host, with its port if one was given.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Whether both are of one repository of one registry.
    pub fn is_of_repository_of(&self, other: &Self) -> bool {
        (self.registry(), self.repository()) == (other.registry(), other.repository())
    }

    /// The path at the registry.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag; none where only a digest was given.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, with its algorithm.
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

fn is_digest(text: &str) -> bool {
    let Some((algorithm, hash)) = text.split_once(':') else {
        return false;
    };
    let length = match algorithm {
        "sha256" => 64,
        "sha384" => 96,
        "sha512" => 128,
        _ => return false,
    };
    hash.len() == length && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= MOST.1
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|byte| word(byte) || matches!(byte, b'.' | b'-'))
}

fn is_host(text: &str) -> bool {
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let number = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    host.split('.').all(label) && port.is_none_or(number)
}

/// Runs of lower-case letters and digits, between them `.`, `_`, `__` or any number of `-`.
fn is_component(text: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = |byte: Option<u8>| byte.is_some_and(alphanumeric);
    ends(text.bytes().next())
        && ends(text.bytes().last())
        && text
            .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            .all(|between| {
                matches!(between, "" | "." | "_" | "__") || between.bytes().all(|byte| byte == b'-')
            })
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::distribution::Reference;
    use proptest::prelude::*;

    #[test]
    fn each_part_has_its_own_refusal() {
        for (text, why) in [
            ("", NotAName::Empty),
            ("Shop", NotAName::Repository),
            ("a b", NotAName::Repository),
            ("-x", NotAName::Repository),
            ("a..b", NotAName::Repository),
            ("a/", NotAName::Repository),
            ("a:b:c", NotAName::Repository),
            ("a:-b", NotAName::Tag),
            ("a:", NotAName::Tag),
            ("shop@sha256:abc", NotAName::Digest),
            ("shop@md5:abc", NotAName::Digest),
            ("-r.example.com/a", NotAName::Registry),
            ("https://r.example/a", NotAName::Registry),
            ("r.example:p/a", NotAName::Registry),
        ] {
            assert_eq!(ImageName::parse(text), Err(why), "{text}");
        }
        assert_eq!(ImageName::parse(&"a".repeat(256)), Err(NotAName::Repository));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn it_reads_what_others_read(
            text in "(localhost/|index\\.docker\\.io/|docker\\.io/|[aA-][a.:-]{0,3}[0-9a]/)?([a1._-]{0,4}[aA]/){0,2}[a1A._-]{1,6}(:[aA1._-]{0,4}){0,2}(@(sha256|sha512|md5):([aF0]{64}|[a0]{128}|[a0]{32}))?"
        ) {
            let (ours, theirs) = (ImageName::parse(&text), text.parse::<Reference>());
            match (ours, theirs) {
                (Ok(ours), Ok(theirs)) => prop_assert_eq!(
                    (ours.registry(), ours.repository(), ours.tag(), ours.digest(), ours.to_string()),
                    (theirs.registry(), theirs.repository(), theirs.tag(), theirs.digest(), theirs.whole())
                ),
                // That crate takes the first part for one of the path, and then for a host; or the other way round.
                (Err(NotAName::Repository), Ok(theirs)) if theirs.repository().contains(char::is_uppercase) => {}
                (Err(NotAName::Registry), Ok(theirs)) if !is_host(theirs.registry()) => {}
                (ours, theirs) => prop_assert!(ours.is_err() && theirs.is_err(), "{:?} {:?}", ours, theirs),
            }
        }
    }
}
