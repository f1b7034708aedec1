//! Where objects stay: one redb file, whose state is that of one revision.
//!
//! Table `objects`: `group 0 resource 0 namespace 0 name` → eight bytes of a digest over key and value, a flag byte,
//! then the object (two offsets and its JSON), sealed when the flag says so. Table `meta`: the format, a sealed text by
//! which a wrong key is noticed at once, the state (revision, number of objects and sum of their digests), and which
//! log it waits for. The database checks its pages only when it repairs; the digests are how a start notices what else
//! happened to the file.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Once,
    time::{Duration, Instant},
};

use redb::{Database, DatabaseError, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use super::{StoreError, cipher::Cipher, wal::Generation};

const OBJECTS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("objects");
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const FORMAT: &[u8] = b"3";
/// As the third, but that there was no log.
const WITHOUT_LOG: &[u8] = b"2";
/// Below this much a file that is mostly free pages is left as it is.
const COMPACT_FROM: u64 = 16 << 20;
/// How long another process may take to release the database.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
/// The pause between two attempts to open the database.
pub(super) const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Opens the database; called again after a failed write, when redb wants it.
pub(super) type Opener = Box<dyn Fn() -> Result<Database, DatabaseError> + Send>;
/// Takes the name and the value of a row.
pub(super) type Each<'a> = dyn FnMut(&[u8], &[u8]) -> Result<(), StoreError> + 'a;

/// What holds of the whole table; written with every change of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct State {
    pub revision: u64,
    objects: u64,
    /// The digests of all objects, added up.
    sum: u64,
}

/// The log whose batches come on top of the table's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Awaits {
    pub generation: Generation,
    /// How long its file is, in bytes: one that is not was cut off.
    pub length: u64,
}

/// A row's name, and what it holds from now on; none for one that goes.
pub(super) type Row = (Vec<u8>, Option<Vec<u8>>);

pub(super) struct Table {
    /// None while it could not be opened again after a failed write.
    database: Option<Database>,
    opener: Opener,
    path: PathBuf,
    pub state: State,
    /// None where the state is all there is.
    pub awaits: Option<Awaits>,
}

impl Table {
    /// The table that `opener` opens; `path` is what messages call it. A new one is marked with `cipher`'s key, an old
    /// one must bear that mark.
    pub fn open(path: &Path, cipher: &Cipher, opener: Opener) -> Result<Self, StoreError> {
        let database = freed(path, &opener)?;
        let mut table = Self {
            database: Some(database),
            opener,
            path: path.to_owned(),
            state: State {
                revision: 1,
                objects: 0,
                sum: 0,
            },
            awaits: None,
        };
        (table.state, table.awaits) = table.verified(cipher)?;
        Ok(table)
    }

    /// What this file is called.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Closes the file and opens it again, as redb wants it after a failed write: what it says then is what is durable.
    pub fn reopen(&mut self, cipher: &Cipher) -> Result<(), StoreError> {
        // Closed first: the file is locked as long as the old one is open.
        self.close()?;
        self.database = Some(guarded(&self.path, &self.opener)?);
        (self.state, self.awaits) = self.verified(cipher)?;
        Ok(())
    }

    /// Closes the file; every use but [`Table::reopen`] fails from now on.
    pub fn close(&mut self) -> Result<(), StoreError> {
        let database = self.database.take();
        unpanicked(&self.path, || {
            drop(database);
            Ok(())
        })
    }

    /// Has the database look at every page, which it else only does after a crash: what it writes on a page that is
    /// damaged would damage more.
    fn verified(&mut self, cipher: &Cipher) -> Result<(State, Option<Awaits>), StoreError> {
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
            self.check(cipher)
        })
    }

    /// This store, as damaged.
    pub fn damaged(&self, what: impl Into<String>) -> StoreError {
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
    fn check(&self, cipher: &Cipher) -> Result<(State, Option<Awaits>), StoreError> {
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
                Some(format) if format != FORMAT && format != WITHOUT_LOG => {
                    return Err(StoreError::Format {
                        path: self.path.clone(),
                        format: String::from_utf8_lossy(&format).into_owned(),
                    });
                }
                Some(_) => {
                    let mark = get("check")?.unwrap_or_default();
                    cipher.check(&mark, &self.path)?;
                    let state = get("state")?.as_deref().and_then(State::unpack);
                    let state = state.ok_or_else(|| self.damaged("it does not say what it holds"))?;
                    let awaits = match get("log")? {
                        Some(log) if !log.is_empty() => Some(
                            Awaits::unpack(&log)
                                .ok_or_else(|| self.damaged("it does not say which log it waits for"))?,
                        ),
                        _ => None,
                    };
                    Some((state, awaits))
                }
                None => {
                    let mark = cipher.mark()?;
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
        if let Some(known) = known {
            transaction.abort().map_err(|e| wrap(e.into()))?;
            return Ok(known);
        }
        transaction.commit().map_err(|e| wrap(e.into()))?;
        Ok((self.state, None))
    }

    /// Gives the name and the value of every row to `each`, if all of them are what was written.
    pub fn read(&self, each: &mut Each<'_>) -> Result<(), StoreError> {
        unpanicked(&self.path, || self.read_rows(each))
    }

    fn read_rows(&self, each: &mut Each<'_>) -> Result<(), StoreError> {
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
            let damaged = |what: &str| self.damaged(format!("{} {what}", shown(key)));
            let (sum, body) = value
                .split_first_chunk::<8>()
                .ok_or_else(|| damaged("is cut off"))?;
            let sum = u64::from_be_bytes(*sum);
            if sum != digest(key, body) {
                return Err(damaged("is not what was written"));
            }
            found.objects += 1;
            found.sum = found.sum.wrapping_add(sum);
            each(key, body)?;
        }
        if found != self.state {
            return Err(self.damaged(format!(
                "{} of {} objects are there, and not all of them are the newest",
                found.objects, self.state.objects
            )));
        }
        Ok(())
    }

    /// Changes these rows, and says which log comes on top of them, all or nothing and durable before it returns.
    pub fn write(
        &mut self,
        revision: u64,
        awaits: Option<Awaits>,
        rows: &mut dyn Iterator<Item = Result<Row, StoreError>>,
    ) -> Result<(), StoreError> {
        self.state = unpanicked(&self.path, || self.write_rows(revision, awaits, rows))?;
        self.awaits = awaits;
        Ok(())
    }

    fn write_rows(
        &self,
        revision: u64,
        awaits: Option<Awaits>,
        rows: &mut dyn Iterator<Item = Result<Row, StoreError>>,
    ) -> Result<State, StoreError> {
        let wrap = |error: redb::Error| self.failed(error);
        let transaction = self.database()?.begin_write().map_err(|e| wrap(e.into()))?;
        let mut state = State {
            revision,
            ..self.state
        };
        {
            let mut objects = transaction.open_table(OBJECTS).map_err(|e| wrap(e.into()))?;
            for row in rows {
                let (name, body) = row?;
                let before = match body {
                    None => objects.remove(name.as_slice()).map_err(|e| wrap(e.into()))?,
                    Some(body) => {
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
            let log = awaits.map(Awaits::pack);
            for (name, value) in [
                ("format", FORMAT),
                ("state", &state.pack()),
                ("log", log.as_deref().unwrap_or_default()),
            ] {
                meta.insert(name, value).map_err(|e| wrap(e.into()))?;
            }
        }
        // redb's default durability: the commit returns after fsync.
        transaction.commit().map_err(|e| wrap(e.into()))?;
        Ok(state)
    }

    /// Gives pages that are free back to the file system, where most of the file is such pages.
    pub fn compact(&mut self) {
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

impl Drop for Table {
    fn drop(&mut self) {
        // A database that a panic has gone through panics once more when it goes.
        if let Err(error) = self.close() {
            tracing::debug!(%error, "a store that is given up did not close as it should");
        }
    }
}

impl Awaits {
    fn pack(self) -> Vec<u8> {
        let length = self.length.to_be_bytes();
        signed(b"log", [&self.generation[..], &length].concat())
    }

    fn unpack(bytes: &[u8]) -> Option<Self> {
        let (generation, rest) = unsigned(b"log", bytes)?.split_first_chunk()?;
        Some(Self {
            generation: *generation,
            length: u64::from_be_bytes(rest.try_into().ok()?),
        })
    }
}

impl State {
    fn pack(self) -> Vec<u8> {
        let parts = [self.revision, self.objects, self.sum];
        signed(b"state", parts.map(u64::to_be_bytes).concat())
    }

    fn unpack(bytes: &[u8]) -> Option<Self> {
        let (chunks, []) = unsigned(b"state", bytes)?.as_chunks::<8>() else {
            return None;
        };
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

/// What `meta` holds under `name`: the body and a digest of it.
fn signed(name: &[u8], mut body: Vec<u8>) -> Vec<u8> {
    let sum = digest(name, &body).to_be_bytes();
    body.extend_from_slice(&sum);
    body
}

/// The body that [`signed`] was given, if this is still what it made.
fn unsigned<'a>(name: &[u8], bytes: &'a [u8]) -> Option<&'a [u8]> {
    let (body, sum) = bytes.split_last_chunk::<8>()?;
    (digest(name, body).to_be_bytes() == *sum).then_some(body)
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

/// A row's name, as messages show it.
pub(super) fn shown(row: &[u8]) -> String {
    String::from_utf8_lossy(row).replace('\0', "/")
}

/// Opens the database. A process that was just killed holds its lock until the kernel has closed its files, so opening is
/// tried again for a moment.
fn freed(path: &Path, opener: &Opener) -> Result<Database, StoreError> {
    let end = Instant::now() + LOCK_PATIENCE;
    loop {
        match guarded(path, opener) {
            Err(StoreError::InUse { .. }) if Instant::now() < end => std::thread::sleep(LOCK_PAUSE),
            opened => return opened,
        }
    }
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

/// What an error of the database, or of the disk under it, means for the store at `path`.
pub(super) fn classify(path: &Path, error: redb::Error) -> StoreError {
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
