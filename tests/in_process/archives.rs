//! Uploaded archives: what is accepted in each format, and every class of malicious archive, made here.

mod zips;

use std::fs;
use std::io::{Cursor, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use davit::source::archive::{ArchiveError, Limits, Summary, check, unpack};
use davit_test_support::engine::Disk;
use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{Builder, EntryType, Header};
use tokio_util::sync::CancellationToken;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// An entry of a tar as it is written, without any check.
struct Raw<'a> {
    name: &'a [u8],
    kind: EntryType,
    link: &'a [u8],
    content: &'a [u8],
}

impl<'a> Raw<'a> {
    fn file(name: &'a str, content: &'a str) -> Self {
        Self::new(name, EntryType::Regular, "", content)
    }

    fn new(name: &'a str, kind: EntryType, link: &'a str, content: &'a str) -> Self {
        Self {
            name: name.as_bytes(),
            kind,
            link: link.as_bytes(),
            content: content.as_bytes(),
        }
    }

    fn header(&self) -> Header {
        let mut header = Header::new_gnu();
        let gnu = header.as_gnu_mut().unwrap();
        gnu.name[..self.name.len()].copy_from_slice(self.name);
        gnu.linkname[..self.link.len()].copy_from_slice(self.link);
        header.set_entry_type(self.kind);
        header.set_size(self.content.len() as u64);
        header.set_mode(0o6755);
        header.set_mtime(1);
        header.set_cksum();
        header
    }
}

fn tar(entries: &[Raw<'_>]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for entry in entries {
        builder.append(&entry.header(), entry.content).unwrap();
    }
    builder.into_inner().unwrap()
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

fn zip(files: &[(&str, &str)]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files {
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
        writer.start_file(*name, options.unix_permissions(0o755)).unwrap();
        writer.write_all(content.as_bytes()).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// The record of an extended header.
fn pax(records: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (key, value) in records {
        let rest = format!(" {key}={value}\n");
        let mut length = rest.len();
        while format!("{length}{rest}").len() != length {
            length += 1;
        }
        text += &length.to_string();
        text += &rest;
    }
    text
}

fn small() -> Limits {
    Limits {
        archive_bytes: 64 << 20,
        bytes: 256 << 20,
        entries: 1000,
        free: 1 << 20,
        ..Limits::default()
    }
}

/// Checks an archive and unpacks it: both find the same.
fn read(bytes: &[u8], limits: &Limits) -> (Result<Summary, ArchiveError>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let (archive, into) = (dir.path().join("archive"), dir.path().join("inside/of/this"));
    fs::write(&archive, bytes).unwrap();
    fs::create_dir_all(&into).unwrap();
    let cancel = CancellationToken::new();
    let checked = check(&archive, limits, &cancel);
    let unpacked = unpack(&archive, &into, limits, &cancel);
    match (&checked, &unpacked) {
        (Ok(checked), Ok(unpacked)) => assert_eq!(checked, unpacked),
        (Err(checked), Err(unpacked)) => assert_eq!(checked.to_string(), unpacked.to_string()),
        other => panic!("{other:?}"),
    }
    let beside: Vec<_> = fs::read_dir(dir.path().join("inside")).unwrap().collect();
    assert_eq!(beside.len(), 1, "something was written outside");
    (checked, dir)
}

fn refusal(bytes: &[u8]) -> String {
    read(bytes, &small()).0.unwrap_err().to_string()
}

#[test]
fn same_content_has_the_same_digest_in_every_format() {
    let files = [
        ("app/(group)/page.tsx", "export {}"),
        ("@types/x.d.ts", "declare"),
        ("app/[...slug]/$id & co.tsx", "x"),
        ("..a/b", "dots"),
    ];
    let plain = tar(&files.map(|(name, content)| Raw::file(name, content)));
    let mut with_directories = vec![
        Raw::new("./", EntryType::Directory, "", ""),
        Raw::new("./app/", EntryType::Directory, "", ""),
    ];
    with_directories.extend(files.iter().rev().map(|(name, content)| Raw::file(name, content)));
    let (whole, dir) = read(&plain, &small());
    let whole = whole.unwrap();
    assert_eq!((whole.files, whole.bytes, whole.root.as_deref()), (4, 21, None));
    let page = dir.path().join("inside/of/this/app/(group)/page.tsx");
    assert_eq!(fs::read_to_string(&page).unwrap(), "export {}");
    // Neither setuid nor what the group may do is taken over.
    assert_eq!(fs::metadata(&page).unwrap().permissions().mode() & 0o7777, 0o755);
    let half = plain.len() / 2;
    for (format, bytes) in [
        ("tar.gz", gz(&plain)),
        (
            "tar.gz of two members",
            [gz(&plain[..half]), gz(&plain[half..])].concat(),
        ),
        ("tar.zst", zstd(&plain)),
        (
            "tar.zst of several frames",
            [
                &zstd(&plain[..half])[..],
                b"\x50\x2a\x4d\x18\x03\0\0\0abc",
                &zstd(&plain[half..]),
            ]
            .concat(),
        ),
        ("zip", zip(&files)),
        ("tar with directories", tar(&with_directories)),
    ] {
        assert_eq!(read(&bytes, &small()).0.unwrap().digest, whole.digest, "{format}");
    }
}

#[test]
fn long_names_and_links_within_the_directory_are_accepted() {
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(120));
    let mut builder = Builder::new(Vec::new());
    let mut header = Header::new_gnu();
    header.set_size(1);
    header.set_mode(0o644);
    builder.append_data(&mut header, &long, &b"x"[..]).unwrap();
    let (gnu, _dir) = read(&builder.into_inner().unwrap(), &small());
    let records = pax(&[("path", &long), ("mtime", "1.5"), ("SCHILY.xattr.user.x", "y")]);
    let posix = tar(&[
        Raw::new(
            "pax_global_header",
            EntryType::XGlobalHeader,
            "",
            &pax(&[("comment", "3f2c")]),
        ),
        Raw::new("x", EntryType::XHeader, "", &records),
        Raw {
            kind: EntryType::Regular,
            ..Raw::file("short", "x")
        },
    ]);
    let (posix, _dir) = read(&posix, &small());
    // Both have the permission to execute or not, so only the names are compared.
    assert_eq!(gnu.unwrap().root, posix.unwrap().root);
    let (linked, dir) = read(
        &tar(&[
            Raw::file("a/b", "text"),
            Raw::new("link", EntryType::Symlink, "a/b", ""),
            Raw::new("a/up", EntryType::Symlink, "../link", ""),
            Raw::new("nowhere", EntryType::Symlink, "missing", ""),
            Raw::new("again", EntryType::Link, "a/b", ""),
        ]),
        &small(),
    );
    assert_eq!(linked.unwrap().files, 5);
    let into = dir.path().join("inside/of/this");
    for name in ["a/up", "again"] {
        assert_eq!(fs::read_to_string(into.join(name)).unwrap(), "text");
    }
}

#[test]
fn entries_outside_the_directory_are_refused() {
    for name in ["../x", "a/../../x", "/etc/passwd", "a/b/../../../x", ".."] {
        let file = tar(&[Raw::file(name, "x")]);
        let long = tar(&[
            Raw::new("long", EntryType::GNULongName, "", &format!("{name}\0")),
            Raw::file("a", "x"),
        ]);
        let extended = tar(&[
            Raw::new("x", EntryType::XHeader, "", &pax(&[("path", name)])),
            Raw::file("a", "x"),
        ]);
        let directory = tar(&[Raw::new(name, EntryType::Directory, "", ""), Raw::file("a", "x")]);
        for (form, bytes) in [
            ("file", file.clone()),
            ("tar.gz", gz(&file)),
            ("GNU", long),
            ("pax", extended),
            ("directory", directory),
            ("zip", zip(&[(name, "x")])),
        ] {
            let said = refusal(&bytes);
            assert!(
                said.contains("leaves the directory") || said.contains("absolute"),
                "{form} {name}: {said}"
            );
        }
    }
}

#[test]
fn links_that_leave_the_directory_are_refused() {
    let link = |name, target| Raw::new(name, EntryType::Symlink, target, "");
    for (entries, word) in [
        (vec![link("a", "/etc/passwd")], "absolute"),
        (vec![link("a", "..")], "leaves"),
        (vec![link("d/a", "../../x")], "leaves"),
        (vec![link("a", "b"), link("b", "a")], "itself"),
        (vec![link("d/up", ".."), link("x", "d/up/../secret")], "leaves"),
        // Written through a link.
        (vec![link("a", "b"), Raw::file("a/x", "x")], "below a link"),
        (
            vec![Raw::file("b/x", "x"), link("a", "b"), Raw::file("a/x", "x")],
            "below a link",
        ),
        (vec![link("a", "b"), Raw::file("a", "x")], "twice"),
        (
            vec![link("a", "b"), Raw::new("a", EntryType::Directory, "", "")],
            "below a link",
        ),
        (vec![Raw::new("a", EntryType::Link, "/etc/passwd", "")], "leaves"),
        (vec![Raw::new("a", EntryType::Link, "../../x", "")], "leaves"),
        (
            vec![
                Raw::new("a", EntryType::Link, "later", ""),
                Raw::file("later", ""),
            ],
            "no file before",
        ),
        (
            vec![link("l", "x"), Raw::new("a", EntryType::Link, "l", "")],
            "no file before",
        ),
        (
            vec![
                Raw::new("x", EntryType::XHeader, "", &pax(&[("linkpath", "../../etc")])),
                link("a", "b"),
            ],
            "leaves",
        ),
        (
            vec![
                Raw::new("long", EntryType::GNULongLink, "", "/etc/passwd\0"),
                link("a", "b"),
            ],
            "absolute",
        ),
    ] {
        let mut with_file = vec![Raw::file("file", "x")];
        with_file.extend(entries);
        let said = refusal(&tar(&with_file));
        assert!(said.contains(word), "{word}: {said}");
    }
    for (target, word) in [("../x", "leaves"), ("/x", "absolute")] {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        writer
            .add_symlink("a", target, SimpleFileOptions::default())
            .unwrap();
        let said = refusal(&writer.finish().unwrap().into_inner());
        assert!(said.contains(word), "{said}");
    }
}

#[test]
fn devices_and_contradictions_are_refused() {
    let other = |kind, link| vec![Raw::new("a", kind, link, ""), Raw::file("b", "")];
    let sparse = Raw::new("x", EntryType::XHeader, "", "22 GNU.sparse.major=1\n");
    for (entries, word) in [
        (other(EntryType::Char, ""), "device"),
        (other(EntryType::Block, ""), "device"),
        (other(EntryType::Fifo, ""), "named pipe"),
        (other(EntryType::new(b'V'), ""), "neither"),
        (other(EntryType::GNUSparse, ""), "sparse"),
        (vec![sparse, Raw::file("a", "x")], "sparse"),
        (
            vec![
                Raw::new("x", EntryType::XHeader, "", &pax(&[("size", "99999999999")])),
                Raw::file("a", "x"),
            ],
            "two sizes",
        ),
        (vec![Raw::file("a", "1"), Raw::file("./a", "2")], "twice"),
        (vec![Raw::file("a", "1"), Raw::file("a/b", "2")], "below a file"),
        (vec![Raw::file("a/b", "1"), Raw::file("a", "2")], "twice"),
        (vec![Raw::file("./", "1"), Raw::file("/", "2")], "absolute"),
        (vec![Raw::new("a", EntryType::Directory, "", "")], "without files"),
        (
            vec![Raw {
                name: b"caf\xe9",
                ..Raw::file("", "x")
            }],
            "UTF-8",
        ),
        (
            vec![
                Raw::new("x", EntryType::XHeader, "", "no record"),
                Raw::file("a", "x"),
            ],
            "damaged",
        ),
    ] {
        let said = refusal(&tar(&entries));
        assert!(said.contains(word), "{word}: {said}");
    }
    let name = "n".repeat(10 << 20);
    let long = tar(&[
        Raw::new("l", EntryType::GNULongName, "", &name),
        Raw::file("a", "x"),
    ]);
    assert!(refusal(&long).contains("an extended header has"));
}

#[test]
fn damaged_archives_are_refused() {
    let whole = tar(&[Raw::file("a", &"text ".repeat(1000))]);
    let compressed = gz(&whole);
    let mut huge = Raw::file("a", "x").header();
    // The size in base 256.
    huge.as_gnu_mut().unwrap().size = [0x80, 0, 0, 0, 0x7f, 0, 0, 0, 0, 0, 0, 0];
    huge.set_cksum();
    let mut sum = zip(&[("a", &"text ".repeat(1000))]);
    let at = sum.windows(4).position(|part| part == b"PK\x01\x02").unwrap();
    // The checksum in the directory of the zip.
    sum[at + 16] ^= 1;
    for (form, bytes) in [
        ("a tar", whole[..1024].to_vec()),
        ("a tar.gz", compressed[..compressed.len() / 2].to_vec()),
        ("a tar.zst", zstd(&whole)[..40].to_vec()),
        ("a zip", sum.clone()),
        ("the end of a zip", sum[..sum.len() - 10].to_vec()),
        ("a size", [huge.as_bytes().as_slice(), &[0; 512]].concat()),
        ("a checksum", {
            let mut bytes = whole.clone();
            bytes.splice(5 * 1024 + 512..5 * 1024 + 520, *b"xxxxxxxx");
            bytes
        }),
    ] {
        let said = refusal(&bytes);
        assert!(said.contains("damaged"), "{form}: {said}");
    }
    for (bytes, word) in [
        (&b""[..], "empty"),
        (b"#!/bin/sh\n", "no archive"),
        (b"\xfd7zXZ\0\0", "xz"),
        (b"BZh91AY", "bzip2"),
        (b"7z\xbc\xaf\x27\x1c", "7z"),
        (b"Rar!\x1a\x07\x01", "rar"),
    ] {
        let said = refusal(bytes);
        assert!(said.contains(word), "{word}: {said}");
    }
    assert!(refusal(&gz(b"no tar")).contains("damaged"));
}

#[test]
fn bombs_are_refused_before_they_cost_anything() {
    let zeros = "\0".repeat(8 << 20);
    let bomb = tar(&[Raw::file("a", &zeros)]);
    for (form, bytes) in [
        ("gzip", gz(&bomb)),
        ("zstd", zstd(&bomb)),
        ("zip", zip(&[("a", &zeros)])),
    ] {
        let said = refusal(&bytes);
        assert!(said.contains("times as large"), "{form}: {said}");
    }
    // What is skipped costs as much as what is taken.
    let skipped = tar(&[
        Raw::new("g", EntryType::XGlobalHeader, "", &zeros),
        Raw::file("a", ""),
    ]);
    assert!(refusal(&gz(&skipped)).contains("times as large"));

    let limits = Limits {
        bytes: 1 << 20,
        ..small()
    };
    let said = read(&bomb, &limits).0.unwrap_err().to_string();
    assert!(said.contains("larger than 1 MiB"), "{said}");
    let links: Vec<String> = (0..100).map(|number| format!("l{number}")).collect();
    let large = "x".repeat(100 << 10);
    let mut entries = vec![Raw::file("a", &large)];
    entries.extend(links.iter().map(|name| Raw::new(name, EntryType::Link, "a", "")));
    let said = read(&tar(&entries), &limits).0.unwrap_err().to_string();
    assert!(said.contains("larger than 1 MiB"), "hard links: {said}");

    let limits = Limits {
        entries: 40,
        ..small()
    };
    let names: Vec<String> = (0..60).map(|number| number.to_string()).collect();
    let many: Vec<_> = names.iter().map(|name| Raw::file(name, "")).collect();
    let files: Vec<_> = names.iter().map(|name| (name.as_str(), "")).collect();
    let deep = "d/".repeat(49);
    for bytes in [
        tar(&many),
        zip(&files),
        tar(&[Raw::new(&deep, EntryType::Directory, "", "")]),
    ] {
        let said = read(&bytes, &limits).0.unwrap_err().to_string();
        assert!(said.contains("more than 40 entries"), "{said}");
    }

    let limits = Limits {
        time: Duration::ZERO,
        ..small()
    };
    let said = read(&bomb, &limits).0.unwrap_err().to_string();
    assert!(said.contains("takes longer"), "{said}");
    let limits = Limits {
        archive_bytes: 1024,
        ..small()
    };
    assert!(
        read(&bomb, &limits)
            .0
            .unwrap_err()
            .to_string()
            .contains("archive is larger")
    );
}

#[test]
fn cancelled_reading_ends() {
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("archive");
    fs::write(&archive, tar(&[Raw::file("a", "x")])).unwrap();
    let cancel = CancellationToken::new();
    cancel.cancel();
    let ended = check(&archive, &small(), &cancel);
    assert!(matches!(ended, Err(ArchiveError::Cancelled)), "{ended:?}");
}

#[test]
fn full_disk_is_reported_as_such() {
    let disk = Disk::new(8);
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("archive");
    fs::write(&archive, tar(&[Raw::file("a", &"x".repeat(20 << 20))])).unwrap();
    let into = disk.path().join("into");
    fs::create_dir(&into).unwrap();
    let full = unpack(&archive, &into, &small(), &CancellationToken::new());
    assert!(matches!(full, Err(ArchiveError::DiskFull)), "{full:?}");
}
