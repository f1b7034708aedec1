//! A builder image, its run image, and what its labels say of its lifecycle.

use std::collections::HashMap;

use bollard::Docker;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::builder::contract::Buildpacks;
use crate::builder::error::BuildError;
use crate::image::{self, ImageError, ImageName, RegistryLogins, RegistryOptions};
use crate::job_log::JobLog;

/// The label with the metadata of a builder.
const METADATA: &str = "io.buildpacks.builder.metadata";
/// The label with the order of image extensions.
const EXTENSIONS: &str = "io.buildpacks.buildpack.order-extensions";
/// The platform APIs that Davit speaks, newest first. The lifecycle exports OCI layouts from 0.12 on.
const PLATFORM_APIS: [&str; 3] = ["0.14", "0.13", "0.12"];

/// Where images are looked up.
#[derive(Debug)]
pub enum Images<'a> {
    /// Through an engine, which has the images that it builds on.
    Engine(&'a Docker),
    /// At their registries, for a BuildKit that pulls them itself.
    Registries {
        /// How registries are reached.
        options: &'a RegistryOptions,
        /// The CPU architecture that is built for.
        architecture: String,
    },
}

/// The parts of an image's configuration that matter.
struct Found {
    labels: HashMap<String, String>,
    env: Vec<String>,
    architecture: Option<String>,
}

/// An image that is found.
struct Pinned {
    /// Its name for a Dockerfile.
    reference: String,
    /// Its name by digest, or its ID.
    digest: String,
    /// Whether it comes from a registry.
    in_registry: bool,
}

/// A builder image.
#[derive(Debug)]
pub struct BuilderImage {
    /// Its name by digest; the tag of an image that only the engine has.
    pub reference: String,
    /// The run image, in the same form.
    pub run_image: String,
    /// Both by digest; those that only the engine has by their IDs.
    pub digests: [String; 2],
    /// The user of the build steps.
    pub user: u32,
    /// The group of the build steps.
    pub group: u32,
    /// The platform API.
    pub platform_api: String,
    /// The version of the lifecycle.
    pub lifecycle: String,
    /// The CPU architecture.
    pub architecture: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default)]
    images: Vec<RunImage>,
    #[serde(default)]
    stack: Stack,
    #[serde(default)]
    lifecycle: Lifecycle,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stack {
    #[serde(default)]
    run_image: RunImage,
}

#[derive(Debug, Default, Deserialize)]
struct RunImage {
    #[serde(default)]
    image: String,
}

#[derive(Debug, Default, Deserialize)]
struct Lifecycle {
    #[serde(default)]
    version: String,
    #[serde(default)]
    apis: Apis,
}

#[derive(Debug, Default, Deserialize)]
struct Apis {
    #[serde(default)]
    platform: Platform,
}

#[derive(Debug, Default, Deserialize)]
struct Platform {
    #[serde(default)]
    supported: Vec<String>,
}

impl BuilderImage {
    /// Finds the builder, which an engine pulls if it does not have it, and its run image.
    ///
    /// # Errors
    /// An image does not exist, or the builder cannot be used.
    pub async fn find(
        lookup: &Images<'_>,
        settings: &Buildpacks,
        logins: &RegistryLogins,
        log: &JobLog,
        cancel: &CancellationToken,
    ) -> Result<Self, BuildError> {
        let refuse = |why: String| BuildError::NotSupported {
            field: settings.field,
            why,
        };
        let name = &settings.builder;
        let builder = lookup.pinned(name, logins).await?;
        let (reference, in_registry) = (builder.reference, builder.in_registry);
        let found = lookup
            .inspect(&reference, in_registry, logins, log, cancel)
            .await?;
        let labels = &found.labels;
        let metadata: Metadata = labels
            .get(METADATA)
            .and_then(|text| serde_json::from_str(text).ok())
            .ok_or_else(|| BuildError::UnusableImage {
                field: settings.field,
                why: format!(
                    "{name} is not a builder of Cloud Native Buildpacks: it has no label {METADATA}"
                ),
                instead: "a builder image, such as {builder: paketobuildpacks/builder-jammy-base}",
            })?;
        let extends = labels
            .get(EXTENSIONS)
            .is_some_and(|order| !matches!(order.trim(), "" | "[]" | "null"));
        if extends {
            return Err(refuse(format!(
                "the builder {name} has image extensions, which Davit does not run"
            )));
        }
        let variable = |wanted: &str| {
            let mut values = found.env.iter().filter_map(|entry| entry.split_once('='));
            let value = values
                .find(|(name, _)| *name == wanted)
                .map(|(_, value)| value.to_owned());
            let id = value.and_then(|value| value.parse().ok());
            id.ok_or_else(|| {
                refuse(format!(
                    "the builder {name} has no number in its variable {wanted}"
                ))
            })
        };
        let platform_api =
            platform_api(&metadata).map_err(|why| refuse(format!("{why} of the builder {name}")))?;
        let run = metadata.images.first().unwrap_or(&metadata.stack.run_image);
        if run.image.is_empty() {
            return Err(refuse(format!("the builder {name} names no run image")));
        }
        let run = lookup.pinned(&run.image, logins).await?;
        let run_image = run.reference;
        log.write(&format!("builder {reference}, run image {run_image}"));
        Ok(Self {
            user: variable("CNB_USER_ID")?,
            group: variable("CNB_GROUP_ID")?,
            platform_api: platform_api.to_owned(),
            lifecycle: metadata.lifecycle.version,
            architecture: found.architecture.unwrap_or_else(|| "amd64".to_owned()),
            digests: [builder.digest, run.digest],
            reference,
            run_image,
        })
    }
}

fn platform_api(metadata: &Metadata) -> Result<&'static str, String> {
    let supported = &metadata.lifecycle.apis.platform.supported;
    let mut common = PLATFORM_APIS
        .iter()
        .filter(|api| supported.iter().any(|other| other == **api));
    common.next().copied().ok_or_else(|| {
        format!(
            "one of the platform APIs {} is needed, and {} are those of the lifecycle {}",
            PLATFORM_APIS.join(", "),
            supported.join(", "),
            metadata.lifecycle.version
        )
    })
}

fn login<'l>(name: &str, logins: &'l RegistryLogins) -> Option<&'l crate::model::RegistryLogin> {
    let name = ImageName::parse(name).ok()?;
    logins.find(name.registry(), name.repository())
}

impl Images<'_> {
    /// The name of an image by digest. An image that only the engine has keeps its name.
    async fn pinned(&self, name: &str, logins: &RegistryLogins) -> Result<Pinned, BuildError> {
        let login = login(name, logins);
        let resolved = match self {
            Self::Engine(docker) => image::resolve_image(docker, name, login).await,
            Self::Registries { options, .. } => image::resolve_at_registry(name, login, options).await,
        };
        let resolved = resolved.map_err(base_image)?;
        let by_digest = resolved.reference.contains('@');
        let (reference, digest) = if by_digest {
            (resolved.reference.clone(), resolved.reference)
        } else {
            (name.to_owned(), resolved.digest)
        };
        Ok(Pinned {
            reference,
            digest,
            in_registry: !matches!(resolved.found, image::Found::Local(_)),
        })
    }

    /// The configuration of an image.
    async fn inspect(
        &self,
        reference: &str,
        in_registry: bool,
        logins: &RegistryLogins,
        log: &JobLog,
        cancel: &CancellationToken,
    ) -> Result<Found, BuildError> {
        let login = login(reference, logins);
        match self {
            Self::Engine(docker) => {
                if in_registry {
                    let pulled = image::pull(docker, reference, login, log, cancel).await;
                    pulled.map_err(base_image)?;
                }
                let found = docker.inspect_image(reference).await;
                let found = found.map_err(|error| crate::builder::buildkit::engine_error(&error))?;
                let config = found.config.unwrap_or_default();
                Ok(Found {
                    labels: config.labels.unwrap_or_default(),
                    env: config.env.unwrap_or_default(),
                    architecture: found.architecture,
                })
            }
            Self::Registries {
                options,
                architecture,
            } => {
                let found = image::config_at_registry(reference, architecture, login, options).await;
                let found = found.map_err(base_image)?;
                Ok(Found {
                    labels: found.config.labels.unwrap_or_default().into_iter().collect(),
                    env: found.config.env.unwrap_or_default(),
                    architecture: Some(found.architecture),
                })
            }
        }
    }
}

/// The error of an image that the build is based on.
fn base_image(error: ImageError) -> BuildError {
    match error {
        ImageError::Invalid { image, why } => BuildError::BaseImage(format!("{image}: {why}")),
        ImageError::NotFound { image, said } => BuildError::BaseImage(format!("{image}: {said}")),
        ImageError::Denied { image, said } => BuildError::BaseImageDenied(format!("{image}: {said}")),
        ImageError::Tls { image, said } => BuildError::BaseImageTls { image, said },
        ImageError::Unreachable { image, said } | ImageError::Failed { image, said } => {
            BuildError::RegistryUnreachable(format!("{image}: {said}"))
        }
        ImageError::DiskFull { .. } => BuildError::DiskFull,
        ImageError::EngineUnavailable(error) => BuildError::EngineUnavailable(crate::error::chain(&error)),
        ImageError::Cancelled => BuildError::Cancelled,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_common_platform_api_is_used() {
        let of = |apis: &str| {
            let text = format!(
                r#"{{"lifecycle": {{"version": "1", "apis": {{"platform": {{"supported": {apis}}}}}}}}}"#
            );
            platform_api(&serde_json::from_str(&text).unwrap()).map_err(|why| why.contains("lifecycle 1"))
        };
        assert_eq!(of(r#"["0.7", "0.12", "0.13", "0.15"]"#), Ok("0.13"));
        assert_eq!(of(r#"["0.12"]"#), Ok("0.12"));
        assert_eq!(of(r#"["0.3", "0.11"]"#), Err(true));
    }
}
