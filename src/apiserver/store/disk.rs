//! The durable half of the store: one redb file, written only by the writer thread.
//!
//! Table `objects`: `group 0 resource 0 namespace 0 name` → a flag byte, then the object (two offsets and its JSON),
//! sealed when the flag says so. Table `meta`: `revision`, the format, and a sealed text by which a wrong key is noticed at once.

use std::{os::unix::fs::OpenOptionsExt as _, path::Path, sync::Arc};

use bytes::Bytes;
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use super::{
    Backend, GroupResource, Object, ObjectKey, Record, StoreError, crypt::Cipher, crypt::sync_directory,
};

const OBJECTS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("objects");
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const FORMAT: &[u8] = b"1";
const CHECK: &[u8] = b"this store opens with this key";
const PLAIN: u8 = 0;
const SEALED: u8 = 1;
/// redb's page cache. Every read is answered from memory, so that pages only matter while they are written.
const CACHE_BYTES: usize = 2 << 20;

/// The store's file.
pub struct Disk {
    database: Database,
    cipher: Cipher,
    sealed: fn(&GroupResource) -> bool,
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
        let file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(|source| StoreError::File {
                path: path.to_owned(),
                source,
            })?;
        if !existing {
            sync_directory(path).map_err(|source| StoreError::File {
                path: path.to_owned(),
                source,
            })?;
        }
        let database = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .create_file(file)
            .map_err(|source| StoreError::Open {
                path: path.to_owned(),
                source: Box::new(source.into()),
            })?;
        let disk = Self {
            database,
            cipher,
            sealed,
        };
        disk.check()?;
        Ok(disk)
    }

    /// Refuses a store of another format or under another key; marks a new one.
    fn check(&self) -> Result<(), StoreError> {
        let transaction = self.database.begin_write().map_err(wrap)?;
        {
            let mut meta = transaction.open_table(META).map_err(wrap)?;
            transaction.open_table(OBJECTS).map_err(wrap)?;
            let format = meta
                .get("format")
                .map_err(wrap)?
                .map(|value| value.value().to_vec());
            match format {
                Some(format) if format != FORMAT => {
                    return Err(StoreError::Format(String::from_utf8_lossy(&format).into_owned()));
                }
                Some(_) => {
                    let check = meta
                        .get("check")
                        .map_err(wrap)?
                        .map(|value| value.value().to_vec());
                    if self.cipher.open(b"check", &check.unwrap_or_default())? != CHECK {
                        return Err(StoreError::WrongKey);
                    }
                    return Ok(());
                }
                None => {
                    meta.insert("format", FORMAT).map_err(wrap)?;
                    meta.insert("check", self.cipher.seal(b"check", CHECK)?.as_slice())
                        .map_err(wrap)?;
                    meta.insert("revision", 1u64.to_be_bytes().as_slice())
                        .map_err(wrap)?;
                }
            }
        }
        transaction.commit().map_err(wrap)
    }
}

impl Backend for Disk {
    fn load(&mut self, each: &mut dyn FnMut(GroupResource, Object)) -> Result<u64, StoreError> {
        let transaction = self.database.begin_read().map_err(wrap)?;
        let meta = transaction.open_table(META).map_err(wrap)?;
        let revision = meta
            .get("revision")
            .map_err(wrap)?
            .and_then(|value| value.value().try_into().ok().map(u64::from_be_bytes))
            .ok_or_else(|| StoreError::Damaged("it has no revision".into()))?;
        let objects = transaction.open_table(OBJECTS).map_err(wrap)?;
        for entry in objects.iter().map_err(wrap)? {
            let (key, value) = entry.map_err(wrap)?;
            let (key, value) = (key.value(), value.value());
            let damaged = |what: &str| {
                StoreError::Damaged(format!(
                    "{} {what}",
                    String::from_utf8_lossy(key).replace('\0', "/")
                ))
            };
            let (flag, body) = value.split_first().ok_or_else(|| damaged("is empty"))?;
            let body = match *flag {
                PLAIN => Bytes::copy_from_slice(body),
                SEALED => Bytes::from(self.cipher.open(key, body)?),
                _ => return Err(damaged("has an unknown form")),
            };
            let mut parts = key.split(|byte| *byte == 0).map(String::from_utf8_lossy);
            let (Some(group), Some(resource)) = (parts.next(), parts.next()) else {
                return Err(damaged("is no key"));
            };
            let object = unpack(&body).ok_or_else(|| damaged("is not an object"))?;
            each(GroupResource::new(&group, &resource), object);
        }
        Ok(revision)
    }

    fn commit(&mut self, revision: u64, records: &[Record]) -> Result<(), StoreError> {
        let transaction = self.database.begin_write().map_err(wrap)?;
        {
            let mut objects = transaction.open_table(OBJECTS).map_err(wrap)?;
            for Record {
                collection,
                key,
                object,
            } in records
            {
                let name = row(collection, key);
                match object {
                    None => {
                        objects.remove(name.as_slice()).map_err(wrap)?;
                    }
                    Some(object) if (self.sealed)(collection) => {
                        let mut body = vec![SEALED];
                        body.append(&mut self.cipher.seal(&name, &pack(Vec::new(), object))?);
                        objects.insert(name.as_slice(), body.as_slice()).map_err(wrap)?;
                    }
                    Some(object) => {
                        let body = pack(vec![PLAIN], object);
                        objects.insert(name.as_slice(), body.as_slice()).map_err(wrap)?;
                    }
                }
            }
            let mut meta = transaction.open_table(META).map_err(wrap)?;
            meta.insert("revision", revision.to_be_bytes().as_slice())
                .map_err(wrap)?;
        }
        // redb's default durability: the commit returns after fsync.
        transaction.commit().map_err(wrap)
    }
}

fn row(collection: &Arc<GroupResource>, key: &ObjectKey) -> Vec<u8> {
    [
        &*collection.group,
        &*collection.resource,
        &*key.namespace,
        &*key.name,
    ]
    .join("\0")
    .into_bytes()
}

fn pack(mut out: Vec<u8>, object: &Object) -> Vec<u8> {
    let (head, metadata_end) = object.offsets();
    out.reserve(object.json().len() + 8);
    out.extend_from_slice(&u32::try_from(head).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(&u32::try_from(metadata_end).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(object.json());
    out
}

fn unpack(body: &Bytes) -> Option<Object> {
    let offset = |bytes: &[u8; 4]| usize::try_from(u32::from_be_bytes(*bytes)).ok();
    let (head, rest) = body.split_first_chunk::<4>()?;
    let (metadata_end, json) = rest.split_first_chunk::<4>()?;
    Object::parse(Bytes::copy_from_slice(json), offset(head)?, offset(metadata_end)?).ok()
}

fn wrap(error: impl Into<redb::Error>) -> StoreError {
    StoreError::Database(Box::new(error.into()))
}
