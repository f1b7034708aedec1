//! Builds with a BuildKit, and keeps the images in a Docker Engine or pushes them to a registry.

use std::collections::BTreeMap;
use std::path::PathBuf;

use async_trait::async_trait;
use bollard::Docker;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::buildkit::{
    BuildKit, BuildOptions, Control, Daemon, Limits, Outcome, Place, UsageRecord, shared_key,
};
use super::contract::{BuildRequest, BuildType, Builder, BuilderDetails, BuiltImage, Export};
use super::error::BuildError;
use super::image_ownership::{self, Owner};
use super::paths::Root;
use super::planned::{self, APP, IMAGE};
use super::planner::Planner;
use super::{buildpacks, detect, dockerfile, images, labels, nixpacks, railpack, static_site};
use crate::api;
use crate::image::{self, Deleted, ImageName, RegistryAccess, RegistryOptions};
use crate::job_log::JobLog;
use crate::model::{AppId, RegistryLogin};
use crate::redact::Secret;

/// Settings of a [`DockerBuilder`].
#[derive(Clone, Debug)]
pub struct BuilderOptions {
    /// The BuildKit that builds. By default the one in the engine.
    pub buildkit: Daemon,
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
            buildkit: Daemon::Engine(engine),
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

/// Builds with the BuildKit of a Docker Engine, or with a buildkitd.
#[derive(Debug)]
pub struct DockerBuilder {
    /// The engine that keeps the images; `None` if a registry has them all.
    docker: Option<Docker>,
    buildkit: BuildKit,
    options: BuilderOptions,
}

impl DockerBuilder {
    /// Builds with `docker`, which is connected to the engine at `options.engine`.
    pub fn new(docker: Docker, options: BuilderOptions) -> Self {
        Self::with(Some(docker), options)
    }

    /// Builds with a buildkitd, which pushes every image to a registry: no engine is used.
    pub fn without_engine(options: BuilderOptions) -> Self {
        Self::with(None, options)
    }

    fn with(docker: Option<Docker>, options: BuilderOptions) -> Self {
        Self {
            buildkit: BuildKit::new(docker.clone(), options.buildkit.clone()),
            docker,
            options,
        }
    }

    fn engine(&self) -> Result<&Docker, BuildError> {
        self.docker.as_ref().ok_or(BuildError::NoEngine)
    }

    /// Where builder images are looked up: a buildkitd sees only those of registries.
    async fn builder_images(&self) -> Result<buildpacks::Images<'_>, BuildError> {
        match &self.docker {
            Some(docker) if !self.buildkit.pushes() => Ok(buildpacks::Images::Engine(docker)),
            _ => Ok(buildpacks::Images::Registries {
                options: &self.options.registries,
                architecture: self.buildkit.architecture().await?,
            }),
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
            Err(_) if railpack::is_installed(&self.options.railpack, cancel).await => {
                Ok((root, BuildType::Railpack(api::Railpack::default())))
            }
            Err(_) if cancel.is_cancelled() => Err(BuildError::Cancelled),
            Err(looked_for) => Err(BuildError::NotDetected(format!(
                "{looked_for}; railpack, which recognises most languages, was not tried, because it is not installed on Davit's machine (install it in /usr/local/bin, or name it with --railpack)"
            ))),
        }
    }

    /// Runs the phases of a lifecycle and returns the files with the metadata of the image.
    async fn phases(
        &self,
        plan: &buildpacks::Plan,
        field: &'static str,
        options: &BuildOptions<'_>,
        log: &JobLog,
        cancel: &CancellationToken,
    ) -> Result<Vec<u8>, BuildError> {
        let limited = options.limits.memory.is_some();
        let done = self.buildkit.run(plan.work(), options, log, cancel).await;
        match done.map_err(|error| buildpacks::explain(error, field, limited, &log.tail()))? {
            Outcome::Files(archive) => Ok(archive),
            Outcome::Engine | Outcome::Registry { .. } => Err(BuildError::Engine(
                "BuildKit sent no files of the phases".to_owned(),
            )),
        }
    }

    /// Returns the name of a built image: its digest in the registry, or its id in the engine.
    async fn id_of(&self, built: Outcome, tag: &str, log: &JobLog) -> Result<String, BuildError> {
        if let Outcome::Registry { digest } = built {
            let id = format!("{tag}@{digest}");
            log.write(&format!("pushed {id}"));
            return Ok(id);
        }
        let found = images::inspect(self.engine()?, tag).await?;
        let missing = || BuildError::Engine(format!("the build ended without {tag}"));
        Ok(found.ok_or_else(missing)?.0)
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
        let limits = Limits {
            cpu: request.cpu,
            memory: request.memory,
        };
        if limits.any() {
            self.buildkit.check_limits().await?;
        }
        let (root, kind) = self.kind(request, cancel).await?;
        let mut details = BuilderDetails::default();
        if request.build_type.is_none() {
            let why = detect::why(&kind);
            log.write(&format!("build type: {}: {why}", kind.name()));
            details.detected = Some(why);
        }
        request.found.tell(kind.name(), &details);
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
            push: request.push.as_ref(),
            own_images: image_ownership::names_of(
                &image_ownership::prefix(&self.options.instance),
                &request.app.namespace,
            ),
            no_cache: request.no_cache,
            limits,
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
                let planned = blocking(move || dockerfile::plan(&root, &settings, &planned, &key)).await?;
                result = (planned.1, "");
                planned.0
            }
            BuildType::Static(site) => blocking(move || static_site::plan(&root, &site, &planned)).await?,
            BuildType::Railpack(settings) => {
                let tool = &self.options.railpack;
                let (plan, found) = railpack::prepare(tool, &settings, request, log, cancel).await?;
                details = used(found, details);
                request.found.tell(kind.name(), &details);
                blocking(move || railpack::solve(&root, &plan, &planned, &key)).await?
            }
            BuildType::Nixpacks => {
                let (plan, found) = nixpacks::plan(&self.options.nixpacks, request, log, cancel).await?;
                details = used(found, details);
                request.found.tell(kind.name(), &details);
                blocking(move || nixpacks::solve(&root, &plan, &planned, &key, is_site)).await?
            }
            BuildType::Buildpacks(settings) => {
                let (images, key) = (self.builder_images().await?, &self.options.key);
                let mut plan = buildpacks::plan(&images, &root, &settings, request, key, log, cancel).await?;
                if let Some(published) = &published {
                    plan.context = static_site::beside(plan.context, &published.site);
                }
                request.found.tell(kind.name(), &plan.details);
                let archive = self.phases(&plan, settings.field, &options, log, cancel).await?;
                let (image, labels) = plan.image(&archive)?;
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
        let built = built.map_err(|error| static_site::explain(error, published.as_ref()))?;
        Ok(BuiltImage {
            id: self.id_of(built, &request.tag, log).await?,
            tag: request.tag.clone(),
            builder: kind.name().to_owned(),
            details,
        })
    }

    async fn find(&self, tag: &str) -> Result<Option<BuiltImage>, BuildError> {
        match &self.docker {
            Some(docker) => images::find(docker, self.options.owner(), tag).await,
            None => Ok(None),
        }
    }

    async fn push(
        &self,
        built: &BuiltImage,
        export: Export,
        access: &RegistryAccess,
        log: &JobLog,
        cancel: &CancellationToken,
    ) -> Result<BuiltImage, BuildError> {
        let is_pushed = built.id.strip_prefix(&*built.tag);
        if is_pushed.is_some_and(|rest| rest.starts_with('@')) {
            return Ok(built.clone());
        }
        let docker = self.engine()?;
        let login = login(&built.tag, access);
        let digest = image::push(docker, &built.tag, login, log, cancel).await?;
        if export == Export::Registry {
            images::remove(docker, self.options.owner(), &built.tag).await?;
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
        access: &RegistryAccess,
        log: &JobLog,
        cancel: &CancellationToken,
    ) -> Result<Option<BuiltImage>, BuildError> {
        let login = login(tag, access);
        let digest = if export == Export::Registry && self.buildkit.pushes() {
            image::digest_at_registry(tag, access, &self.options.registries).await?
        } else {
            image::pushed_digest(self.engine()?, tag, login).await?
        };
        let Some(digest) = digest else {
            return Ok(None);
        };
        let id = format!("{tag}@{digest}");
        log.write(&format!("{id} exists and is not built again"));
        let mut builder = String::new();
        if export == Export::EngineAndRegistry {
            let docker = self.engine()?;
            image::pull(docker, &id, login, log, cancel).await?;
            images::tag(docker, &id, tag).await?;
            let found = images::inspect(docker, tag).await?;
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
        match &self.docker {
            Some(docker) => images::of(docker, self.options.owner(), app).await,
            None => Ok(Vec::new()),
        }
    }

    async fn trim_cache(&self, keep: Option<u64>) -> Result<u64, BuildError> {
        let control = Control::open(&self.options.buildkit).await?;
        if let Some(keep) = keep {
            control.prune(Vec::new(), keep).await?;
        }
        Ok(size(&control.cache().await?))
    }

    async fn free_cache(&self, app: &AppId) -> Result<(), BuildError> {
        let control = Control::open(&self.options.buildkit).await?;
        let mark = planned::cache_mark(&self.options.key, app);
        // By their ids: BuildKit compares no description when it prunes.
        let records = control.cache().await?;
        let its = records.iter().filter(|record| record.description.contains(&mark));
        let ids: Vec<String> = its.map(|record| format!("id=={}", record.id)).collect();
        if ids.is_empty() {
            return Ok(());
        }
        control.prune(ids, 0).await
    }

    async fn adopt(&self, image: &str, tag: &str, pulled: bool) -> Result<bool, BuildError> {
        match &self.docker {
            Some(docker) => images::adopt(docker, image, tag, pulled).await,
            None => Ok(false),
        }
    }

    async fn remove(&self, tag: &str) -> Result<(), BuildError> {
        match &self.docker {
            Some(docker) => images::remove(docker, self.options.owner(), tag).await,
            None => Ok(()),
        }
    }
}

/// The credential for a tag.
fn login<'a>(tag: &str, access: &'a RegistryAccess) -> Option<&'a RegistryLogin> {
    let name = ImageName::parse(tag).ok()?;
    access.login(&name)
}

/// The bytes of a cache, without those that images have too.
fn size(records: &[UsageRecord]) -> u64 {
    let own = records.iter().filter(|record| !record.shared);
    own.map(|record| u64::try_from(record.size).unwrap_or_default())
        .sum()
}

/// What a planner used, with the reason of its choice in front of what it found.
fn used(found: BuilderDetails, chosen: BuilderDetails) -> BuilderDetails {
    let all: Vec<String> = chosen.detected.into_iter().chain(found.detected).collect();
    BuilderDetails {
        detected: Some(all.join("; ")),
        ..found
    }
}

/// Runs what reads files where it may wait.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BuildError> + Send + 'static,
) -> Result<T, BuildError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(BuildError::Engine(format!("a task ended early: {error}"))))
}
