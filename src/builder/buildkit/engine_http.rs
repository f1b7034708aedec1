//! Plain HTTP to the engine, for the call that becomes a stream of its BuildKit's API.

use std::fmt;
use std::io;
use std::path::PathBuf;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, UnixStream};
use tokio_util::task::AbortOnDropHandle;

use super::stream::Stream;
use crate::builder::error::BuildError;
use crate::error::chain;

/// The longest error text that is read from the engine, in bytes.
const LONGEST_ERROR: usize = 64 * 1024;

/// Where an engine is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Behind a socket file.
    Socket(PathBuf),
    /// At `host:port`.
    Address(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => path.display().fmt(f),
            Self::Address(address) => f.write_str(address),
        }
    }
}

impl Place {
    /// The name that a certificate is for.
    pub fn host_name(&self) -> String {
        match self {
            Self::Socket(_) => "localhost".to_owned(),
            Self::Address(address) => {
                let host = address
                    .rsplit_once(':')
                    .map_or(address.as_str(), |(host, _)| host);
                host.trim_matches(['[', ']']).to_owned()
            }
        }
    }

    /// Opens a connection.
    pub async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Socket(path) => Box::new(UnixStream::connect(path).await?),
            Self::Address(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
        })
    }
}

/// The way to the engine.
#[derive(Clone, Debug)]
pub struct Wire {
    place: Place,
}

/// An answer and the connection that it comes by.
#[derive(Debug)]
pub struct Answer {
    /// Status and body.
    pub response: Response<Incoming>,
    /// Closes the connection when dropped.
    pub connection: AbortOnDropHandle<()>,
}

impl Wire {
    /// To the engine that is there.
    pub fn new(place: Place) -> Self {
        Self { place }
    }

    /// Sends a request without a body.
    ///
    /// # Errors
    /// The engine does not answer, or answers with an error.
    pub async fn post(&self, path: &str, headers: &[(&str, &str)]) -> Result<Answer, BuildError> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(header::HOST, "docker");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request
            .body(Full::<Bytes>::default())
            .map_err(|error| BuildError::Engine(format!("make a request: {error}")))?;
        let stream = self
            .place
            .connect()
            .await
            .map_err(|error| self.unavailable(&error))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| unavailable(&error))?;
        let connection = AbortOnDropHandle::new(tokio::spawn(async move {
            // The reader of the response sees how the connection ended.
            let _ = connection.with_upgrades().await;
        }));
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| unavailable(&error))?;
        let status = response.status();
        if status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(Answer { response, connection });
        }
        let text = match Limited::new(response.into_body(), LONGEST_ERROR).collect().await {
            Ok(body) => message(&body.to_bytes()),
            Err(_) => String::new(),
        };
        if status == StatusCode::NOT_FOUND {
            return Err(BuildError::BuildkitUnsuitable(format!(
                "the engine at {} has no API of BuildKit",
                self.place
            )));
        }
        if text.contains("no space left on device") {
            return Err(BuildError::DiskFull);
        }
        Err(BuildError::Engine(
            format!("the engine answered {status} {text}")
                .trim_end()
                .to_owned(),
        ))
    }

    fn unavailable(&self, error: &io::Error) -> BuildError {
        BuildError::EngineUnavailable(format!("{}: {error}", self.place))
    }
}

/// That a connection failed.
pub fn unavailable(error: &hyper::Error) -> BuildError {
    BuildError::EngineUnavailable(chain(error))
}

fn message(body: &[u8]) -> String {
    serde_json::from_slice::<serde_json::Value>(body)
        .ok()
        .and_then(|value| value.get("message")?.as_str().map(str::to_owned))
        .unwrap_or_else(|| String::from_utf8_lossy(body).into_owned())
}
