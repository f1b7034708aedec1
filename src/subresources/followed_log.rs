//! What the containers of an Application write while a client follows it, also those that start later.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use futures::stream::{self, BoxStream, SelectAll};
use futures::{FutureExt as _, StreamExt as _};
use kube::Api;
use kube::runtime::watcher;
use tokio::time::{Interval, MissedTickBehavior};

use super::log_source::{Source, label};
use super::log_time::Times;
use super::shared_log::{Place, Read};
use crate::api::Application;
use crate::runtime::{RuntimeError, RuntimeEvent};

/// How often replicas are looked for if nothing reports a change.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// How many bytes of lines that are ready are sent as one.
const BATCH: usize = 32 * 1024;

type Tagged = BoxStream<'static, (Arc<Tag>, Option<Result<Read, Arc<RuntimeError>>>)>;

#[derive(Debug)]
struct Tag {
    label: String,
    id: String,
}

/// What is being written.
pub(super) struct Now {
    source: Source,
    /// `None` at the end of a replica's lines.
    lines: SelectAll<Tagged>,
    /// The replicas whose lines are among them.
    followed: Vec<String>,
    places: HashMap<String, Place>,
    times: Times,
    events: BoxStream<'static, RuntimeEvent>,
    object: BoxStream<'static, watcher::Result<Option<Application>>>,
    tick: Interval,
    look: bool,
}

impl Now {
    /// Goes on behind these places in the logs of replicas, by ID.
    pub fn after(source: Source, mut places: HashMap<String, Place>) -> Self {
        if source.wanted.tail.is_some() {
            places.values_mut().for_each(Place::round_up);
        }
        let api: Api<Application> = Api::namespaced(source.controller.client.clone(), &source.id.namespace);
        let mut tick = tokio::time::interval(LOOK_AGAIN);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            events: source.controller.runtime.events(),
            object: watcher::watch_object(api, &source.id.name).boxed(),
            source,
            lines: SelectAll::new(),
            followed: Vec::new(),
            places,
            times: Times::default(),
            tick,
            look: true,
        }
    }

    /// The next lines; `None` if the Application was deleted.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, RuntimeError> {
        loop {
            if std::mem::take(&mut self.look) {
                self.follow_new().await;
            }
            tokio::select! {
                biased;
                Some((tag, lines)) = self.lines.next() => {
                    if let Some(Ok(read)) = &lines
                        && self.source.is_plain()
                        && read.lines.text().len() >= BATCH / 2
                    {
                        // All readers send the same bytes.
                        self.places.insert(tag.id.clone(), read.place);
                        return Ok(Some(read.lines.text().clone()));
                    }
                    let mut chunk = Vec::new();
                    self.take(&tag, lines, &mut chunk);
                    while chunk.len() < BATCH
                        && let Some(Some((tag, lines))) = self.lines.next().now_or_never()
                    {
                        self.take(&tag, lines, &mut chunk);
                    }
                    if !chunk.is_empty() {
                        return Ok(Some(chunk.into()));
                    }
                }
                Some(event) = self.events.next() => {
                    self.look = match event {
                        RuntimeEvent::Changed(app) => app == self.source.id,
                        RuntimeEvent::Connected => true,
                        RuntimeEvent::Disconnected => false,
                    };
                }
                Some(object) = self.object.next() => match object {
                    Ok(Some(_)) => self.look = true,
                    Ok(None) => return Ok(None),
                    // The watch begins again by itself.
                    Err(error) => tracing::debug!(%error, "the watch of an Application was interrupted"),
                },
                _ = self.tick.tick() => self.look = true,
            }
        }
    }

    fn take(&mut self, tag: &Tag, lines: Option<Result<Read, Arc<RuntimeError>>>, chunk: &mut Vec<u8>) {
        match lines {
            Some(Ok(read)) => {
                self.source
                    .write_all(&tag.label, &read.lines, &mut self.times, chunk);
                self.places.insert(tag.id.clone(), read.place);
            }
            // A container that is removed meanwhile ends its own part only; one that is still there is followed again.
            Some(Err(error)) => tracing::debug!(replica = tag.id, %error, "the log of a replica ended early"),
            None => self.followed.retain(|id| *id != tag.id),
        }
    }

    /// Follows the replicas that run and are not followed yet.
    async fn follow_new(&mut self) {
        let replicas = match self.source.replicas().await {
            Ok(replicas) => replicas,
            // The next event of the runtime is that it answers again.
            Err(error) => {
                tracing::debug!(%error, "the replicas cannot be listed now");
                return;
            }
        };
        self.places
            .retain(|id, _| replicas.iter().any(|replica| replica.id == *id));
        for replica in &replicas {
            if self.followed.contains(&replica.id) {
                continue;
            }
            let place = self.places.get(&replica.id).copied();
            let place = place.unwrap_or_else(|| Place::since(self.source.wanted.since));
            let lines = self.source.followed.follow(self.source.origin(replica), place);
            let tag = Arc::new(Tag {
                label: label(replica),
                id: replica.id.clone(),
            });
            let end = (Arc::clone(&tag), None);
            let tagged = lines.map(move |lines| (Arc::clone(&tag), Some(lines)));
            self.lines.push(tagged.chain(stream::iter([end])).boxed());
            self.followed.push(replica.id.clone());
        }
    }
}
