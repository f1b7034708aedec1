//! Removes uploads that are not referred to any more.

use std::collections::BTreeSet;

use kube::api::ListParams;
use kube::{Api, ResourceExt};

use crate::api::{Application, Release, Source, SourceKind};
use crate::error::chain;

use super::context::Context;

/// Removes the uploads of a namespace to which neither an Application nor a Release of one refers. Costs nothing in a
/// namespace without uploads.
pub async fn collect(ctx: &Context, namespace: &str) {
    let uploads = &ctx.tools.uploads;
    // Before the objects: what is stored later may belong to a later object.
    let stored = uploads.list(namespace);
    if stored.is_empty() {
        return;
    }
    match used(ctx, namespace).await {
        Ok(used) => uploads.collect(namespace, &stored, &used),
        Err(error) => {
            tracing::warn!(namespace, error = %chain(&error), "the objects could not be listed; no upload is removed");
        }
    }
}

/// The same for all namespaces.
pub async fn collect_all(ctx: &Context) {
    for namespace in ctx.tools.uploads.namespaces() {
        collect(ctx, &namespace).await;
    }
}

/// Returns the digests that are referred to.
async fn used(ctx: &Context, namespace: &str) -> Result<BTreeSet<String>, kube::Error> {
    let everything = ListParams::default();
    let applications: Api<Application> = Api::namespaced(ctx.client.clone(), namespace);
    let releases: Api<Release> = Api::namespaced(ctx.client.clone(), namespace);
    let applications = applications.list(&everything).await?.items;
    let releases = releases.list(&everything).await?.items;
    // The Releases of a deleted Application are deleted after it.
    let remain = applications
        .iter()
        .filter(|application| application.metadata.deletion_timestamp.is_none());
    let owners: BTreeSet<String> = remain.clone().filter_map(ResourceExt::uid).collect();
    let wanted =
        remain.filter_map(
            |application| match application.spec.source.as_ref().and_then(Source::kind)? {
                SourceKind::Drop(upload) => Some(upload.digest.clone()),
                _ => None,
            },
        );
    let retained = releases.iter().filter(|release| {
        let mut owner = release.owner_references().iter();
        owner.any(|owner| owners.contains(&owner.uid))
    });
    let retained =
        retained.filter_map(|release| Some(release.status.as_ref()?.source.as_ref()?.revision.clone()));
    Ok(wanted.chain(retained).collect())
}
