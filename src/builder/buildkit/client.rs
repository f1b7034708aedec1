//! A build from its request to its end. A build that is stopped has ended in BuildKit too.

use std::collections::HashMap;
use std::io;
use std::pin::pin;
use std::time::Duration;

use bollard::Docker;
use bollard::moby::buildkit::v1::{SolveRequest as Solve, SolveResponse, StatusRequest};
use bollard::query_parameters::ImportImageOptionsBuilder;
use futures::StreamExt as _;
use tokio::time::{sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use super::control::{Control, is_lost};
use super::daemon::Daemon;
use super::errors::{classify, engine};
use super::filesend::Receiver;
use super::limits::{self, ControlGroup};
use super::options::{BuildOptions, Outcome, Output, SolveRequest, attributes};
use super::progress::Progress;
use super::session::{Session, SessionContent};
use super::source_policy::policy;
use crate::builder::error::BuildError;
use crate::builder::image_ownership::is_of_others;
use crate::image::{ImageName, push_error};
use crate::job_log::JobLog;

/// How long BuildKit may take to stop a build before its connection is simply closed.
const STOP_WITHIN: Duration = Duration::from_secs(10);
/// How long reports may still come after a build has ended.
const REPORTS_WITHIN: Duration = Duration::from_secs(3);
/// The most that a build may send in files, in bytes.
const LARGEST: usize = 16 << 20;
/// What BuildKit calls the digest of an image in its answer.
const DIGEST: &str = "containerimage.digest";
/// In how many lines at the end of its log a step that failed says why.
const LAST_LINES: usize = 8;

/// A BuildKit, and the engine that gets its images, if there is one.
#[derive(Debug)]
pub struct BuildKit {
    docker: Option<Docker>,
    daemon: Daemon,
}

impl BuildKit {
    /// The BuildKit `daemon`; `docker` is connected to the engine.
    pub fn new(docker: Option<Docker>, daemon: Daemon) -> Self {
        Self { docker, daemon }
    }

    /// Reports whether it pushes images itself.
    pub fn pushes(&self) -> bool {
        matches!(self.daemon, Daemon::Buildkitd { .. })
    }

    /// Makes sure that it can limit a build.
    ///
    /// # Errors
    /// It cannot, and the reason.
    pub async fn check_limits(&self) -> Result<(), BuildError> {
        limits::check(&self.daemon).await
    }

    /// The CPU architecture that it builds for.
    ///
    /// # Errors
    /// It does not answer, or cannot build.
    pub async fn architecture(&self) -> Result<String, BuildError> {
        Control::open(&self.daemon).await?.architecture().await
    }

    /// Builds, and when it must not go on, returns only after BuildKit has stopped.
    pub async fn run(
        &self,
        request: SolveRequest,
        options: &BuildOptions<'_>,
        log: &JobLog,
        cancel: &CancellationToken,
    ) -> Result<Outcome, BuildError> {
        if cancel.is_cancelled() {
            return Err(BuildError::Cancelled);
        }
        let stop = CancellationToken::new();
        let mut work = pin!(self.build(request, options, log, &stop));
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
        stop.cancel();
        if timeout(STOP_WITHIN, work).await.is_err() {
            log.write("BuildKit did not say that it has stopped; its connection is closed");
        }
        Err(why)
    }

    /// One build, to its end.
    async fn build(
        &self,
        request: SolveRequest,
        options: &BuildOptions<'_>,
        log: &JobLog,
        stop: &CancellationToken,
    ) -> Result<Outcome, BuildError> {
        let own = &options.own_images;
        refuse_others(own, &request)?;
        let mut frontend_attrs = attributes(&request, options)?;
        let pushed = options
            .push
            .filter(|_| self.pushes() && request.output == Output::Image);
        let mut registries = options.registries.for_build(&request.images);
        if let Some(access) = pushed
            && let Ok(name) = ImageName::parse(options.tag)
            && let Some(login) = access.login(&name)
        {
            registries = registries.and_then(|logins| logins.pushing(&name, login));
        }
        let registries = registries.map_err(|why| BuildError::NotSupported {
            field: "spec.build.pullSecretRef",
            why,
        })?;
        let control = Control::open(&self.daemon).await?;
        control.check().await?;
        let mut group = None;
        if options.limits.any() {
            // The same group for each build of an Application: BuildKit counts it as an input of a step.
            let (name, limits) = (options.shared_key.clone(), options.limits);
            let made = tokio::task::spawn_blocking(move || ControlGroup::create(&name, limits)).await;
            let made =
                made.map_err(|error| BuildError::Engine(format!("make a control group: {error}")))??;
            frontend_attrs.insert("cgroup-parent".to_owned(), made.path.clone());
            group = Some(made);
        }
        let (receiver, received) = Receiver::new();
        let named = [("name", options.tag)];
        let (exporter, attributes, sink): (_, &[(&str, &str)], _) = match (&self.daemon, request.output) {
            (_, Output::Files) => ("tar", &[], keep(received)),
            (Daemon::Engine(_), Output::Image) => ("moby", &named, Sink::Engine),
            (Daemon::Buildkitd { .. }, Output::Image) if pushed.is_some() => {
                let pushed = [("name", options.tag), ("push", "true"), ("store", "false")];
                ("image", &pushed.clone(), Sink::Registry)
            }
            (Daemon::Buildkitd { .. }, Output::Image) => ("docker", &named, self.load(received)?),
        };
        let content = SessionContent {
            trees: request.trees,
            secrets: request.secrets,
            registries,
            shared_key: options.shared_key.clone(),
            receiver,
        };
        let session = Session::open(&control, content);
        let solve = Solve {
            r#ref: Uuid::new_v4().simple().to_string(),
            exporter_deprecated: exporter.to_owned(),
            exporter_attrs_deprecated: attributes
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            session: session.id.clone(),
            frontend: "dockerfile.v0".to_owned(),
            frontend_attrs,
            source_policy: Some(policy(own)),
            ..Solve::default()
        };
        let mut progress = Progress::named(request.names);
        let answer = follow(&control, solve, &mut progress, log, stop).await;
        drop(group);
        match session.unreadable.take() {
            // Another attempt cannot send this file either.
            Some(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(BuildError::FileName(error.to_string()));
            }
            Some(error) => return Err(BuildError::Io(error)),
            None => {}
        }
        let Some(answer) = answer else {
            return Err(BuildError::Cancelled);
        };
        let status = match answer {
            Ok(answer) => {
                drop(session);
                return sink.end(&answer.exporter_response).await;
            }
            Err(status) => status,
        };
        if let Sink::Loaded(load) = sink
            && load.is_finished()
            && let Ok(Err(error)) = load.await
        {
            return Err(engine(&error));
        }
        let pushed = pushed.map(|_| options.tag);
        let error = self.error(&control, &status, &progress, pushed, log).await;
        Err(match error {
            BuildError::OutOfMemory { step, .. } => BuildError::OutOfMemory {
                step,
                limited: options.limits.memory.is_some(),
            },
            other => other,
        })
    }

    /// Loads an image into the engine while it comes.
    ///
    /// # Errors
    /// There is no engine.
    fn load(&self, received: tokio::sync::mpsc::Receiver<bytes::Bytes>) -> Result<Sink, BuildError> {
        let docker = self.docker.clone().ok_or(BuildError::NoEngine)?;
        let mut received = received;
        Ok(Sink::Loaded(AbortOnDropHandle::new(tokio::spawn(async move {
            let stream = futures::stream::poll_fn(move |cx| received.poll_recv(cx)).map(Ok::<_, io::Error>);
            let options = ImportImageOptionsBuilder::new().quiet(true).build();
            let mut loaded = Box::pin(docker.import_image_stream(options, stream, None));
            while let Some(step) = loaded.next().await {
                step?;
            }
            Ok(())
        }))))
    }

    async fn error(
        &self,
        control: &Control,
        status: &tonic::Status,
        progress: &Progress,
        pushed: Option<&str>,
        log: &JobLog,
    ) -> BuildError {
        if is_lost(status) {
            return control.failed(status);
        }
        let message = log.mask(status.message());
        if let Some(tag) = pushed
            && let Some((_, said)) = message.split_once(&format!("failed to push {tag}"))
        {
            return push_error(tag, 0, said.trim_start_matches(':')).into();
        }
        let failure = progress.failure().cloned().map(|mut failure| {
            failure.step = log.mask(&failure.step);
            failure.error = log.mask(&failure.error);
            failure
        });
        let mut error = classify(&message, failure.as_ref());
        if is_step(&error) && said_full(&log.tail()) {
            error = BuildError::DiskFull;
        }
        let (Daemon::Engine(_), Some(docker)) = (&self.daemon, &self.docker) else {
            return error;
        };
        // An engine that stops takes the steps of its builds down, and says of them what it says of a step that fails.
        match docker.ping().await {
            Err(gone) if is_step(&error) => engine(&gone),
            _ => error,
        }
    }
}

/// What becomes of the result of a build.
enum Sink {
    Engine,
    Registry,
    Kept(AbortOnDropHandle<Option<Vec<u8>>>),
    Loaded(AbortOnDropHandle<Result<(), bollard::errors::Error>>),
}

impl Sink {
    async fn end(self, answer: &HashMap<String, String>) -> Result<Outcome, BuildError> {
        match self {
            Self::Engine => Ok(Outcome::Engine),
            Self::Registry => {
                let digest = answer.get(DIGEST).cloned();
                let digest =
                    digest.ok_or_else(|| BuildError::Engine("BuildKit names no digest".to_owned()))?;
                Ok(Outcome::Registry { digest })
            }
            Self::Kept(kept) => match kept.await {
                Ok(Some(all)) => Ok(Outcome::Files(all)),
                Ok(None) => Err(BuildError::Engine("the build exports too many files".to_owned())),
                Err(error) => Err(BuildError::Engine(format!("keep the files: {error}"))),
            },
            Self::Loaded(load) => match load.await {
                Ok(Ok(())) => Ok(Outcome::Engine),
                Ok(Err(error)) => Err(engine(&error)),
                Err(error) => Err(BuildError::Engine(format!("load the image: {error}"))),
            },
        }
    }
}

/// Keeps what comes; `None` if it is too much.
fn keep(mut received: tokio::sync::mpsc::Receiver<bytes::Bytes>) -> Sink {
    Sink::Kept(AbortOnDropHandle::new(tokio::spawn(async move {
        let mut all = Vec::new();
        while let Some(piece) = received.recv().await {
            all.extend_from_slice(&piece);
            if all.len() > LARGEST {
                return None;
            }
        }
        Some(all)
    })))
}

/// Solves, and writes its progress to the log. `None` if it was stopped.
async fn follow(
    control: &Control,
    solve: Solve,
    progress: &mut Progress,
    log: &JobLog,
    stop: &CancellationToken,
) -> Option<Result<SolveResponse, tonic::Status>> {
    let (mut client, mut status_client) = (control.client.clone(), control.client.clone());
    let reference = solve.r#ref.clone();
    let mut reports = pin!(async {
        let Ok(answer) = status_client.status(StatusRequest { r#ref: reference }).await else {
            return;
        };
        let mut reports = answer.into_inner();
        while let Ok(Some(report)) = reports.message().await {
            progress.report(report, log);
        }
    });
    let mut solving = Box::pin(client.solve(solve));
    let mut reported = false;
    let answer = loop {
        tokio::select! {
            answer = &mut solving => break Some(answer.map(tonic::Response::into_inner)),
            () = &mut reports, if !reported => reported = true,
            () = stop.cancelled() => break None,
        }
    };
    // BuildKit stops what no client waits for. Its reports end with the build.
    drop(solving);
    if !reported {
        let within = if answer.is_none() {
            STOP_WITHIN
        } else {
            REPORTS_WITHIN
        };
        let _ = timeout(within, reports).await;
    }
    answer
}

/// Whether a step of the build failed.
fn is_step(error: &BuildError) -> bool {
    matches!(
        error,
        BuildError::Failed(_) | BuildError::Exit { .. } | BuildError::OutOfMemory { .. }
    )
}

/// A step that wants more space than there is ends like any other that fails; why is in what it said last.
fn said_full(tail: &str) -> bool {
    let last = tail.lines().rev().take(LAST_LINES);
    last.into_iter()
        .any(|line| line.to_lowercase().contains("no space left on device"))
}

/// Fails if a build names an image of another namespace.
fn refuse_others(own: &str, request: &SolveRequest) -> Result<(), BuildError> {
    let mut images = request.images.iter().map(ToString::to_string);
    let of_others = images.find(|image| is_of_others(own, image));
    of_others.map_or(Ok(()), |image| Err(BuildError::ImageOfOthers(image)))
}
