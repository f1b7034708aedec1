//! What should run of one Application, without the terms of any engine.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Port;
use crate::api::Strategy;
use crate::model::{AppId, RegistryLogin};
use crate::redact::Secret;

/// The containers of one Release, and how a runtime replaces others by them.
#[derive(Clone, Debug, PartialEq)]
pub struct Deployment {
    /// The Application and Release that the containers belong to.
    pub identity: Identity,
    /// One container.
    pub spec: PodSpec,
    /// How many containers there are, and in which order they replace others.
    pub policy: RolloutPolicy,
    /// Containers of before that are treated differently.
    pub history: History,
    /// The credential that nodes pull the image with; it decides nothing about the containers.
    pub registry: Option<RegistryLogin>,
}

/// What containers are labelled with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The Application.
    pub app: AppId,
    /// The UID of the Application. Containers of a deleted Application of the same name have another one.
    pub uid: String,
    /// The Release that creates the containers, if they do not exist yet.
    pub release: String,
    /// A keyed hash of everything that decides a container. Deployments with the same hash share containers.
    pub hash: String,
}

/// One container: everything that [`Identity::hash`] covers.
#[derive(Clone, Debug, PartialEq)]
pub struct PodSpec {
    /// The image, by id or digest (`sha256:…` or `repository@sha256:…`).
    pub image: String,
    /// The environment, in order.
    pub env: Vec<EnvVar>,
    /// Replaces the entrypoint of the image, unless empty.
    pub command: Vec<Secret>,
    /// Replaces the command of the image, unless empty.
    pub args: Vec<Secret>,
    /// Ports.
    pub ports: Vec<Port>,
    /// Requests and limits.
    pub resources: Resources,
    /// The health check. `None`: the check of the image counts, if it has one.
    pub health: Option<Health>,
    /// What happens when a container exits.
    pub restart: Restart,
    /// Time between SIGTERM and SIGKILL.
    pub stop_grace: Duration,
    /// Directories that are not part of the image.
    pub mounts: Vec<Mount>,
    /// What volumes are made of, by their names, if the runtime provides storage.
    pub storage: BTreeMap<String, Storage>,
}

/// The storage of a volume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Storage {
    /// Its size, in bytes. `None`: the default of the runtime.
    pub size: Option<u64>,
    /// Its class. `None`: the default of the cluster.
    pub class: Option<String>,
}

impl Default for PodSpec {
    fn default() -> Self {
        Self {
            image: String::new(),
            env: Vec::new(),
            command: Vec::new(),
            args: Vec::new(),
            ports: Vec::new(),
            resources: Resources::default(),
            health: None,
            restart: Restart::Always,
            stop_grace: Duration::from_secs(10),
            mounts: Vec::new(),
            storage: BTreeMap::new(),
        }
    }
}

impl PodSpec {
    /// Whether files with the content of Secrets are mounted.
    pub fn has_confidential_files(&self) -> bool {
        self.mounts.iter().any(|mount| {
            matches!(
                mount.source,
                MountSource::Files {
                    confidential: true,
                    ..
                }
            )
        })
    }
}

/// An environment variable.
#[derive(Clone, Debug, PartialEq)]
pub struct EnvVar {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Secret,
    /// Whether the value comes from a Secret, at least in part. A runtime must not store it where it can be listed.
    pub confidential: bool,
}

impl EnvVar {
    /// A variable whose value may be shown.
    pub fn plain(name: impl Into<String>, value: impl Into<Secret>) -> Self {
        Self {
            name: name.into(),
            value: value.into(),
            confidential: false,
        }
    }

    /// A variable whose value comes from a Secret.
    pub fn confidential(name: impl Into<String>, value: impl Into<Secret>) -> Self {
        Self {
            confidential: true,
            ..Self::plain(name, value)
        }
    }
}

/// Requests and limits of one container. `None`: no limit, no request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Limit of CPU, in nano-cores.
    pub cpu: Option<u64>,
    /// Request for CPU, in nano-cores.
    pub cpu_request: Option<u64>,
    /// Limit of memory, in bytes.
    pub memory: Option<u64>,
    /// Request for memory, in bytes.
    pub memory_request: Option<u64>,
}

/// How many containers there are, and in which order they replace others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RolloutPolicy {
    /// Number of containers.
    pub replicas: u32,
    /// Whether new containers start before old ones stop.
    pub strategy: Strategy,
    /// How long a container must be healthy before it counts as ready. `None`: 0 s with a health check, 1 s without.
    pub min_ready: Option<Duration>,
    /// The longest that the rollout may take. The controller ends the Release; a runtime may report it too.
    pub progress_deadline: Duration,
}

impl Default for RolloutPolicy {
    fn default() -> Self {
        Self {
            replicas: 1,
            strategy: Strategy::StartFirst,
            min_ready: None,
            progress_deadline: Duration::from_mins(5),
        }
    }
}

/// Containers of before that are treated differently.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Hashes of Releases that failed or were cancelled. Their containers lose the Application's name as soon as they are
    /// not healthy, without waiting for new ones.
    pub abandoned: Vec<String>,
    /// Ids of containers of this hash that have run to completion and count as replicas, even after their removal.
    pub completed: Vec<String>,
    /// Hash of failed containers that are kept for inspection.
    pub preserved: Option<String>,
    /// The containers that a reverse proxy may still send requests to. They are not stopped in favour of others.
    pub routed: Routed,
}

/// The containers that a reverse proxy may send requests to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Routed {
    /// None: the Application has no routes.
    #[default]
    None,
    /// Those with these IP addresses.
    Addresses(BTreeSet<String>),
    /// Not known: any of them.
    Any,
}

impl Routed {
    /// Reports whether a container with this address may get requests.
    pub fn may_reach(&self, address: Option<&str>) -> bool {
        match self {
            Self::None => false,
            Self::Addresses(addresses) => address.is_some_and(|address| addresses.contains(address)),
            Self::Any => true,
        }
    }
}

/// How a runtime finds out that a container works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// The check.
    pub probe: Probe,
    /// Time between checks.
    pub interval: Duration,
    /// The longest that one check may take.
    pub timeout: Duration,
    /// Consecutive failures until a container counts as unhealthy.
    pub retries: u32,
    /// Failures within this time after the start do not count.
    pub start_period: Duration,
}

/// A health check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// A GET request whose status is below 400.
    Http {
        /// The path.
        path: String,
        /// The port of the container.
        port: u16,
    },
    /// A TCP connection.
    Tcp {
        /// The port of the container.
        port: u16,
    },
    /// A command in the container that exits with 0.
    Exec(Vec<String>),
}

/// What happens when a container exits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// It is restarted.
    Always,
    /// It is restarted after an exit code other than 0, at most so often (0: without limit).
    OnFailure(u32),
    /// It stays stopped.
    Never,
}

impl Restart {
    /// Whether a container with this exit code and number of restarts must be started again. Runtimes restart by policy, so
    /// a container that is stopped although this returns true was stopped manually.
    pub fn starts_again(self, code: i64, restarts: i64) -> bool {
        match self {
            Self::Always => true,
            Self::OnFailure(most) => code != 0 && (most == 0 || restarts < i64::from(most)),
            Self::Never => false,
        }
    }
}

/// A directory that is not part of the image.
#[derive(Clone, Debug, PartialEq)]
pub struct Mount {
    /// Its name in the spec.
    pub name: String,
    /// Its path in the container.
    pub path: String,
    /// Its content.
    pub source: MountSource,
    /// Whether the container cannot write to it.
    pub read_only: bool,
}

/// The content of a mount.
#[derive(Clone, Debug, PartialEq)]
pub enum MountSource {
    /// Storage that outlives containers and Releases.
    Volume,
    /// Files by name.
    Files {
        /// Their content.
        files: BTreeMap<String, Secret>,
        /// Their permissions.
        mode: u32,
        /// Whether the content comes from a Secret.
        confidential: bool,
    },
}
