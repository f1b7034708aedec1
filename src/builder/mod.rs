//! How a directory becomes an image: one file per way, one trait, one list in the order of detection.
//!
//! [`DockerBuilder`] has the Docker Engine's BuildKit do it. BuildKit asks for what it needs while it builds, over a
//! session of ours: files (`filesync` sends what `select` lets through of a `tree`), secrets and the credentials
//! of registries (`session`). So no context is packed anywhere, and no secret is in a command line, an image or the
//! engine's configuration.

mod build_options;
mod build_stream;
mod buildkit;
mod context;
mod context_filter;
mod detect;
mod dockerfile;
mod dockerignore;
mod engine_http;
mod error_classification;
pub mod fake;
mod filesync;
mod image_ownership;
mod images;
mod paths;
mod progress;
mod session;
mod static_server_image;
mod static_site;

pub use buildkit::{BuilderOptions, DockerBuilder};
pub use engine_http::Place;
pub use image_ownership::{mark as image_mark, prefix as image_prefix};
pub use images::{APPLICATION, BUILDER, INSTANCE, NAMESPACE};

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::api::{Dockerfile, Reason, StaticSite};
use crate::error::{Class, ENGINE_UNAVAILABLE, Explain};
use crate::job_log::JobLog;
use crate::model::{AppId, RegistryLogin};
use crate::redact::Secret;

/// Which way, with its settings.
#[derive(Clone, Debug, PartialEq)]
pub enum BuildType {
    /// A Dockerfile.
    Dockerfile(Dockerfile),
    /// Files served as they are.
    Static(StaticSite),
}

impl BuildType {
    /// The name that the user writes.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Dockerfile(_) => "dockerfile",
            Self::Static(_) => "static",
        }
    }
}

/// One build, decided to the last detail.
#[derive(Clone, Debug)]
pub struct BuildRequest {
    /// Whose.
    pub app: AppId,
    /// For which Release.
    pub release: String,
    /// The root of the checkout. Nothing outside it is ever read, symbolic links included.
    pub root: PathBuf,
    /// `source.…path`: what the type's own paths are relative to; beneath `root`.
    pub path: String,
    /// Which way; detected where it is not given.
    pub build_type: Option<BuildType>,
    /// The tag of the image: `repository:tag`.
    pub tag: String,
    /// Build arguments.
    pub args: BTreeMap<String, Secret>,
    /// Build secrets, reachable as secret mounts only.
    pub secrets: BTreeMap<String, Secret>,
    /// Labels of the image besides our own (see [`NAMESPACE`] and its neighbours), which are always there and win.
    pub labels: BTreeMap<String, String>,
    /// Credentials for base images, by registry host.
    pub registries: BTreeMap<String, RegistryLogin>,
    /// Build without the cache.
    pub no_cache: bool,
    /// Nano-cores; nothing for no limit. BuildKit inside a Docker Engine has no limit for a single build (it ignores
    /// `memory`, `cpuquota` and `cgroupparent`, tried with 20.10): [`DockerBuilder`] refuses one.
    pub cpu: Option<u64>,
    /// Bytes; nothing for no limit. As `cpu`.
    pub memory: Option<u64>,
    /// The longest the build may take; over it, it is stopped in the engine.
    pub timeout: Duration,
}

/// An image that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltImage {
    /// The engine's id or the digest: `sha256:…`.
    pub id: String,
    /// Its tag.
    pub tag: String,
    /// Which way made it.
    pub builder: String,
}

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// No type given and none fits.
    #[error("find out how to build {0}")]
    NotDetected(String),
    /// A path that the spec names is not there.
    #[error("find {field}: {path} is not in the source")]
    PathNotFound {
        /// The field that names it.
        field: &'static str,
        /// The path.
        path: String,
        /// The reason of this field's path.
        reason: Reason,
    },
    /// A path leads out of the source.
    #[error("read {field}: {path} leads out of the source")]
    PathEscapes {
        /// The field that names it.
        field: &'static str,
        /// The path.
        path: String,
    },
    /// A file of the source has a name that the engine's protocol cannot carry.
    #[error("send the source to the engine: the name of the file {0} is not UTF-8")]
    FileName(String),
    /// The build itself failed.
    #[error("build the image: {0}")]
    Failed(String),
    /// A field asks for what this builder cannot do.
    #[error("use {field}: {why}")]
    NotSupported {
        /// The field.
        field: &'static str,
        /// Why not.
        why: String,
    },
    /// A base image is not there.
    #[error("pull a base image: {0}")]
    BaseImage(String),
    /// A registry does not let us have a base image.
    #[error("pull a base image: {0}")]
    BaseImageDenied(String),
    /// The registry of a base image cannot be reached.
    #[error("pull a base image: {0}")]
    RegistryUnreachable(String),
    /// It took too long.
    #[error("build the image within {0:?}")]
    Timeout(Duration),
    /// It was cancelled, and the engine has stopped.
    #[error("the build was cancelled")]
    Cancelled,
    /// No space.
    #[error("build the image: no space left on the engine's disk")]
    DiskFull,
    /// The engine does not answer.
    #[error("reach the container engine: {0}")]
    EngineUnavailable(String),
    /// Anything else.
    #[error("build the image: {0}")]
    Engine(String),
    /// A file of the source cannot be read.
    #[error("read the source")]
    Io(#[source] std::io::Error),
}

impl BuildError {
    /// The same where the directory of the source is named by `field`: a builder knows no kinds of source.
    #[must_use]
    pub fn with_source_path(self, named: &'static str) -> Self {
        match self {
            Self::PathNotFound { field, path, reason } if field == paths::SOURCE_PATH => Self::PathNotFound {
                field: named,
                path,
                reason,
            },
            Self::PathEscapes { field, path } if field == paths::SOURCE_PATH => {
                Self::PathEscapes { field: named, path }
            }
            other => other,
        }
    }
}

impl Explain for BuildError {
    fn class(&self) -> Class {
        match self {
            Self::NotDetected(_)
            | Self::PathNotFound { .. }
            | Self::PathEscapes { .. }
            | Self::FileName(_)
            | Self::Failed(_)
            | Self::NotSupported { .. }
            | Self::BaseImage(_)
            | Self::BaseImageDenied(_)
            | Self::Timeout(_)
            | Self::Cancelled => Class::Terminal,
            Self::RegistryUnreachable(_)
            | Self::DiskFull
            | Self::EngineUnavailable(_)
            | Self::Engine(_)
            | Self::Io(_) => Class::Transient,
        }
    }

    fn reason(&self) -> Reason {
        match self {
            Self::NotDetected(_) => Reason::BuildTypeNotDetected,
            Self::PathNotFound { reason, .. } => *reason,
            Self::PathEscapes { .. } => Reason::PathEscapes,
            Self::FileName(_) | Self::Failed(_) => Reason::BuildFailed,
            Self::NotSupported { .. } => Reason::NotSupported,
            Self::BaseImage(_) => Reason::ImagePullFailed,
            Self::BaseImageDenied(_) => Reason::ImagePullDenied,
            Self::RegistryUnreachable(_) => Reason::RegistryUnreachable,
            Self::Timeout(_) => Reason::BuildTimeout,
            Self::Cancelled => Reason::Cancelled,
            Self::DiskFull => Reason::DiskFull,
            Self::EngineUnavailable(_) => Reason::EngineUnavailable,
            Self::Engine(_) | Self::Io(_) => Reason::EngineFailed,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NotDetected(_) => Some("set spec.build.dockerfile or spec.build.static".to_owned()),
            Self::PathNotFound { field, .. } | Self::PathEscapes { field, .. } => {
                Some(format!("set {field} to a path inside the repository"))
            }
            Self::FileName(_) => Some(
                "rename it in the repository, or leave the directory that it is in out with .dockerignore"
                    .to_owned(),
            ),
            Self::Failed(_) => Some("its last lines are in status.failure.logTail of the Release".to_owned()),
            Self::NotSupported { field, .. } => Some(format!("remove {field}")),
            Self::BaseImage(_) => Some("check the FROM lines of the Dockerfile".to_owned()),
            Self::BaseImageDenied(_) => {
                Some("check the FROM lines and the registry's credentials".to_owned())
            }
            Self::Timeout(_) => Some("raise spec.build.timeout".to_owned()),
            Self::DiskFull => Some("free space on the engine's disk; the build is tried again".to_owned()),
            Self::EngineUnavailable(_) => Some(ENGINE_UNAVAILABLE.to_owned()),
            Self::RegistryUnreachable(_) | Self::Cancelled | Self::Engine(_) | Self::Io(_) => None,
        }
    }
}

/// A way to make an image.
#[async_trait]
pub trait Builder: Send + Sync {
    /// Finds the type where none is given, then builds: writes lines to `log` as they come, and when `cancel` is
    /// cancelled returns [`BuildError::Cancelled`] only after the work in the engine has ended. An image that the tag
    /// names already is for the caller to look up first ([`Builder::find`]).
    async fn build(
        &self,
        request: &BuildRequest,
        log: &JobLog,
        cancel: &CancellationToken,
    ) -> Result<BuiltImage, BuildError>;

    /// The image that `tag` names, if it is there and bears our labels: an image that is there already is not built
    /// again.
    async fn find(&self, tag: &str) -> Result<Option<BuiltImage>, BuildError>;

    /// Gives an image that Davit pulled (now, or at another time for somebody else) a tag of ours, by which it is found and
    /// removed as one that was built. False where it is not there, or was there before any Davit pulled it: then it is
    /// somebody else's, and stays as it is.
    async fn adopt(&self, image: &str, tag: &str, pulled: bool) -> Result<bool, BuildError>;

    /// Every image tag that bears the labels of `app`, or that was given for it, by this installation; an image that lost
    /// its tag to a newer build by its id.
    async fn images(&self, app: &AppId) -> Result<Vec<BuiltImage>, BuildError>;

    /// Removes a tag of this installation, or such an id, and the name that the image was pulled by where nobody else needs
    /// that; fine where it is gone already. An image that a container uses stays until that is gone.
    async fn remove(&self, tag: &str) -> Result<(), BuildError>;
}
