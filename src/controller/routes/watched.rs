//! Objects of a cluster, from a watch that runs only while they are needed.

use std::collections::BTreeMap;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use kube::Api;
use kube::api::DynamicObject;
use kube::runtime::{WatchStreamExt as _, watcher};
use serde_json::Value;

/// Namespace and name of an object.
pub type Key = (String, String);

/// What a watch has shown.
#[derive(Default)]
pub struct Watched {
    stream: Option<BoxStream<'static, watcher::Result<watcher::Event<DynamicObject>>>>,
    objects: BTreeMap<Key, Value>,
    arriving: BTreeMap<Key, Value>,
    is_listed: bool,
    problem: Option<kube::Error>,
    /// The objects were listed, and the watch for their changes was refused: no event would show that it works again.
    is_blind: bool,
}

impl Watched {
    /// Starts the watch if it does not run.
    pub fn start(&mut self, place: impl FnOnce() -> (Api<DynamicObject>, watcher::Config)) {
        if self.stream.is_none() {
            let (api, config) = place();
            self.stream = Some(watcher(api, config).default_backoff().boxed());
        }
    }

    /// Ends the watch, and forgets what it has shown.
    pub fn stop(&mut self) {
        if self.stream.is_some() {
            *self = Self::default();
        }
    }

    /// Ends a watch that would not show any change, so that it can be started again.
    pub fn renew(&mut self) {
        if self.is_blind {
            self.stop();
        }
    }

    /// Returns the objects; `None` before all are known.
    ///
    /// # Errors
    /// Why they cannot be listed or watched.
    pub fn objects(&self) -> Result<Option<&BTreeMap<Key, Value>>, &kube::Error> {
        match &self.problem {
            Some(problem) => Err(problem),
            None => Ok(self.is_listed.then_some(&self.objects)),
        }
    }

    /// Waits for the next change; for ever if the watch does not run.
    pub async fn changed(&mut self) {
        let Some(stream) = &mut self.stream else {
            return std::future::pending().await;
        };
        while let Some(event) = stream.next().await {
            match event {
                Ok(watcher::Event::Init) => self.arriving.clear(),
                Ok(watcher::Event::InitApply(object)) => self.arriving.extend([entry(object)]),
                Ok(watcher::Event::InitDone) => {
                    self.objects = std::mem::take(&mut self.arriving);
                    self.is_listed = true;
                    self.problem = None;
                    return;
                }
                Ok(watcher::Event::Apply(object)) => {
                    self.objects.extend([entry(object)]);
                    return;
                }
                Ok(watcher::Event::Delete(object)) => {
                    self.objects.remove(&entry(object).0);
                    return;
                }
                Err(watcher::Error::InitialListFailed(error)) => {
                    self.problem = Some(error);
                    return;
                }
                Err(watcher::Error::WatchStartFailed(error)) => {
                    self.problem = Some(error);
                    self.is_blind = true;
                    return;
                }
                // The watch begins again by itself.
                Err(_) => {}
            }
        }
        std::future::pending::<()>().await;
    }
}

fn entry(mut object: DynamicObject) -> (Key, Value) {
    object.metadata.managed_fields = None;
    let meta = &object.metadata;
    let key = (
        meta.namespace.clone().unwrap_or_default(),
        meta.name.clone().unwrap_or_default(),
    );
    (key, serde_json::to_value(&object).unwrap_or_default())
}
