//! Why the store did not open, or did not take a write: each says what to do about it.

use std::{io, path::PathBuf};

/// Why the store did not open or a write was not made durable.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The key file could not be read or made.
    #[error("could not use the key file {path:?}")]
    KeyFile {
        /// The key file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others can read the key file.
    #[error("the key file {path:?} has mode {mode:o}: it must be 0600")]
    KeyMode {
        /// The key file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The store is there, its key is not.
    #[error(
        "the key file {path:?} is missing: without it the store cannot be read; put it back from a backup"
    )]
    KeyMissing {
        /// The key file.
        path: PathBuf,
    },
    /// The key file does not hold a key.
    #[error("the key file {path:?} does not hold 32 bytes in base64; put it back from a backup")]
    KeyShape {
        /// The key file.
        path: PathBuf,
    },
    /// What is to be read was written with another key.
    #[error("the key in {key:?} does not open {path:?}, which was written with another one")]
    WrongKey {
        /// The key file.
        key: PathBuf,
        /// What it should open.
        path: PathBuf,
    },
    /// A sealed value does not open, though the key is the right one.
    #[error("a sealed value does not open")]
    Unsealable,
    /// The system gave no random numbers.
    #[error("the system gave no random numbers")]
    Random,
    /// A value could not be encrypted.
    #[error("a value could not be encrypted")]
    Seal,
    /// A file of the store could not be used.
    #[error("could not use {path:?}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process has the store open.
    #[error("the store {path:?} is in use by another process")]
    InUse {
        /// The store's file.
        path: PathBuf,
    },
    /// The file is no store, or holds what no version of this store writes.
    #[error(
        "the store {path:?} is damaged: {what}; move it away and restore a backup, or put the file \
         back from a copy"
    )]
    Damaged {
        /// The store's file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The store has another format.
    #[error("the store {path:?} has format {format:?}, which this version does not read")]
    Format {
        /// The store's file.
        path: PathBuf,
        /// What it calls its format.
        format: String,
    },
    /// There is no room for the write.
    #[error(
        "no room to write the store {path:?}: {source}; free space on its disk, then writes succeed again"
    )]
    Full {
        /// The store's file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The database failed.
    #[error("could not write the store {path:?}")]
    Database {
        /// The store's file.
        path: PathBuf,
        /// What the database said.
        source: Box<redb::Error>,
    },
    /// A backup that cannot be restored.
    #[error("{path:?} is no whole backup: {what}; take another one")]
    Backup {
        /// The backup.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// There is a store already where one is to be restored.
    #[error("{path:?} is there already: restore into an empty directory, or move it away")]
    Present {
        /// The store's file.
        path: PathBuf,
    },
    /// The writer could not be started.
    #[error("could not start the writer thread")]
    Thread(#[source] io::Error),
}
