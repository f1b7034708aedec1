//! `davit deploy`: creates a Release.

use kube::ResourceExt as _;
use kube::api::{ObjectMeta, PostParams};

use super::args::{Format, Output, Wait};
use super::commands::{Deploy, Redeploy, Rollback};
use super::connect::{Access, Cluster, MANAGER};
use super::output::{note, object, say};
use super::pick::{before, pick_served};
use super::release_wait::{outcome, wait_for_release};
use super::settle::{notices, suspended};
use crate::api::{Application, Release, ReleaseSpec, ReleaseType};
use crate::cli::failure::{Code, Failure};

/// `davit deploy`.
///
/// # Errors
/// The Release cannot be created, or with `--wait` it did not succeed.
pub async fn deploy(args: Deploy) -> Result<(), Failure> {
    let cluster = Cluster::for_changes(&args.change.connection).await?;
    let application = cluster.application(&args.application).await?;
    let spec = ReleaseSpec {
        title: args.about.title,
        description: args.about.description,
        revision: args.revision,
        ..ReleaseSpec::deploy(&args.application)
    };
    create_release(
        &cluster,
        &application,
        spec,
        args.change.output,
        &args.change.wait,
    )
    .await
}

/// `davit redeploy`.
///
/// # Errors
/// The Release cannot be created, or with `--wait` it did not succeed.
pub async fn redeploy(args: Redeploy) -> Result<(), Failure> {
    let cluster = Cluster::for_changes(&args.change.connection).await?;
    let application = cluster.application(&args.application).await?;
    let spec = ReleaseSpec {
        kind: ReleaseType::Redeploy,
        title: args.about.title,
        description: args.about.description,
        clean_cache: args.clean,
        ..ReleaseSpec::deploy(&args.application)
    };
    create_release(
        &cluster,
        &application,
        spec,
        args.change.output,
        &args.change.wait,
    )
    .await
}

/// `davit rollback`.
///
/// # Errors
/// There is no such Release, or it never served, the Release cannot be created, or with `--wait` it did not succeed.
pub async fn rollback(args: Rollback) -> Result<(), Failure> {
    let cluster = Cluster::for_changes(&args.change.connection).await?;
    let application = cluster.application(&args.application).await?;
    let releases = cluster.releases_of(&args.application).await?;
    let status = application.status.clone().unwrap_or_default();
    let active = status.release.and_then(|release| release.active);
    let origin = match &args.release {
        Some(given) => pick_served(given, &args.application, &releases)?,
        None => before(&args.application, active.as_deref(), &releases)?,
    };
    let spec = ReleaseSpec {
        kind: ReleaseType::Rollback,
        title: args.about.title,
        description: args.about.description,
        rollback_to: Some(origin.name_any()),
        ..ReleaseSpec::deploy(&args.application)
    };
    create_release(
        &cluster,
        &application,
        spec,
        args.change.output,
        &args.change.wait,
    )
    .await
}

/// Creates a Release, reports it, and waits for its end if the user asks for that.
///
/// # Errors
/// The API server does not answer or refuses, or with `--wait` the Release did not succeed.
pub async fn create_release(
    cluster: &Cluster,
    application: &Application,
    spec: ReleaseSpec,
    output: Output,
    wait: &Wait,
) -> Result<(), Failure> {
    let release = Release {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", spec.application)),
            ..ObjectMeta::default()
        },
        spec,
        status: None,
    };
    let params = PostParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PostParams::default()
    };
    let made = cluster.releases().create(&params, &release).await;
    let made = made.map_err(|error| cluster.refused(&error, Access::Edit))?;
    // With --wait, JSON and YAML are of the Release after its end.
    let only_the_end = wait.wait && matches!(output.format, Some(Format::Json | Format::Yaml));
    if !only_the_end {
        let origin = made.spec.rollback_to.as_ref();
        let happened = origin.map_or("created".to_owned(), |origin| {
            format!("created: goes back to {origin}")
        });
        object(output.format, &made, &happened)?;
    }
    if application.spec.suspend {
        let why = suspended(&application.name_any());
        note(why.message().trim_start_matches("error: "));
    }
    let Some(deadline) = wait.begin() else {
        return Ok(());
    };
    let ended = wait_for_release(cluster, &made.name_any(), &deadline).await;
    let goes_on = |failure: &Failure| matches!(failure.code, Code::TimedOut | Code::Interrupted);
    if !ended.as_ref().is_err_and(goes_on) {
        notices(cluster, &made.spec.application, &made.name_any()).await;
    }
    let ended = ended?;
    match output.format {
        None | Some(Format::Wide) => say(outcome(&ended)),
        Some(Format::Name) => Ok(()),
        Some(_) => object(output.format, &ended, ""),
    }
}
