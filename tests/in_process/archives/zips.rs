//! A zip says three times what it holds: at its end, in its directory, and in front of each entry.

use std::io::{Cursor, Write as _};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::{read, refusal, small, zip};

#[test]
fn zip_that_lies_about_its_entries_is_refused() {
    let whole = zip(&[("a", "one"), ("b", "two")]);
    let directory = whole.windows(4).position(|part| part == b"PK\x01\x02").unwrap();
    let second = directory
        + 4
        + whole[directory + 4..]
            .windows(4)
            .position(|part| part == b"PK\x01\x02")
            .unwrap();
    let end = whole.windows(4).position(|part| part == b"PK\x05\x06").unwrap();
    let changed = |at: usize, bytes: &[u8]| {
        let mut archive = whole.clone();
        archive.splice(at..at + bytes.len(), bytes.iter().copied());
        archive
    };
    // Both entries are the same bytes, as in the bombs of David Fifield.
    let mut overlapping = changed(second + 42, &whole[directory + 42..directory + 46]);
    let size = u32::try_from(whole.len()).unwrap().to_le_bytes();
    overlapping.splice(directory + 20..directory + 24, size);
    for (what, bytes) in [
        ("overlapping entries", overlapping),
        ("a longer entry", changed(second + 24, &[200])),
        (
            "an entry that is not there",
            changed(second + 42, &[0xff, 0xff, 0xff, 0]),
        ),
    ] {
        let said = refusal(&bytes);
        assert!(said.contains("damaged"), "{what}: {said}");
    }
    for (what, bytes, word) in [
        ("an encrypted entry", changed(second + 8, &[1]), "encrypted"),
        ("a backslash", zip(&[("a\\b", "x")]), "backslash"),
        ("bzip2", changed(second + 10, &[12]), "compressed with bzip2"),
        ("LZMA", changed(second + 10, &[14]), "compressed with LZMA"),
        (
            "a method that does not exist",
            changed(second + 10, &[98]),
            "compressed with the method 98",
        ),
        ("a device", changed(second + 38, &[0, 0, 0xa4, 0x21]), "neither"),
        ("too many entries", changed(end + 10, &[0xfe, 0xfe]), "more than"),
        ("zip64", changed(end + 10, &[0xff, 0xff]), "zip64"),
    ] {
        let said = refusal(&bytes);
        assert!(said.contains(word), "{what}: {said}");
    }
    let mut mac = zip(&[("__MACOSX/._a", "x"), (".git/config", "x"), ("a", "x")]);
    assert_eq!(read(&mac, &small()).0.unwrap().files, 1);
    // A program in front of it, as in archives that unpack themselves.
    mac.splice(0..0, *b"#!/bin/sh\n");
    assert!(refusal(&mac).contains("no archive"));
}

/// Where a record of a zip with this signature begins, the `nth` one.
fn record(zip: &[u8], signature: [u8; 4], nth: usize) -> usize {
    let mut all = zip.windows(4).enumerate().filter(|(_, part)| *part == signature);
    all.nth(nth).unwrap().0
}

fn stored(files: &[(&str, &[u8])], options: SimpleFileOptions) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files {
        let options = options.compression_method(CompressionMethod::Stored);
        writer.start_file(*name, options).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

#[test]
fn zip_in_which_programs_find_different_files_is_refused() {
    let options = SimpleFileOptions::default();
    let whole = stored(&[("a", b"one"), ("b", b"two")], options);
    assert_eq!(read(&whole, &small()).0.unwrap().files, 2);
    let end = record(&whole, *b"PK\x05\x06", 0);
    let second = record(&whole, *b"PK\x01\x02", 1);
    let header = record(&whole, *b"PK\x03\x04", 1);
    let changed = |changes: &[(usize, &[u8])]| {
        let mut archive = whole.clone();
        for (at, bytes) in changes {
            archive.splice(*at..*at + bytes.len(), bytes.iter().copied());
        }
        archive
    };
    // The entry `b` stands a second time within the content of `a`.
    let inner = stored(&[("b", b"two")], options);
    let inner = &inner[..record(&inner, *b"PK\x01\x02", 0)];
    let mut overlapping = stored(&[("a", inner), ("b", b"two")], options);
    let at = record(&overlapping, *b"PK\x01\x02", 1) + 42;
    let within = u32::try_from(record(&overlapping, *b"PK\x03\x04", 1)).unwrap();
    overlapping.splice(at..at + 4, within.to_le_bytes());
    let mut comment = whole.clone();
    comment[end + 20] = 22;
    comment.extend_from_slice(&whole[end..]);
    for (what, bytes, word) in [
        (
            "two entries of one name",
            changed(&[(header + 30, b"a"), (second + 46, b"a")]),
            "two of its entries have the same name",
        ),
        (
            "two entries in the same place",
            changed(&[(second + 42, &[0; 4])]),
            "the name of the entry \"b\"",
        ),
        ("overlapping entries", overlapping, "its entries overlap"),
        (
            "another name in front of the entry",
            changed(&[(header + 30, b"c")]),
            "the name of the entry \"b\"",
        ),
        (
            "another size in front of the entry",
            changed(&[(header + 22, &[9])]),
            "the size or the checksum of the entry \"b\"",
        ),
        (
            "a count that is too small",
            changed(&[(end + 8, &[1, 0, 1, 0])]),
            "more entries than its end says",
        ),
        (
            "a count that is too large",
            changed(&[(end + 8, &[3, 0, 3, 0])]),
            "fewer entries than its end says",
        ),
        ("two counts", changed(&[(end + 8, &[1, 0])]), "several files"),
        (
            "a directory that is too short",
            changed(&[(end + 12, &[1])]),
            "does not end where its end begins",
        ),
        ("two ends", comment, "it has two ends"),
        (
            "zip64 in front of the entry",
            stored(&[("a", b"one")], options.large_file(true)),
            "zip64",
        ),
    ] {
        let said = refusal(&bytes);
        assert!(said.contains(word), "{what}: {said}");
    }
}
