//! `applications/NAME/log`: the output of an Application's containers, of all replicas or of one.
//!
//! First what they wrote so far, in the order of time, then what they write, also replicas that start later. The engine is
//! read as the client reads: a client that stands still holds a line of each replica and delays no other client.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse as _, Response};
use futures::stream::{self, BoxStream, SelectAll};
use futures::{FutureExt as _, StreamExt as _};
use http::header;
use jiff::Timestamp;
use kube::runtime::watcher;
use kube::{Api, ResourceExt as _};
use tokio::time::{Interval, MissedTickBehavior};

use super::access_log;
use super::failure::Failure;
use super::log_query::Wanted;
use super::lookup;
use super::parameters::Parameters;
use super::target::Target;
use crate::api::Application;
use crate::controller::context::Context;
use crate::controller::kept_output::{self, Kept};
use crate::controller::logs;
use crate::controller::problem::cluster_problem;
use crate::error::{Explain as _, Problem};
use crate::model::AppId;
use crate::runtime::{
    self, LogLine, LogOptions, RedactionPolicy, Replica, ReplicaState, RuntimeError, RuntimeEvent,
};

/// How often replicas are looked for if nothing reports a change.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// How many bytes of lines that are ready are sent as one.
const BATCH: usize = 32 * 1024;

type Lines = BoxStream<'static, Result<LogLine, RuntimeError>>;

/// `applications/NAME/log`.
pub(super) async fn log(
    controller: &Arc<Context>,
    target: &Target,
    parameters: &Parameters,
) -> Result<Response, Failure> {
    let wanted = Wanted::parse(parameters, Timestamp::now())?;
    let api: Api<Application> = Api::namespaced(controller.client.clone(), &target.namespace);
    let app = lookup::object(&api, target, &controller.applications).await?;
    if wanted.access {
        let options = LogOptions {
            follow: wanted.follow,
            tail: wanted.tail,
            since: wanted.since,
            previous: false,
        };
        let id = AppId::new(&*target.namespace, app.name_any());
        return access_log::respond(controller, &id, options, (wanted.timestamps, wanted.prefix)).await;
    }
    let redaction = logs::redaction(controller, &app)
        .await
        .map_err(|error| cluster_problem("read the Releases", &error))?;
    let source = Source {
        controller: Arc::clone(controller),
        id: AppId::new(&*target.namespace, app.name_any()),
        redaction,
        wanted,
    };
    let replicas = source.replicas().await.map_err(|error| Problem::of(&error))?;
    let kept = source.kept(&app, replicas.is_empty());
    if let Some(name) = &source.wanted.replica
        && replicas.is_empty()
        && kept.is_empty()
    {
        return Err(no_replica(&source, name, target).await?);
    }
    let tail = source.wanted.tail;
    let mut merged = Vec::new();
    for replica in &replicas {
        let lines = source.lines(replica, false, source.wanted.since, tail).await;
        let lines = lines.map_err(|error| Problem::of(&error))?;
        merged.push((label(replica), replica.id.clone(), lines, None));
    }
    let part = LogOptions {
        tail,
        since: source.wanted.since,
        ..LogOptions::default()
    };
    for kept in kept {
        let lines = kept.lines(&part).await.map_err(|error| {
            Failure::unavailable(format!(
                "cannot read the output that was kept of {}: {error}",
                kept.label
            ))
        })?;
        let lines = stream::iter(lines.into_iter().map(Ok)).boxed();
        merged.push((kept.label.clone(), kept.label, lines, None));
    }
    let past = Past {
        source,
        replicas: merged,
        last: HashMap::new(),
        begun: false,
    };
    let body = Body::from_stream(stream::unfold(State::Past(Box::new(past)), State::next));
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response())
}

async fn no_replica(source: &Source, name: &str, target: &Target) -> Result<Failure, Failure> {
    let all = source.all().await.map_err(|error| Problem::of(&error))?;
    let mut labels: Vec<String> = all.iter().map(label).collect();
    labels.sort();
    let there = if labels.is_empty() {
        format!("Application {:?} has no containers", source.id.name)
    } else {
        format!("Application {:?} has {}", source.id.name, labels.join(", "))
    };
    Ok(Failure::not_found(
        &format!("replica {name:?} not found: {there}"),
        target,
    ))
}

/// Where lines come from.
struct Source {
    controller: Arc<Context>,
    id: AppId,
    redaction: RedactionPolicy,
    wanted: Wanted,
}

impl Source {
    async fn all(&self) -> Result<Vec<Replica>, RuntimeError> {
        let running = self.controller.runtime.observe(&self.id, &self.redaction).await?;
        Ok(running.replicas)
    }

    /// The replicas that the query is about. Containers that are kept for a rollback are shown if they are asked for, or if
    /// there are no others.
    async fn replicas(&self) -> Result<Vec<Replica>, RuntimeError> {
        let mut all = self.all().await?;
        if let Some(name) = &self.wanted.replica {
            all.retain(|replica| is_named(replica, name));
            return Ok(all);
        }
        let is_kept = |replica: &Replica| replica.state == ReplicaState::Kept;
        if !self.wanted.previous && !all.iter().all(is_kept) {
            all.retain(|replica| !is_kept(replica));
        }
        Ok(all)
    }

    /// The output that was kept of containers that are gone: before the last start of the others, or if there are no others.
    fn kept(&self, app: &Application, is_empty: bool) -> Vec<Kept> {
        if !is_empty && !self.wanted.previous {
            return Vec::new();
        }
        let uid = app.metadata.uid.as_deref().unwrap_or_default();
        let dir = logs::dir(&self.controller.log_dir, &self.id.namespace, uid);
        let mut all = kept_output::list(&dir);
        if let Some(name) = &self.wanted.replica {
            all.retain(|kept| kept.label == *name);
        }
        all
    }

    async fn lines(
        &self,
        replica: &Replica,
        follow: bool,
        since: Option<Timestamp>,
        tail: Option<u64>,
    ) -> Result<Lines, RuntimeError> {
        let options = LogOptions {
            follow,
            tail,
            since,
            // All output of a container that was replaced is from before.
            previous: self.wanted.previous && replica.state != ReplicaState::Kept,
        };
        self.controller
            .runtime
            .log(&self.id, &replica.id, &options, &self.redaction)
            .await
    }

    fn write(&self, label: &str, line: &LogLine, into: &mut Vec<u8>) {
        if self.wanted.prefix {
            into.extend_from_slice(format!("[{label}] ").as_bytes());
        }
        if self.wanted.timestamps {
            into.extend_from_slice(format!("{:.9} ", line.at).as_bytes());
        }
        into.extend_from_slice(line.text.as_bytes());
        into.push(b'\n');
    }
}

/// The name of a replica for users.
pub(super) fn label(replica: &Replica) -> String {
    runtime::label(&replica.id, &replica.name, &replica.release)
}

/// Whether a replica has this name, or this name or ID in the runtime.
pub(super) fn is_named(replica: &Replica, name: &str) -> bool {
    label(replica) == name || replica.name == name || (name.len() >= 12 && replica.id.starts_with(name))
}

enum State {
    Past(Box<Past>),
    Now(Box<Now>),
    End,
}

type Chunk = Result<Bytes, std::io::Error>;

impl State {
    /// The next piece of the body, and the state after it.
    async fn next(mut self) -> Option<(Chunk, Self)> {
        loop {
            match self {
                Self::Past(mut past) => match past.chunk().await {
                    Ok(chunk) if !chunk.is_empty() => return Some((Ok(chunk.into()), Self::Past(past))),
                    Ok(_) if past.source.wanted.follow && !past.source.wanted.previous => {
                        self = Self::Now(Box::new(Now::after(*past)));
                    }
                    Ok(_) => return None,
                    Err(error) => return Some((Err(ended(&error)), Self::End)),
                },
                Self::Now(mut now) => match now.chunk().await {
                    Ok(Some(chunk)) => return Some((Ok(chunk.into()), Self::Now(now))),
                    Ok(None) => return None,
                    Err(error) => return Some((Err(ended(&error)), Self::End)),
                },
                Self::End => return None,
            }
        }
    }
}

/// The status has been sent, so only the end of the connection can report the error.
fn ended(error: &RuntimeError) -> std::io::Error {
    let message = Problem::of(error).message;
    tracing::warn!(reason = %error.reason(), message, "a log ended early");
    std::io::Error::other(message)
}

/// What was written so far: the lines of all replicas in the order of time.
struct Past {
    source: Source,
    /// Label, ID, lines, and the next line.
    replicas: Vec<(String, String, Lines, Option<LogLine>)>,
    /// The time of the last line by ID.
    last: HashMap<String, Timestamp>,
    begun: bool,
}

impl Past {
    /// The next lines; empty at the end.
    async fn chunk(&mut self) -> Result<Vec<u8>, RuntimeError> {
        if !self.begun {
            for (_, _, lines, head) in &mut self.replicas {
                *head = lines.next().await.transpose()?;
            }
            self.begun = true;
        }
        let mut chunk = Vec::new();
        while chunk.len() < BATCH {
            let heads = self.replicas.iter().enumerate();
            let heads = heads.filter_map(|(index, (_, _, _, head))| Some((head.as_ref()?.at, index)));
            let Some((_, index)) = heads.min() else { break };
            let Some((label, id, lines, head)) = self.replicas.get_mut(index) else {
                break;
            };
            if let Some(line) = head.take() {
                self.source.write(label, &line, &mut chunk);
                self.last.insert(id.clone(), line.at);
            }
            *head = lines.next().await.transpose()?;
        }
        Ok(chunk)
    }
}

type Tagged = Pin<Box<dyn stream::Stream<Item = (Arc<Tag>, Option<Result<LogLine, RuntimeError>>)> + Send>>;

#[derive(Debug)]
struct Tag {
    label: String,
    id: String,
}

/// What is being written.
struct Now {
    source: Source,
    /// `None` at the end of a replica's lines.
    lines: SelectAll<Tagged>,
    /// The replicas whose lines are among them.
    followed: Vec<String>,
    last: HashMap<String, Timestamp>,
    events: BoxStream<'static, RuntimeEvent>,
    object: BoxStream<'static, watcher::Result<Option<Application>>>,
    tick: Interval,
    look: bool,
}

impl Now {
    fn after(past: Past) -> Self {
        let Past { source, last, .. } = past;
        let api: Api<Application> = Api::namespaced(source.controller.client.clone(), &source.id.namespace);
        let mut tick = tokio::time::interval(LOOK_AGAIN);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            events: source.controller.runtime.events(),
            object: watcher::watch_object(api, &source.id.name).boxed(),
            source,
            lines: SelectAll::new(),
            followed: Vec::new(),
            last,
            tick,
            look: true,
        }
    }

    /// The next lines; `None` if the Application was deleted.
    async fn chunk(&mut self) -> Result<Option<Vec<u8>>, RuntimeError> {
        loop {
            if std::mem::take(&mut self.look) {
                self.follow_new().await;
            }
            tokio::select! {
                biased;
                Some((tag, line)) = self.lines.next() => {
                    let mut chunk = Vec::new();
                    self.take(&tag, line, &mut chunk);
                    while chunk.len() < BATCH
                        && let Some(Some((tag, line))) = self.lines.next().now_or_never()
                    {
                        self.take(&tag, line, &mut chunk);
                    }
                    if !chunk.is_empty() {
                        return Ok(Some(chunk));
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

    fn take(&mut self, tag: &Tag, line: Option<Result<LogLine, RuntimeError>>, chunk: &mut Vec<u8>) {
        match line {
            Some(Ok(line)) => {
                self.source.write(&tag.label, &line, chunk);
                self.last.insert(tag.id.clone(), line.at);
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
        self.last
            .retain(|id, _| replicas.iter().any(|replica| replica.id == *id));
        for replica in &replicas {
            if self.followed.contains(&replica.id) {
                continue;
            }
            let since = self.last.get(&replica.id).copied().or(self.source.wanted.since);
            let lines = match self.source.lines(replica, true, since, None).await {
                Ok(lines) => lines,
                Err(error) => {
                    tracing::debug!(replica = replica.id, %error, "the log of a replica cannot be followed now");
                    continue;
                }
            };
            let tag = Arc::new(Tag {
                label: label(replica),
                id: replica.id.clone(),
            });
            let end = (Arc::clone(&tag), None);
            let tagged = lines.map(move |line| (Arc::clone(&tag), Some(line)));
            self.lines.push(Box::pin(tagged.chain(stream::iter([end]))));
            self.followed.push(replica.id.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(name: &str, release: &str) -> Replica {
        Replica {
            id: "0123456789abcdef".to_owned(),
            name: name.to_owned(),
            hash: String::new(),
            release: release.to_owned(),
            image: String::new(),
            state: ReplicaState::Healthy,
            healthy_since: None,
            serving: true,
            draining: false,
            leaving: false,
            restarts: 0,
            address: None,
            endpoints: Vec::new(),
        }
    }

    #[test]
    fn replica_is_named_by_release_and_number_or_by_the_engine() {
        for (name, expected) in [
            ("davit-t-default_shop-a1b2-1", "shop-7.1"),
            ("davit-t-default_shop-a1b2-12-kept", "shop-7.12"),
            ("davit_default_shop.3", "shop-7.3"),
            ("odd", "shop-7."),
        ] {
            let replica = replica(name, "shop-7");
            assert_eq!(label(&replica), expected);
            assert!(is_named(&replica, name) && is_named(&replica, expected));
            assert!(is_named(&replica, "0123456789ab") && !is_named(&replica, "0123"));
        }
        let mut pod = replica("shop-6d9f7c5b4-x2k9z", "shop-7");
        pod.id.clone_from(&pod.name);
        assert_eq!(label(&pod), "shop-6d9f7c5b4-x2k9z");
    }
}
