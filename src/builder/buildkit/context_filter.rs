//! Which files of a tree BuildKit asks for: those that the Dockerfile can reach (`followpaths`), without what
//! `.dockerignore` leaves out.

use super::dockerignore::{self, BadPattern, Patterns};

/// The longest chain of symbolic links that is followed, as in the kernel.
const LONGEST_CHAIN: u8 = 40;

/// What is asked for. The default is everything.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Paths that are wanted with everything below them; nothing for all.
    wanted: Option<Vec<String>>,
    /// Patterns one of which must fit; nothing for all.
    only: Option<Patterns>,
    exclude: Patterns,
}

impl Selection {
    /// From the metadata of BuildKit's request. `follow` names paths whose symbolic links are to be resolved within
    /// `tree`, so that what they lead to is there too.
    ///
    /// # Errors
    /// A pattern cannot be read.
    pub fn new(
        link: impl Fn(&str) -> Option<String>,
        follow: &[&str],
        exclude: &[&str],
        include: &[&str],
    ) -> Result<Self, BadPattern> {
        let only = if include.is_empty() {
            None
        } else {
            Some(Patterns::new(include.iter().copied())?)
        };
        let exclude = Patterns::new(exclude.iter().copied())?;
        let mut wanted = Some(Vec::new());
        for path in follow {
            // More than is needed is always right, so what is hard to follow means everything.
            if path.contains(['*', '?', '[', '\\']) {
                wanted = None;
                break;
            }
            wanted =
                wanted.and_then(|mut paths| reach(&link, path, &mut paths, LONGEST_CHAIN).map(|()| paths));
        }
        let wanted = wanted.filter(|_| !follow.is_empty());
        Ok(Self {
            wanted,
            only,
            exclude,
        })
    }

    /// The same with other patterns of what to leave out.
    pub fn without(self, exclude: Patterns) -> Self {
        Self { exclude, ..self }
    }

    /// What becomes of a path, where `above` is what became of the directory that it is in; nothing for the top.
    pub fn matches(&self, path: &str, above: Option<&Match>) -> Match {
        let exclude = self.exclude.matches(path, above.map(|above| &above.exclude));
        let only = self
            .only
            .as_ref()
            .map(|only| only.matches(path, above.and_then(|above| above.only.as_ref())));
        let reached = self
            .wanted
            .as_ref()
            .is_none_or(|wanted| wanted.iter().any(|top| is_at_or_below(path, top)));
        let on_the_way = reached
            || self
                .wanted
                .as_ref()
                .is_some_and(|wanted| wanted.iter().any(|top| is_at_or_below(top, path)));
        Match {
            taken: reached && only.as_ref().is_none_or(|only| only.meant) && !exclude.meant,
            looked_into: on_the_way && (!exclude.meant || !self.exclude.is_plain()),
            exclude,
            only,
        }
    }
}

/// What becomes of a path.
#[derive(Clone, Debug)]
pub struct Match {
    /// It is asked for.
    pub taken: bool,
    /// If it is a directory: something below it may be asked for.
    pub looked_into: bool,
    exclude: dockerignore::Match,
    only: Option<dockerignore::Match>,
}

fn is_at_or_below(path: &str, top: &str) -> bool {
    path.strip_prefix(top)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Adds the path, and every symbolic link on it with its target. Adds nothing if the whole context is included.
fn reach(
    link: &impl Fn(&str) -> Option<String>,
    path: &str,
    wanted: &mut Vec<String>,
    links_left: u8,
) -> Option<()> {
    let parts: Vec<&str> = path.split('/').collect();
    let mut at: Vec<&str> = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        match *part {
            "" | "." => continue,
            ".." => {
                at.pop();
                continue;
            }
            name => at.push(name),
        }
        let here = at.join("/");
        if let Some(target) = link(&here) {
            wanted.push(here);
            at.pop();
            let from = if target.starts_with('/') {
                String::new()
            } else {
                at.join("/")
            };
            let rest = parts.get(index + 1..).unwrap_or_default().join("/");
            return reach(
                link,
                &format!("{from}/{target}/{rest}"),
                wanted,
                links_left.checked_sub(1)?,
            );
        }
    }
    if at.is_empty() {
        return None;
    }
    wanted.push(at.join("/"));
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builder::buildkit::Tree;
    use cap_std::ambient_authority;
    use cap_std::fs::Dir;
    use std::os::unix::fs::symlink;

    fn met(selection: &Selection, path: &str) -> Match {
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        ends.fold(None, |above: Option<Match>, end| {
            Some(selection.matches(&path[..end], above.as_ref()))
        })
        .unwrap()
    }

    #[test]
    fn what_a_link_leads_to_is_taken_along() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("real/deep")).unwrap();
        symlink("real", root.path().join("link")).unwrap();
        symlink("/real", root.path().join("absolute")).unwrap();
        symlink("../../outside", root.path().join("real/out")).unwrap();
        symlink("round", root.path().join("round")).unwrap();
        let tree = Tree::checkout(Dir::open_ambient_dir(root.path(), ambient_authority()).unwrap());
        for (follow, taken, left) in [
            (
                &["link/deep"][..],
                &["link", "real/deep/x"][..],
                &["real/other", "realx"][..],
            ),
            (&["absolute"], &["absolute", "real/x"], &["x"]),
            (&["./src/", "/lib"], &["src/a", "lib"], &["srcs", "a"]),
            (&["real/out/x"], &["real/out", "outside/x"], &["real/y"]),
            (&["."], &["a"], &[]),
            (&["a", "*.txt"], &["b"], &[]),
            (&["round"], &["b"], &[]),
            (&[], &["b"], &[]),
        ] {
            let selection = Selection::new(|path| tree.link(path), follow, &[], &[]).unwrap();
            for path in taken {
                assert!(met(&selection, path).taken, "{follow:?} takes {path}");
            }
            for path in left {
                assert!(!met(&selection, path).taken, "{follow:?} leaves {path}");
            }
        }
    }

    #[test]
    fn a_directory_is_looked_into_only_where_something_may_be_found() {
        let link = |_: &str| None;
        let plain = Selection::new(link, &["a/b"], &["a/b/node_modules"], &[]).unwrap();
        for (path, looked_into) in [
            ("a", true),
            ("a/b/c", true),
            ("b", false),
            ("a/b/node_modules", false),
        ] {
            assert_eq!(met(&plain, path).looked_into, looked_into, "{path}");
        }
        let with_exception = Selection::new(link, &[], &["x", "!x/**/y"], &[]).unwrap();
        assert!(met(&with_exception, "x/z").looked_into && !met(&with_exception, "x/z").taken);
        assert!(met(&with_exception, "x/z/y").taken);
    }
}
