//! The router over TLS: one task a connection, HTTP/1.1 or HTTP/2 by ALPN.

use std::{pin::Pin, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use http::{Request, header};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::{Builder, Connection},
};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet};
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::flow_control::Flow;
use crate::{auth::identity::Identity, state::Server};

/// How often an HTTP/2 client is asked whether it is still there.
const PING: Duration = Duration::from_secs(30);
/// How many fields the header of a request may have.
const HEADERS: usize = 1000;
/// How long open requests have to end when the server closes.
const DRAIN: Duration = Duration::from_secs(2);

/// Answers connections until the server closes.
pub async fn serve(
    server: Arc<Server>,
    router: Router,
    flow: Flow,
    listener: TcpListener,
    tls: rustls::ServerConfig,
) {
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let flow = Arc::new(flow);
    let room = Arc::new(Semaphore::new(flow.limits().connections));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            // One that finds no room waits with the system, not here.
            accepted = async {
                let place = room.clone().acquire_owned().await;
                listener.accept().await.map(|(stream, _)| (stream, place))
            } => accepted,
            () = server.closing.cancelled() => break,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, place)) => {
                let served = connection(
                    server.clone(),
                    router.clone(),
                    flow.clone(),
                    acceptor.clone(),
                    stream,
                );
                connections.spawn(async move {
                    served.await;
                    drop(place);
                });
            }
            Err(error) => {
                // Out of file descriptors, most likely: others will end.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        connections.shutdown().await;
    }
}

async fn connection(
    server: Arc<Server>,
    router: Router,
    flow: Arc<Flow>,
    acceptor: TlsAcceptor,
    stream: tokio::net::TcpStream,
) {
    let limits = flow.limits().clone();
    // Watch events are small and should not wait for more.
    let _ = stream.set_nodelay(true);
    // A client that reads nothing must not keep what it was sent in memory for ever.
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(limits.stall));
    let accepting = acceptor.accept(Box::pin(stream));
    let Ok(Ok(stream)) = tokio::time::timeout(limits.handshake, accepting).await else {
        return;
    };
    let certificate = stream
        .get_ref()
        .1
        .peer_certificates()
        .and_then(|chain| chain.first())
        .and_then(|certificate| by_certificate(certificate));
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let closing = server.closing.clone();
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        let identity = certificate.clone().or_else(|| by_token(&server, &request));
        let (router, flow) = (router.clone(), flow.clone());
        async move {
            if let Some(identity) = identity {
                request.extensions_mut().insert(identity);
            }
            Ok::<_, std::convert::Infallible>(flow.answer(router, request.map(Body::new)).await)
        }
    });
    // ALPN has decided. Detection from the first bytes would wait for ever on a silent client, and `hyper-util` detects
    // whenever it serves a connection with upgrades.
    let stream = TokioIo::new(stream);
    if http2 {
        let mut builder = Builder::new(TokioExecutor::new()).http2_only();
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(PING)
            .keep_alive_timeout(limits.stall)
            .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
            .max_concurrent_streams(250);
        let served = builder.serve_connection(stream, service);
        until_closing(served, &closing, Connection::graceful_shutdown).await;
    } else {
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head)
            .max_buf_size(limits.head_bytes)
            .max_headers(HEADERS)
            .serve_connection(stream, service)
            .with_upgrades();
        until_closing(served, &closing, http1::UpgradeableConnection::graceful_shutdown).await;
    }
}

/// Serves a connection to its end, which comes after the present requests once the server closes.
async fn until_closing<C: Future>(
    served: C,
    closing: &CancellationToken,
    shut_down: impl FnOnce(Pin<&mut C>),
) {
    tokio::pin!(served);
    tokio::select! {
        // A client that goes away in the middle is no error of ours.
        _ = served.as_mut() => {}
        () = closing.cancelled() => {
            shut_down(served.as_mut());
            let _ = served.await;
        }
    }
}

/// Common name and organisations of a certificate that TLS has verified: user and groups.
fn by_certificate(der: &[u8]) -> Option<Identity> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    let subject = certificate.subject();
    let user = subject.iter_common_name().next()?.as_str().ok()?;
    let groups: Vec<&str> = subject
        .iter_organization()
        .filter_map(|group| group.as_str().ok())
        .collect();
    Some(Identity::new(user, &groups))
}

fn by_token(server: &Server, request: &Request<Incoming>) -> Option<Identity> {
    let value = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| server.authenticate_token(token.trim()))?
}
