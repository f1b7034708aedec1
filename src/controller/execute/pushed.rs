//! Deletes the images of Releases from their registries.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::api::ReleaseStatus;
use crate::error::{Class, Problem};
use crate::image::Deleted;

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
        if shared {
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
            if let Err(problem) = self.delete_image(image).await {
                let message = finally(&problem.message);
                tracing::warn!(app = %self.id, image, message, "the image stays in its registry: delete it there");
            }
        }));
        if tokio::time::timeout(PATIENCE, deleted).await.is_err() {
            tracing::warn!(app = %self.id, ?images, "registries did not answer in time, so images stay there: delete them there");
        }
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
    fn what_is_not_tried_again_does_not_say_so() {
        assert_eq!(
            finally("it is away: start it; Davit tries again"),
            "it is away: start it"
        );
        assert_eq!(finally("it is denied"), "it is denied");
    }
}
