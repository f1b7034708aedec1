//! The work of a job: fetch and build, or pull. It ends only after all its processes and requests.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::api::Reason;
use crate::builder::{BuildError, BuildRequest, Export};
use crate::error::{Class, Problem};
use crate::image::{self, RegistryAccess};
use crate::job_log::JobLog;
use crate::model::{CommitId, Digest, RefSpec, RegistryLogin};
use crate::plan::Step;
use crate::plan::state::{JobFailure, JobOutput};
use crate::source::archive::{self, ArchiveError, Limits, Summary};
use crate::source::{CheckoutRequest, Fields, GitRemote};

use super::job_failure::{cancelled, ended, failed, panicked};
use super::job_queue::Stage;
use super::problem::io_problem;
use super::pull_journal::Pulls;
use super::tools::Tools;

/// Where what is built comes from.
#[expect(clippy::large_enum_variant, reason = "a job has one of them")]
pub enum Fetch {
    /// A commit.
    Git {
        /// The fields of the source that messages name.
        fields: Fields,
        /// The repository; `None` if the job was cancelled before its credential was there.
        remote: Option<Result<GitRemote, Problem>>,
        /// Which commit.
        commit: CommitId,
        /// The ref that named it, for servers that give no commit by its hash.
        spec: RefSpec,
        /// With submodules.
        submodules: bool,
    },
    /// An upload.
    Upload {
        /// The digest of its content.
        digest: Digest,
        /// The archive.
        archive: PathBuf,
    },
}

/// What was fetched.
struct Fetched {
    dir: TempDir,
    /// The first line of the commit's message, and its author.
    commit: Option<(String, String)>,
    /// The field that names the directory that is built.
    path_field: &'static str,
}

impl Fetch {
    async fn run(
        self,
        tools: &Tools,
        timeout: Duration,
        log: &JobLog,
        cancel: &CancellationToken,
    ) -> Result<Fetched, JobFailure> {
        let timed_out = || failed(Step::Fetching, &BuildError::Timeout(timeout), false, log);
        match self {
            Self::Git {
                fields,
                remote,
                commit,
                spec,
                submodules,
            } => {
                let remote = match remote {
                    Some(Ok(remote)) => remote,
                    Some(Err(problem)) => return Err(ended(Step::Fetching, problem, false, log)),
                    None => return Err(cancelled(Step::Fetching)),
                };
                let request = CheckoutRequest {
                    remote: &remote,
                    commit: &commit,
                    spec: &spec,
                    submodules,
                };
                let fetching = tools.git.checkout(request, &tools.work_dir, log, cancel);
                match tokio::time::timeout(timeout, fetching).await {
                    Ok(Ok(checkout)) => Ok(Fetched {
                        dir: checkout.dir,
                        commit: Some((checkout.message, checkout.author)),
                        path_field: fields.path,
                    }),
                    Ok(Err(error)) => Err(failed(Step::Fetching, &error, cancel.is_cancelled(), log)),
                    Err(_) => Err(timed_out()),
                }
            }
            Self::Upload { digest, archive } => {
                log.write(&format!("Unpacking the upload {digest}"));
                let stop = cancel.child_token();
                // Dropped with this future, so that the blocking part ends, too.
                let guard = stop.clone().drop_guard();
                let (work_dir, limits) = (tools.work_dir.clone(), tools.uploads.limits().clone());
                let unpacking =
                    tokio::task::spawn_blocking(move || unpack(&work_dir, &archive, &digest, &limits, &stop));
                let unpacked = tokio::time::timeout(timeout, unpacking).await;
                drop(guard);
                match unpacked {
                    Ok(Ok(Ok((dir, summary)))) => {
                        log.write(&format!(
                            "Unpacked {} files, {} bytes",
                            summary.files, summary.bytes
                        ));
                        Ok(Fetched {
                            dir,
                            commit: None,
                            path_field: "spec.source.drop.path",
                        })
                    }
                    Ok(Ok(Err(error))) => Err(failed(Step::Fetching, &error, cancel.is_cancelled(), log)),
                    Ok(Err(error)) => Err(panicked(&error)),
                    Err(_) => Err(timed_out()),
                }
            }
        }
    }
}

/// Unpacks an upload into a directory of its own. Blocks.
fn unpack(
    work_dir: &Path,
    archive: &Path,
    digest: &Digest,
    limits: &Limits,
    stop: &CancellationToken,
) -> Result<(TempDir, Summary), ArchiveError> {
    let dir = tempfile::Builder::new().prefix("upload-").tempdir_in(work_dir);
    let dir = dir.map_err(ArchiveError::written)?;
    let summary = archive::unpack(archive, dir.path(), limits, stop)?;
    if summary.digest != *digest {
        let digest = digest.to_string();
        return Err(ArchiveError::Changed { digest });
    }
    Ok((dir, summary))
}

/// Fetches what is built, and builds it.
pub struct BuildWork {
    /// How; `root` is filled in here.
    pub request: BuildRequest,
    /// Where the image is wanted.
    pub export: Export,
    /// Build although the image exists.
    pub again: bool,
    /// The access to the image's registry.
    pub access: RegistryAccess,
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
    /// Does it.
    ///
    /// # Errors
    /// Whatever went wrong, in which step, with the last lines of the log.
    pub async fn run(
        mut self,
        tools: Tools,
        fetch: Fetch,
        log: JobLog,
        stage: Stage,
        cancel: CancellationToken,
    ) -> Result<JobOutput, JobFailure> {
        let fetched_at = Timestamp::now();
        if self.export.is_pushed() && !self.again {
            let tag = &self.request.tag;
            let found = tools
                .builder
                .find_pushed(tag, self.export, &self.access, &log, &cancel);
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
        let timeout = self.request.timeout;
        let fetched = fetch.run(&tools, timeout, &log, &cancel).await?;
        stage.building();
        let built_at = Timestamp::now();
        fetched.dir.path().clone_into(&mut self.request.root);
        let commit = fetched.commit.clone();
        let built = tools.builder.build(&self.request, &log, &cancel).await;
        tools.cache.build_ended(&tools.builder);
        let mut image = match built {
            Ok(image) => image,
            Err(error) => {
                let error = error.with_source_path(fetched.path_field);
                let cancelled = matches!(error, BuildError::Cancelled);
                return Err(JobFailure {
                    commit,
                    built_at: Some(built_at),
                    builder: self.request.found.told().map(Box::new),
                    ..failed(Step::Building, &error, cancelled, &log)
                });
            }
        };
        let mut pushed_at = None;
        if self.export.is_pushed() {
            let began = Timestamp::now();
            stage.pushing(began);
            pushed_at = Some(began);
            let pushed = tools
                .builder
                .push(&image, self.export, &self.access, &log, &cancel);
            image = match tokio::time::timeout(self.request.timeout, pushed).await {
                Ok(Ok(pushed)) => pushed,
                Ok(Err(error)) => {
                    return Err(JobFailure {
                        commit,
                        built_at: Some(built_at),
                        pushed_at,
                        builder: self.request.found.told().map(Box::new),
                        ..failed(Step::Pushing, &error, cancel.is_cancelled(), &log)
                    });
                }
                Err(_) => {
                    let error = BuildError::Timeout(self.request.timeout);
                    return Err(JobFailure {
                        commit,
                        built_at: Some(built_at),
                        pushed_at,
                        builder: self.request.found.told().map(Box::new),
                        ..failed(Step::Pushing, &error, false, &log)
                    });
                }
            };
        }
        let (message, author) = fetched.commit.unzip();
        Ok(JobOutput {
            image: image.id,
            tag: Some(image.tag),
            builder: Some(image.builder),
            details: image.details,
            message,
            author,
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
