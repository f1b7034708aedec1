//! The durable half of the store: a table and the log in front of it, written only by the writer thread.
//!
//! A batch is durable when it is in the log. When the log is full, the table takes everything that is newer than its own
//! state, in one transaction, and the log begins anew; the same when the store closes, so that a log only matters to the
//! start after a crash.

use std::{collections::BTreeMap, os::unix::fs::OpenOptionsExt as _, path::Path, sync::Arc};

use bytes::Bytes;
use redb::{Database, DatabaseError, backends::FileBackend};

use super::{
    Backend, GroupResource, Object, Record, StoreError,
    cipher::{Cipher, random, sync_directory},
    database::{Awaits, Row, Table, classify, shown},
    envelope::{Sealing, row},
    wal::{Found, Generation, Log, LogFile},
};

/// How long the log is, in bytes. The longer, the fewer transactions of the table, and the longer one of them takes and a
/// start after a crash: with this length some tens of milliseconds, once in a few thousand writes.
const LOG_BYTES: usize = 4 << 20;
/// redb's page cache. Every read is answered from memory, so that pages only matter while they are written.
const CACHE_BYTES: usize = 2 << 20;
/// What the table's file begins with.
const MAGIC: &[u8] = b"redb";
/// Stands for the length of a row that goes.
const REMOVED: u32 = u32::MAX;

/// What is newer than the table, by row; none for an object that is gone.
type Newer = BTreeMap<Vec<u8>, Change>;
/// What a row became: an object of that collection, or nothing.
type Change = (Arc<GroupResource>, Option<Arc<Object>>);

pub struct Disk {
    table: Table,
    log: Log,
    sealing: Arc<Sealing>,
    /// The newest revision that is durable.
    revision: u64,
    newer: Newer,
}

impl Disk {
    /// Opens or makes the store at `path`; objects for which `sealed` holds are encrypted with the key in `key_file`,
    /// which is made together with a new store only. The log stands beside it.
    pub fn open(
        path: &Path,
        key_file: &Path,
        sealed: fn(&GroupResource) -> bool,
    ) -> Result<Self, StoreError> {
        let existing = path.exists();
        let cipher = Cipher::from_file(key_file, !existing)?;
        let sealing = Arc::new(Sealing { cipher, sealed });
        if existing {
            check_magic(path)?;
        } else {
            Self::make(path, &sealing, &mut std::iter::empty(), 1)?;
        }
        let (opened, log) = (path.to_owned(), path.with_extension("log"));
        let table = Table::open(
            path,
            &sealing.cipher,
            Box::new(move || open_table(&opened, false)),
        )?;
        let file = open_log(&log).map_err(|source| StoreError::File { path: log, source })?;
        Self::with(table, file, LOG_BYTES, sealing)
    }

    /// Makes a store of these objects at `path`, whole or not at all.
    pub(super) fn make(
        path: &Path,
        sealing: &Sealing,
        objects: &mut dyn Iterator<Item = Result<(Arc<GroupResource>, Object), StoreError>>,
        revision: u64,
    ) -> Result<(), StoreError> {
        let new = path.with_extension("new");
        let named = |source| StoreError::File {
            path: new.clone(),
            source,
        };
        match std::fs::remove_file(&new) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(named(error)),
            _ => {}
        }
        let opened = new.clone();
        let mut table = Table::open(&new, &sealing.cipher, Box::new(move || open_table(&opened, true)))?;
        let mut rows = objects.map(|object| {
            let (collection, object) = object?;
            let name = row(&collection, &object.key);
            let body = sealing.close(&collection, &name, &object)?;
            Ok((name, Some(body)))
        });
        table.write(revision, None, &mut rows)?;
        table.close()?;
        std::fs::rename(&new, path)
            .and_then(|()| sync_directory(path))
            .map_err(named)
    }

    /// The store of this table and this log, which is from now on `log_bytes` long.
    pub(super) fn with(
        mut table: Table,
        log: LogFile,
        log_bytes: usize,
        sealing: Arc<Sealing>,
    ) -> Result<Self, StoreError> {
        if let Some(awaits) = table.awaits {
            take_over(&mut table, &log, awaits)?;
        }
        let log = Log::open(log, log_bytes).map_err(|error| classify(table.path(), error.into()))?;
        Ok(Self {
            revision: table.state.revision,
            table,
            log,
            sealing,
            newer: Newer::new(),
        })
    }

    /// The batch as the log holds it.
    fn packed(&self, revision: u64, records: &[Record]) -> Result<Vec<u8>, StoreError> {
        let mut out = revision.to_be_bytes().to_vec();
        for record in records {
            let name = row(&record.collection, &record.key);
            put(&mut out, Some(&name));
            match &record.object {
                None => put(&mut out, None),
                Some(object) => {
                    let body = self.sealing.close(&record.collection, &name, object)?;
                    put(&mut out, Some(&body));
                }
            }
        }
        Ok(out)
    }

    /// Gives the table everything that is newer, and `more`, and begins the log anew, except the `last` time.
    fn checkpoint(&mut self, revision: u64, more: &[Record], last: bool) -> Result<(), StoreError> {
        let awaits = if last {
            None
        } else {
            Some(Awaits {
                generation: random::<{ size_of::<Generation>() }>()?,
                length: self.log.length(),
            })
        };
        let mut newer = self.newer.clone();
        newer.extend(newer_of(more));
        let sealing = &self.sealing;
        let mut rows = newer
            .iter()
            .map(|(name, (collection, object))| -> Result<Row, _> {
                let body = match object {
                    None => None,
                    Some(object) => Some(sealing.close(collection, name, object)?),
                };
                Ok((name.clone(), body))
            });
        self.table.write(revision, awaits, &mut rows)?;
        self.settled(revision);
        Ok(())
    }

    /// The table has everything up to `revision`.
    fn settled(&mut self, revision: u64) {
        self.revision = revision;
        self.newer.clear();
        if let Some(awaits) = self.table.awaits {
            self.log.restart(awaits.generation);
        }
    }
}

impl Backend for Disk {
    fn load(&mut self, each: &mut dyn FnMut(GroupResource, Object)) -> Result<u64, StoreError> {
        self.table.read(&mut |name, body| {
            let damaged = |what: &str| self.table.damaged(format!("{} {what}", shown(name)));
            let body = self
                .sealing
                .open(name, body)
                .map_err(|_| damaged("does not open"))?;
            let mut parts = name.split(|byte| *byte == 0).map(String::from_utf8_lossy);
            let (Some(group), Some(resource)) = (parts.next(), parts.next()) else {
                return Err(damaged("is no key"));
            };
            let object = unpack(&body).ok_or_else(|| damaged("is not an object"))?;
            each(GroupResource::new(&group, &resource), object);
            Ok(())
        })?;
        self.table.compact();
        Ok(self.revision)
    }

    fn commit(&mut self, revision: u64, records: &[Record]) -> Result<(), StoreError> {
        if self.table.awaits.is_some() {
            let batch = self.packed(revision, records)?;
            let appended = self.log.append(&batch);
            if appended.map_err(|error| classify(self.table.path(), error.into()))? {
                self.revision = revision;
                self.newer.extend(newer_of(records));
                return Ok(());
            }
        }
        self.checkpoint(revision, records, false)
    }

    fn recover(&mut self) -> Result<u64, StoreError> {
        self.table.reopen(&self.sealing.cipher)?;
        if self.table.state.revision > self.revision {
            // The transaction that failed went through after all.
            self.settled(self.table.state.revision);
        } else {
            // How much of the failed batch is in the log is unknown: the log is begun anew.
            self.checkpoint(self.revision, &[], false)?;
        }
        Ok(self.revision)
    }

    fn sealing(&self) -> Option<Arc<Sealing>> {
        Some(self.sealing.clone())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let settled = match self.table.awaits {
            Some(_) => self.checkpoint(self.revision, &[], true),
            None => Ok(()),
        };
        let closed = self.table.close();
        if let Err(error) = settled.and(closed) {
            tracing::error!(%error, "the store did not close as it should; its next start puts it right");
        }
    }
}

/// Gives the table what an interrupted run left in the log.
fn take_over(table: &mut Table, log: &LogFile, awaits: Awaits) -> Result<(), StoreError> {
    let failed = |table: &Table, error: std::io::Error| classify(table.path(), error.into());
    let length = log.len().map_err(|error| failed(table, error))?;
    if length != awaits.length {
        return Err(table.damaged(format!(
            "its log, which has the newest writes, is {length} bytes long and not {}",
            awaits.length
        )));
    }
    let batches = match Log::read(log, awaits.generation).map_err(|error| failed(table, error))? {
        Found::Batches(batches) => batches,
        Found::Damaged(what) => return Err(table.damaged(what)),
    };
    let mut revision = table.state.revision;
    let mut rows = BTreeMap::new();
    for batch in &batches {
        let (newer, changes) = parse(batch)
            .filter(|(newer, _)| *newer > revision)
            .ok_or_else(|| table.damaged("a batch of its log does not follow"))?;
        revision = newer;
        rows.extend(changes);
    }
    table.write(revision, None, &mut rows.into_iter().map(Ok))
}

/// The records by row.
fn newer_of(records: &[Record]) -> impl Iterator<Item = (Vec<u8>, Change)> {
    records.iter().map(|record| {
        let name = row(&record.collection, &record.key);
        (name, (record.collection.clone(), record.object.clone()))
    })
}

/// Writes a length and what is so long.
fn put(out: &mut Vec<u8>, part: Option<&[u8]>) {
    let length = part.map_or(Ok(REMOVED), |part| u32::try_from(part.len()));
    out.extend_from_slice(&length.unwrap_or(REMOVED).to_be_bytes());
    out.extend_from_slice(part.unwrap_or_default());
}

/// What [`put`] wrote at the beginning of `bytes`, and the rest.
fn get(bytes: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    match u32::from_be_bytes(*length) {
        REMOVED => Some((None, rest)),
        length => {
            let (part, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
            Some((Some(part), rest))
        }
    }
}

/// The revision and the rows of a batch.
fn parse(batch: &[u8]) -> Option<(u64, Vec<Row>)> {
    let (revision, mut rest) = batch.split_first_chunk()?;
    let mut rows = Vec::new();
    while !rest.is_empty() {
        let (name, after) = get(rest)?;
        let (body, after) = get(after)?;
        rows.push((name?.to_vec(), body.map(<[u8]>::to_vec)));
        rest = after;
    }
    Some((u64::from_be_bytes(*revision), rows))
}

/// redb takes an empty file for a new database: a store that lost everything must not look like a new one.
fn check_magic(path: &Path) -> Result<(), StoreError> {
    use std::io::Read as _;
    let mut start = [0; MAGIC.len()];
    let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut start));
    let damaged = |what: &str| StoreError::Damaged {
        path: path.to_owned(),
        what: what.to_owned(),
    };
    match read {
        Ok(()) if start == MAGIC => Ok(()),
        Ok(()) => Err(damaged("it does not begin as a store does")),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            Err(damaged("it is empty or cut off"))
        }
        Err(source) => Err(StoreError::File {
            path: path.to_owned(),
            source,
        }),
    }
}

fn open_table(path: &Path, create: bool) -> Result<Database, DatabaseError> {
    let file =
        open_file(path, create).map_err(|error| DatabaseError::Storage(redb::StorageError::Io(error)))?;
    Database::builder().set_cache_size(CACHE_BYTES).create_file(file)
}

fn open_log(path: &Path) -> std::io::Result<LogFile> {
    let existing = path.exists();
    let file = FileBackend::new(open_file(path, true)?).map_err(std::io::Error::other)?;
    if !existing {
        sync_directory(path)?;
    }
    Ok(Box::new(file))
}

fn open_file(path: &Path, create: bool) -> std::io::Result<std::fs::File> {
    std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(create)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

fn unpack(body: &Bytes) -> Option<Object> {
    let offset = |bytes: &[u8; 4]| usize::try_from(u32::from_be_bytes(*bytes)).ok();
    let (head, rest) = body.split_first_chunk::<4>()?;
    let (metadata_end, json) = rest.split_first_chunk::<4>()?;
    Object::parse(Bytes::copy_from_slice(json), offset(head)?, offset(metadata_end)?).ok()
}
