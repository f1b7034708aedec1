//! Whether a zip says one thing: its end, its directory and the headers in front of its entries agree. Programs differ in which of
//! them they believe, so in one that contradicts itself each would find other content.

use std::fs::File;
use std::io::{BufReader, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;

use super::content::refused;
use super::error::ArchiveError;

/// The record at the end of a zip, without its comment, and the longest comment.
const END: usize = 22;
const LONGEST_COMMENT: u64 = 65_535;
/// An entry of the directory, and the header in front of the entry itself, without names.
const RECORD: usize = 46;
const HEADER: usize = 30;
/// A name and the other fields of an entry in the directory of a zip, in bytes, at the most that is accepted on average.
const LARGEST_ENTRY: u64 = 1024;

/// Flags of an entry: it is encrypted, and its sizes stand behind it.
const ENCRYPTED: u64 = 1;
const SIZES_BEHIND: u64 = 8;
/// The field of an entry with sizes of 64 bits.
const ZIP64: u64 = 1;

/// The directory of a zip, as its end describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Directory {
    pub start: u64,
    pub bytes: u64,
    pub entries: u64,
    end: u64,
}

/// Checks the whole layout. Nothing is kept in memory but the places of the entries, of which there are at most `most`.
pub(super) fn check(file: &mut File, most: usize) -> Result<Directory, ArchiveError> {
    let directory = read_end(file, most)?;
    if directory.start.saturating_add(directory.bytes) != directory.end {
        return Err(damaged("its directory does not end where its end begins"));
    }
    check_entries(file, directory)?;
    file.seek(SeekFrom::Start(0)).map_err(ArchiveError::read)?;
    Ok(directory)
}

/// Reads the numbers at the end before the library makes room for so many entries.
fn read_end(file: &mut File, most: usize) -> Result<Directory, ArchiveError> {
    let size = file.metadata().map_err(ArchiveError::read)?.len();
    let start = size.saturating_sub(LONGEST_COMMENT + END as u64);
    file.seek(SeekFrom::Start(start)).map_err(ArchiveError::read)?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail).map_err(ArchiveError::read)?;
    let mut found = None;
    for (at, record) in tail.windows(END).enumerate() {
        if !record.starts_with(b"PK\x05\x06") {
            continue;
        }
        let (entries, bytes, comment) = (
            number(record, 10, 2),
            number(record, 12, 4),
            number(record, 20, 2),
        );
        let before = at.checked_sub(20).and_then(|from| tail.get(from..from + 4));
        if entries == 0xffff || bytes == 0xffff_ffff || before == Some(b"PK\x06\x07".as_slice()) {
            return Err(zip64());
        }
        if entries > most as u64 || bytes > (entries + 1) * LARGEST_ENTRY {
            return Err(ArchiveError::TooMany { limit: most });
        }
        let is_last = (at + END) as u64 + comment == tail.len() as u64;
        if !is_last {
            continue;
        }
        if found.is_some() {
            return Err(damaged("it has two ends"));
        }
        if number(record, 4, 4) != 0 || number(record, 8, 2) != entries {
            return Err(damaged("it is a part of a zip of several files"));
        }
        found = Some(Directory {
            start: number(record, 16, 4),
            bytes,
            entries,
            end: start + at as u64,
        });
    }
    found.ok_or_else(|| damaged("its end is missing"))
}

/// Compares the directory with the headers in front of the entries.
fn check_entries(file: &mut File, directory: Directory) -> Result<(), ArchiveError> {
    file.seek(SeekFrom::Start(directory.start))
        .map_err(ArchiveError::read)?;
    let file: &File = file;
    let mut records = BufReader::new(file.take(directory.bytes));
    let mut rest = directory.bytes;
    let mut places = Vec::new();
    for _ in 0..directory.entries {
        let mut record = [0_u8; RECORD];
        let mut take = |into: &mut [u8]| {
            rest = rest
                .checked_sub(into.len() as u64)
                .ok_or_else(|| damaged("its directory has fewer entries than its end says"))?;
            records.read_exact(into).map_err(ArchiveError::read)
        };
        take(&mut record)?;
        if !record.starts_with(b"PK\x01\x02") {
            return Err(damaged("its directory has fewer entries than its end says"));
        }
        let mut fields = [28, 30, 32].map(|at| vec![0_u8; length(&record, at)]);
        for field in &mut fields {
            take(field)?;
        }
        let [name, extra, _comment] = &fields;
        if has_zip64(extra) {
            return Err(zip64());
        }
        places.push(check_entry(file, &record, name, directory.start)?);
    }
    if rest > 0 {
        return Err(damaged("its directory has more entries than its end says"));
    }
    places.sort_unstable();
    let overlap = places
        .iter()
        .zip(places.iter().skip(1))
        .any(|((_, end), (begin, _))| begin < end);
    if overlap {
        return Err(damaged("its entries overlap"));
    }
    Ok(())
}

/// Compares an entry of the directory with the header in front of the entry. Returns where the entry begins and ends.
fn check_entry(file: &File, record: &[u8], name: &[u8], most: u64) -> Result<(u64, u64), ArchiveError> {
    let shown = String::from_utf8_lossy(name);
    let differs = |what: &str| {
        let shown = crate::error::cut(&shown, 200);
        ArchiveError::Damaged {
            why: format!("{what} of the entry {shown:?} in its directory is not that in front of the entry"),
        }
    };
    if number(record, 8, 2) & ENCRYPTED != 0 {
        return Err(refused(&shown, "is encrypted"));
    }
    let method = number(record, 10, 2);
    if !matches!(method, 0 | 8) {
        return Err(ArchiveError::Compression {
            name: crate::error::cut(&shown, 200),
            method: method_name(method),
        });
    }
    let begin = number(record, 42, 4);
    let missing = || damaged("an entry of its directory is not there");
    let mut header = [0_u8; HEADER];
    file.read_exact_at(&mut header, begin).map_err(|_| missing())?;
    if !header.starts_with(b"PK\x03\x04") {
        return Err(missing());
    }
    let mut own_name = vec![0_u8; length(&header, 26)];
    let mut extra = vec![0_u8; length(&header, 28)];
    let after = begin + HEADER as u64;
    file.read_exact_at(&mut own_name, after).map_err(|_| missing())?;
    let after = after + own_name.len() as u64;
    file.read_exact_at(&mut extra, after).map_err(|_| missing())?;
    let after = after + extra.len() as u64;
    if own_name != name {
        return Err(differs("the name"));
    }
    if has_zip64(&extra) {
        return Err(zip64());
    }
    let flags = number(&header, 6, 2);
    if flags & ENCRYPTED != 0 || number(&header, 8, 2) != method {
        return Err(differs("the compression"));
    }
    // The checksum, and both sizes.
    if flags & SIZES_BEHIND == 0 && header.get(14..26) != record.get(16..28) {
        return Err(differs("the size or the checksum"));
    }
    let end = after + number(record, 20, 4);
    if end > most {
        return Err(damaged("its entries overlap"));
    }
    Ok((begin, end))
}

/// Whether the further fields of an entry have sizes of 64 bits.
fn has_zip64(mut fields: &[u8]) -> bool {
    while let Some((head, rest)) = fields.split_at_checked(4) {
        if number(head, 0, 2) == ZIP64 {
            return true;
        }
        fields = rest.get(length(head, 2)..).unwrap_or_default();
    }
    false
}

fn method_name(method: u64) -> String {
    let known = match method {
        9 => "Deflate64",
        12 => "bzip2",
        14 => "LZMA",
        93 => "zstd",
        95 => "xz",
        _ => return format!("the method {method}"),
    };
    known.to_owned()
}

/// A number of a record, at this place and of so many bytes, the lowest first.
fn number(record: &[u8], at: usize, bytes: usize) -> u64 {
    let field = record.get(at..at + bytes).unwrap_or_default();
    field
        .iter()
        .rev()
        .fold(0_u64, |value, byte| (value << 8) | u64::from(*byte))
}

/// The length of a field, which has two bytes.
fn length(record: &[u8], at: usize) -> usize {
    usize::try_from(number(record, at, 2)).unwrap_or_default()
}

fn zip64() -> ArchiveError {
    ArchiveError::Format {
        what: "a zip64 archive, which is not accepted",
    }
}

fn damaged(why: &str) -> ArchiveError {
    ArchiveError::Damaged { why: why.to_owned() }
}
