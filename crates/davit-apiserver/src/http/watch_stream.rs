//! Watches: each reads the collection's log at its own pace, so that a slow one delays no other and needs no queue.
//!
//! A watch that lags behind what the log keeps is told so (410) and ends; its client lists again.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use axum::body::Body;
use bytes::{BufMut, Bytes, BytesMut};
use futures::stream;
use http::{HeaderValue, Response, header};
use rand::Rng as _;
use serde_json::json;
use tokio::{sync::watch::Receiver, time::Instant};

use super::{
    negotiation::{Accept, Format, Shape},
    response::{Presenter, document},
    selector::Selector,
};
use crate::{
    protobuf,
    state::Server,
    status::ApiError,
    store::{Event, Object},
    table::blank,
};

/// How often an idle watch says how far it is.
const BOOKMARK: Duration = Duration::from_mins(1);
/// A watch without a timeout lasts this long, to twice as long: clients come back at different times.
const LONGEST: u64 = 1800;
/// How many changes are taken from the log at once.
const STEP: usize = 256;
/// How many bytes one chunk of the body aims for.
const CHUNK: usize = 32 << 10;

/// Where a watch begins.
#[derive(Debug, Clone)]
pub enum Start {
    /// With what is there, as if it had just been added; `mark_end` says with a bookmark when that is over.
    State {
        /// Whether the end of the present state is told.
        mark_end: bool,
    },
    /// With the next change.
    Now,
    /// With the first change after that revision.
    After(u64),
    /// Not at all: that is said in the one event that comes.
    Never(ApiError),
}

/// What a watch is to show.
pub struct Request {
    pub server: Arc<Server>,
    /// How objects are shown.
    pub presenter: Presenter,
    /// One namespace, or all.
    pub namespace: Option<String>,
    pub selector: Selector,
    pub start: Start,
    /// Whether bookmarks are wanted.
    pub bookmarks: bool,
    /// How many seconds at most.
    pub timeout: Option<i64>,
    /// Warnings for the answer's head.
    pub warnings: Vec<String>,
}

struct Watching {
    server: Arc<Server>,
    presenter: Presenter,
    namespace: Option<String>,
    selector: Selector,
    bookmarks: bool,
    initial: VecDeque<Arc<Object>>,
    mark_end: bool,
    changed: Receiver<u64>,
    /// Everything up to here has been sent or was not selected.
    seen: u64,
    deadline: Instant,
    next_bookmark: Instant,
    ended: bool,
    /// Whether the columns of the table have been said.
    headed: bool,
    /// Why there is nothing to tell.
    refused: Option<ApiError>,
}

/// The answer: a body without an end.
pub fn respond(request: Request) -> Response<Body> {
    let accept = request.presenter.accept;
    // The head alone, in whatever form: the body comes in pieces.
    let head = Accept {
        format: Format::Json,
        ..accept
    };
    let mut response = document(head, 200, Bytes::new(), &request.warnings);
    let content_type = match accept.format {
        Format::Json => "application/json",
        Format::Yaml => "application/yaml",
        Format::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
    };
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    let watching = Watching::new(request);
    *response.body_mut() = Body::from_stream(stream::unfold(watching, |mut watching| async move {
        let chunk = watching.next().await?;
        Some((Ok::<_, std::convert::Infallible>(chunk), watching))
    }));
    response
}

impl Watching {
    fn new(request: Request) -> Self {
        let Request {
            server,
            presenter,
            namespace,
            selector,
            start,
            bookmarks,
            timeout,
            warnings: _,
        } = request;
        let collection = presenter.resource.collection.clone();
        // Subscribed before the state is read: a change in between wakes the watch up.
        let changed = server.store.view().subscribe(&collection);
        let seconds = match timeout {
            // A time before now ends it at once.
            Some(seconds) if seconds != 0 => u64::try_from(seconds).unwrap_or_default(),
            _ => rand::rng().random_range(LONGEST..=2 * LONGEST),
        };
        let now = Instant::now();
        let view = server.store.view();
        let mut refused = None;
        let (initial, mark_end, seen) = match start {
            Start::State { mark_end } => {
                let page = view.list(&collection, namespace.as_deref());
                let selected = page
                    .objects
                    .into_iter()
                    .filter(|object| selector.matches(object))
                    .collect();
                (selected, mark_end, page.revision)
            }
            Start::Now => (VecDeque::new(), false, view.revision()),
            Start::After(revision) => (VecDeque::new(), false, revision),
            Start::Never(error) => {
                refused = Some(error);
                (VecDeque::new(), false, view.revision())
            }
        };
        Self {
            server,
            presenter,
            namespace,
            selector,
            bookmarks,
            initial,
            mark_end,
            changed,
            seen,
            deadline: now + Duration::from_secs(seconds),
            next_bookmark: now + BOOKMARK,
            ended: false,
            headed: false,
            refused,
        }
    }

    /// The next piece of the body; none when the watch is over.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if self.ended {
                return None;
            }
            let mut out = BytesMut::new();
            if let Some(error) = self.refused.take() {
                self.error(&mut out, &error);
                self.ended = true;
                return Some(out.freeze());
            }
            self.initial_events(&mut out);
            if out.is_empty() {
                self.changed.borrow_and_update();
                self.changes(&mut out);
            }
            if !out.is_empty() {
                return Some(out.freeze());
            }
            if self.ended {
                return None;
            }
            let gone = self.presenter.resource.gone.clone();
            tokio::select! {
                // Changes first: those before the end of a resource are still told.
                biased;
                changed = self.changed.changed() => {
                    if changed.is_err() {
                        return None;
                    }
                }
                () = self.server.closing.cancelled() => return None,
                () = gone.cancelled() => return None,
                () = tokio::time::sleep_until(self.deadline) => {
                    self.ended = true;
                    if self.bookmarks {
                        self.bookmark(&mut out, false);
                        return Some(out.freeze());
                    }
                    return None;
                }
                () = tokio::time::sleep_until(self.next_bookmark), if self.bookmarks => {
                    self.next_bookmark = Instant::now() + BOOKMARK;
                    self.bookmark(&mut out, false);
                    return Some(out.freeze());
                }
            }
        }
    }

    fn initial_events(&mut self, out: &mut BytesMut) {
        while let Some(object) = self.initial.pop_front() {
            self.event(out, "ADDED", &object);
            if out.len() >= CHUNK {
                return;
            }
        }
        if std::mem::take(&mut self.mark_end) {
            self.bookmark(out, true);
        }
    }

    /// Writes what has changed since `seen`.
    fn changes(&mut self, out: &mut BytesMut) {
        let server = self.server.clone();
        let collection = self.presenter.resource.collection.clone();
        while out.len() < CHUNK {
            match server.store.view().since(&collection, self.seen, STEP) {
                Err(too_old) => {
                    let message = format!("too old resource version: {} ({})", self.seen, too_old.oldest);
                    self.error(out, &ApiError::expired(message));
                    self.ended = true;
                    return;
                }
                Ok((events, upto)) => {
                    for event in &events {
                        self.change(out, event);
                    }
                    // A watch from a revision of the future waits for it.
                    self.seen = self.seen.max(upto);
                    if events.len() < STEP {
                        return;
                    }
                }
            }
        }
    }

    fn change(&mut self, out: &mut BytesMut, event: &Event) {
        if self
            .namespace
            .as_deref()
            .is_some_and(|namespace| *namespace != *event.object.key.namespace)
        {
            return;
        }
        let before = event
            .previous
            .as_ref()
            .filter(|object| self.selector.matches(object));
        let after = (!event.removed && self.selector.matches(&event.object)).then_some(&event.object);
        match (before, after) {
            (None, Some(after)) => self.event(out, "ADDED", after),
            (Some(_), Some(after)) => self.event(out, "MODIFIED", after),
            (Some(_), None) if event.removed => self.event(out, "DELETED", &event.object),
            // It left the selection: the client knew the former state, and is told it with the new revision.
            (Some(before), None) => {
                if let Ok(last) = Object::render(&mut before.value(), event.revision) {
                    self.event(out, "DELETED", &last);
                }
            }
            (None, None) => {}
        }
    }

    fn event(&mut self, out: &mut BytesMut, kind: &str, object: &Object) {
        let document = match self.presenter.accept.shape {
            Shape::Table(_) => {
                let again = std::mem::replace(&mut self.headed, true);
                self.presenter.row(object, again)
            }
            _ => self.presenter.one(object),
        };
        self.line(out, kind, &document);
    }

    fn line(&self, out: &mut BytesMut, kind: &str, json: &[u8]) {
        if self.presenter.accept.format == Format::Yaml {
            let value: serde_json::Value = serde_json::from_slice(json).unwrap_or_default();
            let yaml = serde_saphyr::to_string(&json!({"type": kind, "object": value})).unwrap_or_default();
            out.put_slice(b"---\n");
            out.put_slice(yaml.as_bytes());
            return;
        }
        if self.presenter.accept.format == Format::Protobuf {
            let value = serde_json::from_slice(json).unwrap_or_default();
            let object = protobuf::encode(&value).unwrap_or_default();
            out.put_slice(&protobuf::event(kind, &object));
            return;
        }
        out.put_slice(b"{\"type\":\"");
        out.put_slice(kind.as_bytes());
        out.put_slice(b"\",\"object\":");
        out.put_slice(json);
        out.put_slice(b"}\n");
    }

    fn bookmark(&self, out: &mut BytesMut, end_of_state: bool) {
        let mut metadata = json!({"resourceVersion": self.seen.to_string()});
        if end_of_state {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let resource = &self.presenter.resource;
        let object = match self.presenter.accept.shape {
            Shape::Table(version) => json!({"kind": "Table", "apiVersion": format!("meta.k8s.io/{version}"),
                "metadata": {"resourceVersion": self.seen.to_string()}, "columnDefinitions": null,
                "rows": [{"cells": blank(&self.presenter.version.columns), "object": {"kind": "PartialObjectMetadata",
                    "apiVersion": format!("meta.k8s.io/{version}"), "metadata": metadata}}]}),
            Shape::Metadata(version) => {
                json!({"kind": "PartialObjectMetadata", "apiVersion": format!("meta.k8s.io/{version}"),
                    "metadata": metadata})
            }
            _ => json!({"kind": resource.names.kind,
                "apiVersion": resource.api_version(&self.presenter.version.name), "metadata": metadata}),
        };
        self.line(out, "BOOKMARK", object.to_string().as_bytes());
    }

    fn error(&self, out: &mut BytesMut, error: &ApiError) {
        self.line(out, "ERROR", error.to_value().to_string().as_bytes());
    }
}
