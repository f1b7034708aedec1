//! The log in front of the table: a batch is durable once it stands here, one write and one sync in a place on the disk
//! that follows the last one. The table, whose pages are all over its file, takes many batches together.
//!
//! The file has one length for ever, so that a sync never waits for the file system's own records. Records stand one
//! behind another from its beginning: a head of [`HEAD`] bytes (generation, number, length, digest), the batch, and
//! zeros up to the next multiple of [`ALIGN`]. The table says which generation it waits for; each time it has taken
//! everything it names a new one, and what stands in the log means nothing any more.

use std::io;

use ring::digest::{Context, SHA256};

/// Tells the records written after one state of the table from all others.
pub(super) type Generation = [u8; 16];

/// The log's file: redb's own seam, so that the tests' disks hold both files.
pub(super) type LogFile = Box<dyn redb::StorageBackend>;

/// Generation, number (8 bytes), length (8 bytes) and the first half of a SHA-256 over these and the batch.
const HEAD: usize = 48;
const ALIGN: usize = 16;

/// The log of one generation, open for writing.
pub(super) struct Log {
    file: LogFile,
    length: usize,
    generation: Generation,
    at: usize,
    number: u64,
}

/// What a log of an interrupted run holds.
pub(super) enum Found {
    /// These batches, in order. The write that was under way, if there was one, is not among them.
    Batches(Vec<Vec<u8>>),
    /// A batch is not what was written, and later ones are there.
    Damaged(String),
}

impl Log {
    /// Takes `file`, which is made `length` bytes long where it is not. Nothing in it counts before [`Log::restart`].
    pub fn open(file: LogFile, length: usize) -> io::Result<Self> {
        let wanted = u64::try_from(length).unwrap_or(u64::MAX);
        if file.len()? != wanted {
            file.set_len(0)?;
            file.set_len(wanted)?;
            // Written once: blocks that are only promised cost a sync of the file system's records at their first use.
            let zeros = vec![0; length];
            file.write(0, &zeros)?;
            file.sync_data()?;
        }
        Ok(Self {
            file,
            length,
            generation: Generation::default(),
            at: 0,
            number: 0,
        })
    }

    /// How long the file is, in bytes.
    pub fn length(&self) -> u64 {
        self.length as u64
    }

    /// Begins from the front, for the generation that the table waits for.
    pub fn restart(&mut self, generation: Generation) {
        (self.generation, self.at, self.number) = (generation, 0, 0);
    }

    /// Makes `batch` durable before it returns; false where it has no room, and nothing was written.
    ///
    /// # Errors
    /// The disk failed: whether the batch is durable is unknown, and nothing may be appended before a restart.
    pub fn append(&mut self, batch: &[u8]) -> io::Result<bool> {
        let end = self.at + (HEAD + batch.len()).next_multiple_of(ALIGN);
        if end > self.length {
            return Ok(false);
        }
        let mut record = Vec::with_capacity(HEAD + batch.len());
        record.extend_from_slice(&self.generation);
        record.extend_from_slice(&self.number.to_be_bytes());
        record.extend_from_slice(&(batch.len() as u64).to_be_bytes());
        let sum = digest(&record, batch);
        record.extend_from_slice(&sum);
        record.extend_from_slice(batch);
        self.file.write(self.at as u64, &record)?;
        self.file.sync_data()?;
        self.at = end;
        self.number += 1;
        Ok(true)
    }

    /// What an interrupted run has left in `file` for the table that waits for `generation`.
    pub fn read(file: &LogFile, generation: Generation) -> io::Result<Found> {
        let length = usize::try_from(file.len()?).unwrap_or(usize::MAX);
        let mut bytes = vec![0; length];
        file.read(0, &mut bytes)?;
        let mut rest = bytes.as_slice();
        let mut batches = Vec::new();
        while let Some((batch, size)) = record(rest, &generation, batches.len() as u64) {
            batches.push(batch.to_vec());
            rest = rest.get(size..).unwrap_or_default();
        }
        // A record is written when the one before it is durable. So no record follows an interrupted one.
        while let Some(next) = rest.get(ALIGN..) {
            rest = next;
            if let Some(number) = number(rest, &generation)
                && number > batches.len() as u64
            {
                return Ok(Found::Damaged(format!(
                    "batch {} of its log is not what was written, and batch {number} is there",
                    batches.len()
                )));
            }
        }
        Ok(Found::Batches(batches))
    }
}

/// The number that the head at the beginning of `bytes` gives itself, if it is one of this generation.
fn number(bytes: &[u8], generation: &Generation) -> Option<u64> {
    let rest = bytes.strip_prefix(generation)?;
    rest.first_chunk().copied().map(u64::from_be_bytes)
}

/// The batch at the beginning of `bytes` and how much room it takes, if it is whole and has this number.
fn record<'a>(bytes: &'a [u8], generation: &Generation, wanted: u64) -> Option<(&'a [u8], usize)> {
    if number(bytes, generation)? != wanted {
        return None;
    }
    let (head, rest) = bytes.split_at_checked(HEAD)?;
    let (told, sum) = head.split_at_checked(HEAD - 16)?;
    let length = told.last_chunk().copied().map(u64::from_be_bytes)?;
    let batch = rest.get(..usize::try_from(length).ok()?)?;
    (digest(told, batch) == sum).then(|| (batch, (HEAD + batch.len()).next_multiple_of(ALIGN)))
}

fn digest(head: &[u8], batch: &[u8]) -> [u8; 16] {
    let mut context = Context::new(&SHA256);
    context.update(head);
    context.update(batch);
    let sum = context.finish();
    sum.as_ref().first_chunk().copied().unwrap_or_default()
}
