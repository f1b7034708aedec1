//! `davit exec`: a command in a replica, with a terminal if the user has one.

use std::io::{IsTerminal as _, Read as _, Write as _};

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use rustix::termios::{self, OptionalActions, Termios};
use serde_json::{Value, json};
use std::fmt::Write as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::protocol::Message;

use super::connect::{Access, Cluster};
use super::lost::why;
use super::output::note;
use super::subresource::{self, encoded};
use super::subresource_args::Exec;
use super::until::runs;
use crate::cli::failure::Failure;
use crate::subresources::channel::{
    self, CLOSE, RESIZE, STATUS, STDERR, STDIN, STDOUT, Socket, exit_code, tagged,
};

/// What follows from a connection that was lost.
const STILL_RUNS: &str = "the command may still run in the container, where davit exec NAME -- ps shows it; what it prints from now on is lost";

/// The exit code of shells for a command that does not exist.
const NOT_FOUND: u8 = 127;

/// How much of the first output is kept, in bytes: an engine writes there why a command did not start.
const KEPT: usize = 1024;

/// How much of the input is sent at once, in bytes.
const CHUNK: usize = 32 * 1024;

/// `davit exec`.
///
/// # Errors
/// No replica runs, the user may not do it, the connection is lost, or the command ends with a code other than 0, which becomes
/// that of this program.
pub async fn exec(args: Exec) -> Result<(), Failure> {
    let cluster = Cluster::for_changes(&args.connection).await?;
    cluster.application(&args.application).await?;
    let has_terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let by_itself = has_terminal && !args.stdin && !args.tty;
    if args.tty && !std::io::stdin().is_terminal() {
        let message = "--tty needs a terminal as standard input: leave it out, or use only --stdin";
        return Err(Failure::new(message));
    }
    let (stdin, tty) = (args.stdin || by_itself, args.tty || by_itself);
    if let Some(deadline) = args.wait.begin() {
        runs(&cluster, &args.application, &deadline).await?;
    }
    let socket = open(&cluster, &args, stdin, tty).await?;
    let raw = if tty { RawTerminal::enter() } else { None };
    let ended = converse(socket, stdin, tty).await;
    // Before a message is printed.
    drop(raw);
    ended
}

async fn open(cluster: &Cluster, args: &Exec, stdin: bool, tty: bool) -> Result<Socket, Failure> {
    let mut path = subresource::path(&cluster.namespace, "applications", &args.application, "exec");
    let _ = write!(path, "?stdin={stdin}&tty={tty}");
    if let Some(replica) = &args.replica {
        let _ = write!(path, "&replica={}", encoded(replica));
    }
    for word in &args.command {
        let _ = write!(path, "&command={}", encoded(word));
    }
    let opened = channel::open(&cluster.client, &path).await;
    opened.map_err(|error| cluster.refused(&error, Access::Edit))
}

/// Copies input and output until the command has ended.
async fn converse(socket: Socket, stdin: bool, tty: bool) -> Result<(), Failure> {
    let (mut sender, mut receiver) = socket.split();
    let unheard =
        |error: std::io::Error| Failure::new(format!("cannot follow the size of the terminal: {error}"));
    let mut resized = signal(SignalKind::window_change()).map_err(unheard)?;
    let (messages, mut queue) = mpsc::channel(4);
    // Beside the output: a command that writes before it reads on must not wait for this program, nor this one for it.
    let sending = tokio::spawn(async move {
        while let Some(message) = queue.recv().await {
            // The receiver reports why the connection was lost.
            if sender.send(message).await.is_err() {
                break;
            }
        }
    });
    if tty {
        let _ = messages.try_send(size());
    }
    if stdin {
        send_input(messages.clone());
    }
    let (mut status, mut begin) = (None, Vec::new());
    loop {
        tokio::select! {
            message = receiver.next() => match message {
                Some(Ok(Message::Binary(bytes))) => take(&bytes, &mut status, &mut begin)?,
                Some(Ok(Message::Close(_))) | None => break,
                Some(Ok(_)) => {}
                // After the status the connection may end in any way.
                Some(Err(_)) if status.is_some() => break,
                Some(Err(error)) => return Err(lost(&error)),
            },
            _ = resized.recv(), if tty => {
                let _ = messages.send(size()).await;
            }
        }
    }
    sending.abort();
    let status: Value = status
        .ok_or_else(|| Failure::new(format!("the connection to the API server was lost; {STILL_RUNS}")))?;
    match exit_code(&status) {
        Ok(0) => Ok(()),
        // Docker ends with 126 also if there is no such program.
        Ok(126) if begin.starts_with(b"OCI runtime") && is_missing(&begin) => {
            Err(Failure::of_command(NOT_FOUND))
        }
        Ok(code) => Err(Failure::of_command(u8::try_from(code).unwrap_or(1))),
        Err(message) if is_missing(message.as_bytes()) => {
            note(&format!("error: {message}"));
            Err(Failure::of_command(NOT_FOUND))
        }
        Err(message) => Err(Failure::new(message)),
    }
}

/// Sends standard input to its end, from a thread of its own, which does not hold up the end of the program.
fn send_input(messages: mpsc::Sender<Message>) {
    std::thread::spawn(move || {
        let mut buffer = vec![0; CHUNK];
        loop {
            let length = match std::io::stdin().lock().read(&mut buffer) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Ok(0) | Err(_) => break,
                Ok(length) => length,
            };
            let bytes = buffer.get(..length).unwrap_or_default();
            if messages.blocking_send(tagged(STDIN, bytes)).is_err() {
                return;
            }
        }
        let _ = messages.blocking_send(tagged(CLOSE, &[STDIN]));
    });
}

/// Whether an engine says that there is no such program.
fn is_missing(said: &[u8]) -> bool {
    let said = String::from_utf8_lossy(said);
    said.contains("executable file not found") || said.contains("no such file or directory")
}

/// Takes a message of the server; `begin` is the beginning of the output.
fn take(bytes: &Bytes, status: &mut Option<Value>, begin: &mut Vec<u8>) -> Result<(), Failure> {
    if let Some((&(STDOUT | STDERR), rest)) = bytes.split_first() {
        let room = KEPT.saturating_sub(begin.len()).min(rest.len());
        begin.extend_from_slice(rest.get(..room).unwrap_or_default());
    }
    match bytes.split_first() {
        Some((&STDOUT, rest)) => {
            let mut output = std::io::stdout();
            output.write_all(rest)?;
            output.flush()?;
        }
        Some((&STDERR, rest)) => {
            let _ = std::io::stderr().write_all(rest);
        }
        Some((&STATUS, rest)) => *status = serde_json::from_slice(rest).ok(),
        _ => {}
    }
    Ok(())
}

/// The size of the terminal as a message.
fn size() -> Message {
    let size = termios::tcgetwinsize(std::io::stdout());
    let (width, height) = size.map_or((80, 24), |size| (size.ws_col, size.ws_row));
    tagged(
        RESIZE,
        json!({"Width": width, "Height": height}).to_string().as_bytes(),
    )
}

fn lost(error: &(dyn std::error::Error + 'static)) -> Failure {
    Failure::new(format!(
        "the connection to the API server was lost: {}; {STILL_RUNS}",
        why(error)
    ))
}

/// The terminal without its own line editing and signals, until this is dropped.
struct RawTerminal(Termios);

impl RawTerminal {
    fn enter() -> Option<Self> {
        let before = termios::tcgetattr(std::io::stdin()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        termios::tcsetattr(std::io::stdin(), OptionalActions::Now, &raw).ok()?;
        Some(Self(before))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        let _ = termios::tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_that_does_not_exist_is_told_from_one_that_cannot_run() {
        let (mut status, mut begin) = (None, Vec::new());
        let said = "OCI runtime exec failed: exec: \"nope\": executable file not found in $PATH: unknown\r\n";
        let message = [&[STDERR], said.as_bytes()].concat();
        take(&Bytes::from(message), &mut status, &mut begin).unwrap();
        assert!(begin.starts_with(b"OCI runtime") && is_missing(&begin));
        assert!(!is_missing(
            b"OCI runtime exec failed: exec: \"/etc\": permission denied: unknown"
        ));
        let long = [vec![STDERR], vec![b'\n'; KEPT]].concat();
        take(&Bytes::from(long), &mut status, &mut begin).unwrap();
        assert_eq!(begin.len(), KEPT);
    }
}
