//! Git repositories: a commit's files as a directory.

use std::path::Path;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::cache::Cache;
use super::command::{Conversation, Runner};
use super::error::SourceError;
use super::gitmodules::Budget;
use super::job::{Head, Job};
use super::options::{CheckoutRequest, GitOptions};
use super::remote::GitRemote;
use crate::job_log::JobLog;
use crate::redact::SafeUrl;
use crate::source::checkout::Checkout;

/// The git executable and the cache of repositories.
#[derive(Debug)]
pub struct Git {
    pub(super) runner: Runner,
    pub(super) cache: Arc<Cache>,
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
        let first = self.lay_out_from(request, dest, budget, log, cancel).await;
        let Some(remote) = second_address(request.remote, &first) else {
            return first;
        };
        let request = CheckoutRequest {
            remote: &remote,
            ..request
        };
        better(first, self.lay_out_from(request, dest, budget, log, cancel).await)
    }

    /// Begins a conversation about one commit, and waits for its place in the cache.
    pub(super) async fn job<'a>(
        &'a self,
        request: CheckoutRequest<'a>,
        log: &'a JobLog,
        cancel: &'a CancellationToken,
    ) -> Result<Job<'a>, SourceError> {
        let conversation = Conversation::open(&self.runner, request.remote)?;
        let entry = tokio::select! {
            entry = self.cache.lock(request.remote, request.commit) => entry,
            () = cancel.cancelled() => return Err(SourceError::Cancelled),
        };
        Ok(Job {
            runner: &self.runner,
            request,
            conversation,
            entry,
            log,
            cancel,
        })
    }

    async fn lay_out_from(
        &self,
        request: CheckoutRequest<'_>,
        dest: &Path,
        budget: &mut Budget,
        log: &JobLog,
        cancel: &CancellationToken,
    ) -> Result<Head, SourceError> {
        let job = self.job(request, log, cancel).await?;
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

/// The address to try after `first`, if the server redirected from the name without `.git`.
pub(super) fn second_address<T>(remote: &GitRemote, first: &Result<T, SourceError>) -> Option<GitRemote> {
    match first {
        Err(SourceError::Redirected { .. }) => with_suffix(remote),
        _ => None,
    }
}

/// What the second address gave, unless it only says that it is not the right one.
pub(super) fn better<T>(
    first: Result<T, SourceError>,
    second: Result<T, SourceError>,
) -> Result<T, SourceError> {
    match second {
        Err(SourceError::Redirected { .. } | SourceError::RepositoryNotFound { .. }) => first,
        other => other,
    }
}
