//! The Applications whose containers were left without an owner.

use std::io;
use std::path::PathBuf;

/// The UIDs of Applications that were deleted with `deletionPolicy: Orphan`, a file each.
#[derive(Clone, Debug)]
pub struct Orphans {
    dir: PathBuf,
}

impl Orphans {
    /// Keeps the files in `dir`, which is created when it is first needed.
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Records a UID.
    ///
    /// # Errors
    /// The file cannot be created.
    pub fn add(&self, uid: &str) -> io::Result<()> {
        std::fs::create_dir_all(&self.dir)?;
        std::fs::File::create(self.dir.join(uid))?.sync_all()
    }

    /// Reports whether a UID is recorded.
    pub fn has(&self, uid: &str) -> bool {
        !uid.is_empty() && self.dir.join(uid).exists()
    }
}
