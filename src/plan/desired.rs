//! The desired state: a spec and its references, with all defaults decided.

use std::time::Duration;

use serde_json::Value;

use crate::api::{ApplicationSpec, Build, Reason, ReleaseStatus};
use crate::builder::{BuildType, Export, env_file, image_names_of};
use crate::error::{Class, Problem};
use crate::image::ImageName;
use crate::model::{AppId, ImageRef, Revision};
use crate::redact::Secret;
use crate::runtime::Capabilities;

use super::build_fields;
use super::capabilities;
use super::deployment::deployment;
use super::endpoint::Endpoint;
use super::env_expansion::{Expanded, origins as env_origins};
use super::fingerprint::{Fingerprint, Inputs, RUN, digest};
use super::quantities::amounts;
use super::value_origin::Origins;
use super::values::{Values, texts};

/// What this installation of Davit is.
#[derive(Clone, Debug)]
pub struct Install {
    /// The key of all digests.
    pub key: Secret,
    /// What the names of images begin with.
    pub image_prefix: String,
    /// What the runtime supports.
    pub capabilities: Capabilities,
    /// The registry and the beginning of the path of the repositories of Applications without `spec.image`.
    pub registry: Option<String>,
    /// What the tags of pulled images end in, which have no labels to say which of several installations with one
    /// `image_prefix` pulled them. Empty: there is only one.
    pub image_mark: String,
    /// Where deliveries of webhooks arrive.
    pub webhooks: Endpoint,
}

/// A source pinned to a commit or digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinnedSource {
    /// The kind of the source, as the user writes it.
    pub kind: &'static str,
    /// Where the source comes from: the URL, the repository's path, or the image's name.
    pub locator: String,
    /// The revision.
    pub revision: Revision,
    /// The directory that is built; `/` for an image.
    pub path: String,
    /// Whether submodules are fetched.
    pub submodules: bool,
    /// The tag of the revision, where tags are followed.
    pub tag: Option<String>,
    /// The newest revision, if it is not deployed by itself: it changes nothing in `spec.trigger.watchPaths`, or its message
    /// asks for no deployment.
    pub unwatched: Option<Revision>,
    /// Whether `unwatched` is not deployed because its message asks for that.
    pub skipped: bool,
}

impl PinnedSource {
    /// True where an image is run as it is and nothing is built.
    pub fn is_image(&self) -> bool {
        matches!(self.revision, Revision::Image(_))
    }

    /// The revision, short enough for a column.
    pub fn short_revision(&self) -> String {
        self.revision.short().to_owned()
    }
}

/// How the image is made.
#[derive(Clone, Debug, PartialEq)]
pub struct BuildPlan {
    /// Which way; detected where it is not given.
    pub build_type: Option<BuildType>,
    /// Use the cache.
    pub cache: bool,
    /// Write the environment into the build context.
    pub env_file: bool,
    /// The longest it may take.
    pub timeout: Duration,
    /// Nano-cores.
    pub cpu: Option<u64>,
    /// Bytes.
    pub memory: Option<u64>,
}

/// The desired state of an Application.
#[derive(Clone, Debug, PartialEq)]
pub struct Desired {
    /// The source.
    pub source: PinnedSource,
    /// Digests of everything that matters.
    pub inputs: Inputs,
    /// How the image is made; nothing for an image that is run as it is.
    pub build: Option<BuildPlan>,
    /// The tag that Davit gives the image that it builds, or pulls where it is not in the engine yet.
    pub tag: Option<String>,
    /// Where the image is wanted.
    pub export: Export,
    /// The part of the spec that a Release keeps.
    pub config: Value,
    /// The Secrets and ConfigMaps that the value of a field comes from, as in [`Values`].
    pub origins: Origins,
}

impl Desired {
    /// In one word, what is wanted: two that are equal need no new Release.
    pub fn fingerprint(&self) -> String {
        digest(&self.inputs, &[""], "", 16)
    }

    /// What a job makes of it: two that are equal need one job.
    pub fn job_key(&self) -> String {
        match &self.build {
            Some(build) => format!("{:?} {} {:?}", self.tag, build.cache, build.timeout),
            None => self.source.revision.to_string(),
        }
    }
}

/// The parts of a spec that a Release keeps, so that it can be run again without the Application's present spec.
pub fn config(spec: &ApplicationSpec) -> Value {
    let kept = ApplicationSpec {
        env: spec.env.clone(),
        env_from: spec.env_from.clone(),
        replicas: spec.replicas,
        command: spec.command.clone(),
        args: spec.args.clone(),
        ports: spec.ports.clone(),
        resources: spec.resources.clone(),
        health_check: spec.health_check.clone(),
        restart_policy: spec.restart_policy.clone(),
        stop_grace_period: spec.stop_grace_period.clone(),
        volumes: spec.volumes.clone(),
        rollout: spec.rollout.clone(),
        hooks: spec.hooks.clone(),
        ..ApplicationSpec::default()
    };
    serde_json::to_value(kept).unwrap_or_default()
}

/// The part of the spec that a Release was recorded to run with.
///
/// # Errors
/// `status.config` is missing or cannot be read: the Release cannot be run again.
pub fn recorded_config(release: &str, status: &ReleaseStatus) -> Result<ApplicationSpec, Problem> {
    let unreadable = |why: &dyn std::fmt::Display| {
        let message = format!(
            "status.config of release {release} cannot be read, so its containers cannot be created: {why}; create another Release"
        );
        Problem::new(Class::Terminal, Reason::Internal, message)
    };
    let recorded = status
        .config
        .as_ref()
        .ok_or_else(|| unreadable(&"it is missing"))?;
    serde_json::from_value(recorded.0.clone()).map_err(|error| unreadable(&error))
}

/// Returns the desired state.
///
/// # Errors
/// A field that cannot work, by its name.
pub fn validate(
    app: &AppId,
    spec: &ApplicationSpec,
    source: PinnedSource,
    values: &Values,
    install: &Install,
) -> Result<Desired, Problem> {
    // What cannot run is refused before anything is built for it.
    check(spec)?;
    capabilities::check(spec, &install.capabilities)?;
    if source.is_image() {
        let own = image_names_of(&install.image_prefix, &app.namespace);
        capabilities::image_of_others(&source.locator, &own)?;
    }
    let mut fingerprint = Fingerprint::new(&install.key);
    fingerprint.add(
        "source.repository",
        format!("{} {}", source.kind, source.locator).as_bytes(),
    );
    fingerprint.add("source.revision", source.revision.to_string().as_bytes());
    fingerprint.add("source.path", source.path.as_bytes());
    fingerprint.add_json("source.submodules", &source.submodules);
    let build = spec.build.clone().unwrap_or_default();
    if !source.is_image() {
        build_fields::check(&build)?;
        add_build_inputs(&mut fingerprint, &build, values);
    }
    let (run, origins) = run_inputs(&install.key, spec, values)?;
    let mut inputs = fingerprint.finish();
    inputs.extend(run);
    let plan = if source.is_image() {
        None
    } else {
        Some(build_plan(&build))
    };
    // An image that is named by its id is in the engine already.
    let made = !matches!(source.revision, Revision::Image(ImageRef::Engine(_)));
    let repository = if source.is_image() {
        None
    } else {
        repository(app, spec, install)?
    };
    if install.capabilities.pulls_only && repository.is_none() && (plan.is_some() || !made) {
        return Err(capabilities::needs_registry(
            &install.capabilities,
            plan.is_some(),
        ));
    }
    let export = match &repository {
        None => Export::Engine,
        Some(_) if install.capabilities.needs_registry => Export::Registry,
        Some(_) => Export::EngineAndRegistry,
    };
    // Also for an image that is named by its ID: what was built for another Application stays in the engine, although that
    // one removes its own tag.
    let tag = match &repository {
        Some(repository) => pushed_tag(app, &inputs, &source, repository),
        None => image_tag(app, &inputs, &source, install),
    };
    let desired = Desired {
        source,
        inputs,
        tag: Some(tag),
        export,
        build: plan,
        config: config(spec),
        origins,
    };
    deployment(app, "", "", "", spec, values)?;
    Ok(desired)
}

/// Returns the digests of everything that decides a container, and the objects that their values come from.
///
/// # Errors
/// `command` or `args` names a variable that does not exist.
pub(super) fn run_inputs(
    key: &Secret,
    spec: &ApplicationSpec,
    values: &Values,
) -> Result<(Inputs, Origins), Problem> {
    let (command, args) = (
        texts(&spec.command, "spec.command", values)?,
        texts(&spec.args, "spec.args", values)?,
    );
    let mut fingerprint = Fingerprint::new(key);
    add_run_inputs(&mut fingerprint, spec, values, [&command, &args]);
    if let Some(hooks) = &spec.hooks {
        // Another command is another Release, and no other container.
        fingerprint.add_json("hooks.preDeploy", &hooks.pre_deploy);
    }
    let mut origins = values.origins.clone();
    for (field, texts) in [("run.command", &command), ("run.args", &args)] {
        let used = texts.iter().flat_map(|text| &text.used);
        let found = env_origins(used, &values.origins);
        if !found.is_empty() {
            origins.insert(field.to_owned(), found);
        }
    }
    Ok((fingerprint.finish(), origins))
}

/// Checks what the schema of the CRD cannot express.
fn check(spec: &ApplicationSpec) -> Result<(), Problem> {
    spec.check().map_err(|invalid| {
        let reason = if invalid.is_quantity() {
            Reason::InvalidQuantity
        } else {
            Reason::InvalidSpec
        };
        Problem::new(Class::Terminal, reason, invalid.to_string())
    })
}

/// The build types whose absence is part of a fingerprint. A later type must not be: an update of Davit would otherwise
/// change the fingerprint of every Application, and deploy each again.
const RECORDED_WHEN_ABSENT: [&str; 3] = ["dockerfile", "static", "railpack"];

fn add_build_inputs(fingerprint: &mut Fingerprint<'_>, build: &Build, values: &Values) {
    for (name, settings) in build.types() {
        if !settings.is_null() || RECORDED_WHEN_ABSENT.contains(&name) {
            fingerprint.add_json(format!("build.{name}"), &settings);
        }
    }
    for (name, value) in &values.args {
        fingerprint.add(format!("build.args.{name}"), value.expose());
    }
    for (name, value) in &values.secrets {
        fingerprint.add(format!("build.secrets.{name}"), value.expose());
    }
    if build.env_file {
        let text = env_file::text(values.env.iter().map(|(name, value)| (name.as_str(), value)));
        fingerprint.add("build.envFile", text.expose());
    }
}

fn add_run_inputs(
    fingerprint: &mut Fingerprint<'_>,
    spec: &ApplicationSpec,
    values: &Values,
    [command, args]: [&[Expanded]; 2],
) {
    for (name, value) in &values.env {
        fingerprint.add(format!("run.env.{name}"), value.expose());
    }
    for volume in &spec.volumes {
        let field = format!("run.volumes.{}", volume.name);
        let mut text = serde_json::to_string(volume).unwrap_or_default().into_bytes();
        for (name, content) in values.files.get(&volume.name).into_iter().flatten() {
            text.extend_from_slice(&(name.len() as u64).to_be_bytes());
            text.extend_from_slice(name.as_bytes());
            text.extend_from_slice(&(content.expose().len() as u64).to_be_bytes());
            text.extend_from_slice(content.expose());
        }
        fingerprint.add(field, &text);
    }
    let plain = |texts: &[Expanded]| -> Vec<String> {
        let bytes = texts.iter().map(|text| text.text.expose());
        bytes
            .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
            .collect()
    };
    fingerprint.add_json("run.command", &plain(command));
    fingerprint.add_json("run.args", &plain(args));
    fingerprint.add_json("run.ports", &spec.ports);
    fingerprint.add_json("run.resources", &spec.resources);
    fingerprint.add_json("run.healthCheck", &spec.health_check);
    fingerprint.add_json("run.restartPolicy", &spec.restart_policy);
    fingerprint.add_json("run.stopGracePeriod", &spec.stop_grace_period);
    fingerprint.add_json("scale.replicas", &spec.replicas);
}

fn build_plan(build: &Build) -> BuildPlan {
    let build_type = BuildType::of(build);
    let limits = build
        .resources
        .as_ref()
        .and_then(|resources| resources.limits.as_ref());
    let (cpu, memory) = amounts(limits);
    BuildPlan {
        build_type,
        cache: build.cache.unwrap_or(true),
        env_file: build.env_file,
        timeout: build
            .timeout
            .as_ref()
            .map_or(Duration::from_mins(30), crate::api::Duration::get),
        cpu,
        memory,
    }
}

/// The image's name: from the commit and a digest of all build inputs, so that a repeated step finds its own work.
fn image_tag(app: &AppId, inputs: &Inputs, source: &PinnedSource, install: &Install) -> String {
    let digest = digest(
        inputs,
        &[super::fingerprint::SOURCE, super::fingerprint::BUILD],
        "",
        12,
    );
    let revision = source.short_revision();
    // What is built has labels that say whose it is.
    let mark = if source.is_image() {
        &install.image_mark
    } else {
        ""
    };
    format!(
        "{}/{}/{}:{revision}-{digest}{mark}",
        install.image_prefix, app.namespace, app.name
    )
}

/// The repository that the image of an Application is pushed to, if it is pushed.
fn repository(app: &AppId, spec: &ApplicationSpec, install: &Install) -> Result<Option<String>, Problem> {
    let (field, repository) = match (&spec.image, &install.registry) {
        (Some(image), _) => ("spec.image.repository", image.repository.clone()),
        (None, Some(registry)) => {
            let registry = registry.trim_end_matches('/');
            ("--registry", format!("{registry}/{}/{}", app.namespace, app.name))
        }
        (None, None) => return Ok(None),
    };
    let invalid = |why: &str| {
        Problem::invalid(format!(
            "{field}: {repository:?} is not a repository of a registry: {why}; write it as registry.example.com/acme/shop"
        ))
    };
    let name = ImageName::parse(&repository).map_err(|error| invalid(&error.to_string()))?;
    if name.digest().is_some() || name.to_string() != format!("{repository}:latest") {
        return Err(invalid("it has a tag or a digest, or names no registry"));
    }
    Ok(Some(repository))
}

/// The name of an image in a registry. The Application is part of the digest, so that two Applications with one repository
/// do not share, and prune, one tag.
fn pushed_tag(app: &AppId, inputs: &Inputs, source: &PinnedSource, repository: &str) -> String {
    let fields = [super::fingerprint::SOURCE, super::fingerprint::BUILD];
    let digest = digest(inputs, &fields, &app.to_string(), 12);
    format!("{repository}:{}-{digest}", source.short_revision())
}

/// The identity of a release's containers: its image and everything that decides a container.
pub fn container_hash(inputs: &Inputs, image: &str) -> String {
    digest(inputs, &[RUN], image, 16)
}
