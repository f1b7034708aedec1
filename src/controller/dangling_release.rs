//! Releases whose Application does not exist.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt as _;

use crate::api::Release;
use crate::error::chain;
use crate::model::AppId;
use crate::plan::{ReleaseOutcome, numbers, release_status};

use super::context::Context;
use super::observe;

/// Says of a Release that nothing happens with it as long as the Application that it names is not there. One whose
/// Application is only late, because both were applied together, is taken up when that comes; one that is no longer
/// wanted is Cancelled without it.
pub async fn release(ctx: Arc<Context>, release: Release) {
    if ctx.applications.wait_until_ready().await.is_err() {
        return; // Davit ends.
    }
    if let Err(error) = record(&ctx, &release).await {
        tracing::warn!(error = %chain(&error), "of a Release without an Application nothing could be said");
    }
}

async fn record(ctx: &Context, seen: &Release) -> Result<(), kube::Error> {
    let namespace = seen.namespace().unwrap_or_default();
    let id = AppId::new(namespace, seen.spec.application.clone());
    if observe::application(&ctx.client, &id).await?.is_some() {
        return Ok(());
    }
    let (objects, views) = observe::releases(&ctx.client, &id).await?;
    let mut own = objects.iter().filter(|release| release.uid() == seen.uid());
    let Some(release) = own.next() else {
        return Ok(()); // It is gone meanwhile.
    };
    let mut new = release.status.clone().unwrap_or_default();
    if new.phase.has_ended() {
        return Ok(());
    }
    new.observed_generation = release.metadata.generation.unwrap_or(1);
    // The order of Releases of one second follows from resourceVersion, which changes with the next write.
    let name = release.name_any();
    let mut numbers = numbers(&views, 0);
    let number = numbers.find_map(|(view, number)| (view.name == name).then_some(number));
    new.number = new.number.or(number);
    if release.spec.cancel {
        release_status::end(&mut new, &ReleaseOutcome::Cancelled, Timestamp::now());
    } else {
        release_status::without_application(&mut new, &id.name, Timestamp::now());
    }
    ctx.report
        .report_status(release, None, release.status.as_ref(), &new)
        .await
}
