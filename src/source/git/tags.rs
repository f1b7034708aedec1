//! The highest of the tags that match a pattern. Pure.

use std::cmp::Ordering;

use globset::{GlobBuilder, GlobMatcher};

/// The tags that a pattern matches, and their order.
pub(super) struct Tags {
    matcher: GlobMatcher,
    /// What all of them begin with.
    prefix: String,
}

impl Tags {
    /// Reads a pattern: `*` stands for any characters but `/`, `**` for any, `?` for one, `[…]` and `{a,b}` for one of
    /// several.
    ///
    /// # Errors
    /// What is wrong with the pattern.
    pub(super) fn new(pattern: &str) -> Result<Self, String> {
        let glob = GlobBuilder::new(pattern).literal_separator(true).build();
        let end = pattern.find(['*', '?', '[', '{', '\\']).unwrap_or(0);
        let prefix = pattern.get(..end).unwrap_or_default();
        Ok(Self {
            matcher: glob.map_err(|error| error.kind().to_string())?.compile_matcher(),
            // Digits belong to the version.
            prefix: prefix
                .trim_end_matches(|c: char| c.is_ascii_digit() || c == '.')
                .to_owned(),
        })
    }

    /// Returns the highest of the tags that match, by the order of semantic versions. Tags that are no semantic versions
    /// are below those, in the order of their numbers.
    pub(super) fn highest<'t>(&self, tags: impl Iterator<Item = &'t str>) -> Option<&'t str> {
        tags.filter(|tag| self.matcher.is_match(tag))
            .max_by(|one, other| self.compare(one, other))
    }

    fn compare(&self, one: &str, other: &str) -> Ordering {
        let version = |tag: &str| Version::parse(tag.strip_prefix(&self.prefix).unwrap_or(tag));
        // `None` is below `Some`.
        version(one)
            .cmp(&version(other))
            .then_with(|| by_numbers(one, other))
            .then_with(|| one.cmp(other))
    }
}

/// A semantic version. Minor and patch may be left out, as in `v2`.
#[derive(Debug, PartialEq, Eq)]
struct Version {
    numbers: [u64; 3],
    pre_release: Vec<Identifier>,
}

/// A part of a pre-release, in the order of the specification: numbers are below words.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Identifier {
    Number(u64),
    Word(String),
}

impl Version {
    fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix(['v', 'V']).unwrap_or(text);
        let text = text.split('+').next().unwrap_or_default();
        let (core, pre_release) = match text.split_once('-') {
            Some((_, "")) => return None,
            Some((core, rest)) => (core, Some(rest)),
            None => (text, None),
        };
        let mut numbers = [0; 3];
        for (place, part) in core.split('.').enumerate() {
            let is_number = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            *numbers.get_mut(place).filter(|_| is_number)? = part.parse().ok()?;
        }
        let identifier = |part: &str| match part.parse() {
            Ok(number) => Identifier::Number(number),
            Err(_) => Identifier::Word(part.to_owned()),
        };
        let pre_release = pre_release.map(|rest| rest.split('.').map(identifier).collect());
        Some(Self {
            numbers,
            pre_release: pre_release.unwrap_or_default(),
        })
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.numbers.cmp(&other.numbers).then_with(|| {
            // A pre-release is below its release.
            match (self.pre_release.is_empty(), other.pre_release.is_empty()) {
                (true, false) => Ordering::Greater,
                (false, true) => Ordering::Less,
                _ => self.pre_release.cmp(&other.pre_release),
            }
        })
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Compares names part by part: numbers by their value, everything else by its characters.
fn by_numbers(one: &str, other: &str) -> Ordering {
    let (mut one, mut other) = (one, other);
    loop {
        if one.is_empty() || other.is_empty() {
            return one.len().cmp(&other.len());
        }
        let (a, rest_a) = part(one);
        let (b, rest_b) = part(other);
        let both_numbers = [a, b]
            .iter()
            .all(|part| part.starts_with(|c: char| c.is_ascii_digit()));
        let order = if both_numbers {
            let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
            a.len().cmp(&b.len()).then_with(|| a.cmp(b))
        } else {
            a.cmp(b)
        };
        if order != Ordering::Equal {
            return order;
        }
        (one, other) = (rest_a, rest_b);
    }
}

/// The digits, or the characters that are none, at the beginning of a text, and the rest.
fn part(text: &str) -> (&str, &str) {
    let is_digit = text.starts_with(|c: char| c.is_ascii_digit());
    let end = text.find(|c: char| c.is_ascii_digit() != is_digit);
    text.split_at(end.unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn highest_tag_is_that_of_the_newest_version_that_matches() {
        let rows: &[(&str, &[&str], Option<&str>)] = &[
            ("v*", &["v1.9.0", "v1.10.0", "v1.2.0"], Some("v1.10.0")),
            (
                "v*",
                &["v2.0.0-rc.2", "v2.0.0-rc.10", "v1.9.9"],
                Some("v2.0.0-rc.10"),
            ),
            ("v*", &["v2.0.0-rc.1", "v2.0.0", "v2.0.0-alpha"], Some("v2.0.0")),
            (
                "v*",
                &["v1.0.0-alpha.1", "v1.0.0-alpha.beta", "v1.0.0-1"],
                Some("v1.0.0-alpha.beta"),
            ),
            ("v*", &["v1", "v1.1", "v0.9.9"], Some("v1.1")),
            ("v1.*", &["v1.2.3", "v1.10.0", "v2.0.0"], Some("v1.10.0")),
            ("*", &["1.0.0", "v2.0.0", "latest"], Some("v2.0.0")),
            ("*", &["nightly-9", "nightly-10", "weekly"], Some("weekly")),
            (
                "nightly-*",
                &["nightly-9", "nightly-10", "weekly"],
                Some("nightly-10"),
            ),
            (
                "web/v*",
                &["web/v1.2.0", "web/v1.10.0", "api/v9.0.0"],
                Some("web/v1.10.0"),
            ),
            ("*", &["web/v1.2.0", "v0.1.0"], Some("v0.1.0")),
            ("**", &["web/v1.2.0", "v0.1.0"], Some("v0.1.0")),
            (
                "release-[0-9]*",
                &["release-2026.9.1", "release-2026.10.1", "release-x"],
                Some("release-2026.10.1"),
            ),
            ("{v,rel-}*", &["rel-3.0.0", "v2.0.0"], Some("v2.0.0")),
            ("v*", &["1.0.0"], None),
            ("v*", &[], None),
            // More parts than a semantic version has: by its numbers, and below those.
            ("v*", &["v1.2.3.4", "v1.2.3.10", "v1.0.0"], Some("v1.0.0")),
            ("v*", &["v1.2.3.4", "v1.2.3.10"], Some("v1.2.3.10")),
            (
                "v*",
                &["v1.0.0+build.1", "v1.0.0+build.2"],
                Some("v1.0.0+build.2"),
            ),
            ("v*", &["v2026.01.05", "v2026.1.10"], Some("v2026.1.10")),
            ("v*", &["v1.0.0", "v99999999999999999999.0.0"], Some("v1.0.0")),
        ];
        for (pattern, tags, highest) in rows {
            let matcher = Tags::new(pattern).unwrap();
            let mut tags = tags.to_vec();
            for _ in 0..=tags.len() {
                assert_eq!(
                    matcher.highest(tags.iter().copied()),
                    *highest,
                    "{pattern} {tags:?}"
                );
                let by = tags.len().min(1);
                tags.rotate_left(by);
            }
        }
        assert!(Tags::new("v[").is_err());
    }
}
