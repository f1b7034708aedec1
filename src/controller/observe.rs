//! I/O in: what there is of an Application: its Releases, its job, its image, its containers.

use kube::api::ListParams;
use kube::{Api, Client};

use crate::api::{Application, Release};
use crate::error::Problem;
use crate::model::AppId;
use crate::plan::desired::Desired;
use crate::plan::state::{JobOutput, ReleaseView, sort};

use super::Ctx;

/// The Application itself, read anew so that our own last write is never missed; nothing where it is gone.
///
/// # Errors
/// The API server does not answer.
pub async fn application(client: &Client, id: &AppId) -> Result<Option<Application>, kube::Error> {
    Api::namespaced(client.clone(), &id.namespace)
        .get_opt(&id.name)
        .await
}

/// Its Releases in order, read anew: deciding from a stale list would build twice.
///
/// # Errors
/// The API server does not answer.
pub async fn releases(client: &Client, id: &AppId) -> Result<Vec<(Release, ReleaseView)>, kube::Error> {
    let api: Api<Release> = Api::namespaced(client.clone(), &id.namespace);
    let list = api
        .list(&ListParams::default().fields(&format!("spec.application={}", id.name)))
        .await?;
    let mut views: Vec<ReleaseView> = list.items.iter().map(ReleaseView::of).collect();
    sort(&mut views);
    let mut items = list.items;
    Ok(views
        .into_iter()
        .filter_map(|view| {
            let index = items
                .iter()
                .position(|release| release.metadata.name.as_deref() == Some(view.name.as_str()))?;
            Some((items.swap_remove(index), view))
        })
        .collect())
}

/// The image that a build for `desired` would make, if it is there already.
///
/// # Errors
/// The engine does not answer.
pub async fn image(ctx: &Ctx, desired: &Desired) -> Result<Option<JobOutput>, Problem> {
    let (Some(_), Some(tag)) = (&desired.build, &desired.tag) else {
        return Ok(None);
    };
    let found = ctx
        .tools
        .builder
        .find(tag)
        .await
        .map_err(|error| Problem::of(&error))?;
    Ok(found.map(|image| JobOutput {
        image: image.id,
        builder: Some(image.builder),
        ..JobOutput::default()
    }))
}
