//! Runs the hook of a Release, and removes what is left of it.

use crate::controller::problem::io_problem;
use crate::error::{Class, Problem};
use crate::plan::deployment::deployment;
use crate::plan::desired::recorded_config;
use crate::plan::values::arguments;
use crate::plan::{ActionResult, HookEnd, hook, redaction_policy};
use crate::runtime::ReplicaState;

use super::Executor;

impl Executor<'_> {
    /// Starts the hook of a Release if it does not run yet, and returns how it ended if it has.
    pub(super) async fn run_hook(&self, release: &str) -> Result<ActionResult, Problem> {
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
        let task = self.id.hook();
        let redaction = redaction_policy(Some(&values), self.input.desired.known(), &self.input.releases);
        let runtime = &self.ctx.runtime;
        let running = runtime
            .observe(&task, &redaction)
            .await
            .map_err(|error| Problem::of(&error))?;
        let mut own = running
            .replicas
            .iter()
            .filter(|replica| replica.hash == deployed.identity.hash);
        let ended = own.find_map(|replica| match replica.state {
            ReplicaState::Exited { code, .. } => Some((code, &replica.id)),
            _ => None,
        });
        if let Some((code, container)) = ended {
            let output = runtime
                .log_tail(&task, container, &redaction)
                .await
                .unwrap_or_default();
            self.keep_hook_log(release, &output).await?;
            return Ok(ActionResult::Hook(Some(HookEnd { code, output })));
        }
        match runtime.deploy(&deployed).await {
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

    async fn keep_hook_log(&self, release: &str, output: &str) -> Result<(), Problem> {
        let path = self.hook_log_path(release);
        let written = async {
            if let Some(dir) = path.parent() {
                tokio::fs::create_dir_all(dir).await?;
            }
            tokio::fs::write(&path, output).await
        };
        written
            .await
            .map_err(|error| io_problem("write the log of hooks.preDeploy", &error))
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
