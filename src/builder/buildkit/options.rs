//! What a build is given, and how that is told to the engine.

use std::collections::{BTreeMap, HashMap};

use sha2::{Digest as _, Sha256};
use tokio::time::{Duration, Instant};

use super::filesync::Trees;
use crate::builder::error::BuildError;
use crate::image::{ImageName, RegistryLogins};
use crate::model::{AppId, hex};
use crate::redact::Secret;

/// The result of a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// An image in the engine.
    Image,
    /// The files of the stage, as a tar archive that comes back.
    Files,
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
    /// Build without the cache.
    pub no_cache: bool,
    /// Names the place where BuildKit keeps transferred files from build to build.
    pub shared_key: String,
    /// When it must have ended.
    pub deadline: Instant,
    /// How long that was, for messages.
    pub limit: Duration,
}

/// The query of `/build`, but for the session.
pub fn query(
    request: &SolveRequest,
    options: &BuildOptions<'_>,
    build_id: &str,
) -> Result<String, BuildError> {
    let json = |value: serde_json::Result<String>| {
        value.map_err(|error| BuildError::Engine(format!("write the build's settings: {error}")))
    };
    let mut args = HashMap::new();
    for (name, value) in &request.args {
        let value = value.expose_str().ok_or(BuildError::NotSupported {
            field: "spec.build.args",
            why: format!("the value of {name} is not text"),
        })?;
        args.insert(name, value);
    }
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query
        .append_pair("version", "2")
        .append_pair("remote", "client-session")
        .append_pair("buildid", build_id)
        .append_pair("dockerfile", &request.dockerfile)
        .append_pair("buildargs", &json(serde_json::to_string(&args))?)
        .append_pair("rm", "1")
        .append_pair("forcerm", "1");
    match request.output {
        Output::Image => {
            query
                .append_pair("t", options.tag)
                .append_pair("labels", &json(serde_json::to_string(&options.labels))?);
        }
        Output::Files => {
            query.append_pair("outputs", r#"[{"Type":"tar"}]"#);
        }
    }
    if let Some(target) = &request.target {
        query.append_pair("target", target);
    }
    if options.no_cache {
        query.append_pair("nocache", "1");
    }
    Ok(query.finish())
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
