//! Removes containers and networks with Davit's labels whose Application does not exist, after a crash or a deletion that
//! Davit missed.

use std::collections::HashSet;
use std::time::Duration;

use kube::Api;

use crate::api::Application;
use crate::error::chain;
use crate::model::AppId;

use super::context::Context;
use super::uploads;

/// The pause between two looks at what is stopping.
const PAUSE: Duration = Duration::from_secs(1);

/// How often it is looked at: longer than the grace that anybody gives a container, an hour.
const ROUNDS: usize = 3700;

/// Removes what no Application owns: called once the engine answers and the Applications are known. What is still
/// stopping is asked for again until nothing is left of it.
pub async fn sweep(ctx: &Context) {
    ctx.pulls.recover(&*ctx.tools.builder).await;
    uploads::collect_all(ctx).await;
    let found = match ctx.runtime.apps().await {
        Ok(found) => found,
        Err(error) => {
            tracing::warn!(error = %chain(&error), "what runs could not be listed; it is swept later");
            return;
        }
    };
    let mut left: Vec<(AppId, String)> = found
        .into_iter()
        .filter(|(_, uid)| !ctx.orphans.has(uid))
        .collect();
    for round in 0..ROUNDS {
        // Looked at in each round: a namesake that came meanwhile removes by its own rollout what is not its own.
        let Some(owners) = owners(ctx).await else { return };
        left.retain(|(app, _)| !owners.contains(&app.owner()));
        let mut stopping = Vec::new();
        for (app, uid) in left {
            if round == 0 {
                tracing::info!(%app, uid, "removing what no Application owns");
            }
            match ctx.runtime.remove(&app, false).await {
                Ok(true) => {}
                Ok(false) => stopping.push((app, uid)),
                Err(error) => tracing::warn!(%app, error = %chain(&error), "could not be removed"),
            }
        }
        if stopping.is_empty() {
            return;
        }
        left = stopping;
        tokio::time::sleep(PAUSE).await;
    }
    tracing::warn!(
        apps = left.len(),
        "what no Application owns does not stop; it is swept later"
    );
}

/// Returns the existing Applications, or `None` if they cannot be listed.
async fn owners(ctx: &Context) -> Option<HashSet<AppId>> {
    let api: Api<Application> = Api::all(ctx.client.clone());
    match api.list(&kube::api::ListParams::default()).await {
        Ok(list) => Some(list.items.into_iter().filter_map(id).collect()),
        Err(error) => {
            tracing::warn!(error = %chain(&error), "the Applications could not be listed; nothing is swept");
            None
        }
    }
}

fn id(app: Application) -> Option<AppId> {
    Some(AppId::new(app.metadata.namespace?, app.metadata.name?))
}
