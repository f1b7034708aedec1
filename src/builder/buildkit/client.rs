//! A build from its request to its end. A build that is stopped has ended in the engine too.

use std::io;
use std::pin::pin;
use std::time::Duration;

use bollard::Docker;
use tokio::time::{sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::engine_http::{Place, Wire};
use super::errors::{classify, engine};
use super::options::{BuildOptions, SolveRequest, query};
use super::progress::Progress;
use super::session::{Session, SessionContent};
use super::stream::read;
use crate::builder::error::BuildError;
use crate::job_log::JobLog;

/// How long the engine may take to stop a build before its connection is simply closed.
const STOP_WITHIN: Duration = Duration::from_secs(10);
/// In how many lines at the end of its log a step that failed says why.
const LAST_LINES: usize = 8;
/// The pause between two requests to stop.
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// The BuildKit of a Docker Engine.
#[derive(Debug)]
pub struct BuildKit {
    docker: Docker,
    wire: Wire,
}

impl BuildKit {
    /// The BuildKit of the engine at `place`, which `docker` is connected to too.
    pub fn new(docker: Docker, place: Place) -> Self {
        Self {
            docker,
            wire: Wire::new(place),
        }
    }

    /// Builds, and when it must not go on, returns only after the engine has stopped.
    pub async fn run(
        &self,
        request: SolveRequest,
        options: &BuildOptions<'_>,
        log: &JobLog,
        cancel: &CancellationToken,
    ) -> Result<Option<Vec<u8>>, BuildError> {
        if cancel.is_cancelled() {
            return Err(BuildError::Cancelled);
        }
        let build_id = Uuid::new_v4().simple().to_string();
        let mut work = pin!(self.solve(request, options, &build_id, log));
        let why = tokio::select! {
            biased;
            () = cancel.cancelled() => BuildError::Cancelled,
            done = &mut work => return done,
            () = sleep_until(options.deadline) => BuildError::Timeout(options.limit),
        };
        log.write(if matches!(why, BuildError::Cancelled) {
            "stop: cancelled"
        } else {
            "stop: the time is over"
        });
        let path = format!("/build/cancel?id={build_id}");
        // Asked for more than once, because the engine does not know the id yet while a build begins.
        let stopped = timeout(STOP_WITHIN, async {
            loop {
                let mut ask = pin!(async {
                    // An engine that does not answer has nothing to stop; what counts is that the work ends.
                    let _ = timeout(STOP_WITHIN, self.wire.post(&path, &[])).await;
                    sleep(ASK_AGAIN).await;
                });
                tokio::select! {
                    _ = &mut work => return,
                    () = &mut ask => {}
                }
            }
        });
        if stopped.await.is_err() {
            log.write("the engine did not say that it has stopped; its connection is closed");
        }
        Err(why)
    }

    /// One build, to its end. Dropped before, it makes the engine stop.
    async fn solve(
        &self,
        request: SolveRequest,
        options: &BuildOptions<'_>,
        build_id: &str,
        log: &JobLog,
    ) -> Result<Option<Vec<u8>>, BuildError> {
        let query = query(&request, options, build_id)?;
        let registries = options.registries.for_build(&request.images);
        let registries = registries.map_err(|why| BuildError::NotSupported {
            field: "spec.build.pullSecretRef",
            why,
        })?;
        let content = SessionContent {
            trees: request.trees,
            secrets: request.secrets,
            registries,
            shared_key: options.shared_key.clone(),
        };
        let session = Session::open(&self.wire, content).await?;
        let path = format!("/build?{query}&session={}", session.id);
        let mut progress = Progress::named(request.names);
        let answer = self.wire.post(&path, &[]).await?;
        let failed = read(answer.response.into_body(), &mut progress, log).await?;
        match session.unreadable.take() {
            // Another attempt cannot send this file either.
            Some(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(BuildError::FileName(error.to_string()));
            }
            Some(error) => return Err(BuildError::Io(error)),
            None => {}
        }
        if let Some(message) = failed {
            let message = log.mask(&message);
            let failure = progress.failure().cloned().map(|mut failure| {
                failure.step = log.mask(&failure.step);
                failure.error = log.mask(&failure.error);
                failure
            });
            let mut error = classify(&message, failure.as_ref());
            if is_step(&error) && said_full(&log.tail()) {
                error = BuildError::DiskFull;
            }
            // An engine that stops takes the steps of its builds down, and says of them what it says of a step that fails.
            return Err(match self.docker.ping().await {
                Err(gone) if is_step(&error) => engine(&gone),
                _ => error,
            });
        }
        Ok(session.archive.take())
    }
}

/// Whether a step of the build failed.
fn is_step(error: &BuildError) -> bool {
    matches!(error, BuildError::Failed(_) | BuildError::Exit { .. })
}

/// A step that wants more space than there is ends like any other that fails; why is in what it said last.
fn said_full(tail: &str) -> bool {
    let last = tail.lines().rev().take(LAST_LINES);
    last.into_iter()
        .any(|line| line.to_lowercase().contains("no space left on device"))
}
