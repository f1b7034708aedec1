//! The work of a job: fetch and build, or pull. It ends only after all its processes and requests.

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::api::Reason;
use crate::builder::{BuildError, BuildRequest, Export};
use crate::error::{Class, Problem};
use crate::image;
use crate::job_log::JobLog;
use crate::model::{CommitId, RefSpec, RegistryLogin};
use crate::plan::Step;
use crate::plan::state::{JobFailure, JobOutput};
use crate::source::{CheckoutRequest, Fields, GitRemote};

use super::job_failure::{cancelled, ended, failed};
use super::job_queue::Stage;
use super::problem::io_problem;
use super::pull_journal::Pulls;
use super::tools::Tools;

/// Fetches a commit and builds it.
pub struct BuildWork {
    /// The fields of the source that messages name.
    pub fields: Fields,
    /// Which commit.
    pub commit: CommitId,
    /// The ref that named it, for servers that give no commit by its hash.
    pub spec: RefSpec,
    /// With submodules.
    pub submodules: bool,
    /// How; `root` is filled in here.
    pub request: BuildRequest,
    /// Where the image is wanted.
    pub export: Export,
    /// Build although the image exists.
    pub again: bool,
    /// The credential of the image's registry.
    pub push_login: Option<RegistryLogin>,
}

/// Pulls an image.
pub struct PullWork {
    /// Pinned to a digest, or the id of a local image.
    pub image: String,
    /// The credentials of the registry.
    pub login: Option<RegistryLogin>,
    /// The tag that it gets where it is Davit that pulls it.
    pub tag: Option<String>,
    /// Remembers that, whenever Davit ends.
    pub pulls: Pulls,
}

impl BuildWork {
    /// Does it. `remote` is `None` if the job was cancelled before its credential was there.
    ///
    /// # Errors
    /// Whatever went wrong, in which step, with the last lines of the log.
    pub async fn run(
        mut self,
        tools: Tools,
        remote: Option<Result<GitRemote, Problem>>,
        log: JobLog,
        stage: Stage,
        cancel: CancellationToken,
    ) -> Result<JobOutput, JobFailure> {
        let fetched_at = Timestamp::now();
        if self.export.is_pushed() && !self.again {
            let (tag, login) = (&self.request.tag, self.push_login.as_ref());
            let found = tools.builder.find_pushed(tag, self.export, login, &log, &cancel);
            match found.await {
                Ok(None) => {}
                Ok(Some(image)) => {
                    return Ok(JobOutput {
                        image: image.id,
                        tag: Some(image.tag),
                        builder: Some(image.builder).filter(|builder| !builder.is_empty()),
                        reused: true,
                        ..JobOutput::default()
                    });
                }
                Err(error) => return Err(failed(Step::Fetching, &error, cancel.is_cancelled(), &log)),
            }
        }
        let remote = match remote {
            Some(Ok(remote)) => remote,
            Some(Err(problem)) => return Err(ended(Step::Fetching, problem, false, &log)),
            None => return Err(cancelled(Step::Fetching)),
        };
        let request = CheckoutRequest {
            remote: &remote,
            commit: &self.commit,
            spec: &self.spec,
            submodules: self.submodules,
        };
        let fetching = tools.git.checkout(request, &tools.work_dir, &log, &cancel);
        let checkout = match tokio::time::timeout(self.request.timeout, fetching).await {
            Ok(Ok(checkout)) => checkout,
            Ok(Err(error)) => {
                return Err(failed(Step::Fetching, &error, cancel.is_cancelled(), &log));
            }
            Err(_) => {
                let error = BuildError::Timeout(self.request.timeout);
                return Err(failed(Step::Fetching, &error, false, &log));
            }
        };
        stage.building();
        let built_at = Timestamp::now();
        self.request.root = checkout.root();
        let commit = Some((checkout.message.clone(), checkout.author.clone()));
        let built = tools.builder.build(&self.request, &log, &cancel).await;
        tools.cache.build_ended(&tools.builder);
        let mut image = match built {
            Ok(image) => image,
            Err(error) => {
                let error = error.with_source_path(self.fields.path);
                let cancelled = matches!(error, BuildError::Cancelled);
                return Err(JobFailure {
                    commit,
                    built_at: Some(built_at),
                    ..failed(Step::Building, &error, cancelled, &log)
                });
            }
        };
        let mut pushed_at = None;
        if self.export.is_pushed() {
            let began = Timestamp::now();
            stage.pushing(began);
            pushed_at = Some(began);
            let login = self.push_login.as_ref();
            let pushed = tools.builder.push(&image, self.export, login, &log, &cancel);
            image = match tokio::time::timeout(self.request.timeout, pushed).await {
                Ok(Ok(pushed)) => pushed,
                Ok(Err(error)) => {
                    return Err(JobFailure {
                        commit,
                        built_at: Some(built_at),
                        pushed_at,
                        ..failed(Step::Pushing, &error, cancel.is_cancelled(), &log)
                    });
                }
                Err(_) => {
                    let error = BuildError::Timeout(self.request.timeout);
                    return Err(JobFailure {
                        commit,
                        built_at: Some(built_at),
                        pushed_at,
                        ..failed(Step::Pushing, &error, false, &log)
                    });
                }
            };
        }
        Ok(JobOutput {
            image: image.id,
            tag: Some(image.tag),
            builder: Some(image.builder),
            details: image.details,
            message: Some(checkout.message.clone()),
            author: Some(checkout.author.clone()),
            fetched_at: Some(fetched_at),
            built_at: Some(built_at),
            pushed_at,
            reused: false,
        })
    }
}

impl PullWork {
    /// Does it.
    ///
    /// # Errors
    /// Whatever went wrong, with the last lines of the log.
    pub async fn run(
        self,
        tools: Tools,
        log: JobLog,
        cancel: CancellationToken,
    ) -> Result<JobOutput, JobFailure> {
        let fetched_at = Timestamp::now();
        if tools.registries.is_some() {
            log.write(&format!("{} is pulled by the nodes that run it", self.image));
            return Ok(JobOutput {
                image: self.image,
                fetched_at: Some(fetched_at),
                ..JobOutput::default()
            });
        }
        let Some(engine) = &tools.docker else {
            let problem = Problem::new(
                Class::Terminal,
                Reason::NotSupported,
                "there is no engine here to pull images with",
            );
            return Err(ended(Step::Fetching, problem, false, &log));
        };
        let stop = |error| failed(Step::Fetching, &error, cancel.is_cancelled(), &log);
        let is_there = image::is_there(engine, &self.image).await.map_err(stop)?;
        let begun = match &self.tag {
            Some(tag) if !is_there => {
                let begun = self.pulls.begin(&self.image, tag);
                let begun = begun.map_err(|error| io_problem("remember what is pulled", &error));
                Some(begun.map_err(|problem| ended(Step::Fetching, problem, false, &log))?)
            }
            _ => None,
        };
        let pulled = image::pull(engine, &self.image, self.login.as_ref(), &log, &cancel);
        pulled.await.map_err(stop)?;
        let mut tag = self.tag;
        if let Some(wanted) = &tag {
            let adopted = tools.builder.adopt(&self.image, wanted, begun.is_some());
            let adopted = adopted
                .await
                .map_err(|error| failed(Step::Fetching, &error, false, &log))?;
            tag = tag.filter(|_| adopted);
        }
        Ok(JobOutput {
            image: self.image,
            tag,
            fetched_at: Some(fetched_at),
            ..JobOutput::default()
        })
    }
}
