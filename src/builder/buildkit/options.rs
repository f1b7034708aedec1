//! What a build is given, and how that is told to the engine.

use std::collections::{BTreeMap, HashMap};

use sha2::{Digest as _, Sha256};
use tokio::time::{Duration, Instant};

use super::filesync::Trees;
use super::limits::Limits;
use crate::builder::error::BuildError;
use crate::image::{ImageName, RegistryAccess, RegistryLogins};
use crate::model::{AppId, hex};
use crate::redact::Secret;

/// The result of a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// An image.
    Image,
    /// The files of the stage, as a tar archive that comes back.
    Files,
}

/// What a build made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An image in the engine.
    Engine,
    /// An image in its registry.
    Registry {
        /// Its digest there.
        digest: String,
    },
    /// Files, as a tar archive.
    Files(Vec<u8>),
}

/// What BuildKit is given.
#[derive(Debug)]
pub struct SolveRequest {
    /// The files that it may ask for.
    pub trees: Trees,
    /// The name of the Dockerfile in the tree `dockerfile`.
    pub dockerfile: String,
    /// The stage.
    pub target: Option<String>,
    /// Build arguments.
    pub args: BTreeMap<String, Secret>,
    /// Build secrets.
    pub secrets: BTreeMap<String, Secret>,
    /// The images that it is known to pull, which decide between several credentials of one registry.
    pub images: Vec<ImageName>,
    /// The result.
    pub output: Output,
    /// Names that logs and messages show in place of a step's text, by a part of that text.
    pub names: Vec<(&'static str, String)>,
}

/// How a plan is built.
#[derive(Clone, Debug)]
pub struct BuildOptions<'a> {
    /// The tag of the image.
    pub tag: &'a str,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Credentials of registries.
    pub registries: &'a RegistryLogins,
    /// The access to the registry that BuildKit pushes the image to, in place of giving it to the engine.
    pub push: Option<&'a RegistryAccess>,
    /// What the names of the images begin with that the engine has for the namespace: those of others are refused.
    pub own_images: String,
    /// Build without the cache.
    pub no_cache: bool,
    /// What all steps together may use.
    pub limits: Limits,
    /// Names the place where BuildKit keeps transferred files from build to build.
    pub shared_key: String,
    /// When it must have ended.
    pub deadline: Instant,
    /// How long that was, for messages.
    pub limit: Duration,
}

/// The attributes of the Dockerfile frontend.
///
/// # Errors
/// An argument is not text, which a Dockerfile cannot take.
pub fn attributes(
    request: &SolveRequest,
    options: &BuildOptions<'_>,
) -> Result<HashMap<String, String>, BuildError> {
    let mut attributes = HashMap::from([("filename".to_owned(), request.dockerfile.clone())]);
    for (name, value) in &request.args {
        let value = value.expose_str().ok_or(BuildError::NotSupported {
            field: "spec.build.args",
            why: format!("the value of {name} is not text"),
        })?;
        attributes.insert(format!("build-arg:{name}"), value.to_owned());
    }
    if request.output == Output::Image {
        let labels = options.labels.iter();
        attributes.extend(labels.map(|(name, value)| (format!("label:{name}"), value.clone())));
    }
    attributes.extend(
        request
            .target
            .iter()
            .map(|target| ("target".to_owned(), target.clone())),
    );
    if options.no_cache {
        // Of all stages.
        attributes.insert("no-cache".to_owned(), String::new());
    }
    Ok(attributes)
}

/// One place in BuildKit's cache for each Application: files that did not change are not transferred again, and no
/// build sees the files of another Application.
pub fn shared_key(instance: &str, app: &AppId) -> String {
    let mut hash = Sha256::new();
    for part in [instance, &app.namespace, &app.name] {
        hash.update(part);
        hash.update([0]);
    }
    hex(&hash.finalize())
}
