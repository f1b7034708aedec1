//! Errors of runtimes.

use super::port::Port;
use crate::api::Reason;
use crate::error::{Class, ENGINE_UNAVAILABLE, Explain};

/// A step that needs a right of its own on a cluster.
pub const RUN_COMMAND: &str = "run a command in a Pod";
/// The other one.
pub const READ_USAGE: &str = "read what Pods use";
const OF_COMPONENT: [&str; 2] = [RUN_COMMAND, READ_USAGE];

/// An error of a runtime.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// A host port is taken.
    #[error("host port {} is taken by {by}", port.place())]
    PortTaken {
        /// The port.
        port: Port,
        /// The owner, if known: another Application, or a program on the machine.
        by: String,
    },
    /// The machine that the engine runs on does not have the address of a host port.
    #[error("host port {} cannot be bound: the engine's machine does not have that address", .0.place())]
    AddressMissing(Port),
    /// The image does not exist.
    #[error("the image {0} is not in the engine")]
    ImageMissing(String),
    /// Nodes cannot pull the image.
    #[error("the image {image} cannot be pulled: {message}")]
    ImagePull {
        /// The image.
        image: String,
        /// The answer of the registry or of the node.
        message: String,
        /// Whether the registry wants another credential.
        denied: bool,
    },
    /// No node of the cluster takes the container.
    #[error("no node can run the container: {0}")]
    Unschedulable(String),
    /// A quota of the namespace leaves no room for the container.
    #[error("the container cannot be created: {0}")]
    QuotaExceeded(String),
    /// The cluster does not allow the controller to do it.
    #[error("the controller may not {doing}: {message}")]
    Forbidden {
        /// The attempted step.
        doing: &'static str,
        /// The answer of the API server.
        message: String,
    },
    /// An object of the same name is not Davit's.
    #[error("the {kind} {name} exists and is not Davit's")]
    NameTaken {
        /// Its kind.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The runtime refuses the configuration: a missing entrypoint, a bad mount, a limit of the kernel.
    #[error("the container cannot be started: {message}")]
    Rejected {
        /// The runtime's message.
        message: String,
        /// The fields of the spec that the message is about, if known.
        fields: Option<&'static str>,
    },
    /// The image, or the program that it starts, is for another CPU architecture.
    #[error("{subject} is for {program}, and the engine's machine is {machine}")]
    WrongArchitecture {
        /// The image or the path of the program.
        subject: String,
        /// Its architecture.
        program: String,
        /// The architecture of the engine's machine.
        machine: String,
    },
    /// No space is left on the disk.
    #[error("the container cannot be started: no space left on the engine's disk")]
    DiskFull,
    /// This runtime does not have it.
    #[error("--runtime {runtime} does not support {what}")]
    Unsupported {
        /// What was asked for.
        what: &'static str,
        /// The name of the runtime.
        runtime: &'static str,
    },
    /// The cluster measures nothing.
    #[error("the cluster does not measure what Pods use: it has no API metrics.k8s.io")]
    NoMetrics,
    /// The engine does not answer.
    #[error("the container engine cannot be reached: {0}")]
    EngineUnavailable(String),
    /// Any other error.
    #[error("cannot {doing}: {message}")]
    Engine {
        /// The attempted step.
        doing: &'static str,
        /// The engine's message.
        message: String,
    },
}

impl Explain for RuntimeError {
    fn class(&self) -> Class {
        match self {
            Self::PortTaken { .. }
            | Self::AddressMissing(_)
            | Self::Rejected { .. }
            | Self::Unsupported { .. }
            | Self::NoMetrics
            | Self::NameTaken { .. }
            | Self::ImagePull { denied: true, .. }
            | Self::WrongArchitecture { .. } => Class::Terminal,
            Self::ImageMissing(_)
            | Self::ImagePull { denied: false, .. }
            | Self::Unschedulable(_)
            | Self::QuotaExceeded(_)
            | Self::Forbidden { .. }
            | Self::DiskFull
            | Self::EngineUnavailable(_)
            | Self::Engine { .. } => Class::Transient,
        }
    }

    fn reason(&self) -> Reason {
        match self {
            Self::PortTaken { .. } => Reason::PortTaken,
            Self::AddressMissing(_) | Self::Rejected { .. } => Reason::ContainerConfigInvalid,
            Self::WrongArchitecture { .. } => Reason::ArchitectureMismatch,
            Self::ImageMissing(_) => Reason::ImageNotFound,
            Self::Unsupported { .. } | Self::NoMetrics => Reason::NotSupported,
            Self::ImagePull { denied: true, .. } => Reason::ImagePullDenied,
            Self::ImagePull { denied: false, .. } => Reason::ImagePullFailed,
            Self::Unschedulable(_) => Reason::Unschedulable,
            Self::QuotaExceeded(_) => Reason::QuotaExceeded,
            Self::Forbidden { .. } => Reason::NotPermitted,
            Self::NameTaken { .. } => Reason::NameTaken,
            Self::DiskFull => Reason::DiskFull,
            Self::EngineUnavailable(_) => Reason::EngineUnavailable,
            Self::Engine { .. } => Reason::EngineFailed,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::PortTaken { .. } => Some(
                "set another spec.ports[].hostPort; or free the port, then create a Release or set the annotation \
                 davit.dev/requestedAt to a new value"
                    .to_owned(),
            ),
            Self::AddressMissing(_) => Some(
                "set spec.ports[].hostIp to an address that `ip address` shows there, or remove it to bind all addresses"
                    .to_owned(),
            ),
            Self::Rejected { fields, .. } => {
                let fields = fields.unwrap_or("spec.command, spec.args and spec.volumes");
                Some(format!("check {fields}"))
            }
            Self::WrongArchitecture { machine, .. } => Some(format!(
                "build the image for linux/{machine}, or name an image of that platform"
            )),
            Self::NoMetrics => Some("install metrics-server in the cluster".to_owned()),
            Self::Unsupported { .. } => Some("use the tools of that runtime".to_owned()),
            Self::DiskFull => Some("free space on the engine's disk; Davit tries again".to_owned()),
            Self::EngineUnavailable(_) => Some(ENGINE_UNAVAILABLE.to_owned()),
            Self::ImagePull { denied: true, .. } => Some(
                "set spec.source.docker.pullSecretRef, or spec.image.pushSecretRef of an image that Davit builds, to a Secret with \
                 the credential"
                    .to_owned(),
            ),
            Self::Unschedulable(_) => Some(
                "lower spec.resources.requests or spec.replicas, or add a node; Davit tries again".to_owned(),
            ),
            Self::QuotaExceeded(_) => Some(
                "raise the quota of the namespace, or set spec.resources and spec.replicas to fit it; Davit tries again".to_owned(),
            ),
            Self::Forbidden { doing, .. } if OF_COMPONENT.contains(doing) => {
                Some("apply manifests/components/exec, which grants it".to_owned())
            }
            Self::Forbidden { .. } => Some("apply the roles in manifests/; Davit tries again".to_owned()),
            Self::NameTaken { kind, .. } => Some(format!("rename the Application, or delete the {kind}")),
            Self::ImageMissing(_) | Self::ImagePull { denied: false, .. } | Self::Engine { .. } => None,
        }
    }
}
