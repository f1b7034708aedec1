//! What a job does: fetch and build, or pull. It runs beside the passes and ends only when nothing of it runs any more.

use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::api::Reason;
use crate::builder::{BuildError, BuildRequest, Builder};
use crate::error::{Class, Explain, Problem};
use crate::job_log::JobLog;
use crate::model::{CommitId, RefSpec, RegistryLogin};
use crate::plan::state::{JobFailure, JobOutput};
use crate::source::{CheckoutRequest, Fields, Git, GitRemote, image};

use super::job_queue::Stage;
use super::pull_journal::Pulls;

/// What a job needs of the outside.
#[derive(Clone)]
pub struct Tools {
    /// Fetches commits.
    pub git: Arc<Git>,
    /// Makes images.
    pub builder: Arc<dyn Builder>,
    /// Pulls images; nothing where there is no engine of our own.
    pub docker: Option<image::Docker>,
    /// Where checkouts are made.
    pub work_dir: PathBuf,
}

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
}

/// Pulls an image.
pub struct PullWork {
    /// Pinned to a digest, or the id of a local image.
    pub image: String,
    /// Who one is at the registry.
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
        let remote = match remote {
            Some(Ok(remote)) => remote,
            Some(Err(problem)) => return Err(ended("Fetching", problem, false, &log)),
            None => return Err(cancelled("Fetching")),
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
                return Err(failed("Fetching", &error, cancel.is_cancelled(), &log));
            }
            Err(_) => {
                let error = BuildError::Timeout(self.request.timeout);
                return Err(failed("Fetching", &error, false, &log));
            }
        };
        stage.building();
        let built_at = Timestamp::now();
        self.request.root = checkout.root();
        match tools.builder.build(&self.request, &log, &cancel).await {
            Ok(image) => Ok(JobOutput {
                image: image.id,
                tag: Some(image.tag),
                builder: Some(image.builder),
                message: Some(checkout.message.clone()),
                author: Some(checkout.author.clone()),
                fetched_at: Some(fetched_at),
                built_at: Some(built_at),
            }),
            Err(error) => {
                let error = error.with_source_path(self.fields.path);
                let cancelled = matches!(error, BuildError::Cancelled);
                Err(JobFailure {
                    commit: Some((checkout.message.clone(), checkout.author.clone())),
                    built_at: Some(built_at),
                    ..failed("Building", &error, cancelled, &log)
                })
            }
        }
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
        let Some(engine) = &tools.docker else {
            let problem = Problem::new(
                Class::Terminal,
                Reason::NotSupported,
                "there is no engine here to pull images with",
            );
            return Err(ended("Fetching", problem, false, &log));
        };
        let stop = |error| failed("Fetching", &error, cancel.is_cancelled(), &log);
        let is_there = image::is_there(engine, &self.image).await.map_err(stop)?;
        let begun = match &self.tag {
            Some(tag) if !is_there => {
                let begun = self.pulls.begin(&self.image, tag);
                let begun = begun.map_err(|error| super::io_problem("remember what is pulled", &error));
                Some(begun.map_err(|problem| ended("Fetching", problem, false, &log))?)
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
                .map_err(|error| failed("Fetching", &error, false, &log))?;
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

fn failed(step: &'static str, error: &(impl Explain + 'static), cancelled: bool, log: &JobLog) -> JobFailure {
    let problem = Problem::masked(error, |text| log.mask(text));
    ended(step, problem, cancelled, log)
}

fn ended(step: &'static str, problem: Problem, cancelled: bool, log: &JobLog) -> JobFailure {
    log.write(&format!("{step} failed: {}", problem.message));
    JobFailure {
        at: Timestamp::now(),
        problem,
        cancelled,
        step,
        log_tail: log.tail(),
        commit: None,
        built_at: None,
    }
}

/// A job that was told to stop before it did anything.
pub fn cancelled(step: &'static str) -> JobFailure {
    let problem = Problem::new(Class::Terminal, Reason::Cancelled, "it was cancelled");
    JobFailure {
        at: Timestamp::now(),
        problem,
        cancelled: true,
        step,
        log_tail: String::new(),
        commit: None,
        built_at: None,
    }
}

/// A job that panicked: a defect of ours, told as such.
pub fn panicked(error: &tokio::task::JoinError) -> JobFailure {
    tracing::error!(%error, "a job panicked");
    let problem = Problem::new(
        Class::Terminal,
        Reason::Internal,
        "a defect in Davit ended the job; see its log",
    );
    JobFailure {
        at: Timestamp::now(),
        problem,
        cancelled: false,
        step: "Building",
        log_tail: String::new(),
        commit: None,
        built_at: None,
    }
}

/// A log that cannot be opened.
pub fn no_log(error: &std::io::Error) -> JobFailure {
    let full = error.kind() == std::io::ErrorKind::StorageFull;
    let reason = if full { Reason::DiskFull } else { Reason::Internal };
    let problem = Problem::new(
        Class::Transient,
        reason,
        format!("open the log of the release: {error}"),
    );
    JobFailure {
        at: Timestamp::now(),
        problem,
        cancelled: false,
        step: "Fetching",
        log_tail: String::new(),
        commit: None,
        built_at: None,
    }
}
