//! A source as a directory.

use std::path::PathBuf;

use crate::model::CommitId;

/// A commit as a directory on disk; removed when dropped.
#[derive(Debug)]
pub struct Checkout {
    /// Holds the directory until the build is over.
    pub dir: tempfile::TempDir,
    /// The commit.
    pub commit: CommitId,
    /// The first line of its message.
    pub message: String,
    /// Its author, as `Name <address>`.
    pub author: String,
}

impl Checkout {
    /// The root of the repository's files; it holds no `.git`.
    pub fn root(&self) -> PathBuf {
        self.dir.path().to_path_buf()
    }
}
