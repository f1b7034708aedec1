//! The TLS listener: HTTP/1.1 and HTTP/2, with the name in the client's certificate for each request.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use rustls::ServerConfig;
use rustls::server::{ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::front_proxy::FrontProxy;
use crate::http::accept;

/// Open connections; the API server needs one for each stream at most.
const CONNECTIONS: usize = 1024;
const HANDSHAKE: Duration = Duration::from_secs(10);
const HEADERS: Duration = Duration::from_secs(100);
const HEADER_BYTES: usize = 64 * 1024;

/// The common name in the verified certificate of the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommonName(pub String);

/// Serves until `stop`.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    identity: Arc<CertifiedKey>,
    proxy: watch::Receiver<Option<Arc<FrontProxy>>>,
    stop: CancellationToken,
) {
    accept(
        listener,
        CONNECTIONS,
        stop.clone(),
        || {},
        |stream| {
            let known = proxy.borrow().clone();
            let config = known.and_then(|known| config(&known, &identity));
            let (router, stop) = (router.clone(), stop.clone());
            async move {
                // Before the API server publishes its way to sign in, no client can sign in.
                if let Some(config) = config {
                    connection(stream, router, config, stop).await;
                }
            }
        },
    )
    .await;
}

/// A client must have a certificate of the front proxy's authority.
fn config(proxy: &FrontProxy, identity: &CertifiedKey) -> Option<Arc<ServerConfig>> {
    let verifier = WebPkiClientVerifier::builder(Arc::new(proxy.roots.clone())).build();
    let verifier = match verifier {
        Ok(verifier) => verifier,
        Err(error) => {
            tracing::warn!(%error, "the API server's front-proxy authority cannot be used");
            return None;
        }
    };
    let resolver: Arc<dyn ResolvesServerCert> = Arc::new(SingleCertAndKey::from(identity.clone()));
    let mut config = ServerConfig::builder()
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Some(Arc::new(config))
}

async fn connection(stream: TcpStream, router: Router, config: Arc<ServerConfig>, stop: CancellationToken) {
    let _ = stream.set_nodelay(true);
    let accepting = TlsAcceptor::from(config).accept(stream);
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, accepting).await else {
        return;
    };
    let (_, session) = stream.get_ref();
    let name = session
        .peer_certificates()
        .and_then(|chain| chain.first())
        .and_then(|certificate| common_name(certificate));
    let is_http2 = session.alpn_protocol() == Some(b"h2");
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        let router = router.clone();
        if let Some(name) = &name {
            request.extensions_mut().insert(CommonName(name.clone()));
        }
        async move { router.oneshot(request.map(Body::new)).await }
    });
    let builder = Builder::new(TokioExecutor::new());
    let mut builder = if is_http2 {
        builder.http2_only()
    } else {
        builder.http1_only()
    };
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .max_buf_size(HEADER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(HEADER_BYTES).unwrap_or(u32::MAX));
    let served = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(served);
    tokio::select! {
        // A client that closes its connection early is not an error of this process.
        _ = served.as_mut() => {}
        () = stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            let _ = served.await;
        }
    }
}

fn common_name(der: &[u8]) -> Option<String> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    let name = certificate.subject().iter_common_name().next()?.as_str().ok()?;
    Some(name.to_owned())
}
