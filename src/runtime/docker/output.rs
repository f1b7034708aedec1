//! Reads what containers wrote, and what it explains.

use bollard::query_parameters::LogsOptionsBuilder;
use futures::StreamExt as _;
use futures::stream::BoxStream;

use super::container_log;
use super::labels::{self, app_of};
use super::log_tail::{self, LogTail};
use super::observe::ContainerInfo;
use super::{Inner, errors};
use crate::error::cut;
use crate::model::AppId;
use crate::runtime::rolling::{Phase, in_steps};
use crate::runtime::{Deployment, LogLine, LogOptions, MAX_OUTPUT, RedactionPolicy, RuntimeError};

impl Inner {
    /// Finds a container whose program could not be executed. Process 1 is the engine's init, so the engine reports a
    /// start, and the failure is seen only in the container's output.
    pub(super) async fn not_executed(
        &self,
        deployment: &Deployment,
        looked: &[ContainerInfo],
    ) -> Result<(), RuntimeError> {
        let ended = |one: &&ContainerInfo| {
            deployment.policy.replicas > 0
                && matches!(one.phase, Phase::Exited(_) | Phase::Restarting)
                && matches!(one.code, 1 | 2 | 126 | 127)
                && one.labels.get(labels::CONFIG) == Some(&deployment.identity.hash)
        };
        for one in looked.iter().filter(ended) {
            let output = self.last_output(one).await;
            let refused = self.foreign_program(&one.id, one.code, &output).await;
            if let Some(error) = refused.or_else(|| errors::not_executed(&output)) {
                return Err(error);
            }
        }
        Ok(())
    }

    /// A part of a container's log; empty if the container is not one of the Application.
    pub(super) async fn log(
        &self,
        app: &AppId,
        replica: &str,
        options: &LogOptions,
        redaction: &RedactionPolicy,
    ) -> Result<BoxStream<'static, Result<LogLine, RuntimeError>>, RuntimeError> {
        let found = self.inspect(replica).await?;
        let own = |looked: &ContainerInfo| {
            self.names.ours(&looked.labels) && app_of(&looked.labels).as_ref() == Some(app)
        };
        let Some(looked) = found.filter(own) else {
            return Ok(futures::stream::empty().boxed());
        };
        let until = options
            .previous
            .then(|| looked.started.parse().unwrap_or_default());
        let masker = redaction.masker(&looked.config(), &looked.given);
        let entries = self
            .docker
            .logs(&looked.id, Some(container_log::request(options)));
        let container = container_log::Removable(self.docker.clone(), looked.id.clone());
        Ok(container_log::lines(
            entries,
            Some(container),
            masker,
            options,
            until,
        ))
    }

    /// What a container that keeps ending said last, as it was when that was first told.
    pub(super) async fn output_of_restarting(&self, looked: &ContainerInfo) -> String {
        let (times, last) = (in_steps(looked.restarts), looked.last);
        if let Some(output) = self.ends.output(&looked.id, times, last) {
            return output;
        }
        let output = self.last_output(looked).await;
        self.ends.cache(&looked.id, times, last, &output);
        output
    }

    /// The last lines of a container's output, or the engine's error message if it wrote nothing.
    pub(super) async fn last_output(&self, looked: &ContainerInfo) -> String {
        match self.output(&looked.id).await {
            nothing if nothing.is_empty() => cut(looked.error.trim(), MAX_OUTPUT),
            output => output,
        }
    }

    /// The last lines of a container's output.
    pub(super) async fn output(&self, id: &str) -> String {
        let options = LogsOptionsBuilder::new()
            .stdout(true)
            .stderr(true)
            .tail(&log_tail::LINES.to_string())
            .build();
        let mut output = LogTail::default();
        let mut entries = std::pin::pin!(self.docker.logs(id, Some(options)));
        while let Some(Ok(entry)) = entries.next().await {
            output.push(&entry.into_bytes());
        }
        output.text()
    }
}
