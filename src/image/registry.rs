//! Asks registries without an engine: which image a name means, whether an image exists, its configuration, and deletions.

use std::collections::BTreeMap;

use http::{Method, StatusCode};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::engine::{Found, ImageError, ResolvedImage};
use super::name::ImageName;
use super::push::{PushError, RegistryAccess};
use super::repository::{RegistryOptions, Repository};
use crate::error::{chain, cut};
use crate::model::{RegistryLogin, hex};

/// The largest manifest or configuration, in bytes.
const LARGEST: usize = 4 << 20;
/// The kinds of manifests that a node can pull.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, \
                         application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json";

/// What became of a deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// The image does not exist any more.
    Done,
    /// The registry deletes no images, or not with this credential.
    NotAllowed,
}

/// The configuration of an image at its registry.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct ImageConfig {
    /// The CPU architecture.
    #[serde(default)]
    pub architecture: String,
    /// What containers get.
    #[serde(default)]
    pub config: ContainerConfig,
}

/// What containers of an image get.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct ContainerConfig {
    /// The labels.
    #[serde(default, rename = "Labels")]
    pub labels: Option<BTreeMap<String, String>>,
    /// The environment, as `NAME=value`.
    #[serde(default, rename = "Env")]
    pub env: Option<Vec<String>>,
}

/// A manifest of an image, or of its variants.
#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    manifests: Vec<Variant>,
    config: Option<Descriptor>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: String,
}

#[derive(Deserialize)]
struct Variant {
    digest: String,
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

/// Deletes `image` (`repository:tag@digest`) from its registry: the manifest with this digest and all tags of it.
///
/// # Errors
/// The registry cannot be reached, or its answer is not understood.
pub async fn delete(
    image: &str,
    access: &RegistryAccess,
    options: &RegistryOptions,
) -> Result<Deleted, PushError> {
    let failed = |said: String| PushError::Failed {
        image: image.to_owned(),
        said,
    };
    let name = ImageName::parse(image).map_err(|error| failed(error.to_string()))?;
    let Some(digest) = name.digest().map(str::to_owned) else {
        return Err(failed("its digest is not known".to_owned()));
    };
    let login = access.login(&name);
    let repository = Repository::new(image, name, login, access.ca.as_deref(), options).map_err(failed)?;
    let path = format!("manifests/{digest}");
    let answer = repository.send(&Method::DELETE, &path, "", "pull,delete").await?;
    let status = answer.status();
    match status {
        StatusCode::NOT_FOUND => Ok(Deleted::Done),
        status if status.is_success() => Ok(Deleted::Done),
        StatusCode::METHOD_NOT_ALLOWED
        | StatusCode::UNAUTHORIZED
        | StatusCode::FORBIDDEN
        | StatusCode::BAD_REQUEST
        | StatusCode::NOT_IMPLEMENTED => Ok(Deleted::NotAllowed),
        status => Err(repository.refused(
            status.as_u16(),
            &format!("received unexpected HTTP status: {status}"),
        )),
    }
}

/// The digest that `image` (`repository:tag`) has at its registry now; `None` if it does not exist, or if only a push shows
/// whether the credential may create it.
///
/// # Errors
/// The registry cannot be asked.
pub async fn digest_at_registry(
    image: &str,
    access: &RegistryAccess,
    options: &RegistryOptions,
) -> Result<Option<String>, PushError> {
    let failed = |said: String| PushError::Failed {
        image: image.to_owned(),
        said,
    };
    let name = ImageName::parse(image).map_err(|error| failed(error.to_string()))?;
    let (login, tag) = (access.login(&name), name.tag().unwrap_or("latest").to_owned());
    let repository = Repository::new(image, name, login, access.ca.as_deref(), options).map_err(failed)?;
    let path = format!("manifests/{tag}");
    let answer = repository.send(&Method::HEAD, &path, MANIFESTS, "pull").await?;
    match answer.status() {
        StatusCode::NOT_FOUND | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Ok(None),
        status if status.is_success() => {
            let digest = answer.headers().get("docker-content-digest");
            Ok(digest.and_then(|digest| digest.to_str().ok()).map(str::to_owned))
        }
        status => Err(repository.refused(
            status.as_u16(),
            &format!("received unexpected HTTP status: {status}"),
        )),
    }
}

/// Finds out which image a name means now, for nodes that pull it themselves.
///
/// # Errors
/// The image does not exist, or the registry cannot be asked.
pub async fn resolve_at_registry(
    image: &str,
    login: Option<&RegistryLogin>,
    options: &RegistryOptions,
) -> Result<ResolvedImage, ImageError> {
    let failed = |said: String| ImageError::Failed {
        image: image.to_owned(),
        said,
    };
    let repository = at(image, login, options)?;
    let resolved = |digest: &str, found: Found| ResolvedImage {
        reference: format!("{}/{}@{digest}", repository.host, repository.name.repository()),
        digest: digest.to_owned(),
        found,
    };
    if let Some(digest) = repository.name.digest() {
        return Ok(resolved(digest, Found::Pinned));
    }
    let path = format!("manifests/{}", repository.name.tag().unwrap_or("latest"));
    let answer = repository.send(&Method::HEAD, &path, MANIFESTS, "pull").await;
    let answer = answer.map_err(|error| explain(image, &error))?;
    let said = format!("received HTTP status {}", answer.status());
    match answer.status() {
        status if status.is_success() => {
            let digest = answer.headers().get("docker-content-digest");
            let digest = digest.and_then(|digest| digest.to_str().ok());
            let digest = digest.ok_or_else(|| failed("the registry names no digest".to_owned()))?;
            Ok(resolved(digest, Found::Registry))
        }
        StatusCode::NOT_FOUND => Err(ImageError::NotFound {
            image: image.to_owned(),
            said,
        }),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(ImageError::Denied {
            image: image.to_owned(),
            said,
        }),
        _ => Err(failed(said)),
    }
}

/// The configuration of an image by digest, of its variant for a CPU architecture if it has several.
///
/// # Errors
/// The registry cannot be asked, or has no such variant.
pub async fn config_at_registry(
    image: &str,
    architecture: &str,
    login: Option<&RegistryLogin>,
    options: &RegistryOptions,
) -> Result<ImageConfig, ImageError> {
    let failed = |said: &str| ImageError::Failed {
        image: image.to_owned(),
        said: said.to_owned(),
    };
    let repository = at(image, login, options)?;
    let read = async |kind: &str, digest: &str| -> Result<Vec<u8>, ImageError> {
        let read = repository
            .read(&format!("{kind}/{digest}"), MANIFESTS, LARGEST)
            .await;
        let content = read.map_err(|error| explain(image, &error))?;
        if format!("sha256:{}", hex(&Sha256::digest(&content))) == digest {
            Ok(content)
        } else {
            Err(failed("the registry sent other bytes than those of the digest"))
        }
    };
    let manifest = async |digest: &str| -> Result<Manifest, ImageError> {
        let content = read("manifests", digest).await?;
        serde_json::from_slice(&content).map_err(|error| failed(&format!("its manifest is invalid: {error}")))
    };
    let digest = repository.name.digest().unwrap_or_default();
    let mut found = manifest(digest).await?;
    if found.config.is_none() {
        let fits = |platform: &Platform| platform.os == "linux" && platform.architecture == architecture;
        let mut variants = found.manifests.iter();
        let variant = variants.find(|variant| variant.platform.as_ref().is_some_and(fits));
        let variant =
            variant.ok_or_else(|| failed(&format!("it has no variant for linux/{architecture}")))?;
        found = manifest(&variant.digest.clone()).await?;
    }
    let config = found.config.ok_or_else(|| failed("it has no configuration"))?;
    let content = read("blobs", &config.digest).await?;
    serde_json::from_slice(&content)
        .map_err(|error| failed(&format!("its configuration is invalid: {error}")))
}

fn at<'a>(
    image: &'a str,
    login: Option<&'a RegistryLogin>,
    options: &RegistryOptions,
) -> Result<Repository<'a>, ImageError> {
    let name = ImageName::parse(image).map_err(|error| ImageError::Invalid {
        image: cut(image, 200),
        why: error.to_string(),
    })?;
    Repository::new(image, name, login, None, options).map_err(|said| ImageError::Failed {
        image: image.to_owned(),
        said,
    })
}

/// The error of a request that reads.
fn explain(image: &str, error: &PushError) -> ImageError {
    let (image, said) = (image.to_owned(), chain(error));
    match error {
        PushError::Denied { .. } => ImageError::Denied { image, said },
        PushError::NoRepository { .. } => ImageError::NotFound { image, said },
        PushError::Tls { .. } => ImageError::Tls { image, said },
        PushError::Failed { .. } => ImageError::Failed { image, said },
        PushError::Unreachable { .. } | PushError::EngineUnavailable(_) | PushError::Cancelled => {
            ImageError::Unreachable { image, said }
        }
    }
}
