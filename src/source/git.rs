//! Git repositories: what a ref names now, and a commit's files as a directory.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::git_cache::Cache;
use super::git_command::{Conversation, Runner};
use super::git_fetch::{Head, Job};
use super::remote::{describe, full_name};
use super::submodules::Budget;
use super::{Checkout, GitRemote, ResolvedRef, SourceError};
use crate::job_log::JobLog;
use crate::model::{CommitId, RefSpec};
use crate::redact::SafeUrl;

/// How Git is run and where it may keep things.
#[derive(Clone, Debug)]
pub struct GitOptions {
    /// Where repositories are kept between fetches; absolute, and of one process only.
    pub cache_dir: PathBuf,
    /// The most that they may take, in bytes. Default 2 GiB.
    pub max_cache_bytes: u64,
    /// For development: allow file URLs, and http to this very machine. Default false.
    pub allow_file: bool,
    /// The git program, by path or by its name in `path`. Default `git`.
    pub program: OsString,
    /// The davit program, which Git calls as ssh; see [`super::ssh`].
    pub davit: PathBuf,
    /// `PATH` for git and ssh. Default: the directories where Linux systems keep programs.
    pub path: OsString,
    /// Further variables for git, such as `HTTPS_PROXY`. Default none: nothing else is inherited.
    pub environment: Vec<(OsString, OsString)>,
    /// The longest that asking for refs may take. Default 60 s.
    pub resolve_timeout: Duration,
    /// The longest that one fetch may take. Default 15 min.
    pub fetch_timeout: Duration,
}

impl GitOptions {
    /// The defaults, with the cache in `cache_dir` and `davit` as the program that Git calls as ssh.
    pub fn new(cache_dir: impl Into<PathBuf>, davit: impl Into<PathBuf>) -> Self {
        Self {
            cache_dir: cache_dir.into(),
            max_cache_bytes: 2 * 1024 * 1024 * 1024,
            allow_file: false,
            program: "git".into(),
            davit: davit.into(),
            path: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into(),
            environment: Vec::new(),
            resolve_timeout: Duration::from_mins(1),
            fetch_timeout: Duration::from_mins(15),
        }
    }
}

/// What to lay out.
#[derive(Clone, Copy, Debug)]
pub struct CheckoutRequest<'a> {
    /// The repository.
    pub remote: &'a GitRemote,
    /// The commit.
    pub commit: &'a CommitId,
    /// The ref that named it: where to look for it at a server that gives no commit by its hash.
    pub spec: &'a RefSpec,
    /// Lay out submodules too.
    pub submodules: bool,
}

/// The git executable and the cache of repositories.
#[derive(Debug)]
pub struct Git {
    runner: Runner,
    cache: Arc<Cache>,
}

impl Git {
    /// Prepares the cache's directory.
    ///
    /// # Errors
    /// It cannot be made, or its name is not absolute or has characters that ssh's configuration cannot hold.
    pub fn new(options: GitOptions) -> Result<Self, SourceError> {
        let doing = format!(
            "prepare the cache of repositories in {}",
            options.cache_dir.display()
        );
        let cache = Cache::new(options.cache_dir.join("repositories"), options.max_cache_bytes);
        let cache = cache.map_err(|error| SourceError::io(&doing, error))?;
        let runner = Runner::new(options).map_err(|error| SourceError::io(&doing, error))?;
        Ok(Self {
            runner,
            cache: Arc::new(cache),
        })
    }

    /// Asks the server what the ref names now. A commit is itself; whether it is there shows when it is fetched.
    ///
    /// # Errors
    /// The server cannot be asked, or has no such ref.
    pub async fn resolve(
        &self,
        remote: &GitRemote,
        spec: &RefSpec,
        cancel: &CancellationToken,
    ) -> Result<ResolvedRef, SourceError> {
        match self.resolve_at(remote, spec, cancel).await {
            Err(redirected @ SourceError::Redirected { .. }) => match with_suffix(remote) {
                Some(remote) => better(redirected, self.resolve_at(&remote, spec, cancel).await),
                None => Err(redirected),
            },
            other => other,
        }
    }

    async fn resolve_at(
        &self,
        remote: &GitRemote,
        spec: &RefSpec,
        cancel: &CancellationToken,
    ) -> Result<ResolvedRef, SourceError> {
        let conversation = Conversation::open(&self.runner, remote)?;
        let Some(name) = full_name(remote, spec)? else {
            let RefSpec::Commit(commit) = spec else {
                return Err(not_there(remote, spec, None));
            };
            return Ok(ResolvedRef {
                commit: commit.clone(),
                spec: spec.clone(),
            });
        };
        let peeled = format!("{name}^{{}}");
        let (kind, patterns) = match spec {
            RefSpec::Branch(_) => (Some("--heads"), vec![name.as_str()]),
            RefSpec::Tag(_) => (Some("--tags"), vec![name.as_str(), peeled.as_str()]),
            RefSpec::Default | RefSpec::Commit(_) => (None, vec![name.as_str()]),
        };
        let listed = self.ls_remote(&conversation, kind, &patterns, cancel).await?;
        // An annotated tag is an object of its own; what it names is listed as `^{}` beside it.
        let commit = listed.commit(&peeled).or_else(|| listed.commit(&name));
        if let Some(commit) = commit {
            return Ok(ResolvedRef {
                commit,
                spec: spec.clone(),
            });
        }
        let default = match spec {
            RefSpec::Default | RefSpec::Commit(_) => None,
            RefSpec::Branch(_) | RefSpec::Tag(_) => {
                let listed = self.ls_remote(&conversation, None, &["HEAD"], cancel).await;
                listed.ok().and_then(|listed| listed.default_branch())
            }
        };
        if default.is_none() {
            let all = self.ls_remote(&conversation, None, &[], cancel).await;
            if all.is_ok_and(|all| all.0.is_empty()) {
                let (field, what) = describe(remote, spec);
                return Err(SourceError::Empty {
                    field,
                    what,
                    url: remote.url.clone(),
                });
            }
        }
        Err(not_there(remote, spec, default))
    }

    async fn ls_remote(
        &self,
        conversation: &Conversation<'_>,
        kind: Option<&str>,
        patterns: &[&str],
        cancel: &CancellationToken,
    ) -> Result<Listing, SourceError> {
        let program = conversation
            .git()
            .args(["ls-remote", "--quiet", "--symref"])
            .args(kind)
            .args(["--end-of-options", conversation.url()])
            .args(patterns.iter().copied())
            .timeout(self.runner.options().resolve_timeout);
        let output = conversation.run("list the refs of", program, cancel).await?;
        Ok(Listing(output.out()))
    }

    /// Lays the files of a commit out in a new directory beneath `dest_parent`, without `.git`; what is in the cache
    /// is not fetched again. Filters and hooks never run: Git LFS pointers stay pointers.
    ///
    /// # Errors
    /// The commit or a submodule cannot be fetched or laid out; nothing is left behind then.
    pub async fn checkout(
        &self,
        request: CheckoutRequest<'_>,
        dest_parent: &Path,
        log: &JobLog,
        cancel: &CancellationToken,
    ) -> Result<Checkout, SourceError> {
        let dir = tempfile::Builder::new()
            .prefix("source-")
            .tempdir_in(dest_parent)
            .map_err(|error| SourceError::io("make a directory for the source", error))?;
        let mut budget = Budget::default();
        let laid_out = self.lay_out(request, dir.path(), &mut budget, log, cancel).await;
        match laid_out {
            Ok(Head { message, author }) => Ok(Checkout {
                dir,
                commit: request.commit.clone(),
                message,
                author,
            }),
            Err(error) => {
                if matches!(error, SourceError::DiskFull { .. }) {
                    self.in_cache(Cache::clear).await;
                }
                Err(error)
            }
        }
    }

    /// Cleans up in the cache, without holding the other tasks up: it walks through directories.
    async fn in_cache(&self, clean: fn(&Cache)) {
        let cache = Arc::clone(&self.cache);
        // It fails only where the runtime ends, and then there is time for it after the next start.
        tokio::task::spawn_blocking(move || clean(&cache)).await.ok();
    }

    /// Fetches one repository's commit and lays it out in `dest`, which is empty; submodules follow if asked for.
    pub(super) async fn lay_out(
        &self,
        request: CheckoutRequest<'_>,
        dest: &Path,
        budget: &mut Budget,
        log: &JobLog,
        cancel: &CancellationToken,
    ) -> Result<Head, SourceError> {
        match self.lay_out_from(request, dest, budget, log, cancel).await {
            Err(redirected @ SourceError::Redirected { .. }) => match with_suffix(request.remote) {
                Some(remote) => {
                    let request = CheckoutRequest {
                        remote: &remote,
                        ..request
                    };
                    let second = self.lay_out_from(request, dest, budget, log, cancel).await;
                    better(redirected, second)
                }
                None => Err(redirected),
            },
            other => other,
        }
    }

    async fn lay_out_from(
        &self,
        request: CheckoutRequest<'_>,
        dest: &Path,
        budget: &mut Budget,
        log: &JobLog,
        cancel: &CancellationToken,
    ) -> Result<Head, SourceError> {
        let conversation = Conversation::open(&self.runner, request.remote)?;
        let entry = tokio::select! {
            entry = self.cache.lock(request.remote, request.commit) => entry,
            () = cancel.cancelled() => return Err(SourceError::Cancelled),
        };
        let job = Job {
            runner: &self.runner,
            request,
            conversation,
            entry,
            log,
            cancel,
        };
        let (head, modules) = job.lay_out(dest).await?;
        // A submodule may be another commit of the same repository.
        drop(job);
        self.in_cache(Cache::trim).await;
        if request.submodules {
            self.lay_out_submodules(request.remote, &modules, dest, budget, log, cancel)
                .await?;
        }
        Ok(head)
    }
}

/// The same repository by its full name. GitLab and others redirect from the name without `.git`; that is the one
/// redirection that needs no trust, because we make it ourselves.
fn with_suffix(remote: &GitRemote) -> Option<GitRemote> {
    let mut url = remote.url.expose().clone();
    let path = url.path().trim_end_matches('/').to_owned();
    if path.to_ascii_lowercase().ends_with(".git") {
        return None;
    }
    url.set_path(&format!("{path}.git"));
    let url = SafeUrl::parse(url.as_str()).ok()?;
    Some(GitRemote {
        url,
        ..remote.clone()
    })
}

/// What the second address gave, unless it only says that it is not the right one.
fn better<T>(first: SourceError, second: Result<T, SourceError>) -> Result<T, SourceError> {
    match second {
        Err(SourceError::Redirected { .. } | SourceError::RepositoryNotFound { .. }) => Err(first),
        other => other,
    }
}

/// The error for a ref that is not there.
pub(super) fn not_there(remote: &GitRemote, spec: &RefSpec, default_branch: Option<String>) -> SourceError {
    let (field, what) = describe(remote, spec);
    SourceError::RefNotFound {
        field,
        what,
        url: remote.url.clone(),
        default_branch,
    }
}

/// The lines of `git ls-remote --symref`.
struct Listing(String);

impl Listing {
    /// The object that the ref of exactly this name has. A pattern also fits at the end of longer names.
    fn commit(&self, name: &str) -> Option<CommitId> {
        self.0
            .lines()
            .filter_map(|line| line.split_once('\t'))
            .find(|(hash, listed)| *listed == name && !hash.starts_with("ref: "))
            .and_then(|(hash, _)| CommitId::parse(hash))
    }

    fn default_branch(&self) -> Option<String> {
        self.0
            .lines()
            .filter_map(|line| line.strip_prefix("ref: refs/heads/")?.strip_suffix("\tHEAD"))
            .map(str::to_owned)
            .next()
    }
}
