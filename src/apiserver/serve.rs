//! The router over TLS: one task a connection, HTTP/1.1 or HTTP/2 by ALPN.

use std::{sync::Arc, time::Duration};

use axum::Router;
use http::{Request, header};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use super::{identity::Identity, server::Server};

/// How long a client has for the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long open requests have to end when the server closes.
const DRAIN: Duration = Duration::from_secs(2);

/// Answers connections until the server closes.
pub async fn serve(server: Arc<Server>, router: Router, listener: TcpListener, tls: rustls::ServerConfig) {
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = server.closing.cancelled() => break,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, _)) => {
                connections.spawn(connection(
                    server.clone(),
                    router.clone(),
                    acceptor.clone(),
                    stream,
                ));
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
    acceptor: TlsAcceptor,
    stream: tokio::net::TcpStream,
) {
    // Watch events are small and should not wait for more.
    let _ = stream.set_nodelay(true);
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await else {
        return;
    };
    let certificate = stream
        .get_ref()
        .1
        .peer_certificates()
        .and_then(|chain| chain.first())
        .and_then(|certificate| by_certificate(certificate));
    let closing = server.closing.clone();
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        let identity = certificate.clone().or_else(|| by_token(&server, &request));
        let router = router.clone();
        async move {
            if let Some(identity) = identity {
                request.extensions_mut().insert(identity);
            }
            router.oneshot(request.map(axum::body::Body::new)).await
        }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(30));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(250);
    let served = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(served);
    tokio::select! {
        // A client that goes away in the middle is no error of ours.
        _ = served.as_mut() => {}
        () = closing.cancelled() => {
            served.as_mut().graceful_shutdown();
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
