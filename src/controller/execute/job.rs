//! Starts jobs and hands them over.

use std::path::PathBuf;

use crate::api::{CauseKind, Reason};
use crate::builder::{BuildRequest, BuildType, Export, Found};
use crate::controller::build_job::{BuildWork, Fetch, PullWork};
use crate::controller::job_failure::no_log;
use crate::controller::resolve::credentials::Origin;
use crate::error::{Class, Problem};
use crate::image::RegistryAccess;
use crate::job_log::JobLog;
use crate::model::{RegistryLogin, Revision};
use crate::plan::{ActionResult, BuildSpec, JobSpec, JobWork};
use crate::redact::{Masker, Secret};

use super::{Executor, about_release};

impl Executor<'_> {
    /// Starts a job.
    ///
    /// # Errors
    /// The job does not fit the source.
    pub(super) async fn start_job(&self, release: &str, job: &JobSpec) -> Result<ActionResult, Problem> {
        let path = self.log_path(release);
        let tools = self.ctx.tools.clone();
        let mut hidden = job.confidential.clone();
        let urgent = self.is_requested(release);
        match (&job.work, self.origin.clone()) {
            (JobWork::Pull { image, tag }, Some(Origin::Image { login, .. })) => {
                hidden.extend(login.iter().flat_map(RegistryLogin::secrets));
                let work = PullWork {
                    image: image.clone(),
                    login,
                    tag: tag.clone(),
                    pulls: self.ctx.pulls.clone(),
                };
                self.ctx
                    .jobs
                    .start(self.id, job.owner.clone(), urgent, move |_, cancel| async move {
                        let log =
                            JobLog::open(&path, Masker::new(&hidden)).map_err(|error| no_log(&error))?;
                        work.run(tools, log, cancel).await
                    });
            }
            (JobWork::Build(build), Some(Origin::Git { remote, spec })) => {
                self.report_deprecation(release, build).await;
                let Revision::Commit(commit) = build.revision.clone() else {
                    return Err(misfit(release));
                };
                let submodules = build.submodules;
                let work = self.build_work(release, build, &mut hidden).await?;
                self.ctx.jobs.start(
                    self.id,
                    job.owner.clone(),
                    urgent,
                    move |stage, cancel| async move {
                        let fields = *remote.fields();
                        // Here and not before, so that the credential is valid when Git starts.
                        let remote = tokio::select! {
                            remote = remote.open() => Some(remote),
                            () = cancel.cancelled() => None,
                        };
                        if let Some(Ok(remote)) = &remote {
                            hidden.extend(remote.credential.secrets());
                        }
                        let log =
                            JobLog::open(&path, Masker::new(&hidden)).map_err(|error| no_log(&error))?;
                        let fetch = Fetch::Git {
                            fields,
                            remote,
                            commit,
                            spec,
                            submodules,
                        };
                        work.run(tools, fetch, log, stage, cancel).await
                    },
                );
            }
            (JobWork::Build(build), Some(Origin::Upload { digest, archive })) => {
                self.report_deprecation(release, build).await;
                let work = self.build_work(release, build, &mut hidden).await?;
                self.ctx.jobs.start(
                    self.id,
                    job.owner.clone(),
                    urgent,
                    move |stage, cancel| async move {
                        let log =
                            JobLog::open(&path, Masker::new(&hidden)).map_err(|error| no_log(&error))?;
                        let fetch = Fetch::Upload { digest, archive };
                        work.run(tools, fetch, log, stage, cancel).await
                    },
                );
            }
            (JobWork::Pull { .. }, Some(Origin::Git { .. } | Origin::Upload { .. }) | None)
            | (JobWork::Build(_), Some(Origin::Image { .. }) | None) => return Err(misfit(release)),
        }
        Ok(ActionResult::Job(
            self.ctx.jobs.view(self.id).map(|job| job.state),
        ))
    }

    /// Reports that a build type is deprecated, as an event.
    async fn report_deprecation(&self, release: &str, build: &BuildSpec) {
        if let Some(note) = build.build_type.as_ref().and_then(BuildType::deprecation) {
            let about = about_release(&self.id.namespace, release);
            let report = &self.ctx.report;
            report.event(&about, None, true, Reason::Deprecated, note).await;
        }
    }

    /// Returns the work of a build, and adds the credentials of its registry to what the log hides.
    async fn build_work(
        &self,
        release: &str,
        build: &BuildSpec,
        hidden: &mut Vec<Secret>,
    ) -> Result<BuildWork, Problem> {
        let mut used = RegistryAccess::default();
        if build.export.is_pushed() {
            let registries = &self.ctx.registries;
            let access = registries.access(&self.input.app.spec, self.reader).await?;
            hidden.extend(access.logins.secrets());
            used = access;
        }
        Ok(BuildWork {
            export: build.export,
            again: build.again,
            request: BuildRequest {
                push: (build.export == Export::Registry).then(|| used.clone()),
                ..self.request(release, build)
            },
            access: used,
        })
    }

    /// Reports whether a person asked for a Release, and not a poll, a delivery or Davit itself.
    fn is_requested(&self, release: &str) -> bool {
        let cause = self
            .records
            .statuses
            .get(release)
            .and_then(|status| status.cause.as_ref());
        cause.is_some_and(|cause| match cause.kind {
            CauseKind::Manual | CauseKind::Rollback | CauseKind::Spec => true,
            CauseKind::Push
            | CauseKind::Tag
            | CauseKind::Poll
            | CauseKind::Secret
            | CauseKind::Drift
            | CauseKind::Preview => false,
        })
    }

    fn request(&self, release: &str, build: &BuildSpec) -> BuildRequest {
        BuildRequest {
            app: self.id.clone(),
            release: release.to_owned(),
            root: PathBuf::new(),
            path: build.path.clone(),
            build_type: build.build_type.clone(),
            tag: build.tag.clone(),
            args: build.args.clone(),
            secrets: build.secrets.clone(),
            labels: build.labels.clone(),
            env_file: build.env_file.clone(),
            registries: build.registries.clone(),
            push: None,
            no_cache: build.no_cache,
            cpu: build.cpu,
            memory: build.memory,
            timeout: build.timeout,
            found: Found::default(),
        }
    }

    /// Lets the running job and its log continue for another Release.
    pub(super) fn hand_over(&self, release: &str, reused: &JobSpec) -> ActionResult {
        let Some(job) = self.ctx.jobs.view(self.id) else {
            return ActionResult::Job(None);
        };
        let mut releases = self.input.releases.iter();
        let before = releases.find(|view| view.uid == job.owner.release);
        let before = before.map(|view| self.log_path(&view.name));
        if !self.ctx.jobs.hand_over(self.id, reused.owner.clone()) {
            return ActionResult::Job(None);
        }
        // Both names refer to one file. A Release without a log is deployed all the same.
        if let Some(before) = before
            && let Err(error) = JobLog::share(&before, &self.log_path(release))
        {
            tracing::warn!(%error, app = %self.id, release, "the log of the build could not be shared");
        }
        ActionResult::Job(Some(job.state))
    }
}

fn misfit(release: &str) -> Problem {
    let message = format!("release {release} does not fit spec.source: create another Release");
    Problem::new(Class::Terminal, Reason::Internal, message)
}
