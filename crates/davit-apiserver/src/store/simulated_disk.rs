//! A disk of the tests: it may lose power, run full, and stop to answer.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicIsize, AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use redb::StorageBackend;

/// A file as a disk keeps it: what is written is seen at once, and lasts from the next sync on.
#[derive(Debug, Default)]
pub(super) struct Platter {
    pub now: Mutex<Vec<u8>>,
    /// As it was at the last sync, and the writes since.
    durable: Mutex<Vec<u8>>,
    since: Mutex<Vec<Op>>,
    syncs: AtomicUsize,
    pub full: AtomicBool,
    pub fail_sync: AtomicBool,
    /// How many writes and syncs there will be before the power fails.
    power: Arc<AtomicIsize>,
}

#[derive(Debug, Clone)]
enum Op {
    Length(usize),
    Write(usize, Vec<u8>),
}

fn apply(bytes: &mut Vec<u8>, op: &Op) {
    match op {
        Op::Length(length) => bytes.resize(*length, 0),
        Op::Write(at, data) => {
            if bytes.len() < at + data.len() {
                bytes.resize(at + data.len(), 0);
            }
            bytes[*at..at + data.len()].copy_from_slice(data);
        }
    }
}

impl Platter {
    fn with(bytes: Vec<u8>, power: &Arc<AtomicIsize>) -> Arc<Self> {
        Arc::new(Self {
            now: Mutex::new(bytes.clone()),
            durable: Mutex::new(bytes),
            power: power.clone(),
            ..Self::default()
        })
    }

    fn powered(&self) -> io::Result<()> {
        if self.power.fetch_sub(1, Ordering::SeqCst) > 0 {
            Ok(())
        } else {
            Err(io::Error::other("there is no power"))
        }
    }

    /// What is on the disk after the power failed: of the writes since the last sync each one that `lasts` says, and
    /// of the last of those perhaps only the beginning.
    fn after_power_loss(&self, lasts: &[bool], torn: usize) -> Vec<u8> {
        let mut bytes = self.durable.lock().clone();
        for (index, op) in self.since.lock().iter().enumerate() {
            let Op::Write(at, data) = op else {
                apply(&mut bytes, op);
                continue;
            };
            if lasts.get(index % lasts.len().max(1)).copied().unwrap_or(true) {
                apply(&mut bytes, op);
            } else {
                // Disks write whole sectors.
                let kept = data.len().min(torn * 512);
                apply(&mut bytes, &Op::Write(*at, data[..kept].to_vec()));
            }
        }
        bytes
    }
}

/// The two files of a store, on one machine.
pub(super) struct Disks {
    pub table: Arc<Platter>,
    pub log: Arc<Platter>,
    power: Arc<AtomicIsize>,
}

impl Disks {
    pub fn new() -> Self {
        Self::with(Vec::new(), Vec::new())
    }

    pub fn with(table: Vec<u8>, log: Vec<u8>) -> Self {
        let power = Arc::new(AtomicIsize::new(isize::MAX));
        Self {
            table: Platter::with(table, &power),
            log: Platter::with(log, &power),
            power,
        }
    }

    /// The power fails after so many writes and syncs.
    pub fn fail_after(&self, operations: isize) {
        self.power.store(operations, Ordering::SeqCst);
    }

    pub fn after_power_loss(&self, lasts: &[bool], torn: usize) -> Self {
        self.fail_after(0);
        let [table, log] = [&self.table, &self.log].map(|platter| platter.after_power_loss(lasts, torn));
        Self::with(table, log)
    }

    /// The files as they are now.
    pub fn copy(&self) -> Self {
        Self::with(self.table.now.lock().clone(), self.log.now.lock().clone())
    }

    pub fn set(&self, flag: impl Fn(&Platter) -> &AtomicBool, value: bool) {
        for platter in [&self.table, &self.log] {
            flag(platter).store(value, Ordering::SeqCst);
        }
    }

    pub fn syncs(&self) -> usize {
        let of = |platter: &Platter| platter.syncs.load(Ordering::SeqCst);
        of(&self.table) + of(&self.log)
    }
}

#[derive(Debug)]
pub(super) struct File(pub Arc<Platter>);

impl StorageBackend for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.now.lock().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let at = usize::try_from(offset).unwrap();
        let now = self.0.now.lock();
        let from = at
            .checked_add(out.len())
            .and_then(|end| now.get(at..end))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(from);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let length = usize::try_from(len).unwrap();
        self.0.powered()?;
        if self.0.full.load(Ordering::SeqCst) && length > self.0.now.lock().len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let op = Op::Length(length);
        apply(&mut self.0.now.lock(), &op);
        self.0.since.lock().push(op);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.powered()?;
        if self.0.fail_sync.load(Ordering::SeqCst) {
            return Err(io::Error::other("the disk does not answer"));
        }
        self.0.syncs.fetch_add(1, Ordering::SeqCst);
        self.0.durable.lock().clone_from(&self.0.now.lock());
        self.0.since.lock().clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.powered()?;
        // Thin disks and copy-on-write file systems fail so too.
        if self.0.full.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let op = Op::Write(usize::try_from(offset).unwrap(), data.to_vec());
        apply(&mut self.0.now.lock(), &op);
        self.0.since.lock().push(op);
        Ok(())
    }
}
