//! Where containers run: one file or folder per place, one trait.

pub mod docker;
pub mod fake;
pub mod port;
pub mod redaction;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use jiff::Timestamp;

use crate::api::{Reason, Strategy};
use crate::error::{Class, ENGINE_UNAVAILABLE, Explain};
use crate::model::AppId;
use crate::redact::Secret;

pub use port::PortBinding;
pub use redaction::RedactionPolicy;

/// The most that is handed on of what a container or its check said, in bytes: more than is shown of it, because secrets are
/// taken out of it first, and more than the 4096 that the Docker Engine keeps of a check's output.
pub const LONGEST_WORDS: usize = 5 * 1024;

/// Everything it takes to run one release; nothing optional is undecided.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// Whose.
    pub app: AppId,
    /// The Application's UID, so that a namesake made after a deletion never takes over what was left behind.
    pub uid: String,
    /// The Release that asked for it first.
    pub release: String,
    /// The identity of a container: a keyed hash over everything below that a container is made of. Two
    /// workloads with the same hash are served by the same containers.
    pub hash: String,
    /// The image, by id or digest (`sha256:…` or `repository@sha256:…`), so that a tag that moves changes nothing.
    pub image: String,
    /// How many containers.
    pub replicas: u32,
    /// Environment, in order.
    pub env: Vec<(String, Secret)>,
    /// Replaces the image's entrypoint.
    pub command: Vec<Secret>,
    /// Replaces the image's command.
    pub args: Vec<Secret>,
    /// Ports.
    pub ports: Vec<PortBinding>,
    /// The most cpu, in nano-cores.
    pub cpu: Option<u64>,
    /// The cpu that it has a claim to where the machine has less than all want, in nano-cores.
    pub cpu_request: Option<u64>,
    /// The most memory, in bytes.
    pub memory: Option<u64>,
    /// The memory that is set aside, in bytes.
    pub memory_reservation: Option<u64>,
    /// How it is known that a replica works. Without one, the image's own check counts.
    pub health: Option<Health>,
    /// What happens when a container ends by itself.
    pub restart: Restart,
    /// Time between SIGTERM and SIGKILL.
    pub stop_grace: Duration,
    /// Directories that do not come from the image.
    pub mounts: Vec<Mount>,
    /// Which containers come first.
    pub strategy: Strategy,
    /// How long a replica must have been healthy; nothing: 0 s with a health check, 1 s without any.
    pub min_ready: Option<Duration>,
    /// Names of the variables whose value is a secret.
    pub secret_env: Vec<String>,
    /// Some of the files of its mounts are secrets.
    pub secret_files: bool,
    /// Hashes of what failed or was cancelled: its containers leave the name as soon as they are not healthy, and do not
    /// first wait for these to be.
    pub given_up: Vec<String>,
    /// Ids of its containers that have run to their end and count as replicas, whether they are still there or not. Nothing
    /// is done to them, unless somebody started one again.
    pub ended: Vec<String>,
    /// The hash of containers that nothing is done to: they failed, and are to be looked at.
    pub left_alone: Option<String>,
}

impl Workload {
    /// No containers at all.
    pub fn nothing(app: &AppId, uid: &str) -> Self {
        Self {
            app: app.clone(),
            uid: uid.to_owned(),
            release: String::new(),
            hash: String::new(),
            image: String::new(),
            replicas: 0,
            env: Vec::new(),
            command: Vec::new(),
            args: Vec::new(),
            ports: Vec::new(),
            cpu: None,
            cpu_request: None,
            memory: None,
            memory_reservation: None,
            health: None,
            restart: Restart::Never,
            stop_grace: Duration::from_secs(10),
            mounts: Vec::new(),
            strategy: Strategy::StopFirst,
            min_ready: None,
            secret_env: Vec::new(),
            secret_files: false,
            given_up: Vec::new(),
            ended: Vec::new(),
            left_alone: None,
        }
    }
}

/// How it is known that a replica works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// What is tried.
    pub probe: Probe,
    /// Time between tries.
    pub interval: Duration,
    /// The longest one try may take.
    pub timeout: Duration,
    /// Failures in a row until a replica counts as unhealthy.
    pub retries: u32,
    /// Failures in this time after the start do not count.
    pub start_period: Duration,
}

/// What is tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// GET answers below 400.
    Http {
        /// The path.
        path: String,
        /// The container port.
        port: u16,
    },
    /// A connection is accepted.
    Tcp {
        /// The container port.
        port: u16,
    },
    /// A command in the container ends with 0.
    Exec(Vec<String>),
}

/// What happens when a container ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Started again, always.
    Always,
    /// Started again after another code than 0, at most so often (0: without limit).
    OnFailure(u32),
    /// Left as it is.
    Never,
}

impl Restart {
    /// Whether a container that has ended with this code, after so many restarts, must be started again. The engine
    /// restarts by policy what ends by itself, so one that it left ended although its policy says otherwise was stopped
    /// by a hand.
    pub fn starts_again(self, code: i64, restarts: i64) -> bool {
        match self {
            Self::Always => true,
            Self::OnFailure(most) => code != 0 && (most == 0 || restarts < i64::from(most)),
            Self::Never => false,
        }
    }
}

/// A directory that does not come from the image.
#[derive(Clone, Debug, PartialEq)]
pub struct Mount {
    /// Its name in the spec.
    pub name: String,
    /// Where it is in the container.
    pub path: String,
    /// What it is.
    pub source: MountSource,
    /// The container cannot write to it.
    pub read_only: bool,
}

/// What a mount is.
#[derive(Clone, Debug, PartialEq)]
pub enum MountSource {
    /// Storage that outlives containers and releases.
    Volume,
    /// Files by name.
    Files {
        /// Their content.
        files: BTreeMap<String, Secret>,
        /// Their permissions: 0o400 for a Secret's, 0o444 for a ConfigMap's.
        mode: u32,
    },
}

/// What was observed of an Application's containers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Running {
    /// Every container that bears the Application's labels, whatever its state.
    pub replicas: Vec<Replica>,
}

impl Running {
    /// The containers with this [`Workload::hash`] that are not on their way out.
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
    /// The [`Workload::hash`] it was made for.
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
    /// Its places on the machine as they really are, each with its port, address and protocol, in that order.
    pub host_ports: Vec<PortBinding>,
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
        last: Option<Ended>,
        /// It was started again so often or more: 1, 2, 4, 8, …
        times: i64,
        /// Its last lines of output or the engine's message, as they were when it had been started again so
        /// often.
        message: String,
    },
    /// Stopped to make room for others, and kept until these are seen to work: the way back.
    Kept,
    /// Ended.
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
pub struct Ended {
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

/// Why a runtime cannot do what it should.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// A host port is taken.
    #[error("bind host port {}: it is taken by {by}", port.place())]
    PortTaken {
        /// Which.
        port: PortBinding,
        /// By whom, where that is known (another Application, or a program on the machine).
        by: String,
    },
    /// The machine that the engine runs on does not have the address of a host port.
    #[error("bind host port {}: spec.ports.hostIp {} is not an address of the engine's machine", .0.place(), .0.host_ip.as_deref().unwrap_or_default())]
    AddressMissing(PortBinding),
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

    /// Takes the next steps from what is there towards `workload` and says how far it is. Never waits for health or for
    /// a container to stop: it is called again when an event comes or `check_in` has passed. Also the way back: called
    /// with the workload of the release before, it removes the new containers and puts the old ones right. With
    /// `replicas: 0` it stops and removes all containers of the Application.
    async fn deploy(&self, workload: &Workload) -> Result<Progress, RuntimeError>;

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
