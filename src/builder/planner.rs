//! A program on Davit's machine that examines the source and writes a plan, which becomes a Dockerfile: railpack, nixpacks.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::error::{BuildError, SOURCE_PATH};
use crate::builder::contract::BuildRequest;
use crate::error::cut;
use crate::job_log::JobLog;
use crate::process::{Output, ProcessError, Program};
use crate::redact::Secret;

/// The longest plan, in bytes.
pub const LARGEST_PLAN: usize = 8 << 20;
/// How long a program may take to print its version.
const VERSION_WITHIN: Duration = Duration::from_mins(1);

/// A program that plans.
#[derive(Clone, Debug)]
pub struct Planner {
    /// Its name for messages, such as `railpack`.
    pub name: &'static str,
    /// The field that chooses its build type.
    pub field: &'static str,
    /// Its name, looked up in `path`, or its path.
    pub program: OsString,
    /// `PATH` of the program.
    pub path: OsString,
    /// Its home: a directory for what it downloads.
    pub home: PathBuf,
}

impl Planner {
    /// A program in the directories where Linux systems keep programs.
    pub fn installed(name: &'static str, field: &'static str) -> Self {
        Self {
            name,
            field,
            program: name.into(),
            path: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into(),
            home: std::env::temp_dir().join(format!("davit-{name}")),
        }
    }

    /// The program of this version: the one with the version in its name, such as `railpack-0.9.0`, or the one without if it is of
    /// that version.
    ///
    /// # Errors
    /// The program is not installed, or only another version of it: `field` chooses the version.
    pub async fn of_version(
        &self,
        wanted: &str,
        field: &'static str,
        cancel: &CancellationToken,
    ) -> Result<Self, BuildError> {
        let mut program = self.program.clone();
        program.push(format!("-{wanted}"));
        let named = Self {
            program,
            ..self.clone()
        };
        if named.version(cancel).await.is_ok_and(|version| version == wanted) {
            return Ok(named);
        }
        let installed = self.version(cancel).await?;
        if installed == wanted {
            return Ok(self.clone());
        }
        Err(BuildError::VersionMissing {
            field,
            program: self.name,
            wanted: wanted.to_owned(),
            installed,
        })
    }

    /// The version of the program, which it prints last.
    ///
    /// # Errors
    /// The program is not installed.
    pub async fn version(&self, cancel: &CancellationToken) -> Result<String, BuildError> {
        let output = self
            .run(self.base().arg("--version"), VERSION_WITHIN, cancel)
            .await?;
        if !output.ok() {
            return Err(self.missing());
        }
        let text = output.out();
        let version = text.split_whitespace().last().unwrap_or_default();
        Ok(version.trim_start_matches('v').to_owned())
    }

    /// The program in its environment, which has nothing of Davit's own.
    pub fn base(&self) -> Program {
        Program::new(&self.program)
            .env("PATH", &self.path)
            .env("HOME", &self.home)
            .env("NO_COLOR", "1")
            .kept(LARGEST_PLAN)
    }

    /// Adds variables by their names: the program reads the values from its environment, so that none is an argument of a
    /// process.
    pub fn with_variables<'a>(
        program: Program,
        variables: impl IntoIterator<Item = (&'a String, &'a Secret)>,
    ) -> Program {
        variables.into_iter().fold(program, |program, (name, value)| {
            let value = OsString::from_vec(value.expose().to_vec());
            program.arg("--env").arg(name.as_str()).env(name.as_str(), value)
        })
    }

    /// Runs the program to its end.
    ///
    /// # Errors
    /// The program is not installed, took too long or was cancelled.
    pub async fn run(
        &self,
        program: Program,
        limit: Duration,
        cancel: &CancellationToken,
    ) -> Result<Output, BuildError> {
        let ended = program.timeout(limit).run(cancel).await;
        ended.map_err(|error| match error {
            ProcessError::Cancelled { .. } => BuildError::Cancelled,
            ProcessError::Timeout { .. } => BuildError::Timeout(limit),
            ProcessError::Start { .. } => self.missing(),
            other @ ProcessError::Io { .. } => BuildError::Engine(crate::error::chain(&other)),
        })
    }

    /// The directory of the source. The home of the program is created.
    ///
    /// # Errors
    /// The directory leads out of the checkout.
    pub fn source(&self, request: &BuildRequest) -> Result<PathBuf, BuildError> {
        std::fs::create_dir_all(&self.home).map_err(BuildError::Io)?;
        let real = |path: &Path| path.canonicalize().map_err(BuildError::Io);
        let path = &request.path;
        let (root, source) = (
            real(&request.root)?,
            real(&request.root.join(path.trim_start_matches('/')))?,
        );
        if source.starts_with(&root) {
            Ok(source)
        } else {
            Err(BuildError::PathEscapes {
                field: SOURCE_PATH,
                path: path.clone(),
            })
        }
    }

    /// The error of a program that ended with an error, with the last that it said.
    pub fn failure(&self, output: &Output, said: Option<&str>, temporary: bool, log: &JobLog) -> BuildError {
        let (err, out) = (output.err(), output.out());
        let text = if err.trim().is_empty() { &out } else { &err };
        let said = said.unwrap_or_else(|| last_line(text));
        let said = cut(log.mask(said).trim(), 300);
        let message = format!("{} could not plan the build: {said}", self.name);
        if temporary {
            BuildError::Temporary(message)
        } else {
            BuildError::Failed(message)
        }
    }

    fn missing(&self) -> BuildError {
        BuildError::ProgramMissing {
            field: self.field,
            program: self.name,
        }
    }
}

fn last_line(text: &str) -> &str {
    let mut lines = text.lines().map(str::trim);
    lines.rfind(|line| !line.is_empty()).unwrap_or_default()
}
