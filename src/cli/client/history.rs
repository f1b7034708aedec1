//! `davit history` and `davit clear`: the Releases that ended.

use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::commands::{Clear, History};
use super::connect::{Access, Cluster, MANAGER};
use super::follow::wait_until_gone;
use super::output::{list, list_in_order, note, nothing, object};
use super::settle::{Asked, settled, suspended, suspension};
use super::status::wait_for_all;
use crate::api::{CLEARED, GROUP, Release};
use crate::cli::failure::Failure;
use crate::plan::prunable;
use crate::plan::state::ReleaseView;

/// `davit history`.
///
/// # Errors
/// The Application does not exist, or the API server does not answer or refuses.
pub async fn history(args: History) -> Result<(), Failure> {
    let cluster = Cluster::new(&args.connection).await?;
    let Some(name) = &args.application else {
        let waited = match &args.wait.begin() {
            Some(deadline) => wait_for_all(&cluster, args.all_namespaces, deadline).await,
            None => Ok(()),
        };
        let prefix = format!("/apis/{GROUP}/v1alpha1");
        let path = if args.all_namespaces {
            format!("{prefix}/releases")
        } else {
            format!("{prefix}/namespaces/{}/releases", cluster.namespace)
        };
        list(&cluster, &path, args.output.format, args.all_namespaces).await?;
        return waited;
    };
    let application = cluster.application(name).await?;
    let waited = match args.wait.begin() {
        Some(deadline) => settled(&cluster, &Asked::seen(&application), &deadline).await,
        None => Ok(application),
    };
    let releases = cluster.releases_of(name).await?;
    let names: Vec<String> = releases.iter().map(ResourceExt::name_any).collect();
    let path = format!(
        "/apis/{GROUP}/v1alpha1/namespaces/{}/releases?fieldSelector=spec.application%3D{}",
        cluster.namespace, name
    );
    list_in_order(&cluster, &path, args.output.format, &names).await?;
    // The Releases are listed after a failure, too.
    waited.map(drop)
}

/// `davit clear`.
///
/// # Errors
/// The Application cannot be changed, or with `--wait` the Releases are not removed in time, or it is suspended.
pub async fn clear(args: Clear) -> Result<(), Failure> {
    let cluster = Cluster::for_changes(&args.change.connection).await?;
    let application = cluster.application(&args.application).await?;
    let releases = cluster.releases_of(&args.application).await?;
    let numbers = releases
        .iter()
        .filter_map(|release| release.status.as_ref()?.number);
    let newest = numbers.max().unwrap_or_default();
    let views: Vec<ReleaseView> = releases.iter().map(ReleaseView::of).collect();
    let gone: Vec<&str> = prunable(&application, &views, newest)
        .into_iter()
        .map(|view| view.name.as_str())
        .collect();
    let gone: Vec<&Release> = releases
        .iter()
        .filter(|release| gone.contains(&release.name_any().as_str()))
        .collect();
    if gone.is_empty() {
        let happened = format!("application.davit.dev/{}: no Release to remove", args.application);
        return nothing(args.change.output.format, &happened);
    }
    let happens = if args.dry_run {
        "would be deleted"
    } else {
        "deleted"
    };
    if !args.dry_run {
        let params = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let patch = Patch::Merge(json!({"metadata": {"annotations": {CLEARED: newest.to_string()}}}));
        let changed = cluster
            .applications()
            .patch(&args.application, &params, &patch)
            .await;
        changed.map_err(|error| cluster.refused(&error, Access::Edit))?;
    }
    let deadline = args.change.wait.begin().filter(|_| !args.dry_run);
    if application.spec.suspend && !args.dry_run {
        for release in gone {
            object(args.change.output.format, release, "will be deleted")?;
        }
        // It would wait for another command of the user.
        if deadline.is_some() {
            return Err(suspended(&args.application));
        }
        note(&suspension(&args.application));
        return Ok(());
    }
    for release in gone {
        if let Some(deadline) = &deadline {
            wait_until_gone(&cluster, cluster.releases(), &release.name_any(), deadline).await?;
        }
        object(args.change.output.format, release, happens)?;
    }
    Ok(())
}
