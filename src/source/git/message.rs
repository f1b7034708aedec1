//! The message of a commit, which may ask for no deployment.

use std::path::Path;

use tokio_util::sync::CancellationToken;

use super::client::{Git, better, with_suffix};
use super::command::Conversation;
use super::error::SourceError;
use super::job::Job;
use super::options::CheckoutRequest;
use super::remote::GitRemote;
use crate::job_log::JobLog;
use crate::model::{self, CommitId, RefSpec};
use crate::redact::Masker;

impl Git {
    /// Reports whether the message of a commit asks for no deployment. A commit that is not in the cache is fetched; the job
    /// that builds it then finds it there.
    ///
    /// # Errors
    /// The commit cannot be fetched.
    pub async fn is_skipped(
        &self,
        remote: &GitRemote,
        spec: &RefSpec,
        commit: &CommitId,
        cancel: &CancellationToken,
    ) -> Result<bool, SourceError> {
        match self.is_skipped_at(remote, spec, commit, cancel).await {
            Err(redirected @ SourceError::Redirected { .. }) => match with_suffix(remote) {
                Some(remote) => {
                    let second = self.is_skipped_at(&remote, spec, commit, cancel).await;
                    better(redirected, second)
                }
                None => Err(redirected),
            },
            other => other,
        }
    }

    async fn is_skipped_at(
        &self,
        remote: &GitRemote,
        spec: &RefSpec,
        commit: &CommitId,
        cancel: &CancellationToken,
    ) -> Result<bool, SourceError> {
        // Only a job has a log for its user.
        let log = JobLog::open(Path::new("/dev/null"), Masker::default())
            .map_err(|error| SourceError::io("read a commit", error))?;
        let conversation = Conversation::open(&self.runner, remote)?;
        let entry = tokio::select! {
            entry = self.cache.lock(remote, commit) => entry,
            () = cancel.cancelled() => return Err(SourceError::Cancelled),
        };
        let request = CheckoutRequest {
            remote,
            commit,
            spec,
            submodules: false,
        };
        let job = Job {
            runner: &self.runner,
            request,
            conversation,
            entry,
            log: &log,
            cancel,
        };
        job.have().await?;
        let program = job
            .local()
            .args([
                "log",
                "-1",
                "--no-show-signature",
                "--encoding=UTF-8",
                "--format=%B",
            ])
            .args(["--end-of-options", commit.as_str()]);
        let message = job.run("read the commit of", program).await?.out();
        Ok(model::is_skipped(&message))
    }
}
