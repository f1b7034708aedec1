//! What is known of the routes and of the proxy. Without I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::linger::Lingering;
use super::observed::Observed;
use crate::model::AppId;
use crate::plan::routes::{Answer, Expiry, NoCertificate, RouteState};
use crate::proxy::{AppRoutes, CertificateState, ObjectState, Parts, Rendered, Settings, router_names};

/// How often the certificates of routes are looked at.
const CERTIFICATES: Duration = Duration::from_hours(1);

/// How long a proxy in a cluster gets to load a new certificate.
const LOADING: Duration = Duration::from_mins(5);

/// The addresses of each Application's replicas.
pub type Servers = BTreeMap<AppId, BTreeSet<String>>;

/// What is known of the routes and of the proxy.
#[derive(Debug, Default)]
pub struct State {
    /// The routes of all Applications.
    pub apps: BTreeMap<AppId, AppRoutes>,
    /// The number of the newest change.
    pub change: u64,
    /// The change with which the routes of an Application, and not only its replicas, became what they are.
    changed_at: BTreeMap<AppId, u64>,
    /// The newest configuration, and the change that it has.
    pub rendered: Option<(Rendered, u64)>,
    /// The Applications as they were rendered.
    parts: Parts,
    /// Whether every Application with routes has reported since the start.
    pub is_complete: bool,
    /// The text of the file.
    pub written: Option<Arc<str>>,
    /// When the present file was written.
    pub written_at: Option<Instant>,
    /// The proxy has loaded the changes up to this one.
    pub loaded: u64,
    /// When the proxy showed that last.
    pub asked: Option<Instant>,
    /// The addresses that the proxy may send requests to; `None` before the proxy has loaded a configuration of this process.
    pub reach: Option<Servers>,
    /// Replicas that the proxy sends no new requests to, and that may still have some under way.
    pub lingering: Lingering,
    /// The routers that the proxy refuses, with its words.
    pub errors: BTreeMap<String, String>,
    /// The objects of routes, if they are objects of a cluster.
    pub shown: Option<BTreeMap<(AppId, usize), Shown>>,
    /// Why the proxy cannot be written or observed.
    pub unreachable: Option<String>,
    /// What a request to each route came to.
    pub answers: BTreeMap<(AppId, usize), Answer>,
    /// When the certificate of each route was looked at.
    looked: BTreeMap<(AppId, usize), Instant>,
    /// Routes whose certificate is another one than before, since then.
    renewed: BTreeMap<(AppId, usize), Instant>,
    /// What each Application was last told.
    pub views: BTreeMap<AppId, Vec<RouteState>>,
    /// Applications that wait for the proxy to let go of a container.
    pub waiting: BTreeSet<AppId>,
}

/// The object of a route in a cluster.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Its state.
    pub state: ObjectState,
    /// Where HTTP and HTTPS are served, if that is known.
    pub entry_points: Option<[SocketAddr; 2]>,
    /// What cert-manager shows of its certificate, if it makes one.
    pub certificate: Option<CertificateState>,
}

impl Shown {
    /// What is known of the route, after this answer. `serves`: it has replicas.
    fn route(&self, answer: Option<Answer>, serves: bool) -> RouteState {
        match &self.state {
            ObjectState::Pending => return RouteState::Pending,
            ObjectState::Refused(why) => return RouteState::RefusedByProxy(why.clone()),
            ObjectState::Accepted { .. } => {}
        }
        let answer = match (answer, &self.certificate) {
            // What a client gets counts, whatever cert-manager is doing.
            (Some(answer @ Answer::Answered { .. }), _) => Some(answer),
            (_, Some(CertificateState::Pending { words, is_refused })) => {
                Some(Answer::DefaultCertificate(NoCertificate::OfManager {
                    words: words.clone(),
                    is_refused: *is_refused,
                }))
            }
            (None, _) if self.entry_points.is_some() && serves => return RouteState::Pending,
            (
                None,
                Some(CertificateState::Issued {
                    not_before,
                    not_after,
                }),
            ) => Some(Answer::Certified {
                expires: Expiry::new(*not_before, *not_after),
            }),
            (answer, _) => answer,
        };
        RouteState::Loaded { answer }
    }
}

/// The routes without their replicas.
fn fixed(routes: &AppRoutes) -> AppRoutes {
    let mut routes = routes.clone();
    for route in &mut routes.routes {
        route.servers.clear();
    }
    routes
}

impl State {
    /// Takes over the routes of an Application. Returns whether anything is different.
    pub fn update(&mut self, routes: AppRoutes) -> bool {
        let app = routes.app.clone();
        let old = self.apps.get(&app);
        if old == Some(&routes) {
            return !self.is_complete;
        }
        self.change += 1;
        self.parts.forget(&app);
        let same = old.is_some_and(|old| fixed(old) == fixed(&routes));
        if !same {
            self.changed_at.insert(app.clone(), self.change);
            self.answers.retain(|(other, _), _| *other != app);
            self.looked.retain(|(other, _), _| *other != app);
        }
        for (index, route) in routes.routes.iter().enumerate() {
            if route.servers.is_empty() {
                self.answers.remove(&(app.clone(), index));
            }
        }
        self.waiting.insert(app.clone());
        self.apps.insert(app, routes);
        true
    }

    /// Removes the routes of an Application. Returns whether there were any.
    pub fn remove(&mut self, app: &AppId) -> bool {
        let existed = self.apps.remove(app).is_some();
        if existed {
            self.change += 1;
            self.changed_at.remove(app);
            self.views.remove(app);
            self.looked.retain(|(other, _), _| other != app);
            self.answers.retain(|(other, _), _| other != app);
            self.waiting.insert(app.clone());
        }
        existed
    }

    /// The proxy may have lost what it had loaded.
    pub fn forget_loaded(&mut self) {
        self.loaded = 0;
        self.answers.clear();
    }

    /// Renders the configuration, unless nothing has changed since.
    pub fn render_changes(&mut self, settings: &Settings) {
        let change = self.change;
        if self.rendered.as_ref().is_none_or(|(_, known)| *known != change) {
            let rendered = self.parts.render(&self.apps, settings);
            self.render(rendered, change);
        }
    }

    /// Takes over a configuration. Routes that become accepted or refused by it count as changed.
    pub fn render(&mut self, rendered: Rendered, change: u64) {
        if let Some((before, _)) = &self.rendered {
            let differs = |app: &AppId, count: usize| {
                (0..count)
                    .any(|index| before.claims.refusal(app, index) != rendered.claims.refusal(app, index))
            };
            for (app, entry) in &self.apps {
                if differs(app, entry.routes.len()) {
                    self.changed_at.insert(app.clone(), change);
                }
            }
        }
        self.rendered = Some((rendered, change));
    }

    /// The addresses of an Application's replicas.
    pub fn servers(&self, app: &AppId) -> BTreeSet<String> {
        let routes = self.apps.get(app).into_iter().flat_map(|entry| &entry.routes);
        let servers = routes.flat_map(|route| &route.servers);
        servers.map(|server| server.address.clone()).collect()
    }

    /// The addresses of the replicas of all Applications.
    pub fn all_servers(&self) -> Servers {
        self.apps
            .keys()
            .map(|app| (app.clone(), self.servers(app)))
            .collect()
    }

    /// The proxy may send requests to these too, from now on.
    pub fn widen_reach(&mut self, servers: &Servers) {
        if let Some(reach) = &mut self.reach {
            for (app, addresses) in servers {
                reach
                    .entry(app.clone())
                    .or_default()
                    .extend(addresses.iter().cloned());
            }
        }
    }

    /// The proxy has loaded a change with these servers.
    pub fn reached(&mut self, change: u64, servers: Servers, now: Instant) {
        self.loaded = change;
        for (app, before) in self.reach.iter().flatten() {
            let gone = before
                .iter()
                .filter(|address| servers.get(app).is_none_or(|servers| !servers.contains(*address)));
            self.lingering.add(Some(app), gone.cloned(), now);
        }
        self.reach = Some(servers);
    }

    /// Takes over what a request to a route came to.
    pub fn answered(&mut self, app: AppId, index: usize, answer: Answer) {
        if !self.apps.contains_key(&app) {
            return;
        }
        let key = (app, index);
        self.looked.remove(&key);
        let is_old = match (
            &answer,
            self.shown
                .as_ref()
                .and_then(|shown| shown.get(&key)?.certificate.as_ref()),
        ) {
            (Answer::Answered { expires: Some(end) }, Some(CertificateState::Issued { not_after, .. })) => {
                end.at != *not_after
            }
            _ => false,
        };
        // The proxy may need some time to load a new one.
        let since = self.renewed.get(&key);
        if !is_old || since.is_none_or(|since| since.elapsed() > LOADING) {
            self.renewed.remove(&key);
        }
        if let Answer::Answered { expires: Some(end) } = &answer {
            self.looked.insert(key.clone(), Instant::now());
            let now = jiff::Timestamp::now().as_second();
            // The look after the one at which it became valid tells that.
            let valid_since = end.from.saturating_add(2 * CERTIFICATES.as_secs().cast_signed());
            if end.soon <= now || valid_since > now {
                // Its report depends on the time.
                self.waiting.insert(key.0.clone());
            }
        }
        self.answers.insert(key, answer);
    }

    /// Takes over the objects of routes. Those whose certificate has changed are requested again.
    pub fn show(&mut self, shown: BTreeMap<(AppId, usize), Shown>) {
        let before = self.shown.take().unwrap_or_default();
        self.renewed.retain(|route, _| shown.contains_key(route));
        for (route, new) in &shown {
            let old = before.get(route);
            if old.is_some_and(|old| old.certificate != new.certificate) {
                self.renewed.insert(route.clone(), Instant::now());
            }
        }
        self.shown = Some(shown);
    }

    /// Whether the proxy has not shown the new certificate of a route yet.
    pub fn awaits_certificate(&self, route: &(AppId, usize)) -> bool {
        self.renewed.contains_key(route)
    }

    /// When the next certificate is to be looked at again.
    pub fn next_look(&self) -> Option<Instant> {
        self.looked.values().min().map(|at| *at + CERTIFICATES)
    }

    /// The routes whose address is to be requested.
    pub fn unanswered(&self) -> Vec<(AppId, usize)> {
        let mut found = Vec::new();
        for (app, entry) in &self.apps {
            for (index, route) in entry.routes.iter().enumerate() {
                let key = (app.clone(), index);
                let accepted = self
                    .rendered
                    .as_ref()
                    .is_some_and(|(rendered, _)| rendered.claims.refusal(app, index).is_none());
                let stale = self
                    .looked
                    .get(&key)
                    .is_some_and(|at| at.elapsed() >= CERTIFICATES)
                    || self.renewed.contains_key(&key);
                let answered = matches!(self.answers.get(&key), Some(Answer::Answered { .. })) && !stale;
                let shown = self
                    .shown
                    .as_ref()
                    .map(|shown| shown.get(&key).and_then(|shown| shown.entry_points));
                if accepted && !route.servers.is_empty() && !answered && shown != Some(None) {
                    found.push(key);
                }
            }
        }
        found
    }

    /// What is known of one route.
    pub fn route(&self, settings: &Settings, observed: &Observed, app: &AppId, index: usize) -> RouteState {
        let changed = self.changed_at.get(app).copied().unwrap_or(u64::MAX);
        let Some((rendered, _)) = self.rendered.as_ref().filter(|(_, change)| *change >= changed) else {
            return match observed.problem.as_ref().or(self.unreachable.as_ref()) {
                Some(why) => RouteState::Unreachable(why.clone()),
                None => RouteState::Pending,
            };
        };
        if let Some(refusal) = rendered.claims.refusal(app, index) {
            return RouteState::Refused(refusal.clone());
        }
        if let Some(why) = observed.problem.as_ref().or(self.unreachable.as_ref()) {
            return RouteState::Unreachable(why.clone());
        }
        if self.loaded < changed {
            return RouteState::Pending;
        }
        let answer = self.answers.get(&(app.clone(), index)).cloned();
        let serves = self
            .apps
            .get(app)
            .and_then(|entry| entry.routes.get(index))
            .is_some_and(|route| !route.servers.is_empty());
        if let Some(shown) = &self.shown {
            let shown = shown.get(&(app.clone(), index));
            return shown.map_or(RouteState::Pending, |shown| shown.route(answer, serves));
        }
        if observed.api.is_none() {
            return if observed.expected {
                RouteState::Pending
            } else {
                RouteState::Unobserved
            };
        }
        // All routes are judged whenever one changes, and the proxy seldom refuses one.
        if !self.errors.is_empty() {
            let names = router_names(settings, app, index);
            if let Some(error) = names.iter().find_map(|name| self.errors.get(name)) {
                return RouteState::RefusedByProxy(error.clone());
            }
        }
        // The first request to it is under way.
        if answer.is_none() && serves && observed.entry_points.is_some() {
            return RouteState::Pending;
        }
        RouteState::Loaded { answer }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Route;
    use crate::proxy::{HostPolicy, Refusal, RouteInput, Server, render};

    fn settings() -> Settings {
        Settings {
            instance: "davit".to_owned(),
            http: "web".to_owned(),
            https: "websecure".to_owned(),
            http_port: None,
            https_port: None,
            api: None,
            resolvers: None,
            by_service: false,
            policy: HostPolicy::default(),
        }
    }

    fn entry(name: &str, created: i64, servers: &[&str]) -> AppRoutes {
        AppRoutes {
            app: AppId::new("ns", name),
            uid: name.to_owned(),
            created,
            allowed: None,
            routes: vec![RouteInput {
                route: Route {
                    host: "x.example.com".to_owned(),
                    path: "/".to_owned(),
                    ..Route::default()
                },
                host: "x.example.com".to_owned(),
                port: Some(3000),
                servers: servers
                    .iter()
                    .map(|address| Server {
                        address: (*address).to_owned(),
                        port: 80,
                    })
                    .collect(),
                health: None,
                users: None,
                certificate: None,
                problem: None,
            }],
        }
    }

    fn observed() -> Observed {
        Observed {
            api: Some(crate::controller::routes::observed::ApiAddress {
                authority: "127.0.0.1:1".to_owned(),
                credential: None,
            }),
            ..Observed::default()
        }
    }

    fn rendered(state: &mut State) {
        state.render_changes(&settings());
        let fresh = render(&state.apps, &settings());
        assert_eq!(state.rendered.as_ref().map(|(known, _)| known), Some(&fresh));
    }

    #[test]
    fn change_of_replicas_alone_leaves_the_route_loaded() {
        let app = AppId::new("ns", "web");
        let mut state = State::default();
        let route = |state: &State| state.route(&settings(), &observed(), &app, 0);
        assert!(state.update(entry("web", 1, &["10.0.0.1"])));
        assert_eq!(route(&state), RouteState::Pending);
        rendered(&mut state);
        state.loaded = state.change;
        assert_eq!(route(&state), RouteState::Loaded { answer: None });
        state.is_complete = true;
        assert!(!state.update(entry("web", 1, &["10.0.0.1"])));
        assert!(state.update(entry("web", 1, &["10.0.0.2"])));
        rendered(&mut state);
        assert_eq!(route(&state), RouteState::Loaded { answer: None });
        let mut other = entry("web", 1, &["10.0.0.2"]);
        other.routes[0].route.compress = true;
        assert!(state.update(other));
        assert_eq!(route(&state), RouteState::Pending);
    }

    #[test]
    fn freed_host_waits_until_the_proxy_has_loaded_it() {
        let (one, two) = (AppId::new("ns", "one"), AppId::new("ns", "two"));
        let mut state = State::default();
        state.update(entry("one", 1, &["10.0.0.1"]));
        state.update(entry("two", 2, &["10.0.0.2"]));
        rendered(&mut state);
        state.loaded = state.change;
        let route = |state: &State| state.route(&settings(), &observed(), &two, 0);
        let conflict = Refusal::Conflict {
            owner: Some("one".to_owned()),
        };
        assert_eq!(route(&state), RouteState::Refused(conflict));
        assert!(state.remove(&one));
        rendered(&mut state);
        assert_eq!(route(&state), RouteState::Pending);
        state.loaded = state.change;
        assert_eq!(route(&state), RouteState::Loaded { answer: None });
    }
}
