//! Files of ConfigMaps and Secrets as Swarm configs and secrets. Their names contain a hash of their content, because Swarm
//! does not change the content of one.

use std::collections::{HashMap, HashSet};

use base64::Engine as _;
use bollard::Docker;
use bollard::models::{ConfigSpec, SecretSpec};
use bollard::query_parameters::{ListConfigsOptionsBuilder, ListSecretsOptionsBuilder};
use sha2::{Digest as _, Sha256};

use crate::model::{AppId, hex};
use crate::runtime::docker::errors;
use crate::runtime::docker::labels::{self, Names};
use crate::runtime::{Deployment, MountSource, RuntimeError};

/// A config or secret that a service mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The path of the file in the container.
    pub path: String,
    /// The permissions of the file.
    pub mode: u32,
    /// Whether it is a secret.
    pub confidential: bool,
}

/// Creates the configs and secrets of a deployment, and returns them.
pub async fn ensure(
    docker: &Docker,
    names: &Names,
    deployment: &Deployment,
) -> Result<Vec<Attached>, RuntimeError> {
    let mut attached = Vec::new();
    for mount in &deployment.spec.mounts {
        let MountSource::Files {
            files,
            mode,
            confidential,
        } = &mount.source
        else {
            continue;
        };
        for (file, content) in files {
            let digest = Sha256::new()
                .chain_update(deployment.identity.hash.as_bytes())
                .chain_update([0])
                .chain_update(mount.name.as_bytes())
                .chain_update([0])
                .chain_update(file.as_bytes())
                .finalize();
            let mut digest = hex(&digest);
            digest.truncate(32);
            let name = names.file(&digest);
            let labels = names.made(names.deployment_labels(deployment));
            let data = base64::engine::general_purpose::STANDARD.encode(content.expose());
            let id = if *confidential {
                secret(docker, &name, labels, data).await?
            } else {
                config(docker, &name, labels, data).await?
            };
            attached.push(Attached {
                id,
                name,
                path: format!("{}/{file}", mount.path),
                mode: *mode,
                confidential: *confidential,
            });
        }
    }
    Ok(attached)
}

async fn secret(
    docker: &Docker,
    name: &str,
    labels: HashMap<String, String>,
    data: String,
) -> Result<String, RuntimeError> {
    let doing = "create a Swarm secret";
    if let Some(found) = errors::unless_gone(doing, docker.inspect_secret(name).await)? {
        return Ok(found.id.unwrap_or_default());
    }
    let spec = SecretSpec {
        name: Some(name.to_owned()),
        labels: Some(labels),
        data: Some(data),
        ..Default::default()
    };
    let created = docker.create_secret(spec).await;
    created
        .map(|created| created.id)
        .map_err(|refusal| errors::error(doing, &refusal))
}

async fn config(
    docker: &Docker,
    name: &str,
    labels: HashMap<String, String>,
    data: String,
) -> Result<String, RuntimeError> {
    let doing = "create a Swarm config";
    if let Some(found) = errors::unless_gone(doing, docker.inspect_config(name).await)? {
        return Ok(found.id.unwrap_or_default());
    }
    let spec = ConfigSpec {
        name: Some(name.to_owned()),
        labels: Some(labels),
        data: Some(data),
        ..Default::default()
    };
    let created = docker.create_config(spec).await;
    created
        .map(|created| created.id)
        .map_err(|refusal| errors::error(doing, &refusal))
}

/// Removes the configs and secrets of an Application but for those with these hashes. False if one is still in use.
pub async fn remove(
    docker: &Docker,
    names: &Names,
    app: &AppId,
    except: &HashSet<String>,
) -> Result<bool, RuntimeError> {
    let filters = Names::query(&names.app_labels(app));
    let unwanted = |labels: Option<HashMap<String, String>>| {
        let labels = labels.unwrap_or_default();
        let hash = labels.get(labels::CONFIG);
        names.ours(&labels) && !hash.is_some_and(|hash| except.contains(hash))
    };
    let mut removed = true;
    let options = ListSecretsOptionsBuilder::new().filters(&filters).build();
    let secrets = docker.list_secrets(Some(options)).await;
    for secret in secrets.map_err(|refusal| errors::error("list Swarm secrets", &refusal))? {
        if unwanted(secret.spec.and_then(|spec| spec.labels)) {
            removed &= gone(
                docker
                    .delete_secret(secret.id.as_deref().unwrap_or_default())
                    .await,
            )?;
        }
    }
    let options = ListConfigsOptionsBuilder::new().filters(&filters).build();
    let configs = docker.list_configs(Some(options)).await;
    for config in configs.map_err(|refusal| errors::error("list Swarm configs", &refusal))? {
        if unwanted(config.spec.and_then(|spec| spec.labels)) {
            removed &= gone(
                docker
                    .delete_config(config.id.as_deref().unwrap_or_default())
                    .await,
            )?;
        }
    }
    Ok(removed)
}

/// False if Swarm refuses a removal because a service still uses the object.
fn gone(removed: Result<(), bollard::errors::Error>) -> Result<bool, RuntimeError> {
    match removed {
        Err(bollard::errors::Error::DockerResponseServerError { message, .. })
            if message.contains("in use") =>
        {
            Ok(false)
        }
        other => errors::unless_gone("remove a Swarm config or secret", other).map(|_| true),
    }
}
