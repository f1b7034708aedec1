//! How much of the server one user may have at a time: API Priority and Fairness.
//!
//! The flow schemas assign a request to a priority level, and to a flow within it: most of them take all requests of a
//! user as one flow. A level has a part of the seats; what it does not need others may take, as far as its object says.
//! A request without a free seat waits in the queue of its flow, and a free seat goes to the level with the least of its
//! own, and there to the flow with the fewest. A flow with a full queue gets 429. The level `exempt` takes no seats. A
//! body is read before a seat is taken, within a budget of memory for each user, so that a client that sends slowly holds
//! no seat. Requests of this process take no seat.

mod budget;
mod gate;
mod numbers;

use std::{borrow::Cow, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use http::{HeaderValue, Method, Request, Response};
use hyper::body::Body as _;
use parking_lot::Mutex;
use serde_json::json;
use tokio::time::Instant;
use tower::ServiceExt as _;

use self::{
    budget::{Budget, Held},
    gate::{Gate, Ticket},
    numbers::nominal,
};
use super::{
    keeping::Keeping,
    negotiation::{Accept, JSON},
    request::{Path, Target, asks_to_watch, parse_path},
    request_body::{drain, read},
    response::error_response,
};
use crate::{
    auth::{
        identity::Identity,
        impersonation::{asks_to_impersonate, impersonated},
    },
    flow_schemas::{About, Digest, Flows},
    state::Server,
    status::ApiError,
};

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

/// The headers in which upstream says how a request was classified.
const UIDS: [&str; 2] = [
    "x-kubernetes-pf-flowschema-uid",
    "x-kubernetes-pf-prioritylevel-uid",
];

/// The gates that requests from the network go through.
pub struct Flow {
    server: Arc<Server>,
    limits: Limits,
    mutating: Arc<Gate>,
    reading: Arc<Gate>,
    watches: Arc<Gate>,
    large: Arc<Gate>,
    bodies: Arc<Budget>,
    /// The levels that the gates have.
    applied: Mutex<Arc<Flows>>,
}

/// Where a request belongs.
struct Class {
    schema: Arc<str>,
    ticket: Ticket,
    exempt: bool,
    /// Whether requests of the level wait for a seat.
    waits: bool,
    /// The uids of schema and level.
    uids: [HeaderValue; 2],
}

impl Flow {
    pub fn new(limits: Limits, server: Arc<Server>) -> Self {
        let gate = |seats: usize| Gate::new(seats, seats, limits.queue, limits.wait);
        let flow = Self {
            mutating: gate(limits.mutating),
            reading: gate(limits.reading),
            // A watch does not end soon: there is nothing to wait for, and levels could not get back what they lend.
            watches: Gate::new(limits.watches, limits.watches / 2, 0, limits.wait),
            large: gate(limits.large),
            bodies: Budget::new(limits.body_bytes),
            applied: Mutex::default(),
            limits,
            server,
        };
        flow.apply(&Arc::default());
        flow
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The present levels and schemas, after the gates have them.
    fn flows(&self) -> Arc<Flows> {
        let flows = self.server.flows();
        let mut applied = self.applied.lock();
        if !Arc::ptr_eq(&applied, &flows) {
            self.apply(&flows);
            *applied = flows.clone();
        }
        flows
    }

    fn apply(&self, flows: &Arc<Flows>) {
        for gate in [&self.mutating, &self.reading, &self.watches, &self.large] {
            gate.set_levels(flows);
        }
        let seats = self.limits.mutating + self.limits.reading;
        let seats = |level| nominal(flows, level, seats);
        let levels = flows.levels.iter().map(|level| (&*level.name, seats(level)));
        self.server.metrics.set_levels(levels);
    }

    fn classify(&self, identity: &Identity, request: &Request<Body>) -> Option<Class> {
        let acting = asks_to_impersonate(request.headers())
            .then(|| impersonated(&self.server, identity.clone(), request.headers()).ok())
            .flatten();
        let identity = acting.as_ref().unwrap_or(identity);
        let path = request.uri().path();
        let parsed = parse_path(path);
        let method = request.method();
        let (verb, about, namespace) = match &parsed {
            Path::Resource(target) => {
                let namespace = namespace(target);
                let about = About::Resource {
                    group: &target.group,
                    resource: &target.resource,
                    subresource: target.subresource.as_deref().unwrap_or_default(),
                    namespace,
                };
                let watches = target.watch || asks_to_watch(request.uri().query());
                (Cow::from(verb(method, target, watches)), about, namespace)
            }
            _ => (method.as_str().to_ascii_lowercase().into(), About::Path(path), ""),
        };
        let flows = self.flows();
        let (schema, level) = flows.classify(&Digest {
            user: &identity.user,
            groups: &identity.groups,
            verb: &verb,
            about,
        })?;
        let distinguisher = schema.distinguisher(&identity.user, namespace);
        Some(Class {
            schema: schema.name.clone(),
            ticket: Ticket {
                level: level.name.clone(),
                flow: match distinguisher {
                    Some(distinguisher) => format!("{}/{distinguisher}", schema.name).into(),
                    None => schema.name.clone(),
                },
                only: distinguisher.is_none(),
            },
            exempt: level.exempt,
            waits: level.queue.is_some(),
            uids: [schema.uid.clone(), level.uid.clone()],
        })
    }

    /// Answers a request when there is a seat for it.
    pub async fn answer(&self, router: Router, request: Request<Body>) -> Response<Body> {
        let identity = request.extensions().get::<Identity>();
        let class = identity.and_then(|identity| self.classify(identity, &request));
        let user = identity.map(|identity| Arc::from(identity.user.as_str()));
        let (Some(class), Some(user)) = (class, user) else {
            // An anonymous request is refused at once, or asks for the health.
            let deadline = Instant::now() + self.limits.request;
            return within(deadline, router, request, JSON).await;
        };
        let uids = class.uids.clone();
        let mut answer = self.seated(router, request, class, user).await;
        for (name, uid) in UIDS.into_iter().zip(uids) {
            answer.headers_mut().insert(name, uid);
        }
        answer
    }

    async fn seated(
        &self,
        router: Router,
        request: Request<Body>,
        class: Class,
        user: Arc<str>,
    ) -> Response<Body> {
        let accept = Accept::parse(request.headers()).unwrap_or(JSON);
        let long = is_long(&request);
        let writes = !matches!(*request.method(), Method::GET | Method::HEAD);
        let deadline = Instant::now() + self.limits.request;
        let (request, _held) = if writes {
            let budget = (!class.exempt).then(|| (self.bodies.clone(), user.clone()));
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
        let mut ticket = class.ticket;
        if long {
            // A watch is memory for long, whatever its schema says of requests.
            (ticket.flow, ticket.only) = (user, false);
        }
        let mut gates = Vec::with_capacity(2);
        // The rarer seat first, so that a request that waits for it holds no other.
        if writes && request.body().size_hint().lower() >= LARGE_BYTES {
            gates.push(&self.large);
        }
        gates.push(gate);
        let mut seats = Vec::with_capacity(gates.len());
        for gate in gates.into_iter().filter(|_| long || !class.exempt) {
            let waits_until = Instant::now() + self.limits.wait;
            let Some(seat) = gate.enter(&ticket).await else {
                let reason = match () {
                    () if !class.waits => "concurrency-limit",
                    () if Instant::now() >= waits_until => "time-out",
                    () => "queue-full",
                };
                let metrics = &self.server.metrics;
                metrics.rejected(&class.schema, &ticket.level, reason);
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

/// The namespace of a resource; a namespace itself is in itself.
fn namespace(target: &Target) -> &str {
    let own = (target.group.is_empty() && target.resource == "namespaces")
        .then_some(target.name.as_deref())
        .flatten();
    target.namespace.as_deref().or(own).unwrap_or_default()
}

/// The verb, as upstream's RequestInfo has it.
fn verb(method: &Method, target: &Target, watches: bool) -> &'static str {
    match (method.as_str(), &target.name) {
        ("GET" | "HEAD", _) if target.watch => "watch",
        ("GET" | "HEAD", None) if watches => "watch",
        ("GET" | "HEAD", None) => "list",
        ("GET" | "HEAD", Some(_)) => "get",
        ("POST", _) => "create",
        ("PUT", _) => "update",
        ("PATCH", _) => "patch",
        ("DELETE", Some(_)) => "delete",
        ("DELETE", None) => "deletecollection",
        _ => "",
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
