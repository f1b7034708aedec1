//! What the loop leaves alone, and says so: a Release of an Application that is not there.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt as _;

use crate::api::Release;
use crate::error::chain;
use crate::model::AppId;
use crate::plan::{End, journal};

use super::{Ctx, observe};

/// Says of a Release that nothing happens with it as long as the Application that it names is not there. One whose
/// Application is only late, because both were applied together, is taken up when that comes; one that is no longer
/// wanted is Cancelled without it.
pub async fn release(ctx: Arc<Ctx>, release: Release) {
    if ctx.applications.wait_until_ready().await.is_err() {
        return; // Davit ends.
    }
    let id = AppId::new(
        release.namespace().unwrap_or_default(),
        release.spec.application.clone(),
    );
    match observe::application(&ctx.client, &id).await {
        Ok(None) => {}
        Ok(Some(_)) => return,
        Err(error) => return tracing::warn!(error = %chain(&error), "an Application could not be read"),
    }
    let mut new = release.status.clone().unwrap_or_default();
    new.observed_generation = release.metadata.generation.unwrap_or(1);
    if release.spec.cancel {
        journal::end(&mut new, &End::Cancelled, Timestamp::now());
    } else {
        journal::without_application(&mut new, &id.name, Timestamp::now());
    }
    let old = release.status.as_ref();
    if let Err(error) = ctx.report.tell(&release, None, old, &new).await {
        tracing::warn!(error = %chain(&error), "the status of a Release could not be written");
    }
}
