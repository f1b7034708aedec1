//! Uploaded archives: checked as a whole before anything of them is used, and identified by what they hold.
//!
//! The digest of an archive is one of its files, directories and links, not of its bytes: the same content as tar or zip,
//! packed now or tomorrow, has the same digest.

mod budget;
mod content;
mod error;
mod format;
mod path;
mod tarball;
mod unpack;
mod zipped;

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use tokio_util::sync::CancellationToken;

use self::budget::Budget;
pub use self::error::ArchiveError;
use self::unpack::Unpacker;
use crate::model::Digest;

/// What an archive may be.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The size of the archive, in bytes. Default 1 GiB.
    pub archive_bytes: u64,
    /// The size of everything in it, in bytes. Default 4 GiB.
    pub bytes: u64,
    /// The number of entries. Default 100 000.
    pub entries: usize,
    /// How many times larger its content may be than the archive itself, beyond [`Limits::free`]. Default 200.
    pub ratio: u64,
    /// The size of the content up to which the ratio does not matter, in bytes. Default 64 MiB.
    pub free: u64,
    /// How long reading it may take. Default 5 minutes.
    pub time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            archive_bytes: 1 << 30,
            bytes: 4 << 30,
            entries: 100_000,
            ratio: 200,
            free: 64 << 20,
            time: Duration::from_mins(5),
        }
    }
}

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

/// Reads an archive to its end and checks every entry. Blocks.
///
/// # Errors
/// The archive or an entry is refused, or cannot be read.
pub fn check(archive: &Path, limits: &Limits, cancel: &CancellationToken) -> Result<Summary, ArchiveError> {
    read(archive, limits, cancel, None)
}

/// Writes the content of an archive into an empty directory, by the same rules. Blocks.
///
/// # Errors
/// The archive or an entry is refused, cannot be read, or cannot be written.
pub fn unpack(
    archive: &Path,
    into: &Path,
    limits: &Limits,
    cancel: &CancellationToken,
) -> Result<Summary, ArchiveError> {
    let dir = Dir::open_ambient_dir(into, ambient_authority()).map_err(ArchiveError::written)?;
    read(archive, limits, cancel, Some(dir))
}

fn read(
    archive: &Path,
    limits: &Limits,
    cancel: &CancellationToken,
    into: Option<Dir>,
) -> Result<Summary, ArchiveError> {
    let file = File::open(archive).map_err(ArchiveError::read)?;
    let size = file.metadata().map_err(ArchiveError::read)?.len();
    if size > limits.archive_bytes {
        return Err(ArchiveError::ArchiveTooLarge {
            limit: limits.archive_bytes,
        });
    }
    let budget = Budget::new(limits.clone(), size, cancel.clone());
    let mut unpacker = Unpacker::new(&budget, into);
    format::walk(file, &budget, &mut unpacker)?;
    unpacker.finish()
}
