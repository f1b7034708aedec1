//! HTTP that the controller serves itself: one listener with bounded connections, headers, bodies and times, in front of a
//! router. The API server of `davit up` is not part of it.

pub mod health;
mod idle;
pub mod metrics;
pub mod webhook;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::DefaultBodyLimit;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::timeout::{RequestBodyTimeoutLayer, TimeoutLayer};

use self::idle::{Connection, Idle};

/// The time that open requests have to end when the listener closes.
const DRAIN: Duration = Duration::from_secs(2);
/// The pause after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What one listener allows its clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open connections. A further one takes the place of the connection that has waited longest without a request; if each has
    /// one, it waits, and those after it wait in the queue of the operating system.
    pub connections: usize,
    /// Bytes of a request's line and headers.
    pub header_bytes: usize,
    /// The time for a request's headers, and between two parts of its body. An idle connection is closed after it.
    pub read_time: Duration,
    /// Bytes of a request's body.
    pub body_bytes: usize,
    /// The time until the response begins.
    pub request_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 64,
            header_bytes: 16 * 1024,
            read_time: Duration::from_secs(10),
            body_bytes: 64 * 1024,
            request_time: Duration::from_secs(30),
        }
    }
}

/// Binds the address of a flag.
///
/// # Errors
/// The address cannot be bound; the message names the flag.
pub async fn bind(flag: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        anyhow::anyhow!("cannot listen on {address}: {error}: set {flag} to a free address of this machine")
    })
}

/// A listener that is served in the background.
#[derive(Debug)]
pub struct Served {
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Served {
    /// Serves the router until [`Self::close`].
    pub fn start(listener: TcpListener, router: Router, limits: Limits) -> Self {
        let stop = CancellationToken::new();
        Self {
            task: tokio::spawn(serve(listener, router, limits, stop.clone())),
            stop,
        }
    }

    /// Closes the listener; open requests have two seconds to end.
    pub async fn close(self) {
        self.stop.cancel();
        let _ = self.task.await;
    }
}

async fn serve(listener: TcpListener, router: Router, limits: Limits, stop: CancellationToken) {
    let router = router
        .layer(DefaultBodyLimit::disable())
        .layer(RequestBodyLimitLayer::new(limits.body_bytes))
        .layer(RequestBodyTimeoutLayer::new(limits.read_time))
        .layer(TimeoutLayer::with_status_code(
            StatusCode::SERVICE_UNAVAILABLE,
            limits.request_time,
        ));
    let idle = Arc::new(Idle::default());
    let full = || idle.close_oldest();
    accept(listener, limits.connections, stop.clone(), full, |stream| {
        let connection = Connection::new(Arc::clone(&idle));
        serve_connection(stream, router.clone(), limits.clone(), stop.clone(), connection)
    })
    .await;
}

/// Serves each connection of a listener, `most` at once, until `stop`; open ones then have two seconds to end. A connection for
/// which there is no place calls `full` and waits for one.
pub(crate) async fn accept<F>(
    listener: TcpListener,
    most: usize,
    stop: CancellationToken,
    full: impl Fn(),
    serve: impl Fn(TcpStream) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(most));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            () = stop.cancelled() => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // The process is probably out of file descriptors, until another connection ends.
                tracing::warn!(%error, "could not accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if places.available_permits() == 0 {
            full();
        }
        let place = tokio::select! {
            place = places.clone().acquire_owned() => place,
            () = stop.cancelled() => break,
        };
        let served = serve(stream);
        connections.spawn(async move {
            served.await;
            drop(place);
        });
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        connections.shutdown().await;
    }
}

async fn serve_connection(
    stream: TcpStream,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
    connection: Connection,
) {
    let connection = Arc::new(connection);
    let waiting = Arc::clone(&connection);
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let (router, connection) = (router.clone(), Arc::clone(&waiting));
        async move {
            connection.begin();
            let response = router.oneshot(request.map(Body::new)).await;
            connection.wait();
            response
        }
    });
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.read_time)
        .max_buf_size(limits.header_bytes);
    let served = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(served);
    tokio::select! {
        // A client that closes its connection early is not an error of this process.
        _ = served.as_mut() => {}
        () = connection.closed() => {}
        () = stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            let _ = served.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::{get, post};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn start(limits: Limits) -> (SocketAddr, Served) {
        let router = Router::new()
            .route("/", get(|| async { "hello" }))
            .route(
                "/length",
                post(|body: String| async move { body.len().to_string() }),
            )
            .route("/never", get(std::future::pending::<&'static str>));
        let listener = bind("--listen", ([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = listener.local_addr().unwrap();
        (address, Served::start(listener, router, limits))
    }

    /// Sends bytes and returns everything until the server closes the connection.
    async fn exchange(address: SocketAddr, sent: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        let mut received = Vec::new();
        // A reset after a refused request is an end too.
        let _ = stream.read_to_end(&mut received).await;
        String::from_utf8_lossy(&received).into_owned()
    }

    fn status(response: &str) -> &str {
        response.split(' ').nth(1).unwrap_or_default()
    }

    fn short() -> Limits {
        Limits {
            connections: 2,
            read_time: Duration::from_millis(200),
            request_time: Duration::from_millis(300),
            body_bytes: 10,
            header_bytes: 8192,
        }
    }

    #[tokio::test]
    async fn request_beyond_a_limit_is_refused() {
        let (address, served) = start(short()).await;
        let close = "Host: x\r\nConnection: close\r\n";
        for (request, expected) in [
            (format!("GET / HTTP/1.1\r\n{close}\r\n"), "200"),
            (
                format!("POST /length HTTP/1.1\r\n{close}Content-Length: 10\r\n\r\n0123456789"),
                "200",
            ),
            (
                format!("POST /length HTTP/1.1\r\n{close}Content-Length: 11\r\n\r\n0123456789a"),
                "413",
            ),
            (
                format!(
                    "POST /length HTTP/1.1\r\n{close}Transfer-Encoding: chunked\r\n\r\nb\r\n0123456789a\r\n0\r\n\r\n"
                ),
                "413",
            ),
            (
                format!("GET / HTTP/1.1\r\nX: {}\r\n{close}\r\n", "x".repeat(20_000)),
                "431",
            ),
            (format!("GET /never HTTP/1.1\r\n{close}\r\n"), "503"),
        ] {
            let response = exchange(address, &request).await;
            assert_eq!(status(&response), expected, "{request:.60}: {response}");
        }
        // Headers that never end, and a body that does not come, close the connection.
        assert_eq!(exchange(address, "GET / HTTP/1.1\r\nHost:").await, "");
        let slow = exchange(
            address,
            "POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n01",
        )
        .await;
        assert!(["400", "408", "503"].contains(&status(&slow)), "{slow}");
        served.close().await;
    }

    #[tokio::test]
    async fn connection_beyond_the_limit_waits_for_a_place() {
        let (address, served) = start(short()).await;
        let mut busy = Vec::new();
        for _ in 0..2 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let request = b"GET /never HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
            stream.write_all(request).await.unwrap();
            busy.push(stream);
        }
        // The places become free when the requests end.
        let response = exchange(address, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
        assert_eq!(status(&response), "200");
        for mut stream in busy {
            let mut received = String::new();
            stream.read_to_string(&mut received).await.unwrap();
            assert_eq!(status(&received), "503", "a request keeps its place");
        }
        served.close().await;
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn idle_connection_leaves_its_place_to_a_new_one() {
        let patient = Limits {
            read_time: Duration::from_mins(10),
            ..short()
        };
        let (address, served) = start(patient).await;
        let mut idle = Vec::new();
        for sent in ["", "GET / HTTP/1.1\r\nHost:", "", "POST /le", ""] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(sent.as_bytes()).await.unwrap();
            idle.push(stream);
        }
        for _ in 0..3 {
            let response = exchange(address, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
            assert_eq!(status(&response), "200");
        }
        // What it was closed for is seen by its client.
        let mut received = Vec::new();
        let ended = idle.remove(0).read_to_end(&mut received).await;
        assert!(ended.is_err() || received.is_empty());
        served.close().await;
    }
}
