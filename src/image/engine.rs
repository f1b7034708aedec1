//! Images that are run as they are: a name as a digest, asked through the engine, and the pull of that digest.

use std::time::Duration;

/// The engine that images are asked for and pulled with.
pub use bollard::Docker;
use bollard::auth::DockerCredentials;
use bollard::errors::Error;
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures::StreamExt as _;
use tokio_util::sync::CancellationToken;

use super::UNREACHABLE;
use super::login::{RegistryLogins, registry_name};
use super::name::ImageName;
use super::trust::{UNTRUSTED, trust};
use crate::api::Reason;
use crate::error::{Class, ENGINE_UNAVAILABLE, Explain, cut};
use crate::job_log::JobLog;
use crate::model::RegistryLogin;
use crate::redact::{Masker, Secret};

/// The field that messages name.
const FIELD: &str = "spec.source.docker.image";
/// The field of the credential that messages name.
const LOGIN_FIELD: &str = "spec.source.docker.pullSecretRef";
/// The longest that a registry may take to name a digest.
const ANSWER: Duration = Duration::from_secs(30);
/// The most lines that one pull writes into the log.
const MOST_LINES: usize = 200;

/// An image that cannot change any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedImage {
    /// What the engine runs: `registry/repository@sha256:…`, or the id of an image that is only in the engine.
    pub reference: String,
    /// The digest, or that id.
    pub digest: String,
    /// Where it was found.
    pub found: Found,
}

/// Where an image was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The reference has a digest; no registry was asked.
    Pinned,
    /// The registry said so.
    Registry,
    /// It is in the engine, and the registry could not be used; why.
    Local(String),
}

/// Why an image cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The name is not one of an image.
    #[error("{image:?} is not an image reference: {why}")]
    Invalid {
        /// The name.
        image: String,
        /// What is wrong with it.
        why: String,
    },
    /// It is nowhere.
    #[error("image {image} not found: {said}")]
    NotFound {
        /// The name.
        image: String,
        /// What the registry said.
        said: String,
    },
    /// The registry wants another credential.
    #[error("the registry refused to send the image {image}: {said}")]
    Denied {
        /// The name.
        image: String,
        /// What the registry said.
        said: String,
    },
    /// The registry does not answer.
    #[error("the registry of {image} cannot be reached: {said}")]
    Unreachable {
        /// The name.
        image: String,
        /// What the engine said.
        said: String,
    },
    /// The registry's certificate is not trusted, or it speaks plain HTTP.
    #[error("the registry of {image} cannot be trusted: {said}")]
    Tls {
        /// The name.
        image: String,
        /// What the engine said.
        said: String,
    },
    /// The pull failed.
    #[error("the image {image} cannot be pulled: {said}")]
    Failed {
        /// The name.
        image: String,
        /// What the engine said.
        said: String,
    },
    /// No space.
    #[error("the image {image} cannot be pulled: no space left on the engine's disk")]
    DiskFull {
        /// The name.
        image: String,
    },
    /// The engine does not answer.
    #[error("the container engine cannot be reached")]
    EngineUnavailable(#[source] Error),
    /// It was cancelled.
    #[error("the pull was cancelled")]
    Cancelled,
}

impl Explain for ImageError {
    fn class(&self) -> Class {
        match self {
            Self::Invalid { .. } | Self::NotFound { .. } | Self::Denied { .. } | Self::Cancelled => {
                Class::Terminal
            }
            Self::Unreachable { .. }
            | Self::Tls { .. }
            | Self::Failed { .. }
            | Self::DiskFull { .. }
            | Self::EngineUnavailable(_) => Class::Transient,
        }
    }

    fn reason(&self) -> Reason {
        match self {
            Self::Invalid { .. } => Reason::InvalidSpec,
            Self::NotFound { .. } => Reason::ImageNotFound,
            Self::Denied { .. } => Reason::ImagePullDenied,
            Self::Unreachable { .. } => Reason::RegistryUnreachable,
            Self::Tls { .. } => Reason::RegistryTlsFailed,
            Self::Failed { .. } => Reason::ImagePullFailed,
            Self::DiskFull { .. } => Reason::DiskFull,
            Self::EngineUnavailable(_) => Reason::EngineUnavailable,
            Self::Cancelled => Reason::Cancelled,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Invalid { .. } => Some(format!(
                "set {FIELD} to a reference such as registry.example.com/team/shop:1.27"
            )),
            Self::NotFound { .. } => Some(format!("correct {FIELD}, or push the image")),
            Self::Denied { .. } => Some(format!(
                "set {LOGIN_FIELD} to a Secret whose login may pull it, or correct the name: some registries answer in this way if an image does not exist"
            )),
            Self::DiskFull { .. } => Some("free space on the engine's disk; Davit tries again".to_owned()),
            Self::Unreachable { .. } => Some(format!(
                "check {FIELD}, and whether Davit can reach the registry; Davit tries again"
            )),
            Self::Tls { image, .. } => Some(trust(image, "the machine that pulls", None)),
            Self::EngineUnavailable(_) => Some(ENGINE_UNAVAILABLE.to_owned()),
            Self::Failed { .. } | Self::Cancelled => None,
        }
    }
}

/// What an image is called.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Name {
    /// The id of an image in the engine.
    Id(String),
    /// A name at a registry, Docker Hub's short forms written out.
    At(ImageName),
}

impl Name {
    fn parse(image: &str) -> Result<Self, ImageError> {
        let id = image.strip_prefix("sha256:").is_some_and(|hash| {
            hash.len() == 64
                && hash
                    .bytes()
                    .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        });
        if id {
            return Ok(Self::Id(image.to_owned()));
        }
        let reference = ImageName::parse(image).map_err(|error| ImageError::Invalid {
            image: cut(image, 200),
            why: error.to_string(),
        })?;
        Ok(Self::At(reference))
    }
}

/// The host of the registry that an image's name is looked up at; empty for one that has none.
pub fn registry_of(image: &str) -> String {
    match Name::parse(image) {
        Ok(Name::At(name)) => registry_name(name.registry()),
        Ok(Name::Id(_)) | Err(_) => String::new(),
    }
}

/// The login for `image` among those of a Secret.
///
/// # Errors
/// The name is not one of an image.
pub fn login_for(image: &str, logins: &RegistryLogins) -> Result<Option<RegistryLogin>, ImageError> {
    Ok(match Name::parse(image)? {
        Name::Id(_) => None,
        Name::At(name) => logins.find(name.registry(), name.repository()).cloned(),
    })
}

/// Finds out which image a name means now: the registry is asked, through the engine, with `login`. Where that cannot
/// answer, an image of this name in the engine will do; but not when it refuses a login that was given, because then an
/// old image would run in silence.
///
/// # Errors
/// The image does not exist, or neither registry nor engine could be asked.
pub async fn resolve_image(
    docker: &Docker,
    image: &str,
    login: Option<&RegistryLogin>,
) -> Result<ResolvedImage, ImageError> {
    let name = match Name::parse(image)? {
        Name::Id(id) => {
            let why = "it is named by its id".to_owned();
            let found = local(docker, &id, None, why).await?;
            return found.ok_or_else(|| ImageError::NotFound {
                image: id,
                said: "it is not in the container engine".to_owned(),
            });
        }
        Name::At(name) => name,
    };
    if let Some(digest) = name.digest() {
        return Ok(pinned(&name, digest, Found::Pinned));
    }
    let full_name = name.to_string();
    let masker = masker(login);
    let asked = docker.inspect_registry_image(&full_name, login.map(credentials));
    let error = match tokio::time::timeout(ANSWER, asked).await {
        Ok(Ok(answer)) => match answer.descriptor.digest {
            Some(digest) => return Ok(pinned(&name, &digest, Found::Registry)),
            None => ImageError::Failed {
                image: image.to_owned(),
                said: "the registry names no digest".to_owned(),
            },
        },
        Ok(Err(error)) => explain(image, error, &masker),
        Err(_) => ImageError::Unreachable {
            image: image.to_owned(),
            said: format!("no answer within {} s", ANSWER.as_secs()),
        },
    };
    let refused = matches!(error, ImageError::Denied { .. }) && login.is_some();
    if refused || matches!(error, ImageError::EngineUnavailable(_)) {
        return Err(error);
    }
    let found = local(docker, &full_name, Some(&name), error.to_string()).await?;
    found.ok_or(error)
}

fn pinned(name: &ImageName, digest: &str, found: Found) -> ResolvedImage {
    ResolvedImage {
        reference: format!(
            "{}/{}@{digest}",
            registry_name(name.registry()),
            name.repository()
        ),
        digest: digest.to_owned(),
        found,
    }
}

/// The image in the engine. If it came from the registry of its name, then by the digest that it has there: whether the
/// registry answers or not, the same image is called the same.
async fn local(
    docker: &Docker,
    image: &str,
    name: Option<&ImageName>,
    why: String,
) -> Result<Option<ResolvedImage>, ImageError> {
    let found = match docker.inspect_image(image).await {
        Ok(found) => found,
        Err(Error::DockerResponseServerError { status_code: 404, .. }) => return Ok(None),
        Err(error) => return Err(explain(image, error, &Masker::default())),
    };
    let Some(id) = found.id else {
        return Ok(None);
    };
    let known = found
        .repo_digests
        .unwrap_or_default()
        .into_iter()
        .find_map(|text| {
            let (known, name) = (ImageName::parse(&text).ok()?, name?);
            let same = known.registry() == name.registry() && known.repository() == name.repository();
            same.then(|| known.digest().map(str::to_owned)).flatten()
        });
    Ok(Some(match (known, name) {
        (Some(digest), Some(name)) => pinned(name, &digest, Found::Local(why)),
        _ => ResolvedImage {
            reference: id.clone(),
            digest: id,
            found: Found::Local(why),
        },
    }))
}

/// Whether the engine has an image.
///
/// # Errors
/// The engine does not answer.
pub async fn is_there(docker: &Docker, reference: &str) -> Result<bool, ImageError> {
    match docker.inspect_image(reference).await {
        Ok(_) => Ok(true),
        Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(false),
        Err(error) => Err(explain(reference, error, &Masker::default())),
    }
}

/// Has the engine pull what [`resolve_image`] found, unless it is there. Dropping or cancelling it ends the pull in the
/// engine too.
///
/// # Errors
/// The image cannot be had.
pub async fn pull(
    docker: &Docker,
    reference: &str,
    login: Option<&RegistryLogin>,
    log: &JobLog,
    cancel: &CancellationToken,
) -> Result<(), ImageError> {
    let name = Name::parse(reference)?;
    if is_there(docker, reference).await? {
        log.write(&format!("Image {reference} is there"));
        return Ok(());
    }
    if let Name::Id(id) = name {
        return Err(ImageError::NotFound {
            image: id,
            said: "it is no longer in the container engine".to_owned(),
        });
    }
    log.write(&format!("Pulling {reference}"));
    let options = CreateImageOptionsBuilder::default().from_image(reference).build();
    let mut progress = std::pin::pin!(docker.create_image(Some(options), None, login.map(credentials)));
    let mut lines = 0;
    loop {
        let next = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(ImageError::Cancelled),
            next = progress.next() => next,
        };
        let step = match next {
            None => return Ok(()),
            Some(Err(error)) => return Err(explain(reference, error, &masker(login))),
            Some(Ok(step)) => step,
        };
        // A layer's bytes are told many times a second; its beginning and its end are enough.
        let counting = step
            .progress_detail
            .is_some_and(|detail| detail.current.is_some());
        if let Some(status) = step.status.filter(|_| !counting && lines < MOST_LINES) {
            lines += 1;
            match step.id {
                Some(id) => log.write(&format!("{id}: {status}")),
                None => log.write(&status),
            }
        }
    }
}

/// The credential as the engine takes it.
pub fn credentials(login: &RegistryLogin) -> DockerCredentials {
    let text = |secret: &Secret| secret.expose_str().map(str::to_owned);
    let mut credentials = DockerCredentials::default();
    match login {
        RegistryLogin::Basic { username, password } => {
            credentials.username = Some(username.clone());
            credentials.password = text(password);
        }
        RegistryLogin::Identity(token) => credentials.identitytoken = text(token),
        RegistryLogin::Bearer(token) => credentials.registrytoken = text(token),
    }
    credentials
}

/// What hides a login in what a registry says: that may repeat what it was sent.
pub(super) fn masker(login: Option<&RegistryLogin>) -> Masker {
    let secrets = login.map(RegistryLogin::secrets).unwrap_or_default();
    Masker::new(&secrets)
}

/// What the engine's answer means. It passes a registry's answer on mostly as a sentence, so the sentence decides.
fn explain(image: &str, error: Error, masker: &Masker) -> ImageError {
    let (status, said) = match error {
        Error::DockerResponseServerError { status_code, message } => (status_code, message),
        Error::DockerStreamError { error } => (0, error),
        other => return ImageError::EngineUnavailable(other),
    };
    let (image, said) = (image.to_owned(), cut(masker.mask(&said).trim(), 400));
    let lower = said.to_ascii_lowercase();
    let says = |sentences: &[&str]| sentences.iter().any(|sentence| lower.contains(sentence));
    if says(&["no space left on device", "disk quota exceeded"]) {
        ImageError::DiskFull { image }
    } else if says(&[
        "no basic auth credentials",
        "unauthorized",
        "denied",
        "authentication required",
    ]) || matches!(status, 401 | 403)
    {
        ImageError::Denied { image, said }
    } else if says(&["manifest unknown", "not found", "name unknown", "no such image"]) || status == 404 {
        ImageError::NotFound { image, said }
    } else if says(UNTRUSTED) {
        ImageError::Tls { image, said }
    } else if status == 400 {
        ImageError::Invalid { image, why: said }
    } else if says(UNREACHABLE) {
        ImageError::Unreachable { image, said }
    } else {
        ImageError::Failed { image, said }
    }
}

#[cfg(test)]
mod tests;
