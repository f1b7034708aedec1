//! Where a BuildKit is, and a stream of bytes to its API: a buildkitd speaks it on its socket or port, a Docker Engine after an
//! upgrade of an HTTP request.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use super::engine_http::{Place, Wire, unavailable};
use super::stream::Stream;
use crate::builder::error::BuildError;

/// The files of mutual TLS, in PEM. They are read at each connection, so that a renewed certificate is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The authorities that may have issued the certificate of the server.
    pub ca: PathBuf,
    /// The certificate of the client.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// A BuildKit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Daemon {
    /// The one in a Docker Engine.
    Engine(Place),
    /// A buildkitd of its own.
    Buildkitd {
        /// Its socket or address.
        place: Place,
        /// How it is known to be the right one.
        tls: Option<TlsFiles>,
    },
}

impl fmt::Display for Daemon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Engine(place) => write!(f, "the engine at {place}"),
            Self::Buildkitd { place, .. } => write!(f, "buildkitd at {place}"),
        }
    }
}

impl Daemon {
    /// Opens a connection.
    ///
    /// # Errors
    /// The daemon does not answer, is not the right one, or has no BuildKit.
    pub async fn connect(&self) -> Result<Box<dyn Stream>, BuildError> {
        match self {
            Self::Engine(place) => {
                let headers = [("connection", "Upgrade"), ("upgrade", "h2c")];
                let answer = Wire::new(place.clone()).post("/grpc", &headers).await?;
                let upgraded = hyper::upgrade::on(answer.response).await;
                let upgraded = upgraded.map_err(|error| unavailable(&error))?;
                // It has handed its stream over.
                drop(answer.connection);
                Ok(Box::new(TokioIo::new(upgraded)))
            }
            Self::Buildkitd { place, tls } => {
                let away =
                    |error: &dyn fmt::Display| BuildError::BuildkitUnavailable(format!("{place}: {error}"));
                let stream = place.connect().await.map_err(|error| away(&error))?;
                let Some(files) = tls else {
                    return Ok(stream);
                };
                let config = files.config().map_err(|error| away(&error))?;
                let name = place.host_name();
                let name = ServerName::try_from(name).map_err(|error| away(&error))?;
                let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
                let stream = connector
                    .connect(name, stream)
                    .await
                    .map_err(|error| away(&error))?;
                Ok(Box::new(stream))
            }
        }
    }
}

impl TlsFiles {
    fn config(&self) -> io::Result<rustls::ClientConfig> {
        let invalid = |path: &PathBuf, error: &dyn fmt::Display| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{}: {error}", path.display()),
            )
        };
        let certificates = |path: &PathBuf| -> io::Result<Vec<CertificateDer<'static>>> {
            let found = CertificateDer::pem_file_iter(path);
            let found = found.and_then(Iterator::collect::<Result<Vec<_>, _>>);
            found.map_err(|error| invalid(path, &error))
        };
        let mut roots = rustls::RootCertStore::empty();
        for certificate in certificates(&self.ca)? {
            roots
                .add(certificate)
                .map_err(|error| invalid(&self.ca, &error))?;
        }
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| invalid(&self.key, &error))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_client_auth_cert(certificates(&self.certificate)?, key)
            .map_err(|error| invalid(&self.certificate, &error))?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(config)
    }
}
