//! Previews of pull requests. A pass for one Application asks its forge, decides, and creates, changes and removes Applications.
//! It runs in the background, so that a forge that does not answer holds up no Release; the next reconcile records its result.

mod comments;
mod hindrance;
mod pass;
pub mod state;

use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt as _;
use tokio_util::task::AbortOnDropHandle;

use crate::api::Application;
use crate::model::AppId;

use super::context::Context;
use state::{Begin, Due, Hold};

/// Begins a pass if one is due, and returns when the next one is.
pub fn step(ctx: &Arc<Context>, app: &Application) -> Option<Duration> {
    match ctx.previews.due(app) {
        Due::Never => None,
        Due::In(rest) => Some(rest),
        Due::Now(begin) => {
            start(ctx, app, begin);
            None
        }
    }
}

/// Reports whether the deletion of an Application has to wait for a pass that removes its previews, and begins that pass.
pub fn holds_deletion(ctx: &Arc<Context>, app: &Application) -> bool {
    match ctx.previews.hold_deletion(app) {
        Hold::No => return false,
        Hold::Running => {}
        Hold::Begin(begin) => start(ctx, app, *begin),
    }
    true
}

fn start(ctx: &Arc<Context>, app: &Application, begin: Begin) {
    let id = AppId::new(app.namespace().unwrap_or_default(), app.name_any());
    let task = tokio::spawn(run(Arc::clone(ctx), id.clone(), app.clone(), begin));
    ctx.previews.keep(&id, AbortOnDropHandle::new(task));
}

async fn run(ctx: Arc<Context>, id: AppId, app: Application, begin: Begin) {
    let ended = Box::pin(pass::pass(&ctx, &id, &app, begin)).await;
    let is_deleted = app.metadata.deletion_timestamp.is_some();
    if let Some(message) = ctx.previews.end(&id, is_deleted, ended) {
        pass::report_problem(&ctx, &app, &message).await;
    }
}
