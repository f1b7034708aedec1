//! The durable half of the store: one redb file, written only by the writer thread.
//!
//! Table `objects`: `group 0 resource 0 namespace 0 name` → eight bytes of a digest over key and value, a flag byte,
//! then the object (two offsets and its JSON), sealed when the flag says so. Table `meta`: the format, a sealed text by
//! which a wrong key is noticed at once, and the state: revision, number of objects and sum of their digests. The
//! database checks its pages only when it repairs; the digests are how a start notices what else happened to the file.

use std::{
    cell::Cell,
    os::unix::fs::OpenOptionsExt as _,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Once},
};

use bytes::Bytes;
use redb::{Database, DatabaseError, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use super::{
    Backend, GroupResource, Object, Record, StoreError,
    crypt::{Cipher, sync_directory},
    seal::{Sealing, row},
};

const OBJECTS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("objects");
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const FORMAT: &[u8] = b"2";
/// redb's page cache. Every read is answered from memory, so that pages only matter while they are written.
const CACHE_BYTES: usize = 2 << 20;
/// Below this much a file that is mostly free pages is left as it is.
const COMPACT_FROM: u64 = 16 << 20;
/// What the database's files begin with.
const MAGIC: &[u8] = b"redb";

/// Opens the database; called again after a failed write, when redb wants it.
type Opener = Box<dyn Fn() -> Result<Database, DatabaseError> + Send>;

/// What holds of the whole table; written with every batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    revision: u64,
    objects: u64,
    /// The digests of all objects, added up.
    sum: u64,
}

/// The store's file.
pub struct Disk {
    /// None while it could not be opened again after a failed write.
    database: Option<Database>,
    opener: Opener,
    path: PathBuf,
    sealing: Arc<Sealing>,
    state: State,
}

impl Disk {
    /// Opens or makes the store at `path`; objects for which `sealed` holds are encrypted with the key in `key_file`,
    /// which is made together with a new store only.
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
            Self::make(path, sealing.clone(), &mut std::iter::empty(), 1)?;
        }
        let opened = path.to_owned();
        Self::with(path, sealing, Box::new(move || open_file(&opened, false)))
    }

    /// Makes a store of these objects at `path`, whole or not at all.
    pub(super) fn make(
        path: &Path,
        sealing: Arc<Sealing>,
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
        let mut disk = Self::with(&new, sealing, Box::new(move || open_file(&opened, true)))?;
        let mut records = Vec::new();
        for object in objects {
            let (collection, object) = object?;
            records.push(Record {
                collection,
                key: object.key.clone(),
                object: Some(Arc::new(object)),
            });
        }
        disk.commit(revision, &records)?;
        drop(disk);
        std::fs::rename(&new, path)
            .and_then(|()| sync_directory(path))
            .map_err(named)
    }

    /// The store that `opener` opens; `path` is what messages call it.
    pub(super) fn with(path: &Path, sealing: Arc<Sealing>, opener: Opener) -> Result<Self, StoreError> {
        let database = guarded(path, &opener)?;
        let mut disk = Self {
            database: Some(database),
            opener,
            path: path.to_owned(),
            sealing,
            state: State {
                revision: 1,
                objects: 0,
                sum: 0,
            },
        };
        disk.state = disk.verified()?;
        Ok(disk)
    }

    /// Has the database look at every page, which it else only does after a crash: what it writes on a page that is
    /// damaged would damage more.
    fn verified(&mut self) -> Result<State, StoreError> {
        let path = self.path.clone();
        unpanicked(&path, || {
            if let Some(database) = self.database.as_mut() {
                match database.check_integrity() {
                    Ok(true) => {}
                    Ok(false) => {
                        tracing::warn!(path = %path.display(), "the store's list of free pages was damaged and was made anew");
                    }
                    Err(error) => return Err(self.failed(error)),
                }
            }
            self.check()
        })
    }

    fn damaged(&self, what: impl Into<String>) -> StoreError {
        StoreError::Damaged {
            path: self.path.clone(),
            what: what.into(),
        }
    }

    fn failed(&self, error: impl Into<redb::Error>) -> StoreError {
        classify(&self.path, error.into())
    }

    fn database(&self) -> Result<&Database, StoreError> {
        let closed = redb::Error::DatabaseClosed;
        self.database.as_ref().ok_or_else(|| self.failed(closed))
    }

    /// Refuses a store of another format or under another key, and marks a new one.
    fn check(&self) -> Result<State, StoreError> {
        let wrap = |error: redb::Error| self.failed(error);
        let transaction = self.database()?.begin_write().map_err(|e| wrap(e.into()))?;
        let known = {
            let mut meta = transaction.open_table(META).map_err(|e| wrap(e.into()))?;
            transaction.open_table(OBJECTS).map_err(|e| wrap(e.into()))?;
            let get = |name: &str| -> Result<Option<Vec<u8>>, StoreError> {
                let found = meta.get(name).map_err(|e| wrap(e.into()))?;
                Ok(found.map(|value| value.value().to_vec()))
            };
            match get("format")? {
                Some(format) if format != FORMAT => {
                    return Err(StoreError::Format {
                        path: self.path.clone(),
                        format: String::from_utf8_lossy(&format).into_owned(),
                    });
                }
                Some(_) => {
                    let mark = get("check")?.unwrap_or_default();
                    self.sealing.cipher.check(&mark, &self.path)?;
                    let state = get("state")?.as_deref().and_then(State::unpack);
                    Some(state.ok_or_else(|| self.damaged("it does not say what it holds"))?)
                }
                None => {
                    let mark = self.sealing.cipher.mark()?;
                    for (name, value) in [
                        ("format", FORMAT),
                        ("check", mark.as_slice()),
                        ("state", &self.state.pack()),
                    ] {
                        meta.insert(name, value).map_err(|e| wrap(e.into()))?;
                    }
                    None
                }
            }
        };
        if let Some(state) = known {
            transaction.abort().map_err(|e| wrap(e.into()))?;
            return Ok(state);
        }
        transaction.commit().map_err(|e| wrap(e.into()))?;
        Ok(self.state)
    }

    fn read(&self, each: &mut dyn FnMut(GroupResource, Object)) -> Result<(), StoreError> {
        let wrap = |error: redb::Error| self.failed(error);
        let transaction = self.database()?.begin_read().map_err(|e| wrap(e.into()))?;
        let objects = transaction.open_table(OBJECTS).map_err(|e| wrap(e.into()))?;
        let mut found = State {
            objects: 0,
            sum: 0,
            ..self.state
        };
        for entry in objects.iter().map_err(|e| wrap(e.into()))? {
            let (key, value) = entry.map_err(|e| wrap(e.into()))?;
            let (key, value) = (key.value(), value.value());
            let damaged = |what: &str| {
                self.damaged(format!(
                    "{} {what}",
                    String::from_utf8_lossy(key).replace('\0', "/")
                ))
            };
            let (sum, body) = value
                .split_first_chunk::<8>()
                .ok_or_else(|| damaged("is cut off"))?;
            let sum = u64::from_be_bytes(*sum);
            if sum != digest(key, body) {
                return Err(damaged("is not what was written"));
            }
            found.objects += 1;
            found.sum = found.sum.wrapping_add(sum);
            let body = self
                .sealing
                .open(key, body)
                .map_err(|_| damaged("does not open"))?;
            let mut parts = key.split(|byte| *byte == 0).map(String::from_utf8_lossy);
            let (Some(group), Some(resource)) = (parts.next(), parts.next()) else {
                return Err(damaged("is no key"));
            };
            let object = unpack(&body).ok_or_else(|| damaged("is not an object"))?;
            each(GroupResource::new(&group, &resource), object);
        }
        if found != self.state {
            return Err(self.damaged(format!(
                "{} of {} objects are there, and not all of them are the newest",
                found.objects, self.state.objects
            )));
        }
        Ok(())
    }

    fn write(&self, revision: u64, records: &[Record]) -> Result<State, StoreError> {
        let wrap = |error: redb::Error| self.failed(error);
        let transaction = self.database()?.begin_write().map_err(|e| wrap(e.into()))?;
        let mut state = State {
            revision,
            ..self.state
        };
        {
            let mut objects = transaction.open_table(OBJECTS).map_err(|e| wrap(e.into()))?;
            for Record {
                collection,
                key,
                object,
            } in records
            {
                let name = row(collection, key);
                let before = match object {
                    None => objects.remove(name.as_slice()).map_err(|e| wrap(e.into()))?,
                    Some(object) => {
                        let body = self.sealing.close(collection, &name, object)?;
                        let sum = digest(&name, &body);
                        state.sum = state.sum.wrapping_add(sum);
                        state.objects += 1;
                        let value = [&sum.to_be_bytes()[..], &body].concat();
                        objects
                            .insert(name.as_slice(), value.as_slice())
                            .map_err(|e| wrap(e.into()))?
                    }
                };
                if let Some(before) = before {
                    let sum = before.value().first_chunk::<8>().copied().unwrap_or_default();
                    state.sum = state.sum.wrapping_sub(u64::from_be_bytes(sum));
                    state.objects = state.objects.wrapping_sub(1);
                }
            }
            let mut meta = transaction.open_table(META).map_err(|e| wrap(e.into()))?;
            meta.insert("state", state.pack().as_slice())
                .map_err(|e| wrap(e.into()))?;
        }
        // redb's default durability: the commit returns after fsync.
        transaction.commit().map_err(|e| wrap(e.into()))?;
        Ok(state)
    }

    /// Gives pages that are free back to the file system, where most of the file is such pages.
    fn compact(&mut self) {
        let length = std::fs::metadata(&self.path).map_or(0, |meta| meta.len());
        let Some(database) = self.database.as_mut() else {
            return;
        };
        if length < COMPACT_FROM {
            return;
        }
        let used = database.begin_write().ok().and_then(|transaction| {
            let stats = transaction.stats().ok()?;
            Some(stats.stored_bytes() + stats.metadata_bytes())
        });
        if used.is_some_and(|used| used < length / 4)
            && let Err(error) = database.compact()
        {
            tracing::warn!(%error, path = %self.path.display(), "the store could not be compacted");
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let database = self.database.take();
        let closed = unpanicked(&self.path, || {
            drop(database);
            Ok(())
        });
        if let Err(error) = closed {
            tracing::error!(%error, "the store did not close as it should");
        }
    }
}

impl Backend for Disk {
    fn load(&mut self, each: &mut dyn FnMut(GroupResource, Object)) -> Result<u64, StoreError> {
        unpanicked(&self.path, || self.read(each))?;
        self.compact();
        Ok(self.state.revision)
    }

    fn commit(&mut self, revision: u64, records: &[Record]) -> Result<(), StoreError> {
        self.state = unpanicked(&self.path, || self.write(revision, records))?;
        Ok(())
    }

    fn recover(&mut self) -> Result<u64, StoreError> {
        // Closed first: the file is locked as long as the old one is open.
        let old = self.database.take();
        unpanicked(&self.path, || {
            drop(old);
            Ok(())
        })?;
        self.database = Some(guarded(&self.path, &self.opener)?);
        self.state = self.verified()?;
        Ok(self.state.revision)
    }

    fn sealing(&self) -> Option<Arc<Sealing>> {
        Some(self.sealing.clone())
    }
}

impl State {
    fn pack(&self) -> [u8; 32] {
        let mut out = [0; 32];
        let [revision, objects, sum] = [self.revision, self.objects, self.sum].map(u64::to_be_bytes);
        let body = [revision, objects, sum].concat();
        let check = digest(b"state", &body).to_be_bytes();
        for (to, from) in out.iter_mut().zip(body.iter().chain(&check)) {
            *to = *from;
        }
        out
    }

    fn unpack(bytes: &[u8]) -> Option<Self> {
        let (body, check) = bytes.split_at_checked(24)?;
        if digest(b"state", body).to_be_bytes() != check {
            return None;
        }
        let (chunks, _) = body.as_chunks::<8>();
        let [revision, objects, sum] = *chunks else {
            return None;
        };
        Some(Self {
            revision: u64::from_be_bytes(revision),
            objects: u64::from_be_bytes(objects),
            sum: u64::from_be_bytes(sum),
        })
    }
}

/// Eight bytes of SHA-256 over a row: enough to notice any accident.
fn digest(key: &[u8], value: &[u8]) -> u64 {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    context.update(key);
    context.update(&[0]);
    context.update(value);
    let sum = context.finish();
    let first = sum.as_ref().first_chunk::<8>().copied();
    u64::from_be_bytes(first.unwrap_or_default())
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

fn open_file(path: &Path, create: bool) -> Result<Database, DatabaseError> {
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(create)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|error| DatabaseError::Storage(redb::StorageError::Io(error)))?;
    Database::builder().set_cache_size(CACHE_BYTES).create_file(file)
}

fn guarded(path: &Path, opener: &Opener) -> Result<Database, StoreError> {
    unpanicked(path, || {
        opener().map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => StoreError::InUse {
                path: path.to_owned(),
            },
            error => classify(path, error.into()),
        })
    })
}

thread_local! {
    /// Whether a panic on this thread is going to be an error, and need not be reported as well.
    static CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// The database trusts pages that it has written once: what a damaged page makes of that is damage, and no reason to
/// fall over.
fn unpanicked<T>(path: &Path, work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !CAUGHT.get() {
                usual(panic);
            }
        }));
    });
    let outer = CAUGHT.replace(true);
    let done = catch_unwind(AssertUnwindSafe(work));
    CAUGHT.set(outer);
    done.unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("a page holds what it cannot hold");
        Err(StoreError::Damaged {
            path: path.to_owned(),
            what: text.to_owned(),
        })
    })
}

fn classify(path: &Path, error: redb::Error) -> StoreError {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull, UnexpectedEof};
    let path = path.to_owned();
    match error {
        redb::Error::Io(source) if matches!(source.kind(), StorageFull | QuotaExceeded | FileTooLarge) => {
            StoreError::Full { path, source }
        }
        redb::Error::Io(source) if source.kind() == UnexpectedEof => StoreError::Damaged {
            path,
            what: "it is cut off".into(),
        },
        redb::Error::Corrupted(what) => StoreError::Damaged { path, what },
        redb::Error::Io(source) if source.kind() == std::io::ErrorKind::InvalidData => StoreError::Damaged {
            path,
            what: source.to_string(),
        },
        error @ (redb::Error::TableTypeMismatch { .. }
        | redb::Error::TableIsMultimap(_)
        | redb::Error::TableIsNotMultimap(_)
        | redb::Error::TypeDefinitionChanged { .. }
        | redb::Error::TableDoesNotExist(_)
        | redb::Error::UpgradeRequired(_)) => StoreError::Damaged {
            path,
            what: error.to_string(),
        },
        error => StoreError::Database {
            path,
            source: Box::new(error),
        },
    }
}

fn unpack(body: &Bytes) -> Option<Object> {
    let offset = |bytes: &[u8; 4]| usize::try_from(u32::from_be_bytes(*bytes)).ok();
    let (head, rest) = body.split_first_chunk::<4>()?;
    let (metadata_end, json) = rest.split_first_chunk::<4>()?;
    Object::parse(Bytes::copy_from_slice(json), offset(head)?, offset(metadata_end)?).ok()
}
