//! What is built, by what, and what comes out of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::error::BuildError;
use crate::api::{Build, BuildKind, Dockerfile, Railpack, StaticSite};
use crate::image::{Deleted, RegistryAccess, RegistryLogins};
use crate::job_log::JobLog;
use crate::model::AppId;
use crate::redact::Secret;

/// Which way, with its settings.
#[derive(Clone, Debug, PartialEq)]
pub enum BuildType {
    /// A Dockerfile.
    Dockerfile(Dockerfile),
    /// Files served as they are.
    Static(StaticSite),
    /// What railpack recognises.
    Railpack(Railpack),
    /// What nixpacks recognises.
    Nixpacks,
    /// A builder of Cloud Native Buildpacks.
    Buildpacks(Buildpacks),
    /// Files that another build type makes, behind a web server.
    Published(Box<BuildType>, Published),
}

/// What is served of the result of a build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The field that names the directory.
    pub field: &'static str,
    /// How it is served.
    pub site: StaticSite,
}

/// A builder of Cloud Native Buildpacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buildpacks {
    /// The name of the build type.
    pub name: &'static str,
    /// The field that names the builder.
    pub field: &'static str,
    /// The builder image.
    pub builder: String,
}

impl From<BuildKind<'_>> for BuildType {
    fn from(kind: BuildKind<'_>) -> Self {
        match kind {
            BuildKind::Dockerfile(settings) => Self::Dockerfile(settings.clone()),
            BuildKind::Static(settings) => Self::Static(settings.clone()),
            BuildKind::Railpack(settings) => Self::Railpack(settings.clone()),
            BuildKind::Nixpacks(_) => Self::Nixpacks,
            BuildKind::HerokuBuildpacks(settings) => Self::Buildpacks(Buildpacks {
                name: kind.name(),
                field: "spec.build.herokuBuildpacks",
                builder: settings.image(),
            }),
            BuildKind::PaketoBuildpacks(settings) => Self::Buildpacks(Buildpacks {
                name: kind.name(),
                field: "spec.build.paketoBuildpacks",
                builder: settings.builder.clone(),
            }),
        }
    }
}

impl BuildType {
    /// The name that the user writes.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Dockerfile(_) => "dockerfile",
            Self::Static(_) => "static",
            Self::Railpack(_) => "railpack",
            Self::Nixpacks => "nixpacks",
            Self::Buildpacks(settings) => settings.name,
            Self::Published(of, _) => of.name(),
        }
    }

    /// What the user should know of a type that works and has no future.
    pub fn deprecation(&self) -> Option<&'static str> {
        match self {
            Self::Nixpacks => Some(
                "spec.build.nixpacks: nixpacks is in maintenance mode: use spec.build.railpack, its successor",
            ),
            Self::Published(of, _) => of.deprecation(),
            Self::Dockerfile(_) | Self::Static(_) | Self::Railpack(_) | Self::Buildpacks(_) => None,
        }
    }

    /// The type that the user chose, if one was chosen.
    pub fn of(build: &Build) -> Option<Self> {
        let kind = build.kind()?;
        let (directory, site) = (build.published_by_nixpacks(), &build.static_site);
        let published = match (kind, directory, site) {
            (BuildKind::Static(_), _, _) | (_, None, None) => None,
            (_, Some(directory), _) => Some(Published {
                field: "spec.build.nixpacks.publishDirectory",
                site: StaticSite {
                    publish_directory: directory.to_owned(),
                    ..StaticSite::default()
                },
            }),
            (_, None, Some(site)) => Some(Published {
                field: "spec.build.static.publishDirectory",
                site: site.clone(),
            }),
        };
        Some(match published {
            Some(published) => Self::Published(Box::new(kind.into()), published),
            None => kind.into(),
        })
    }
}

/// Where an image is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Export {
    /// In the engine that builds it.
    #[default]
    Engine,
    /// In a registry only: containers run elsewhere.
    Registry,
    /// In a registry, and in the engine that runs it.
    EngineAndRegistry,
}

impl Export {
    /// Whether the image is pushed.
    pub fn is_pushed(self) -> bool {
        self != Self::Engine
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
    /// The text of `.env` in the build context, if it is wanted.
    pub env_file: Option<Secret>,
    /// Labels of the image besides our own (see [`NAMESPACE`] and its neighbours), which are always there and win.
    pub labels: BTreeMap<String, String>,
    /// Credentials for base images.
    pub registries: RegistryLogins,
    /// The access to the registry of the tag, if only a registry needs the image: a buildkitd pushes it then, and an engine
    /// leaves that to [`Builder::push`].
    pub push: Option<RegistryAccess>,
    /// Build without the cache.
    pub no_cache: bool,
    /// Nano-cores; nothing for no limit. A BuildKit that cannot limit a build refuses one: that of a Docker Engine ignores
    /// `memory`, `cpuquota` and `cgroupparent` (tried with 20.10).
    pub cpu: Option<u64>,
    /// Bytes; nothing for no limit. As `cpu`.
    pub memory: Option<u64>,
    /// The longest the build may take; over it, it is stopped in the engine.
    pub timeout: Duration,
    /// Receives with what it is built.
    pub found: Found,
}

/// With what a build is done, told as soon as it is known: a build that fails has it, too. A clone is the same.
#[derive(Clone, Debug, Default)]
pub struct Found(Arc<Mutex<Option<(String, BuilderDetails)>>>);

impl Found {
    /// Tells the build type and what is known of it so far.
    pub fn tell(&self, builder: &str, details: &BuilderDetails) {
        *self.0.lock() = Some((builder.to_owned(), details.clone()));
    }

    /// Returns what was told last.
    pub fn told(&self) -> Option<(String, BuilderDetails)> {
        self.0.lock().clone()
    }
}

/// An image that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltImage {
    /// The engine's id (`sha256:…`), or of a pushed image its tag and digest (`tag@sha256:…`).
    pub id: String,
    /// Its tag.
    pub tag: String,
    /// Which way made it.
    pub builder: String,
    /// With what.
    pub details: BuilderDetails,
}

/// What a builder used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BuilderDetails {
    /// The version of the tool.
    pub version: Option<String>,
    /// The images of the tool and of the result, by digest.
    pub digests: Vec<String>,
    /// Why this build type was chosen, or what the tool found in the source.
    pub detected: Option<String>,
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

    /// Pushes the image that `tag` names to the registry in its name, unless the build has pushed it. The result's `id` is
    /// `tag@digest`. With [`Export::Registry`] the engine loses the tag.
    async fn push(
        &self,
        image: &BuiltImage,
        export: Export,
        access: &RegistryAccess,
        log: &JobLog,
        cancel: &CancellationToken,
    ) -> Result<BuiltImage, BuildError>;

    /// The image that `tag` names at its registry, if it exists there; with [`Export::EngineAndRegistry`] the engine pulls it
    /// if it does not have it. `id` as in [`Builder::push`]; `builder` may be empty.
    async fn find_pushed(
        &self,
        tag: &str,
        export: Export,
        access: &RegistryAccess,
        log: &JobLog,
        cancel: &CancellationToken,
    ) -> Result<Option<BuiltImage>, BuildError>;

    /// Deletes a pushed image (`repository:tag@digest`) from its registry, with all of its tags.
    async fn delete_pushed(&self, image: &str, access: &RegistryAccess) -> Result<Deleted, BuildError>;

    /// Removes what was not used for the longest time from the cache of builds until `keep` bytes are left, if there is a bound, and
    /// returns the size of what is left.
    async fn trim_cache(&self, keep: Option<u64>) -> Result<u64, BuildError>;

    /// Removes the cache directories of an Application's builds.
    async fn free_cache(&self, app: &AppId) -> Result<(), BuildError>;

    /// Gives an image that Davit pulled, for this or another Application, a tag of this installation, by which it is found and
    /// removed like a built image. Returns false if the image does not exist or was on the engine before any pull by Davit:
    /// such an image is not changed.
    async fn adopt(&self, image: &str, tag: &str, pulled: bool) -> Result<bool, BuildError>;

    /// Every image tag that bears the labels of `app`, or that was given for it, by this installation; an image that lost
    /// its tag to a newer build by its id.
    async fn images(&self, app: &AppId) -> Result<Vec<BuiltImage>, BuildError>;

    /// Removes a tag or id of this installation, and the name under which the image was pulled if it is unused. Succeeds if the
    /// tag does not exist. An image stays as long as a container uses it.
    async fn remove(&self, tag: &str) -> Result<(), BuildError>;
}
