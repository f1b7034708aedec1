//! The message of a commit, which may ask for no deployment.

use std::path::Path;

use tokio_util::sync::CancellationToken;

use super::client::{Git, better, second_address};
use super::error::SourceError;
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
        let first = self.is_skipped_at(remote, spec, commit, cancel).await;
        let Some(other) = second_address(remote, &first) else {
            return first;
        };
        better(first, self.is_skipped_at(&other, spec, commit, cancel).await)
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
        let request = CheckoutRequest {
            remote,
            commit,
            spec,
            submodules: false,
        };
        let job = self.job(request, &log, cancel).await?;
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
