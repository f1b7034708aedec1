//! The protocol of Kubernetes for the streams of a command, over a WebSocket: the first byte of a message is its channel.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Collected, Limited};
use hyper_util::rt::TokioIo;
use kube::client::Body;
use kube::core::Status;
use kube::{Client, Error};
use serde_json::Value;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Message, Role};

/// The name by which client and server agree on it.
pub const PROTOCOL: &str = "v5.channel.k8s.io";
/// Input of the command.
pub const STDIN: u8 = 0;
/// Output of the command.
pub const STDOUT: u8 = 1;
/// Error output of the command.
pub const STDERR: u8 = 2;
/// How the command ended, as a `Status` in JSON.
pub const STATUS: u8 = 3;
/// The size of the client's terminal, in JSON.
pub const RESIZE: u8 = 4;
/// The channel that the second byte names has ended.
pub const CLOSE: u8 = 255;

/// The longest refusal that is read, in bytes.
const LONGEST_REFUSAL: usize = 64 * 1024;

/// An open WebSocket.
pub type Socket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

/// What RFC 6455 adds to the key of the client.
const WEBSOCKET: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The answer to the key of a client that opens a WebSocket.
pub fn accept_key(key: &str) -> String {
    let text = format!("{key}{WEBSOCKET}");
    let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    STANDARD.encode(digest.as_ref())
}

/// A message of a channel.
pub fn tagged(channel: u8, bytes: &[u8]) -> Message {
    let mut message = Vec::with_capacity(bytes.len() + 1);
    message.push(channel);
    message.extend_from_slice(bytes);
    Message::Binary(message.into())
}

/// Opens a WebSocket of this protocol at an API server.
///
/// # Errors
/// The API server does not answer, or refuses, or a proxy between does not let a WebSocket through.
pub async fn open(client: &Client, path: &str) -> Result<Socket, Error> {
    let key = STANDARD.encode(uuid::Uuid::new_v4().as_bytes());
    let request = Request::get(path)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_VERSION, "13")
        .header(header::SEC_WEBSOCKET_KEY, &key)
        .header(header::SEC_WEBSOCKET_PROTOCOL, PROTOCOL)
        .body(Body::empty())
        .map_err(Error::HttpError)?;
    let answer = client.send(request).await?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(refusal(answer).await);
    }
    let accepted = answer.headers().get(header::SEC_WEBSOCKET_ACCEPT);
    if accepted.is_none_or(|accepted| accepted.as_bytes() != accept_key(&key).as_bytes()) {
        let message = "the API server does not answer as a WebSocket: a proxy between may not let it through";
        return Err(failed(StatusCode::BAD_GATEWAY, message));
    }
    let upgraded = hyper::upgrade::on(answer).await.map_err(Error::HyperError)?;
    Ok(WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Client, None).await)
}

/// The answer of an API server that is no WebSocket.
async fn refusal(answer: Response<Body>) -> Error {
    let code = answer.status();
    let body = Limited::new(answer.into_body(), LONGEST_REFUSAL).collect().await;
    let body = body.map(Collected::to_bytes).unwrap_or_default();
    match serde_json::from_slice(&body) {
        Ok(status) => Error::Api(status),
        Err(_) => failed(code, String::from_utf8_lossy(&body).trim()),
    }
}

fn failed(code: StatusCode, message: &str) -> Error {
    let reason = code.canonical_reason().unwrap_or_default();
    Error::Api(Status::failure(message, reason).with_code(code.as_u16()).boxed())
}

/// Returns the exit code in the status of a command that has ended.
///
/// # Errors
/// It did not run; why.
pub fn exit_code(status: &Value) -> Result<i64, String> {
    if status["status"] == "Success" {
        return Ok(0);
    }
    let causes = status["details"]["causes"].as_array().into_iter().flatten();
    let code = causes
        .filter(|cause| cause["reason"] == "ExitCode")
        .find_map(|cause| cause["message"].as_str()?.parse().ok());
    code.ok_or_else(|| status["message"].as_str().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_is_answered_as_in_the_rfc() {
        assert_eq!(
            accept_key("dGhlIHNhbXBsZSBub25jZQ=="),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }

    #[test]
    fn status_has_the_exit_code_or_why_there_is_none() {
        let ended = |code: &str| {
            serde_json::json!({"status": "Failure", "reason": "NonZeroExitCode", "message": "command terminated",
                "details": {"causes": [{"reason": "ExitCode", "message": code}]}})
        };
        assert_eq!(exit_code(&serde_json::json!({"status": "Success"})), Ok(0));
        assert_eq!(exit_code(&ended("7")), Ok(7));
        let failed = serde_json::json!({"status": "Failure", "message": "no such program"});
        assert_eq!(exit_code(&failed), Err("no such program".to_owned()));
    }
}
