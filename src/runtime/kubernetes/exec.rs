//! Runs commands in Pods, through the API server and the kubelet.

use std::fmt::Write as _;
use std::sync::Arc;

use async_trait::async_trait;
use futures::SinkExt as _;
use futures::stream::{self, BoxStream, SplitStream, StreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, DuplexStream};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::protocol::Message;

use super::{Inner, errors, names};
use crate::model::AppId;
use crate::runtime::channel::{self, CLOSE, RESIZE, STATUS, STDERR, STDIN, STDOUT, Socket, tagged};
use crate::runtime::error::RUN_COMMAND as DOING;
use crate::runtime::{Exec, ExecControl, ExecOutput, ExecRequest, RuntimeError, TerminalSize};

/// How much of the input is held and sent at once, in bytes.
const CHUNK: usize = 32 * 1024;

/// How a command ended, once its output has.
type Ended = Arc<Mutex<Option<Value>>>;

/// A command in a Pod.
struct Command {
    messages: mpsc::Sender<Message>,
    ended: Ended,
}

impl Inner {
    /// Runs a command in the container of a Pod of the Application.
    pub(super) async fn exec(
        &self,
        app: &AppId,
        replica: &str,
        request: &ExecRequest,
    ) -> Result<Exec, RuntimeError> {
        let pods: Api<Pod> = self.pods(app);
        let found = pods.get_opt(replica).await;
        let found = found.map_err(|error| errors::error("get a Pod", &error))?;
        if found.is_none_or(|pod| !names::is_ours(&pod.metadata, app)) {
            return Err(RuntimeError::Engine {
                doing: DOING,
                message: "it does not exist any more".to_owned(),
            });
        }
        let socket = channel::open(&self.client, &path(app, replica, request)).await;
        let socket = socket.map_err(|error| errors::error(DOING, &error))?;
        Ok(serve(socket, request))
    }
}

/// The request as the API server takes it. With a terminal there is no error output of its own.
fn path(app: &AppId, pod: &str, request: &ExecRequest) -> String {
    let mut path = format!(
        "/api/v1/namespaces/{}/pods/{pod}/exec?container={}&stdin={}&stdout=true&stderr={}&tty={}",
        app.namespace,
        names::CONTAINER,
        request.stdin,
        !request.terminal,
        request.terminal
    );
    for word in &request.command {
        let word: String = url::form_urlencoded::byte_serialize(word.as_bytes()).collect();
        let _ = write!(path, "&command={word}");
    }
    path
}

fn serve(socket: Socket, request: &ExecRequest) -> Exec {
    let (mut sender, receiver) = socket.split();
    let (messages, mut queue) = mpsc::channel(4);
    // Ends when everything that sends has been dropped, and with it the connection.
    tokio::spawn(async move {
        while let Some(message) = queue.recv().await {
            // The receiver reports why the connection was lost.
            if sender.send(message).await.is_err() {
                return;
            }
        }
        let _ = sender.close().await;
    });
    let (input, from) = tokio::io::duplex(CHUNK);
    if request.stdin {
        tokio::spawn(send_input(from, messages.clone()));
    }
    let ended = Ended::default();
    Exec {
        output: output(receiver, Arc::clone(&ended)),
        input: Box::pin(input),
        control: Arc::new(Command { messages, ended }),
    }
}

/// Sends the input to its end.
async fn send_input(mut from: DuplexStream, messages: mpsc::Sender<Message>) {
    let mut buffer = vec![0; CHUNK];
    loop {
        let length = from.read(&mut buffer).await.unwrap_or_default();
        if length == 0 {
            break;
        }
        let bytes = buffer.get(..length).unwrap_or_default();
        if messages.send(tagged(STDIN, bytes)).await.is_err() {
            return;
        }
    }
    let _ = messages.send(tagged(CLOSE, &[STDIN])).await;
}

/// The output until the command has ended. The API server is read as fast as the stream is polled.
fn output(
    receiver: SplitStream<Socket>,
    ended: Ended,
) -> BoxStream<'static, Result<ExecOutput, RuntimeError>> {
    stream::unfold(Some((receiver, ended)), |state| async move {
        let (mut receiver, ended) = state?;
        loop {
            let bytes = match receiver.next().await {
                Some(Ok(Message::Binary(bytes))) => bytes,
                Some(Ok(Message::Close(_))) | None => return None,
                Some(Ok(_)) => continue,
                // After the status the connection may end in any way.
                Some(Err(_)) if ended.lock().is_some() => return None,
                Some(Err(error)) => return Some((Err(lost(&error.to_string())), None)),
            };
            match bytes.first() {
                Some(&STDOUT) if bytes.len() > 1 => {
                    return Some((Ok(ExecOutput::Output(bytes.slice(1..))), Some((receiver, ended))));
                }
                Some(&STDERR) if bytes.len() > 1 => {
                    return Some((Ok(ExecOutput::Error(bytes.slice(1..))), Some((receiver, ended))));
                }
                Some(&STATUS) => {
                    *ended.lock() = serde_json::from_slice(bytes.get(1..).unwrap_or_default()).ok();
                }
                _ => {}
            }
        }
    })
    .boxed()
}

fn lost(why: &str) -> RuntimeError {
    RuntimeError::Engine {
        doing: DOING,
        message: format!("the connection to the API server was lost: {why}"),
    }
}

#[async_trait]
impl ExecControl for Command {
    async fn resize(&self, size: TerminalSize) -> Result<(), RuntimeError> {
        let size = json!({"Width": size.columns, "Height": size.rows}).to_string();
        let sent = self.messages.send(tagged(RESIZE, size.as_bytes())).await;
        sent.map_err(|_| lost("it has ended"))
    }

    async fn exit_code(&self) -> Result<Option<i64>, RuntimeError> {
        let status = self.ended.lock().clone();
        let status = status.ok_or_else(|| lost("it ended before the command"))?;
        let code = channel::exit_code(&status);
        code.map(Some).map_err(|message| RuntimeError::Engine {
            doing: DOING,
            message,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_command_cannot_leave_their_parameter() {
        let request = ExecRequest {
            command: vec!["sh".to_owned(), "-c".to_owned(), "a&tty=true b".to_owned()],
            stdin: true,
            terminal: false,
        };
        assert_eq!(
            path(&AppId::new("ns", "shop"), "shop-1", &request),
            "/api/v1/namespaces/ns/pods/shop-1/exec?container=app&stdin=true&stdout=true&stderr=true&tty=false\
             &command=sh&command=-c&command=a%26tty%3Dtrue+b"
        );
    }
}
