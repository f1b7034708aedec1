//! Follows the engine's events and passes those of Applications on to the hub.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bollard::models::{EventMessage, EventMessageTypeEnum};
use bollard::query_parameters::EventsOptionsBuilder;
use futures::StreamExt as _;
use tokio::sync::mpsc;

use super::labels::{self, app_of};
use super::{Inner, errors};
use crate::model::AppId;

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
impl Inner {
    /// Follows the engine's events until the runtime is dropped.
    pub(super) async fn follow(inner: Weak<Self>) {
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
    pub(super) async fn gather(inner: Weak<Inner>, mut changed: mpsc::UnboundedReceiver<AppId>) {
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

    /// Handles one event of the engine.
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
            if (joined || self.names.may_be_network(network)) && !self.hub.is_own(id, at) {
                // Such an event does not say whose the container is.
                if let Ok(Some(looked)) = self.inspect(id).await
                    && self.names.ours(&looked.labels)
                    // Each start brings it into its own network.
                    && !(joined && looked.other_networks.is_empty())
                {
                    self.notify(&looked.labels);
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
        let ours = self.hub.is_own(id, at);
        if action == "destroy" {
            self.hub.forget(id);
        }
        if ours || attributes.contains_key(labels::ROLE) {
            return;
        }
        self.notify(attributes);
    }

    fn notify(&self, labels: &HashMap<String, String>) {
        if let Some(app) = app_of(labels) {
            let _ = self.changed.send(app);
        }
    }
}
