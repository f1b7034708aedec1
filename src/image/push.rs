//! Images that Davit built, at a registry: pushed by the engine, and looked up there through the engine.

use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error;
use bollard::query_parameters::PushImageOptionsBuilder;
use futures::StreamExt as _;
use tokio_util::sync::CancellationToken;

use super::UNREACHABLE;
use super::engine::{credentials, masker};
use super::login::RegistryLogins;
use super::name::ImageName;
use super::trust::{UNTRUSTED, trust};
use crate::api::Reason;
use crate::error::{Class, ENGINE_UNAVAILABLE, Explain, cut};
use crate::job_log::JobLog;
use crate::model::RegistryLogin;

/// The longest that a registry may take to name a digest.
const ANSWER: Duration = Duration::from_secs(30);
/// The most lines that one push writes into the log.
const MOST_LINES: usize = 200;
/// How much of a registry's message is kept, in bytes.
const LONGEST: usize = 400;

/// What a registry is used with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistryAccess {
    /// The credentials.
    pub logins: RegistryLogins,
    /// A CA to trust besides those of the system, as PEM.
    pub ca: Option<Vec<u8>>,
}

impl RegistryAccess {
    /// The credential for an image.
    pub fn login(&self, image: &ImageName) -> Option<&RegistryLogin> {
        self.logins.find(image.registry(), image.repository())
    }
}

/// Why an image is not at its registry, or not gone from it.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The registry refused the credential.
    #[error("the registry refused to accept {image}: {said}")]
    Denied {
        /// The image.
        image: String,
        /// The registry's message.
        said: String,
    },
    /// The registry has no such repository and makes none.
    #[error("the registry has no repository for {image}: {said}")]
    NoRepository {
        /// The image.
        image: String,
        /// The registry's message.
        said: String,
    },
    /// The registry cannot be reached.
    #[error("the registry of {image} cannot be reached: {said}")]
    Unreachable {
        /// The image.
        image: String,
        /// The engine's message.
        said: String,
    },
    /// The registry's certificate is not trusted, or it speaks plain HTTP.
    #[error("the registry of {image} cannot be trusted: {said}")]
    Tls {
        /// The image.
        image: String,
        /// The engine's message.
        said: String,
    },
    /// Anything else that a registry answers.
    #[error("{image} cannot be pushed: {said}")]
    Failed {
        /// The image.
        image: String,
        /// The message.
        said: String,
    },
    /// The engine does not answer.
    #[error("the container engine cannot be reached")]
    EngineUnavailable(#[source] Error),
    /// The push was cancelled.
    #[error("the push was cancelled")]
    Cancelled,
}

impl Explain for PushError {
    fn class(&self) -> Class {
        match self {
            Self::Denied { .. } | Self::NoRepository { .. } | Self::Cancelled => Class::Terminal,
            Self::Unreachable { .. }
            | Self::Tls { .. }
            | Self::Failed { .. }
            | Self::EngineUnavailable(_) => Class::Transient,
        }
    }

    fn reason(&self) -> Reason {
        match self {
            Self::Denied { .. } => Reason::ImagePushDenied,
            Self::NoRepository { .. } | Self::Failed { .. } => Reason::ImagePushFailed,
            Self::Unreachable { .. } => Reason::RegistryUnreachable,
            Self::Tls { .. } => Reason::RegistryTlsFailed,
            Self::EngineUnavailable(_) => Reason::EngineUnavailable,
            Self::Cancelled => Reason::Cancelled,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Denied { .. } => Some(
                "set spec.image.pushSecretRef to a Secret whose credentials may push there (or correct --registry-config, if the repository is that of --registry)"
                    .to_owned(),
            ),
            Self::NoRepository { .. } => {
                Some("create the repository at the registry, or correct spec.image.repository".to_owned())
            }
            Self::Unreachable { .. } => Some(
                "check spec.image.repository, and whether the engine can reach its registry; Davit tries again"
                    .to_owned(),
            ),
            Self::Tls { image, .. } => Some(trust(
                image,
                "the engine's machine",
                Some("a buildkitd that pushes"),
            )),
            Self::EngineUnavailable(_) => Some(ENGINE_UNAVAILABLE.to_owned()),
            Self::Failed { .. } | Self::Cancelled => None,
        }
    }
}

/// The digest that `image` (`repository:tag`) has at its registry now; `None` if it does not exist, or if only a push shows
/// whether the credential may create it.
///
/// # Errors
/// The registry or the engine cannot be asked.
pub async fn pushed_digest(
    docker: &Docker,
    image: &str,
    login: Option<&RegistryLogin>,
) -> Result<Option<String>, PushError> {
    let asked = docker.inspect_registry_image(image, login.map(credentials));
    let error = match tokio::time::timeout(ANSWER, asked).await {
        Ok(Ok(answer)) => return Ok(answer.descriptor.digest),
        Ok(Err(error)) => explain(image, error, login),
        Err(_) => PushError::Unreachable {
            image: image.to_owned(),
            said: format!("no answer within {} s", ANSWER.as_secs()),
        },
    };
    match error {
        PushError::Denied { .. } | PushError::NoRepository { .. } => Ok(None),
        other => Err(other),
    }
}

/// Has the engine push its image `image` (`repository:tag`), and returns the digest that it has at the registry. Dropping or
/// cancelling it ends the push in the engine too.
///
/// # Errors
/// The image cannot be pushed.
pub async fn push(
    docker: &Docker,
    image: &str,
    login: Option<&RegistryLogin>,
    log: &JobLog,
    cancel: &CancellationToken,
) -> Result<String, PushError> {
    let (repository, tag) = image.rsplit_once(':').unwrap_or((image, "latest"));
    log.write(&format!("Pushing {image}"));
    let options = PushImageOptionsBuilder::default().tag(tag).build();
    let mut progress = std::pin::pin!(docker.push_image(
        repository,
        Some(options),
        Some(login.map(credentials).unwrap_or_default())
    ));
    let (mut lines, mut digest) = (0, None);
    loop {
        let next = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(PushError::Cancelled),
            next = progress.next() => next,
        };
        let step = match next {
            None => break,
            Some(Err(error)) => return Err(explain(image, error, login)),
            Some(Ok(step)) => step,
        };
        let Some(status) = step.status else { continue };
        // `TAG: digest: sha256:… size: 123` is the last line.
        let found = status.split_once("digest: ").map(|(_, rest)| rest);
        let found = found.and_then(|rest| rest.split_whitespace().next());
        digest = found.map(str::to_owned).or(digest);
        let counting = step
            .progress_detail
            .is_some_and(|detail| detail.current.is_some());
        if !counting && lines < MOST_LINES {
            lines += 1;
            log.write(&status);
        }
    }
    digest.ok_or_else(|| PushError::Failed {
        image: image.to_owned(),
        said: "the engine names no digest".to_owned(),
    })
}

/// The meaning of the engine's answer. It passes a registry's answer on mostly as a sentence, so the sentence decides.
fn explain(image: &str, error: Error, login: Option<&RegistryLogin>) -> PushError {
    let (status, said) = match error {
        Error::DockerResponseServerError { status_code, message } => (status_code, message),
        Error::DockerStreamError { error } => (0, error),
        other => return PushError::EngineUnavailable(other),
    };
    classify(image, status, &masker(login).mask(&said))
}

/// The error of a sentence, and of the status that came with it, if one did.
pub fn classify(image: &str, status: u16, said: &str) -> PushError {
    let (image, said) = (image.to_owned(), cut(said.trim(), LONGEST));
    let lower = said.to_ascii_lowercase();
    let says = |sentences: &[&str]| sentences.iter().any(|sentence| lower.contains(sentence));
    // Before `certificate`, because a registry may refuse a client's certificate.
    if (says(UNTRUSTED) || says(&["invalidcontenttype"])) && status != 401 {
        PushError::Tls { image, said }
    } else if says(&["may require authorization"]) {
        PushError::Denied { image, said }
    } else if says(&[
        "name unknown",
        "name_unknown",
        "repository does not exist",
        "does not exist in the registry",
    ]) {
        PushError::NoRepository { image, said }
    } else if says(&[
        "denied",
        "unauthorized",
        "authentication required",
        "no basic auth",
        "forbidden",
    ]) || matches!(status, 401 | 403)
    {
        PushError::Denied { image, said }
    } else if says(&["manifest unknown", "not found"]) || status == 404 {
        PushError::NoRepository { image, said }
    } else if says(UNREACHABLE) {
        PushError::Unreachable { image, said }
    } else {
        PushError::Failed { image, said }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Problem;

    #[test]
    fn refusal_of_a_registry_has_its_reason_and_a_way_out() {
        let image = "r.example:5000/acme/shop:1";
        for (status, said, reason, class, words) in [
            (
                0,
                "denied: requested access to the resource is denied",
                Reason::ImagePushDenied,
                Class::Terminal,
                "pushSecretRef",
            ),
            (
                500,
                "Get https://r.example:5000/v2/: no basic auth credentials",
                Reason::ImagePushDenied,
                Class::Terminal,
                "pushSecretRef",
            ),
            (
                0,
                "push access denied, repository does not exist or may require authorization: authorization failed",
                Reason::ImagePushDenied,
                Class::Terminal,
                "pushSecretRef",
            ),
            (
                0,
                "name unknown: The repository with name 'shop' does not exist in the registry",
                Reason::ImagePushFailed,
                Class::Terminal,
                "create the repository",
            ),
            (
                500,
                "Get \"https://r.example:5000/v2/\": x509: certificate signed by unknown authority",
                Reason::RegistryTlsFailed,
                Class::Transient,
                "/etc/docker/certs.d/r.example:5000/ca.crt",
            ),
            (
                500,
                "http: server gave HTTP response to HTTPS client",
                Reason::RegistryTlsFailed,
                Class::Transient,
                "insecure-registries",
            ),
            (
                500,
                "dial tcp 10.0.0.1:5000: connect: connection refused",
                Reason::RegistryUnreachable,
                Class::Transient,
                "Davit tries again",
            ),
            (
                0,
                "blob upload invalid",
                Reason::ImagePushFailed,
                Class::Transient,
                "blob upload invalid",
            ),
        ] {
            let problem = Problem::of(&classify(image, status, said));
            assert_eq!((problem.reason, problem.class), (reason, class), "{said}");
            assert!(
                problem.message.contains(words) && problem.message.contains(image),
                "{problem:?}"
            );
        }
    }
}
