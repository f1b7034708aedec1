//! What bears our labels and has no owner any more is swept: it was left behind by a crash or by a deletion that Davit
//! did not see.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;

use kube::Api;

use crate::api::Application;
use crate::error::chain;
use crate::model::AppId;

use super::Ctx;

/// UIDs of Applications whose containers were left to run without an owner (`deletionPolicy: Orphan`): a file each.
#[derive(Clone, Debug)]
pub struct Orphans {
    dir: PathBuf,
}

impl Orphans {
    /// Kept in `dir`, which is made when it is first needed.
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Remembers one.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn add(&self, uid: &str) -> io::Result<()> {
        std::fs::create_dir_all(&self.dir)?;
        std::fs::File::create(self.dir.join(uid))?.sync_all()
    }

    /// True where it is remembered.
    pub fn has(&self, uid: &str) -> bool {
        !uid.is_empty() && self.dir.join(uid).exists()
    }
}

/// Removes what no Application owns: called once the engine answers and the Applications are known.
pub async fn sweep(ctx: &Ctx) {
    let found = match ctx.runtime.apps().await {
        Ok(found) => found,
        Err(error) => {
            tracing::warn!(error = %chain(&error), "what runs could not be listed; it is swept later");
            return;
        }
    };
    let api: Api<Application> = Api::all(ctx.client.clone());
    let owners: HashMap<AppId, String> = match api.list(&kube::api::ListParams::default()).await {
        Ok(list) => list.items.into_iter().filter_map(owner).collect(),
        Err(error) => {
            tracing::warn!(error = %chain(&error), "the Applications could not be listed; nothing is swept");
            return;
        }
    };
    for (app, uid) in found {
        if owners.get(&app) == Some(&uid) || ctx.orphans.has(&uid) {
            continue;
        }
        if owners.contains_key(&app) {
            continue; // A namesake: its own rollout removes what is not its own.
        }
        tracing::info!(%app, uid, "removing what no Application owns");
        if let Err(error) = ctx.runtime.remove(&app, false).await {
            tracing::warn!(%app, error = %chain(&error), "could not be removed");
        }
    }
}

fn owner(app: Application) -> Option<(AppId, String)> {
    Some((
        AppId::new(app.metadata.namespace?, app.metadata.name?),
        app.metadata.uid?,
    ))
}
