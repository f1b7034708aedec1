//! Records deliveries on Applications. Deliveries that arrive for one Application while an earlier one is being recorded are
//! recorded together, so that a flood of them costs few writes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::oneshot;

use crate::api::{Application, DELIVERY, Delivery, MANAGER, PULL_REQUESTS_AT, REQUESTED_AT};
use crate::error::chain;
use crate::model::AppId;

/// The least time between two writes to one Application.
const SPACING: Duration = Duration::from_millis(20);

/// What waits for an Application that is being written to.
#[derive(Default)]
struct Waiting {
    delivery: Option<Delivery>,
    /// Whether the pull requests have to be looked at.
    pull_requests: bool,
    callers: Vec<oneshot::Sender<Result<(), String>>>,
}

/// Writes the annotations. Clones share the queue.
#[derive(Clone)]
pub struct Recorder {
    client: Client,
    waiting: Arc<Mutex<HashMap<AppId, Waiting>>>,
    last: Arc<Mutex<Timestamp>>,
}

impl Recorder {
    /// Has recorded nothing yet.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            waiting: Arc::default(),
            last: Arc::new(Mutex::new(Timestamp::UNIX_EPOCH)),
        }
    }

    /// Records a delivery, or a later one of the same Application in its place. Returns when it is stored. An Application
    /// that was deleted meanwhile needs no record.
    ///
    /// # Errors
    /// The API server does not answer or refuses.
    pub async fn record(&self, app: &AppId, delivery: Delivery) -> Result<(), String> {
        self.add(app, |entry| {
            // A request to look does not hide a commit that is about to be recorded.
            if delivery.revision.is_some() || entry.delivery.is_none() {
                entry.delivery = Some(delivery);
            }
        })
        .await
    }

    /// Records that the pull requests have to be looked at.
    ///
    /// # Errors
    /// As [`Self::record`].
    pub async fn record_pull_request(&self, app: &AppId) -> Result<(), String> {
        self.add(app, |entry| entry.pull_requests = true).await
    }

    async fn add(&self, app: &AppId, add: impl FnOnce(&mut Waiting)) -> Result<(), String> {
        let (caller, answer) = oneshot::channel();
        let starts = {
            let mut waiting = self.waiting.lock();
            let starts = !waiting.contains_key(app);
            let entry = waiting.entry(app.clone()).or_default();
            add(entry);
            entry.callers.push(caller);
            starts
        };
        if starts {
            // The delivery is recorded even if its sender closes the connection.
            tokio::spawn(self.clone().write(app.clone()));
        }
        answer
            .await
            .unwrap_or_else(|_| Err("the process stops".to_owned()))
    }

    /// Writes until nothing waits for the Application.
    async fn write(self, app: AppId) {
        loop {
            let taken = {
                let mut waiting = self.waiting.lock();
                let taken = waiting.get_mut(&app).map(std::mem::take);
                let Some(taken) = taken.filter(|taken| taken.delivery.is_some() || taken.pull_requests)
                else {
                    waiting.remove(&app);
                    return;
                };
                taken
            };
            let result = self.patch(&app, &taken).await;
            for caller in taken.callers {
                let _ = caller.send(result.clone());
            }
            tokio::time::sleep(SPACING).await;
        }
    }

    async fn patch(&self, app: &AppId, taken: &Waiting) -> Result<(), String> {
        let now = self.unique_time().to_string();
        let mut annotations = json!({});
        if let Some(delivery) = &taken.delivery {
            let text = serde_json::to_string(delivery).map_err(|error| error.to_string())?;
            let [requested, _] = REQUESTED_AT;
            annotations[requested] = json!(now);
            annotations[DELIVERY] = json!(text);
        }
        if taken.pull_requests {
            annotations[PULL_REQUESTS_AT] = json!(now);
        }
        let patch = json!({"metadata": {"annotations": annotations}});
        let params = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let api: Api<Application> = Api::namespaced(self.client.clone(), &app.namespace);
        match api.patch_metadata(&app.name, &params, &Patch::Merge(patch)).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(chain(&error)),
        }
    }

    /// Now, or the moment after the last result.
    fn unique_time(&self) -> Timestamp {
        let mut last = self.last.lock();
        let next = last
            .checked_add(jiff::SignedDuration::from_nanos(1))
            .unwrap_or(*last);
        *last = Timestamp::now().max(next);
        *last
    }
}
