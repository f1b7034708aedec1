//! Where the lines of a followed replica come from.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::BoxStream;

use super::batch::Batcher;
use super::place::Skip;
use crate::model::AppId;
use crate::runtime::{LogLine, LogOptions, RedactionPolicy, RuntimeError};

/// How many bytes of lines that are ready are read as one.
const BATCH: usize = 32 * 1024;
/// How long more lines are waited for. The engine's client hands over one line at a time, and all readers would take a turn between
/// two of them.
const LINGER: Duration = Duration::from_millis(2);

/// The lines of a log.
pub type Lines = BoxStream<'static, Result<LogLine, RuntimeError>>;
/// Begins to read a log.
pub type Open = Arc<dyn Fn(LogOptions) -> BoxFuture<'static, Result<Lines, RuntimeError>> + Send + Sync>;

/// The log of one replica, masked in one way.
#[derive(Clone)]
pub struct Origin {
    /// The Application.
    pub app: AppId,
    /// The ID of the replica.
    pub replica: String,
    /// What its lines must not show.
    pub redaction: Arc<RedactionPolicy>,
    /// Begins to read it.
    pub open: Open,
}

impl Origin {
    /// Whether a read of the one may be shown to the readers of the other.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.replica == other.replica && self.app == other.app && self.redaction == other.redaction
    }
}

/// Waits for a line, and takes those that come right behind it. Returns the end of the log if it was reached.
pub(super) async fn gather(
    lines: &mut Lines,
    into: &mut Batcher,
    skip: &mut Skip,
) -> Option<Result<(), Arc<RuntimeError>>> {
    let mut next = lines.next().await;
    let mut pause = std::pin::pin!(tokio::time::sleep(LINGER));
    loop {
        match next {
            Some(Ok(line)) if skip.is_new(line.at) => into.push(&line),
            Some(Ok(_)) => {}
            Some(Err(error)) => return Some(Err(Arc::new(error))),
            None => return Some(Ok(())),
        }
        if into.len() >= BATCH {
            return None;
        }
        next = tokio::select! {
            biased;
            next = lines.next() => next,
            () = &mut pause => return None,
        };
    }
}
