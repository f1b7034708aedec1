//! What was uploaded: archives by the digest of their content, and uploads that are under way.
//!
//! `DIR/NAMESPACE/HEX` is an archive, `DIR/NAMESPACE/HEX.new` marks it while no Application has used it since it was uploaded,
//! and `DIR/NAMESPACE/HEX-SIZE.part` is an upload, by the digest and the size of the archive.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use ring::digest::{Context, SHA256};
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, Semaphore};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::archive::{self, ArchiveError, Limits, Summary};
use super::block_writer::{BlockWriter, Written};
pub use super::dir_files::Stored;
use super::dir_files::{age, files};
use super::disk_room;
use super::outcomes::Outcomes;
use super::sent::verify;
use crate::error::Problem;
use crate::model::Digest;

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
/// After how many bytes what was received is written to the disk, beside what follows, and the room for more is looked at.
const WRITE_BACK: u64 = 32 << 20;

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
    /// Those that last are about the content; the others are about the bytes that were received, or about the machine.
    outcomes: Outcomes<Upload, Outcome>,
    /// A request has ended that wrote to an upload.
    freed: Notify,
    /// One archive is checked at a time: a decoder may need 32 MiB.
    checks: Semaphore,
}

/// Frees an upload for the next request, and tells those that wait for it if there may be more of it now.
struct Held {
    uploads: Arc<Inner>,
    upload: Upload,
    /// Whether those that wait for it are told.
    tells: bool,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.uploads.busy.lock().remove(&self.upload);
        if self.tells {
            self.uploads.freed.notify_waiters();
        }
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
            outcomes: Outcomes::default(),
            freed: Notify::new(),
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

    /// Waits until a request that writes to an upload, or a check, has ended.
    pub fn freed(&self) -> Notified<'_> {
        self.0.freed.notified()
    }

    fn hold(&self, upload: &Upload) -> Result<Held, Refused> {
        let mut busy = self.0.busy.lock();
        if !busy.insert(upload.clone()) {
            return Err(Refused::Busy);
        }
        Ok(Held {
            uploads: Arc::clone(&self.0),
            upload: upload.clone(),
            tells: true,
        })
    }

    /// Begins to receive a part of an upload.
    ///
    /// # Errors
    /// The part does not begin at the end of what was received, or nothing can be written.
    pub fn append(&self, upload: &Upload, offset: u64) -> Result<Part, Refused> {
        self.check_size(upload)?;
        let mut held = self.hold(upload)?;
        let received = self.received(upload)?;
        if offset != received {
            // Otherwise a request that waits for its turn would wake itself.
            held.tells = false;
            return Err(Refused::Offset { received });
        }
        fs::create_dir_all(self.namespace(&upload.namespace)).map_err(ArchiveError::written)?;
        self.check_room(upload, upload.size.saturating_sub(received))?;
        if received == 0 {
            self.forget(upload);
            self.check_parts(&upload.namespace)?;
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
            uploads: self.clone(),
            upload: upload.clone(),
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

    /// Forgets what is known of the bytes of an upload that begins anew.
    fn forget(&self, upload: &Upload) {
        self.0.outcomes.forget(upload);
        self.0.digests.lock().retain(|(known, ..)| known != upload);
    }

    /// Removes what was received of an upload, unless another request writes to it.
    pub fn discard(&self, upload: &Upload) {
        if let Ok(_held) = self.hold(upload) {
            let _ = fs::remove_file(self.part(upload));
        }
    }

    /// Removes what was received of an upload that the disk has no room for: it would keep the disk full for everything else.
    fn make_room(&self, upload: &Upload, error: &ArchiveError) {
        if error.is_of_disk() {
            let _ = fs::remove_file(self.part(upload));
        }
    }

    /// Refuses an archive that is larger than an archive may be.
    ///
    /// # Errors
    /// It is.
    pub fn check_size(&self, upload: &Upload) -> Result<(), ArchiveError> {
        let limit = self.0.limits.archive_bytes;
        if upload.size > limit {
            return Err(ArchiveError::ArchiveTooLarge { limit });
        }
        Ok(())
    }

    /// Refuses what would let all uploads together, or those of one namespace, hold more than they may, or fill the disk.
    fn check_room(&self, upload: &Upload, more: u64) -> Result<(), ArchiveError> {
        let limit = self.0.limits.stored_bytes;
        let used = self.used();
        if used.saturating_add(more) > limit {
            return Err(ArchiveError::StoreFull { used, limit, more });
        }
        let own = self.used_by(&upload.namespace);
        let share = limit.saturating_sub(used.saturating_sub(own)) / 2;
        if own.saturating_add(more) > share {
            return Err(ArchiveError::ShareFull {
                namespace: upload.namespace.clone(),
                used: own,
                limit: share,
                more,
            });
        }
        disk_room::check(&self.0.dir, more)
    }

    /// Returns what all uploads hold together, in bytes.
    pub fn used(&self) -> u64 {
        let namespaces = self.namespaces().into_iter();
        namespaces.map(|namespace| self.used_by(&namespace)).sum()
    }

    fn used_by(&self, namespace: &str) -> u64 {
        let paths = files(&self.namespace(namespace), "").into_iter();
        let sizes = paths.filter_map(|(path, _)| Some(fs::metadata(path).ok()?.len()));
        sizes.sum()
    }

    /// Refuses a further unfinished upload of a namespace with many of them.
    fn check_parts(&self, namespace: &str) -> Result<(), Refused> {
        let mut parts = 0;
        for (path, age) in files(&self.namespace(namespace), PART) {
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

    /// How the check of an archive ended. What was found must still be stored; what is about the bytes that were received, or about
    /// the machine, is told once.
    pub fn outcome(&self, upload: &Upload) -> Option<Outcome> {
        let outcome = self.0.outcomes.tell(upload)?;
        self.is_stored(upload, &outcome).then_some(outcome)
    }

    /// The same if it is known without receiving the archive again.
    pub fn known(&self, upload: &Upload) -> Option<Outcome> {
        let outcome = self.0.outcomes.lasting(upload)?;
        self.is_stored(upload, &outcome).then_some(outcome)
    }

    /// Whether what a check found is stored, if it found something.
    fn is_stored(&self, upload: &Upload, outcome: &Outcome) -> bool {
        let Ok(summary) = outcome else { return true };
        let [archive, _] = self.stored(&upload.namespace, &summary.digest);
        archive.is_file()
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
            let checked = checked.unwrap_or(Err(ArchiveError::Cancelled));
            let lasts = checked.as_ref().err().is_none_or(ArchiveError::is_of_content);
            let outcome = checked.map_err(|error| Problem::of(&error));
            inner.outcomes.add(upload, outcome, lasts);
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
            let checked = verify(&part, digest, digits(&upload.archive))
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
                if error.is_of_upload() || error.is_of_disk() {
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

    /// Removes those archives that are not in `used`, and uploads that do not go on: sooner if nothing of the namespace is used. What
    /// was stored anew meanwhile stays.
    pub fn collect(&self, namespace: &str, stored: &[Stored], used: &BTreeSet<String>) {
        let unfinished = if used.is_empty() { UNUSED } else { UNFINISHED };
        for Stored { path, age } in stored {
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            let mark = path.with_extension("new");
            let is_old = if name.ends_with(PART) {
                *age > unfinished
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
    uploads: Uploads,
    upload: Upload,
    /// The digest is of what was received, if all of it passed through this process.
    writer: BlockWriter<Held>,
}

impl Part {
    /// Takes bytes, which are written while the next ones are received.
    ///
    /// # Errors
    /// They are more than the upload has, there is no room for more, or those of before could not be written.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        let size = self.upload.size;
        let received = self.received.saturating_add(bytes.len() as u64);
        if received > size {
            return Err(ArchiveError::LongerThanStated { size });
        }
        let looks = received / WRITE_BACK != self.received / WRITE_BACK;
        self.received = received;
        let written = if looks {
            // Others take room meanwhile.
            let more = WRITE_BACK.min(size.saturating_sub(received));
            self.uploads.check_room(&self.upload, more)
        } else {
            Ok(())
        };
        let written = match written {
            Ok(()) => self.writer.write(bytes).await.map_err(ArchiveError::written),
            Err(error) => Err(error),
        };
        written.inspect_err(|error| self.uploads.make_room(&self.upload, error))
    }

    /// Ends the part, and returns how much of the upload was received.
    ///
    /// # Errors
    /// The rest cannot be written.
    pub async fn end(self) -> Result<u64, ArchiveError> {
        let ended = self.writer.end().await.map_err(ArchiveError::written);
        let ended = ended.inspect_err(|error| self.uploads.make_room(&self.upload, error));
        // The upload is held until the end.
        let Written {
            file,
            digest,
            guard: _held,
        } = ended?;
        if let Some(digest) = digest {
            let mut digests = self.uploads.0.digests.lock();
            digests.retain(|(known, ..)| *known != self.upload);
            if digests.len() >= MOST_DIGESTS {
                digests.pop_front();
            }
            digests.push_back((self.upload, self.received, digest));
        }
        if self.begun / WRITE_BACK != self.received / WRITE_BACK {
            // An error of the disk is reported at the end.
            spawn_blocking(move || file.sync_data());
        }
        Ok(self.received)
    }
}

fn digits(digest: &Digest) -> &str {
    digest.as_str().trim_start_matches("sha256:")
}
