//! Events of a Swarm: it sends none about tasks, so they are polled.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Weak;
use std::time::Duration;

use bollard::models::TaskState;
use bollard::query_parameters::ListTasksOptions;

use super::{Inner, labels_of};
use crate::model::AppId;
use crate::runtime::RuntimeError;
use crate::runtime::docker::errors;
use crate::runtime::docker::labels::app_of;

/// How often the tasks are looked at: Swarm sends no events about tasks.
const POLL: Duration = Duration::from_secs(2);

impl Inner {
    /// A summary of each Application's service and tasks, which changes when they do.
    async fn summaries(&self) -> Result<BTreeMap<AppId, String>, RuntimeError> {
        let services = self.services(&self.names.instance_labels()).await?;
        let listed = self.docker.list_tasks(None::<ListTasksOptions>).await;
        let tasks = listed.map_err(|refusal| errors::error("list tasks", &refusal))?;
        let mut summaries = BTreeMap::new();
        for service in services {
            let Some(app) = app_of(&labels_of(&service)) else {
                continue;
            };
            let version = service.version.as_ref().and_then(|version| version.index);
            let mut lines: Vec<String> = tasks
                .iter()
                .filter(|task| task.service_id == service.id)
                .map(|task| {
                    let state = task.status.as_ref().and_then(|status| status.state);
                    let settled = state.filter(|state| *state != TaskState::REMOVE);
                    format!("{:?} {settled:?} {:?}", task.id, task.desired_state)
                })
                .collect();
            lines.sort();
            summaries.insert(app, format!("{version:?} {lines:?}"));
        }
        Ok(summaries)
    }

    /// Polls the Swarm and sends an event for each Application whose tasks changed.
    pub(super) async fn poll(inner: Weak<Self>) {
        let mut before: Option<BTreeMap<AppId, String>> = None;
        loop {
            let Some(strong) = inner.upgrade() else { return };
            match strong.summaries().await {
                Ok(now) => {
                    strong.hub.connected(true);
                    if let Some(before) = &before {
                        let apps: BTreeSet<&AppId> = before.keys().chain(now.keys()).collect();
                        for app in apps {
                            if before.get(app) != now.get(app) {
                                strong.hub.changed(app.clone());
                            }
                        }
                    }
                    before = Some(now);
                }
                Err(error) => {
                    tracing::debug!(%error, "the Swarm does not answer");
                    strong.hub.connected(false);
                    before = None;
                }
            }
            drop(strong);
            tokio::time::sleep(POLL).await;
        }
    }
}
