//! `davit cancel`: cancels the Releases that are under way.

use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::commands::Cancel;
use super::connect::{Access, Cluster, MANAGER};
use super::follow::{Stand, follow};
use super::output::{nothing, object, say};
use super::pick::pick;
use super::release_wait::step;
use crate::api::{Release, ReleasePhase};
use crate::cli::failure::Failure;

/// `davit cancel`.
///
/// # Errors
/// The Release does not exist or cannot be changed, or with `--wait` it ended otherwise.
pub async fn cancel(args: Cancel) -> Result<(), Failure> {
    let cluster = Cluster::for_changes(&args.change.connection).await?;
    cluster.application(&args.application).await?;
    let releases = cluster.releases_of(&args.application).await?;
    let open: Vec<&Release> = match &args.release {
        Some(release) => vec![pick(release, &args.application, &releases)?],
        None => releases.iter().filter(|release| !has_ended(release)).collect(),
    };
    if open.is_empty() {
        let happened = format!(
            "application.davit.dev/{}: no Release is under way",
            args.application
        );
        return nothing(args.change.output.format, &happened);
    }
    let params = PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PatchParams::default()
    };
    for release in &open {
        if has_ended(release) {
            let phase = phase(release);
            return Err(Failure::new(format!(
                "release {} has ended already: its phase is {phase:?}",
                release.name_any()
            )));
        }
        let patch = Patch::Merge(json!({"spec": {"cancel": true}}));
        let changed = cluster
            .releases()
            .patch(&release.name_any(), &params, &patch)
            .await;
        let changed = changed.map_err(|error| cluster.refused(&error, Access::Edit))?;
        object(args.change.output.format, &changed, "is being cancelled")?;
    }
    let Some(deadline) = args.change.wait.begin() else {
        return Ok(());
    };
    for release in open {
        let name = release.name_any();
        let ended = follow(&cluster, cluster.releases(), &name, &deadline, |release| {
            if has_ended(release) {
                Stand::Good
            } else {
                Stand::Waits(release.status.as_ref().map_or_else(String::new, step))
            }
        })
        .await?;
        match phase(&ended) {
            ReleasePhase::Cancelled | ReleasePhase::Superseded => {
                if args.change.output.format.is_none() {
                    say(format!("release.davit.dev/{name} cancelled"))?;
                }
            }
            other => {
                return Err(Failure::new(format!(
                    "release {name} ended as {other:?} before it could be cancelled"
                )));
            }
        }
    }
    Ok(())
}

fn phase(release: &Release) -> ReleasePhase {
    release
        .status
        .as_ref()
        .map(|status| status.phase)
        .unwrap_or_default()
}

fn has_ended(release: &Release) -> bool {
    phase(release).has_ended()
}
