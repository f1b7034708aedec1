//! The images in the engine that are ours: those that were built have our labels, and those that were pulled have a tag of
//! ours beside the name that they were pulled by.

use std::collections::HashMap;

use bollard::Docker;
use bollard::errors::Error;
use bollard::query_parameters::{ListImagesOptionsBuilder, RemoveImageOptions, TagImageOptionsBuilder};

use super::buildkit::engine_error as engine;
use super::contract::{BuilderDetails, BuiltImage};
use super::error::BuildError;
use super::image_ownership::{ANY_DAVIT, Owner, prefix};
use super::labels::{APPLICATION, BUILDER, INSTANCE, NAMESPACE};
use crate::model::AppId;

/// The image that `tag` names, with its labels; `None` if it does not exist.
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

/// As [`super::contract::Builder::find`].
pub async fn find(docker: &Docker, owner: Owner<'_>, tag: &str) -> Result<Option<BuiltImage>, BuildError> {
    let found = inspect(docker, tag).await?;
    Ok(found
        .filter(|(_, labels)| owner.built(labels))
        .map(|(id, labels)| BuiltImage {
            id,
            tag: tag.to_owned(),
            builder: labels.get(BUILDER).cloned().unwrap_or_default(),
            details: BuilderDetails::default(),
        }))
}

/// Every tag that bears all of `labels`. An image that lost its tag to a newer build is listed by its id, so that it
/// can be removed too.
async fn with_labels(
    docker: &Docker,
    labels: &[(&str, &str)],
) -> Result<Vec<(BuiltImage, HashMap<String, String>)>, BuildError> {
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
        all.extend(tags.into_iter().map(|tag| {
            let found = BuiltImage {
                id: image.id.clone(),
                tag,
                builder: builder.clone(),
                details: BuilderDetails::default(),
            };
            (found, image.labels.clone())
        }));
    }
    all.sort_unstable_by(|(one, _), (other, _)| one.tag.cmp(&other.tag));
    Ok(all)
}

/// As [`super::contract::Builder::images`].
pub async fn of(docker: &Docker, owner: Owner<'_>, app: &AppId) -> Result<Vec<BuiltImage>, BuildError> {
    let labels = [
        (INSTANCE, owner.instance),
        (NAMESPACE, &*app.namespace),
        (APPLICATION, &*app.name),
    ];
    let name = format!("{}/{}/{}:", prefix(owner.instance), app.namespace, app.name);
    // What was built here may have been pulled from where it was pushed, for another Application or by another Davit.
    let is_its = |tag: &str, labels: &HashMap<String, String>| {
        owner.owns(tag, labels) && (tag.starts_with(&name) || !tag.starts_with(ANY_DAVIT))
    };
    let all = with_labels(docker, &labels).await?.into_iter();
    let all = all.filter(|(image, labels)| is_its(&image.tag, labels));
    let mut all: Vec<_> = all.map(|(image, _)| image).collect();
    let named = HashMap::from([("reference".to_owned(), vec![format!("{name}*")])]);
    let options = ListImagesOptionsBuilder::new().filters(&named).build();
    let named = docker.list_images(Some(options)).await;
    for image in named.map_err(|error| engine(&error))? {
        let tags = image.repo_tags.into_iter();
        let its = tags.filter(|tag| tag.starts_with(&name) && is_its(tag, &image.labels));
        all.extend(its.map(|tag| BuiltImage {
            id: image.id.clone(),
            tag,
            builder: image.labels.get(BUILDER).cloned().unwrap_or_default(),
            details: BuilderDetails::default(),
        }));
    }
    all.sort_unstable_by(|one, other| one.tag.cmp(&other.tag));
    all.dedup();
    Ok(all)
}

/// As [`super::contract::Builder::adopt`].
pub async fn adopt(docker: &Docker, image: &str, tag: &str, pulled: bool) -> Result<bool, BuildError> {
    let tags = match docker.inspect_image(image).await {
        Ok(found) => found.repo_tags.unwrap_or_default(),
        Err(Error::DockerResponseServerError { status_code: 404, .. }) => return Ok(false),
        Err(error) => return Err(engine(&error)),
    };
    // Where another Application has it by a tag of ours, Davit pulled it too.
    if !pulled && !tags.iter().any(|tag| tag.starts_with(ANY_DAVIT)) {
        return Ok(false);
    }
    self::tag(docker, image, tag).await?;
    Ok(true)
}

/// Gives an image a tag.
pub async fn tag(docker: &Docker, image: &str, tag: &str) -> Result<(), BuildError> {
    let (repository, version) = split(tag);
    let options = TagImageOptionsBuilder::new()
        .repo(repository)
        .tag(version)
        .build();
    let tagged = docker.tag_image(image, Some(options)).await;
    tagged.map_err(|error| engine(&error))
}

/// As [`super::contract::Builder::remove`]; what is not ours stays.
pub async fn remove(docker: &Docker, owner: Owner<'_>, tag: &str) -> Result<(), BuildError> {
    let found = match docker.inspect_image(tag).await {
        Ok(found) => found,
        Err(Error::DockerResponseServerError { status_code: 404, .. }) => return Ok(()),
        Err(error) => return Err(engine(&error)),
    };
    let labels = found.config.and_then(|config| config.labels).unwrap_or_default();
    if !owner.owns(tag, &labels) {
        return Ok(());
    }
    if !owner.built(&labels) {
        // It was pulled by a name with a digest, which is no tag and would keep it. Before our own tag, so that an image
        // that a container still uses keeps the one that says whose it is.
        let digests = found.repo_digests.unwrap_or_default();
        for digest in pulled_by(tag, &found.repo_tags.unwrap_or_default(), &digests) {
            remove_name(docker, digest).await?;
        }
    }
    remove_name(docker, tag).await
}

/// The names under which an image was pulled and that become unused with `tag`: no other Application and no other tag of the
/// same repository needs them.
fn pulled_by<'a>(tag: &str, tags: &[String], digests: &'a [String]) -> Vec<&'a str> {
    let others: Vec<&String> = tags.iter().filter(|other| *other != tag).collect();
    if others.iter().any(|other| other.starts_with(ANY_DAVIT)) {
        return Vec::new();
    }
    let repository = |digest: &str| digest.split('@').next().map(str::to_owned);
    let needed = |digest: &&str| {
        others
            .iter()
            .any(|other| repository(digest).as_deref() == Some(split(other).0))
    };
    digests
        .iter()
        .map(String::as_str)
        .filter(|digest| !needed(digest))
        .collect()
}

/// A tag as the name of the repository and what follows.
fn split(tag: &str) -> (&str, &str) {
    match tag.rsplit_once(':') {
        Some((repository, version)) if !version.contains('/') => (repository, version),
        _ => (tag, "latest"),
    }
}

async fn remove_name(docker: &Docker, tag: &str) -> Result<(), BuildError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_image_was_pulled_by_goes_with_the_last_who_needs_it() {
        let ours = "davit.local/i/ns/web:1-2";
        let digest = "r.example:5000/shop@sha256:1";
        for (others, goes) in [
            (&[][..], true),
            (&["davit.local/i/ns/other:1-2"], false),
            (&["davit.local/another/ns/web:1-2"], false),
            (&["r.example:5000/shop:1"], false),
            (&["r.example:5000/shopping:1"], true),
            (&["mine:1"], true),
        ] {
            let tags: Vec<String> = others
                .iter()
                .chain(&[ours])
                .map(|tag| (*tag).to_owned())
                .collect();
            let gone = !pulled_by(ours, &tags, &[digest.to_owned()]).is_empty();
            assert_eq!(gone, goes, "{others:?}");
        }
    }
}
