//! `spec.trigger.watchPaths`: which changed files concern an Application.

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::error::Problem;

/// Patterns as in a `.gitignore`: a file is watched if the last pattern that matches it, or a directory that it is in, does
/// not begin with `!`.
#[derive(Clone, Debug)]
pub struct WatchPaths {
    /// Whether each pattern includes, and what it matches.
    patterns: Vec<(bool, Gitignore)>,
    /// Whether a file is watched that no pattern matches.
    others: bool,
}

impl WatchPaths {
    /// Reads the patterns. Without any, every file is watched; if every pattern begins with `!`, every other file is.
    ///
    /// # Errors
    /// A pattern is invalid.
    pub fn new(patterns: &[String]) -> Result<Self, Problem> {
        let read = |pattern: &String| {
            let (includes, path) = pattern
                .strip_prefix('!')
                .map_or((true, pattern.as_str()), |path| (false, path));
            let mut builder = GitignoreBuilder::new("");
            builder.add_line(None, &normalised(path))?;
            Ok((includes, builder.build()?))
        };
        let read = |pattern: &String| {
            read(pattern).map_err(|error: ignore::Error| {
                Problem::invalid(format!(
                    "read spec.trigger.watchPaths: pattern {pattern:?} is invalid: {error}; write patterns as in a .gitignore"
                ))
            })
        };
        let patterns: Vec<_> = patterns.iter().map(read).collect::<Result<_, _>>()?;
        Ok(Self {
            others: patterns.iter().all(|(includes, _)| !includes),
            patterns,
        })
    }

    /// Reports whether a file of the repository is watched, by its path from the root.
    pub fn watches(&self, path: &str) -> bool {
        let path = path.trim_start_matches('/');
        let matches = |pattern: &Gitignore| pattern.matched_path_or_any_parents(path, false).is_ignore();
        let last = self.patterns.iter().rev().find(|(_, pattern)| matches(pattern));
        last.map_or(self.others, |(includes, _)| *includes)
    }

    /// Reports whether any of these files is watched.
    pub fn watches_any<'p>(&self, mut paths: impl Iterator<Item = &'p String>) -> bool {
        paths.any(|path| self.watches(path))
    }
}

/// `./src` as Git's patterns have it: `/src`.
fn normalised(path: &str) -> String {
    match path.strip_prefix("./") {
        Some(path) => format!("/{}", path.trim_start_matches('/')),
        None => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(patterns: &[&str]) -> WatchPaths {
        let patterns: Vec<String> = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
        WatchPaths::new(&patterns).unwrap()
    }

    #[test]
    fn pattern_matches_as_in_a_gitignore() {
        let rows: &[(&[&str], &[&str], &[&str])] = &[
            (
                &["src"],
                &["src/a", "src/b/.env", "src", "lib/src/a"],
                &["srcs/a", "a"],
            ),
            (&["src/"], &["src/a", "src/b/c", "lib/src/a"], &["src", "other/a"]),
            (
                &["/src/**"],
                &["src/a", "src/.hidden/b"],
                &["lib/src/a", "src.txt"],
            ),
            (&["./src/**"], &["src/a", "src/.hidden/b"], &["lib/src/a"]),
            (&["./src"], &["src/a", "src"], &["lib/src/a"]),
            (&["src/**"], &["src/a", "src/b/c"], &["lib/src/a"]),
            (&["*.md"], &["a.md", "docs/.x.md"], &["a.txt"]),
            (&["/*.md"], &["a.md"], &["docs/a.md"]),
            (
                &["apps/*/package.json"],
                &["apps/web/package.json"],
                &["apps/web/x/package.json"],
            ),
            (
                &["**/Dockerfile"],
                &["Dockerfile", "a/b/Dockerfile"],
                &["Dockerfile2"],
            ),
            (
                &["apps/web/**", "!apps/web/docs/**"],
                &["apps/web/a", "apps/web/.github/x"],
                &["apps/web/docs/a.md", "apps/web/docs/b/c", "apps/api/a"],
            ),
            (&["src", "!src/docs"], &["src/a"], &["src/docs/a"]),
            (&["src", "!*.md"], &["src/a"], &["src/a.md", "a.md"]),
            (&["!*.md", "src"], &["src/a.md"], &["a.txt"]),
            (
                &["src", "!src/docs", "src/docs/keep"],
                &["src/docs/keep"],
                &["src/docs/a"],
            ),
            (&["!docs/**"], &["a", "src/b", ".env"], &["docs/a"]),
            (&["!./docs"], &["a", "src/docs/b"], &["docs/a"]),
            (&[], &["a", ".env"], &[]),
            (&["a b/ü*"], &["a b/über"], &["a b/x"]),
            (&["\\!important"], &["!important"], &["important"]),
            (&["# comment"], &[], &["# comment"]),
        ];
        for (patterns, watched, others) in rows {
            let watch = watch(patterns);
            for path in *watched {
                assert!(watch.watches(path), "{patterns:?} watches {path}");
            }
            for path in *others {
                assert!(!watch.watches(path), "{patterns:?} does not watch {path}");
            }
        }
    }

    #[test]
    fn invalid_pattern_is_named() {
        let problem = WatchPaths::new(&["src".to_owned(), "{a".to_owned()]).unwrap_err();
        assert!(problem.message.contains("spec.trigger.watchPaths"), "{problem:?}");
        assert!(problem.message.contains("{a"), "{problem:?}");
    }
}
