//! What BuildKit may read: a directory of the checkout, or a few files that Davit makes itself; and the walk over it
//! in the order that BuildKit's file transfer wants.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::UNIX_EPOCH;
use std::vec;

use sha2::{Digest as _, Sha256};

use bollard::fsutil::types::Stat;
use cap_std::fs::{Dir, DirEntry, Metadata, MetadataExt as _};

use super::context_filter::{Met, Selection};

// Go's `os.FileMode`, which is what the protocol carries.
const DIRECTORY: u32 = 1 << 31;
const SYMLINK: u32 = 1 << 27;

/// Something with files.
#[derive(Clone, Debug)]
pub enum Tree {
    /// Files of our own, by name, all at the top.
    Made(BTreeMap<String, Made>),
    /// A directory of the checkout.
    Checkout {
        /// Its handle: nothing outside is ever opened.
        dir: Arc<Dir>,
        /// Leave out what a web site must not publish: see [`is_private`].
        public_only: bool,
    },
}

/// A file of our own.
#[derive(Clone, Debug)]
pub enum Made {
    /// Text.
    Text(Vec<u8>),
    /// A program, read from an open file.
    Program(Arc<std::fs::File>),
}

/// True for names that are not published: hidden files but `.well-known` (RFC 8615), and Dockerfiles.
pub fn is_private(name: &str) -> bool {
    (name.starts_with('.') && name != ".well-known") || name == "Dockerfile"
}

impl Tree {
    /// A directory of the checkout, whole.
    pub fn checkout(dir: Dir) -> Self {
        Self::Checkout {
            dir: Arc::new(dir),
            public_only: false,
        }
    }

    /// A directory of the checkout without what must not be published.
    pub fn site(dir: Dir) -> Self {
        Self::Checkout {
            dir: Arc::new(dir),
            public_only: true,
        }
    }

    /// Calls `emit` for each selected entry, directories before what is in them, names in the order of their bytes:
    /// the receiver insists on it. Symbolic links are told as links and never followed. Stops when `emit` says false.
    ///
    /// # Errors
    /// A directory cannot be read, or a name is not UTF-8, which the protocol cannot carry.
    pub fn walk(&self, selection: &Selection, mut emit: impl FnMut(Stat) -> bool) -> io::Result<()> {
        match self {
            Self::Made(files) => {
                for (name, file) in files {
                    if selection.meet(name, None).taken && !emit(file.stat(name)?) {
                        break;
                    }
                }
                Ok(())
            }
            Self::Checkout { dir, public_only } => walk(dir, *public_only, selection, &mut emit),
        }
    }

    /// Opens a file that [`Tree::walk`] told of.
    ///
    /// # Errors
    /// It is gone.
    pub fn open(&self, path: &str) -> io::Result<Box<dyn Read + Send>> {
        match self {
            Self::Made(files) => match files.get(path) {
                Some(Made::Text(text)) => Ok(Box::new(io::Cursor::new(text.clone()))),
                Some(Made::Program(file)) => Ok(Box::new(FromStart {
                    file: Arc::clone(file),
                    at: 0,
                })),
                None => Err(io::ErrorKind::NotFound.into()),
            },
            Self::Checkout { dir, .. } => Ok(Box::new(dir.open(path)?)),
        }
    }

    /// The target of a symbolic link; nothing where the path is none.
    pub fn link(&self, path: &str) -> Option<String> {
        match self {
            Self::Made(_) => None,
            Self::Checkout { dir, .. } => dir
                .read_link_contents(path)
                .ok()?
                .into_os_string()
                .into_string()
                .ok(),
        }
    }
}

impl Made {
    fn stat(&self, name: &str) -> io::Result<Stat> {
        let (mode, size, mod_time) = match self {
            Self::Text(text) => (0o644, text.len() as u64, time_of(text)),
            Self::Program(file) => {
                let metadata = file.metadata()?;
                let written = metadata
                    .modified()
                    .ok()
                    .and_then(|at| at.duration_since(UNIX_EPOCH).ok());
                let nanos = written.and_then(|since| i64::try_from(since.as_nanos()).ok());
                (0o755, metadata.len(), nanos.unwrap_or_default())
            }
        };
        Ok(Stat {
            path: name.to_owned(),
            mode,
            size: signed(size),
            mod_time,
            ..Stat::default()
        })
    }
}

/// Reads a shared file from its start, whatever others read of it at the same time.
struct FromStart {
    file: Arc<std::fs::File>,
    at: u64,
}

impl Read for FromStart {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = std::os::unix::fs::FileExt::read_at(&*self.file, buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

/// A directory on the way: what it still has to give, its path with a trailing `/`, what became of it, and its own
/// entry while that has not been told, because only something below it might be selected.
struct Level {
    entries: vec::IntoIter<(String, DirEntry)>,
    prefix: String,
    met: Option<Met>,
    untold: Option<Stat>,
}

fn walk(
    dir: &Dir,
    public_only: bool,
    selection: &Selection,
    emit: &mut impl FnMut(Stat) -> bool,
) -> io::Result<()> {
    let mut levels = vec![Level {
        entries: sorted(dir.entries()?, "")?,
        prefix: String::new(),
        met: None,
        untold: None,
    }];
    while let Some(level) = levels.last_mut() {
        let Some((name, entry)) = level.entries.next() else {
            levels.pop();
            continue;
        };
        if public_only && is_private(&name) {
            continue;
        }
        let path = format!("{}{name}", level.prefix);
        let metadata = entry.metadata()?;
        let met = selection.meet(&path, level.met.as_ref());
        let kind = metadata.file_type();
        let mut stat = common(&path, &metadata);
        if kind.is_dir() {
            stat.mode = DIRECTORY | 0o755;
        } else if kind.is_symlink() {
            stat.mode = SYMLINK | 0o777;
            stat.linkname = text(dir.read_link_contents(&path)?.into_os_string(), &path)?;
        } else if kind.is_file() {
            // Git knows no more of a mode than this; what else there is comes from the umask of whoever fetched.
            stat.mode = if metadata.mode() & 0o111 == 0 {
                0o644
            } else {
                0o755
            };
            stat.size = signed(metadata.len());
        } else {
            continue;
        }
        let mut untold = Some(stat);
        if met.taken {
            let above = levels.iter_mut().filter_map(|level| level.untold.take());
            if !above.chain(untold.take()).all(&mut *emit) {
                return Ok(());
            }
        }
        if kind.is_dir() && met.looked_into {
            let entries = sorted(entry.open_dir()?.entries()?, &path)?;
            levels.push(Level {
                entries,
                prefix: format!("{path}/"),
                met: Some(met),
                untold,
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

/// A time that stands for the content: BuildKit asks only for files whose time or size is another one than at the
/// Application's last build, and what is made has no time of its own. (A Dockerfile whose content changed but not its
/// length was once built as it had been before.)
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
        let stat = |text: &str| Made::Text(text.into()).stat("Dockerfile").unwrap();
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
        let none_but = Selection::new(&tree, &[], &["**", "!z/y"], &[]).unwrap();
        assert_eq!(told(&tree, &none_but), ["z/", "z/y"]);
    }

    #[test]
    fn a_site_leaves_out_what_is_private() {
        let (_root, dir) = site();
        let published = told(&Tree::site(dir), &Selection::default());
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
