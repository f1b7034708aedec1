//! `applications/NAME/exec`: a command in a replica, over a WebSocket with the protocol `v5.channel.k8s.io` of Kubernetes.
//!
//! A WebSocket begins as a GET request. The API server, or the aggregation of this program, has checked `create` for it, too.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use kube::Api;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncWriteExt as _, DuplexStream};
use tokio::time::{Instant, interval_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocketConfig};

use super::failure::Failure;
use super::log_source::{is_named, label};
use super::lookup;
use super::parameters::Parameters;
use super::target::Target;
use crate::api::Application;
use crate::controller::context::Context;
use crate::controller::logs;
use crate::controller::problem::cluster_problem;
use crate::error::Problem;
use crate::model::AppId;
use crate::runtime::channel::{
    CLOSE, PROTOCOL, RESIZE, STATUS, STDERR, STDIN, STDOUT, Socket, accept_key, tagged,
};
use crate::runtime::{Exec, ExecControl, ExecOutput, ExecRequest, Replica, ReplicaState, TerminalSize};

/// How often the client is pinged, so that no proxy between closes an idle connection.
const PING: Duration = Duration::from_secs(30);
/// The largest message of a client, in bytes.
const LARGEST: usize = 1 << 20;

/// `applications/NAME/exec`.
pub(super) async fn exec(
    controller: &Arc<Context>,
    target: &Target,
    parameters: &Parameters,
    mut request: Request<Body>,
) -> Result<Response, Failure> {
    let wanted = ExecRequest {
        command: parameters.all("command").map(str::to_owned).collect(),
        stdin: parameters.flag("stdin")?,
        terminal: parameters.flag("tty")?,
    };
    if wanted.command.is_empty() {
        let message = "the parameter command is missing: repeat it for the program and each argument";
        return Err(Failure::bad_request(message));
    }
    let accept = accept(request.headers())?;
    let api: Api<Application> = Api::namespaced(controller.client.clone(), &target.namespace);
    let app = lookup::object(&api, target, &controller.applications).await?;
    let redaction = logs::redaction(controller, &app).await;
    let redaction = redaction.map_err(|error| cluster_problem("read the Releases", &error))?;
    let id = AppId::new(&*target.namespace, &*target.name);
    let running = controller.runtime.observe(&id, &redaction).await;
    let running = running.map_err(|error| Problem::of(&error))?;
    let replica = choose(running.replicas, parameters.text("replica"), target)?;
    let begun = controller.runtime.exec(&id, &replica.id, &wanted).await;
    let exec = begun.map_err(|error| Problem::of(&error))?;
    tracing::info!(app = %id, replica = label(&replica), "a command runs in a container");
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        match upgrade.await {
            Ok(upgraded) => {
                let config = WebSocketConfig::default().max_message_size(Some(LARGEST));
                let io = TokioIo::new(upgraded);
                let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
                serve(socket, exec).await;
            }
            Err(error) => tracing::debug!(%error, "the connection of a command ended early"),
        }
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
    Ok(response)
}

/// Checks the handshake, and returns the answer to the client's key.
fn accept(headers: &HeaderMap) -> Result<HeaderValue, Failure> {
    let words = |name: header::HeaderName| {
        let values = headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok());
        let words = values.flat_map(|value| value.split(',')).map(str::trim);
        words.map(str::to_ascii_lowercase).collect::<Vec<_>>()
    };
    if !words(header::UPGRADE).contains(&"websocket".to_owned())
        || !words(header::SEC_WEBSOCKET_VERSION).contains(&"13".to_owned())
    {
        let message = "exec needs a WebSocket: use davit exec, or a client for WebSockets";
        return Err(Failure::bad_request(message));
    }
    if !words(header::SEC_WEBSOCKET_PROTOCOL).contains(&PROTOCOL.to_owned()) {
        let message = format!("the WebSocket has no protocol that is known here: offer {PROTOCOL}");
        return Err(Failure::bad_request(message));
    }
    let key = headers
        .get(header::SEC_WEBSOCKET_KEY)
        .and_then(|key| key.to_str().ok());
    let key = key.ok_or_else(|| Failure::bad_request("the header Sec-WebSocket-Key is missing"))?;
    let accept = accept_key(key);
    HeaderValue::from_str(&accept)
        .map_err(|_| Failure::bad_request("the header Sec-WebSocket-Key is invalid"))
}

/// The replica that is named, else a healthy one, else one that runs.
fn choose(replicas: Vec<Replica>, name: Option<&str>, target: &Target) -> Result<Replica, Failure> {
    let runs = |replica: &Replica| {
        matches!(
            replica.state,
            ReplicaState::Healthy | ReplicaState::Starting | ReplicaState::Unhealthy(_)
        )
    };
    let mut running: Vec<Replica> = replicas.into_iter().filter(|replica| runs(replica)).collect();
    running.sort_by_key(|replica| (replica.state != ReplicaState::Healthy, !replica.serving));
    let labels: Vec<String> = running.iter().map(label).collect();
    let chosen = running
        .into_iter()
        .find(|replica| name.is_none_or(|name| is_named(replica, name)));
    chosen.ok_or_else(|| {
        let runs = if labels.is_empty() {
            format!("no container of Application {:?} runs", target.name)
        } else {
            format!("of Application {:?} run {}", target.name, labels.join(", "))
        };
        match name {
            Some(name) => Failure::not_found(&format!("replica {name:?} does not run: {runs}"), target),
            None => Failure::conflict(format!("{runs}: see davit status {}", target.name)),
        }
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Resize {
    width: u16,
    height: u16,
}

/// Passes messages on until the command has ended or the client has gone.
async fn serve(socket: Socket, exec: Exec) {
    let (sender, receiver) = socket.split();
    let (input, mut output) = (exec.input, exec.output);
    // The input is written beside the rest: a command that does not read must not hold up its output.
    let (pipe, mut from_client) = tokio::io::duplex(256 * 1024);
    let writing = tokio::spawn(async move {
        let mut input = input;
        let _ = tokio::io::copy(&mut from_client, &mut input).await;
        let _ = input.shutdown().await;
    });
    let (gone, mut left) = tokio::sync::oneshot::channel();
    let reading = tokio::spawn(receive(receiver, pipe, Arc::clone(&exec.control), gone));
    let mut sender = sender;
    let mut ping = interval_at(Instant::now() + PING, PING);
    loop {
        let message = tokio::select! {
            part = output.next() => match part {
                Some(Ok(ExecOutput::Output(bytes))) => tagged(STDOUT, &bytes),
                Some(Ok(ExecOutput::Error(bytes))) => tagged(STDERR, &bytes),
                Some(Err(error)) => {
                    end(&mut sender, &failure(&Problem::of(&error).message)).await;
                    break;
                }
                None => {
                    let status = match exec.control.exit_code().await {
                        Ok(code) => status(code),
                        Err(error) => failure(&Problem::of(&error).message),
                    };
                    end(&mut sender, &status).await;
                    break;
                }
            },
            _ = ping.tick() => Message::Ping(Bytes::new()),
            _ = &mut left => break,
        };
        if sender.send(message).await.is_err() {
            break;
        }
    }
    // Without its client a command gets the end of its input, at which a shell ends.
    reading.abort();
    if tokio::time::timeout(PING, writing).await.is_err() {
        tracing::debug!("a command does not read its input");
    }
}

/// Takes the messages of the client until it has gone.
async fn receive(
    mut receiver: SplitStream<Socket>,
    input: DuplexStream,
    control: Arc<dyn ExecControl>,
    _gone: tokio::sync::oneshot::Sender<()>,
) {
    let mut input = Some(input);
    while let Some(Ok(message)) = receiver.next().await {
        let bytes = match message {
            Message::Binary(bytes) => bytes,
            Message::Text(text) => Bytes::from(text),
            Message::Close(_) => return,
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => continue,
        };
        match bytes.split_first() {
            Some((&STDIN, rest)) => {
                if let Some(pipe) = &mut input
                    && pipe.write_all(rest).await.is_err()
                {
                    input = None;
                }
            }
            Some((&RESIZE, rest)) => {
                if let Ok(size) = serde_json::from_slice::<Resize>(rest) {
                    let size = TerminalSize {
                        columns: size.width,
                        rows: size.height,
                    };
                    if let Err(error) = control.resize(size).await {
                        tracing::debug!(%error, "the terminal of a command keeps its size");
                    }
                }
            }
            // The end of the input.
            Some((&CLOSE, [STDIN])) => input = None,
            _ => {}
        }
    }
}

async fn end(sender: &mut SplitSink<Socket, Message>, status: &Value) {
    let _ = sender.send(tagged(STATUS, status.to_string().as_bytes())).await;
    let _ = sender.close().await;
}

/// The exit code as Kubernetes reports it.
fn status(code: Option<i64>) -> Value {
    match code {
        Some(0) => json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}),
        Some(code) => json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "reason": "NonZeroExitCode", "message": format!("command terminated with exit code {code}"),
            "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]}}),
        None => failure("the exit code of the command is not known"),
    }
}

fn failure(message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "InternalError",
        "message": message, "code": 500})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_without_a_websocket_is_refused() {
        let mut headers = HeaderMap::new();
        assert!(accept(&headers).is_err());
        for (name, value) in [
            ("upgrade", "WebSocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-protocol", "v4.channel.k8s.io"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        assert!(accept(&headers).is_err());
        headers.append(
            "sec-websocket-protocol",
            HeaderValue::from_static("x, v5.channel.k8s.io"),
        );
        assert_eq!(accept(&headers).unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
