//! Commands in running containers.

use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use tokio::io::AsyncWrite;

use super::error::RuntimeError;

/// A command to run in a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecRequest {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Whether it reads from [`Exec::input`].
    pub stdin: bool,
    /// Whether it has a terminal.
    pub terminal: bool,
}

/// The size of a terminal, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TerminalSize {
    /// Its width.
    pub columns: u16,
    /// Its height.
    pub rows: u16,
}

/// Output of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecOutput {
    /// Standard output; with a terminal all output.
    Output(Bytes),
    /// Standard error.
    Error(Bytes),
}

/// A command that runs.
pub struct Exec {
    /// Its output until it ends. The runtime is read as fast as the stream is polled.
    pub output: BoxStream<'static, Result<ExecOutput, RuntimeError>>,
    /// Its standard input; to shut it down is the end of the input.
    pub input: Pin<Box<dyn AsyncWrite + Send>>,
    /// Everything else.
    pub control: Arc<dyn ExecControl>,
}

/// What can be done with a command that runs, besides reading and writing.
#[async_trait]
pub trait ExecControl: Send + Sync {
    /// Sets the size of the terminal.
    async fn resize(&self, size: TerminalSize) -> Result<(), RuntimeError>;

    /// Returns the exit code once the output has ended; `None` if the runtime does not know it.
    async fn exit_code(&self) -> Result<Option<i64>, RuntimeError>;
}
