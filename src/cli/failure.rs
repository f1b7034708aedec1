//! Why a command ends without success, and its exit code.

use std::io;
use std::process::ExitCode;

/// Exit codes. 2, wrong usage, is that of the parser of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The command, or the Release that it waited for, failed.
    Failed = 1,
    /// The Release that the command waited for was cancelled or superseded.
    Cancelled = 3,
    /// The time of `--timeout` was over first.
    TimedOut = 4,
    /// The user ended the command with Ctrl-C.
    Interrupted = 130,
}

/// Why a command ended without success.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub code: Code,
    /// The exit code of a command that ran elsewhere, which is that of the program, too.
    command: Option<u8>,
    /// The message with its prefix; empty if its reader has ended.
    message: String,
}

impl Failure {
    /// A failed command of daily use.
    pub fn new(message: impl AsRef<str>) -> Self {
        Self::with_code(Code::Failed, message)
    }

    /// A command of daily use that ends with this code.
    pub fn with_code(code: Code, message: impl AsRef<str>) -> Self {
        let message = format!("error: {}", message.as_ref());
        Self {
            code,
            command: None,
            message,
        }
    }

    /// The end of a command that ran elsewhere, which has said why itself.
    pub fn of_command(code: u8) -> Self {
        Self {
            code: Code::Failed,
            command: Some(code),
            message: String::new(),
        }
    }

    /// Returns the exit code of the program.
    pub fn exit_code(&self) -> ExitCode {
        self.command.map_or_else(|| self.code.into(), ExitCode::from)
    }

    /// Returns the message for standard error.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code as u8)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        let message = format!("davit: {error:#}");
        let code = Code::Failed;
        Self {
            code,
            command: None,
            message,
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            // The reader of the pipe has what it wanted.
            let (code, message) = (Code::Failed, String::new());
            return Self {
                code,
                command: None,
                message,
            };
        }
        Self::new(format!("cannot write the output: {error}"))
    }
}
