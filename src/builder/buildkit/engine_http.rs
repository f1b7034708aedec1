//! Plain HTTP to the engine, for the three calls that a client library does not offer as they are needed:
//! `/session`, `/build` in that session with an id of our own, and `/build/cancel`. One connection a call, closed when
//! it is dropped: that alone makes the engine give up the work.

use std::fmt;
use std::io;
use std::path::PathBuf;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_util::task::AbortOnDropHandle;

use super::long_target::{LONGEST, LongTarget, STAND_IN};
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

/// A connection to it.
trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

impl Place {
    async fn connect(&self) -> io::Result<Box<dyn Connection>> {
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
    pub async fn post(&self, path_and_query: &str, headers: &[(&str, &str)]) -> Result<Answer, BuildError> {
        let is_long = path_and_query.len() > LONGEST;
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(if is_long { STAND_IN } else { path_and_query })
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
        let stream = LongTarget::new(stream, "POST", is_long.then_some(path_and_query));
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
