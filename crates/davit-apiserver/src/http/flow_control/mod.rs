//! How much of the server one user may have at a time, after API Priority and Fairness.
//!
//! A request is classified by its user (the flow schema) into a priority level. `exempt` (administrators) takes no seat;
//! `system` has a share that `workload` cannot take. All connections of a user are one flow: a request without a free
//! seat waits in the queue of its user, and a free seat goes to the waiting user with the fewest. A user with a full
//! queue gets 429. A body is read before a seat is taken, within a budget of memory for each user, so that a client that
//! sends slowly holds no seat. Requests of this process and questions for health take no seat.

mod budget;
mod gate;
mod level;

use std::{sync::Arc, time::Duration};

use axum::{Router, body::Body};
use http::{Method, Request, Response};
use hyper::body::Body as _;
use serde_json::json;
use tokio::time::Instant;
use tower::ServiceExt as _;

use self::{
    budget::{Budget, Held},
    gate::Gate,
    level::Level,
};
use super::{
    keeping::Keeping,
    negotiation::{Accept, JSON},
    request::{Path, Target, asks_to_watch, parse_path},
    request_body::{drain, read},
    response::error_response,
};
use crate::{auth::identity::Identity, metrics::Metrics, status::ApiError};

/// The limits of a server, of all its network clients together. The defaults are upstream's where it has such a limit.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How many requests that write are worked on at once.
    pub mutating: usize,
    /// How many requests that read are worked on at once, watches not counted.
    pub reading: usize,
    /// How many watches and backups may be open.
    pub watches: usize,
    /// How many requests with a large body, or one whose size is not told, are worked on at once.
    pub large: usize,
    /// How many bytes of request bodies are in memory at once; one user may have half of them.
    pub body_bytes: usize,
    /// How many requests of one user may wait for a seat.
    pub queue: usize,
    /// How long a request waits for a seat.
    pub wait: Duration,
    /// How long a request may take that is no watch, with its body, without the reading of the answer.
    pub request: Duration,
    /// How long a client has for the TLS handshake.
    pub handshake: Duration,
    /// How long a connection may be idle with HTTP/1.1, and how long the head of a request may take.
    pub head: Duration,
    /// How long a client may leave an answer unread before its connection ends.
    pub stall: Duration,
    /// How many bytes the head of a request may have.
    pub head_bytes: usize,
    /// How many connections are open at once; later ones wait to be accepted.
    pub connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            mutating: 200,
            reading: 400,
            watches: 4000,
            large: 8,
            body_bytes: 64 << 20,
            queue: 50,
            wait: Duration::from_secs(15),
            request: Duration::from_mins(1),
            handshake: Duration::from_secs(10),
            // Clients keep idle connections for as long and should end them first: a request that meets
            // the end of its connection is lost.
            head: Duration::from_secs(100),
            stall: Duration::from_secs(30),
            head_bytes: 256 << 10,
            connections: 4000,
        }
    }
}

/// From how many bytes on a body is large.
const LARGE_BYTES: u64 = 256 << 10;
/// After how many seconds a client that was refused should come back.
const RETRY_AFTER: u64 = 1;

/// The part of the seats (one in so many) that the level `workload` leaves free for `system`.
const RESERVED: usize = 5;

/// The gates that requests from the network go through.
pub struct Flow {
    limits: Limits,
    mutating: Arc<Gate>,
    reading: Arc<Gate>,
    watches: Arc<Gate>,
    large: Arc<Gate>,
    bodies: Arc<Budget>,
    metrics: Arc<Metrics>,
}

impl Flow {
    pub fn new(limits: Limits, metrics: Arc<Metrics>) -> Self {
        let gate = |seats: usize| Gate::new(seats, seats / RESERVED, limits.queue, limits.wait);
        Self {
            mutating: gate(limits.mutating),
            reading: gate(limits.reading),
            // A watch does not end soon: there is nothing to wait for.
            watches: Gate::new(limits.watches, limits.watches / RESERVED, 0, limits.wait),
            large: gate(limits.large),
            bodies: Budget::new(limits.body_bytes),
            metrics,
            limits,
        }
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Answers a request when there is a seat for it.
    pub async fn answer(&self, router: Router, request: Request<Body>) -> Response<Body> {
        let path = request.uri().path();
        let health = ["/healthz", "/livez", "/readyz"]
            .iter()
            .any(|known| path.starts_with(known));
        let identity = request.extensions().get::<Identity>();
        let flow = identity.map(|identity| (Arc::from(identity.user.as_str()), Level::of(identity)));
        let (Some((user, level)), false) = (flow, health) else {
            // An anonymous request is refused at once.
            let deadline = Instant::now() + self.limits.request;
            return within(deadline, router, request, JSON).await;
        };
        let user: Arc<str> = user;
        let accept = Accept::parse(request.headers()).unwrap_or(JSON);
        let long = is_long(&request);
        let writes = !matches!(*request.method(), Method::GET | Method::HEAD);
        let deadline = Instant::now() + self.limits.request;
        let (request, _held) = if writes {
            let budget = (level != Level::Exempt).then(|| (self.bodies.clone(), user.clone()));
            match tokio::time::timeout_at(deadline, whole(request, budget)).await {
                Ok(Ok(read)) => read,
                Ok(Err(refused)) => return refused,
                Err(_) => return error_response(&timed_out(), accept, &[]),
            }
        } else {
            (request, None)
        };
        let gate = match (long, writes) {
            (true, _) => &self.watches,
            (false, true) => &self.mutating,
            (false, false) => &self.reading,
        };
        let mut gates = Vec::with_capacity(2);
        // The rarer seat first, so that a request that waits for it holds no other.
        if writes && request.body().size_hint().lower() >= LARGE_BYTES {
            gates.push(&self.large);
        }
        gates.push(gate);
        let mut seats = Vec::with_capacity(gates.len());
        // A watch of an administrator takes its seat, too: it is memory for long.
        for gate in gates.into_iter().filter(|_| long || level != Level::Exempt) {
            let waits_until = Instant::now() + self.limits.wait;
            let Some(seat) = gate.enter(&user, level).await else {
                let is_late = Instant::now() >= waits_until;
                let reason = if is_late { "time-out" } else { "queue-full" };
                self.metrics
                    .rejected(level.flow_schema(), level.priority_level(), reason);
                return error_response(&too_many(), accept, &[]);
            };
            seats.push(seat);
        }
        let response = if long {
            infallible(router.oneshot(request).await)
        } else {
            within(deadline, router, request, accept).await
        };
        // An unread answer is memory: its seat is free when it has been read.
        response.map(|body| Body::new(Keeping::new(body, seats)))
    }
}

async fn within(deadline: Instant, router: Router, request: Request<Body>, accept: Accept) -> Response<Body> {
    match tokio::time::timeout_at(deadline, router.oneshot(request)).await {
        Ok(answered) => infallible(answered),
        Err(_) => error_response(&timed_out(), accept, &[]),
    }
}

/// The request with its body read, and the part of the budget that the body takes.
async fn whole(
    request: Request<Body>,
    budget: Option<(Arc<Budget>, Arc<str>)>,
) -> Result<(Request<Body>, Option<Held>), Response<Body>> {
    let accept = Accept::parse(request.headers()).unwrap_or(JSON);
    let (parts, mut body) = request.into_parts();
    let mut held = budget.map(|(budget, user)| Held::new(budget, user));
    let grow = |bytes: usize| {
        held.as_mut()
            .is_none_or(|held| held.grow(bytes))
            .then_some(())
            .ok_or_else(too_many)
    };
    match read(&mut body, grow).await {
        Ok(bytes) => Ok((Request::from_parts(parts, Body::from(bytes)), held)),
        Err(error) => {
            drain(body);
            Err(error_response(&error, accept, &[]))
        }
    }
}

fn infallible(answered: Result<Response<Body>, std::convert::Infallible>) -> Response<Body> {
    match answered {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// The subresources whose answers upstream lets go on for as long as the client wants, in any group.
const LONG: [&str; 5] = ["attach", "exec", "log", "portforward", "proxy"];

fn is_long(request: &Request<Body>) -> bool {
    let path = request.uri().path();
    let is = |long: fn(&Target) -> bool| matches!(parse_path(path), Path::Resource(target) if long(&target));
    (*request.method() == Method::GET && asks_to_watch(request.uri().query()))
        || path == crate::backup::PATH
        || (path.contains("/watch/") && is(|target| target.watch))
        || (LONG.iter().any(|name| path.ends_with(name))
            && is(|target| {
                target
                    .subresource
                    .as_deref()
                    .is_some_and(|name| LONG.contains(&name))
            }))
}

fn too_many() -> ApiError {
    ApiError {
        code: 429,
        reason: "TooManyRequests",
        message: "Too many requests, please try again later.".into(),
        details: Some(json!({"retryAfterSeconds": RETRY_AFTER})),
        metadata: None,
    }
}

fn timed_out() -> ApiError {
    ApiError {
        code: 504,
        reason: "Timeout",
        message: "Timeout: request did not complete within the allotted timeout".into(),
        details: Some(json!({})),
        metadata: None,
    }
}
