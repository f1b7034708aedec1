//! The log of a task.

use futures::StreamExt as _;
use futures::stream::BoxStream;
use jiff::Timestamp;

use super::{Inner, tasks};
use crate::model::AppId;
use crate::runtime::docker::container_log;
use crate::runtime::{LogLine, LogOptions, RedactionPolicy, RuntimeError};

impl Inner {
    /// A part of the log of a replica's task; empty if there is no such replica.
    pub(super) async fn log(
        &self,
        app: &AppId,
        replica: &str,
        options: &LogOptions,
        redaction: &RedactionPolicy,
    ) -> Result<BoxStream<'static, Result<LogLine, RuntimeError>>, RuntimeError> {
        let Some(service) = self.service(app).await? else {
            return Ok(futures::stream::empty().boxed());
        };
        let tasks = self.tasks(&service).await?;
        let mut all = tasks::replicas(&service, &tasks, Timestamp::now()).into_iter();
        let Some(seen) = all.find(|seen| seen.replica.id == replica) else {
            return Ok(futures::stream::empty().boxed());
        };
        // A Swarm replaces a task instead of starting it again: what ran before is the task that failed.
        let task = match (options.previous, seen.failed.as_deref()) {
            (true, Some(failed)) if failed != replica => failed,
            (true, _) => return Ok(futures::stream::empty().boxed()),
            (false, _) => replica,
        };
        let masker = redaction.masker(&seen.replica.hash, &seen.given);
        let entries = self.docker.task_logs(task, Some(container_log::request(options)));
        Ok(container_log::lines(entries, None, masker, options, None))
    }
}
