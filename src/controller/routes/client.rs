//! Requests to the API of the proxy, over plain HTTP on this machine.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::observed::ApiAddress;
use crate::error::chain;

/// The longest that an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest answer.
const LONGEST: usize = 16 * 1024 * 1024;

/// Why there is no answer.
#[derive(Debug)]
pub enum Failure {
    /// The API refuses the credential, or fails.
    Refused(StatusCode),
    /// There is no connection.
    Unreachable(String),
}

/// A client of the API.
pub struct Client<'a> {
    api: &'a ApiAddress,
}

impl<'a> Client<'a> {
    /// Connects at each request.
    pub fn new(api: &'a ApiAddress) -> Self {
        Self { api }
    }

    /// Returns the answer; `None` if the API answers 404.
    pub async fn get(&self, path: &str) -> Result<Option<Bytes>, Failure> {
        let mut request = Request::get(path).header(header::HOST, &self.api.authority);
        if let Some(credential) = self
            .api
            .credential
            .as_ref()
            .and_then(|secret| secret.expose_str())
        {
            let mut value = HeaderValue::from_str(&format!("Basic {credential}"))
                .map_err(|error| Failure::Unreachable(error.to_string()))?;
            value.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, value);
        }
        let request = request
            .body(Empty::new())
            .map_err(|error| Failure::Unreachable(error.to_string()))?;
        let exchange = async {
            let stream = TcpStream::connect(&self.api.authority)
                .await
                .map_err(|error| words(&error))?;
            exchange(stream, request, LONGEST).await
        };
        let (status, body) = tokio::time::timeout(PATIENCE, exchange)
            .await
            .map_err(|_| Failure::Unreachable(format!("no answer within {PATIENCE:?}")))?
            .map_err(Failure::Unreachable)?;
        match status {
            StatusCode::OK => Ok(Some(body)),
            StatusCode::NOT_FOUND => Ok(None),
            status => Err(Failure::Refused(status)),
        }
    }
}

/// The operating system's words without its number.
pub fn words(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

/// Sends a request over a connection of its own, and reads at most so many bytes of the answer's body.
pub async fn exchange<S>(
    stream: S,
    request: Request<Empty<Bytes>>,
    limit: usize,
) -> Result<(StatusCode, Bytes), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| chain(&error))?;
    let answer = async move {
        let answer = sender
            .send_request(request)
            .await
            .map_err(|error| chain(&error))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), limit).collect().await;
        Ok::<_, String>((status, body.map(http_body_util::Collected::to_bytes)))
    };
    // The connection ends when the exchange has, and why it ended the exchange says.
    let (answer, _) = futures::join!(answer, connection);
    let (status, body): (StatusCode, Result<Bytes, _>) = answer?;
    body.map(|body| (status, body)).map_err(|error| error.to_string())
}
