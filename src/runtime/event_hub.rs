//! Distributes the events of a runtime.
//!
//! Davit's own work causes no events, because the reconcile that did it observes the result. So an event of a container is
//! dropped while Davit works on it, and so is one from before the end of that work.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use parking_lot::Mutex;
use tokio::sync::{Notify, broadcast};

use super::status::RuntimeEvent;
use crate::model::AppId;

/// How many events wait for a slow listener before they are replaced by one for everything.
const WAITING: usize = 1024;

/// Distributes events to all listeners.
pub(super) struct EventHub {
    sender: broadcast::Sender<RuntimeEvent>,
    connected: Mutex<bool>,
    /// An observation reached the engine while its events were not followed.
    reached: AtomicBool,
    wake: Notify,
    quiet: Mutex<HashMap<String, Quiet>>,
}

#[derive(Clone, Copy)]
enum Quiet {
    During,
    Until(i64),
}

impl Default for EventHub {
    fn default() -> Self {
        Self {
            sender: broadcast::channel(WAITING).0,
            connected: Mutex::new(false),
            reached: AtomicBool::new(false),
            wake: Notify::new(),
            quiet: Mutex::default(),
        }
    }
}

impl EventHub {
    /// Davit begins to work on this container.
    pub fn begin(&self, id: &str) {
        self.quiet.lock().insert(id.to_owned(), Quiet::During);
    }

    /// Davit's work on this container has ended.
    pub fn end(&self, id: &str) {
        let now = i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX);
        self.quiet.lock().insert(id.to_owned(), Quiet::Until(now));
    }

    /// Whether an event of this time is a consequence of Davit's own work on the container.
    pub fn is_own(&self, id: &str, at: i64) -> bool {
        match self.quiet.lock().get(id) {
            Some(Quiet::During) => true,
            Some(Quiet::Until(end)) => at <= *end,
            None => false,
        }
    }

    /// Sends that an Application's containers changed.
    pub fn changed(&self, app: AppId) {
        // Without a listener the event is not needed.
        let _ = self.sender.send(RuntimeEvent::Changed(app));
    }

    /// Sends that the engine answers, or no longer answers, if that is new.
    pub fn connected(&self, now: bool) {
        let before = std::mem::replace(&mut *self.connected.lock(), now);
        if before != now {
            let event = if now {
                RuntimeEvent::Connected
            } else {
                RuntimeEvent::Disconnected
            };
            let _ = self.sender.send(event);
        }
    }

    /// An observation reached the engine. If its events are not followed, following begins now.
    pub fn reached(&self) {
        if !*self.connected.lock() {
            self.reached.store(true, Ordering::Relaxed);
            self.wake.notify_one();
        }
    }

    /// The engine does not answer. Listeners are informed even if an observation reached it in between.
    pub fn unanswered(&self) {
        self.connected(false);
        if self.reached.swap(false, Ordering::Relaxed) {
            let _ = self.sender.send(RuntimeEvent::Disconnected);
        }
    }

    /// Waits so long, or until an observation reaches the engine.
    pub async fn pause(&self, time: Duration) {
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            () = self.wake.notified() => {}
        }
    }

    /// A new listener. Its first event is that the engine answers, if it does.
    pub fn listen(&self) -> impl futures::Stream<Item = RuntimeEvent> + Send + 'static + use<> {
        let receiver = self.sender.subscribe();
        let first = self.connected.lock().then_some(RuntimeEvent::Connected);
        let rest = futures::stream::unfold(receiver, |mut receiver| async {
            loop {
                match receiver.recv().await {
                    Ok(event) => return Some((event, receiver)),
                    // Events were missed: everything may have changed.
                    Err(broadcast::error::RecvError::Lagged(_)) => {
                        return Some((RuntimeEvent::Connected, receiver));
                    }
                    Err(broadcast::error::RecvError::Closed) => std::future::pending::<()>().await,
                }
            }
        });
        futures::stream::iter(first).chain(rest)
    }

    /// Forgets a container that was removed.
    pub fn forget(&self, id: &str) {
        self.quiet.lock().remove(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn engine_that_answered_once_between_two_attempts_is_reported_as_gone() {
        let hub = EventHub::default();
        let mut events = std::pin::pin!(hub.listen());
        // No observation has reached it yet, so its absence is no event.
        hub.unanswered();
        hub.reached();
        hub.pause(Duration::from_hours(1)).await;
        hub.unanswered();
        hub.unanswered();
        hub.connected(true);
        assert_eq!(events.next().await, Some(RuntimeEvent::Disconnected));
        assert_eq!(events.next().await, Some(RuntimeEvent::Connected));
    }
}
