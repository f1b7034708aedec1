//! The connections of a listener that have no request at the moment. If all places are taken, the one that has waited longest
//! leaves its place to a new connection, so that clients who send nothing cannot keep others out.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// The idle connections of one listener.
#[derive(Debug, Default)]
pub struct Idle(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    /// The number of the next one.
    next: u64,
    /// What closes a connection, in the order in which they began to wait.
    close: BTreeMap<u64, CancellationToken>,
}

impl Idle {
    /// Closes the connection that has waited longest, if one waits.
    pub fn close_oldest(&self) {
        if let Some((_, close)) = self.0.lock().close.pop_first() {
            close.cancel();
        }
    }
}

/// One connection, which waits for its first request.
#[derive(Debug)]
pub struct Connection {
    idle: Arc<Idle>,
    /// Its number while it waits.
    number: Mutex<Option<u64>>,
    close: CancellationToken,
}

impl Connection {
    /// A new connection.
    pub fn new(idle: Arc<Idle>) -> Self {
        let connection = Self {
            idle,
            number: Mutex::default(),
            close: CancellationToken::new(),
        };
        connection.wait();
        connection
    }

    /// It waits for a request from now on.
    pub fn wait(&self) {
        let mut waiting = self.idle.0.lock();
        let number = waiting.next;
        waiting.next += 1;
        waiting.close.insert(number, self.close.clone());
        *self.number.lock() = Some(number);
    }

    /// Its request has come.
    pub fn begin(&self) {
        if let Some(number) = self.number.lock().take() {
            self.idle.0.lock().close.remove(&number);
        }
    }

    /// Ends when the connection is to be closed.
    pub async fn closed(&self) {
        self.close.cancelled().await;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.begin();
    }
}
