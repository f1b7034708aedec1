//! Executes a plan: one call for each action. What the calls came to is recorded by [`record`].

mod deploy;
mod hook;
mod job;
mod pushed;
mod release;

use std::path::PathBuf;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource as _;

use crate::api::{Reason, Release, ReleasePhase, Source, SourceKind};
use crate::error::Problem;
use crate::model::AppId;
use crate::plan::{
    Action, ActionResult, Plan, PlanInput, Records, ReleaseOutcome, hash_of, record, redaction_policy,
};
use crate::runtime::{Replica, ReplicaState};

use super::context::Context;
use super::dereference::Reader;
use super::finalizer;
use super::kept_output;
use super::logs;
use super::problem::{cluster_problem, io_problem};
use super::resolve::credentials::Origin;

/// Executes the plan of one Application.
pub struct Executor<'a> {
    ctx: &'a Context,
    id: &'a AppId,
    input: &'a PlanInput<'a>,
    /// Where the source comes from, with its credentials.
    origin: Option<Origin>,
    reader: &'a Reader,
    now: Timestamp,
    records: Records,
}

impl<'a> Executor<'a> {
    /// Returns an executor with the statuses as they are before the plan.
    pub fn new(
        ctx: &'a Context,
        id: &'a AppId,
        input: &'a PlanInput<'a>,
        origin: Option<Origin>,
        reader: &'a Reader,
        now: Timestamp,
    ) -> Self {
        Self {
            ctx,
            id,
            input,
            origin,
            reader,
            now,
            records: Records::new(input, now),
        }
    }

    /// Executes all actions in order; a failed one does not stop the next.
    pub async fn run(mut self, plan: &Plan) -> Records {
        for action in &plan.actions {
            let result = self.execute(action).await.unwrap_or_else(ActionResult::Failed);
            if let ActionResult::Failed(problem) | ActionResult::Refused { problem, .. } = &result {
                let (reason, message) = (problem.reason, &problem.message);
                tracing::info!(app = %self.id, %reason, message, "an action failed");
            }
            let open: Vec<String> = self.open_releases().collect();
            record(&mut self.records, self.input, action, result, self.now);
            self.report_failures(&open).await;
        }
        if !plan
            .actions
            .iter()
            .any(|action| matches!(action, Action::RunHook { .. }))
        {
            self.remove_hook().await;
        }
        self.records
    }

    async fn execute(&self, action: &Action) -> Result<ActionResult, Problem> {
        match action {
            Action::Number { .. }
            | Action::Begin { .. }
            | Action::Wait { .. }
            | Action::Restart { .. }
            | Action::RecordImage { .. } => {}
            Action::End { release, outcome } => {
                if let ReleaseOutcome::Failed { .. } = outcome
                    && let Some(hash) = self.records.statuses.get(release).and_then(hash_of)
                {
                    self.keep_output(|replica| replica.hash == hash);
                }
                let output = match outcome {
                    ReleaseOutcome::Failed { log_tail, .. } if log_tail.is_empty() => {
                        self.container_output(release).await
                    }
                    _ => String::new(),
                };
                return Ok(ActionResult::Ended { output });
            }
            Action::Adopt { release } => self.adopt(release).await?,
            Action::Create {
                number,
                desired,
                revision,
                reason,
            } => return self.create(*number, desired, revision.as_deref(), *reason).await,
            Action::StartJob { release, job } => return self.start_job(release, job).await,
            Action::CancelJob => self.ctx.jobs.cancel(self.id),
            Action::HandOver { release, job } => return Ok(self.hand_over(release, job)),
            Action::ForgetJob => self.ctx.jobs.forget(self.id),
            Action::RunHook { release, overdue } => return self.run_hook(release, *overdue).await,
            Action::Deploy { release, preserve } => {
                return self.deploy(release.as_deref(), preserve.as_deref()).await;
            }
            Action::Prune { release, image_tag } => self.prune(release, image_tag.as_deref()).await?,
            Action::RemoveContainers { volumes } => {
                let hook = self.ctx.runtime.remove(&self.id.hook(), false).await;
                let hook = hook.map_err(|error| Problem::of(&error))?;
                let removed = self.ctx.runtime.remove(self.id, *volumes).await;
                return removed
                    .map(|removed| ActionResult::Removed(removed && hook))
                    .map_err(|error| Problem::of(&error));
            }
            Action::Orphan => return self.orphan().await,
            Action::Forget => return self.forget().await,
        }
        Ok(ActionResult::Done)
    }

    fn open_releases(&self) -> impl Iterator<Item = String> {
        let statuses = self.records.statuses.iter();
        statuses
            .filter(|(_, status)| !status.phase.has_ended())
            .map(|(name, _)| name.clone())
    }

    /// Sends an event for each of these Releases that has failed.
    async fn report_failures(&self, open: &[String]) {
        for name in open {
            let Some(status) = self.records.statuses.get(name) else {
                continue;
            };
            if let Some(failure) = status
                .failure
                .as_ref()
                .filter(|_| status.phase == ReleasePhase::Failed)
                && let Ok(reason) = failure.reason.parse::<Reason>()
            {
                let about = about_release(&self.id.namespace, name);
                self.ctx
                    .report
                    .event(&about, None, true, reason, &failure.message)
                    .await;
            }
        }
    }

    /// Reads the end of the log of the container that a Release fails with, before the rollback removes it. Empty if the
    /// Release has no container, or the runtime does not answer: the Release fails all the same.
    async fn container_output(&self, release: &str) -> String {
        let Some(hash) = self.records.statuses.get(release).and_then(hash_of) else {
            return String::new();
        };
        let input = self.input;
        let values = input.inputs.values.as_ref().ok();
        let redaction = redaction_policy(values, input.desired.known(), &input.releases);
        let runtime = &self.ctx.runtime;
        let Ok(running) = runtime.observe(self.id, &redaction).await else {
            return String::new();
        };
        let worst = running.replicas.iter().filter(|replica| replica.hash == hash);
        let worst = worst.min_by_key(|replica| match replica.state {
            ReplicaState::Exited { .. } | ReplicaState::KeepsEnding { .. } => 0,
            ReplicaState::Unhealthy(_) => 1,
            ReplicaState::Starting => 2,
            ReplicaState::Healthy | ReplicaState::Kept | ReplicaState::Created => 3,
        });
        let Some(replica) = worst else {
            return String::new();
        };
        let output = runtime.log_tail(self.id, &replica.id, &redaction).await;
        output.unwrap_or_else(|error| {
            tracing::warn!(app = %self.id, release, %error, "the log of a failed container could not be read");
            String::new()
        })
    }

    /// Keeps the output of containers that are about to be removed, and that a user may want to read afterwards.
    fn keep_output(&self, wanted: impl Fn(&Replica) -> bool) {
        let input = self.input;
        let Ok(running) = &input.running else { return };
        let values = input.inputs.values.as_ref().ok();
        let redaction = redaction_policy(values, input.desired.known(), &input.releases);
        let replicas = running.replicas.iter().filter(|replica| wanted(replica));
        kept_output::keep(&self.ctx.runtime, self.id, &self.log_dir(), replicas, &redaction);
    }

    /// Returns the directory of the logs of the Application.
    fn log_dir(&self) -> PathBuf {
        let uid = self.input.app.metadata.uid.as_deref().unwrap_or("unknown");
        logs::dir(&self.ctx.log_dir, &self.id.namespace, uid)
    }

    /// Returns the path of the log of a Release.
    fn log_path(&self, release: &str) -> PathBuf {
        let uid = self.input.app.metadata.uid.as_deref().unwrap_or("unknown");
        logs::path(&self.ctx.log_dir, &self.id.namespace, uid, release)
    }

    /// Returns the path of the log of the hook of a Release.
    fn hook_log_path(&self, release: &str) -> PathBuf {
        self.log_path(&logs::of_hook(release))
    }

    async fn orphan(&self) -> Result<ActionResult, Problem> {
        let uid = self.input.uid();
        let left = self.ctx.runtime.orphan(self.id).await;
        left.map_err(|error| Problem::of(&error))?;
        self.ctx
            .orphans
            .add(uid)
            .map_err(|error| io_problem("record the orphaned Application", &error))?;
        self.release_finalizer().await?;
        Ok(ActionResult::Removed(true))
    }

    /// Removes images, logs and caches once the containers are removed, and then releases the object.
    async fn forget(&self) -> Result<ActionResult, Problem> {
        if !self.records.removed {
            return Ok(ActionResult::Done);
        }
        let builder = &self.ctx.tools.builder;
        let images = builder.images(self.id).await.map_err(|error| Problem::of(&error));
        // Until all is removed, the Application stays.
        let removed = async {
            self.delete_all_pushed().await;
            for image in images? {
                let removed = builder.remove(&image.tag).await;
                removed.map_err(|error| Problem::of(&error))?;
            }
            if let Some(dir) = self.log_path("x").parent() {
                let _ = tokio::fs::remove_dir_all(dir).await;
                if let Some(namespace) = dir.parent() {
                    // Fails while another Application of the namespace has logs.
                    let _ = tokio::fs::remove_dir(namespace).await;
                }
            }
            if self.may_have_cache() {
                self.ctx.tools.cache.application_deleted(self.id.clone(), builder);
            }
            self.ctx.jobs.forget(self.id);
            self.ctx.resolver.forget(self.id);
            self.ctx.commit_statuses.forget(self.id);
            self.release_finalizer().await
        };
        match removed.await {
            Ok(()) => Ok(ActionResult::Removed(true)),
            Err(problem) => Ok(ActionResult::NotRemoved(problem)),
        }
    }

    /// Reports whether builds of the Application can have left a cache. Nothing is built for the source `docker`.
    fn may_have_cache(&self) -> bool {
        let wanted = self.input.app.spec.source.as_ref().and_then(Source::kind);
        let builds = wanted.is_some_and(|kind| !matches!(kind, SourceKind::Docker(_)));
        let mut releases = self.input.releases.iter();
        builds || releases.any(|release| release.status.builder.is_some())
    }

    async fn release_finalizer(&self) -> Result<(), Problem> {
        let removed = finalizer::set(&self.ctx.client, self.input.app, false).await;
        removed.map_err(|error| cluster_problem("change the finalizers", &error))
    }
}

/// Returns the reference to a Release for an event.
pub fn about_release(namespace: &str, release: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some(Release::api_version(&()).into_owned()),
        kind: Some("Release".to_owned()),
        name: Some(release.to_owned()),
        namespace: Some(namespace.to_owned()),
        ..ObjectReference::default()
    }
}
