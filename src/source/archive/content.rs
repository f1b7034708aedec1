//! What an archive holds, entry by entry, and the digest of it all. Pure.

use std::collections::BTreeMap;

use ring::digest::{Context, SHA256};

use super::error::ArchiveError;
use super::path::above;
use crate::model::{Digest, hex};

/// The longest chain of links, as in the kernel.
const LONGEST_CHAIN: usize = 40;

/// What an archive holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The digest of its content.
    pub digest: Digest,
    /// The number of files and links.
    pub files: usize,
    /// The size of the files, in bytes.
    pub bytes: u64,
    /// The directory that everything is in, if it is one.
    pub root: Option<String>,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Directory,
    File {
        executable: bool,
        digest: [u8; 32],
        bytes: u64,
    },
    Link {
        target: String,
    },
}

/// All entries by their paths.
#[derive(Debug)]
pub(super) struct Content {
    entries: BTreeMap<String, Entry>,
    most: usize,
}

impl Content {
    pub fn new(most: usize) -> Self {
        Self {
            entries: BTreeMap::new(),
            most,
        }
    }

    pub fn get(&self, path: &str) -> Option<&Entry> {
        self.entries.get(path)
    }

    /// Adds a directory and those above it. Returns the paths that are new, the outermost first.
    pub fn add_directory(&mut self, path: &str) -> Result<Vec<String>, ArchiveError> {
        let mut added = Vec::new();
        for directory in above(path).chain(Some(path).filter(|path| !path.is_empty())) {
            match self.entries.get(directory) {
                Some(Entry::Directory) => {}
                Some(Entry::Link { .. }) => return Err(refused(path, "is below a link")),
                Some(Entry::File { .. }) => return Err(refused(path, "is below a file, or in its place")),
                None => {
                    self.insert(directory, Entry::Directory)?;
                    added.push(directory.to_owned());
                }
            }
        }
        Ok(added)
    }

    /// Whether a file or link may have this path.
    pub fn is_free(&self, path: &str) -> Result<(), ArchiveError> {
        if path.is_empty() {
            return Err(refused(path, "is in the place of the whole directory"));
        }
        if self.entries.contains_key(path) {
            return Err(refused(path, "occurs twice"));
        }
        Ok(())
    }

    /// Adds an entry whose path is free and whose directory exists.
    pub fn insert(&mut self, path: &str, entry: Entry) -> Result<(), ArchiveError> {
        if self.entries.len() >= self.most {
            return Err(ArchiveError::TooMany { limit: self.most });
        }
        self.entries.insert(path.to_owned(), entry);
        Ok(())
    }

    /// Checks the links, and computes the digest.
    pub fn finish(self) -> Result<Summary, ArchiveError> {
        for (path, entry) in &self.entries {
            if let Entry::Link { target } = entry {
                self.follow(path, target).map_err(|why| refused(path, why))?;
            }
        }
        let mut digest = Context::new(&SHA256);
        digest.update(b"davit source 1\n");
        let (mut files, mut bytes) = (0, 0);
        for (path, entry) in &self.entries {
            let (kind, value): (&[u8], &[u8]) = match entry {
                // Archives differ in whether they have entries for directories; only an empty one is content.
                Entry::Directory if self.has_entries(path) => continue,
                Entry::Directory => (b"d", b""),
                Entry::File {
                    executable: true,
                    digest,
                    ..
                } => (b"x", digest),
                Entry::File { digest, .. } => (b"f", digest),
                Entry::Link { target } => (b"l", target.as_bytes()),
            };
            if let Entry::File { bytes: size, .. } = entry {
                bytes += size;
            }
            files += usize::from(*entry != Entry::Directory);
            for part in [kind, path.as_bytes(), value] {
                digest.update(&(part.len() as u64).to_be_bytes());
                digest.update(part);
            }
        }
        let text = format!("sha256:{}", hex(digest.finish().as_ref()));
        let digest = Digest::parse(&text).ok_or(ArchiveError::Cancelled)?;
        Ok(Summary {
            root: self.root(),
            digest,
            files,
            bytes,
        })
    }

    fn has_entries(&self, directory: &str) -> bool {
        let below = format!("{directory}/");
        let mut next = self.entries.range(below.clone()..);
        next.next().is_some_and(|(path, _)| path.starts_with(&below))
    }

    /// The directory that everything is in.
    fn root(&self) -> Option<String> {
        let mut top = self.entries.iter().filter(|(path, _)| !path.contains('/'));
        match (top.next(), top.next()) {
            (Some((path, Entry::Directory)), None) => Some(path.clone()),
            _ => None,
        }
    }

    /// Follows a link to its end through all other links. It may lead nowhere, but not out of the root.
    fn follow(&self, link: &str, target: &str) -> Result<(), &'static str> {
        let mut at: Vec<String> = link.split('/').map(str::to_owned).collect();
        at.pop();
        let mut rest = parts(target)?;
        let mut links = 1;
        while let Some(part) = rest.pop() {
            match part.as_str() {
                "" | "." => {}
                ".." => {
                    at.pop().ok_or("is a link that leaves the directory")?;
                }
                _ => {
                    at.push(part);
                    if let Some(Entry::Link { target }) = self.entries.get(&at.join("/")) {
                        links += 1;
                        if links > LONGEST_CHAIN {
                            return Err("is a link that leads to itself");
                        }
                        at.pop();
                        rest.extend(parts(target)?);
                    }
                }
            }
        }
        Ok(())
    }
}

/// The parts of the target of a link, the last one first.
fn parts(target: &str) -> Result<Vec<String>, &'static str> {
    if target.starts_with('/') {
        return Err("is a link to an absolute path");
    }
    if target.is_empty() {
        return Err("is a link to nothing");
    }
    Ok(target.split('/').rev().map(str::to_owned).collect())
}

pub(super) fn refused(path: &str, why: &'static str) -> ArchiveError {
    ArchiveError::Entry {
        name: crate::error::cut(path, 200),
        why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(entries: &[(&str, &str)]) -> Content {
        let mut content = Content::new(1000);
        for (path, target) in entries {
            let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
            content.add_directory(parent).unwrap();
            let entry = match *target {
                "dir" => Entry::Directory,
                "file" => Entry::File {
                    executable: false,
                    digest: [7; 32],
                    bytes: 1,
                },
                target => Entry::Link {
                    target: target.to_owned(),
                },
            };
            content.insert(path, entry).unwrap();
        }
        content
    }

    #[test]
    fn link_may_lead_nowhere_but_not_out() {
        for entries in [
            &[("a", "b"), ("b", "file")][..],
            &[("a", "missing/x")],
            &[("d/a", "../x")],
            &[("d/e/a", "../../x"), ("x", "file")],
            &[("node_modules/.bin/tool", "../tool/bin.js")],
            &[("a", ".")],
            &[("a", "x/..")],
        ] {
            assert!(content(entries).finish().is_ok(), "{entries:?}");
        }
        for (entries, word) in [
            (&[("a", "..")][..], "leaves"),
            (&[("a", "/etc/passwd")], "absolute"),
            (&[("d/a", "../../x")], "leaves"),
            (&[("a", "b"), ("b", "a")], "itself"),
            // In the text the target stays inside; through the other link it does not.
            (&[("d/up", ".."), ("x", "d/up/../secret")], "leaves"),
            (&[("d/e/f", "../.."), ("x", "d/e/f/../../y")], "leaves"),
            (&[("one", "two"), ("two", "/root")], "absolute"),
        ] {
            let error = content(entries).finish().unwrap_err().to_string();
            assert!(error.contains(word), "{entries:?}: {error}");
        }
    }

    #[test]
    fn digest_is_of_what_is_held_and_not_of_how() {
        let digest = |entries: &[(&str, &str)]| content(entries).finish().unwrap().digest;
        let plain = digest(&[("d/a", "file"), ("b", "file")]);
        let mut other = Content::new(10);
        other.add_directory("d").unwrap();
        assert!(other.add_directory("d").unwrap().is_empty());
        for path in ["b", "d/a"] {
            let (executable, digest, bytes) = (false, [7; 32], 1);
            let entry = Entry::File {
                executable,
                digest,
                bytes,
            };
            other.insert(path, entry).unwrap();
        }
        assert_eq!(other.finish().unwrap().digest, plain);
        for entries in [
            &[("d/a", "file")][..],
            &[("d/a", "file"), ("b", "x")],
            &[("d/a", "file"), ("c", "file")],
            &[("d/a", "file"), ("b", "file"), ("empty", "dir")],
        ] {
            assert_ne!(digest(entries), plain, "{entries:?}");
        }
    }

    #[test]
    fn root_is_the_only_directory_at_the_top() {
        for (entries, expected) in [
            (&[("shop/a", "file"), ("shop/b/c", "file")][..], Some("shop")),
            (&[("shop/a", "file"), ("b", "file")], None),
            (&[("a", "file")], None),
        ] {
            let summary = content(entries).finish().unwrap();
            assert_eq!(summary.root.as_deref(), expected);
        }
    }
}
