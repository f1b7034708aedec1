//! Repository URLs and credentials of sources.

use std::path::PathBuf;
use std::sync::Arc;

use crate::api::{DockerSource, GitProvider, GitRef, GitSource, Reason};
use crate::error::{Class, Problem};
use crate::forge::{self, ConnectionKey, Forge, ForgeSecrets, Forges};
use crate::image;
use crate::model::{CommitId, Digest, RefSpec, RegistryLogin};
use crate::redact::SafeUrl;
use crate::source::docker_config_json::registry_logins;
use crate::source::{Fields, GitRemote, credential};

use super::remote::{ForgeRemote, Remote};
use crate::controller::dereference::Reader;
use crate::controller::token_secret::TokenSecret;
use kube::ResourceExt as _;

/// Where a source comes from, with its credentials.
#[derive(Clone, Debug)]
pub enum Origin {
    /// A repository.
    Git {
        /// The repository with its credentials.
        remote: Remote,
        /// Which commit.
        spec: RefSpec,
    },
    /// An image.
    Image {
        /// Its reference.
        image: String,
        /// The credentials of its registry.
        login: Option<RegistryLogin>,
    },
    /// An upload.
    Upload {
        /// The digest of its content.
        digest: Digest,
        /// The archive.
        archive: PathBuf,
    },
}

impl Origin {
    /// The repository at a forge, if it is one.
    pub fn forge(&self) -> Option<&ForgeRemote> {
        match self {
            Self::Git {
                remote: Remote::Forge(remote),
                ..
            } => Some(remote),
            Self::Git { .. } | Self::Image { .. } | Self::Upload { .. } => None,
        }
    }

    /// The server that is asked: scheme, host and port of a repository's, since a host may have several; host and port
    /// of a registry.
    pub fn server(&self) -> String {
        match self {
            Self::Git { remote, .. } => remote.server(),
            Self::Image { image, .. } => image::registry_of(image),
            Self::Upload { .. } => String::new(),
        }
    }
}

/// The repository of a `git` source, and the version of the Secret that lets one in.
///
/// # Errors
/// An address that cannot be read, a Secret that is not there or does not fit.
pub async fn git_remote(git: &GitSource, reader: &Reader) -> Result<(GitRemote, String), Problem> {
    let url = SafeUrl::parse_git(&git.url).map_err(|error| {
        let message = format!("spec.source.git.url cannot be read: {error}; write it as https://host/path, ssh://user@host/path or user@host:path");
        Problem::new(Class::Terminal, Reason::InvalidSpec, message)
    })?;
    let Some(reference) = &git.secret_ref else {
        return Ok((
            GitRemote {
                url,
                credential: crate::model::GitCredential::Anonymous,
                ca: None,
                fields: Fields::GIT,
                connection: None,
            },
            String::new(),
        ));
    };
    let data = reader
        .secret(&reference.name, "spec.source.git.secretRef")
        .await?;
    let access = credential::git_access(&reference.name, &data.entries, &url, git.insecure_ignore_host_key)
        .map_err(|error| Problem::of(&error))?;
    Ok((
        GitRemote {
            url,
            credential: access.credential,
            ca: access.ca,
            fields: Fields::GIT,
            connection: None,
        },
        data.version.clone(),
    ))
}

/// The login for an image, and the version of the Secret that it is from.
///
/// # Errors
/// A Secret that is not there or does not fit.
pub async fn image_login(
    source: &DockerSource,
    reader: &Reader,
) -> Result<(Option<RegistryLogin>, String), Problem> {
    let Some(reference) = &source.pull_secret_ref else {
        return Ok((None, String::new()));
    };
    let data = reader
        .secret(&reference.name, "spec.source.docker.pullSecretRef")
        .await?;
    let logins = registry_logins(&reference.name, &data.entries).map_err(|error| Problem::of(&error))?;
    let login = image::login_for(&source.image, &logins).map_err(|error| Problem::of(&error))?;
    // Within the Secret it is encoded.
    let secrets: Vec<_> = login.iter().flat_map(RegistryLogin::secrets).collect();
    crate::redact::log::hide(&secrets);
    Ok((login, data.version.clone()))
}

/// The connection of a GitProvider, the CA that it trusts, and the versions of the Secrets that it was made from.
///
/// # Errors
/// A missing Secret or key, or one that does not fit.
pub async fn connection(
    forges: &Forges,
    provider: &GitProvider,
    reader: &Reader,
) -> Result<(Arc<dyn Forge>, Option<Vec<u8>>, String), Problem> {
    let (secrets, version) = forge_secrets(forges, provider, reader).await?;
    let key = ConnectionKey {
        uid: provider.metadata.uid.clone().unwrap_or_default(),
        generation: provider.metadata.generation.unwrap_or_default(),
        secrets: version.clone(),
    };
    let ca = secrets.ca.clone();
    let forge = forges.get(&key, &provider.spec, &secrets);
    let version = format!("{version} {}", key.generation);
    Ok((forge.map_err(|error| Problem::of(&error))?, ca, version))
}

/// The secrets of a GitProvider, and the versions of the Secrets.
async fn forge_secrets(
    forges: &Forges,
    provider: &GitProvider,
    reader: &Reader,
) -> Result<(ForgeSecrets, String), Problem> {
    let Some(refs) = forge::secret_refs(&provider.spec) else {
        return Ok((ForgeSecrets::default(), String::new()));
    };
    let mut version = String::new();
    let mut credential = None;
    if let Some(reference) = refs.credential {
        let data = reader.secret(reference.name, reference.field).await?;
        credential = Some(data.entries.get(reference.key).cloned().ok_or_else(|| {
            let message = format!(
                "{} names the key {:?}, which the Secret {:?} does not have: add it",
                reference.field, reference.key, reference.name
            );
            Problem::new(Class::Terminal, Reason::SecretKeyMissing, message)
        })?);
        version.clone_from(&data.version);
    }
    let mut ca = None;
    if let Some(reference) = refs.ca {
        let data = reader.secret(&reference.name, refs.ca_field).await?;
        version = format!("{version} {}", data.version);
        let certificate = data.entries.get("ca.crt").ok_or_else(|| {
            let message = format!(
                "{}: the Secret {:?} has no key ca.crt: add it",
                refs.ca_field, reference.name
            );
            Problem::new(Class::Terminal, Reason::SecretKeyMissing, message)
        })?;
        ca = Some(certificate.expose().to_vec());
    }
    let tokens = refs.tokens.map(|(name, field)| {
        let namespace = provider.namespace().unwrap_or_default();
        forges.writer(&namespace, name, || {
            Arc::new(TokenSecret::new(reader.client(), &namespace, name, field))
        })
    });
    let secrets = ForgeSecrets {
        credential,
        ca,
        tokens,
    };
    Ok((secrets, version))
}

/// Which commit a source names.
///
/// # Errors
/// `commit` is not a full hash.
pub fn ref_spec(reference: Option<&GitRef>) -> Result<RefSpec, Problem> {
    let Some(reference) = reference else {
        return Ok(RefSpec::Default);
    };
    if let Some(commit) = &reference.commit {
        return CommitId::parse(commit).map(RefSpec::Commit).ok_or_else(|| {
            Problem::new(
                Class::Terminal,
                Reason::InvalidSpec,
                "spec.source.…ref.commit is not a full commit hash: write all 40 digits",
            )
        });
    }
    Ok(match (&reference.tag, &reference.branch) {
        (Some(tag), _) => RefSpec::Tag(tag.clone()),
        (None, Some(branch)) => RefSpec::Branch(branch.clone()),
        (None, None) => RefSpec::Default,
    })
}
