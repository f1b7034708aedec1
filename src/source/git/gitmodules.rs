//! `.gitmodules`: which submodules a commit describes, and how many one checkout may have. Pure.

use std::collections::BTreeMap;

use super::error::SourceError;
use crate::model::CommitId;

/// The most submodules of one checkout, nested ones included.
pub(super) const MOST: usize = 100;
/// The deepest that submodules may be nested.
pub(super) const DEEPEST: usize = 8;

/// How many submodules one checkout may still have, so that a repository which contains itself ends.
#[derive(Debug)]
pub(super) struct Budget {
    pub(super) left: usize,
    pub(super) depth: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            left: MOST,
            depth: DEEPEST,
        }
    }
}

/// A submodule as the parent's commit describes it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Module {
    pub(super) path: String,
    pub(super) url: String,
    pub(super) commit: CommitId,
}

pub(super) fn invalid(path: impl Into<String>, why: impl Into<String>) -> SourceError {
    SourceError::SubmoduleInvalid {
        path: path.into(),
        why: why.into(),
    }
}

/// Path and URL of each entry of `.gitmodules`, from `git config --list --null`.
pub(super) fn described(entries: &str) -> Result<BTreeMap<String, String>, SourceError> {
    #[derive(Default)]
    struct Entry<'e> {
        path: Option<&'e str>,
        url: Option<&'e str>,
        unwanted: bool,
    }
    let mut by_name: BTreeMap<&str, Entry<'_>> = BTreeMap::new();
    for entry in entries.split_terminator('\0') {
        let (key, value) = entry.split_once('\n').unwrap_or((entry, ""));
        let Some((name, variable)) = key
            .strip_prefix("submodule.")
            .and_then(|rest| rest.rsplit_once('.'))
        else {
            continue;
        };
        let entry = by_name.entry(name).or_default();
        match variable {
            "path" => entry.path = Some(value),
            "url" => entry.url = Some(value),
            "update" => entry.unwanted = value == "none",
            _ => {}
        }
    }
    if by_name.len() > MOST {
        return Err(invalid(".gitmodules", format!("it describes more than {MOST}")));
    }
    let mut found = BTreeMap::new();
    for (name, entry) in by_name {
        let Some(path) = entry.path else { continue };
        if entry.unwanted {
            continue;
        }
        if !is_inside(path) {
            return Err(invalid(name, "its path leads out of the repository"));
        }
        let url = entry
            .url
            .filter(|url| !url.is_empty())
            .ok_or_else(|| invalid(path, "it has no url"))?;
        found.insert(path.to_owned(), url.to_owned());
    }
    Ok(found)
}

/// Those that the commit really has, from `git ls-tree -z`: an entry that no commit pins is only a leftover.
pub(super) fn pinned(tree: &str, mut described: BTreeMap<String, String>) -> Vec<Module> {
    tree.split_terminator('\0')
        .filter_map(|line| {
            let (object, path) = line.split_once('\t')?;
            let commit = CommitId::parse(object.strip_prefix("160000 commit ")?)?;
            let (path, url) = described.remove_entry(path)?;
            Some(Module { path, url, commit })
        })
        .collect()
}

fn is_inside(path: &str) -> bool {
    !path.is_empty()
        && !path.contains(['\\', '\n'])
        && path
            .split('/')
            .all(|part| !matches!(part, "" | "." | "..") && !part.eq_ignore_ascii_case(".git"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gitmodules_is_read_with_care() {
        let entries = "submodule.a.b.path\nlib/a\0submodule.a.b.url\n../a.git\0submodule.old.path\nold\0\
                       submodule.old.url\nhttps://h/x\0submodule.skip.path\nskip\0submodule.skip.update\nnone\0core.x\n1\0";
        let found = described(entries).unwrap();
        let expected = BTreeMap::from([
            ("lib/a".to_owned(), "../a.git".to_owned()),
            ("old".to_owned(), "https://h/x".to_owned()),
        ]);
        assert_eq!(found, expected);
        let hash = "a".repeat(40);
        let tree = format!("160000 commit {hash}\tlib/a\0100644 blob {hash}\told\0");
        let modules = pinned(&tree, found);
        assert_eq!(
            modules,
            [Module {
                path: "lib/a".to_owned(),
                url: "../a.git".to_owned(),
                commit: CommitId::parse(&hash).unwrap()
            }]
        );
        for path in ["../x", "/x", "a/../b", "a//b", ".git/x", "a/.GIT", "", "a\\b"] {
            let entries = format!("submodule.x.path\n{path}\0submodule.x.url\nhttps://h/x\0");
            assert!(described(&entries).is_err(), "{path}");
        }
        assert!(described("submodule.x.path\nx\0").is_err(), "no url");
    }
}
