//! Commands that change an Application: stop, start, restart, suspend, resume.

use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::args::Format;
use super::commands::{Change, ChangeOptions};
use super::connect::{Access, Cluster, MANAGER};
use super::output::{note, object};
use super::settle::{Asked, settled, suspended, suspension};
use crate::api::{Application, REQUESTED_AT, RESTARTED_AT, RESUME, Release, ReleasePhase};
use crate::cli::failure::Failure;

/// `davit stop`.
///
/// # Errors
/// The Application cannot be changed, or with `--wait` its containers do not end in time.
pub async fn stop(args: Change) -> Result<(), Failure> {
    let (cluster, application) = found(&args).await?;
    let already = application.spec.stopped.then_some("was stopped already");
    let runs = application
        .status
        .as_ref()
        .is_some_and(|status| status.replicas > 0);
    let happened = Happened {
        now: "stopped",
        later: Some("will be stopped").filter(|_| already.is_none() || runs),
        earlier: None,
    };
    let patch = json!({"spec": {"stopped": true}});
    change(&cluster, &args, &application, already, patch, happened).await
}

/// `davit start`: the number of replicas is the one of before.
///
/// # Errors
/// The Application cannot be changed, or with `--wait` it does not become healthy.
pub async fn start(args: Change) -> Result<(), Failure> {
    let (cluster, application) = found(&args).await?;
    let releases = cluster.releases_of(&application.name_any()).await?;
    let mut spec = json!({"stopped": false});
    let (mut now, mut later) = ("started".to_owned(), "will be started".to_owned());
    if application.spec.replicas == 0 {
        let replicas = previous_replicas(&releases);
        spec["replicas"] = json!(replicas);
        now = format!("started with {replicas} replicas");
        later = format!("will be started with {replicas} replicas");
    }
    let is_wanted = !application.spec.stopped && application.spec.replicas > 0;
    let already = is_wanted.then_some("was started already");
    let runs = application
        .status
        .as_ref()
        .is_some_and(|status| status.ready_replicas > 0);
    let happened = Happened {
        now: &now,
        later: Some(later.as_str()).filter(|_| already.is_none() || !runs),
        earlier: without_success(&releases),
    };
    let patch = json!({"spec": spec});
    change(&cluster, &args, &application, already, patch, happened).await
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

/// Returns the newest Release, if it has ended without success: what is wrong with it was so before the command.
fn without_success(releases: &[Release]) -> Option<String> {
    let newest = releases.last()?;
    let phase = newest
        .status
        .as_ref()
        .map(|status| status.phase)
        .unwrap_or_default();
    (phase.has_ended() && phase != ReleasePhase::Succeeded).then(|| newest.name_any())
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
    // The time of the new containers counts from now on, so it must not pass before they are made.
    if application.spec.suspend {
        return Err(Failure::new(format!(
            "application {name} is suspended (spec.suspend is true), so nothing is restarted: davit resume {name}, then davit \
             restart {name}"
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
    let happened = Happened {
        earlier: without_success(&cluster.releases_of(&name).await?),
        ..Happened::now("restarted")
    };
    change(&cluster, &args, &application, None, patch, happened).await
}

/// `davit suspend`.
///
/// # Errors
/// The Application cannot be changed.
pub async fn suspend(args: Change) -> Result<(), Failure> {
    let (cluster, application) = found(&args).await?;
    let already = application.spec.suspend.then_some("was suspended already");
    let patch = json!({"spec": {"suspend": true}});
    let happened = Happened::now("suspended");
    change(&cluster, &args, &application, already, patch, happened).await
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
    change(
        &cluster,
        &args,
        &application,
        already,
        patch,
        Happened::now(&happened),
    )
    .await
}

/// What a command did to an Application, in words.
pub struct Happened<'a> {
    /// What happened.
    pub now: &'a str,
    /// What will happen after `davit resume`, where nothing happens while the Application is suspended.
    pub later: Option<&'a str>,
    /// The newest Release, if it had ended without success before, and the command is about the containers alone.
    pub earlier: Option<String>,
}

impl<'a> Happened<'a> {
    /// What happens also to a suspended Application.
    pub fn now(now: &'a str) -> Self {
        Self {
            now,
            later: None,
            earlier: None,
        }
    }
}

async fn found(args: &Change) -> Result<(Cluster, Application), Failure> {
    let cluster = Cluster::for_changes(&args.change.connection).await?;
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
    happened: Happened<'_>,
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
    let happened = Happened {
        now: already.unwrap_or(happened.now),
        ..happened
    };
    report(cluster, &args.change, &changed, happened).await
}

/// Reports a change, and waits until the Application is as it was changed to be, if the user asks for that. JSON and YAML are of
/// the Application afterwards.
///
/// # Errors
/// It does not become healthy, the time is over, or nothing happens because the Application is suspended.
pub async fn report(
    cluster: &Cluster,
    options: &ChangeOptions,
    changed: &Application,
    happened: Happened<'_>,
) -> Result<(), Failure> {
    let format = options.output.format;
    let deadline = options.wait.begin();
    if let Some(later) = happened.later.filter(|_| changed.spec.suspend) {
        object(format, changed, &format!("{later} when it is resumed"))?;
        // It would wait for another command of the user.
        if deadline.is_some() {
            return Err(suspended(&changed.name_any()));
        }
        note(&suspension(&changed.name_any()));
        return Ok(());
    }
    let Some(deadline) = deadline else {
        return object(format, changed, happened.now);
    };
    let is_data = matches!(format, Some(Format::Json | Format::Yaml));
    if !is_data {
        object(format, changed, happened.now)?;
    }
    let asked = Asked::changed(changed).apart_from(happened.earlier);
    let settled = Box::pin(settled(cluster, &asked, &deadline)).await?;
    if is_data {
        return object(format, &settled, "");
    }
    match format {
        Some(Format::Name) => Ok(()),
        _ => object(format, &settled, &came_to(&settled, &asked)),
    }
}

/// How an Application is at the end of the wait.
fn came_to(settled: &Application, asked: &Asked<'_>) -> String {
    let status = settled.status.clone().unwrap_or_default();
    if settled.spec.suspend {
        return "is suspended: what runs stays as it is".to_owned();
    }
    if asked.is_as_before(&status) {
        let release = status.release.unwrap_or_default();
        let name = settled.name_any();
        return format!(
            "runs release {}; release {} did not succeed before: davit status {name}",
            release.active.unwrap_or_default(),
            release.latest.unwrap_or_default()
        );
    }
    format!("is {}", format!("{:?}", status.phase).to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(phase: &str) -> Release {
        serde_json::from_value(json!({"apiVersion": "davit.dev/v1alpha1", "kind": "Release",
            "metadata": {"name": "shop-2"}, "spec": {"application": "shop"}, "status": {"phase": phase}}))
        .unwrap()
    }

    #[test]
    fn a_release_that_ended_before_is_told_apart() {
        for (phase, expected) in [
            ("Failed", Some("shop-2")),
            ("Cancelled", Some("shop-2")),
            ("Succeeded", None),
            ("Building", None),
        ] {
            assert_eq!(without_success(&[release(phase)]).as_deref(), expected, "{phase}");
        }
        assert_eq!(without_success(&[]), None);
    }

    #[test]
    fn the_end_of_the_wait_claims_no_more_than_is_so() {
        for (spec, phase, words) in [
            (json!({}), "done", "is done"),
            (json!({"suspend": true}), "error", "is suspended"),
            (
                json!({}),
                "error",
                "runs release shop-1; release shop-2 did not succeed",
            ),
        ] {
            let app: Application = serde_json::from_value(json!({"apiVersion": "davit.dev/v1alpha1",
                "kind": "Application", "metadata": {"name": "shop"}, "spec": spec, "status": {"phase": phase,
                "release": {"active": "shop-1", "latest": "shop-2", "count": 2}}}))
            .unwrap();
            let asked = Asked::changed(&app).apart_from(Some("shop-2".to_owned()));
            let text = came_to(&app, &asked);
            assert!(text.contains(words), "{text}");
        }
    }
}
