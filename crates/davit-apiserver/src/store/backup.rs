//! A backup: JSON lines, one object a line between a head and an end that tells whether all of it is there.
//!
//! It is made of what is in memory, so it costs the writer nothing and needs no room on the store's disk. What is
//! sealed in the store is sealed in the backup, with the same key, which the backup does not hold.

use std::{
    fmt::Write as _,
    io::{BufRead, BufReader, Read},
    path::Path,
    sync::Arc,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    Disk, GroupResource, Object, ObjectKey, StoreError,
    cipher::Cipher,
    envelope::{Sealing, row},
    snapshot::Everything,
};

/// What the head calls the format.
const FORMAT: u32 = 1;
/// How many bytes one chunk aims for.
const CHUNK: usize = 64 << 10;
/// The longest line that is read: no object is that large.
const LINE_BYTES: u64 = 64 << 20;
/// A restored store goes on this much later, so that no client takes a revision of after the backup for one of it.
const LEAP: u64 = 1_000_000_000;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Head {
    /// The version of the format. Backups written before 0.2 call it `davitBackup`.
    #[serde(alias = "davitBackup")]
    backup_format: u32,
    revision: u64,
    objects: usize,
    /// By which a wrong key is noticed before anything is restored.
    check: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    group: String,
    resource: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sealed: Option<Sealed>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    namespace: String,
    name: String,
    value: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    /// Over every byte before this line.
    sha256: String,
}

/// A backup under way: an iterator over its chunks.
pub struct Backup {
    revision: u64,
    objects: std::vec::IntoIter<(Arc<GroupResource>, Arc<Object>)>,
    sealing: Arc<Sealing>,
    digest: Context,
    began: bool,
    ended: bool,
}

impl Backup {
    pub(super) fn new(Everything { revision, objects }: Everything, sealing: Arc<Sealing>) -> Self {
        Self {
            revision,
            objects: objects.into_iter(),
            sealing,
            digest: Context::new(&SHA256),
            began: false,
            ended: false,
        }
    }

    fn line(&self, collection: &GroupResource, object: &Object) -> Result<Line, StoreError> {
        let mut line = Line {
            group: collection.group.to_string(),
            resource: collection.resource.to_string(),
            object: None,
            sealed: None,
        };
        if (self.sealing.sealed)(collection) {
            let name = row(collection, &object.key);
            line.sealed = Some(Sealed {
                namespace: object.key.namespace.to_string(),
                name: object.key.name.to_string(),
                value: STANDARD.encode(self.sealing.cipher.seal(&name, object.json())?),
            });
        } else {
            line.object = Some(object.value());
        }
        Ok(line)
    }

    fn chunk(&mut self) -> Result<Vec<u8>, StoreError> {
        let mut out = Vec::with_capacity(CHUNK + 4096);
        if !std::mem::replace(&mut self.began, true) {
            let head = Head {
                backup_format: FORMAT,
                revision: self.revision,
                objects: self.objects.len(),
                check: STANDARD.encode(self.sealing.cipher.mark()?),
            };
            put(&mut out, &head)?;
        }
        while out.len() < CHUNK {
            let Some((collection, object)) = self.objects.next() else {
                self.digest.update(&out);
                let sha256 = hex(self.digest.clone().finish().as_ref());
                put(&mut out, &End { sha256 })?;
                self.ended = true;
                return Ok(out);
            };
            put(&mut out, &self.line(&collection, &object)?)?;
        }
        self.digest.update(&out);
        Ok(out)
    }
}

impl Iterator for Backup {
    type Item = Result<Bytes, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let chunk = self.chunk();
        self.ended |= chunk.is_err();
        Some(chunk.map(Bytes::from))
    }
}

fn put(out: &mut Vec<u8>, line: &impl Serialize) -> Result<(), StoreError> {
    serde_json::to_writer(&mut *out, line).map_err(|_| StoreError::Seal)?;
    out.push(b'\n');
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// Reads a backup line by line; it is whole only when the iterator ended without an error.
struct Lines<'a, R> {
    input: BufReader<R>,
    path: &'a Path,
    sealing: Option<&'a Sealing>,
    digest: Context,
    left: usize,
}

impl<'a, R: Read> Lines<'a, R> {
    fn open(input: R, path: &'a Path) -> Result<(Head, Self), StoreError> {
        let mut lines = Self {
            input: BufReader::new(input),
            path,
            sealing: None,
            digest: Context::new(&SHA256),
            left: 0,
        };
        let line = lines.line()?;
        lines.digest.update(&line);
        let head: Head =
            serde_json::from_slice(&line).map_err(|_| lines.wrong("it does not begin as one does"))?;
        if head.backup_format != FORMAT {
            return Err(lines.wrong(format!(
                "this version does not read its format {}",
                head.backup_format
            )));
        }
        lines.left = head.objects;
        Ok((head, lines))
    }

    fn wrong(&self, what: impl Into<String>) -> StoreError {
        StoreError::Backup {
            path: self.path.to_owned(),
            what: what.into(),
        }
    }

    fn line(&mut self) -> Result<Vec<u8>, StoreError> {
        let mut line = Vec::new();
        let read = (&mut self.input).take(LINE_BYTES).read_until(b'\n', &mut line);
        read.map_err(|source| StoreError::File {
            path: self.path.to_owned(),
            source,
        })?;
        if line.last() == Some(&b'\n') {
            Ok(line)
        } else {
            Err(self.wrong("it is cut off"))
        }
    }

    fn object(&mut self) -> Result<(Arc<GroupResource>, Option<Object>), StoreError> {
        let raw = self.line()?;
        self.digest.update(&raw);
        let line: Line = serde_json::from_slice(&raw).map_err(|_| self.wrong("a line of it is no object"))?;
        let collection = Arc::new(GroupResource::new(&line.group, &line.resource));
        let mut value = match (line.object, line.sealed) {
            (Some(value), None) => value,
            (None, Some(sealed)) => {
                let Some(sealing) = self.sealing else {
                    return Ok((collection, None));
                };
                let name = row(&collection, &ObjectKey::new(&sealed.namespace, &sealed.name));
                let closed = STANDARD.decode(&sealed.value).unwrap_or_default();
                let plain = sealing
                    .cipher
                    .open(&name, &closed)
                    .map_err(|_| self.wrong(format!("{}/{} does not open", sealed.namespace, sealed.name)))?;
                serde_json::from_slice(&plain).map_err(|_| self.wrong("a sealed line of it is no object"))?
            }
            _ => return Err(self.wrong("a line of it is no object")),
        };
        let revision = value
            .get("metadata")
            .and_then(|metadata| metadata.get("resourceVersion")?.as_str()?.parse().ok())
            .ok_or_else(|| self.wrong("an object of it has no resourceVersion"))?;
        let object =
            Object::render(&mut value, revision).map_err(|_| self.wrong("a line of it is no object"))?;
        Ok((collection, Some(object)))
    }

    fn end(&mut self) -> Result<(), StoreError> {
        let wanted = hex(self.digest.clone().finish().as_ref());
        let line = self.line()?;
        let end: End = serde_json::from_slice(&line).map_err(|_| self.wrong("it has no end"))?;
        if end.sha256 == wanted {
            Ok(())
        } else {
            Err(self.wrong("it is not what was written"))
        }
    }
}

impl<R: Read> Iterator for Lines<'_, R> {
    type Item = Result<(Arc<GroupResource>, Option<Object>), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                Some(self.object())
            }
            // One more, if the end is not as it should be.
            None => self.end().err().map(Err),
        }
    }
}

/// Reads a backup (`path` is what messages call it) and says its revision and how many objects it holds, if it is whole.
pub fn verify(input: impl Read, path: &Path) -> Result<(u64, usize), StoreError> {
    let (head, lines) = Lines::open(input, path)?;
    for line in lines {
        line?;
    }
    Ok((head.revision, head.objects))
}

/// Makes a store at `store` of the backup that `input` gives (`path` is what messages call it), with the key in
/// `key_file`: the one with which the backup was made. Says how many objects it has.
pub fn restore(
    input: impl Read,
    path: &Path,
    store: &Path,
    key_file: &Path,
    sealed: fn(&GroupResource) -> bool,
) -> Result<usize, StoreError> {
    if store.exists() {
        return Err(StoreError::Present {
            path: store.to_owned(),
        });
    }
    let cipher = Cipher::from_file(key_file, false)?;
    let (head, mut lines) = Lines::open(input, path)?;
    cipher.check(&STANDARD.decode(&head.check).unwrap_or_default(), path)?;
    let sealing = Arc::new(Sealing { cipher, sealed });
    lines.sealing = Some(&sealing);
    let mut objects = lines.filter_map(|line| match line {
        Ok((collection, Some(object))) => Some(Ok((collection, object))),
        Ok((_, None)) => None,
        Err(error) => Some(Err(error)),
    });
    Disk::make(store, &sealing, &mut objects, head.revision.saturating_add(LEAP))?;
    Ok(head.objects)
}
