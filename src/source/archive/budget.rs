//! What reading an archive may cost: bytes, their ratio to the archive, and time.

use std::cell::Cell;
use std::io::{self, Read};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::error::ArchiveError;

/// What an archive may be.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The size of the archive, in bytes. Default 1 GiB.
    pub archive_bytes: u64,
    /// The size of everything in it, in bytes. Default 4 GiB.
    pub bytes: u64,
    /// The number of entries. Default 100 000.
    pub entries: usize,
    /// How many times larger its content may be than the archive itself, beyond [`Limits::free`]. Default 200.
    pub ratio: u64,
    /// The size of the content up to which the ratio does not matter, in bytes. Default 64 MiB.
    pub free: u64,
    /// How long reading it may take. Default 5 minutes.
    pub time: Duration,
    /// What all uploads together may hold, in bytes. Default 10 GiB.
    pub stored_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            archive_bytes: 1 << 30,
            bytes: 4 << 30,
            entries: 100_000,
            ratio: 200,
            free: 64 << 20,
            time: Duration::from_mins(5),
            stored_bytes: 10 << 30,
        }
    }
}

/// What is left for one archive.
pub(super) struct Budget {
    limits: Limits,
    archive: u64,
    spent: Cell<u64>,
    begun: Instant,
    cancel: CancellationToken,
}

impl Budget {
    pub fn new(limits: Limits, archive: u64, cancel: CancellationToken) -> Self {
        Self {
            limits,
            archive,
            spent: Cell::new(0),
            begun: Instant::now(),
            cancel,
        }
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Accounts for bytes that were unpacked.
    pub fn spend(&self, bytes: u64) -> Result<(), ArchiveError> {
        let spent = self.spent.get().saturating_add(bytes);
        self.spent.set(spent);
        let limits = &self.limits;
        if spent > limits.bytes {
            return Err(ArchiveError::TooLarge { limit: limits.bytes });
        }
        if spent > limits.free && spent > self.archive.saturating_mul(limits.ratio) {
            return Err(ArchiveError::Ratio { limit: limits.ratio });
        }
        if self.begun.elapsed() > limits.time {
            return Err(ArchiveError::TooSlow { limit: limits.time });
        }
        if self.cancel.is_cancelled() {
            return Err(ArchiveError::Cancelled);
        }
        Ok(())
    }
}

/// Unpacked bytes, accounted for as they are read.
pub(super) struct Metered<'b, R> {
    inner: R,
    budget: &'b Budget,
}

impl<'b, R: Read> Metered<'b, R> {
    pub fn new(inner: R, budget: &'b Budget) -> Self {
        Self { inner, budget }
    }
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.budget.spend(length as u64).map_err(io::Error::other)?;
        Ok(length)
    }
}
