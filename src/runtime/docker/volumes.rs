//! Volumes: those that outlive containers, and those that carry the files of Secrets and ConfigMaps.
//!
//! Files go into a volume of their own per configuration hash, which the containers mount read-only: the container sees
//! exactly these files, cannot change them, and finds them again after `docker restart`; on the machine they are only
//! where the engine keeps its data. The engine takes files (as a tar) only through a container that may write to the
//! volume, so one is made for that purpose, never started, and removed.
//!
//! A replica is only made once its volumes are filled. So one that a replica has is complete, and is left as it is: a
//! sibling that is made again, when the Secret has other values already, gets the files that the others see. One that no
//! replica has may have been left half full by a Davit that ended in the middle, and is made anew.

use std::collections::{BTreeMap, HashMap};

use bollard::Docker;
use bollard::models::{ContainerCreateBody, HostConfig, Mount, MountType, VolumeCreateRequest};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, ListContainersOptionsBuilder, ListVolumesOptionsBuilder,
    RemoveContainerOptionsBuilder, RemoveVolumeOptions, UploadToContainerOptionsBuilder,
};

use super::errors;
use super::labels::{self, Names};
use crate::model::AppId;
use crate::redact::Secret;
use crate::runtime::{Deployment, MountSource, RuntimeError};

/// Where the helper container has the volume; any path will do.
const DOOR: &str = "/davit-files";
/// What filling a volume is for.
const HAND_OVER: &str = "hand over the files of a Secret or ConfigMap";
/// A directory that every user may enter and only root may change.
const DIRECTORY_MODE: u32 = 0o755;

/// Makes every volume that the deployment mounts.
pub async fn ensure(docker: &Docker, names: &Names, deployment: &Deployment) -> Result<(), RuntimeError> {
    for mount in &deployment.spec.mounts {
        match &mount.source {
            MountSource::Volume => {
                // A hook has the volumes of its Application.
                let owner = deployment.identity.app.owner();
                let mut labels = names.made(names.app_labels(&owner));
                labels.insert(labels::ROLE.to_owned(), labels::ROLE_VOLUME.to_owned());
                let volume = names.volume(&owner, &mount.name);
                nobody_elses(docker, names, &volume).await?;
                create(docker, volume, labels).await?;
            }
            MountSource::Files { files, mode, .. } => {
                let mut labels = names.made(names.deployment_labels(deployment));
                labels.insert(labels::ROLE.to_owned(), labels::ROLE_FILES.to_owned());
                let volume = names.files(deployment, &mount.name);
                if is_used(docker, &volume).await? {
                    continue;
                }
                clear(docker, &volume).await?;
                create(docker, volume.clone(), labels.clone()).await?;
                let archive = archive(files, *mode).map_err(|refusal| RuntimeError::Engine {
                    doing: "pack the files of a Secret or ConfigMap",
                    message: refusal.to_string(),
                })?;
                fill(docker, deployment, volume, labels, archive).await?;
            }
        }
    }
    Ok(())
}

/// Whether another container than our helper has the volume, whatever its state.
async fn is_used(docker: &Docker, volume: &str) -> Result<bool, RuntimeError> {
    let is_helper = |labels: &HashMap<_, _>| {
        labels
            .get(labels::ROLE)
            .is_some_and(|role| role == labels::ROLE_FILES)
    };
    let users = users(docker, volume).await?;
    Ok(!users.iter().all(is_helper))
}

/// Data is handed from an installation of our name that is no more to the next, and never shared by two that are.
async fn nobody_elses(docker: &Docker, names: &Names, volume: &str) -> Result<(), RuntimeError> {
    let users = users(docker, volume).await?;
    match users.iter().find_map(|labels| names.of_another(labels)) {
        None => Ok(()),
        Some(other) => Err(RuntimeError::Engine {
            doing: "make a volume",
            message: format!("the volume {volume} is in use by {}", labels::another(other)),
        }),
    }
}

/// The labels of the containers that have a volume, whatever their state.
async fn users(docker: &Docker, volume: &str) -> Result<Vec<HashMap<String, String>>, RuntimeError> {
    let filters = HashMap::from([("volume".to_owned(), vec![volume.to_owned()])]);
    let options = ListContainersOptionsBuilder::new()
        .all(true)
        .filters(&filters)
        .build();
    let listed = docker.list_containers(Some(options)).await;
    let listed = listed.map_err(|refusal| errors::error("list containers", &refusal))?;
    let labels = listed.into_iter();
    Ok(labels
        .map(|container| container.labels.unwrap_or_default())
        .collect())
}

/// Removes what is left of a volume that no replica has, with the helper that was to fill it.
async fn clear(docker: &Docker, volume: &str) -> Result<(), RuntimeError> {
    let force = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    errors::unless_gone(HAND_OVER, docker.remove_container(volume, Some(force)).await)?;
    let removed = docker.remove_volume(volume, None::<RemoveVolumeOptions>).await;
    errors::unless_gone(HAND_OVER, removed).map(drop)
}

async fn create(docker: &Docker, name: String, labels: HashMap<String, String>) -> Result<(), RuntimeError> {
    let request = VolumeCreateRequest {
        name: Some(name),
        labels: Some(labels),
        ..Default::default()
    };
    // The engine answers with the volume that is there, if one is.
    let made = docker.create_volume(request).await;
    made.map(drop)
        .map_err(|refusal| errors::error("create a volume", &refusal))
}

async fn fill(
    docker: &Docker,
    deployment: &Deployment,
    volume: String,
    labels: HashMap<String, String>,
    archive: Vec<u8>,
) -> Result<(), RuntimeError> {
    let helper = ContainerCreateBody {
        image: Some(deployment.spec.image.clone()),
        // Never run; an image without a command would be refused without one.
        entrypoint: Some(vec!["/davit-never-runs".to_owned()]),
        labels: Some(labels),
        network_disabled: Some(true),
        host_config: Some(HostConfig {
            mounts: Some(vec![Mount {
                target: Some(DOOR.to_owned()),
                source: Some(volume.clone()),
                typ: Some(MountType::VOLUME),
                ..Default::default()
            }]),
            ..Default::default()
        }),
        ..Default::default()
    };
    let options = CreateContainerOptionsBuilder::new().name(&volume).build();
    let made = docker.create_container(Some(options), helper).await;
    let made = made.map_err(|refusal| errors::creation(deployment, &refusal))?;
    let force = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    let target = UploadToContainerOptionsBuilder::new().path(DOOR).build();
    let body = bollard::body_full(archive.into());
    let sent = docker.upload_to_container(&made.id, Some(target), body).await;
    errors::unless_gone(HAND_OVER, docker.remove_container(&made.id, Some(force)).await)?;
    sent.map_err(|refusal| errors::error(HAND_OVER, &refusal))
}

fn archive(files: &BTreeMap<String, Secret>, mode: u32) -> std::io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    let header = |size: usize, mode: u32, kind: tar::EntryType| {
        let mut header = tar::Header::new_gnu();
        header.set_size(u64::try_from(size).unwrap_or_default());
        header.set_mode(mode);
        header.set_entry_type(kind);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header
    };
    let mut directory = header(0, DIRECTORY_MODE, tar::EntryType::Directory);
    tar.append_data(&mut directory, "./", std::io::empty())?;
    for (name, content) in files {
        let content = content.expose();
        let mut file = header(content.len(), mode, tar::EntryType::Regular);
        tar.append_data(&mut file, name, content)?;
    }
    tar.into_inner()
}

/// Removes the volumes that held files for the Application's containers. False where one is still in use.
pub async fn remove_files(docker: &Docker, names: &Names, app: &AppId) -> Result<bool, RuntimeError> {
    remove(docker, names, app, labels::ROLE_FILES).await
}

/// Removes the Application's volumes with their data. False where one is still in use.
pub async fn remove_data(docker: &Docker, names: &Names, app: &AppId) -> Result<bool, RuntimeError> {
    remove(docker, names, app, labels::ROLE_VOLUME).await
}

async fn remove(docker: &Docker, names: &Names, app: &AppId, role: &str) -> Result<bool, RuntimeError> {
    let mut labels = names.app_labels(app);
    labels.insert(labels::ROLE.to_owned(), role.to_owned());
    let mut all = true;
    for (volume, _) in list(docker, names, &labels).await? {
        match docker.remove_volume(&volume, None::<RemoveVolumeOptions>).await {
            Err(refusal) if errors::status(&refusal) == Some(409) => all = false,
            other => {
                errors::unless_gone("remove a volume", other)?;
            }
        }
    }
    Ok(all)
}

/// Our volumes with these labels.
pub async fn list(
    docker: &Docker,
    names: &Names,
    labels: &HashMap<String, String>,
) -> Result<Vec<(String, HashMap<String, String>)>, RuntimeError> {
    let options = ListVolumesOptionsBuilder::new()
        .filters(&Names::query(labels))
        .build();
    let answer = docker.list_volumes(Some(options)).await;
    let answer = answer.map_err(|refusal| errors::error("list volumes", &refusal))?;
    let ours = answer.volumes.unwrap_or_default().into_iter();
    Ok(ours
        .filter(|volume| names.ours(&volume.labels))
        .map(|volume| (volume.name, volume.labels))
        .collect())
}
