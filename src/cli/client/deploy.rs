//! `davit deploy`: creates a Release.

use kube::ResourceExt as _;
use kube::api::{ObjectMeta, PostParams};

use super::args::Format;
use super::commands::{ChangeOptions, Deploy, Redeploy, Rollback};
use super::connect::{Access, Cluster, MANAGER};
use super::output::{note, object, say};
use super::pick::{before, pick_served};
use super::release_wait::outcome;
use super::settle::{noticed_end, suspension};
use crate::api::{Application, Release, ReleaseSpec, ReleaseType};
use crate::cli::failure::Failure;

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
    create_release(&cluster, &application, spec, &args.change).await
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
    create_release(&cluster, &application, spec, &args.change).await
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
    create_release(&cluster, &application, spec, &args.change).await
}

/// Creates a Release, reports it, and waits for its end if the user asks for that.
///
/// # Errors
/// The API server does not answer or refuses, or with `--wait` the Release did not succeed.
pub async fn create_release(
    cluster: &Cluster,
    application: &Application,
    spec: ReleaseSpec,
    options: &ChangeOptions,
) -> Result<(), Failure> {
    let (format, wait) = (options.output.format, &options.wait);
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
    let only_the_end = wait.wait && matches!(format, Some(Format::Json | Format::Yaml));
    if !only_the_end {
        let origin = made.spec.rollback_to.as_ref();
        let happened = origin.map_or("created".to_owned(), |origin| {
            format!("created: goes back to {origin}")
        });
        object(format, &made, &happened)?;
    }
    if application.spec.suspend {
        note(&suspension(&application.name_any()));
    }
    let Some(deadline) = wait.begin() else {
        return Ok(());
    };
    let ended = noticed_end(cluster, &made.spec.application, &made.name_any(), &deadline).await?;
    match format {
        None | Some(Format::Wide) => say(outcome(&ended)),
        Some(Format::Name) => Ok(()),
        Some(_) => object(format, &ended, ""),
    }
}
