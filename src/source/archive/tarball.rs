//! Entries of a tar.
//!
//! The extensions of GNU and POSIX are read here and not by the library, which would read a name of any length into memory.

use std::io::Read;

use tar::{Archive, Entry, EntryType, Header, PaxExtensions};

use super::content::refused;
use super::error::ArchiveError;
use super::unpack::Unpacker;

/// The largest extended header, in bytes.
const LARGEST_HEADER: u64 = 64 * 1024;

/// Extended headers that apply to the next entry.
#[derive(Default)]
struct Extended {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    sparse: bool,
}

/// Whether a block is the header of a tar.
pub(super) fn is_header(block: &[u8]) -> bool {
    let Ok(bytes) = <&[u8; 512]>::try_from(block) else {
        return false;
    };
    let mut header = Header::new_old();
    header.as_mut_bytes().copy_from_slice(bytes);
    let stated = header.cksum();
    header.set_cksum();
    stated.is_ok_and(|stated| header.cksum().is_ok_and(|sum| sum == stated))
}

/// Passes every entry to `into`.
pub(super) fn walk(reader: impl Read, into: &mut Unpacker<'_>) -> Result<(), ArchiveError> {
    let mut archive = Archive::new(reader);
    let entries = archive.entries().map_err(ArchiveError::damaged)?;
    let mut extended = Extended::default();
    for entry in entries.raw(true) {
        let mut entry = entry.map_err(ArchiveError::damaged)?;
        match entry.header().entry_type() {
            EntryType::GNULongName => extended.path = Some(name(&mut entry)?),
            EntryType::GNULongLink => extended.link = Some(name(&mut entry)?),
            EntryType::XHeader => extended.read(&small(&mut entry)?)?,
            // `git archive` writes the commit there.
            EntryType::XGlobalHeader => {}
            _ => take(&mut entry, std::mem::take(&mut extended), into)?,
        }
    }
    Ok(())
}

fn take(
    entry: &mut Entry<'_, impl Read>,
    extended: Extended,
    into: &mut Unpacker<'_>,
) -> Result<(), ArchiveError> {
    let raw = extended.path.unwrap_or_else(|| entry.path_bytes().into_owned());
    let Some(path) = into.path(&raw)? else {
        return Ok(());
    };
    let refuse = |why| Err(refused(&path, why));
    let size = entry.size();
    if extended.sparse || entry.header().entry_type() == EntryType::GNUSparse {
        return refuse("is a sparse file");
    }
    if extended.size.is_some_and(|stated| stated != size) {
        return refuse("has two sizes");
    }
    let link = || {
        extended
            .link
            .clone()
            .or_else(|| entry.link_name_bytes().map(std::borrow::Cow::into_owned))
    };
    match entry.header().entry_type() {
        EntryType::Directory => into.directory(&path),
        // Before POSIX a slash at the end made a directory.
        EntryType::Regular if raw.ends_with(b"/") => into.directory(&path),
        EntryType::Regular | EntryType::Continuous => {
            let mode = entry.header().mode().map_err(ArchiveError::damaged)?;
            into.file(&path, mode & 0o100 != 0, size, entry)
        }
        EntryType::Symlink => into.link(&path, &link().unwrap_or_default()),
        EntryType::Link => into.hard_link(&path, &link().unwrap_or_default()),
        EntryType::Char | EntryType::Block => refuse("is a device"),
        EntryType::Fifo => refuse("is a named pipe"),
        _ => refuse("is neither a file, a directory nor a link"),
    }
}

impl Extended {
    fn read(&mut self, records: &[u8]) -> Result<(), ArchiveError> {
        for record in PaxExtensions::new(records) {
            let record = record.map_err(ArchiveError::damaged)?;
            match record.key_bytes() {
                b"path" => self.path = Some(record.value_bytes().to_vec()),
                b"linkpath" => self.link = Some(record.value_bytes().to_vec()),
                b"size" => {
                    let size = std::str::from_utf8(record.value_bytes()).ok();
                    self.size = Some(size.and_then(|size| size.parse().ok()).unwrap_or(u64::MAX));
                }
                key if key.starts_with(b"GNU.sparse.") => self.sparse = true,
                _ => {}
            }
        }
        Ok(())
    }
}

/// The content of an extended header.
fn small(entry: &mut Entry<'_, impl Read>) -> Result<Vec<u8>, ArchiveError> {
    let size = entry.size();
    if size > LARGEST_HEADER {
        return Err(ArchiveError::Damaged {
            why: format!("an extended header has {size} bytes"),
        });
    }
    let mut content = Vec::new();
    entry
        .take(LARGEST_HEADER)
        .read_to_end(&mut content)
        .map_err(ArchiveError::damaged)?;
    Ok(content)
}

/// A long name of GNU, which ends with NUL.
fn name(entry: &mut Entry<'_, impl Read>) -> Result<Vec<u8>, ArchiveError> {
    let mut name = small(entry)?;
    while name.last() == Some(&0) {
        name.pop();
    }
    Ok(name)
}
