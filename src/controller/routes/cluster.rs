//! Keeps the objects of routes in a cluster: one task applies those that differ, deletes those of no route, and takes over
//! their states from one watch.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::{GroupVersionKind, PartialObjectMeta};
use kube::runtime::watcher;
use kube::{Api, Client};
use serde_json::Value;
use tokio::time::Instant;

use super::Routes;
use super::follow::RETRY;
use super::state::Shown;
use super::watched::{Key, Watched};
use crate::controller::problem::cluster_problem;
use crate::model::AppId;
use crate::model::labels::{MANAGER, all, is_ours};
use crate::proxy::{
    CERTIFICATES, CertificateState, Claims, Frontend, Gateway, ObjectState, Refusal, Rendered, addresses,
    certificate_name, certificate_state, listener_port, objects, observed,
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

/// An object that is wanted.
struct Wanted {
    app: AppId,
    index: usize,
    /// Whether it is the one that serves the route.
    serves: bool,
    object: Value,
}

/// What the cluster shows. The Gateway and Certificates are watched only while routes need them.
#[derive(Default)]
struct Seen {
    objects: Watched,
    gateway: Watched,
    certificates: Watched,
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

    fn has_gateway(&self) -> bool {
        matches!(self.frontend, Frontend::Gateway(_))
    }

    /// All objects of a kind that have Davit's label; cert-manager copies it from an Ingress to its Certificate.
    fn everywhere(&self, [group, version, kind, plural]: [&str; 4]) -> (Api<DynamicObject>, watcher::Config) {
        let kind = GroupVersionKind::gvk(group, version, kind);
        let resource = ApiResource::from_gvk_with_plural(&kind, plural);
        let api = Api::<DynamicObject>::all_with(self.client.clone(), &resource);
        (api, watcher::Config::default().labels(&all()))
    }

    fn one_gateway(&self, gateway: &Gateway) -> (Api<DynamicObject>, watcher::Config) {
        let kind = GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "Gateway");
        let resource = ApiResource::from_gvk_with_plural(&kind, "gateways");
        let api = Api::<DynamicObject>::namespaced_with(self.client.clone(), &gateway.namespace, &resource);
        let config = watcher::Config::default().fields(&format!("metadata.name={}", gateway.name));
        (api, config)
    }

    /// Returns the Gateway; `None` if routes are not attached to one, or before it is known.
    fn gateway<'w>(&self, seen: &'w Watched) -> Result<Option<&'w Value>, String> {
        let Frontend::Gateway(gateway) = &self.frontend else {
            return Ok(None);
        };
        let Some(objects) = seen.objects().map_err(words)? else {
            return Ok(None);
        };
        match objects.get(&(gateway.namespace.clone(), gateway.name.clone())) {
            Some(found) => Ok(Some(found)),
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
        let mut seen = Seen::default();
        let mut pause = RETRY.0;
        let mut again: Option<Instant> = None;
        loop {
            seen.objects
                .start(|| cluster.everywhere(cluster.frontend.resource()));
            tokio::select! {
                () = seen.objects.changed() => {}
                () = seen.gateway.changed() => {}
                () = seen.certificates.changed() => {}
                () = self.changed.notified() => pause = RETRY.0,
                () = self.retry_due(again) => {
                    pause = (pause * 2).min(RETRY.1);
                    for watched in [&mut seen.objects, &mut seen.gateway, &mut seen.certificates] {
                        watched.renew();
                    }
                }
            }
            again = None;
            if !self.is_complete() {
                continue;
            }
            let done = match self.keep(cluster, &mut seen).await {
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
    /// objects could be applied.
    async fn keep(&self, cluster: &Cluster, seen: &mut Seen) -> Result<bool, String> {
        let Some(found) = seen.objects.objects().map_err(words)? else {
            return Ok(true);
        };
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
        match &cluster.frontend {
            Frontend::Gateway(gateway) if !wanted.is_empty() => {
                seen.gateway.start(|| cluster.one_gateway(gateway));
            }
            Frontend::Gateway(_) | Frontend::Ingress { .. } => seen.gateway.stop(),
        }
        if wanted.values().any(|it| certificate_name(&it.object).is_some()) {
            seen.certificates.start(|| cluster.everywhere(CERTIFICATES));
        } else {
            seen.certificates.stop();
        }
        let gateway = cluster.gateway(&seen.gateway)?;
        let mut shown = BTreeMap::new();
        for (key, it) in wanted.iter().filter(|(_, it)| it.serves) {
            let route = (it.app.clone(), it.index);
            let state = match (refused.remove(&route), found.get(key)) {
                (Some(why), _) => ObjectState::Refused(why),
                (None, Some(_)) if gateway.is_none() && cluster.has_gateway() => ObjectState::Pending,
                (None, Some(object)) => observed(&cluster.frontend, object),
                (None, None) => ObjectState::Pending,
            };
            let entry_points = match &state {
                ObjectState::Accepted { addresses: own } => {
                    let of_gateway = gateway.map(addresses);
                    cluster
                        .entry_points(of_gateway.as_ref().unwrap_or(own), gateway)
                        .await
                }
                ObjectState::Pending | ObjectState::Refused(_) => None,
            };
            let certificate =
                certificate_name(&it.object).map(|name| issued(&seen.certificates, &it.app.namespace, name));
            shown.insert(
                route,
                Shown {
                    state,
                    entry_points,
                    certificate,
                },
            );
        }
        let mut state = self.state.lock();
        state.show(shown);
        state.loaded = change;
        state.unreachable = None;
        Ok(complete)
    }
}

/// What cert-manager shows of a certificate.
fn issued(certificates: &Watched, namespace: &str, name: &str) -> CertificateState {
    let problem = |words: String| CertificateState::Pending {
        words,
        is_refused: false,
    };
    match certificates.objects() {
        Ok(Some(found)) => certificate_state(name, found.get(&(namespace.to_owned(), name.to_owned()))),
        Ok(None) => problem("the Certificates of cert-manager are being read".to_owned()),
        Err(kube::Error::Api(status)) if status.code == 404 => {
            problem("the cluster has no cert-manager: install it, or remove tls.certResolver".to_owned())
        }
        Err(kube::Error::Api(status)) if status.code == 403 => {
            problem(format!("{}: apply manifests/components/routes", status.message))
        }
        Err(error) => problem(cluster_problem("read the Certificates of cert-manager", error).message),
    }
}
