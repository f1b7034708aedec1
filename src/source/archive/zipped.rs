//! Entries of a zip.

use std::fs::File;
use std::io::{BufReader, Read as _};

use zip::ZipArchive;
use zip::result::ZipError;

use super::budget::{Budget, Metered};
use super::content::refused;
use super::error::ArchiveError;
use super::unpack::Unpacker;
use super::zip_layout;

/// The kinds of files in the mode of Unix.
const KIND: u32 = 0o170_000;
const KIND_LINK: u32 = 0o120_000;
const KIND_FILE: u32 = 0o100_000;
const KIND_DIRECTORY: u32 = 0o040_000;

/// Passes every entry to `into`.
pub(super) fn walk(mut file: File, budget: &Budget, into: &mut Unpacker<'_>) -> Result<(), ArchiveError> {
    let directory = zip_layout::check(&mut file, budget.limits().entries)?;
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(damaged)?;
    if archive.offset() != 0 || archive.central_directory_start() != directory.start {
        return Err(ArchiveError::Damaged {
            why: "it has two ends".to_owned(),
        });
    }
    // The library keeps the last one of those with the same name.
    if archive.len() as u64 != directory.entries {
        return Err(ArchiveError::Damaged {
            why: "two of its entries have the same name".to_owned(),
        });
    }
    for index in 0..archive.len() {
        let name = archive.name_for_index(index).unwrap_or_default().to_owned();
        let mut entry = match archive.by_index(index) {
            Err(ZipError::UnsupportedArchive(ZipError::PASSWORD_REQUIRED)) => {
                return Err(refused(&name, "is encrypted"));
            }
            entry => entry.map_err(damaged)?,
        };
        let raw = entry.name_raw().to_vec();
        if raw.contains(&b'\\') {
            let name = String::from_utf8_lossy(&raw).into_owned();
            return Err(refused(&name, "has a backslash in its name"));
        }
        let Some(path) = into.path(&raw)? else { continue };
        let mode = entry.unix_mode().unwrap_or_default();
        let length = entry.size();
        match mode & KIND {
            KIND_LINK => {
                let mut target = Vec::new();
                let read = Metered::new(&mut entry, budget)
                    .take(4096)
                    .read_to_end(&mut target);
                read.map_err(ArchiveError::damaged)?;
                into.link(&path, &target)?;
            }
            _ if raw.ends_with(b"/") => into.directory(&path)?,
            0 | KIND_FILE => {
                let mut content = Metered::new(&mut entry, budget);
                into.file(&path, mode & 0o100 != 0, length, &mut content)?;
            }
            KIND_DIRECTORY => into.directory(&path)?,
            _ => return Err(refused(&path, "is neither a file, a directory nor a link")),
        }
    }
    Ok(())
}

fn damaged(error: ZipError) -> ArchiveError {
    match error {
        ZipError::Io(error) => ArchiveError::damaged(error),
        other => ArchiveError::Damaged {
            why: other.to_string(),
        },
    }
}
