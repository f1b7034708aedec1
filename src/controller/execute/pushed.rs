//! Deletes the images of Releases from their registries.

use std::collections::BTreeSet;
use std::time::Duration;

use kube::api::ListParams;
use kube::{Api, ResourceExt};

use crate::api::{Release, ReleaseStatus, Source, SourceKind};
use crate::controller::problem::cluster_problem;
use crate::error::{Class, Problem};
use crate::image::{Deleted, ImageName};

use super::Executor;

/// How long the end of an Application waits for registries.
const PATIENCE: Duration = Duration::from_mins(1);

/// The image of a Release, if it was pushed: `repository:tag@digest`.
fn pushed(status: &ReleaseStatus) -> Option<&str> {
    let (image, tag) = (status.image.as_deref()?, status.image_tag.as_deref()?);
    image.strip_prefix(tag)?.starts_with('@').then_some(image)
}

/// The message of a failure after which nothing is tried again.
fn finally(message: &str) -> String {
    message.replace("; Davit tries again", "")
}

fn digest(image: &str) -> Option<&str> {
    image.split_once('@').map(|(_, digest)| digest)
}

/// Reports whether two images are of one repository of one registry.
fn is_of_one_repository(one: &str, other: &str) -> bool {
    match (ImageName::parse(one), ImageName::parse(other)) {
        (Ok(one), Ok(other)) => one.is_of_repository_of(&other),
        _ => false,
    }
}

impl Executor<'_> {
    /// Deletes the image of a Release from its registry, if it was pushed. An image that the registry does not delete stays
    /// there.
    ///
    /// # Errors
    /// The registry does not answer now.
    pub(super) async fn delete_pushed(&self, release: &str, tag: &str) -> Result<(), Problem> {
        let mut releases = self.input.releases.iter();
        let Some(image) = releases
            .find(|view| view.name == release && view.status.image_tag.as_deref() == Some(tag))
            .and_then(|view| pushed(&view.status))
        else {
            return Ok(());
        };
        // A registry deletes a digest with all of its tags.
        let shared = self.input.releases.iter().any(|view| {
            let other = view.status.image.as_deref().and_then(digest);
            other == digest(image) && view.status.image_tag.as_deref() != Some(tag)
        });
        if shared || self.is_named_elsewhere(image).await? {
            return Ok(());
        }
        match self.delete_image(image).await {
            Err(problem) if problem.class == Class::Terminal => {
                tracing::warn!(app = %self.id, image, message = problem.message, "the image stays in its registry");
                Ok(())
            }
            result => result,
        }
    }

    /// Deletes the images of all Releases. The end of an Application does not depend on a registry.
    pub(super) async fn delete_all_pushed(&self) {
        let images = self.input.releases.iter().filter_map(|view| pushed(&view.status));
        let images: BTreeSet<&str> = images.collect();
        let deleted = futures::future::join_all(images.iter().map(async |image| {
            let deleted = match self.is_named_elsewhere(image).await {
                Ok(true) => Ok(()),
                Ok(false) => self.delete_image(image).await,
                Err(problem) => Err(problem),
            };
            if let Err(problem) = deleted {
                let message = finally(&problem.message);
                tracing::warn!(app = %self.id, image, message, "the image stays in its registry: delete it there");
            }
        }));
        if tokio::time::timeout(PATIENCE, deleted).await.is_err() {
            tracing::warn!(app = %self.id, ?images, "registries did not answer in time, so images stay there: delete them there");
        }
    }

    /// Reports whether another Application runs this image or can go back to it: promoted by its digest, it stays as long as
    /// the spec or a Release of that one names it.
    ///
    /// # Errors
    /// The Releases cannot be read.
    async fn is_named_elsewhere(&self, image: &str) -> Result<bool, Problem> {
        for other in self.ctx.applications.state() {
            let source = other.spec.source.as_ref().and_then(Source::kind);
            let (Some(SourceKind::Docker(docker)), Some(namespace)) = (source, other.namespace()) else {
                continue;
            };
            if other.uid() == self.input.app.metadata.uid || !is_of_one_repository(&docker.image, image) {
                continue;
            }
            if digest(&docker.image) == digest(image) {
                return Ok(true);
            }
            let its = ListParams::default().fields(&format!("spec.application={}", other.name_any()));
            let releases: Api<Release> = Api::namespaced(self.ctx.client.clone(), &namespace);
            let releases = releases.list(&its).await;
            let releases = releases.map_err(|error| cluster_problem("list the Releases", &error))?;
            let mut images = releases
                .iter()
                .filter_map(|release| release.status.as_ref()?.image.as_deref());
            if images.any(|named| digest(named) == digest(image)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn delete_image(&self, image: &str) -> Result<(), Problem> {
        let access = self
            .ctx
            .registries
            .access(&self.input.app.spec, self.reader)
            .await?;
        let deleted = self.ctx.tools.builder.delete_pushed(image, &access).await;
        if deleted.map_err(|error| Problem::of(&error))? == Deleted::NotAllowed {
            tracing::warn!(app = %self.id, image, "the registry does not let Davit delete the image");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_of_one_repository_are_told_by_its_name_alone() {
        let digest = "sha256:".to_owned() + &"0e".repeat(32);
        for (one, other, same) in [
            ("r.example/shop:1", format!("r.example/shop:2@{digest}"), true),
            ("r.example/shop", format!("r.example/shop@{digest}"), true),
            ("r.example/web", format!("r.example/shop@{digest}"), false),
            ("shop", format!("r.example/shop@{digest}"), false),
            (&*digest, format!("r.example/shop@{digest}"), false),
        ] {
            assert_eq!(is_of_one_repository(one, &other), same, "{one} {other}");
        }
    }

    #[test]
    fn what_is_not_tried_again_does_not_say_so() {
        assert_eq!(
            finally("it is away: start it; Davit tries again"),
            "it is away: start it"
        );
        assert_eq!(finally("it is denied"), "it is denied");
    }
}
