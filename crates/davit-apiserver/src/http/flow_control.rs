//! How much of the server one client may have at a time, in the spirit of API Priority and Fairness.
//!
//! There are so many seats for requests that write and so many for those that read. Who finds none free waits in a queue
//! of its own user; a seat that becomes free goes to the waiting user who holds the fewest. So whoever floods the server
//! waits for himself, and is told to come back later (429) when his queue is full. Requests of this process (the
//! controller's) and questions for health take no seat.

use std::{
    collections::{HashMap, VecDeque},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, body::Body};
use bytes::Bytes;
use http::{Method, Request, Response, header};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::oneshot;
use tower::ServiceExt as _;

use super::{
    negotiation::{Accept, JSON},
    request_body::drain,
    response::error_response,
};
use crate::{auth::identity::Identity, status::ApiError};

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

/// The gates that requests from the network go through.
pub struct Flow {
    limits: Limits,
    mutating: Arc<Gate>,
    reading: Arc<Gate>,
    watches: Arc<Gate>,
    large: Arc<Gate>,
}

impl Flow {
    pub fn new(limits: Limits) -> Self {
        Self {
            mutating: Gate::new(limits.mutating, limits.queue, limits.wait),
            reading: Gate::new(limits.reading, limits.queue, limits.wait),
            // A watch does not end soon: there is nothing to wait for.
            watches: Gate::new(limits.watches, 0, limits.wait),
            large: Gate::new(limits.large, limits.queue, limits.wait),
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
        let user = request
            .extensions()
            .get::<Identity>()
            .map(|identity| identity.user.clone());
        let (Some(user), false) = (user, health) else {
            // An anonymous request is refused at once.
            return self.within(router, request, JSON).await;
        };
        let user: Arc<str> = user.into();
        let accept = Accept::parse(request.headers()).unwrap_or(JSON);
        let long = is_watch(&request) || path == crate::backup::PATH;
        let writes = !matches!(*request.method(), Method::GET | Method::HEAD);
        let gate = match (long, writes) {
            (true, _) => &self.watches,
            (false, true) => &self.mutating,
            (false, false) => &self.reading,
        };
        let refused = |request: Request<Body>| {
            drain(request.into_body());
            error_response(&too_many(), accept, &[])
        };
        // The rarer seat first, so that a request that waits for it holds no other.
        let mut seats = Vec::with_capacity(2);
        if writes && is_large(&request) {
            match self.large.enter(&user).await {
                Some(seat) => seats.push(seat),
                None => return refused(request),
            }
        }
        match gate.enter(&user).await {
            Some(seat) => seats.push(seat),
            None => return refused(request),
        }
        let response = if long {
            infallible(router.oneshot(request).await)
        } else {
            self.within(router, request, accept).await
        };
        // An unread answer is memory: its seat is free when it has been read.
        response.map(|body| Body::new(Seated { body, _seats: seats }))
    }

    async fn within(&self, router: Router, request: Request<Body>, accept: Accept) -> Response<Body> {
        match tokio::time::timeout(self.limits.request, router.oneshot(request)).await {
            Ok(answered) => infallible(answered),
            Err(_) => error_response(&timed_out(), accept, &[]),
        }
    }
}

fn infallible(answered: Result<Response<Body>, std::convert::Infallible>) -> Response<Body> {
    match answered {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

fn is_watch(request: &Request<Body>) -> bool {
    *request.method() == Method::GET
        && request.uri().query().is_some_and(|query| {
            query
                .split('&')
                .any(|pair| matches!(pair, "watch" | "watch=1" | "watch=true"))
        })
}

fn is_large(request: &Request<Body>) -> bool {
    match request.headers().get(header::CONTENT_LENGTH) {
        Some(length) => length
            .to_str()
            .ok()
            .and_then(|length| length.parse::<u64>().ok())
            .is_none_or(|length| length >= LARGE_BYTES),
        None => !request.body().is_end_stream(),
    }
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

/// So many seats, shared by users.
struct Gate {
    /// How many seats one user may hold: the others find some free.
    share: usize,
    queue: usize,
    wait: Duration,
    state: Mutex<State>,
}

struct State {
    free: usize,
    held: HashMap<Arc<str>, usize>,
    waiting: HashMap<Arc<str>, VecDeque<oneshot::Sender<Seat>>>,
}

/// The right to be worked on; dropping it lets the next one in.
struct Seat {
    gate: Arc<Gate>,
    user: Arc<str>,
}

impl Gate {
    fn new(seats: usize, queue: usize, wait: Duration) -> Arc<Self> {
        Arc::new(Self {
            share: (seats * 3 / 4).max(1),
            queue,
            wait,
            state: Mutex::new(State {
                free: seats,
                held: HashMap::new(),
                waiting: HashMap::new(),
            }),
        })
    }

    /// A seat, at once or after a while; none when too many wait already or it took too long.
    async fn enter(self: &Arc<Self>, user: &Arc<str>) -> Option<Seat> {
        let waiting = {
            let mut state = self.state.lock();
            let held = state.held.get(user).copied().unwrap_or_default();
            // If a seat is free, all waiting users have their share.
            if state.free > 0 && held < self.share {
                return Some(self.seat(&mut state, user));
            }
            let queue = state.waiting.entry(user.clone()).or_default();
            // Those that gave up meanwhile take no room.
            queue.retain(|sender| !sender.is_closed());
            if queue.len() >= self.queue {
                if queue.is_empty() {
                    state.waiting.remove(user);
                }
                return None;
            }
            let (sender, receiver) = oneshot::channel();
            queue.push_back(sender);
            receiver
        };
        tokio::time::timeout(self.wait, waiting).await.ok()?.ok()
    }

    fn seat(self: &Arc<Self>, state: &mut State, user: &Arc<str>) -> Seat {
        state.free -= 1;
        *state.held.entry(user.clone()).or_default() += 1;
        Seat {
            gate: self.clone(),
            user: user.clone(),
        }
    }

    /// Takes a seat for the next waiting request, if both exist.
    fn next(self: &Arc<Self>) -> Option<(oneshot::Sender<Seat>, Seat)> {
        let mut state = self.state.lock();
        if state.free == 0 {
            return None;
        }
        let held = |user: &Arc<str>| state.held.get(user).copied().unwrap_or_default();
        let user = state
            .waiting
            .keys()
            .filter(|user| held(user) < self.share)
            .min_by_key(|user| held(user))?
            .clone();
        let queue = state.waiting.get_mut(&user)?;
        let sender = queue.pop_front();
        if queue.is_empty() {
            state.waiting.remove(&user);
        }
        Some((sender?, self.seat(&mut state, &user)))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        {
            let mut state = self.gate.state.lock();
            state.free += 1;
            if let Some(held) = state.held.get_mut(&self.user) {
                *held -= 1;
                if *held == 0 {
                    state.held.remove(&self.user);
                }
            }
        }
        if let Some((sender, seat)) = self.gate.next() {
            // One that has given up drops the seat, and so lets the next one in.
            let _ = sender.send(seat);
        }
    }
}

/// An answer that keeps its seats until it has been sent.
struct Seated {
    body: Body,
    _seats: Vec<Seat>,
}

impl HttpBody for Seated {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> Arc<str> {
        name.into()
    }

    #[tokio::test]
    async fn who_floods_waits_for_himself() {
        let gate = Gate::new(4, 10, Duration::from_secs(5));
        let (hog, other) = (user("hog"), user("other"));
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(gate.enter(&hog).await.unwrap());
        }
        let queued: Vec<_> = (0..10)
            .map(|_| {
                let (gate, hog) = (gate.clone(), hog.clone());
                tokio::spawn(async move { gate.enter(&hog).await })
            })
            .collect();
        tokio::task::yield_now().await;
        assert!(gate.enter(&hog).await.is_none(), "his queue is full");
        let one = gate.enter(&other).await.expect("a seat is kept for others");
        let waits = tokio::spawn({
            let (gate, other) = (gate.clone(), other.clone());
            async move { gate.enter(&other).await }
        });
        tokio::task::yield_now().await;
        held.pop();
        let two = waits
            .await
            .unwrap()
            .expect("the first seat goes to who has fewer");
        assert_eq!(gate.state.lock().held.get(&hog), Some(&2));
        drop((one, two, held));
        for waiting in queued {
            assert!(waiting.await.unwrap().is_some(), "who waits gets in");
        }
        let state = gate.state.lock();
        assert_eq!((state.free, state.held.len(), state.waiting.len()), (4, 0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_is_sent_away_and_leaves_nothing() {
        let gate = Gate::new(1, 1, Duration::from_secs(15));
        let (one, two) = (user("one"), user("two"));
        let seat = gate.enter(&one).await.unwrap();
        assert!(gate.enter(&two).await.is_none());
        drop(seat);
        assert_eq!(gate.state.lock().free, 1);
        drop(gate.enter(&two).await.expect("the seat is free"));
        assert_eq!(gate.state.lock().free, 1);
    }
}
