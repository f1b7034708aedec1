//! Why an archive is refused.

use std::io;
use std::time::Duration;

use crate::api::Reason;
use crate::error::{Class, Explain};

/// Why an archive is refused or cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The first bytes are not those of an archive that is accepted.
    #[error("the upload is {what}")]
    Format {
        /// What it is instead.
        what: &'static str,
    },
    /// The archive ends early or contradicts itself.
    #[error("the archive is damaged: {why}")]
    Damaged {
        /// What is wrong.
        why: String,
    },
    /// What was received does not have the digest that the client gave. This says nothing about what the client has.
    #[error("what was received is not what was sent")]
    NotAsSent,
    /// A client sends more than it said that the archive has.
    #[error("more was sent than the parameter size says, which is {size}")]
    LongerThanStated {
        /// The size of the archive in bytes, as the client gave it.
        size: u64,
    },
    /// An entry of a zip is compressed in another way than deflate.
    #[error("the archive has the entry {name:?}, which is compressed with {method}")]
    Compression {
        /// Its name.
        name: String,
        /// The name or the number of the method.
        method: String,
    },
    /// An entry is not accepted.
    #[error("the archive has the entry {name:?}, which {why}")]
    Entry {
        /// Its name.
        name: String,
        /// What is wrong, as the end of a sentence.
        why: &'static str,
    },
    /// The archive itself is too large.
    #[error("the archive is larger than {}", size(*.limit))]
    ArchiveTooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// The content is too large.
    #[error("the content of the archive is larger than {}", size(*.limit))]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// There are too many entries.
    #[error("the archive has more than {limit} entries")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// The content is much larger than the archive.
    #[error("the content of the archive is more than {limit} times as large as the archive")]
    Ratio {
        /// The limit.
        limit: u64,
    },
    /// Reading takes too long.
    #[error("reading the archive takes longer than {limit:?}")]
    TooSlow {
        /// The limit.
        limit: Duration,
    },
    /// The job was cancelled.
    #[error("reading the archive was cancelled")]
    Cancelled,
    /// The uploaded content is not stored.
    #[error(
        "nothing with the digest {digest} was uploaded to this namespace, or it was removed because nothing referred to it"
    )]
    Missing {
        /// The digest of `spec.source.drop.digest`.
        digest: String,
    },
    /// The stored archive does not hold what its digest says.
    #[error("the stored archive {digest} has changed")]
    Changed {
        /// The digest that it should have.
        digest: String,
    },
    /// All uploads together hold as much as they may.
    #[error("uploads hold {} of {}, so {} more cannot be stored", size(*.used), size(*.limit), size(*.more))]
    StoreFull {
        /// What is stored now, in bytes.
        used: u64,
        /// What may be stored, in bytes.
        limit: u64,
        /// What is missing of this upload, in bytes.
        more: u64,
    },
    /// The uploads of one namespace hold as much as they may.
    #[error("uploads of namespace {namespace} hold {} of {}, so {} more cannot be stored", size(*.used), size(*.limit), size(*.more))]
    ShareFull {
        /// The namespace.
        namespace: String,
        /// What it stores now, in bytes.
        used: u64,
        /// What it may store, in bytes.
        limit: u64,
        /// What is missing of this upload, in bytes.
        more: u64,
    },
    /// The disk has less room than the upload needs and the objects of the API server may need.
    #[error(
        "the disk of Davit has {} free, of which uploads leave {} to the objects, so {} more cannot be stored",
        size(*.free), size(*.reserve), size(*.more)
    )]
    NoRoom {
        /// What is free now, in bytes.
        free: u64,
        /// What uploads leave free, in bytes.
        reserve: u64,
        /// What is missing of this upload, in bytes.
        more: u64,
    },
    /// The disk is full.
    #[error("there is no space left on the disk of Davit")]
    DiskFull,
    /// A file cannot be read or written.
    #[error("{doing}")]
    Io {
        /// What failed.
        doing: &'static str,
        /// Why.
        source: io::Error,
    },
}

impl ArchiveError {
    /// An error of reading the archive.
    pub fn read(error: io::Error) -> Self {
        Self::io("read the archive", error)
    }

    /// An error of writing its content.
    pub fn written(error: io::Error) -> Self {
        Self::io("write the content of the archive", error)
    }

    /// An error of the file system, or one that a reader of this module passed through it.
    pub(super) fn io(doing: &'static str, error: io::Error) -> Self {
        let own = error
            .get_ref()
            .is_some_and(<dyn std::error::Error + Send + Sync>::is::<Self>);
        match error.kind() {
            _ if own => match error
                .into_inner()
                .map(<dyn std::error::Error + Send + Sync>::downcast::<Self>)
            {
                Some(Ok(own)) => *own,
                _ => Self::Cancelled,
            },
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull,
            _ => Self::Io { doing, source: error },
        }
    }

    /// An error of a decoder: the archive is damaged, unless a reader of this module passed its own error through.
    pub(super) fn damaged(error: io::Error) -> Self {
        if error
            .get_ref()
            .is_some_and(<dyn std::error::Error + Send + Sync>::is::<Self>)
        {
            return Self::read(error);
        }
        Self::Damaged {
            why: crate::error::chain(&error),
        }
    }

    /// Whether the upload itself is at fault, and not the machine.
    pub fn is_of_upload(&self) -> bool {
        self.reason() == Reason::ArchiveInvalid
    }

    /// Whether every archive with the same digest is refused in the same way, at any time and from any client.
    pub fn is_of_content(&self) -> bool {
        match self {
            Self::Format { .. }
            | Self::Damaged { .. }
            | Self::Compression { .. }
            | Self::Entry { .. }
            | Self::ArchiveTooLarge { .. }
            | Self::TooLarge { .. }
            | Self::TooMany { .. }
            | Self::Ratio { .. } => true,
            Self::NotAsSent
            | Self::LongerThanStated { .. }
            | Self::TooSlow { .. }
            | Self::Cancelled
            | Self::Missing { .. }
            | Self::Changed { .. }
            | Self::StoreFull { .. }
            | Self::ShareFull { .. }
            | Self::NoRoom { .. }
            | Self::DiskFull
            | Self::Io { .. } => false,
        }
    }

    /// Whether the disk has no room for the upload.
    pub fn is_of_disk(&self) -> bool {
        matches!(self, Self::NoRoom { .. } | Self::DiskFull)
    }
}

/// A size for a message.
fn size(bytes: u64) -> String {
    if bytes >= 1 << 30 && bytes.is_multiple_of(1 << 30) {
        format!("{} GiB", bytes >> 30)
    } else if bytes >= 1 << 20 {
        format!("{} MiB", bytes >> 20)
    } else {
        format!("{bytes} bytes")
    }
}

impl Explain for ArchiveError {
    fn class(&self) -> Class {
        match self {
            Self::DiskFull
            | Self::NoRoom { .. }
            | Self::StoreFull { .. }
            | Self::ShareFull { .. }
            | Self::Io { .. } => Class::Transient,
            Self::Format { .. }
            | Self::Damaged { .. }
            | Self::NotAsSent
            | Self::LongerThanStated { .. }
            | Self::Compression { .. }
            | Self::Entry { .. }
            | Self::ArchiveTooLarge { .. }
            | Self::TooLarge { .. }
            | Self::TooMany { .. }
            | Self::Ratio { .. }
            | Self::TooSlow { .. }
            | Self::Cancelled
            | Self::Missing { .. }
            | Self::Changed { .. } => Class::Terminal,
        }
    }

    fn reason(&self) -> Reason {
        match self {
            Self::Format { .. }
            | Self::Damaged { .. }
            | Self::NotAsSent
            | Self::LongerThanStated { .. }
            | Self::Compression { .. }
            | Self::Entry { .. }
            | Self::ArchiveTooLarge { .. }
            | Self::TooLarge { .. }
            | Self::TooMany { .. }
            | Self::Ratio { .. }
            | Self::TooSlow { .. } => Reason::ArchiveInvalid,
            Self::Cancelled => Reason::Cancelled,
            Self::Missing { .. } | Self::Changed { .. } => Reason::ArchiveMissing,
            Self::DiskFull | Self::NoRoom { .. } | Self::StoreFull { .. } | Self::ShareFull { .. } => {
                Reason::DiskFull
            }
            Self::Io { .. } => Reason::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Format { .. } => "upload a directory, or a tar, tar.gz, tar.zst or zip".to_owned(),
            Self::Damaged { .. } => "create the archive again, and upload that".to_owned(),
            Self::NotAsSent => "upload it again".to_owned(),
            Self::LongerThanStated { .. } => "set size to the number of bytes of the whole archive".to_owned(),
            Self::Compression { .. } => {
                "create the zip with deflate, as zip does by default, or upload a tar, tar.gz or tar.zst".to_owned()
            }
            Self::Entry { .. } => "leave it out of the archive, or list it in .dockerignore".to_owned(),
            Self::ArchiveTooLarge { .. } | Self::TooLarge { .. } | Self::TooMany { .. } => {
                "list what the build does not need in .dockerignore, such as node_modules".to_owned()
            }
            Self::Ratio { .. } => "leave out files that hold only repetitions".to_owned(),
            Self::TooSlow { .. } => "upload less, or when the machine has less to do".to_owned(),
            Self::Missing { .. } | Self::Changed { .. } => "upload it with davit drop".to_owned(),
            Self::StoreFull { .. } => {
                "remove Releases that are not needed with davit clear, or raise --max-uploads of davit up"
                    .to_owned()
            }
            Self::ShareFull { .. } => {
                "remove Releases of this namespace that are not needed with davit clear, or raise --max-uploads of davit up: one namespace may hold half of what the others leave"
                    .to_owned()
            }
            Self::NoRoom { .. } | Self::DiskFull => {
                "free space on the disk of --data-dir, for example with davit clear, then upload again".to_owned()
            }
            Self::Cancelled | Self::Io { .. } => return None,
        })
    }
}
