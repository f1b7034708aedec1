//! `applications/NAME/log`: the output of an Application's containers, of all replicas or of one.
//!
//! First what they wrote so far, in the order of time: the engine is read as the client reads. Then what they write, also replicas
//! that start later: the clients that follow a replica share one read of it, and one that stands still delays no other.

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse as _, Response};
use futures::StreamExt as _;
use futures::stream;
use http::header;
use jiff::Timestamp;
use kube::{Api, ResourceExt as _};

use super::access_log;
use super::failure::Failure;
use super::followed_log::Now;
use super::log_query::Wanted;
use super::log_source::{Source, label};
use super::log_time::Times;
use super::lookup;
use super::parameters::Parameters;
use super::shared_log::{Followed, Lines, Place};
use super::target::Target;
use crate::api::Application;
use crate::controller::context::Context;
use crate::controller::logs;
use crate::controller::problem::cluster_problem;
use crate::error::{Explain as _, Problem};
use crate::model::AppId;
use crate::runtime::{LogLine, LogOptions, RuntimeError};

/// How many bytes of lines that are ready are sent as one.
const BATCH: usize = 32 * 1024;

/// `applications/NAME/log`.
pub(super) async fn log(
    (controller, followed): (&Arc<Context>, &Followed),
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
            ..LogOptions::default()
        };
        let id = AppId::new(&*target.namespace, app.name_any());
        return access_log::respond(controller, &id, options, (wanted.timestamps, wanted.prefix)).await;
    }
    let redaction = logs::redaction(controller, &app)
        .await
        .map_err(|error| cluster_problem("read the Releases", &error))?;
    let source = Source {
        controller: Arc::clone(controller),
        followed: followed.clone(),
        id: AppId::new(&*target.namespace, app.name_any()),
        redaction: Arc::new(redaction),
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
    // Lines from now on are those behind the last one.
    let at_least_one = tail.map(|tail| tail.max(u64::from(source.is_followed())));
    let mut merged = Vec::new();
    for replica in &replicas {
        let lines = source.lines(replica, at_least_one).await;
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
        places: HashMap::new(),
        times: Times::default(),
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
                    Ok(_) if past.source.is_followed() => {
                        self = Self::Now(Box::new(Now::after(past.source, past.places)));
                    }
                    Ok(_) => return None,
                    Err(error) => return Some((Err(ended(&error)), Self::End)),
                },
                Self::Now(mut now) => match now.chunk().await {
                    Ok(Some(chunk)) => return Some((Ok(chunk), Self::Now(now))),
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
    /// Up to where the logs were read, by ID.
    places: HashMap<String, Place>,
    times: Times,
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
                if self.source.wanted.tail != Some(0) {
                    self.source.write(label, &line, &mut self.times, &mut chunk);
                }
                let since = || Place::since(self.source.wanted.since);
                self.places.entry(id.clone()).or_insert_with(since).pass(line.at);
            }
            *head = lines.next().await.transpose()?;
        }
        Ok(chunk)
    }
}
