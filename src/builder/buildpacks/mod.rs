//! Builds with Cloud Native Buildpacks: the lifecycle of a builder image runs as steps of a generated Dockerfile, without pack, a
//! socket or a registry credential in any step; a second Dockerfile makes the image of what it exported.

mod builder_image;
mod dockerfile;
mod exported;
mod phases;

use std::collections::BTreeMap;

use tokio_util::sync::CancellationToken;

use super::buildkit::{Generated, Output, SolveRequest, Tree, Trees};
use super::contract::{BuildRequest, BuilderDetails, Buildpacks};
use super::dockerfile::with_env_file;
use super::error::BuildError;
use super::keyed::keyed;
use super::paths::Root;
use super::planned::{IMAGE, cache_mark};
use crate::api::Reason;
use crate::image::ImageName;
use crate::job_log::JobLog;
use crate::redact::Secret;

use builder_image::BuilderImage;
use dockerfile::Work;
use exported::Exported;

pub use builder_image::Images;
pub use phases::explain;

/// A build: its first Dockerfile, and what the second one is made from.
#[derive(Debug)]
pub struct Plan {
    work: String,
    /// The build context.
    pub context: Tree,
    run_image: String,
    images: Vec<ImageName>,
    secrets: BTreeMap<String, Secret>,
    names: Vec<(&'static str, String)>,
    /// The images that the build uses, by digest.
    pub details: BuilderDetails,
}

/// Where the application is in the image.
pub const APP: &str = "/workspace";

/// Finds the builder image and its run image, and plans the phases.
///
/// # Errors
/// An image does not exist or cannot be used, or the source has no such directory.
pub async fn plan(
    lookup: &Images<'_>,
    root: &Root,
    settings: &Buildpacks,
    request: &BuildRequest,
    key: &Secret,
    log: &JobLog,
    cancel: &CancellationToken,
) -> Result<Plan, BuildError> {
    let builder = BuilderImage::find(lookup, settings, &request.registries, log, cancel).await?;
    let context = Tree::checkout(root.directory(settings.field, ".", Reason::PathNotFound)?);
    let context = with_env_file(context, request);
    // To buildpacks there is one kind of variable. All are secret mounts, so that none is in a layer or a history.
    let mut secrets = request.args.clone();
    secrets.extend(request.secrets.clone());
    let app = [&*request.app.namespace, &*request.app.name];
    let values = secrets.iter();
    let values = values.flat_map(|(name, value)| [name.as_bytes(), value.expose()]);
    let inputs: Vec<&[u8]> = app.iter().map(|part| part.as_bytes()).chain(values).collect();
    let label = |name: &str| request.labels.get(name).cloned().unwrap_or_default();
    let names = |empty: bool| -> Vec<&str> {
        let named = secrets
            .iter()
            .filter(|(_, value)| value.expose().is_empty() == empty);
        named.map(|(name, _)| name.as_str()).collect()
    };
    let work = dockerfile::work(&Work {
        builder: &builder.reference,
        user: builder.user,
        group: builder.group,
        platform_api: &builder.platform_api,
        architecture: &builder.architecture,
        cache_id: &keyed(key, "buildpacks cache", &app.map(str::as_bytes)),
        cache_mark: &cache_mark(key, &request.app),
        // Another value for other variables, which are no part of BuildKit's cache keys; the source and the builder are. So a build
        // with another run image and nothing else takes the phases from the cache: a rebase.
        build_id: &keyed(key, "buildpacks build", &inputs),
        variables: &names(false),
        empty: &names(true),
        revision: &label("org.opencontainers.image.revision"),
        repository: &label("org.opencontainers.image.source"),
    });
    let images = [&builder.reference, &builder.run_image];
    Ok(Plan {
        work,
        context,
        images: images
            .iter()
            .filter_map(|name| ImageName::parse(name).ok())
            .collect(),
        details: BuilderDetails {
            version: Some(format!("lifecycle {}", builder.lifecycle)),
            digests: builder.digests.to_vec(),
            ..BuilderDetails::default()
        },
        run_image: builder.run_image,
        secrets,
        names: phases::names(),
    })
}

impl Plan {
    /// The first build: the phases, of which the metadata of the image comes back.
    pub fn work(&self) -> SolveRequest {
        self.solve(self.work.clone(), dockerfile::META, Output::Files)
    }

    /// The second build, of the metadata as a tar archive, and the labels of the image.
    ///
    /// # Errors
    /// The lifecycle exported what an image cannot have.
    pub fn image(&self, archive: &[u8]) -> Result<(SolveRequest, BTreeMap<String, String>), BuildError> {
        let invalid =
            |why: String| BuildError::Failed(format!("the lifecycle exported an invalid image: {why}"));
        let exported = Exported::read(archive).map_err(invalid)?;
        let text = dockerfile::image(&self.work, &self.run_image, &exported).map_err(invalid)?;
        Ok((self.solve(text, IMAGE, Output::Image), exported.labels))
    }

    fn solve(&self, text: String, target: &str, output: Output) -> SolveRequest {
        let dockerfile = Tree::default().with("Dockerfile", Generated::Text(text.into_bytes()));
        SolveRequest {
            trees: Trees::from([
                ("dockerfile".to_owned(), dockerfile),
                ("context".to_owned(), self.context.clone()),
            ]),
            dockerfile: "Dockerfile".to_owned(),
            target: Some(target.to_owned()),
            args: BTreeMap::new(),
            secrets: self.secrets.clone(),
            images: self.images.clone(),
            output,
            names: self.names.clone(),
        }
    }
}
