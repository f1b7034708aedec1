//! What happens in the engine, as it happens: one stream for this whole process, handed on to all who listen.
//!
//! What we did ourselves is not news: the pass that did it looks again before it ends. So an event of a container that we
//! are at work on is left out, and one from before the end of our work too.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bollard::models::{EventMessage, EventMessageTypeEnum};
use bollard::query_parameters::EventsOptionsBuilder;
use futures::StreamExt as _;
use parking_lot::Mutex;
use tokio::sync::{Notify, broadcast, mpsc};

use super::labels;
use super::{Inner, errors};
use crate::model::AppId;
use crate::runtime::RuntimeEvent;

/// What is worth looking at. `die` says all that `kill` and `stop` say; `create` is only ever our own.
const CONTAINER_EVENTS: [&str; 9] = [
    "start",
    "die",
    "oom",
    "pause",
    "unpause",
    "rename",
    "update",
    "destroy",
    "health_status",
];
/// Of networks: that a container was taken out, or brought in.
const NETWORK_EVENTS: [&str; 2] = ["disconnect", "connect"];
/// One thing that happens makes several events; they are told as one.
const GATHER: Duration = Duration::from_millis(20);
/// Pauses between tries to reach the engine: the first, and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How many events wait for a slow listener before it is told to look at everything.
const WAITING: usize = 1024;

/// Where events come together.
pub struct Hub {
    sender: broadcast::Sender<RuntimeEvent>,
    connected: Mutex<bool>,
    /// A look reached the engine while nobody followed it.
    reached: AtomicBool,
    wake: Notify,
    quiet: Mutex<HashMap<String, Quiet>>,
}

#[derive(Clone, Copy)]
enum Quiet {
    During,
    Until(i64),
}

impl Default for Hub {
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

impl Hub {
    /// We begin to work on this container.
    pub fn begin(&self, id: &str) {
        self.quiet.lock().insert(id.to_owned(), Quiet::During);
    }

    /// We have ended our work on this container.
    pub fn end(&self, id: &str) {
        let now = i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX);
        self.quiet.lock().insert(id.to_owned(), Quiet::Until(now));
    }

    fn is_ours(&self, id: &str, at: i64) -> bool {
        match self.quiet.lock().get(id) {
            Some(Quiet::During) => true,
            Some(Quiet::Until(end)) => at <= *end,
            None => false,
        }
    }

    /// Tells that an Application's containers changed.
    pub fn changed(&self, app: AppId) {
        // Nobody listens: nobody needs to know.
        let _ = self.sender.send(RuntimeEvent::Changed(app));
    }

    /// Tells that the engine is there, or is not there any more.
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

    /// A look reached the engine. If nobody follows it, that is to begin now: what it does from here on is news.
    pub fn reached(&self) {
        if !*self.connected.lock() {
            self.reached.store(true, Ordering::Relaxed);
            self.wake.notify_one();
        }
    }

    /// The engine does not answer. Whoever reached it since it last did not is told that it is gone again.
    pub fn unanswered(&self) {
        self.connected(false);
        if self.reached.swap(false, Ordering::Relaxed) {
            let _ = self.sender.send(RuntimeEvent::Disconnected);
        }
    }

    /// Waits so long, or until a look reaches the engine.
    async fn pause(&self, time: Duration) {
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            () = self.wake.notified() => {}
        }
    }

    /// A new listener: told at once that the engine is there, if it is.
    pub fn listen(&self) -> impl futures::Stream<Item = RuntimeEvent> + Send + 'static + use<> {
        let receiver = self.sender.subscribe();
        let first = self.connected.lock().then_some(RuntimeEvent::Connected);
        let rest = futures::stream::unfold(receiver, |mut receiver| async {
            loop {
                match receiver.recv().await {
                    Ok(event) => return Some((event, receiver)),
                    // Some were missed: everything may have changed.
                    Err(broadcast::error::RecvError::Lagged(_)) => {
                        return Some((RuntimeEvent::Connected, receiver));
                    }
                    Err(broadcast::error::RecvError::Closed) => std::future::pending::<()>().await,
                }
            }
        });
        futures::stream::iter(first).chain(rest)
    }
}

/// Follows the engine's events until the runtime is dropped.
pub(in crate::runtime::docker) async fn follow(inner: Weak<Inner>) {
    let mut pause = BACKOFF.0;
    loop {
        let Some(strong) = inner.upgrade() else { return };
        let types: Vec<String> = ["container", "network"].map(str::to_owned).into();
        let events = CONTAINER_EVENTS.iter().chain(&NETWORK_EVENTS);
        let filters = HashMap::from([
            ("type".to_owned(), types),
            (
                "event".to_owned(),
                events.map(|&event| event.to_owned()).collect(),
            ),
        ]);
        // The request is only sent when the stream is first read, so that the engine is there must be asked otherwise; what
        // happens between the two is seen because the stream goes back to before the question.
        let since = jiff::Timestamp::now().as_second().saturating_sub(1).to_string();
        let reached = strong.docker.ping().await;
        if let Err(refusal) = reached {
            tracing::debug!(error = %errors::error("reach the engine", &refusal), "the engine does not answer");
            strong.hub.unanswered();
            let hub = strong.hub.clone();
            drop(strong);
            hub.pause(pause).await;
            pause = (pause * 2).min(BACKOFF.1);
            continue;
        }
        let docker = strong.docker.clone();
        let options = EventsOptionsBuilder::new()
            .since(&since)
            .filters(&filters)
            .build();
        let mut stream = std::pin::pin!(docker.events(Some(options)));
        strong.hub.connected(true);
        if let Err(refusal) = strong.resume().await {
            tracing::debug!(error = %refusal, "looking at all containers");
        }
        drop(strong);
        let begun = Instant::now();
        while let Some(Ok(event)) = stream.next().await {
            let Some(strong) = inner.upgrade() else { return };
            strong.heard(&event).await;
        }
        let Some(strong) = inner.upgrade() else { return };
        strong.hub.connected(false);
        let hub = strong.hub.clone();
        drop(strong);
        if begun.elapsed() > BACKOFF.1 {
            pause = BACKOFF.0;
        }
        hub.pause(pause).await;
        pause = (pause * 2).min(BACKOFF.1);
    }
}

/// Gathers what changed for a moment and tells it once.
pub(in crate::runtime::docker) async fn gather(
    inner: Weak<Inner>,
    mut changed: mpsc::UnboundedReceiver<AppId>,
) {
    while let Some(first) = changed.recv().await {
        tokio::time::sleep(GATHER).await;
        let mut apps = BTreeSet::from([first]);
        while let Ok(app) = changed.try_recv() {
            apps.insert(app);
        }
        let Some(strong) = inner.upgrade() else { return };
        for app in apps {
            strong.hub.changed(app);
        }
    }
}

impl Inner {
    /// Takes in one event of the engine.
    async fn heard(self: &Arc<Self>, event: &EventMessage) {
        let Some(actor) = &event.actor else { return };
        let none = HashMap::new();
        let attributes = actor.attributes.as_ref().unwrap_or(&none);
        let at = event.time_nano.unwrap_or(i64::MAX);
        let action = event.action.as_deref().unwrap_or_default();
        if event.typ == Some(EventMessageTypeEnum::NETWORK) {
            let id = attributes
                .get("container")
                .map(String::as_str)
                .unwrap_or_default();
            let network = attributes.get("name").map(String::as_str).unwrap_or_default();
            let joined = action == "connect";
            if (joined || self.names.may_be_network(network)) && !self.hub.is_ours(id, at) {
                // Such an event does not say whose the container is.
                if let Ok(Some(looked)) = self.look_at(id).await
                    && self.names.ours(&looked.labels)
                    // Each start brings it into its own network.
                    && !(joined && looked.other_networks.is_empty())
                {
                    self.tell(&looked.labels);
                }
            }
            return;
        }
        let id = actor.id.as_deref().unwrap_or_default();
        if !self.names.ours(attributes) {
            return;
        }
        match action {
            "die" => {
                if let Some(code) = attributes.get("exitCode").and_then(|code| code.parse().ok()) {
                    self.ends.died(id, code, at);
                }
            }
            "oom" => self.ends.starved(id, at),
            "destroy" => self.ends.forget(id),
            _ => {}
        }
        if action == "die" || action == "destroy" {
            self.probes.drop(id);
            self.since.forget(id);
        }
        let ours = self.hub.is_ours(id, at);
        if action == "destroy" {
            self.hub.quiet.lock().remove(id);
        }
        if ours || attributes.contains_key(labels::ROLE) {
            return;
        }
        self.tell(attributes);
    }

    fn tell(&self, labels: &HashMap<String, String>) {
        if let Some(app) = app_of(labels) {
            let _ = self.changed.send(app);
        }
    }
}

/// Whose the thing with these labels is.
pub fn app_of(labels: &HashMap<String, String>) -> Option<AppId> {
    Some(AppId::new(
        labels.get(labels::NAMESPACE)?,
        labels.get(labels::APPLICATION)?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_engine_that_was_there_between_two_tries_is_told_to_be_gone() {
        let hub = Hub::default();
        let mut told = std::pin::pin!(hub.listen());
        // Nobody has seen it yet, so nobody needs to hear that it is not there.
        hub.unanswered();
        hub.reached();
        hub.pause(Duration::from_hours(1)).await;
        hub.unanswered();
        hub.unanswered();
        hub.connected(true);
        assert_eq!(told.next().await, Some(RuntimeEvent::Disconnected));
        assert_eq!(told.next().await, Some(RuntimeEvent::Connected));
    }
}
