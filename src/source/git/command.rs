//! The git executable as Davit runs it: a fixed configuration, a private directory for the time of one conversation,
//! and a credential that reaches only its own server.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::error::SourceError;
use super::errors::classify;
use super::options::GitOptions;
use super::remote::GitRemote;
use super::{ssh, url};
use crate::model::GitCredential;
use crate::process::{Output, ProcessError, Program};
use crate::redact::{Masker, Secret};

/// The configuration that takes the place of the user's and the machine's.
const CONFIG: &str = include_str!("gitconfig");
/// Where a system keeps the certificates that it trusts; Debian's first.
const SYSTEM_CA: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// The longest that a command may take that only works on this machine.
const LOCAL: Duration = Duration::from_mins(5);

/// What all commands share.
#[derive(Debug)]
pub(super) struct Runner {
    options: GitOptions,
    config: PathBuf,
    home: PathBuf,
    temporary: PathBuf,
}

impl Runner {
    /// Prepares the directories beneath the cache's, and empties that of conversations which a crash has ended.
    pub(super) fn new(options: GitOptions) -> io::Result<Self> {
        let dir = &options.cache_dir;
        if !ssh::is_usable(dir) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the cache's directory must be absolute and have no quotes, backslashes or dollar signs",
            ));
        }
        let (config, home, temporary) = (dir.join("gitconfig"), dir.join("home"), dir.join("tmp"));
        match std::fs::remove_dir_all(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        for each in [&home, &temporary] {
            std::fs::create_dir_all(each)?;
        }
        std::fs::write(&config, CONFIG)?;
        Ok(Self {
            options,
            config,
            home,
            temporary,
        })
    }

    pub(super) fn options(&self) -> &GitOptions {
        &self.options
    }

    /// A private directory (mode 0700) for the time of one conversation or command.
    pub(super) fn private_dir(&self) -> Result<TempDir, SourceError> {
        tempfile::Builder::new()
            .prefix("call-")
            .tempdir_in(&self.temporary)
            .map_err(|error| SourceError::io("make a private directory for git", error))
    }

    /// A command without network access.
    pub(super) fn local(&self) -> Program {
        self.base().env("GIT_ALLOW_PROTOCOL", "none").timeout(LOCAL)
    }

    fn base(&self) -> Program {
        Program::new(&self.options.program)
            .env("PATH", &self.options.path)
            .envs(self.options.environment.iter().cloned())
            .env("HOME", &self.home)
            .env("XDG_CONFIG_HOME", &self.home)
            .env("LC_ALL", "C")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", &self.config)
            .env("GIT_ATTR_NOSYSTEM", "1")
            // Where it asks without a repository, it must not find one that the cache happens to lie in.
            .env("GIT_CEILING_DIRECTORIES", &self.options.cache_dir)
            .env("GIT_NO_REPLACE_OBJECTS", "1")
            .env("GIT_PROTOCOL_FROM_USER", "0")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_LFS_SKIP_SMUDGE", "1")
            .dir(&self.home)
    }

    /// Runs a command without network access; it fails only because of git or the disk.
    pub(super) async fn run_local(
        &self,
        doing: &str,
        remote: &GitRemote,
        program: Program,
        cancel: &CancellationToken,
    ) -> Result<Output, SourceError> {
        let output = run(program, cancel).await?;
        if output.ok() {
            return Ok(output);
        }
        // A broken cache may use words that elsewhere mean the remote side.
        Err(match classify(remote, doing, &output.err()) {
            error @ (SourceError::DiskFull { .. }
            | SourceError::Refused { .. }
            | SourceError::Failed { .. }) => error,
            _ => SourceError::Failed {
                doing: format!("{doing} {}", remote.url),
                said: crate::error::cut(output.err().trim(), 400),
            },
        })
    }
}

/// One conversation with the server of one remote. Its private directory goes with it.
pub(super) struct Conversation<'a> {
    runner: &'a Runner,
    remote: &'a GitRemote,
    dir: TempDir,
    env: Vec<(OsString, OsString)>,
    masker: Masker,
}

impl<'a> Conversation<'a> {
    /// Checks address and credential, and lays the credential out for git.
    pub(super) fn open(runner: &'a Runner, remote: &'a GitRemote) -> Result<Self, SourceError> {
        url::check(remote, runner.options.allow_file)?;
        url::check_credential(remote)?;
        let mut conversation = Self {
            runner,
            remote,
            dir: runner.private_dir()?,
            env: Vec::new(),
            masker: Masker::new(&remote.credential.secrets()),
        };
        conversation
            .lay_out()
            .map_err(|error| SourceError::io("lay out the credential for git", error))?;
        Ok(conversation)
    }

    fn lay_out(&mut self) -> io::Result<()> {
        let scheme = self.remote.url.expose().scheme();
        self.set("GIT_ALLOW_PROTOCOL", scheme);
        match &self.remote.credential {
            GitCredential::Basic { username, password } => {
                let pair = Secret::pair(username, password);
                let pair = base64::engine::general_purpose::STANDARD.encode(pair.expose());
                self.set_header(&format!("Authorization: Basic {pair}"));
            }
            GitCredential::Bearer(token) => {
                let token = token.expose_str().unwrap_or_default();
                self.set_header(&format!("Authorization: Bearer {token}"));
            }
            GitCredential::Ssh {
                key,
                known_hosts,
                ignore_host_key,
            } => {
                self.write("key", key.expose())?;
                if let Some(lines) = known_hosts {
                    self.write("known_hosts", format!("{}\n", lines.trim_end()).as_bytes())?;
                }
                let config = ssh::config(self.dir.path(), *ignore_host_key, 20);
                self.write(ssh::CONFIG, config.as_bytes())?;
                let link = self.dir.path().join(ssh::LINK);
                std::os::unix::fs::symlink(&self.runner.options.davit, &link)?;
                self.set("GIT_SSH", &link);
                self.set("GIT_SSH_VARIANT", "ssh");
            }
            GitCredential::Anonymous => {}
        }
        if let Some(own) = &self.remote.ca {
            let mut all = SYSTEM_CA
                .iter()
                .find_map(|path| std::fs::read(path).ok())
                .unwrap_or_default();
            all.push(b'\n');
            all.extend(own);
            self.write("ca.pem", &all)?;
            self.set("GIT_SSL_CAINFO", self.dir.path().join("ca.pem"));
        }
        Ok(())
    }

    /// A header for this server and no other. In the environment, which only the same user and root can see; an
    /// argument everybody could.
    fn set_header(&mut self, header: &str) {
        let url = self.remote.url.expose();
        let origin = url.origin().ascii_serialization();
        self.set("GIT_CONFIG_COUNT", "1");
        self.set("GIT_CONFIG_KEY_0", format!("http.{origin}/.extraHeader"));
        self.set("GIT_CONFIG_VALUE_0", header);
    }

    fn set(&mut self, name: &str, value: impl Into<OsString>) {
        self.env.push((name.into(), value.into()));
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(self.dir.path().join(name))?
            .write_all(bytes)
    }

    /// The address as an argument; it holds no credential.
    pub(super) fn url(&self) -> &str {
        self.remote.url.expose().as_str()
    }

    /// A command that may connect to the server of the source, and to no other.
    pub(super) fn git(&self) -> Program {
        self.runner.base().envs(self.env.iter().cloned())
    }

    /// ssh to the server, with the destination; a command for the server follows.
    pub(super) fn ssh(&self) -> Program {
        let url = self.remote.url.expose();
        let user = match url.username() {
            "" => String::new(),
            user => format!("{user}@"),
        };
        let host = url.host_str().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let program = Program::new("ssh")
            .env("PATH", &self.runner.options.path)
            .env("HOME", &self.runner.home)
            .env("LC_ALL", "C")
            .arg("-F")
            .arg(self.dir.path().join(ssh::CONFIG));
        let program = match url.port() {
            Some(port) => program.args(["-p".to_owned(), port.to_string()]),
            None => program,
        };
        program.arg("--").arg(format!("{user}{host}"))
    }

    /// Runs such a command, with its failure as an error.
    pub(super) async fn run(
        &self,
        doing: &str,
        program: Program,
        cancel: &CancellationToken,
    ) -> Result<Output, SourceError> {
        let output = self.try_run(program, cancel).await?;
        if output.ok() {
            Ok(output)
        } else {
            Err(self.failure(doing, &output))
        }
    }

    /// Runs such a command, for a caller that looks at its failure.
    pub(super) async fn try_run(
        &self,
        program: Program,
        cancel: &CancellationToken,
    ) -> Result<Output, SourceError> {
        match run(program, cancel).await {
            Err(SourceError::Program(error @ ProcessError::Timeout { .. })) => {
                Err(SourceError::Unreachable {
                    field: self.remote.fields.url,
                    url: self.remote.url.clone(),
                    said: error.to_string(),
                })
            }
            other => other,
        }
    }

    /// The error behind a failed command, with nothing of the credential in it.
    pub(super) fn failure(&self, doing: &str, output: &Output) -> SourceError {
        classify(self.remote, doing, &self.masker.mask(&output.err()))
    }
}

/// Runs a command; its exit code is the caller's.
async fn run(program: Program, cancel: &CancellationToken) -> Result<Output, SourceError> {
    program.run(cancel).await.map_err(|error| match error {
        ProcessError::Cancelled { .. } => SourceError::Cancelled,
        other => SourceError::Program(other),
    })
}

/// The command, told which repository it works on.
pub(super) fn in_repository(program: Program, repository: &Path) -> Program {
    let mut dir = OsString::from("--git-dir=");
    dir.push(repository);
    program.arg(dir)
}
