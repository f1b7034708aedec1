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
use crate::proxy::is_for;

/// The longest that an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How much of an answer is read.
const LONGEST: usize = 64 * 1024;
/// A host that no route has.
const NO_ROUTE: &str = "davit-probe.invalid";

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
    /// Whether a resolver of Traefik gets the certificate.
    pub has_resolver: bool,
    /// Whether the proxy has shown that it has the route.
    pub is_loaded: bool,
    /// A path at which the Application answers with success.
    pub health: Option<String>,
}

/// An answer, and what it came with.
struct Seen {
    status: StatusCode,
    body: Bytes,
    expires: Option<Expiry>,
}

/// Requests a route at an entry point of the proxy.
pub async fn request(place: &Place) -> Answer {
    // Any name that the wildcard stands for.
    let host = place.host.replacen('*', "davit", 1);
    let answer = tokio::time::timeout(PATIENCE, answer(place, &host)).await;
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

async fn answer(place: &Place, host: &str) -> Result<Answer, String> {
    let Some(seen) = get(place, host, host, &place.path).await? else {
        return Ok(Answer::DefaultCertificate(NoCertificate::Unknown));
    };
    match seen.status {
        // The proxy itself answers so for a replica that does not.
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
            Err(seen.status.to_string())
        }
        // So it does for one whose answer is not of the protocol of the route.
        StatusCode::INTERNAL_SERVER_ERROR if seen.body == "Internal Server Error" => Err(format!(
            "{}, in the words of the proxy: the container may not speak the protocol of the route",
            seen.status
        )),
        StatusCode::NOT_FOUND if !place.is_loaded && !is_of_application(place, host, &seen).await? => {
            Ok(Answer::Unclear)
        }
        _ => Ok(Answer::Answered {
            expires: seen.expires,
        }),
    }
}

/// Reports whether the Application answered 404, or the proxy, which does for hosts without a route.
async fn is_of_application(place: &Place, host: &str, seen: &Seen) -> Result<bool, String> {
    if let Some(health) = &place.health
        && let Some(healthy) = get(place, host, host, health).await?
        && healthy.status.is_success()
    {
        return Ok(true);
    }
    let other = get(place, host, NO_ROUTE, &place.path).await?;
    Ok(other.is_some_and(|other| other.status != seen.status || other.body != seen.body))
}

/// Requests a path of a host. `None` if the proxy has no certificate for `server_name`.
async fn get(place: &Place, server_name: &str, host: &str, path: &str) -> Result<Option<Seen>, String> {
    let request = Request::get(if path.is_empty() { "/" } else { path })
        .header(header::HOST, host)
        .header(header::USER_AGENT, "davit-probe")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let stream = TcpStream::connect(place.entry_point)
        .await
        .map_err(|error| format!("{}: {}", place.entry_point, words(&error)))?;
    if !place.tls {
        let (status, body) = status_of(exchange(stream, request, LONGEST).await)?;
        return Ok(Some(Seen {
            status,
            body,
            expires: None,
        }));
    }
    let name = ServerName::try_from(server_name.to_owned()).map_err(|error| error.to_string())?;
    let connector = TlsConnector::from(Arc::new(client()));
    let stream = connector
        .connect(name, stream)
        .await
        .map_err(|error| words(&error))?;
    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let certificate = certificates
        .first()
        .and_then(|first| X509Certificate::from_der(first).ok());
    let Some((_, certificate)) = certificate.filter(|(_, certificate)| is_for(certificate, server_name))
    else {
        return Ok(None);
    };
    let validity = certificate.validity();
    let expires = Expiry::new(validity.not_before.timestamp(), validity.not_after.timestamp());
    let (status, body) = status_of(exchange(stream, request, LONGEST).await)?;
    Ok(Some(Seen {
        status,
        body,
        expires: Some(expires),
    }))
}

/// A body that is longer than what is read is an answer too.
fn status_of(answer: Result<(StatusCode, Bytes), String>) -> Result<(StatusCode, Bytes), String> {
    match answer {
        Err(why) if why.contains("length limit exceeded") => Ok((StatusCode::OK, Bytes::new())),
        other => other,
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// A server that answers by host and path.
    async fn server(answer: fn(host: &str, path: &str) -> (u16, &'static str)) -> SocketAddr {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut asked = Vec::new();
                while !asked.ends_with(b"\r\n\r\n") {
                    asked.push(stream.read_u8().await.unwrap());
                }
                let asked = String::from_utf8(asked).unwrap();
                let host = asked.split("host: ").nth(1).unwrap().lines().next().unwrap();
                let (status, body) = answer(host, asked.split(' ').nth(1).unwrap());
                let length = body.len();
                let text = format!(
                    "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                );
                stream.write_all(text.as_bytes()).await.unwrap();
            }
        });
        address
    }

    #[tokio::test]
    async fn answer_404_counts_if_it_is_not_that_for_hosts_without_a_route() {
        type Answers = fn(&str, &str) -> (u16, &'static str);
        let answered = Answer::Answered { expires: None };
        let missing: Answers = |_, _| (404, "404 page not found");
        let own: Answers = |host, _| {
            (
                404,
                if host == "a.example.com" {
                    "no such page"
                } else {
                    "404"
                },
            )
        };
        let healthy: Answers = |host, path| match (host, path) {
            ("a.example.com", "/up") => (200, "ok"),
            _ => (404, "404 page not found"),
        };
        for (answers, is_loaded, health, expected) in [
            (missing, false, None, Answer::Unclear),
            (missing, false, Some("/up"), Answer::Unclear),
            (missing, true, None, answered.clone()),
            (own, false, None, answered.clone()),
            (healthy, false, Some("/up"), answered.clone()),
            (healthy, false, None, Answer::Unclear),
            (|_, _| (401, ""), false, None, answered.clone()),
            (|_, _| (500, "out of order"), true, None, answered.clone()),
            (
                |_, _| (503, ""),
                true,
                None,
                Answer::None("503 Service Unavailable".to_owned()),
            ),
        ] {
            let place = Place {
                entry_point: server(answers).await,
                host: "a.example.com".to_owned(),
                path: String::new(),
                tls: false,
                has_resolver: false,
                is_loaded,
                health: health.map(str::to_owned),
            };
            assert_eq!(request(&place).await, expected, "{is_loaded} {health:?}");
        }
    }
}
