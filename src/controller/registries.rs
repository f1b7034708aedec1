//! The registries of built images: the default one of this installation, and those that Applications name.

use std::path::PathBuf;

use crate::api::{ApplicationSpec, Reason};
use crate::error::{Class, Problem};
use crate::image::{ImageName, RegistryAccess, login_for};
use crate::model::RegistryLogin;
use crate::redact::{self, Secret};
use crate::source::docker_config_json::registry_logins;

use super::dereference::Reader;

/// The field of the credentials that messages name.
const FIELD: &str = "spec.image.pushSecretRef";

/// The default registry of this installation.
#[derive(Clone, Debug, Default)]
pub struct Registries {
    /// The registry and the beginning of the path of every repository without `spec.image`, from `--registry`.
    pub default: Option<String>,
    /// A Docker configuration with the credentials of `default`, from `--registry-config`.
    pub config: Option<PathBuf>,
}

impl Registries {
    /// The access to the registry of an Application's images. The credentials of `--registry-config` are for `--registry`
    /// only: with another repository, a user could have them sent anywhere.
    ///
    /// # Errors
    /// A Secret or the file is missing or invalid.
    pub async fn access(&self, spec: &ApplicationSpec, reader: &Reader) -> Result<RegistryAccess, Problem> {
        match &spec.image {
            Some(image) => {
                let Some(reference) = &image.push_secret_ref else {
                    return Ok(RegistryAccess::default());
                };
                let logins = reader.registry_logins(&reference.name, FIELD).await?;
                let data = reader.secret(&reference.name, FIELD).await?;
                let ca = data.entries.get("ca.crt").map(|ca| ca.expose().to_vec());
                Ok(RegistryAccess { logins, ca })
            }
            None => self.default_access(),
        }
    }

    fn default_access(&self) -> Result<RegistryAccess, Problem> {
        let Some(path) = &self.config else {
            return Ok(RegistryAccess::default());
        };
        let invalid = |why: &dyn std::fmt::Display| {
            let message = format!("--registry-config: read {}: {why}", path.display());
            Problem::new(Class::Transient, Reason::SecretInvalid, message)
        };
        // At each use, so that a renewed credential needs no restart.
        let text = std::fs::read(path).map_err(|error| invalid(&error))?;
        let data = [(".dockerconfigjson".to_owned(), Secret::new(text))].into();
        let logins = registry_logins("--registry-config", &data).map_err(|error| invalid(&error))?;
        redact::log::hide(&logins.secrets());
        Ok(RegistryAccess { logins, ca: None })
    }

    /// The credential that nodes pull `image` with: that of its registry, or of the source if the source is an image. `None`
    /// if no Secret has one or the Secret cannot be read: a node may have the image, or may need no credential.
    pub async fn pull_login(
        &self,
        image: &str,
        spec: &ApplicationSpec,
        reader: &Reader,
    ) -> Option<RegistryLogin> {
        let name = ImageName::parse(image).ok()?;
        let source = spec.source.as_ref().and_then(|source| source.docker.as_ref());
        if let Some(source) = source {
            let reference = source.pull_secret_ref.as_ref()?;
            let data = reader
                .secret(&reference.name, "spec.source.docker.pullSecretRef")
                .await
                .ok()?;
            let logins = registry_logins(&reference.name, &data.entries).ok()?;
            return login_for(image, &logins).ok()?;
        }
        let access = self.access(spec, reader).await.ok()?;
        access.login(&name).cloned()
    }
}
