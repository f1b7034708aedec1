//! Keeps the configuration of the reverse proxy, or the objects of routes in a cluster: reconciles report routes and replicas, one task writes the file, waits until
//! the proxy has loaded it, and requests every new address once.
//!
//! Exists only if this Davit has a reverse proxy. Until every Application with routes was reconciled after a start, the file
//! of before stays: a part of all routes would take the others away.

mod access;
mod answers;
mod client;
mod cluster;
mod connections;
mod file;
mod follow;
mod limits;
mod linger;
mod observed;
mod state;
mod traffic;
pub mod values;
mod watched;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kube::Client;
use kube::runtime::reflector::Store;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::dereference::Reader;
use crate::api::{Application, Route};
use crate::error::Problem;
use crate::model::AppId;
use crate::plan::routes::{ProxyView, RouteState, RouteValues, TRAEFIK};
use crate::proxy::{AppRoutes, Settings};
use crate::redact::Secret;
use crate::runtime::{LogOptions, Routed};
pub use cluster::Cluster;
pub use observed::{AccessLines, ApiAddress, Observed};
use state::State;

/// How long containers wait for a proxy that does not show that it has loaded the configuration without them.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// Where the configuration goes, and how the proxy is observed.
#[derive(Clone, Debug)]
pub struct ProxyOptions {
    /// How the proxy is set up.
    pub settings: Settings,
    /// The file.
    pub file: PathBuf,
    /// Where the proxy is observed, if it is.
    pub observed: Arc<Mutex<Observed>>,
}

/// The place where a proxy of Davit's own runs.
#[async_trait]
pub trait ProxyHost: Send + Sync {
    /// Starts the proxy if it does not run, and lets it reach these namespaces. Returns its addresses.
    ///
    /// # Errors
    /// Why it does not run, and the solution.
    async fn ensure(&self, namespaces: &BTreeSet<String>) -> Result<Observed, String>;

    /// Returns the access log of the proxy, with other lines of its log.
    ///
    /// # Errors
    /// The proxy has no access log: the reason and the solution.
    async fn access_log(&self, options: &LogOptions) -> Result<AccessLines, String>;

    /// Returns the last words of the proxy's log about a certificate for this host that was refused.
    async fn refusal(&self, host: &str) -> Option<String>;
}

/// The routes of all Applications on their way into the proxy.
pub struct Routes {
    options: ProxyOptions,
    host: Option<Arc<dyn ProxyHost>>,
    cluster: Option<Cluster>,
    state: Mutex<State>,
    changed: Notify,
    wake: mpsc::UnboundedSender<AppId>,
    applications: Store<Application>,
    started: Instant,
    hashes: values::Hashes,
    traffic: observed::NewestRequests,
    limits: limits::Limits,
}

impl Routes {
    /// Nothing is written before [`Self::run`].
    pub fn new(
        options: ProxyOptions,
        host: Option<Arc<dyn ProxyHost>>,
        cluster: Option<Cluster>,
        wake: mpsc::UnboundedSender<AppId>,
        applications: Store<Application>,
    ) -> Self {
        Self {
            options,
            host,
            cluster,
            state: Mutex::default(),
            changed: Notify::new(),
            wake,
            applications,
            started: Instant::now(),
            hashes: values::Hashes::default(),
            traffic: observed::NewestRequests::default(),
            limits: limits::Limits::default(),
        }
    }

    /// Takes over the routes and replicas of an Application.
    pub fn update(&self, routes: AppRoutes) {
        if self.state.lock().update(routes) {
            self.changed.notify_one();
        }
    }

    /// Reads what routes refer to.
    ///
    /// # Errors
    /// The API server does not answer.
    pub async fn values(
        &self,
        routes: &[Route],
        reader: &Reader,
        key: &Secret,
    ) -> Result<Vec<RouteValues>, Problem> {
        values::read(routes, reader, &self.hashes, key).await
    }

    /// Returns the hosts that a namespace is limited to.
    ///
    /// # Errors
    /// The API server does not answer.
    pub async fn allowed_hosts(&self, client: &Client, namespace: &str) -> Result<Option<String>, Problem> {
        let (known, changes) = self.limits.known(namespace);
        if let Some(limits::Limit(known)) = known {
            return Ok(known);
        }
        let hosts = values::allowed_hosts(client, namespace).await?;
        self.limits.keep(namespace, hosts.clone(), changes);
        Ok(hosts)
    }

    /// The labels or annotations of a namespace have changed.
    pub fn namespace_changed(&self, namespace: &str) {
        self.limits.forget(namespace);
    }

    /// Removes the routes of an Application.
    pub fn remove(&self, app: &AppId) {
        let mut state = self.state.lock();
        // What is not known yet may complete the first configuration.
        if state.remove(app) || !state.is_complete {
            self.changed.notify_one();
        }
    }

    /// Returns what is known of the routes of an Application.
    pub fn view(&self, app: &AppId, count: usize) -> ProxyView {
        let observed = self.options.observed.lock().clone();
        let state = self.state.lock();
        let settings = &self.options.settings;
        ProxyView::Routes {
            states: (0..count)
                .map(|index| state.route(settings, &observed, app, index))
                .collect(),
            ports: [settings.http_port, settings.https_port],
            proxy: self
                .cluster
                .as_ref()
                .map_or(TRAEFIK, |cluster| cluster.frontend.name()),
        }
    }

    /// The namespaces with routes.
    fn namespaces(&self) -> BTreeSet<String> {
        let state = self.state.lock();
        state.apps.keys().map(|app| app.namespace.clone()).collect()
    }

    /// Returns the containers of an Application that the proxy may send requests to.
    pub fn routed(&self, app: &AppId, has_routes: bool) -> Routed {
        let state = self.state.lock();
        match &state.reach {
            Some(reach) => {
                let waited_enough = state.written_at.is_some_and(|at| at.elapsed() > LONGEST_WAIT);
                let stale = |addresses: &BTreeSet<String>| {
                    let now = state.servers(app);
                    // What was taken out long ago is not waited for any longer.
                    addresses
                        .iter()
                        .filter(|address| !waited_enough || now.contains(*address))
                        .cloned()
                        .collect()
                };
                let mut addresses = reach.get(app).map_or_else(BTreeSet::new, stale);
                // Those that the next file has, and those with requests under way.
                addresses.extend(state.servers(app));
                addresses.extend(state.lingering.addresses().cloned());
                if addresses.is_empty() {
                    Routed::None
                } else {
                    Routed::Addresses(addresses)
                }
            }
            None if !has_routes || self.started.elapsed() > LONGEST_WAIT => Routed::None,
            None => Routed::Any,
        }
    }

    /// Sends every Application whose routes are in another state than before to its reconcile.
    fn wake_changed(&self) {
        let observed = self.options.observed.lock().clone();
        let mut state = self.state.lock();
        let apps: Vec<(AppId, usize)> = state
            .apps
            .iter()
            .map(|(app, entry)| (app.clone(), entry.routes.len()))
            .collect();
        let mut waiting = if state.loaded >= state.change {
            std::mem::take(&mut state.waiting)
        } else {
            BTreeSet::new()
        };
        for (app, count) in apps {
            let view: Vec<RouteState> = (0..count)
                .map(|index| state.route(&self.options.settings, &observed, &app, index))
                .collect();
            if state.views.get(&app) != Some(&view) {
                state.views.insert(app.clone(), view);
                waiting.insert(app);
            }
        }
        for app in waiting {
            let _ = self.wake.send(app);
        }
    }
}
