//! A program on Davit's machine that examines the source and writes a plan, which becomes a Dockerfile: railpack, nixpacks.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::error::{BuildError, SOURCE_PATH};
use super::links;
use crate::builder::contract::BuildRequest;
use crate::error::cut;
use crate::job_log::JobLog;
use crate::process::{Output, ProcessError, Program};
use crate::redact::Secret;

/// The longest plan, in bytes.
pub const LARGEST_PLAN: usize = 8 << 20;
/// The exit code of a program that SIGKILL ended, as the kernel does when the memory runs out.
const KILLED: i32 = 137;
/// How long a program may take to print its version.
const VERSION_WITHIN: Duration = Duration::from_mins(1);

/// The variables that name a file which a program reads, and of which it repeats a part if that is not valid.
const CONFIG_FILES: [&str; 2] = ["NIXPACKS_CONFIG_FILE", "RAILPACK_CONFIG_FILE"];

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
            // railpack keeps the programs that it downloads and runs in `railpack/mise` of the directory of temporary files, which
            // all users of the machine share otherwise.
            .env("TMPDIR", &self.home)
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

    /// The directory of the source, in which no link leads out of the checkout. The home of the program is created.
    ///
    /// # Errors
    /// The directory, or a symbolic link in it, leads out of the checkout.
    pub async fn source(&self, request: &BuildRequest) -> Result<PathBuf, BuildError> {
        let (tool, request) = (self.clone(), request.clone());
        let found = tokio::task::spawn_blocking(move || {
            tool.make_home().map_err(BuildError::Io)?;
            let source = Self::directory(&request)?;
            links::check(&request.root, &request.path)?;
            check_variables(&request)?;
            Ok(source)
        });
        found
            .await
            .unwrap_or_else(|error| Err(BuildError::Engine(format!("a task ended early: {error}"))))
    }

    /// Makes the home with access for Davit only: a planner runs programs that it finds there.
    fn make_home(&self) -> std::io::Result<()> {
        let mut maker = std::fs::DirBuilder::new();
        maker.recursive(true).mode(0o700).create(&self.home)?;
        std::fs::set_permissions(&self.home, std::fs::Permissions::from_mode(0o700))
    }

    fn directory(request: &BuildRequest) -> Result<PathBuf, BuildError> {
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
        let code = output.code();
        if code == KILLED {
            return BuildError::OutOfMemory {
                step: format!("{} on Davit's machine", self.name),
                limited: false,
            };
        }
        let (err, out) = (output.err(), output.out());
        let text = if err.trim().is_empty() { &out } else { &err };
        let said = said.unwrap_or_else(|| last_line(text));
        let said = cut(log.mask(said).trim(), 300);
        let message = format!(
            "{} could not plan the build: {}",
            self.name,
            in_words(&said, code)
        );
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

/// What a program said, or how it ended if it said nothing.
fn in_words(said: &str, code: i32) -> String {
    match (said, code) {
        ("", 129..) => format!("it was ended by signal {}, and said nothing", code - 128),
        ("", _) => format!("it ended with exit code {code}, and said nothing"),
        (said, _) => said.to_owned(),
    }
}

/// Refuses a variable that lets the program read a file outside of the checkout.
fn check_variables(request: &BuildRequest) -> Result<(), BuildError> {
    for (name, value) in request.args.iter().chain(&request.secrets) {
        let Some(field) = CONFIG_FILES.into_iter().find(|field| *field == name.as_str()) else {
            continue;
        };
        let file = Path::new(OsStr::from_bytes(value.expose()));
        if links::leads_out(&request.root, &request.path, file)? {
            return Err(BuildError::PathEscapes {
                field,
                path: format!("the file of {name}"),
            });
        }
    }
    Ok(())
}

fn last_line(text: &str) -> &str {
    let mut lines = text.lines().map(str::trim);
    lines.rfind(|line| !line.is_empty()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_said_nothing_ended_somehow() {
        for (said, code, words) in [
            ("no start command", 1, "no start command"),
            ("", 75, "it ended with exit code 75, and said nothing"),
            ("", 143, "it was ended by signal 15, and said nothing"),
        ] {
            assert_eq!(in_words(said, code), words);
        }
    }

    #[tokio::test]
    async fn files_of_the_program_are_in_its_own_directory() {
        let dir = tempfile::tempdir().unwrap();
        let tool = Planner {
            program: "env".into(),
            home: dir.path().join("cache/railpack"),
            ..Planner::installed("railpack", "spec.build.railpack")
        };
        let mode = || tool.home.metadata().unwrap().permissions().mode() & 0o777;
        tool.make_home().unwrap();
        assert_eq!(mode(), 0o700);
        // One of an earlier version.
        std::fs::set_permissions(&tool.home, std::fs::Permissions::from_mode(0o755)).unwrap();
        tool.make_home().unwrap();
        assert_eq!(mode(), 0o700);
        let output = tool
            .run(tool.base(), VERSION_WITHIN, &CancellationToken::new())
            .await
            .unwrap();
        for name in ["HOME", "TMPDIR"] {
            let line = format!("{name}={}", tool.home.display());
            assert!(
                output.out().lines().any(|found| found == line),
                "{line}: {}",
                output.out()
            );
        }
    }
}
