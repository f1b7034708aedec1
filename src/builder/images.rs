//! The images in the engine that are ours, which our labels tell.

use std::collections::HashMap;

use bollard::Docker;
use bollard::errors::Error;
use bollard::query_parameters::{ListImagesOptionsBuilder, RemoveImageOptions};

use super::{BuildError, BuiltImage};
use crate::error::chain;
use crate::model::AppId;

/// The label with the Application's namespace.
pub const NAMESPACE: &str = "dev.davit.namespace";
/// The label with the Application's name.
pub const APPLICATION: &str = "dev.davit.application";
/// The label with the name of the Davit that made the image: several may share an engine.
pub const INSTANCE: &str = "dev.davit.instance";
/// The label with the way it was made.
pub const BUILDER: &str = "dev.davit.builder";

/// The image that `tag` names, with its labels; nothing where it is not there.
pub async fn inspect(
    docker: &Docker,
    tag: &str,
) -> Result<Option<(String, HashMap<String, String>)>, BuildError> {
    match docker.inspect_image(tag).await {
        Ok(image) => {
            let id = image
                .id
                .ok_or_else(|| BuildError::Engine(format!("the engine knows no id of {tag}")))?;
            Ok(Some((
                id,
                image.config.and_then(|config| config.labels).unwrap_or_default(),
            )))
        }
        Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
        Err(error) => Err(engine(&error)),
    }
}

/// As [`super::Builder::find`].
pub async fn find(docker: &Docker, instance: &str, tag: &str) -> Result<Option<BuiltImage>, BuildError> {
    let found = inspect(docker, tag).await?;
    Ok(found
        .filter(|(_, labels)| is_ours(labels, instance))
        .map(|(id, labels)| BuiltImage {
            id,
            tag: tag.to_owned(),
            builder: labels.get(BUILDER).cloned().unwrap_or_default(),
        }))
}

/// Every tag that bears all of `labels`. An image that lost its tag to a newer build is listed by its id, so that it
/// can be removed too.
pub async fn labelled(docker: &Docker, labels: &[(&str, &str)]) -> Result<Vec<BuiltImage>, BuildError> {
    let wanted = labels
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let options = ListImagesOptionsBuilder::new()
        .filters(&HashMap::from([("label", wanted)]))
        .build();
    let mut all = Vec::new();
    for image in docker
        .list_images(Some(options))
        .await
        .map_err(|error| engine(&error))?
    {
        let builder = image.labels.get(BUILDER).cloned().unwrap_or_default();
        let mut tags: Vec<String> = image
            .repo_tags
            .into_iter()
            .filter(|tag| tag != "<none>:<none>")
            .collect();
        if tags.is_empty() {
            tags.push(image.id.clone());
        }
        all.extend(tags.into_iter().map(|tag| BuiltImage {
            id: image.id.clone(),
            tag,
            builder: builder.clone(),
        }));
    }
    all.sort_unstable_by(|one, other| one.tag.cmp(&other.tag));
    Ok(all)
}

/// As [`super::Builder::images`].
pub async fn of(docker: &Docker, instance: &str, app: &AppId) -> Result<Vec<BuiltImage>, BuildError> {
    labelled(
        docker,
        &[
            (INSTANCE, instance),
            (NAMESPACE, &app.namespace),
            (APPLICATION, &app.name),
        ],
    )
    .await
}

/// As [`super::Builder::remove`]; what is not ours stays.
pub async fn remove(docker: &Docker, instance: &str, tag: &str) -> Result<(), BuildError> {
    if !inspect(docker, tag)
        .await?
        .is_some_and(|(_, labels)| is_ours(&labels, instance))
    {
        return Ok(());
    }
    match docker.remove_image(tag, None::<RemoveImageOptions>, None).await {
        // Gone meanwhile, or a container needs it.
        Ok(_)
        | Err(Error::DockerResponseServerError {
            status_code: 404 | 409,
            ..
        }) => Ok(()),
        Err(error) => Err(engine(&error)),
    }
}

fn is_ours(labels: &HashMap<String, String>, instance: &str) -> bool {
    labels.get(INSTANCE).is_some_and(|value| value == instance)
}

/// The engine's error as ours.
pub fn engine(error: &Error) -> BuildError {
    match error {
        Error::DockerResponseServerError { message, .. } if message.contains("no space left on device") => {
            BuildError::DiskFull
        }
        Error::DockerResponseServerError { .. } => BuildError::Engine(chain(error)),
        _ => BuildError::EngineUnavailable(chain(error)),
    }
}
