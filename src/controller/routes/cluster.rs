//! Keeps the objects of routes in a cluster: one task applies those that differ, deletes those of no route, and takes over
//! their states from one watch.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::pin;

use futures::StreamExt as _;
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::{GroupVersionKind, PartialObjectMeta};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use serde_json::Value;
use tokio::time::Instant;

use super::Routes;
use super::follow::RETRY;
use super::state::Shown;
use crate::controller::problem::cluster_problem;
use crate::model::AppId;
use crate::model::labels::{MANAGER, all, is_ours};
use crate::proxy::{
    Claims, Frontend, ObjectState, Refusal, Rendered, addresses, listener_port, objects, observed,
};
use crate::runtime::subset;

/// The ports at which an Ingress is served.
const PORTS: [u16; 2] = [80, 443];

/// The cluster that has the objects.
pub struct Cluster {
    /// Its API server.
    pub client: Client,
    /// What routes become there.
    pub frontend: Frontend,
}

/// Namespace and name of an object.
type Key = (String, String);

/// An object that is wanted.
struct Wanted {
    app: AppId,
    index: usize,
    /// Whether it is the one that serves the route.
    serves: bool,
    object: Value,
}

/// The objects that exist, from a watch.
#[derive(Default)]
struct Found {
    objects: BTreeMap<Key, Value>,
    listed: BTreeMap<Key, Value>,
    is_listed: bool,
}

impl Found {
    fn take(&mut self, event: watcher::Event<DynamicObject>) {
        let entry = |mut object: DynamicObject| {
            object.metadata.managed_fields = None;
            let meta = &object.metadata;
            let key = (
                meta.namespace.clone().unwrap_or_default(),
                meta.name.clone().unwrap_or_default(),
            );
            (key, serde_json::to_value(&object).unwrap_or_default())
        };
        match event {
            watcher::Event::Init => self.listed.clear(),
            watcher::Event::InitApply(object) => self.listed.extend([entry(object)]),
            watcher::Event::InitDone => {
                self.objects = std::mem::take(&mut self.listed);
                self.is_listed = true;
            }
            watcher::Event::Apply(object) => self.objects.extend([entry(object)]),
            watcher::Event::Delete(object) => {
                self.objects.remove(&entry(object).0);
            }
        }
    }
}

impl Cluster {
    fn resource(&self) -> ApiResource {
        let [group, version, kind, plural] = self.frontend.resource();
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
    }

    fn api(&self, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, &self.resource())
    }

    /// Applies an object. The outer error is one of the API server, the inner one of this object.
    async fn apply(&self, key: &Key, wanted: &Wanted, is_known: bool) -> Result<Result<(), String>, String> {
        let (namespace, name) = key;
        let kind = self.frontend.resource()[2];
        let api = self.api(namespace);
        if !is_known {
            let found = api.get_metadata_opt(name).await;
            let found: Option<PartialObjectMeta<DynamicObject>> = found.map_err(|error| words(&error))?;
            if found.is_some_and(|found| !is_ours(&found.metadata, &wanted.app)) {
                return Ok(Err(format!(
                    "{kind} {name} exists and is not Davit's: delete or rename it"
                )));
            }
        }
        let params = PatchParams::apply(MANAGER).force();
        match api
            .patch_metadata(name, &params, &Patch::Apply(&wanted.object))
            .await
        {
            Ok(_) => Ok(Ok(())),
            Err(kube::Error::Api(status)) if matches!(status.code, 400 | 422) => Ok(Err(status.message)),
            Err(error) => Err(words(&error)),
        }
    }

    async fn delete(&self, key: &Key) -> Result<(), String> {
        let (namespace, name) = key;
        match self.api(namespace).delete(name, &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(words(&error)),
            Ok(_) => Ok(()),
        }
    }

    /// Returns the Gateway, if routes are attached to one.
    async fn gateway(&self) -> Result<Option<Value>, String> {
        let Frontend::Gateway(gateway) = &self.frontend else {
            return Ok(None);
        };
        let kind = GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "Gateway");
        let resource = ApiResource::from_gvk_with_plural(&kind, "gateways");
        let api = Api::<DynamicObject>::namespaced_with(self.client.clone(), &gateway.namespace, &resource);
        match api.get_opt(&gateway.name).await.map_err(|error| words(&error))? {
            Some(found) => Ok(serde_json::to_value(&found).ok()),
            None => Err(format!(
                "Gateway {}/{} does not exist: create it, or start davit with another --gateway",
                gateway.namespace, gateway.name
            )),
        }
    }

    /// Where HTTP and HTTPS of an object are served.
    async fn entry_points(&self, addresses: &[String], gateway: Option<&Value>) -> Option<[SocketAddr; 2]> {
        let ports = match (&self.frontend, gateway) {
            (Frontend::Gateway(names), Some(gateway)) => {
                let port = |listener: &str| listener_port(gateway, listener);
                // A Gateway may serve only one of both.
                let (http, https) = (port(&names.http), port(&names.https));
                [http.or(https)?, https.or(http)?]
            }
            _ => PORTS,
        };
        let found = tokio::net::lookup_host((addresses.first()?.as_str(), ports[0])).await;
        let address = found.ok()?.next()?.ip();
        Some(ports.map(|port| SocketAddr::new(address, port)))
    }
}

/// What the API server answers, in words, with the solution if it is known.
fn words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.code == 404 => {
            "the cluster does not have this kind: install the CRDs of the Gateway API".to_owned()
        }
        kube::Error::Api(status) if status.code == 403 => {
            format!("{}: apply manifests/components/routes", status.message)
        }
        error => cluster_problem("keep the objects of routes", error).message,
    }
}

impl Routes {
    pub(super) async fn run_in_cluster(&self, cluster: &Cluster) {
        let everywhere = Api::<DynamicObject>::all_with(cluster.client.clone(), &cluster.resource());
        let config = watcher::Config::default().labels(&all());
        let mut watch = pin!(watcher(everywhere, config).default_backoff());
        let mut found = Found::default();
        let mut pause = RETRY.0;
        let mut again: Option<Instant> = None;
        loop {
            tokio::select! {
                event = watch.next() => match event {
                    Some(Ok(event)) => found.take(event),
                    Some(Err(error)) => {
                        let why = match &error {
                            watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error) => {
                                words(error)
                            }
                            error => crate::error::chain(error),
                        };
                        self.state.lock().unreachable = Some(why);
                        self.wake_changed();
                        continue;
                    }
                    None => return,
                },
                () = self.changed.notified() => pause = RETRY.0,
                () = self.retry_due(again) => pause = (pause * 2).min(RETRY.1),
            }
            again = None;
            if !found.is_listed || !self.is_complete() {
                continue;
            }
            let done = match self.keep(cluster, &found.objects).await {
                Ok(complete) => {
                    self.wake_changed();
                    let done = self.request(None).await;
                    self.wake_changed();
                    done && complete
                }
                Err(why) => {
                    self.state.lock().unreachable = Some(why);
                    self.wake_changed();
                    false
                }
            };
            if !done {
                again = Some(Instant::now() + pause);
            }
        }
    }

    /// The objects of all accepted routes.
    fn wanted(&self, cluster: &Cluster) -> (BTreeMap<Key, Wanted>, u64) {
        let mut state = self.state.lock();
        let change = state.change;
        let mut claims = Claims::new(&state.apps, &self.options.settings.policy);
        let mut wanted = BTreeMap::new();
        for (app, entry) in &state.apps {
            for (index, input) in entry.routes.iter().enumerate() {
                if claims.refusal(app, index).is_some() {
                    continue;
                }
                match objects(&cluster.frontend, app, &entry.uid, index, input) {
                    Ok(list) => wanted.extend(list.into_iter().enumerate().map(|(number, object)| {
                        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                        let (app, serves) = (app.clone(), number == 0);
                        (
                            (app.namespace.clone(), name),
                            Wanted {
                                app,
                                index,
                                serves,
                                object,
                            },
                        )
                    })),
                    Err(why) => claims.refuse(app, index, Refusal::Problem(why)),
                }
            }
        }
        if state.rendered.as_ref().is_none_or(|(_, known)| *known != change) {
            state.render(
                Rendered {
                    claims,
                    ..Rendered::default()
                },
                change,
            );
        }
        (wanted, change)
    }

    /// Applies what differs, deletes what no route wants, and takes over the states. Returns whether all
    /// objects could be applied, and the Gateway has an address.
    async fn keep(&self, cluster: &Cluster, found: &BTreeMap<Key, Value>) -> Result<bool, String> {
        let (wanted, change) = self.wanted(cluster);
        let mut refused = BTreeMap::new();
        for (key, it) in &wanted {
            let there = found.get(key);
            let same = there.is_some_and(|there| {
                ["metadata", "spec"]
                    .iter()
                    .all(|part| subset::contains(&there[part], &it.object[part]))
            });
            if !same && let Err(why) = cluster.apply(key, it, there.is_some()).await? {
                refused.insert((it.app.clone(), it.index), why);
            }
        }
        for key in found.keys().filter(|key| !wanted.contains_key(*key)) {
            cluster.delete(key).await?;
        }
        let complete = refused.is_empty();
        let gateway = if wanted.is_empty() {
            None
        } else {
            cluster.gateway().await?
        };
        // Its addresses may come later, and it is not watched.
        let complete = complete
            && gateway
                .as_ref()
                .is_none_or(|gateway| !addresses(gateway).is_empty());
        let mut shown = BTreeMap::new();
        for (key, it) in wanted.iter().filter(|(_, it)| it.serves) {
            let route = (it.app.clone(), it.index);
            let state = match (refused.remove(&route), found.get(key)) {
                (Some(why), _) => ObjectState::Refused(why),
                (None, Some(object)) => observed(&cluster.frontend, object),
                (None, None) => ObjectState::Pending,
            };
            let entry_points = match &state {
                ObjectState::Accepted { addresses: own } => {
                    let of_gateway = gateway.as_ref().map(addresses);
                    cluster
                        .entry_points(of_gateway.as_ref().unwrap_or(own), gateway.as_ref())
                        .await
                }
                ObjectState::Pending | ObjectState::Refused(_) => None,
            };
            shown.insert(route, Shown { state, entry_points });
        }
        let mut state = self.state.lock();
        state.shown = Some(shown);
        state.loaded = change;
        state.unreachable = None;
        Ok(complete)
    }
}
