//! Files that are no store, other formats, compaction.

use std::path::{Path, PathBuf};

use redb::Database;

use super::{
    Disk, StoreError,
    disk_tests::{Writer, load, secrets},
};

fn real(directory: &Path) -> (PathBuf, PathBuf) {
    (directory.join("store.redb"), directory.join("key"))
}

#[test]
fn what_is_no_store_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let (path, key) = real(directory.path());
    drop(Disk::open(&path, &key, secrets).unwrap());
    let good = std::fs::read(&path).unwrap();
    let mut magic = good.clone();
    magic[0] ^= 1;
    for (what, bytes) in [
        ("empty", &[][..]),
        ("cut off in the magic", &good[..2]),
        ("cut off in the header", &good[..100]),
        ("cut off later", &good[..good.len() / 2]),
        ("another magic", &magic),
        (
            "something else",
            &b"SQLite format 3\0 and so on and so forth".repeat(100),
        ),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let error = Disk::open(&path, &key, secrets)
            .and_then(|mut disk| load(&mut disk).map(|_| ()))
            .expect_err(what)
            .to_string();
        assert!(
            error.contains("store.redb") && error.contains("restore a backup"),
            "{what}: {error}"
        );
        assert_eq!(std::fs::read(&path).unwrap().len(), bytes.len(), "{what}");
    }
    std::fs::write(&path, &good).unwrap();
    let held = Disk::open(&path, &key, secrets).unwrap();
    assert!(matches!(
        Disk::open(&path, &key, secrets),
        Err(StoreError::InUse { .. })
    ));
    drop(held);
}

#[test]
fn database_that_another_process_releases_during_the_start_is_opened() {
    let directory = tempfile::tempdir().unwrap();
    let (path, key) = real(directory.path());
    let held = Disk::open(&path, &key, secrets).unwrap();
    let opened = std::thread::scope(|scope| {
        let start = scope.spawn(|| Disk::open(&path, &key, secrets).map(drop));
        // The start has found the lock; now the process that held it ends.
        std::thread::sleep(3 * super::database::LOCK_PAUSE);
        drop(held);
        start.join().unwrap()
    });
    opened.unwrap();
}

/// A file that was large and is nearly empty gives its room back at the next start.
#[test]
fn a_start_compacts() {
    let directory = tempfile::tempdir().unwrap();
    let (path, key) = real(directory.path());
    let mut disk = Disk::open(&path, &key, secrets).unwrap();
    let mut writer = Writer::new();
    for round in 0..200u8 {
        writer
            .batch(&mut disk, &[(round, 60_000)].map(|(n, s)| (n, s + 1)))
            .unwrap();
    }
    let all: Vec<(u8, u16)> = (0..199u8).map(|name| (name, 0)).collect();
    writer.batch(&mut disk, &all).unwrap();
    drop(disk);
    let before = std::fs::metadata(&path).unwrap().len();
    assert!(before > 16 << 20, "{before}");
    let mut disk = Disk::open(&path, &key, secrets).unwrap();
    assert_eq!(load(&mut disk).unwrap().1, writer.contents);
    writer.batch(&mut disk, &[(3, 3)]).unwrap();
    drop(disk);
    let after = std::fs::metadata(&path).unwrap().len();
    assert!(after < before / 4, "{before} → {after}");
    assert_eq!(
        load(&mut Disk::open(&path, &key, secrets).unwrap()).unwrap().1,
        writer.contents
    );
}

/// What an earlier version wrote, which knew no log; and what a later one will, which this one must leave alone.
#[test]
fn other_formats_are_taken_over_or_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (path, key) = real(directory.path());
    let mut writer = Writer::new();
    let mut disk = Disk::open(&path, &key, secrets).unwrap();
    writer.batch(&mut disk, &[(1, 3), (2, 4)]).unwrap();
    drop(disk);
    let mark = |format: &str| {
        const META: redb::TableDefinition<'_, &str, &[u8]> = redb::TableDefinition::new("meta");
        let database = Database::open(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        {
            let mut meta = transaction.open_table(META).unwrap();
            meta.insert("format", format.as_bytes()).unwrap();
            meta.remove("log").unwrap();
        }
        transaction.commit().unwrap();
    };
    mark("2");
    std::fs::remove_file(path.with_extension("log")).unwrap();
    let mut disk = Disk::open(&path, &key, secrets).unwrap();
    assert_eq!(load(&mut disk).unwrap().1, writer.contents);
    writer.batch(&mut disk, &[(3, 3)]).unwrap();
    writer.batch(&mut disk, &[(4, 3)]).unwrap();
    drop(disk);
    let mut disk = Disk::open(&path, &key, secrets).unwrap();
    assert_eq!(load(&mut disk).unwrap().1, writer.contents);
    drop(disk);
    mark("4");
    let Err(StoreError::Format { format, .. }) = Disk::open(&path, &key, secrets) else {
        panic!("a store of a later version opened");
    };
    assert_eq!(format, "4");
}
