//! Where containers run: one file or folder per place, one trait.

mod capabilities;
pub mod deployment;
pub mod docker;
mod event_hub;
pub mod fake;
pub mod port;
pub mod redaction;
pub mod rolling;
pub mod swarm;

use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use jiff::Timestamp;

use crate::api::Reason;
use crate::error::{Class, ENGINE_UNAVAILABLE, Explain};
use crate::model::AppId;

pub use capabilities::Capabilities;
pub use deployment::{
    Deployment, EnvVar, Health, History, Identity, Mount, MountSource, PodSpec, Probe, Resources, Restart,
    RolloutPolicy,
};
pub use port::Port;
pub use redaction::RedactionPolicy;

/// The most that is handed on of what a container or its check said, in bytes: more than is shown of it, because secrets are
/// taken out of it first, and more than the 4096 that the Docker Engine keeps of a check's output.
pub const MAX_OUTPUT: usize = 5 * 1024;

/// How often a rollout that waits for an event is looked at all the same.
const SAFETY_NET: Duration = Duration::from_secs(30);

/// What was observed of an Application's containers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Running {
    /// Every container that bears the Application's labels, whatever its state.
    pub replicas: Vec<Replica>,
}

impl Running {
    /// The containers with this [`Identity::hash`] that are not on their way out.
    pub fn of(&self, hash: &str) -> impl Iterator<Item = &Replica> + Clone {
        let own = move |replica: &&Replica| replica.hash == hash && !replica.draining;
        self.replicas.iter().filter(own)
    }
}

/// One container.
#[derive(Clone, Debug, PartialEq)]
pub struct Replica {
    /// The engine's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The [`Identity::hash`] it was made for.
    pub hash: String,
    /// The Release it was made for.
    pub release: String,
    /// The image it really runs: the engine's id.
    pub image: String,
    /// How it is.
    pub state: ReplicaState,
    /// Since when it has been healthy without interruption.
    pub healthy_since: Option<Timestamp>,
    /// It answers to the Application's name.
    pub serving: bool,
    /// It has left the name and is on its way out.
    pub draining: bool,
    /// How often the engine started it again.
    pub restarts: i64,
    /// Host ports at which it is reachable, as observed, in the order of port, address and protocol.
    pub endpoints: Vec<Port>,
}

/// State of a container. Its output is redacted: see [`RedactionPolicy`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplicaState {
    /// Made, not started.
    Created,
    /// Runs, and its health is not known yet.
    Starting,
    /// Runs and is healthy (or has no check).
    Healthy,
    /// Runs and is not healthy; the last thing a check said.
    Unhealthy(String),
    /// Ends by itself again and again, and the engine starts it again each time: it waits for that, or was started only
    /// just now. What is told of it stays the same from one end to the next, if that was of the same kind.
    KeepsEnding {
        /// How it last ended; nothing where nobody saw it.
        last: Option<ExitStatus>,
        /// It was started again so often or more: 1, 2, 4, 8, …
        times: i64,
        /// Its last lines of output or the engine's message, as they were when it had been started again so
        /// often.
        message: String,
    },
    /// Stopped to make room for others, and kept until these are seen to work: the way back.
    Kept,
    /// ExitStatus.
    Exited {
        /// Its exit code.
        code: i64,
        /// Killed for want of memory.
        oom: bool,
        /// Its last lines of output or the engine's message.
        message: String,
    },
}

/// How a container ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitStatus {
    /// Its exit code.
    pub code: i64,
    /// Killed for want of memory.
    pub oom: bool,
}

/// How far a rollout is: what one call of [`Runtime::deploy`] found after its steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Not there yet; look again when an event comes, and at the latest after this time (minReady, drain, probes).
    Rolling {
        /// Replicas of this hash that exist.
        created: u32,
        /// Of them, healthy for minReady.
        ready: u32,
        /// Look again at the latest after this time.
        check_in: Option<Duration>,
        /// What it waits for, in a few words: `web-2 is unhealthy: connection refused`.
        waiting_for: String,
    },
    /// Exactly the wanted replicas run, all healthy for minReady, all in the name, and nothing else is left of this
    /// Application.
    Complete,
}

impl Progress {
    /// The progress while containers stop. The runtime reports their end with an event.
    pub fn stopping(containers: usize) -> Self {
        Self::Rolling {
            created: 0,
            ready: 0,
            check_in: Some(SAFETY_NET),
            waiting_for: format!("{containers} containers to stop"),
        }
    }
}

/// Why a runtime cannot do what it should.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// A host port is taken.
    #[error("bind host port {}: it is taken by {by}", port.place())]
    PortTaken {
        /// Which.
        port: Port,
        /// By whom, where that is known (another Application, or a program on the machine).
        by: String,
    },
    /// The machine that the engine runs on does not have the address of a host port.
    #[error("bind host port {}: spec.ports.hostIp {} is not an address of the engine's machine", .0.place(), .0.host_ip.as_deref().unwrap_or_default())]
    AddressMissing(Port),
    /// The image is gone.
    #[error("start a container: the image {0} is not in the engine")]
    ImageMissing(String),
    /// The runtime refuses the configuration: a missing entrypoint, a bad mount, a limit of the kernel.
    #[error("start a container: {message}")]
    Rejected {
        /// The runtime's message.
        message: String,
        /// The fields of the spec that the message is about, if known.
        fields: Option<&'static str>,
    },
    /// The image, or the program that it starts, is for another CPU architecture.
    #[error("start a container: {subject} is for {program}, and the engine's machine is {machine}")]
    WrongArchitecture {
        /// The image or the path of the program.
        subject: String,
        /// Its architecture.
        program: String,
        /// The architecture of the engine's machine.
        machine: String,
    },
    /// No space.
    #[error("start a container: no space left on the engine's disk")]
    DiskFull,
    /// The engine does not answer.
    #[error("reach the container engine: {0}")]
    EngineUnavailable(String),
    /// Anything else.
    #[error("{doing}: {message}")]
    Engine {
        /// What we tried.
        doing: &'static str,
        /// What the engine said.
        message: String,
    },
}

impl Explain for RuntimeError {
    fn class(&self) -> Class {
        match self {
            Self::PortTaken { .. }
            | Self::AddressMissing(_)
            | Self::Rejected { .. }
            | Self::WrongArchitecture { .. } => Class::Terminal,
            Self::ImageMissing(_) | Self::DiskFull | Self::EngineUnavailable(_) | Self::Engine { .. } => {
                Class::Transient
            }
        }
    }

    fn reason(&self) -> Reason {
        match self {
            Self::PortTaken { .. } => Reason::PortTaken,
            Self::AddressMissing(_) | Self::Rejected { .. } => Reason::ContainerConfigInvalid,
            Self::WrongArchitecture { .. } => Reason::ArchitectureMismatch,
            Self::ImageMissing(_) => Reason::ImageNotFound,
            Self::DiskFull => Reason::DiskFull,
            Self::EngineUnavailable(_) => Reason::EngineUnavailable,
            Self::Engine { .. } => Reason::EngineFailed,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::PortTaken { .. } => Some(
                "set another hostPort in spec.ports, or free it and create a Release, or set the annotation \
                 davit.dev/requestedAt to a new value: a release that has failed does not begin again by itself"
                    .to_owned(),
            ),
            Self::AddressMissing(_) => Some(
                "set hostIp to an address that `ip address` shows there, or leave it out to have the port at all of them"
                    .to_owned(),
            ),
            Self::Rejected { fields, .. } => {
                let fields = fields.unwrap_or("spec.command, spec.args and spec.volumes");
                Some(format!("check {fields}"))
            }
            Self::WrongArchitecture { machine, .. } => Some(format!(
                "build the image for linux/{machine}, or name an image of that platform"
            )),
            Self::DiskFull => Some("free space on the engine's disk; it is tried again".to_owned()),
            Self::EngineUnavailable(_) => Some(ENGINE_UNAVAILABLE.to_owned()),
            Self::ImageMissing(_) | Self::Engine { .. } => None,
        }
    }
}

/// A place where containers run. Every call is idempotent and finds its own work by labels.
#[async_trait]
pub trait Runtime: Send + Sync {
    /// What the runtime supports: an input of validation.
    fn capabilities(&self) -> Capabilities;

    /// Returns the containers of an Application. Output of containers is masked as `redaction` demands, and with the
    /// values that the runtime itself gave to the container.
    async fn observe(&self, app: &AppId, redaction: &RedactionPolicy) -> Result<Running, RuntimeError>;

    /// Returns the end of one container's log, redacted, at most [`redaction::MAX_LOG_TAIL`] bytes; empty if the container
    /// wrote nothing or does not exist.
    async fn log_tail(
        &self,
        app: &AppId,
        replica: &str,
        redaction: &RedactionPolicy,
    ) -> Result<String, RuntimeError>;

    /// Takes the next steps towards `deployment` and returns the progress. Does not wait for health or for containers to
    /// stop: the controller calls again after an event or `check_in`. For a rollback it is called with the earlier
    /// deployment; it then removes the new containers and restores the old ones.
    async fn deploy(&self, deployment: &Deployment) -> Result<Progress, RuntimeError>;

    /// Stops and removes all containers of an Application. Volumes are kept. Like [`Runtime::deploy`], it does not wait for
    /// containers to stop.
    async fn stop(&self, app: &AppId) -> Result<Progress, RuntimeError>;

    /// Removes everything of an Application but its images: containers, the namespace's network with the last of them,
    /// and its named volumes when `volumes` is set. True when nothing is left; called again until then.
    async fn remove(&self, app: &AppId, volumes: bool) -> Result<bool, RuntimeError>;

    /// Whether there is an image of this id or digest, so that containers can be made of it.
    async fn has_image(&self, image: &str) -> Result<bool, RuntimeError>;

    /// Every Application that has something here, for the sweep of what no Application owns any more.
    async fn apps(&self) -> Result<Vec<(AppId, String)>, RuntimeError>;

    /// Applications whose containers changed (the engine's events, our probes), and [`RuntimeEvent::Connected`] each
    /// time the engine is (again) there. Never ends.
    fn events(&self) -> BoxStream<'static, RuntimeEvent>;
}

/// Something happened where containers run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuntimeEvent {
    /// A container of this Application changed.
    Changed(AppId),
    /// The engine answers again: everything may have changed.
    Connected,
    /// The engine has gone away.
    Disconnected,
}
