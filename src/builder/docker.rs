//! Builds with the BuildKit of a Docker Engine, and keeps the images in the engine.

use std::collections::BTreeMap;
use std::path::PathBuf;

use async_trait::async_trait;
use bollard::Docker;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::buildkit::{BuildKit, BuildOptions, Place, shared_key};
use super::contract::{BuildRequest, BuildType, Builder, BuilderDetails, BuiltImage, Export};
use super::error::BuildError;
use super::image_ownership::Owner;
use super::paths::Root;
use super::planned::{APP, IMAGE};
use super::planner::Planner;
use super::{buildpacks, detect, dockerfile, images, labels, nixpacks, railpack, static_site};
use crate::api;
use crate::image::{self, Deleted, RegistryAccess, RegistryOptions};
use crate::job_log::JobLog;
use crate::model::{AppId, RegistryLogin};
use crate::redact::Secret;

/// Settings of a [`DockerBuilder`].
#[derive(Clone, Debug)]
pub struct BuilderOptions {
    /// Where the engine is.
    pub engine: Place,
    /// The name of this Davit among those that share the engine: only images with it are seen.
    pub instance: String,
    /// What sets it apart from another one of that name: only its own images are found and removed. Empty by default.
    pub installation: String,
    /// How registries are reached to delete images.
    pub registries: RegistryOptions,
    /// The key of digests: ids of caches are derived from it.
    pub key: Secret,
    /// The railpack program. By default `railpack` in the directories where Linux systems keep programs.
    pub railpack: Planner,
    /// The nixpacks program, by default found in the same way.
    pub nixpacks: Planner,
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
            instance: instance.into(),
            installation: String::new(),
            registries: RegistryOptions::default(),
            key: Secret::new(Uuid::new_v4().into_bytes().to_vec()),
            railpack: Planner::installed("railpack", railpack::FIELD),
            nixpacks: Planner::installed("nixpacks", nixpacks::FIELD),
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
    docker: Docker,
    buildkit: BuildKit,
    options: BuilderOptions,
}

impl DockerBuilder {
    /// Builds with `docker`, which is connected to the engine at `options.engine`.
    pub fn new(docker: Docker, options: BuilderOptions) -> Self {
        Self {
            buildkit: BuildKit::new(docker.clone(), options.engine.clone()),
            docker,
            options,
        }
    }

    /// The label of all that this Davit makes, and more.
    pub(super) fn labels(&self, more: &[(&str, &str)]) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::from([(labels::INSTANCE.to_owned(), self.options.instance.clone())]);
        if !self.options.installation.is_empty() {
            labels.insert(labels::INSTALLATION.to_owned(), self.options.installation.clone());
        }
        labels.extend(
            more.iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        labels
    }

    /// Opens the checkout, and finds the build type if the request names none.
    async fn kind(
        &self,
        request: &BuildRequest,
        cancel: &CancellationToken,
    ) -> Result<(Root, BuildType), BuildError> {
        let (top, path, given) = (
            request.root.clone(),
            request.path.clone(),
            request.build_type.clone(),
        );
        let (root, found) = blocking(move || {
            let root = Root::open(&top, &path)?;
            let detected = || detect(|path| root.has_file(path));
            let found = given.map_or_else(detected, Ok);
            Ok((root, found))
        })
        .await?;
        match found {
            Ok(kind) => Ok((root, kind)),
            // railpack says itself what it recognises.
            Err(_) if self.options.railpack.is_installed(cancel).await => {
                Ok((root, BuildType::Railpack(api::Railpack::default())))
            }
            Err(looked_for) => Err(BuildError::NotDetected(looked_for)),
        }
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
        let (root, kind) = self.kind(request, cancel).await?;
        let mut details = BuilderDetails::default();
        if request.build_type.is_none() {
            let why = detect::why(&kind);
            log.write(&format!("build type: {}: {why}", kind.name()));
            details.detected = Some(why);
        }
        let (kind, published) = match kind {
            BuildType::Published(of, published) => (*of, Some(published)),
            kind => (kind, None),
        };
        let mut labels = request.labels.clone();
        labels.extend(self.labels(&[
            (labels::NAMESPACE, &request.app.namespace),
            (labels::APPLICATION, &request.app.name),
            (labels::BUILDER, kind.name()),
        ]));
        let mut options = BuildOptions {
            tag: &request.tag,
            labels,
            registries: &request.registries,
            no_cache: request.no_cache,
            shared_key: shared_key(&self.options.instance, &request.app),
            deadline,
            limit: request.timeout,
        };
        let planned = request.clone();
        let (key, is_site) = (self.options.key.clone(), published.is_some());
        // The stage of the result, and the directory that relative directories in it mean.
        let mut result = (IMAGE.to_owned(), APP);
        let mut solve = match kind.clone() {
            BuildType::Dockerfile(settings) => {
                let planned = blocking(move || dockerfile::plan(&root, &settings, &planned)).await?;
                result = (planned.1, "");
                planned.0
            }
            BuildType::Static(site) => blocking(move || static_site::plan(&root, &site, &planned)).await?,
            BuildType::Railpack(settings) => {
                let tool = &self.options.railpack;
                let (plan, found) = railpack::prepare(tool, &settings, request, log, cancel).await?;
                details = used(found, details);
                blocking(move || railpack::solve(&root, &plan, &planned, &key)).await?
            }
            BuildType::Nixpacks => {
                let (plan, found) = nixpacks::plan(&self.options.nixpacks, request, log, cancel).await?;
                details = used(found, details);
                blocking(move || nixpacks::solve(&root, &plan, &planned, &key, is_site)).await?
            }
            BuildType::Buildpacks(settings) => {
                let (docker, key) = (&self.docker, &self.options.key);
                let mut plan = buildpacks::plan(docker, &root, &settings, request, key, log, cancel).await?;
                if let Some(published) = &published {
                    plan.context = static_site::beside(plan.context, &published.site);
                }
                let done = self.buildkit.run(plan.work(), &options, log, cancel).await;
                let archive = done.map_err(|error| buildpacks::explain(error, settings.field))?;
                let (image, labels) = plan.image(&archive.unwrap_or_default())?;
                if !is_site {
                    options.labels = labels.into_iter().chain(options.labels).collect();
                }
                // The phases are in the cache now, and are not to run again.
                options.no_cache = false;
                details = plan.details;
                result.1 = buildpacks::APP;
                image
            }
            BuildType::Published(..) => {
                return Err(BuildError::Engine("a site is on top of a site".to_owned()));
            }
        };
        if let Some(published) = &published {
            static_site::publish(&mut solve, &result.0, result.1, published)?;
        }
        let built = self.buildkit.run(solve, &options, log, cancel).await;
        built.map_err(|error| static_site::explain(error, published.as_ref()))?;
        let found = images::inspect(&self.docker, &request.tag).await?;
        let (id, _) =
            found.ok_or_else(|| BuildError::Engine(format!("the build ended without {}", request.tag)))?;
        Ok(BuiltImage {
            id,
            tag: request.tag.clone(),
            builder: kind.name().to_owned(),
            details,
        })
    }

    async fn find(&self, tag: &str) -> Result<Option<BuiltImage>, BuildError> {
        images::find(&self.docker, self.options.owner(), tag).await
    }

    async fn push(
        &self,
        built: &BuiltImage,
        export: Export,
        login: Option<&RegistryLogin>,
        log: &JobLog,
        cancel: &CancellationToken,
    ) -> Result<BuiltImage, BuildError> {
        let digest = image::push(&self.docker, &built.tag, login, log, cancel).await?;
        if export == Export::Registry {
            images::remove(&self.docker, self.options.owner(), &built.tag).await?;
        }
        Ok(BuiltImage {
            id: format!("{}@{digest}", built.tag),
            ..built.clone()
        })
    }

    async fn find_pushed(
        &self,
        tag: &str,
        export: Export,
        login: Option<&RegistryLogin>,
        log: &JobLog,
        cancel: &CancellationToken,
    ) -> Result<Option<BuiltImage>, BuildError> {
        let Some(digest) = image::pushed_digest(&self.docker, tag, login).await? else {
            return Ok(None);
        };
        let id = format!("{tag}@{digest}");
        log.write(&format!("{id} exists and is not built again"));
        let mut builder = String::new();
        if export == Export::EngineAndRegistry {
            image::pull(&self.docker, &id, login, log, cancel).await?;
            images::tag(&self.docker, &id, tag).await?;
            let found = images::inspect(&self.docker, tag).await?;
            let label = found.and_then(|(_, labels)| labels.get(labels::BUILDER).cloned());
            builder = label.unwrap_or_default();
        }
        Ok(Some(BuiltImage {
            id,
            tag: tag.to_owned(),
            builder,
            details: BuilderDetails::default(),
        }))
    }

    async fn delete_pushed(&self, image: &str, access: &RegistryAccess) -> Result<Deleted, BuildError> {
        Ok(image::delete(image, access, &self.options.registries).await?)
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

/// What a planner used, with the reason of its choice in front of what it found.
fn used(found: BuilderDetails, chosen: BuilderDetails) -> BuilderDetails {
    let all: Vec<String> = chosen.detected.into_iter().chain(found.detected).collect();
    BuilderDetails {
        detected: Some(all.join("; ")),
        ..found
    }
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
