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

use crate::api::{Application, DELIVERY, Delivery, MANAGER, REQUESTED_AT};
use crate::error::chain;
use crate::model::AppId;

/// The least time between two writes to one Application.
const SPACING: Duration = Duration::from_millis(20);

/// What waits for an Application that is being written to.
#[derive(Default)]
struct Waiting {
    delivery: Option<Delivery>,
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
        let (caller, answer) = oneshot::channel();
        let starts = {
            let mut waiting = self.waiting.lock();
            let starts = !waiting.contains_key(app);
            let entry = waiting.entry(app.clone()).or_default();
            // A request to look does not hide a commit that is about to be recorded.
            if delivery.revision.is_some() || entry.delivery.is_none() {
                entry.delivery = Some(delivery);
            }
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
            let (delivery, callers) = {
                let mut waiting = self.waiting.lock();
                let taken = waiting.get_mut(&app).map(std::mem::take);
                let Some(Waiting {
                    delivery: Some(delivery),
                    callers,
                }) = taken
                else {
                    waiting.remove(&app);
                    return;
                };
                (delivery, callers)
            };
            let result = self.patch(&app, &delivery).await;
            for caller in callers {
                let _ = caller.send(result.clone());
            }
            tokio::time::sleep(SPACING).await;
        }
    }

    async fn patch(&self, app: &AppId, delivery: &Delivery) -> Result<(), String> {
        let text = serde_json::to_string(delivery).map_err(|error| error.to_string())?;
        let [requested, _] = REQUESTED_AT;
        let patch =
            json!({"metadata": {"annotations": {requested: self.unique_time().to_string(), DELIVERY: text}}});
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
