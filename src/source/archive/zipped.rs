//! Entries of a zip.

use std::fs::File;
use std::io::{BufReader, Read as _, Seek as _, SeekFrom};

use zip::ZipArchive;
use zip::result::ZipError;

use super::budget::{Budget, Metered};
use super::content::refused;
use super::error::ArchiveError;
use super::unpack::Unpacker;

/// The record at the end of a zip, without its comment, and the longest comment.
const END: usize = 22;
const LONGEST_COMMENT: u64 = 65_535;
/// A name and the other fields of an entry in the directory of a zip, in bytes, at the most that is accepted on average.
const LARGEST_ENTRY: u64 = 1024;

/// The kinds of files in the mode of Unix.
const KIND: u32 = 0o170_000;
const KIND_LINK: u32 = 0o120_000;
const KIND_FILE: u32 = 0o100_000;
const KIND_DIRECTORY: u32 = 0o040_000;

/// Passes every entry to `into`.
pub(super) fn walk(mut file: File, budget: &Budget, into: &mut Unpacker<'_>) -> Result<(), ArchiveError> {
    check_end(&mut file, budget)?;
    let size = file.metadata().map_err(ArchiveError::read)?.len();
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(damaged)?;
    if archive.len() > budget.limits().entries {
        let limit = budget.limits().entries;
        return Err(ArchiveError::TooMany { limit });
    }
    let mut compressed = 0;
    for index in 0..archive.len() {
        let name = archive.name_for_index(index).unwrap_or_default().to_owned();
        let mut entry = match archive.by_index(index) {
            Err(ZipError::UnsupportedArchive(ZipError::PASSWORD_REQUIRED)) => {
                return Err(refused(&name, "is encrypted"));
            }
            entry => entry.map_err(damaged)?,
        };
        compressed += entry.compressed_size();
        if compressed > size {
            return Err(ArchiveError::Damaged {
                why: "its entries overlap".to_owned(),
            });
        }
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

/// Checks the numbers at the end of a zip before the library makes room for so many entries.
fn check_end(file: &mut File, budget: &Budget) -> Result<(), ArchiveError> {
    let size = file.metadata().map_err(ArchiveError::read)?.len();
    let start = size.saturating_sub(LONGEST_COMMENT + END as u64);
    file.seek(SeekFrom::Start(start)).map_err(ArchiveError::read)?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail).map_err(ArchiveError::read)?;
    file.seek(SeekFrom::Start(0)).map_err(ArchiveError::read)?;
    let limit = budget.limits().entries;
    let mut ends = 0;
    for (at, record) in tail.windows(END).enumerate() {
        if !record.starts_with(b"PK\x05\x06") {
            continue;
        }
        let number = |at: usize, bytes: usize| {
            let field = record.get(at..at + bytes).unwrap_or_default();
            field
                .iter()
                .rev()
                .fold(0_u64, |value, byte| (value << 8) | u64::from(*byte))
        };
        let (entries, directory, comment) = (number(10, 2), number(12, 4), number(20, 2));
        let is_last = (at + END) as u64 + comment == tail.len() as u64;
        ends += u64::from(is_last);
        let before = at.checked_sub(20).and_then(|from| tail.get(from..from + 4));
        if entries == 0xffff || directory == 0xffff_ffff || before == Some(b"PK\x06\x07".as_slice()) {
            return Err(ArchiveError::Format {
                what: "a zip64 archive, which is not accepted",
            });
        }
        if entries > limit as u64 || directory > (entries + 1) * LARGEST_ENTRY {
            return Err(ArchiveError::TooMany { limit });
        }
    }
    if ends == 0 {
        return Err(ArchiveError::Damaged {
            why: "its end is missing".to_owned(),
        });
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
