//! What the disk may do to a store: lose power, run full, be damaged.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::Arc,
};

use proptest::prelude::*;
use redb::Database;
use serde_json::json;
use tokio::sync::mpsc;

use super::{
    Backend as _, Change, Disk, Expect, GroupResource, ObjectKey, Record, Refused, Store, StoreError,
    cipher::Cipher,
    database::Table,
    envelope::Sealing,
    object::Object,
    simulated_disk::{Disks, File},
};

/// A log that some batches fill, and some do not fit into.
const LOG_BYTES: usize = 12 << 10;

pub(super) fn secrets(collection: &GroupResource) -> bool {
    &*collection.resource == "secrets"
}

fn sealing(directory: &Path) -> Arc<Sealing> {
    Arc::new(Sealing {
        cipher: Cipher::from_file(&directory.join("key"), true).unwrap(),
        sealed: secrets,
    })
}

fn open(disks: &Disks, sealing: &Arc<Sealing>) -> Result<Disk, StoreError> {
    let file = disks.table.clone();
    let opener = move || {
        Database::builder()
            .set_cache_size(1 << 20)
            .create_with_backend(File(file.clone()))
    };
    let path = Path::new("/data/store.redb");
    let table = Table::open(path, &sealing.cipher, Box::new(opener))?;
    Disk::with(
        table,
        Box::new(File(disks.log.clone())),
        LOG_BYTES,
        sealing.clone(),
    )
}

fn object(name: &str, text: &str, revision: u64) -> Object {
    let mut value = json!({"kind": "Secret", "apiVersion": "v1", "metadata": {"name": name, "namespace": "n"}, "data": text});
    Object::render(value.as_object_mut().unwrap(), revision).unwrap()
}

pub(super) type Contents = BTreeMap<String, Vec<u8>>;

pub(super) fn load(disk: &mut Disk) -> Result<(u64, Contents), StoreError> {
    let mut found = Contents::new();
    let revision = disk.load(&mut |collection, object| {
        found.insert(
            format!("{collection}/{}", object.key.name),
            object.json().to_vec(),
        );
    })?;
    Ok((revision, found))
}

/// Writes batches of (name, size) and keeps what each state was.
pub(super) struct Writer {
    pub(super) revision: u64,
    pub(super) states: HashMap<u64, Contents>,
    pub(super) contents: Contents,
}

impl Writer {
    pub(super) fn new() -> Self {
        Self {
            revision: 1,
            states: HashMap::from([(1, Contents::new())]),
            contents: Contents::new(),
        }
    }

    pub(super) fn batch(&mut self, disk: &mut Disk, changes: &[(u8, u16)]) -> Result<(), StoreError> {
        let mut contents = self.contents.clone();
        let mut revision = self.revision;
        let mut records = Vec::new();
        for (name, size) in changes {
            revision += 1;
            let resource = if name % 2 == 0 { "secrets" } else { "configmaps" };
            let collection = Arc::new(GroupResource::new("", resource));
            let text = format!("{revision}").repeat(usize::from(*size));
            let made = object(&format!("o{name}"), &text, revision);
            let row = format!("{collection}/o{name}");
            let removed = size % 5 == 0;
            if removed {
                contents.remove(&row);
            } else {
                contents.insert(row, made.json().to_vec());
            }
            let key = made.key.clone();
            records.retain(|record: &Record| record.key != key);
            records.push(Record {
                collection,
                key,
                object: (!removed).then(|| Arc::new(made)),
            });
        }
        self.states.insert(revision, contents.clone());
        disk.commit(revision, &records)?;
        (self.revision, self.contents) = (revision, contents);
        Ok(())
    }
}

fn batches() -> impl Strategy<Value = Vec<Vec<(u8, u16)>>> {
    prop::collection::vec(prop::collection::vec((0u8..40, 0u16..600), 1..6), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// The power fails at any moment, and of what was not yet synced any part may be there: a store opens, every
    /// commit that had returned is in it, and it is exactly one of the states that were written.
    #[test]
    fn power_loss_never_takes_what_was_acknowledged(
        batches in batches(),
        lasts in prop::collection::vec(any::<bool>(), 1..40),
        torn in 0usize..9,
        moment in 0isize..120,
        again in prop::option::of(0isize..20),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let sealing = sealing(directory.path());
        let disks = Disks::new();
        let mut disk = open(&disks, &sealing).unwrap();
        let mut writer = Writer::new();
        disks.fail_after(moment);
        for batch in &batches {
            if writer.batch(&mut disk, batch).is_err() {
                break; // The write was not acknowledged.
            }
        }
        let mut disks = disks.after_power_loss(&lasts, torn);
        drop(disk);
        if let Some(moment) = again {
            // It fails once more, while the start repairs.
            disks.fail_after(moment);
            let half = open(&disks, &sealing);
            let left = disks.after_power_loss(&lasts, torn);
            drop(half);
            disks = left;
        }
        let mut disk = open(&disks, &sealing).unwrap();
        let (revision, found) = load(&mut disk).unwrap();
        prop_assert!(revision >= writer.revision, "{} < {}", revision, writer.revision);
        prop_assert_eq!(Some(&found), writer.states.get(&revision));
        writer.revision = revision;
        writer.contents = found;
        writer.batch(&mut disk, &[(1, 3)]).unwrap();
        writer.batch(&mut disk, &[(2, 3)]).unwrap();
        drop(disk);
        let (_, found) = load(&mut open(&disks, &sealing).unwrap()).unwrap();
        prop_assert_eq!(&found, &writer.contents);
    }

    /// The process was killed, and then something happened to its log: either that is said, or at most the last batch is
    /// missing, which cannot be told from one that was being written.
    #[test]
    fn a_damaged_log_is_refused_or_harmless(
        batches in batches(),
        flip in prop::option::of((any::<prop::sample::Index>(), 0u8..8)),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let sealing = sealing(directory.path());
        let disks = Disks::new();
        let mut disk = open(&disks, &sealing).unwrap();
        let mut writer = Writer::new();
        let mut before = 1;
        for batch in &batches {
            before = writer.revision;
            writer.batch(&mut disk, batch).unwrap();
        }
        let killed = disks.copy();
        let mut log = killed.log.now.lock().clone();
        let last = log.iter().rposition(|byte| *byte != 0).unwrap_or(0) + 1;
        if let Some((index, bit)) = &flip {
            log[index.index(last)] ^= 1 << bit;
        }
        if let Some(cut) = cut {
            log.truncate(cut.index(log.len()));
        }
        let whole = flip.is_none() && cut.is_none();
        let killed = Disks::with(killed.table.now.lock().clone(), log);
        match open(&killed, &sealing).and_then(|mut disk| load(&mut disk)) {
            Err(error) => {
                let text = error.to_string();
                prop_assert!(text.contains("/data/store.redb") && text.contains("log"), "{}", text);
                prop_assert!(!whole, "{}", text);
            }
            Ok((revision, found)) => {
                let least = if whole { writer.revision } else { before };
                prop_assert!(revision >= least, "{} < {}", revision, least);
                prop_assert_eq!(Some(&found), writer.states.get(&revision));
            }
        }
    }

    /// Whatever happened to the file: either the store says that it is damaged, and where, or it holds exactly what
    /// was written.
    #[test]
    fn a_damaged_file_is_refused_or_harmless(
        batches in batches(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0u8..8), 0..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
        used in any::<bool>(),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let sealing = sealing(directory.path());
        let disks = Disks::new();
        let mut disk = open(&disks, &sealing).unwrap();
        let mut writer = Writer::new();
        for batch in &batches {
            writer.batch(&mut disk, batch).unwrap();
        }
        drop(disk);
        let mut bytes = disks.table.now.lock().clone();
        // Most of a small store's file is free pages: flips that cannot matter say little.
        let last = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) + 1;
        for (index, bit) in &flips {
            let at = index.index(if used { last } else { bytes.len() });
            bytes[at] ^= 1 << bit;
        }
        if let Some(cut) = cut {
            let length = cut.index(bytes.len()).max(4);
            bytes.truncate(length);
        }
        let damaged = Disks::with(bytes, disks.log.now.lock().clone());
        let outcome = open(&damaged, &sealing).and_then(|mut disk| {
            let loaded = load(&mut disk)?;
            Ok((loaded, disk))
        });
        match outcome {
            Err(error) => {
                let text = error.to_string();
                prop_assert!(text.contains("/data/store.redb"), "{}", text);
            }
            Ok(((revision, found), mut disk)) => {
                prop_assert_eq!(revision, writer.revision);
                prop_assert_eq!(&found, &writer.contents);
                // What was not noticed at the start may be noticed by a write, and is said then.
                if let Err(error) = writer.batch(&mut disk, &[(1, 3)]) {
                    prop_assert!(error.to_string().contains("/data/store.redb"));
                }
            }
        }
    }
}

/// The database panics over some damage, and did so once more when what it had opened was given up.
#[test]
fn damage_of_any_byte_of_the_first_pages_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let sealing = sealing(directory.path());
    let disks = Disks::new();
    let mut disk = open(&disks, &sealing).unwrap();
    let mut writer = Writer::new();
    for batch in [&[(18, 136), (20, 311)][..], &[(2, 176), (14, 538)]] {
        writer.batch(&mut disk, batch).unwrap();
    }
    drop(disk);
    let bytes = disks.table.now.lock().clone();
    let (mut refused, pages) = (0, 6 * 4096);
    for at in (0..pages).filter(|at| bytes[*at] != 0 || at % 64 == 0) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        let damaged = Disks::with(damaged, disks.log.now.lock().clone());
        match open(&damaged, &sealing).and_then(|mut disk| load(&mut disk)) {
            Ok((_, found)) => assert_eq!(found, writer.contents, "byte {at}"),
            Err(error) => {
                assert!(
                    error.to_string().contains("/data/store.redb"),
                    "byte {at}: {error}"
                );
                refused += 1;
            }
        }
    }
    assert!(refused > 100, "only {refused} were noticed");
}

fn store(disks: &Disks, sealing: &Arc<Sealing>) -> Store {
    let (notices, _) = mpsc::unbounded_channel();
    Store::open(open(disks, sealing).unwrap(), notices).unwrap()
}

async fn put(store: &Store, name: &str, text: &str) -> Result<u64, Refused> {
    let maps = Arc::new(GroupResource::new("", "configmaps"));
    let key = ObjectKey::new("n", name);
    let expect = match store.view().get(&maps, &key) {
        Some(object) => Expect::Revision(object.revision),
        None => Expect::Absent,
    };
    let value = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name, "namespace": "n"}, "text": text});
    let written = store
        .write(
            &maps,
            key,
            expect,
            Change::Put(value.as_object().unwrap().clone()),
        )
        .await?;
    Ok(written.revision)
}

#[tokio::test]
async fn a_full_disk_refuses_writes_and_goes_on_when_there_is_room() {
    let directory = tempfile::tempdir().unwrap();
    let sealing = sealing(directory.path());
    let disks = Disks::new();
    let store = store(&disks, &sealing);
    let first = put(&store, "a", "x").await.unwrap();
    for _ in 0..3 {
        disks.set(|platter| &platter.full, true);
        for _ in 0..3 {
            let Err(Refused::Failed(why)) = put(&store, "b", "y").await else {
                panic!("a full disk took a write");
            };
            assert!(
                why.contains("free space") && why.contains("/data/store.redb"),
                "{why}"
            );
        }
        let maps = GroupResource::new("", "configmaps");
        assert!(
            store.view().get(&maps, &ObjectKey::new("n", "a")).is_some(),
            "reads go on"
        );
        assert!(
            store.view().get(&maps, &ObjectKey::new("n", "b")).is_none(),
            "what was refused is not there"
        );
        disks.set(|platter| &platter.full, false);
        let next = put(&store, "a", "z").await.unwrap();
        assert!(next > first);
    }
    put(&store, "b", "y").await.unwrap();
    store.close().await;
    let (_, found) = load(&mut open(&disks, &sealing).unwrap()).unwrap();
    assert_eq!(found.len(), 2);
}

#[tokio::test]
async fn a_write_whose_sync_failed_is_there_wholly_or_not_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let sealing = sealing(directory.path());
    let disks = Disks::new();
    let store = store(&disks, &sealing);
    let mut last = put(&store, "a", "0").await.unwrap();
    for round in 1..6 {
        disks.set(|platter| &platter.fail_sync, true);
        assert!(put(&store, "a", &round.to_string()).await.is_err());
        disks.set(|platter| &platter.fail_sync, false);
        // Whatever became of it: the next write sees one state or the other, and no revision comes twice.
        let next = loop {
            match put(&store, "a", "after").await {
                Ok(revision) => break revision,
                Err(Refused::Changed) => {}
                Err(other) => panic!("{other:?}"),
            }
        };
        assert!(next > last, "{next} after {last}");
        last = next;
    }
    let shown = store.view().revision();
    store.close().await;
    assert_eq!(load(&mut open(&disks, &sealing).unwrap()).unwrap().0, shown);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_writers_share_syncs() {
    const WRITERS: usize = 64;
    const WRITES: usize = 20;
    let directory = tempfile::tempdir().unwrap();
    let sealing = sealing(directory.path());
    let disks = Disks::new();
    let store = Arc::new(store(&disks, &sealing));
    let before = disks.syncs();
    let mut alone = 0;
    for round in 0..10 {
        put(&store, "alone", &round.to_string()).await.unwrap();
        alone = disks.syncs() - before;
        assert!(alone > round, "no write is acknowledged before a sync");
    }
    assert!(alone <= 20, "{alone} syncs for 10 writes");
    let before = disks.syncs();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let store = store.clone();
        writers.spawn(async move {
            for round in 0..WRITES {
                put(&store, &format!("w{writer}"), &round.to_string())
                    .await
                    .unwrap();
            }
        });
    }
    writers.join_all().await;
    let syncs = disks.syncs() - before;
    assert!(
        syncs * 4 < WRITERS * WRITES,
        "{syncs} syncs for {} writes",
        WRITERS * WRITES
    );
}

/// One object is written over and over, then many are made and removed: the file stays what the objects need.
#[tokio::test(flavor = "multi_thread")]
async fn the_file_stays_bounded() {
    const ROUNDS: usize = 100_000;
    let directory = tempfile::tempdir().unwrap();
    let sealing = sealing(directory.path());
    let disks = Disks::new();
    let mut disk = open(&disks, &sealing).unwrap();
    let maps = Arc::new(GroupResource::new("", "configmaps"));
    let text = "x".repeat(900);
    for round in 0..ROUNDS as u64 {
        let made = object("one", &text, round + 2);
        let record = Record {
            collection: maps.clone(),
            key: made.key.clone(),
            object: Some(Arc::new(made)),
        };
        disk.commit(round + 2, &[record]).unwrap();
        let [table, log] = [&disks.table, &disks.log].map(|platter| platter.now.lock().len());
        assert!(
            table < 4 << 20 && log == LOG_BYTES,
            "after {round} rounds: {table} and {log} bytes"
        );
    }
}
