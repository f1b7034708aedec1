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
mod zip_layout;
mod zipped;

use std::fs::File;
use std::path::Path;

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use tokio_util::sync::CancellationToken;

use self::budget::Budget;
pub use self::budget::Limits;
pub use self::content::Summary;
pub use self::error::ArchiveError;
use self::unpack::Unpacker;

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
