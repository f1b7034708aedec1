//! The files that BuildKit may read: a directory of the checkout and generated files; and the walk over them in the
//! order that BuildKit's file transfer requires.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::Arc;
use std::vec;

use sha2::{Digest as _, Sha256};

use bollard::fsutil::types::Stat;
use cap_std::fs::{Dir, DirEntry, Metadata, MetadataExt as _};

use super::context_filter::{Match, Selection};
use super::dockerignore::Patterns;

// Go's `os.FileMode`, which is what the protocol carries.
const DIRECTORY: u32 = 1 << 31;
const SYMLINK: u32 = 1 << 27;
/// The mode of a generated program.
const PROGRAM: u32 = 0o755;

/// The files that BuildKit may read under one name: generated files, and at most one directory of the checkout.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    /// Generated files by name, all at the top. They take precedence over the checkout.
    generated: BTreeMap<String, Generated>,
    checkout: Option<Checkout>,
    ignore: Option<Patterns>,
}

/// A directory of the checkout. Nothing outside its handle is ever opened.
#[derive(Clone, Debug)]
struct Checkout {
    dir: Arc<Dir>,
    /// The directory of the tree that it appears as; empty for the top.
    at: &'static str,
    /// Leave out what a web site must not publish: see [`is_private`].
    public_only: bool,
}

/// The content of a generated file.
#[derive(Clone, Debug)]
pub enum Generated {
    /// Text, with mode 0644.
    Text(Vec<u8>),
    /// An executable, with mode 0755.
    Program(&'static [u8]),
}

/// True for names that are not published: hidden files but `.well-known` (RFC 8615), and Dockerfiles.
pub fn is_private(name: &str) -> bool {
    (name.starts_with('.') && name != ".well-known") || name == "Dockerfile"
}

impl Tree {
    /// A directory of the checkout, whole.
    pub fn checkout(dir: Dir) -> Self {
        Self::of(dir, "", false)
    }

    /// A directory of the checkout without what must not be published, as the directory `at` (empty for the top).
    pub fn site(dir: Dir, at: &'static str) -> Self {
        Self::of(dir, at, true)
    }

    fn of(dir: Dir, at: &'static str, public_only: bool) -> Self {
        Self {
            checkout: Some(Checkout {
                dir: Arc::new(dir),
                at,
                public_only,
            }),
            ..Self::default()
        }
    }

    /// Adds a generated file.
    pub fn with(mut self, name: impl Into<String>, content: Generated) -> Self {
        self.generated.insert(name.into(), content);
        self
    }

    /// Adds text to the end of a generated file.
    pub fn append(&mut self, name: &str, text: &str) {
        if let Some(Generated::Text(content)) = self.generated.get_mut(name) {
            content.push(b'\n');
            content.extend_from_slice(text.as_bytes());
        }
    }

    /// Leaves out what the patterns of a `.dockerignore` exclude.
    pub fn without(mut self, ignore: Patterns) -> Self {
        self.ignore = Some(ignore);
        self
    }

    /// The patterns of the `.dockerignore` that applies to this tree.
    pub fn ignore(&self) -> Option<&Patterns> {
        self.ignore.as_ref()
    }

    /// Calls `emit` for each selected entry, directories before what is in them, names in the order of their bytes:
    /// the receiver insists on it. Symbolic links are sent as links and never followed. Stops when `emit` returns false.
    ///
    /// # Errors
    /// A directory cannot be read, or a name is not UTF-8, which the protocol cannot carry.
    pub fn walk(&self, selection: &Selection, mut emit: impl FnMut(Stat) -> bool) -> io::Result<()> {
        let mut top = BTreeMap::new();
        let public_only = self.is_public_only();
        if let Some(Checkout { dir, at, .. }) = &self.checkout {
            if at.is_empty() {
                top.extend(sorted(dir.entries()?, "")?.map(|(name, entry)| (name, Entry::Found(entry))));
                top.retain(|name, _| !public_only || !is_private(name));
            } else {
                top.insert((*at).to_owned(), Entry::Mount(Arc::clone(dir)));
            }
        }
        for (name, content) in &self.generated {
            top.insert(name.clone(), Entry::Generated(content.stat(name)));
        }
        walk(self, top.into_iter().collect(), selection, &mut emit)
    }

    /// Opens a file that [`Tree::walk`] emitted.
    ///
    /// # Errors
    /// The file no longer exists.
    pub fn open(&self, path: &str) -> io::Result<Box<dyn Read + Send>> {
        match self.generated.get(path) {
            Some(Generated::Text(text)) => return Ok(Box::new(io::Cursor::new(text.clone()))),
            Some(Generated::Program(program)) => return Ok(Box::new(*program)),
            None => {}
        }
        let (dir, path) = self.in_checkout(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(dir.open(path)?))
    }

    /// The target of a symbolic link; `None` if the path is not a link.
    pub fn link(&self, path: &str) -> Option<String> {
        if self.generated.contains_key(path) {
            return None;
        }
        let (dir, path) = self.in_checkout(path)?;
        dir.read_link_contents(path)
            .ok()?
            .into_os_string()
            .into_string()
            .ok()
    }

    fn is_public_only(&self) -> bool {
        self.checkout
            .as_ref()
            .is_some_and(|checkout| checkout.public_only)
    }

    fn in_checkout<'p>(&self, path: &'p str) -> Option<(&Dir, &'p str)> {
        let Checkout { dir, at, .. } = self.checkout.as_ref()?;
        if at.is_empty() {
            return Some((dir, path));
        }
        let below = path.strip_prefix(at)?.strip_prefix('/')?;
        Some((dir, below))
    }
}

impl Generated {
    fn stat(&self, name: &str) -> Stat {
        let (mode, content) = match self {
            Self::Text(text) => (0o644, text.as_slice()),
            Self::Program(program) => (PROGRAM, *program),
        };
        Stat {
            path: name.to_owned(),
            mode,
            size: signed(content.len() as u64),
            mod_time: time_of(content),
            ..Stat::default()
        }
    }
}

/// An entry of a directory.
enum Entry {
    Found(DirEntry),
    Generated(Stat),
    Mount(Arc<Dir>),
}

impl Entry {
    /// The entry as it is sent; `None` for what is neither file, directory nor link.
    fn stat(&self, path: &str, tree: &Tree) -> io::Result<Option<Stat>> {
        let entry = match self {
            Self::Generated(stat) => return Ok(Some(stat.clone())),
            Self::Mount(dir) => {
                let mut stat = common(path, &dir.dir_metadata()?);
                stat.mode = DIRECTORY | 0o755;
                return Ok(Some(stat));
            }
            Self::Found(entry) => entry,
        };
        let metadata = entry.metadata()?;
        let kind = metadata.file_type();
        let mut stat = common(path, &metadata);
        if kind.is_dir() {
            stat.mode = DIRECTORY | 0o755;
        } else if kind.is_symlink() {
            stat.mode = SYMLINK | 0o777;
            let (dir, below) = tree.in_checkout(path).ok_or(io::ErrorKind::NotFound)?;
            stat.linkname = text(dir.read_link_contents(below)?.into_os_string(), path)?;
        } else if kind.is_file() {
            // Git stores no other permission; the rest comes from the umask of the process that fetched.
            stat.mode = if metadata.mode() & 0o111 == 0 {
                0o644
            } else {
                0o755
            };
            stat.size = signed(metadata.len());
        } else {
            return Ok(None);
        }
        Ok(Some(stat))
    }

    fn entries(&self) -> io::Result<Option<cap_std::fs::ReadDir>> {
        match self {
            Self::Found(entry) => Ok(Some(entry.open_dir()?.entries()?)),
            Self::Mount(dir) => Ok(Some(dir.entries()?)),
            Self::Generated(_) => Ok(None),
        }
    }
}

/// A directory on the way: its remaining entries, its path with a trailing `/`, whether it was selected, and its own
/// entry while that has not been sent, because only something below it might be selected.
struct Level {
    entries: vec::IntoIter<(String, Entry)>,
    prefix: String,
    matched: Option<Match>,
    unsent: Option<Stat>,
}

fn walk(
    tree: &Tree,
    top: Vec<(String, Entry)>,
    selection: &Selection,
    emit: &mut impl FnMut(Stat) -> bool,
) -> io::Result<()> {
    let public_only = tree.is_public_only();
    let mut levels = vec![Level {
        entries: top.into_iter(),
        prefix: String::new(),
        matched: None,
        unsent: None,
    }];
    while let Some(level) = levels.last_mut() {
        let Some((name, entry)) = level.entries.next() else {
            levels.pop();
            continue;
        };
        let path = format!("{}{name}", level.prefix);
        let matched = selection.matches(&path, level.matched.as_ref());
        let Some(stat) = entry.stat(&path, tree)? else {
            continue;
        };
        let is_directory = stat.mode & DIRECTORY != 0;
        let mut unsent = Some(stat);
        // A pattern of the source means no program that Davit adds.
        let is_program = matches!(&entry, Entry::Generated(stat) if stat.mode == PROGRAM);
        if matched.taken || is_program {
            let above = levels.iter_mut().filter_map(|level| level.unsent.take());
            if !above.chain(unsent.take()).all(&mut *emit) {
                return Ok(());
            }
        }
        if is_directory
            && matched.looked_into
            && let Some(entries) = entry.entries()?
        {
            let entries: Vec<_> = sorted(entries, &path)?
                .filter(|(name, _)| !public_only || !is_private(name))
                .map(|(name, entry)| (name, Entry::Found(entry)))
                .collect();
            levels.push(Level {
                entries: entries.into_iter(),
                prefix: format!("{path}/"),
                matched: Some(matched),
                unsent,
            });
        }
    }
    Ok(())
}

fn sorted(entries: cap_std::fs::ReadDir, above: &str) -> io::Result<vec::IntoIter<(String, DirEntry)>> {
    let mut all = Vec::new();
    for entry in entries {
        let entry = entry?;
        all.push((text(entry.file_name(), above)?, entry));
    }
    all.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    Ok(all.into_iter())
}

fn text(name: std::ffi::OsString, above: &str) -> io::Result<String> {
    name.into_string().map_err(|name| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            // With what cannot be shown in escapes, so that it can be told which file is meant.
            std::path::Path::new(above)
                .join(name)
                .as_os_str()
                .as_encoded_bytes()
                .escape_ascii()
                .to_string(),
        )
    })
}

fn common(path: &str, metadata: &Metadata) -> Stat {
    // Times are kept, to the second, as Docker keeps them: web servers derive a file's ETag from time and size, and
    // with one time for all files a browser would be told that a changed page of the same length has not changed.
    // BuildKit's cache does not look at them. In place of the fraction stands what tells two writings of one file
    // apart, because BuildKit asks only for files whose entry differs from the one of the Application's last build.
    let written = metadata.ctime().wrapping_mul(1_000_003)
        ^ metadata.ctime_nsec()
        ^ signed(metadata.ino()).wrapping_mul(7919);
    Stat {
        path: path.to_owned(),
        mod_time: metadata
            .mtime()
            .saturating_mul(1_000_000_000)
            .saturating_add(written.rem_euclid(1_000_000_000)),
        ..Stat::default()
    }
}

/// A time that stands for the content: BuildKit asks only for files whose time or size differs from the Application's last build.
fn time_of(text: &[u8]) -> i64 {
    let hash = Sha256::digest(text);
    let number = hash
        .iter()
        .take(8)
        .fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    // Positive, and no later than what a file system can hold.
    signed(number >> 4)
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cap_std::ambient_authority;

    fn told(tree: &Tree, selection: &Selection) -> Vec<String> {
        let mut paths = Vec::new();
        tree.walk(selection, |stat| {
            let mark = if stat.mode & DIRECTORY != 0 {
                "/"
            } else if stat.mode & SYMLINK != 0 {
                "@"
            } else {
                ""
            };
            paths.push(format!("{}{mark}", stat.path));
            true
        })
        .unwrap();
        paths
    }

    fn site() -> (tempfile::TempDir, Dir) {
        let root = tempfile::tempdir().unwrap();
        for dir in ["a", ".git", ".well-known", "z/empty"] {
            std::fs::create_dir_all(root.path().join(dir)).unwrap();
        }
        for file in [
            "a.b",
            "a/x",
            "a-b",
            ".git/config",
            ".well-known/acme",
            ".env",
            "Dockerfile",
            "z/y",
        ] {
            std::fs::write(root.path().join(file), file).unwrap();
        }
        std::os::unix::fs::symlink("/etc", root.path().join("link")).unwrap();
        let dir = Dir::open_ambient_dir(root.path(), ambient_authority()).unwrap();
        (root, dir)
    }

    #[test]
    fn what_is_made_has_another_time_when_its_content_is_another() {
        let stat = |text: &str| Generated::Text(text.into()).stat("Dockerfile");
        assert_eq!(stat("FROM a"), stat("FROM a"));
        assert_eq!(stat("FROM a").size, stat("FROM b").size);
        assert_ne!(stat("FROM a").mod_time, stat("FROM b").mod_time);
    }

    #[test]
    fn the_walk_is_in_the_order_of_the_protocol() {
        let (_root, dir) = site();
        let tree = Tree::checkout(dir);
        let whole = [
            ".env",
            ".git/",
            ".git/config",
            ".well-known/",
            ".well-known/acme",
            "Dockerfile",
            "a/",
            "a/x",
            "a-b",
            "a.b",
            "link@",
            "z/",
            "z/empty/",
            "z/y",
        ];
        // `a/` with what is in it stands before `a-b`: the receiver compares part by part.
        let mut expected: Vec<&str> = whole.to_vec();
        expected.sort_by_key(|path| path.trim_end_matches(['/', '@']).split('/').collect::<Vec<_>>());
        assert_eq!(told(&tree, &Selection::default()), expected);
        let none_but = Selection::new(|_| None, &[], &["**", "!z/y"], &[]).unwrap();
        assert_eq!(told(&tree, &none_but), ["z/", "z/y"]);
    }

    #[test]
    fn a_site_leaves_out_what_is_private() {
        let (_root, dir) = site();
        let published = told(&Tree::site(dir, ""), &Selection::default());
        assert_eq!(
            published,
            [
                ".well-known/",
                ".well-known/acme",
                "a/",
                "a/x",
                "a-b",
                "a.b",
                "link@",
                "z/",
                "z/empty/",
                "z/y"
            ]
        );
    }

    #[test]
    fn files_are_read_whole_and_links_are_not_followed() {
        let (_root, dir) = site();
        let tree = Tree::checkout(dir);
        let mut text = String::new();
        tree.open("a/x").unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "a/x");
        assert!(tree.open("link/passwd").is_err());
        assert_eq!(tree.link("link").as_deref(), Some("/etc"));
    }

    #[test]
    fn a_file_written_again_is_another() {
        let (root, dir) = site();
        let tree = Tree::checkout(dir);
        let stat = || {
            let mut found = None;
            tree.walk(&Selection::default(), |stat| {
                if stat.path == "a.b" {
                    found = Some(stat);
                }
                true
            })
            .unwrap();
            found.unwrap()
        };
        let before = stat();
        assert_eq!(before, stat());
        let path = root.path().join("a.b");
        let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
        std::fs::write(&path, "A.B").unwrap();
        std::fs::File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(modified)
            .unwrap();
        let after = stat();
        assert_eq!(
            (before.size, before.mod_time / 1_000_000_000),
            (after.size, after.mod_time / 1_000_000_000)
        );
        assert_ne!(before.mod_time, after.mod_time);
    }
}
