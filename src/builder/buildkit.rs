//! The build call: a session, the request, its lines, and an end that is an end in the engine too.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use async_trait::async_trait;
use bollard::Docker;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::build_options::{Order, Plan, query, shared_key};
use super::build_stream::read;
use super::engine_http::{Place, Wire};
use super::error_classification::classify;
use super::image_ownership::Owner;
use super::paths::Root;
use super::progress::Progress;
use super::session::{Offer, Session};
use super::static_server_image::OwnServer;
use super::{
    BuildError, BuildRequest, BuildType, Builder, BuiltImage, detect, dockerfile, images, static_site,
};
use crate::api::StaticSite;
use crate::job_log::JobLog;
use crate::model::AppId;

/// How long the engine may take to stop a build before its connection is simply closed.
const STOP_WITHIN: Duration = Duration::from_secs(10);
/// In how many lines at the end of its log a step that failed says why.
const LAST_LINES: usize = 8;
/// The pause between two requests to stop.
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// Settings of a [`DockerBuilder`].
#[derive(Clone, Debug)]
pub struct BuilderOptions {
    /// Where the engine is.
    pub engine: Place,
    /// Davit's own program, statically linked: it serves static sites. By default the one that runs.
    pub executable: PathBuf,
    /// The name of this Davit among those that share the engine: only images with it are seen.
    pub instance: String,
    /// What sets it apart from another one of that name: only its own images are found and removed. Empty by default:
    /// there is none.
    pub installation: String,
}

impl BuilderOptions {
    /// For an engine on this machine, behind this socket file.
    pub fn new(socket: impl Into<PathBuf>, instance: impl Into<String>) -> Self {
        Self::at(Place::Socket(socket.into()), instance)
    }

    /// For an engine anywhere.
    pub fn at(engine: Place, instance: impl Into<String>) -> Self {
        Self {
            engine,
            executable: PathBuf::from("/proc/self/exe"),
            instance: instance.into(),
            installation: String::new(),
        }
    }

    /// Whose the images are that a builder with these options makes.
    pub(super) fn owner(&self) -> Owner<'_> {
        Owner {
            instance: &self.instance,
            installation: &self.installation,
        }
    }
}

/// Builds with the BuildKit of a Docker Engine.
#[derive(Debug)]
pub struct DockerBuilder {
    pub(super) docker: Docker,
    wire: Wire,
    pub(super) options: BuilderOptions,
    pub(super) server: OwnServer,
}

impl DockerBuilder {
    /// Builds with `docker`, which answers at `options.engine` too.
    pub fn new(docker: Docker, options: BuilderOptions) -> Self {
        let wire = Wire::new(options.engine.clone());
        Self {
            docker,
            wire,
            options,
            server: OwnServer::default(),
        }
    }

    /// The label of all that this Davit makes, and more.
    pub(super) fn labels(&self, more: &[(&str, &str)]) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::from([(images::INSTANCE.to_owned(), self.options.instance.clone())]);
        if !self.options.installation.is_empty() {
            labels.insert(images::INSTALLATION.to_owned(), self.options.installation.clone());
        }
        labels.extend(
            more.iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        labels
    }

    /// Builds, and when it must not go on, returns only after the engine has stopped.
    pub(super) async fn run(
        &self,
        plan: Plan,
        order: &Order<'_>,
        log: &JobLog,
        cancel: &CancellationToken,
    ) -> Result<String, BuildError> {
        if cancel.is_cancelled() {
            return Err(BuildError::Cancelled);
        }
        let build_id = Uuid::new_v4().simple().to_string();
        let mut work = pin!(self.solve(plan, order, &build_id, log));
        let why = tokio::select! {
            biased;
            () = cancel.cancelled() => BuildError::Cancelled,
            done = &mut work => return done,
            () = sleep_until(order.deadline) => BuildError::Timeout(order.limit),
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
        plan: Plan,
        order: &Order<'_>,
        build_id: &str,
        log: &JobLog,
    ) -> Result<String, BuildError> {
        let query = query(&plan, order, build_id)?;
        let offer = Offer {
            trees: plan.trees,
            secrets: plan.secrets,
            registries: order.registries.clone(),
            shared_key: order.shared_key.clone(),
        };
        let session = Session::open(&self.wire, offer).await?;
        let path = format!("/build?{query}&session={}", session.id);
        let mut progress = Progress::default();
        let answer = self.wire.post(&path, &[]).await?;
        let failed = read(answer.response.into_body(), &mut progress, log).await?;
        match session.unreadable.take() {
            // A file that nobody can send, however often it is tried.
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
            if matches!(error, BuildError::Failed(_)) && said_full(&log.tail()) {
                error = BuildError::DiskFull;
            }
            // An engine that stops takes the steps of its builds down, and says of them what it says of a step that fails.
            return Err(match self.docker.ping().await {
                Err(gone) if matches!(error, BuildError::Failed(_)) => images::engine(&gone),
                _ => error,
            });
        }
        let found = images::inspect(&self.docker, order.tag).await?;
        let (id, _) =
            found.ok_or_else(|| BuildError::Engine(format!("the build ended without {}", order.tag)))?;
        Ok(id)
    }
}

#[async_trait]
impl Builder for DockerBuilder {
    async fn build(
        &self,
        request: &BuildRequest,
        log: &JobLog,
        cancel: &CancellationToken,
    ) -> Result<BuiltImage, BuildError> {
        let deadline = Instant::now() + request.timeout;
        refuse_limits(request)?;
        let (top, path, given) = (
            request.root.clone(),
            request.path.clone(),
            request.build_type.clone(),
        );
        let (root, kind) = blocking(move || {
            let root = Root::open(&top, &path)?;
            let detected = || detect::detect(|path| root.has_file(path)).map_err(BuildError::NotDetected);
            let kind = given.map_or_else(detected, Ok)?;
            Ok((root, kind))
        })
        .await?;
        if request.build_type.is_none() {
            log.write(&format!("build type: {}", kind.name()));
        }
        let mut labels = request.labels.clone();
        labels.extend(self.labels(&[
            (images::NAMESPACE, &request.app.namespace),
            (images::APPLICATION, &request.app.name),
            (images::BUILDER, kind.name()),
        ]));
        let order = Order {
            tag: &request.tag,
            labels,
            registries: &request.registries,
            no_cache: request.no_cache,
            shared_key: shared_key(&self.options.instance, &request.app),
            deadline,
            limit: request.timeout,
        };
        let server = match &kind {
            BuildType::Static(StaticSite { image: None, .. }) => self.own_server(&order, log, cancel).await?,
            BuildType::Static(_) | BuildType::Dockerfile(_) => String::new(),
        };
        let planned = (kind.clone(), request.clone());
        let plan = blocking(move || match &planned.0 {
            BuildType::Dockerfile(settings) => dockerfile::plan(&root, settings, &planned.1),
            BuildType::Static(site) => static_site::plan(&root, site, &planned.1, &server),
        })
        .await?;
        let id = self.run(plan, &order, log, cancel).await?;
        Ok(BuiltImage {
            id,
            tag: request.tag.clone(),
            builder: kind.name().to_owned(),
        })
    }

    async fn find(&self, tag: &str) -> Result<Option<BuiltImage>, BuildError> {
        images::find(&self.docker, self.options.owner(), tag).await
    }

    async fn images(&self, app: &AppId) -> Result<Vec<BuiltImage>, BuildError> {
        images::of(&self.docker, self.options.owner(), app).await
    }

    async fn adopt(&self, image: &str, tag: &str, pulled: bool) -> Result<bool, BuildError> {
        images::adopt(&self.docker, image, tag, pulled).await
    }

    async fn remove(&self, tag: &str) -> Result<(), BuildError> {
        images::remove(&self.docker, self.options.owner(), tag).await
    }
}

/// A step that wants more space than there is ends like any other that fails; why is in what it said last.
fn said_full(tail: &str) -> bool {
    let last = tail.lines().rev().take(LAST_LINES);
    last.into_iter()
        .any(|line| line.to_lowercase().contains("no space left on device"))
}

fn refuse_limits(request: &BuildRequest) -> Result<(), BuildError> {
    if request.cpu.is_none() && request.memory.is_none() {
        return Ok(());
    }
    let why = "the BuildKit of a Docker Engine has no limits for a single build".to_owned();
    Err(BuildError::NotSupported {
        field: "spec.build.resources",
        why,
    })
}

/// Runs what reads files where it may wait.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BuildError> + Send + 'static,
) -> Result<T, BuildError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(BuildError::Engine(format!("a task ended early: {error}"))))
}
