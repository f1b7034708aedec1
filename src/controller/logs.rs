//! Where the log of a Release is, and what the logs of containers must not show.

use std::path::{Path, PathBuf};

use kube::ResourceExt as _;

use crate::api::Application;
use crate::model::AppId;
use crate::plan::{pin, redaction_policy};
use crate::runtime::RedactionPolicy;

use super::context::Context;
use super::dereference::Reader;
use super::observe;
use super::resolve::Resolution;

/// Returns the path of the log of a Release. `uid` is that of its Application.
pub fn path(log_dir: &Path, namespace: &str, uid: &str, release: &str) -> PathBuf {
    dir(log_dir, namespace, uid).join(format!("{release}.log"))
}

/// Returns the directory of an Application's logs.
pub fn dir(log_dir: &Path, namespace: &str, uid: &str) -> PathBuf {
    log_dir.join(namespace).join(uid)
}

/// Returns the name of the log of a Release's hook, for [`path`].
pub fn of_hook(release: &str) -> String {
    format!("{release}.preDeploy")
}

/// Returns what the output of an Application's containers must not show. The source is not resolved.
///
/// # Errors
/// The API server cannot be reached.
pub async fn redaction(ctx: &Context, app: &Application) -> Result<RedactionPolicy, kube::Error> {
    let id = AppId::new(app.namespace().unwrap_or_default(), app.name_any());
    let (_, releases) = observe::releases(&ctx.client, &id).await?;
    let reader = Reader::new(ctx.client.clone(), &id.namespace);
    let (inputs, _) = Resolution::default().into_inputs(reader.values(&app.spec).await);
    let decision = pin::decide_suspended(&id, app, &releases, &inputs, &ctx.install);
    let values = inputs.values.as_ref().ok();
    Ok(redaction_policy(values, decision.desired.known(), &releases))
}
