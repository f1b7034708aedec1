//! Why a build failed.

use std::time::Duration;

use crate::api::Reason;
use crate::error::{Class, ENGINE_UNAVAILABLE, Explain};
use crate::image::{ImageError, PushError, trust};

/// The field that stands for the source's directory until [`BuildError::with_source_path`] replaces it.
pub(super) const SOURCE_PATH: &str = "spec.source.git.path";

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// No type given and none fits.
    #[error("no build type was detected for {0}")]
    NotDetected(String),
    /// A path that the spec names is not there.
    #[error("{path} not found in the source")]
    PathNotFound {
        /// The field that names it.
        field: &'static str,
        /// The path.
        path: String,
        /// The reason of this field's path.
        reason: Reason,
    },
    /// A path leads out of the source.
    #[error("{path} is outside of the source")]
    PathEscapes {
        /// The field that names it.
        field: &'static str,
        /// The path.
        path: String,
    },
    /// A symbolic link of the source leads out of it, and the build type reads the source on Davit's machine.
    #[error("the symbolic link {0} leads out of the repository")]
    LinkEscapes(String),
    /// A file of the source has a name that the engine's protocol cannot carry.
    #[error("the name of the file {0} is not UTF-8")]
    FileName(String),
    /// A file that controls the build cannot be used.
    #[error("{path} cannot be read: {why}")]
    ControlFile {
        /// The file.
        path: String,
        /// Why not.
        why: String,
    },
    /// The build itself failed.
    #[error("the build failed: {0}")]
    Failed(String),
    /// A step of the build ended with an exit code.
    #[error("the build failed: {step} ended with exit code {code}")]
    Exit {
        /// The step.
        step: String,
        /// The code.
        code: u32,
    },
    /// No buildpack fits the source.
    #[error("no build type was detected: {why}")]
    NoBuildpack {
        /// The field of the builder.
        field: &'static str,
        /// The result of the detection.
        why: String,
    },
    /// The program of a build type is missing.
    #[error("the program {program} is not installed on Davit's machine")]
    ProgramMissing {
        /// The field of the build type.
        field: &'static str,
        /// The program.
        program: &'static str,
    },
    /// The program of a build type has another version.
    #[error("{program} {wanted} is not installed on Davit's machine, only {installed}")]
    VersionMissing {
        /// The field of the version.
        field: &'static str,
        /// The program.
        program: &'static str,
        /// The version that the build needs.
        wanted: String,
        /// The version of the program.
        installed: String,
    },
    /// A variable that is in the wrong list.
    #[error("{field} has {name}: {why}")]
    Misplaced {
        /// The variable.
        name: String,
        /// Why it must not be there.
        why: &'static str,
        /// The field.
        field: &'static str,
        /// Where it belongs.
        instead: &'static str,
    },
    /// The build made no such directory.
    #[error("the build made no directory {path} that could be served")]
    NotPublished {
        /// The field that names it.
        field: &'static str,
        /// The directory.
        path: String,
    },
    /// A tool could not download what it needs.
    #[error("{0}")]
    Temporary(String),
    /// A field asks for what this builder cannot do.
    #[error("{field} is not supported: {why}")]
    NotSupported {
        /// The field.
        field: &'static str,
        /// Why not.
        why: String,
    },
    /// This installation builds no images.
    #[error(
        "this Davit has nothing to build this image with: no container engine, and no buildkitd that pushes it to a registry"
    )]
    NoEngine,
    /// A base image is not there.
    #[error("a base image was not found: {0}")]
    BaseImage(String),
    /// A base image belongs to others.
    #[error("the image {0} belongs to another namespace or to another Davit")]
    ImageOfOthers(String),
    /// A registry does not let us have a base image.
    #[error("the registry refused to send a base image: {0}")]
    BaseImageDenied(String),
    /// The registry of a base image cannot be reached.
    #[error("the registry of a base image cannot be reached: {0}")]
    RegistryUnreachable(String),
    /// The registry's certificate is not trusted, or it speaks plain HTTP.
    #[error("the registry of the base image {image} cannot be trusted: {said}")]
    BaseImageTls {
        /// The image.
        image: String,
        /// The message of BuildKit or the engine.
        said: String,
    },
    /// Something else than a registry answers, or a registry that is broken.
    #[error("what answers for the registry of a base image sends no image manifest: {0}")]
    BaseImageAnswer(String),
    /// A field names an image that cannot be used for it.
    #[error("{field} names an image that cannot be used: {why}")]
    UnusableImage {
        /// The field.
        field: &'static str,
        /// Why not.
        why: String,
        /// Which image it needs.
        instead: &'static str,
    },
    /// A word of the Dockerfile that the BuildKit does not know as an instruction.
    #[error("the build failed: {0}")]
    UnknownInstruction(String),
    /// The image is not at its registry.
    #[error(transparent)]
    Push(#[from] PushError),
    /// An image of a registry cannot be pulled.
    #[error(transparent)]
    Pull(#[from] ImageError),
    /// It took too long.
    #[error("the build took longer than {0:?}")]
    Timeout(Duration),
    /// It was cancelled, and the engine has stopped.
    #[error("the build was cancelled")]
    Cancelled,
    /// No space.
    #[error("the build failed: no space left on the engine's disk")]
    DiskFull,
    /// A step was killed.
    #[error(
        "the build failed: {step} was killed, as the kernel does when the memory runs out (exit code 137)"
    )]
    OutOfMemory {
        /// The step.
        step: String,
        /// Whether the build had a limit of its own.
        limited: bool,
    },
    /// The BuildKit cannot limit a build.
    #[error("spec.build.resources is not supported: {0}")]
    LimitsNotSupported(String),
    /// buildkitd does not answer.
    #[error("buildkitd cannot be reached: {0}")]
    BuildkitUnavailable(String),
    /// The BuildKit cannot do what every build needs.
    #[error("BuildKit cannot build: {0}")]
    BuildkitUnsuitable(String),
    /// The engine does not answer.
    #[error("the container engine cannot be reached: {0}")]
    EngineUnavailable(String),
    /// Anything else.
    #[error("the engine failed to build the image: {0}")]
    Engine(String),
    /// A file of the source cannot be read.
    #[error("the source cannot be read")]
    Io(#[source] std::io::Error),
}

impl BuildError {
    /// The same where the directory of the source is named by `field`: a builder knows no kinds of source.
    #[must_use]
    pub fn with_source_path(self, named: &'static str) -> Self {
        match self {
            Self::PathNotFound { field, path, reason } if field == SOURCE_PATH => Self::PathNotFound {
                field: named,
                path,
                reason,
            },
            Self::PathEscapes { field, path } if field == SOURCE_PATH => {
                Self::PathEscapes { field: named, path }
            }
            other => other,
        }
    }
}

impl Explain for BuildError {
    fn class(&self) -> Class {
        match self {
            Self::Push(error) => error.class(),
            Self::Pull(error) => error.class(),
            Self::NotDetected(_)
            | Self::PathNotFound { .. }
            | Self::PathEscapes { .. }
            | Self::LinkEscapes(_)
            | Self::FileName(_)
            | Self::ControlFile { .. }
            | Self::Failed(_)
            | Self::Exit { .. }
            | Self::OutOfMemory { .. }
            | Self::BuildkitUnsuitable(_)
            | Self::NoBuildpack { .. }
            | Self::ProgramMissing { .. }
            | Self::VersionMissing { .. }
            | Self::Misplaced { .. }
            | Self::NotPublished { .. }
            | Self::NotSupported { .. }
            | Self::LimitsNotSupported(_)
            | Self::NoEngine
            | Self::BaseImage(_)
            | Self::BaseImageDenied(_)
            | Self::ImageOfOthers(_)
            | Self::UnusableImage { .. }
            | Self::UnknownInstruction(_)
            | Self::Timeout(_)
            | Self::Cancelled => Class::Terminal,
            Self::RegistryUnreachable(_)
            | Self::BaseImageTls { .. }
            | Self::BaseImageAnswer(_)
            | Self::Temporary(_)
            | Self::DiskFull
            | Self::EngineUnavailable(_)
            | Self::BuildkitUnavailable(_)
            | Self::Engine(_)
            | Self::Io(_) => Class::Transient,
        }
    }

    fn reason(&self) -> Reason {
        match self {
            Self::Push(error) => error.reason(),
            Self::Pull(error) => error.reason(),
            Self::NotDetected(_) | Self::NoBuildpack { .. } => Reason::BuildTypeNotDetected,
            Self::PathNotFound { reason, .. } => *reason,
            Self::PathEscapes { .. } | Self::LinkEscapes(_) => Reason::PathEscapes,
            Self::FileName(_)
            | Self::ControlFile { .. }
            | Self::Failed(_)
            | Self::Exit { .. }
            | Self::UnknownInstruction(_)
            | Self::Temporary(_) => Reason::BuildFailed,
            Self::NotSupported { .. }
            | Self::LimitsNotSupported(_)
            | Self::NoEngine
            | Self::ProgramMissing { .. }
            | Self::VersionMissing { .. } => Reason::NotSupported,
            Self::Misplaced { .. } | Self::UnusableImage { .. } => Reason::InvalidSpec,
            Self::NotPublished { .. } => Reason::PublishDirectoryNotFound,
            Self::BaseImage(_) | Self::BaseImageAnswer(_) => Reason::ImagePullFailed,
            Self::BaseImageTls { .. } => Reason::RegistryTlsFailed,
            Self::BaseImageDenied(_) | Self::ImageOfOthers(_) => Reason::ImagePullDenied,
            Self::RegistryUnreachable(_) => Reason::RegistryUnreachable,
            Self::Timeout(_) => Reason::BuildTimeout,
            Self::Cancelled => Reason::Cancelled,
            Self::DiskFull => Reason::DiskFull,
            Self::OutOfMemory { .. } => Reason::BuildOutOfMemory,
            Self::BuildkitUnsuitable(_) => Reason::BuildkitUnsuitable,
            Self::BuildkitUnavailable(_) => Reason::BuildkitUnavailable,
            Self::EngineUnavailable(_) => Reason::EngineUnavailable,
            Self::Engine(_) | Self::Io(_) => Reason::EngineFailed,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Push(error) => error.hint(),
            Self::Pull(error) => error.hint(),
            Self::NotDetected(_) => {
                Some("set spec.build.dockerfile or spec.build.static if the files are in another place, or another build type of docs/building.md".to_owned())
            }
            Self::PathNotFound { field, .. } | Self::PathEscapes { field, .. } => {
                Some(format!("set {field} to a path inside the repository"))
            }
            Self::LinkEscapes(_) => {
                Some("remove the link from the repository, or let it lead to a file of the repository".to_owned())
            }
            Self::FileName(_) => {
                Some("rename it in the repository, or exclude its directory in .dockerignore".to_owned())
            }
            Self::ControlFile { path, .. } => Some(format!(
                "make {path} a UTF-8 file of the repository, or a link to one"
            )),
            Self::NoBuildpack { field, .. } => Some(format!(
                "add what the buildpacks look for, set another builder in {field}, or use another build type; the log lists what each buildpack looked for"
            )),
            Self::Failed(_) | Self::Exit { .. } => {
                Some("read status.failure.logTail of the Release".to_owned())
            }
            Self::NotSupported { .. } => Some("remove the field".to_owned()),
            Self::NoEngine => Some("start it with --docker-host or --buildkit-host, or use spec.source.docker".to_owned()),
            Self::ProgramMissing { field, program } => Some(format!(
                "install {program}, name it with --{program}, or remove {field}"
            )),
            Self::VersionMissing { field, program, wanted, installed } => Some(format!(
                "install it, also as {program}-{wanted} beside the other one, or set {field} to {installed}"
            )),
            Self::Misplaced { name, instead, .. } => {
                Some(format!("move {name} to {instead}, or leave it out"))
            }
            Self::NotPublished { field, .. } => Some(format!(
                "set {field} to a directory that the build makes; the log shows what it did"
            )),
            Self::BaseImage(_) => Some(
                "correct the name, in the FROM lines of the Dockerfile or in the field of the build type, or push the image".to_owned(),
            ),
            Self::ImageOfOthers(_) => Some(
                "push it to a registry with spec.image.repository of its Application, and name it there".to_owned(),
            ),
            Self::BaseImageDenied(_) => {
                Some("name a Secret with credentials that may pull it in spec.build.pullSecretRef".to_owned())
            }
            Self::BaseImageTls { image, .. } => {
                Some(trust(image, "the engine's machine", Some("a buildkitd")))
            }
            Self::BaseImageAnswer(_) => Some(
                "correct the host and port of the image if that is another web server, or repair the registry or the proxy before it; Davit tries again".to_owned(),
            ),
            Self::UnusableImage { instead, .. } => Some(format!("set it to {instead}")),
            Self::UnknownInstruction(_) => Some(
                "correct the Dockerfile; if the line is inside of a here-document (`<<`), the BuildKit of this engine reads none: begin the Dockerfile with the line `# syntax=docker/dockerfile:1`, or build with a newer BuildKit (--buildkit-host)".to_owned(),
            ),
            Self::Timeout(_) => Some("raise spec.build.timeout".to_owned()),
            Self::DiskFull => Some("free space on the engine's disk; Davit tries again".to_owned()),
            Self::LimitsNotSupported(_) => Some(
                "remove the field, or build on a buildkitd on Davit's machine: --buildkit-host unix:///run/buildkit/buildkitd.sock, with both as root".to_owned(),
            ),
            Self::OutOfMemory { limited: true, .. } => {
                Some("raise spec.build.resources.limits.memory, or make the step use less".to_owned())
            }
            Self::OutOfMemory { limited: false, .. } => Some(
                "give the machine that builds more memory, run fewer builds at once with --max-builds, or make the step use less".to_owned(),
            ),
            Self::BuildkitUnavailable(_) => Some(
                "start buildkitd, or correct --buildkit-host, --buildkit-ca, --buildkit-cert and --buildkit-key; Davit tries again".to_owned(),
            ),
            Self::BuildkitUnsuitable(_) => Some(
                "use a Docker Engine from 20.10 on, or name a buildkitd with a worker in --buildkit-host".to_owned(),
            ),
            Self::EngineUnavailable(_) => Some(ENGINE_UNAVAILABLE.to_owned()),
            Self::RegistryUnreachable(_)
            | Self::Temporary(_)
            | Self::Cancelled
            | Self::Engine(_)
            | Self::Io(_) => None,
        }
    }
}
