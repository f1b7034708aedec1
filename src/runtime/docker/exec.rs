//! Runs commands in containers.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bollard::Docker;
use bollard::container::LogOutput;
use bollard::exec::{CreateExecOptions, ResizeExecOptions, StartExecOptions, StartExecResults};
use futures::StreamExt as _;
use tokio::time::{Instant, sleep};

use super::labels::app_of;
use super::{Inner, errors};
use crate::model::AppId;
use crate::runtime::rolling::Phase;
use crate::runtime::{Exec, ExecControl, ExecOutput, ExecRequest, RuntimeError, TerminalSize};

/// How much of the output is passed on at once, in bytes.
const CHUNK: usize = 64 * 1024;
/// How long the end of a command may come after that of its output, and the pause between two looks.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(10);

/// A command on the engine.
struct Command {
    docker: Docker,
    id: String,
}

impl Inner {
    /// Runs a command in a container of the Application.
    pub(super) async fn exec(
        &self,
        app: &AppId,
        replica: &str,
        request: &ExecRequest,
    ) -> Result<Exec, RuntimeError> {
        let found = self
            .inspect(replica)
            .await?
            .filter(|looked| self.names.ours(&looked.labels) && app_of(&looked.labels).as_ref() == Some(app));
        let Some(looked) = found.filter(|looked| looked.phase == Phase::Running) else {
            return Err(RuntimeError::Engine {
                doing: "run a command in the container",
                message: "it does not run any more".to_owned(),
            });
        };
        let options = CreateExecOptions {
            attach_stdin: Some(request.stdin),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            tty: Some(request.terminal),
            cmd: Some(request.command.clone()),
            ..CreateExecOptions::default()
        };
        let refused = |error| errors::error("run a command in the container", &error);
        let made = self
            .docker
            .create_exec(&looked.id, options)
            .await
            .map_err(refused)?;
        let options = StartExecOptions {
            detach: false,
            tty: request.terminal,
            output_capacity: Some(CHUNK),
        };
        let started = self
            .docker
            .start_exec(&made.id, Some(options))
            .await
            .map_err(refused)?;
        let StartExecResults::Attached { output, input } = started else {
            return Err(RuntimeError::Engine {
                doing: "run a command in the container",
                message: "the engine did not attach to it".to_owned(),
            });
        };
        let output = output.map(|part| match part {
            Ok(LogOutput::StdErr { message }) => Ok(ExecOutput::Error(message)),
            Ok(part) => Ok(ExecOutput::Output(part.into_bytes())),
            Err(error) => Err(errors::error("read the output of a command", &error)),
        });
        Ok(Exec {
            output: output.boxed(),
            input,
            control: Arc::new(Command {
                docker: self.docker.clone(),
                id: made.id,
            }),
        })
    }
}

#[async_trait]
impl ExecControl for Command {
    async fn resize(&self, size: TerminalSize) -> Result<(), RuntimeError> {
        let options = ResizeExecOptions {
            width: size.columns,
            height: size.rows,
        };
        let resized = self.docker.resize_exec(&self.id, options).await;
        resized.map_err(|error| errors::error("resize the terminal of a command", &error))
    }

    async fn exit_code(&self) -> Result<Option<i64>, RuntimeError> {
        let end = Instant::now() + PATIENCE;
        loop {
            let found = self.docker.inspect_exec(&self.id).await;
            let found = found.map_err(|error| errors::error("read the exit code of a command", &error))?;
            // The output ends a moment before the command.
            if found.running != Some(true) || Instant::now() > end {
                return Ok(found.exit_code);
            }
            sleep(LOOK).await;
        }
    }
}
