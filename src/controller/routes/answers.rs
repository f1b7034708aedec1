//! One request to the address of a route, through the proxy.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Empty;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::client::{exchange, words};
use crate::error::cut;
use crate::plan::routes::{Answer, Expiry, NoCertificate};

/// The longest that an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How much of an answer is read.
const LONGEST: usize = 64 * 1024;
/// The name in the certificate that Traefik has when it has no other one.
const DEFAULT_CERTIFICATE: &str = "TRAEFIK DEFAULT CERT";

/// Where a route is requested.
pub struct Place {
    /// The entry point of the proxy.
    pub entry_point: SocketAddr,
    /// The host, which may be a wildcard.
    pub host: String,
    /// The path.
    pub path: String,
    /// Whether over TLS.
    pub tls: bool,
    /// Whether a resolver gets the certificate.
    pub has_resolver: bool,
}

/// Requests a route at an entry point of the proxy.
pub async fn request(place: &Place) -> Answer {
    // Any name that the wildcard stands for.
    let host = place.host.replacen('*', "davit", 1);
    let answer = answer(place.entry_point, &host, &place.path, place.tls);
    let answer = tokio::time::timeout(PATIENCE, answer).await;
    match answer {
        Ok(Ok(Answer::DefaultCertificate(_))) if place.has_resolver => {
            let resolved = tokio::time::timeout(PATIENCE, elsewhere(&host)).await;
            let why = resolved.ok().flatten();
            Answer::DefaultCertificate(why.map_or(NoCertificate::Unknown, NoCertificate::Elsewhere))
        }
        Ok(Ok(answer)) => answer,
        Ok(Err(why)) => Answer::None(cut(&why, 200)),
        Err(_) => Answer::None(format!("no answer within {PATIENCE:?}")),
    }
}

/// Says why requests of a certificate authority do not come here, if they do not.
async fn elsewhere(host: &str) -> Option<String> {
    let addresses: Vec<SocketAddr> = match tokio::net::lookup_host((host, 80)).await {
        Ok(found) => found.collect(),
        Err(_) => Vec::new(),
    };
    if addresses.is_empty() {
        return Some("the name has no address in DNS".to_owned());
    }
    for address in &addresses {
        // Whatever answers is left to the certificate authority to judge.
        if TcpStream::connect(address).await.is_ok() {
            return None;
        }
    }
    let all: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
    Some(format!(
        "the name leads to {}, where no server answers at port 80",
        all.join(", ")
    ))
}

async fn answer(entry_point: SocketAddr, host: &str, path: &str, tls: bool) -> Result<Answer, String> {
    let request = Request::get(if path.is_empty() { "/" } else { path })
        .header(header::HOST, host)
        .header(header::USER_AGENT, "davit-probe")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let stream = TcpStream::connect(entry_point)
        .await
        .map_err(|error| format!("{entry_point}: {}", words(&error)))?;
    if !tls {
        let (status, _) = status_of(exchange(stream, request, LONGEST).await)?;
        return judge(status, None);
    }
    let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    let connector = TlsConnector::from(Arc::new(client()));
    let stream = connector
        .connect(name, stream)
        .await
        .map_err(|error| words(&error))?;
    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let certificate = certificates
        .first()
        .and_then(|first| X509Certificate::from_der(first).ok());
    let expires = certificate
        .as_ref()
        .map(|(_, parsed)| parsed.validity())
        .map(|validity| Expiry::new(validity.not_before.timestamp(), validity.not_after.timestamp()));
    let is_default = certificate
        .as_ref()
        .is_some_and(|(_, parsed)| parsed.subject().to_string().contains(DEFAULT_CERTIFICATE));
    if is_default {
        return Ok(Answer::DefaultCertificate(NoCertificate::Unknown));
    }
    let (status, _) = status_of(exchange(stream, request, LONGEST).await)?;
    judge(status, expires)
}

/// A body that is longer than what is read is an answer too.
fn status_of(answer: Result<(StatusCode, Bytes), String>) -> Result<(StatusCode, Bytes), String> {
    match answer {
        Err(why) if why.contains("length limit exceeded") => Ok((StatusCode::OK, Bytes::new())),
        other => other,
    }
}

fn judge(status: StatusCode, expires: Option<Expiry>) -> Result<Answer, String> {
    match status {
        // The proxy itself answers so for a replica that does not.
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
            Err(status.to_string())
        }
        _ => Ok(Answer::Answered { expires }),
    }
}

/// A client that takes every certificate: which one there is, is what is looked at.
fn client() -> ClientConfig {
    let provider = Arc::new(ring::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap_or_else(|_| ClientConfig::builder());
    builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Any(algorithms)))
        .with_no_client_auth()
}

#[derive(Debug)]
struct Any(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Any {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
