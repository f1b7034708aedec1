//! Runs the hook of a Release, and removes what is left of it.

use futures::StreamExt as _;

use crate::controller::problem::io_problem;
use crate::error::{Class, Problem};
use crate::job_log::JobLog;
use crate::plan::deployment::deployment;
use crate::plan::desired::recorded_config;
use crate::plan::values::arguments;
use crate::plan::{ActionResult, HookEnd, hash_of, hook, redaction_policy};
use crate::redact::Masker;
use crate::runtime::{LogOptions, RedactionPolicy, ReplicaState};

use super::Executor;

impl Executor<'_> {
    /// Starts the hook of a Release if it does not run yet, and returns how it ended if it has, or if its time is over.
    pub(super) async fn run_hook(&self, release: &str, overdue: bool) -> Result<ActionResult, Problem> {
        let Some(status) = self.records.statuses.get(release) else {
            return Ok(ActionResult::Skipped);
        };
        let (Some(wanted), Some(image)) = (hook::pending(status), &status.image) else {
            return Ok(ActionResult::Skipped);
        };
        let spec = recorded_config(release, status)?;
        let values = self.reader.values(&spec).await?;
        let command = arguments(&wanted.command, "spec.hooks.preDeploy.command", &values)?;
        let deployed = deployment(self.id, release, "", image, &spec, &values)?;
        let deployed = hook::deployment(deployed, self.id, self.input.uid(), command);
        let hash = &deployed.identity.hash;
        let mut redaction = redaction_policy(Some(&values), self.input.desired.known(), &self.input.releases);
        // The files of the hook are those of the Release's containers.
        if hash_of(status).is_some_and(|of_release| redaction.current_files.contains(&of_release)) {
            redaction.current_files.insert(hash.clone());
        }
        let running = self.ctx.runtime.observe(&self.id.hook(), &redaction).await;
        let running = running.map_err(|error| Problem::of(&error))?;
        let mut own = running.replicas.iter().filter(|replica| replica.hash == *hash);
        let known = own.next();
        let code = known.and_then(|replica| match replica.state {
            ReplicaState::Exited { code, .. } => Some(code),
            _ => None,
        });
        if code.is_some() || overdue {
            let mut output = String::new();
            if let Some(replica) = known {
                output = self.keep_hook_log(release, &replica.id, &redaction).await?;
            }
            return Ok(ActionResult::Hook(Some(HookEnd { code, output })));
        }
        let mut deployed = deployed;
        if self.ctx.install.capabilities.needs_registry {
            let (spec, registries) = (&self.input.app.spec, &self.ctx.registries);
            deployed.registry = registries.pull_login(image, spec, self.reader).await;
        }
        match self.ctx.runtime.deploy(&deployed).await {
            Ok(_) => Ok(ActionResult::Hook(None)),
            Err(error) => {
                let problem = self.masked(&error, &deployed);
                if problem.class != Class::Terminal {
                    return Ok(ActionResult::Failed(problem));
                }
                let output = String::new();
                Ok(ActionResult::Refused { problem, output })
            }
        }
    }

    /// Writes the log of a hook that ended, before its container is removed, and returns its end.
    async fn keep_hook_log(
        &self,
        release: &str,
        container: &str,
        redaction: &RedactionPolicy,
    ) -> Result<String, Problem> {
        let (runtime, task) = (&self.ctx.runtime, self.id.hook());
        let unread = |error| Problem::of(&error);
        let lines = runtime
            .log(&task, container, &LogOptions::default(), redaction)
            .await;
        let mut lines = lines.map_err(unread)?;
        let path = self.hook_log_path(release);
        // An earlier attempt may have written a part of it.
        let _ = tokio::fs::remove_file(&path).await;
        // The runtime has masked the lines.
        let log = JobLog::open(&path, Masker::new(&[]));
        let log = log.map_err(|error| io_problem("write the log of hooks.preDeploy", &error))?;
        while let Some(line) = lines.next().await {
            log.write(&line.map_err(unread)?.text);
        }
        Ok(log.tail().trim_end().to_owned())
    }

    /// Removes the container of a hook that is not to run any more. It is tried again with each reconcile.
    pub(super) async fn remove_hook(&self) {
        let configs = self
            .records
            .statuses
            .values()
            .filter_map(|status| status.config.as_ref());
        if !configs.into_iter().any(|config| hook::of(&config.0).is_some()) {
            return;
        }
        if let Err(error) = self.ctx.runtime.remove(&self.id.hook(), false).await {
            tracing::debug!(app = %self.id, %error, "the container of a hook could not be removed yet");
        }
    }
}
