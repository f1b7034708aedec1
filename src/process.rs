//! The one way to run a program: arguments as they are (never a shell), an environment that holds only what is given,
//! a bound on output and time, and a cancellation that ends everything the program started.

mod pipes;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncWriteExt as _;
use tokio_util::sync::CancellationToken;

use crate::redact::{MASK, Secret};
use pipes::{flatten, read_first, read_last};

/// What is kept of each output where nothing else is said, in bytes.
pub const KEPT_OUTPUT: usize = 256 * 1024;
/// How long a program may clean up after SIGTERM before SIGKILL.
const GRACE: Duration = Duration::from_secs(3);
/// How long the pipes may stay open once the whole group was killed.
const DRAIN: Duration = Duration::from_secs(2);

/// A program with its arguments and environment. `Debug` shows neither values of the environment nor masked arguments.
#[derive(Clone)]
pub struct Program {
    executable: OsString,
    args: Vec<Arg>,
    env: Vec<(OsString, OsString)>,
    dir: Option<PathBuf>,
    stdin: Option<Secret>,
    timeout: Duration,
    kept: usize,
}

#[derive(Clone)]
struct Arg {
    text: OsString,
    masked: bool,
}

/// What a program left when it had ended, whatever its exit code.
#[derive(Clone)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// The first bytes of its standard output.
    pub stdout: Vec<u8>,
    /// True where its standard output was longer.
    pub stdout_cut: bool,
    /// The last bytes of its standard error: what went wrong stands at the end.
    pub stderr: Vec<u8>,
}

/// Why there is no [`Output`].
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The program is not there or may not be run.
    #[error("{program} cannot be started")]
    Start {
        /// Its name.
        program: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It took too long, and has been ended.
    #[error("{program} did not end within {} s", .limit.as_secs())]
    Timeout {
        /// Its name.
        program: String,
        /// The limit.
        limit: Duration,
    },
    /// It was cancelled, and has ended.
    #[error("{program} was cancelled")]
    Cancelled {
        /// Its name.
        program: String,
    },
    /// Its pipes or its state could not be read.
    #[error("the output of {program} cannot be read")]
    Io {
        /// Its name.
        program: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl Program {
    /// A program by its path, or by its name where the given environment has a `PATH`. One minute, no input, an empty
    /// environment.
    pub fn new(program: impl Into<OsString>) -> Self {
        Self {
            executable: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            dir: None,
            stdin: None,
            timeout: Duration::from_mins(1),
            kept: KEPT_OUTPUT,
        }
    }

    /// Adds an argument.
    pub fn arg(mut self, text: impl Into<OsString>) -> Self {
        self.args.push(Arg {
            text: text.into(),
            masked: false,
        });
        self
    }

    /// Adds arguments.
    pub fn args<T: Into<OsString>>(self, all: impl IntoIterator<Item = T>) -> Self {
        all.into_iter().fold(self, Self::arg)
    }

    /// Adds an argument that `Debug` does not show. Other users of the machine see it all the same: nothing secret
    /// belongs here, only what would make a log line long or private.
    pub fn arg_masked(mut self, text: impl Into<OsString>) -> Self {
        self.args.push(Arg {
            text: text.into(),
            masked: true,
        });
        self
    }

    /// Sets a variable.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Sets variables.
    pub fn envs<K: Into<OsString>, V: Into<OsString>>(self, all: impl IntoIterator<Item = (K, V)>) -> Self {
        all.into_iter()
            .fold(self, |program, (name, value)| program.env(name, value))
    }

    /// Where it runs; the current directory of this process if nothing is said.
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// What it reads; nothing if nothing is said.
    pub fn stdin(mut self, bytes: Secret) -> Self {
        self.stdin = Some(bytes);
        self
    }

    /// The longest it may take.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = limit;
        self
    }

    /// How many bytes of each output are kept.
    pub fn kept(mut self, bytes: usize) -> Self {
        self.kept = bytes;
        self
    }

    /// Its name for messages, without the directory.
    pub fn name(&self) -> String {
        Path::new(&self.executable)
            .file_name()
            .unwrap_or(&self.executable)
            .to_string_lossy()
            .into_owned()
    }

    /// Runs it to its end. When `cancel` is cancelled, the time is over, or this future is dropped, the whole process
    /// group is ended, and in the first two cases waited for.
    ///
    /// # Errors
    /// It cannot be started, takes too long, or is cancelled. An exit code other than zero is no error here.
    pub async fn run(self, cancel: &CancellationToken) -> Result<Output, ProcessError> {
        let name = self.name();
        if cancel.is_cancelled() {
            return Err(ProcessError::Cancelled { program: name });
        }
        let mut child = self.spawn().map_err(|source| ProcessError::Start {
            program: name.clone(),
            source,
        })?;
        let group = Group::of(&child);
        if let (Some(mut pipe), Some(input)) = (child.stdin.take(), self.stdin.clone()) {
            // A program that does not read its input ends it; that shows in its exit code.
            tokio::spawn(async move { pipe.write_all(input.expose()).await });
        }
        let stdout = tokio::spawn(read_first(child.stdout.take(), self.kept));
        let stderr = tokio::spawn(read_last(child.stderr.take(), self.kept));

        let io = |source| ProcessError::Io {
            program: name.clone(),
            source,
        };
        let status = tokio::select! {
            status = child.wait() => Ok(status.map_err(io)?),
            () = cancel.cancelled() => Err(ProcessError::Cancelled { program: name.clone() }),
            () = tokio::time::sleep(self.timeout) => {
                Err(ProcessError::Timeout { program: name.clone(), limit: self.timeout })
            }
        };
        if status.is_err() {
            group.signal(Signal::TERM);
            if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
                group.signal(Signal::KILL);
                child.wait().await.map_err(io)?;
            }
        }
        // What the program left behind must not outlive it, and would keep its pipes open.
        group.signal(Signal::KILL);
        group.disarm();
        // A pipe ends when the last process that holds it has gone, so this waits for those of the group too.
        let stdout = tokio::time::timeout(DRAIN, stdout).await;
        let stderr = tokio::time::timeout(DRAIN, stderr).await;
        let status = status?;
        let (stdout, stdout_cut) = flatten(stdout).map_err(io)?;
        let stderr = flatten(stderr).map_err(io)?;
        Ok(Output {
            status,
            stdout,
            stdout_cut,
            stderr,
        })
    }

    /// Becomes the program: returns only if that fails. Unlike in [`Program::run`] the environment is kept.
    pub fn exec(self) -> io::Error {
        #[expect(clippy::disallowed_methods, reason = "this is the one place")]
        let mut command = std::process::Command::new(&self.executable);
        command.args(self.args.iter().map(|arg| &arg.text)).envs(self.env);
        command.exec()
    }

    fn spawn(&self) -> io::Result<tokio::process::Child> {
        #[expect(clippy::disallowed_methods, reason = "this is the one place")]
        let mut command = tokio::process::Command::new(&self.executable);
        command
            .args(self.args.iter().map(|arg| &arg.text))
            .env_clear()
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(if self.stdin.is_some() {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        command.spawn()
    }
}

impl Output {
    /// True where it ended with exit code zero.
    pub fn ok(&self) -> bool {
        self.status.success()
    }

    /// The exit code; 128 and the signal's number where a signal ended it, as shells count.
    pub fn code(&self) -> i32 {
        self.status
            .code()
            .unwrap_or_else(|| 128 + self.status.signal().unwrap_or_default())
    }

    /// Its standard output as text.
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Its standard error as text.
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "exit code {}, {} B of output, {:?}",
            self.code(),
            self.stdout.len(),
            self.err()
        )
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, _) in &self.env {
            write!(f, "{}={MASK} ", name.to_string_lossy())?;
        }
        f.write_str(&self.name())?;
        for arg in &self.args {
            let text: &OsStr = if arg.masked { OsStr::new(MASK) } else { &arg.text };
            write!(f, " {}", text.to_string_lossy())?;
        }
        Ok(())
    }
}

/// The process group of a child, ended when dropped before [`Group::disarm`]: so that a task that is aborted leaves
/// nothing running.
struct Group(std::cell::Cell<Option<Pid>>);

impl Group {
    fn of(child: &tokio::process::Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self(std::cell::Cell::new(id.and_then(Pid::from_raw)))
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.0.get() {
            // It fails only if every process of the group has ended.
            kill_process_group(group, signal).ok();
        }
    }

    fn disarm(&self) {
        self.0.set(None);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

#[cfg(test)]
mod tests;
