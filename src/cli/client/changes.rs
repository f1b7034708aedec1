//! Commands that change an Application: stop, start, restart, suspend, resume.

use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::args::Format;
use super::commands::{Change, ChangeOptions};
use super::connect::{Access, Cluster, MANAGER};
use super::output::object;
use super::settle::{Asked, settled};
use crate::api::{Application, REQUESTED_AT, RESTARTED_AT, RESUME, Release};
use crate::cli::failure::Failure;

/// `davit stop`.
///
/// # Errors
/// The Application cannot be changed, or with `--wait` its containers do not end in time.
pub async fn stop(args: Change) -> Result<(), Failure> {
    let (cluster, application) = found(&args).await?;
    let already = application.spec.stopped.then_some("was stopped already");
    change(
        &cluster,
        &args,
        &application,
        already,
        json!({"spec": {"stopped": true}}),
        "stopped",
    )
    .await
}

/// `davit start`: the number of replicas is the one of before.
///
/// # Errors
/// The Application cannot be changed, or with `--wait` it does not become healthy.
pub async fn start(args: Change) -> Result<(), Failure> {
    let (cluster, application) = found(&args).await?;
    let mut spec = json!({"stopped": false});
    let mut happened = "started".to_owned();
    if application.spec.replicas == 0 {
        let replicas = previous_replicas(&cluster.releases_of(&application.name_any()).await?);
        spec["replicas"] = json!(replicas);
        happened = format!("started with {replicas} replicas");
    }
    let runs = !application.spec.stopped && application.spec.replicas > 0;
    let already = runs.then_some("was started already");
    change(
        &cluster,
        &args,
        &application,
        already,
        json!({"spec": spec}),
        &happened,
    )
    .await
}

/// Returns the newest number of replicas other than none.
fn previous_replicas(releases: &[Release]) -> i64 {
    let configs = releases
        .iter()
        .rev()
        .filter_map(|release| release.status.as_ref()?.config.as_ref());
    let mut counts = configs.filter_map(|config| config.0.get("replicas").and_then(Value::as_i64));
    counts.find(|count| *count > 0).unwrap_or(1)
}

/// `davit restart`: new containers of the same Release take the place of the old ones.
///
/// # Errors
/// The Application cannot be changed or does not run, or with `--wait` the new containers do not become healthy.
pub async fn restart(args: Change) -> Result<(), Failure> {
    let (cluster, application) = found(&args).await?;
    let name = application.name_any();
    if application.spec.stopped {
        return Err(Failure::new(format!(
            "application {name} is stopped: davit start {name}"
        )));
    }
    let status = application.status.clone().unwrap_or_default();
    if status.release.is_none_or(|release| release.active.is_none()) {
        return Err(Failure::new(format!(
            "application {name} has no Release that serves, so there is nothing to restart: davit status {name}"
        )));
    }
    let now = Timestamp::now().to_string();
    let patch = json!({"metadata": {"annotations": {RESTARTED_AT: now}}});
    change(&cluster, &args, &application, None, patch, "restarted").await
}

/// `davit suspend`.
///
/// # Errors
/// The Application cannot be changed.
pub async fn suspend(args: Change) -> Result<(), Failure> {
    let (cluster, application) = found(&args).await?;
    let already = application.spec.suspend.then_some("was suspended already");
    change(
        &cluster,
        &args,
        &application,
        already,
        json!({"spec": {"suspend": true}}),
        "suspended",
    )
    .await
}

/// `davit resume`: ends a suspension and the hold of a rollback.
///
/// # Errors
/// The Application cannot be changed, or with `--wait` it does not become healthy.
pub async fn resume(args: Change) -> Result<(), Failure> {
    let (cluster, application) = found(&args).await?;
    let status = application.status.clone().unwrap_or_default();
    let held_by = status.release.and_then(|release| release.held_by);
    let already =
        (held_by.is_none() && !application.spec.suspend).then_some("was neither suspended nor held");
    let mut patch = json!({"spec": {"suspend": false}});
    let mut happened = "resumed".to_owned();
    if let Some(release) = held_by {
        happened = format!("resumed: release {release} no longer holds automatic deployments");
        patch["metadata"] =
            json!({"annotations": {RESUME: release, REQUESTED_AT[0]: Timestamp::now().to_string()}});
    }
    change(&cluster, &args, &application, already, patch, &happened).await
}

async fn found(args: &Change) -> Result<(Cluster, Application), Failure> {
    let cluster = Cluster::new(&args.change.connection).await?;
    let application = cluster.application(&args.application).await?;
    Ok((cluster, application))
}

/// Changes an Application, reports it, and waits until it is as it should be if the user asks for that.
async fn change(
    cluster: &Cluster,
    args: &Change,
    application: &Application,
    already: Option<&str>,
    patch: Value,
    happened: &str,
) -> Result<(), Failure> {
    let name = application.name_any();
    let changed = if already.is_some() {
        application.clone()
    } else {
        let params = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let changed = cluster
            .applications()
            .patch(&name, &params, &Patch::Merge(patch))
            .await;
        changed.map_err(|error| cluster.refused(&error, Access::Edit))?
    };
    report(cluster, &args.change, &changed, already.unwrap_or(happened)).await
}

/// Reports a change, and waits until the Application is as it was changed to be, if the user asks for that. JSON and YAML are of
/// the Application afterwards.
///
/// # Errors
/// It does not become healthy, or the time is over.
pub async fn report(
    cluster: &Cluster,
    options: &ChangeOptions,
    changed: &Application,
    happened: &str,
) -> Result<(), Failure> {
    let format = options.output.format;
    let Some(deadline) = options.wait.begin() else {
        return object(format, changed, happened);
    };
    let is_data = matches!(format, Some(Format::Json | Format::Yaml));
    if !is_data {
        object(format, changed, happened)?;
    }
    let settled = Box::pin(settled(cluster, &Asked::changed(changed), &deadline)).await?;
    if is_data {
        return object(format, &settled, "");
    }
    let phase = settled
        .status
        .as_ref()
        .map(|status| status.phase)
        .unwrap_or_default();
    match format {
        Some(Format::Name) => Ok(()),
        _ => object(
            format,
            &settled,
            &format!("is {}", format!("{phase:?}").to_lowercase()),
        ),
    }
}
