//! The build call: a session, the request, its lines, and an end that is an end in the engine too.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use bollard::Docker;
use bollard::moby::buildkit::v1::StatusResponse;
use bytes::BytesMut;
use http_body_util::BodyExt as _;
use prost::Message as _;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Mutex, OnceCell};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::failure::classify;
use super::filesync::Trees;
use super::paths::Root;
use super::progress::Progress;
use super::session::{Offer, Session};
use super::wire::{Wire, unavailable};
use super::{
    BuildError, BuildRequest, BuildType, Builder, BuiltImage, detect, dockerfile, images, static_site,
};
use crate::joblog::JobLog;
use crate::model::{AppId, RegistryLogin};
use crate::redact::Secret;

/// How long the engine may take to stop a build before its connection is simply closed.
const STOP_WITHIN: Duration = Duration::from_secs(10);
/// The pause between two requests to stop.
const ASK_AGAIN: Duration = Duration::from_millis(250);
/// The longest line of the engine's answer, in bytes; BuildKit's own limit for a message is 16 MiB.
const LONGEST_ANSWER: usize = 32 * 1024 * 1024;
/// The repository of the images with Davit's own web server; the tag is the hash of the program.
const SERVER: &str = "davit-static";

/// Settings of a [`DockerBuilder`].
#[derive(Clone, Debug)]
pub struct BuilderOptions {
    /// The engine's socket.
    pub socket: PathBuf,
    /// Davit's own program, statically linked: it serves static sites. By default the one that runs.
    pub executable: PathBuf,
    /// The name of this Davit among those that share the engine: only images with it are seen.
    pub instance: String,
}

impl BuilderOptions {
    /// For an engine on this machine.
    pub fn new(socket: impl Into<PathBuf>, instance: impl Into<String>) -> Self {
        Self {
            socket: socket.into(),
            executable: PathBuf::from("/proc/self/exe"),
            instance: instance.into(),
        }
    }
}

/// Builds with the BuildKit of a Docker Engine.
#[derive(Debug)]
pub struct DockerBuilder {
    docker: Docker,
    wire: Wire,
    options: BuilderOptions,
    server_tag: OnceCell<String>,
    server_build: Mutex<()>,
}

/// What BuildKit is given.
#[derive(Debug)]
pub struct Plan {
    /// The files that it may ask for.
    pub trees: Trees,
    /// The name of the Dockerfile in the tree `dockerfile`.
    pub dockerfile: String,
    /// The stage.
    pub target: Option<String>,
    /// Build arguments.
    pub args: BTreeMap<String, Secret>,
    /// Build secrets.
    pub secrets: BTreeMap<String, Secret>,
}

/// How a plan is built.
struct Order<'a> {
    tag: &'a str,
    labels: BTreeMap<String, String>,
    registries: &'a BTreeMap<String, RegistryLogin>,
    no_cache: bool,
    shared_key: String,
    deadline: Instant,
    limit: Duration,
}

impl DockerBuilder {
    /// Builds with `docker`, which answers at `options.socket` too.
    pub fn new(docker: Docker, options: BuilderOptions) -> Self {
        let wire = Wire::new(&options.socket);
        Self {
            docker,
            wire,
            options,
            server_tag: OnceCell::new(),
            server_build: Mutex::new(()),
        }
    }

    /// The image with Davit's own web server, made at its first use and again where it is gone.
    async fn own_server(
        &self,
        order: &Order<'_>,
        log: &JobLog,
        cancel: &CancellationToken,
    ) -> Result<String, BuildError> {
        let executable = self.options.executable.clone();
        let tag = self
            .server_tag
            .get_or_try_init(|| async {
                let instance = self.options.instance.clone();
                let hash = blocking(move || hash(&executable, &instance)).await?;
                Ok::<_, BuildError>(format!("{SERVER}:{hash}"))
            })
            .await?;
        // One at a time: several sites may want it first.
        let _one = self.server_build.lock().await;
        if images::inspect(&self.docker, tag).await?.is_some() {
            return Ok(tag.clone());
        }
        log.write("make the image with Davit's web server");
        let executable = self.options.executable.clone();
        let program = blocking(move || std::fs::File::open(executable)).await?;
        let order = Order {
            tag,
            labels: self.labels(&[(images::BUILDER, SERVER)]),
            registries: &BTreeMap::new(),
            no_cache: false,
            shared_key: tag.clone(),
            ..*order
        };
        self.run(static_site::server(program), &order, log, cancel)
            .await?;
        self.remove_old_servers(tag).await;
        Ok(tag.clone())
    }

    /// Removes the servers of earlier versions of this Davit. The sites on them keep their layers.
    async fn remove_old_servers(&self, current: &str) {
        let labels = [
            (images::INSTANCE, self.options.instance.as_str()),
            (images::BUILDER, SERVER),
        ];
        match images::labelled(&self.docker, &labels).await {
            Ok(servers) => {
                // The label is inherited by the sites built on them, hence the name as well.
                let old = |tag: &str| tag != current && tag.starts_with(&format!("{SERVER}:"));
                for image in servers.iter().filter(|image| old(&image.tag)) {
                    if let Err(error) = self.remove(&image.tag).await {
                        tracing::warn!(tag = image.tag, %error, "cannot remove an old image");
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "cannot list old images"),
        }
    }

    fn labels(&self, more: &[(&str, &str)]) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::from([(images::INSTANCE.to_owned(), self.options.instance.clone())]);
        labels.extend(
            more.iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        labels
    }

    /// Builds, and when it must not go on, returns only after the engine has stopped.
    async fn run(
        &self,
        plan: Plan,
        order: &Order<'_>,
        log: &JobLog,
        cancel: &CancellationToken,
    ) -> Result<String, BuildError> {
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
        let failed = match self.wire.post(&path, &[]).await {
            Ok(answer) => {
                let _connection = answer.connection;
                read(answer.response.into_body(), &mut progress, log).await?
            }
            // Said before anything began, for instance that the Dockerfile is empty.
            Err(BuildError::Engine(message)) => Some(message),
            Err(error) => return Err(error),
        };
        if let Some(error) = session.unreadable.take() {
            return Err(BuildError::Io(error));
        }
        if let Some(message) = failed {
            let message = log.mask(&message);
            let failure = progress.failure().cloned().map(|mut failure| {
                failure.step = log.mask(&failure.step);
                failure.error = log.mask(&failure.error);
                failure
            });
            return Err(classify(&message, failure.as_ref()));
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
        let (root, path) = (request.root.clone(), request.path.clone());
        let root = blocking_build(move || Root::open(&root, &path)).await?;
        let kind = match &request.build_type {
            Some(kind) => kind.clone(),
            None => detect::detect(|path| root.has_file(path)).map_err(BuildError::NotDetected)?,
        };
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
        let plan = match &kind {
            BuildType::Dockerfile(settings) => dockerfile::plan(&root, settings, request)?,
            BuildType::Static(site) => {
                let server = match site.image {
                    Some(_) => String::new(),
                    None => self.own_server(&order, log, cancel).await?,
                };
                static_site::plan(&root, site, request, &server)?
            }
        };
        let id = self.run(plan, &order, log, cancel).await?;
        Ok(BuiltImage {
            id,
            tag: request.tag.clone(),
            builder: kind.name().to_owned(),
        })
    }

    async fn find(&self, tag: &str) -> Result<Option<BuiltImage>, BuildError> {
        images::find(&self.docker, &self.options.instance, tag).await
    }

    async fn images(&self, app: &AppId) -> Result<Vec<BuiltImage>, BuildError> {
        images::of(&self.docker, &self.options.instance, app).await
    }

    async fn remove(&self, tag: &str) -> Result<(), BuildError> {
        images::remove(&self.docker, &self.options.instance, tag).await
    }
}

/// A line of the engine's answer.
#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    id: String,
    aux: Option<serde_json::Value>,
    error: Option<String>,
}

/// Reads the answer to its end: nothing, or what the build failed with.
async fn read(
    mut body: hyper::body::Incoming,
    progress: &mut Progress,
    log: &JobLog,
) -> Result<Option<String>, BuildError> {
    let mut buffer = BytesMut::new();
    let mut failed = None;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|error| unavailable(&error))?.into_data() else {
            continue;
        };
        let searched = buffer.len();
        buffer.extend_from_slice(&data);
        let mut from = searched;
        while let Some(at) = buffer
            .get(from..)
            .and_then(|rest| rest.iter().position(|byte| *byte == b'\n'))
        {
            let line = buffer.split_to(from + at + 1);
            from = 0;
            if let Some(error) = take_in(&line, progress, log) {
                failed = Some(error);
            }
        }
        if buffer.len() > LONGEST_ANSWER {
            return Err(BuildError::Engine("the engine's answer does not end".to_owned()));
        }
    }
    if let Some(error) = take_in(&buffer, progress, log) {
        failed = Some(error);
    }
    Ok(failed)
}

/// Takes in a line; returns the error that it may tell.
fn take_in(line: &[u8], progress: &mut Progress, log: &JobLog) -> Option<String> {
    let line: Line = serde_json::from_slice(line.trim_ascii()).ok()?;
    if line.id == "moby.buildkit.trace"
        && let Some(text) = line.aux.as_ref().and_then(serde_json::Value::as_str)
        && let Ok(bytes) = base64::engine::general_purpose::STANDARD.decode(text)
        && let Ok(status) = StatusResponse::decode(bytes.as_slice())
    {
        progress.report(status, log);
    }
    line.error
}

/// The query of `/build`, but for the session.
fn query(plan: &Plan, order: &Order<'_>, build_id: &str) -> Result<String, BuildError> {
    let json = |value: serde_json::Result<String>| {
        value.map_err(|error| BuildError::Engine(format!("write the build's settings: {error}")))
    };
    let mut args = HashMap::new();
    for (name, value) in &plan.args {
        let value = value.expose_str().ok_or(BuildError::NotSupported {
            field: "spec.build.args",
            why: format!("the value of {name} is not text"),
        })?;
        args.insert(name, value);
    }
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query
        .append_pair("version", "2")
        .append_pair("remote", "client-session")
        .append_pair("buildid", build_id)
        .append_pair("t", order.tag)
        .append_pair("dockerfile", &plan.dockerfile)
        .append_pair("buildargs", &json(serde_json::to_string(&args))?)
        .append_pair("labels", &json(serde_json::to_string(&order.labels))?)
        .append_pair("rm", "1")
        .append_pair("forcerm", "1");
    if let Some(target) = &plan.target {
        query.append_pair("target", target);
    }
    if order.no_cache {
        query.append_pair("nocache", "1");
    }
    Ok(query.finish())
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

/// One place in BuildKit's cache for each Application: files that did not change are not transferred again, and no
/// build sees the files of another Application.
fn shared_key(instance: &str, app: &AppId) -> String {
    let mut hash = Sha256::new();
    for part in [instance, &app.namespace, &app.name] {
        hash.update(part);
        hash.update([0]);
    }
    hex(&hash.finalize())
}

/// One for each program and each Davit, so that none removes what another one builds on.
fn hash(path: &std::path::Path, instance: &str) -> io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let mut hash = Sha256::new();
    hash.update(instance);
    hash.update([0]);
    let mut piece = vec![0; 1024 * 1024];
    loop {
        let count = io::Read::read(&mut file, &mut piece)?;
        if count == 0 {
            break;
        }
        hash.update(piece.get(..count).unwrap_or_default());
    }
    Ok(hex(&hash.finalize()).chars().take(16).collect())
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, BuildError> {
    blocking_build(move || work().map_err(BuildError::Io)).await
}

async fn blocking_build<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BuildError> + Send + 'static,
) -> Result<T, BuildError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(BuildError::Engine(format!("a task ended early: {error}"))))
}
