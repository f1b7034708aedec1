//! What was uploaded: archives by the digest of their content, and uploads that are under way.
//!
//! `DIR/NAMESPACE/HEX` is an archive, `DIR/NAMESPACE/HEX.new` marks it while no Application has used it since it was uploaded,
//! and `DIR/NAMESPACE/HEX-SIZE.part` is an upload, by the digest and the size of the archive.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use ring::digest::{Context, SHA256};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::archive::{self, ArchiveError, Limits, Summary};
use super::block_writer::{BlockWriter, Written};
use crate::error::{Class, Problem};
use crate::model::{Digest, hex};

/// What the names of uploads that are under way, and of marks, end in.
const PART: &str = ".part";
const NEW: &str = ".new";
/// How long an archive that no Application has used yet is kept, and an upload that does not go on.
const UNUSED: Duration = Duration::from_hours(1);
const UNFINISHED: Duration = Duration::from_hours(24);
/// The most uploads of a namespace that are under way.
const MOST_PARTS: usize = 16;
/// How many digests of uploads that are under way are remembered; that of another one is computed when it is complete.
const MOST_DIGESTS: usize = 16;
/// After how many bytes what was received is written to the disk, beside what follows.
const WRITE_BACK: u64 = 32 << 20;
/// How many outcomes of checks are remembered for clients that ask again.
const MOST_OUTCOMES: usize = 64;

/// An upload: the digest of the archive's bytes, and their number.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Upload {
    /// The namespace.
    pub namespace: String,
    /// The digest of the archive.
    pub archive: Digest,
    /// The size of the archive, in bytes.
    pub size: u64,
}

/// Why a part of an upload is not accepted.
#[derive(Debug)]
pub enum Refused {
    /// It does not continue what was received so far.
    Offset {
        /// How much was received.
        received: u64,
    },
    /// Another request writes to the same upload.
    Busy,
    /// Too many uploads of the namespace are under way.
    TooMany,
    /// The archive is not accepted, or cannot be stored.
    Archive(ArchiveError),
}

impl From<ArchiveError> for Refused {
    fn from(error: ArchiveError) -> Self {
        Self::Archive(error)
    }
}

/// What an archive holds, or why it is refused.
pub type Outcome = Result<Summary, Problem>;

/// Stored archives and uploads. Clones share it.
#[derive(Clone)]
pub struct Uploads(Arc<Inner>);

struct Inner {
    dir: PathBuf,
    limits: Limits,
    /// The uploads that a request writes to or that are being checked.
    busy: Mutex<HashSet<Upload>>,
    /// The digests of uploads so far, with the number of bytes that they cover, the oldest first.
    digests: Mutex<VecDeque<(Upload, u64, Context)>>,
    /// The last checks, the oldest first.
    outcomes: Mutex<VecDeque<(Upload, Outcome)>>,
    /// One archive is checked at a time: a decoder may need 32 MiB.
    checks: Semaphore,
}

/// Frees an upload for the next request.
struct Held(Arc<Inner>, Upload);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.busy.lock().remove(&self.1);
    }
}

impl Uploads {
    /// Kept in `dir`, which is created when it is first needed.
    pub fn new(dir: PathBuf, limits: Limits) -> Self {
        Self(Arc::new(Inner {
            dir,
            limits,
            busy: Mutex::default(),
            digests: Mutex::default(),
            outcomes: Mutex::default(),
            checks: Semaphore::new(1),
        }))
    }

    /// What an archive may be.
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    fn namespace(&self, namespace: &str) -> PathBuf {
        self.0.dir.join(namespace)
    }

    fn part(&self, upload: &Upload) -> PathBuf {
        let name = format!("{}-{}{PART}", digits(&upload.archive), upload.size);
        self.namespace(&upload.namespace).join(name)
    }

    fn stored(&self, namespace: &str, digest: &Digest) -> [PathBuf; 2] {
        let dir = self.namespace(namespace);
        let name = digits(digest);
        [dir.join(name), dir.join(format!("{name}{NEW}"))]
    }

    /// Returns the archive with this content, if it is stored. From now on it is kept only while it is referred to.
    pub fn find(&self, namespace: &str, digest: &Digest) -> Option<PathBuf> {
        let [archive, mark] = self.stored(namespace, digest);
        let found = archive.is_file().then_some(archive)?;
        let _ = fs::remove_file(mark);
        Some(found)
    }

    /// How much of an upload was received.
    ///
    /// # Errors
    /// The disk cannot be read.
    pub fn received(&self, upload: &Upload) -> Result<u64, ArchiveError> {
        match fs::metadata(self.part(upload)) {
            Ok(part) => Ok(part.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(ArchiveError::read(error)),
        }
    }

    fn hold(&self, upload: &Upload) -> Result<Held, Refused> {
        let mut busy = self.0.busy.lock();
        if !busy.insert(upload.clone()) {
            return Err(Refused::Busy);
        }
        Ok(Held(Arc::clone(&self.0), upload.clone()))
    }

    /// Begins to receive a part of an upload.
    ///
    /// # Errors
    /// The part does not begin at the end of what was received, or nothing can be written.
    pub fn append(&self, upload: &Upload, offset: u64) -> Result<Part, Refused> {
        if upload.size > self.0.limits.archive_bytes {
            let limit = self.0.limits.archive_bytes;
            return Err(ArchiveError::ArchiveTooLarge { limit }.into());
        }
        let held = self.hold(upload)?;
        let received = self.received(upload)?;
        if offset != received {
            return Err(Refused::Offset { received });
        }
        self.check_total(upload.size.saturating_sub(received))?;
        if received == 0 {
            self.0.outcomes.lock().retain(|(known, _)| known != upload);
            self.make_room(&upload.namespace)?;
        }
        let mut options = fs::OpenOptions::new();
        let file = options
            .create(true)
            .append(true)
            .mode(0o600)
            .open(self.part(upload));
        let file = file.map_err(ArchiveError::written)?;
        let digest = match received {
            0 => Some(Context::new(&SHA256)),
            received => self.take_digest(upload, received),
        };
        Ok(Part {
            begun: received,
            received,
            size: upload.size,
            writer: BlockWriter::new(file, digest, held),
        })
    }

    /// Takes the digest of what was received of an upload, if it is known.
    fn take_digest(&self, upload: &Upload, received: u64) -> Option<Context> {
        let mut digests = self.0.digests.lock();
        let at = digests.iter().position(|(known, ..)| known == upload)?;
        let (_, covers, digest) = digests.remove(at)?;
        (covers == received).then_some(digest)
    }

    /// Refuses what would let all uploads together hold more than they may.
    fn check_total(&self, more: u64) -> Result<(), ArchiveError> {
        let limit = self.0.limits.stored_bytes;
        let used = self.used();
        if used.saturating_add(more) > limit {
            return Err(ArchiveError::StoreFull { used, limit, more });
        }
        Ok(())
    }

    /// Returns what all uploads hold together, in bytes.
    pub fn used(&self) -> u64 {
        let namespaces = self.namespaces().into_iter();
        let paths = namespaces.flat_map(|namespace| files(&self.namespace(&namespace), ""));
        let sizes = paths.filter_map(|(path, _)| Some(fs::metadata(path).ok()?.len()));
        sizes.sum()
    }

    fn make_room(&self, namespace: &str) -> Result<(), Refused> {
        let dir = self.namespace(namespace);
        fs::create_dir_all(&dir).map_err(ArchiveError::written)?;
        let mut parts = 0;
        for (path, age) in files(&dir, PART) {
            if age > UNFINISHED {
                let _ = fs::remove_file(&path);
            } else {
                parts += 1;
            }
        }
        if parts >= MOST_PARTS {
            return Err(Refused::TooMany);
        }
        Ok(())
    }

    /// How the check of an archive ended, if what it found is still stored. A failure that may pass is told once.
    pub fn outcome(&self, upload: &Upload) -> Option<Outcome> {
        let mut outcomes = self.0.outcomes.lock();
        let at = outcomes.iter().rposition(|(known, _)| known == upload)?;
        let (_, outcome) = outcomes.get(at)?;
        match outcome.clone() {
            Ok(summary) => {
                let [archive, _] = self.stored(&upload.namespace, &summary.digest);
                archive.is_file().then_some(Ok(summary))
            }
            Err(problem) => {
                if problem.class != Class::Terminal {
                    outcomes.remove(at);
                }
                Some(Err(problem))
            }
        }
    }

    /// Checks an archive that was received whole, and stores it by its content, in the background. An archive that is refused
    /// is removed.
    ///
    /// # Errors
    /// The archive is being checked already.
    pub fn finish(&self, upload: &Upload) -> Result<(), Refused> {
        let held = self.hold(upload)?;
        let (uploads, upload) = (self.clone(), upload.clone());
        tokio::spawn(async move {
            let inner = Arc::clone(&uploads.0);
            let _place = inner.checks.acquire().await;
            let of = upload.clone();
            let checked = spawn_blocking(move || uploads.check(&of)).await;
            let outcome = match checked {
                Ok(checked) => checked.map_err(|error| Problem::of(&error)),
                Err(_) => Err(Problem::of(&ArchiveError::Cancelled)),
            };
            let mut outcomes = inner.outcomes.lock();
            outcomes.retain(|(known, _)| *known != upload);
            if outcomes.len() >= MOST_OUTCOMES {
                outcomes.pop_front();
            }
            outcomes.push_back((upload, outcome));
            drop(held);
        });
        Ok(())
    }

    fn check(&self, upload: &Upload) -> Result<Summary, ArchiveError> {
        let part = self.part(upload);
        let digest = self.take_digest(upload, upload.size);
        let checked = std::thread::scope(|scope| {
            // Beside the check, which reads what the page cache has.
            let written = scope.spawn(|| fs::File::open(&part)?.sync_all());
            let checked = verify(&part, digest, &upload.archive)
                .and_then(|()| archive::check(&part, &self.0.limits, &CancellationToken::new()));
            let written = written
                .join()
                .unwrap_or_else(|_| Err(io::ErrorKind::Other.into()));
            let written = written.map_err(ArchiveError::written);
            checked.and_then(|summary| written.map(|()| summary))
        });
        let summary = match checked {
            Ok(summary) => summary,
            Err(error) => {
                if error.is_of_upload() {
                    let _ = fs::remove_file(&part);
                }
                return Err(error);
            }
        };
        let [archive, mark] = self.stored(&upload.namespace, &summary.digest);
        // First, so that the archive is not removed before an Application refers to it.
        fs::File::create(&mark)
            .and_then(|_| fs::rename(&part, &archive))
            .map_err(ArchiveError::written)?;
        Ok(summary)
    }

    /// Returns the archives and uploads of a namespace.
    pub fn list(&self, namespace: &str) -> Vec<Stored> {
        let found = files(&self.namespace(namespace), "").into_iter();
        found.map(|(path, age)| Stored { path, age }).collect()
    }

    /// Removes those archives that are not in `used`, and uploads that do not go on. What was stored anew meanwhile stays.
    pub fn collect(&self, namespace: &str, stored: &[Stored], used: &BTreeSet<String>) {
        for Stored { path, age } in stored {
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            let mark = path.with_extension("new");
            let is_old = if name.ends_with(PART) {
                *age > UNFINISHED
            } else if name.ends_with(NEW) {
                *age > UNUSED
            } else {
                let is_new = self::age(&mark).is_some_and(|age| age <= UNUSED);
                !is_new && !used.contains(&format!("sha256:{name}"))
            };
            let is_newer = self::age(path).is_none_or(|now| now < *age);
            if is_old
                && !is_newer
                && let Err(error) = fs::remove_file(path)
            {
                tracing::warn!(%error, path = %path.display(), "an upload could not be removed");
            }
        }
        // Only an empty directory goes.
        let _ = fs::remove_dir(self.namespace(namespace));
    }

    /// The namespaces with archives or uploads.
    pub fn namespaces(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0.dir).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect()
    }
}

/// A part of an upload that is being received. What was written stays if the connection is lost.
pub struct Part {
    begun: u64,
    received: u64,
    size: u64,
    /// The digest is of what was received, if all of it passed through this process.
    writer: BlockWriter<Held>,
}

impl Part {
    /// Takes bytes, which are written while the next ones are received.
    ///
    /// # Errors
    /// They are more than the upload has, or those of before could not be written.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        if self.received + bytes.len() as u64 > self.size {
            let limit = self.size;
            return Err(ArchiveError::ArchiveTooLarge { limit });
        }
        self.received += bytes.len() as u64;
        self.writer.write(bytes).await.map_err(ArchiveError::written)
    }

    /// Ends the part, and returns how much of the upload was received.
    ///
    /// # Errors
    /// The rest cannot be written.
    pub async fn end(self) -> Result<u64, ArchiveError> {
        let Written { file, digest, guard } = self.writer.end().await.map_err(ArchiveError::written)?;
        let Held(inner, upload) = &guard;
        if let Some(digest) = digest {
            let mut digests = inner.digests.lock();
            if digests.len() >= MOST_DIGESTS {
                digests.pop_front();
            }
            digests.push_back((upload.clone(), self.received, digest));
        }
        if self.begun / WRITE_BACK != self.received / WRITE_BACK {
            // An error of the disk is reported at the end.
            spawn_blocking(move || file.sync_data());
        }
        Ok(self.received)
    }
}

/// A stored archive or an upload, as it was seen.
#[derive(Debug)]
pub struct Stored {
    path: PathBuf,
    age: Duration,
}

/// How long ago a file was written.
fn age(path: &Path) -> Option<Duration> {
    let modified = fs::metadata(path).ok()?.modified().ok()?;
    Some(SystemTime::now().duration_since(modified).unwrap_or_default())
}

/// The files of a directory whose names end so, with their ages.
fn files(dir: &Path, end: &str) -> Vec<(PathBuf, Duration)> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let files = entries.filter_map(|entry| {
        let path = entry.path();
        let name = path.file_name()?.to_str()?.to_owned();
        let age = age(&path)?;
        name.ends_with(end).then_some((path, age))
    });
    files.collect()
}

fn digits(digest: &Digest) -> &str {
    digest.as_str().trim_start_matches("sha256:")
}

/// Compares the bytes of an upload with the digest that the client gave. They are read unless their digest is known.
fn verify(part: &Path, digest: Option<Context>, archive: &Digest) -> Result<(), ArchiveError> {
    let digest = match digest {
        Some(digest) => digest,
        None => read_digest(part).map_err(ArchiveError::read)?,
    };
    if hex(digest.finish().as_ref()) == digits(archive) {
        return Ok(());
    }
    Err(ArchiveError::Damaged {
        why: "what was received is not what was sent".to_owned(),
    })
}

fn read_digest(part: &Path) -> io::Result<Context> {
    let mut file = fs::File::open(part)?;
    let mut digest = Context::new(&SHA256);
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let length = io::Read::read(&mut file, &mut buffer)?;
        if length == 0 {
            return Ok(digest);
        }
        digest.update(buffer.get(..length).unwrap_or_default());
    }
}
