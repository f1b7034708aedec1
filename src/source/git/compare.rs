//! What is different between two commits of a repository, and which of them is older: decided in the cache, so that
//! neither a forge's API nor the content of a delivery has to be trusted.

use std::path::Path;

use tokio_util::sync::CancellationToken;

use super::cache::Entry;
use super::client::{Git, better, second_address};
use super::command::{Conversation, in_repository};
use super::error::SourceError;
use super::errors::refused_by_hash;
use super::fetch::init;
use super::options::CheckoutRequest;
use super::remote::GitRemote;
use crate::job_log::JobLog;
use crate::model::{CommitId, RefSpec};
use crate::redact::Masker;

/// How many commits before the tip of a branch are looked through for a pushed commit.
const HISTORY: &str = "1000";

/// The paths that differ between two commits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changes {
    /// These, and no others.
    Paths(Vec<String>),
    /// The older commit is not in the repository any more, or the list is too long to be read.
    Unknown,
}

impl Git {
    /// Compares the trees of two commits. A commit that is not in the cache is fetched; nothing is fetched if both are.
    ///
    /// # Errors
    /// The newer commit cannot be fetched.
    pub async fn changes(
        &self,
        remote: &GitRemote,
        spec: &RefSpec,
        [old, new]: [&CommitId; 2],
        cancel: &CancellationToken,
    ) -> Result<Changes, SourceError> {
        let first = self.changes_at(remote, spec, [old, new], cancel).await;
        let Some(other) = second_address(remote, &first) else {
            return first;
        };
        better(first, self.changes_at(&other, spec, [old, new], cancel).await)
    }

    async fn changes_at(
        &self,
        remote: &GitRemote,
        spec: &RefSpec,
        [old, new]: [&CommitId; 2],
        cancel: &CancellationToken,
    ) -> Result<Changes, SourceError> {
        if old.as_str().len() != new.as_str().len() {
            return Ok(Changes::Unknown);
        }
        // Only a job has a log for its user.
        let log = JobLog::open(Path::new("/dev/null"), Masker::default())
            .map_err(|error| SourceError::io("compare commits", error))?;
        let request = CheckoutRequest {
            remote,
            commit: new,
            spec,
            submodules: false,
        };
        let mut job = self.job(request, &log, cancel).await?;
        job.have().await?;
        job.request.commit = old;
        // After a force push the server may not have it any more.
        if !job.has() && !job.fetch_by_hash().await? {
            return Ok(Changes::Unknown);
        }
        let program = job
            .local()
            .args(["diff-tree", "-r", "-z", "--name-only", "--no-renames"])
            .args(["--end-of-options", old.as_str(), new.as_str()]);
        let output = job.run("compare two commits of", program).await?;
        if output.stdout_cut {
            return Ok(Changes::Unknown);
        }
        let paths = output
            .stdout
            .split(|byte| *byte == 0)
            .filter(|path| !path.is_empty());
        let paths = paths.map(|path| String::from_utf8_lossy(path).into_owned());
        Ok(Changes::Paths(paths.collect()))
    }

    /// Reports whether the history of `head` leads from `old` to `middle`. It does not if `middle` is more than a thousand
    /// commits old, or the server does not have it. The history is fetched without files.
    ///
    /// # Errors
    /// The server cannot be asked.
    pub async fn is_between(
        &self,
        remote: &GitRemote,
        [old, middle, head]: [&CommitId; 3],
        cancel: &CancellationToken,
    ) -> Result<bool, SourceError> {
        let first = self.is_between_at(remote, [old, middle, head], cancel).await;
        let Some(other) = second_address(remote, &first) else {
            return first;
        };
        better(
            first,
            self.is_between_at(&other, [old, middle, head], cancel).await,
        )
    }

    async fn is_between_at(
        &self,
        remote: &GitRemote,
        [old, middle, head]: [&CommitId; 3],
        cancel: &CancellationToken,
    ) -> Result<bool, SourceError> {
        let conversation = Conversation::open(&self.runner, remote)?;
        let entry = tokio::select! {
            entry = self.cache.lock_history(remote, head) => entry,
            () = cancel.cancelled() => return Err(SourceError::Cancelled),
        };
        entry.sweep();
        if entry.is_worn() {
            let removed = entry.discard();
            removed.map_err(|error| SourceError::io("remove a repository from the cache", error))?;
        }
        if !entry.exists() {
            let program = init(&self.runner, &entry, head);
            self.runner
                .run_local("make a cache for", remote, program, cancel)
                .await?;
        }
        if !entry.has(head) {
            let refspec = format!("+{head}:{}", Entry::ref_of(head));
            let program = in_repository(conversation.git(), entry.path())
                .args(["fetch", "--quiet", "--no-tags", "--no-write-fetch-head"])
                .args(["--no-auto-maintenance", "--no-recurse-submodules"])
                .args(["--filter=tree:0", &format!("--depth={HISTORY}")])
                .args(["--end-of-options", conversation.url(), &refspec])
                .timeout(self.runner.options().fetch_timeout);
            let output = conversation.try_run(program, cancel).await?;
            if !output.ok() && refused_by_hash(&output.err()) {
                return Ok(false);
            }
            if !output.ok() {
                return Err(conversation.failure("fetch the history of", &output));
            }
        }
        entry.touch();
        for (older, newer) in [(middle, head), (old, middle)] {
            // A commit that is not there makes Git fail, and counts as none.
            let program = in_repository(self.runner.local(), entry.path())
                .args(["merge-base", "--is-ancestor", "--end-of-options"])
                .args([older.as_str(), newer.as_str()]);
            let is_ancestor = program.run(cancel).await.map_err(SourceError::Program)?.ok();
            if !is_ancestor {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
