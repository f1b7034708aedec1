//! How the git executable is run, and what is asked of it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use super::remote::GitRemote;
use crate::model::{CommitId, RefSpec};

/// How Git is run and where it may keep things.
#[derive(Clone, Debug)]
pub struct GitOptions {
    /// Where repositories are kept between fetches; absolute, and of one process only.
    pub cache_dir: PathBuf,
    /// The most that they may take, in bytes. Default 2 GiB.
    pub max_cache_bytes: u64,
    /// For development: allow file URLs, and http to this very machine. Default false.
    pub allow_file: bool,
    /// The git program, by path or by its name in `path`. Default `git`.
    pub program: OsString,
    /// The davit program, which Git calls as ssh; see [`super::ssh`].
    pub davit: PathBuf,
    /// `PATH` for git and ssh. Default: the directories where Linux systems keep programs.
    pub path: OsString,
    /// Further variables for git, such as `HTTPS_PROXY`. Default none: nothing else is inherited.
    pub environment: Vec<(OsString, OsString)>,
    /// The longest that asking for refs may take. Default 60 s.
    pub resolve_timeout: Duration,
    /// The longest that one fetch may take. Default 15 min.
    pub fetch_timeout: Duration,
}

impl GitOptions {
    /// The defaults, with the cache in `cache_dir` and `davit` as the program that Git calls as ssh.
    pub fn new(cache_dir: impl Into<PathBuf>, davit: impl Into<PathBuf>) -> Self {
        Self {
            cache_dir: cache_dir.into(),
            max_cache_bytes: 2 * 1024 * 1024 * 1024,
            allow_file: false,
            program: "git".into(),
            davit: davit.into(),
            path: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into(),
            environment: Vec::new(),
            resolve_timeout: Duration::from_mins(1),
            fetch_timeout: Duration::from_mins(15),
        }
    }
}

/// What to lay out.
#[derive(Clone, Copy, Debug)]
pub struct CheckoutRequest<'a> {
    /// The repository.
    pub remote: &'a GitRemote,
    /// The commit.
    pub commit: &'a CommitId,
    /// The ref that named it: where to look for it at a server that gives no commit by its hash.
    pub spec: &'a RefSpec,
    /// Lay out submodules too.
    pub submodules: bool,
}
