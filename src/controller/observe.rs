//! Reads the state of an Application: its Releases, job, image and containers.

use kube::api::ListParams;
use kube::{Api, Client};

use crate::api::{Application, Release};
use crate::error::Problem;
use crate::model::AppId;
use crate::plan::state::{JobOutput, ReleaseView, sort, target};
use crate::plan::{
    Decision, DesiredState, Inputs, Observed, PlanInput, Records, needs_containers, redaction_policy,
    rollback,
};
use crate::runtime::Running;

use super::context::Context;

/// Reads the Application from the API server, so that the last write is never missed. Returns `None` if it is deleted.
///
/// # Errors
/// The API server cannot be reached.
pub async fn application(client: &Client, id: &AppId) -> Result<Option<Application>, kube::Error> {
    Api::namespaced(client.clone(), &id.namespace)
        .get_opt(&id.name)
        .await
}

/// Reads the Releases in order from the API server: with a stale list, Davit would build twice.
///
/// # Errors
/// The API server cannot be reached.
pub async fn releases(client: &Client, id: &AppId) -> Result<(Vec<Release>, Vec<ReleaseView>), kube::Error> {
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
        .unzip())
}

/// Observes job, builder and runtime.
pub async fn state(
    ctx: &Context,
    id: &AppId,
    app: &Application,
    releases: &[ReleaseView],
    inputs: &Inputs,
    decision: &Decision,
) -> Observed {
    let running = running(ctx, id, inputs, &decision.desired, releases).await;
    Observed {
        job: ctx.jobs.view(id),
        image: image(ctx, app, releases, &decision.target).await,
        missing_image: missing_image(ctx, app, releases, running.as_ref().ok()).await,
        running,
    }
}

/// Observes the containers again if they were deployed, and completes the records.
pub async fn after(
    ctx: &Context,
    id: &AppId,
    input: &PlanInput<'_>,
    mut records: Records,
) -> (Records, Result<Running, Problem>) {
    let running = match &records.progress {
        Some(_) => running(ctx, id, &input.inputs, &input.desired, &input.releases).await,
        None => input.running.clone(),
    };
    records.finish(input, &running);
    (records, running)
}

/// Observes the containers; the runtime redacts their output.
async fn running(
    ctx: &Context,
    id: &AppId,
    inputs: &Inputs,
    desired: &DesiredState,
    releases: &[ReleaseView],
) -> Result<Running, Problem> {
    let redaction = redaction_policy(inputs.values.as_ref().ok(), desired.known(), releases);
    let running = ctx.runtime.observe(id, &redaction).await;
    running.map_err(|error| Problem::of(&error))
}

/// Returns the image that the job of the current Release would make, if it exists.
async fn image(
    ctx: &Context,
    app: &Application,
    releases: &[ReleaseView],
    wanted: &DesiredState,
) -> Result<Option<JobOutput>, Problem> {
    if let Some(origin) = rollback::current(app, releases) {
        let Ok(output) = origin.map(rollback::image_of) else {
            return Ok(None);
        };
        let exists = ctx.runtime.has_image(&output.image).await;
        return exists
            .map(|exists| exists.then_some(output))
            .map_err(|error| Problem::of(&error));
    }
    let current = target(releases, app.spec.concurrency_policy);
    let needs_image = current.is_some_and(|release| release.status.image.is_none());
    let Some(desired) = wanted.known().filter(|_| needs_image) else {
        return Ok(None);
    };
    let (Some(_), Some(tag)) = (&desired.build, &desired.tag) else {
        return Ok(None);
    };
    if desired.export.is_pushed() {
        return Ok(None); // The job asks the registry, once.
    }
    let found = ctx.tools.builder.find(tag).await;
    let found = found.map_err(|error| Problem::of(&error))?;
    Ok(found.map(|image| JobOutput {
        image: image.id,
        builder: Some(image.builder),
        ..JobOutput::default()
    }))
}

/// Returns the Release that needs containers and whose image is no longer in the engine.
async fn missing_image(
    ctx: &Context,
    app: &Application,
    releases: &[ReleaseView],
    running: Option<&Running>,
) -> Option<String> {
    let unwanted = app.spec.stopped || app.spec.suspend || app.metadata.deletion_timestamp.is_some();
    let running = running.filter(|_| !unwanted)?;
    let release = needs_containers(releases, app.spec.concurrency_policy, running)?;
    let image = release.status.image.as_ref()?;
    let missing = matches!(ctx.runtime.has_image(image).await, Ok(false));
    missing.then(|| release.name.clone())
}
