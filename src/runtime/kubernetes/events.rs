//! Changes of the objects of this runtime, from watches of those with its label only. No object is kept: of each only a
//! digest of what matters.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Weak;

use futures::stream::{self, BoxStream, Stream, StreamExt as _};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, Secret, Service};
use kube::core::PartialObjectMeta;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Inner, names, observe};
use crate::error::chain;
use crate::model::AppId;

/// The kind of the watch, and what it reports.
type Told = (usize, Event);

enum Event {
    /// Something that matters of an Application's objects changed.
    Changed(AppId),
    /// The API server answers.
    Connected,
    /// All objects are known.
    Listed,
    /// The API server does not answer.
    Lost,
}

/// The watches, in the order of their numbers.
const WATCHES: usize = 5;

impl Inner {
    fn watches(&self) -> impl Stream<Item = Told> + Send + use<> {
        let client = &self.client;
        let all: [BoxStream<'static, Event>; WATCHES] = [
            changes(Api::<Pod>::all(client.clone()), of_pod).boxed(),
            changes(Api::<Deployment>::all(client.clone()), of_deployment).boxed(),
            changes(Api::<Job>::all(client.clone()), of_job).boxed(),
            changes(Api::<Service>::all(client.clone()), |service| {
                digest(&(&service.spec, &service.metadata.labels))
            })
            .boxed(),
            // By their metadata: the content cannot change.
            changes(Api::<PartialObjectMeta<Secret>>::all(client.clone()), |secret| {
                digest(&secret.metadata.labels)
            })
            .boxed(),
        ];
        let numbered = all
            .into_iter()
            .enumerate()
            .map(|(number, watch)| watch.map(move |event| (number, event)).boxed());
        stream::select_all(numbered)
    }

    /// Follows the watches, and sends an event for each Application whose objects changed.
    pub(super) async fn follow(inner: Weak<Self>) {
        let Some(strong) = inner.upgrade() else { return };
        let mut watches = strong.watches();
        drop(strong);
        let mut listed = HashSet::new();
        while let Some((number, event)) = watches.next().await {
            let Some(strong) = inner.upgrade() else { return };
            match event {
                Event::Changed(app) => strong.hub.changed(app),
                Event::Listed => {
                    listed.insert(number);
                    strong.hub.connected(listed.len() == WATCHES);
                }
                Event::Connected => strong.hub.connected(listed.len() == WATCHES),
                Event::Lost => strong.hub.connected(false),
            }
        }
    }
}

/// The changes of the objects of one kind whose `mark` is another one than before, and of those that are gone. What is
/// created is no change: Davit created it.
fn changes<K>(api: Api<K>, mark: impl Fn(&K) -> u64 + Send + 'static) -> impl Stream<Item = Event> + Send
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + 'static,
{
    let mut known: HashMap<String, (AppId, u64)> = HashMap::new();
    let mut found: HashSet<String> = HashSet::new();
    let mut begun = false;
    watcher(api, watcher::Config::default().labels(&names::all()))
        .default_backoff()
        .map(move |event| {
            let mut events = Vec::new();
            let take = |object: K, known: &mut HashMap<String, (AppId, u64)>| {
                let meta = object.meta();
                let (Some(uid), Some(app)) = (meta.uid.clone(), names::app_of(meta)) else {
                    return None;
                };
                let mut hasher = DefaultHasher::new();
                mark(&object).hash(&mut hasher);
                meta.deletion_timestamp.is_some().hash(&mut hasher);
                let mark = hasher.finish();
                let before = known.insert(uid.clone(), (app.clone(), mark));
                let changed = before.is_some_and(|(_, before)| before != mark);
                Some((uid, app, changed))
            };
            match event {
                Ok(watcher::Event::Init) => found.clear(),
                Ok(watcher::Event::InitApply(object)) => {
                    if let Some((uid, app, changed)) = take(object, &mut known) {
                        found.insert(uid);
                        if changed {
                            events.push(Event::Changed(app));
                        }
                    }
                }
                Ok(watcher::Event::InitDone) => {
                    let gone: Vec<String> = known
                        .keys()
                        .filter(|uid| !found.contains(*uid))
                        .cloned()
                        .collect();
                    for uid in gone {
                        events.extend(known.remove(&uid).map(|(app, _)| Event::Changed(app)));
                    }
                    found = HashSet::new();
                    events.push(if begun { Event::Connected } else { Event::Listed });
                    begun = true;
                }
                Ok(watcher::Event::Apply(object)) => {
                    if let Some((_, app, true)) = take(object, &mut known) {
                        events.push(Event::Changed(app));
                    }
                }
                Ok(watcher::Event::Delete(object)) => {
                    let gone = object.meta().uid.as_ref().and_then(|uid| known.remove(uid));
                    events.extend(gone.map(|(app, _)| Event::Changed(app)));
                }
                Err(watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error)) => {
                    tracing::debug!(error = %chain(&error), "the API server does not answer a watch");
                    events.push(Event::Lost);
                }
                // The watch begins again by itself.
                Err(error) => tracing::debug!(error = %chain(&error), "a watch ended"),
            }
            stream::iter(events)
        })
        .flatten()
}

fn digest(value: &impl Serialize) -> u64 {
    let mut hasher = DefaultHasher::new();
    serde_json::to_string(value).unwrap_or_default().hash(&mut hasher);
    hasher.finish()
}

/// What of a Pod matters: not the times of its conditions.
fn of_pod(pod: &Pod) -> u64 {
    let mut hasher = DefaultHasher::new();
    observe::phase(pod).hash(&mut hasher);
    observe::condition(pod, "Ready").hash(&mut hasher);
    observe::condition(pod, "PodScheduled").hash(&mut hasher);
    if let Some(status) = observe::status(pod) {
        (status.ready, status.started, status.restart_count).hash(&mut hasher);
        if let Some(state) = &status.state {
            (state.running.is_some(), state.terminated.is_some()).hash(&mut hasher);
            let waiting = state.waiting.as_ref();
            waiting
                .map(|waiting| (&waiting.reason, &waiting.message))
                .hash(&mut hasher);
        }
    }
    hasher.finish()
}

fn of_deployment(deployment: &Deployment) -> u64 {
    let mut hasher = DefaultHasher::new();
    deployment.metadata.generation.hash(&mut hasher);
    if let Some(status) = &deployment.status {
        (
            status.observed_generation,
            status.replicas,
            status.updated_replicas,
            status.available_replicas,
        )
            .hash(&mut hasher);
        let failure = status
            .conditions
            .iter()
            .flatten()
            .find(|it| it.type_.as_deref() == Some("ReplicaFailure"));
        failure
            .map(|failure| (&failure.status, &failure.reason))
            .hash(&mut hasher);
    }
    hasher.finish()
}

fn of_job(job: &Job) -> u64 {
    let mut hasher = DefaultHasher::new();
    job.metadata.generation.hash(&mut hasher);
    if let Some(status) = &job.status {
        (status.active, status.failed, status.succeeded).hash(&mut hasher);
        observe::has_ended(job).hash(&mut hasher);
    }
    hasher.finish()
}
