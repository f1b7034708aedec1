//! The task that writes the configuration and observes that the proxy has loaded it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use kube::ResourceExt as _;
use serde::Deserialize;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::client::{Client, Failure};
use super::observed::Observed;
use super::state::State;
use super::{Routes, answers, connections, file};
use crate::model::AppId;
use crate::plan::routes::{Answer, NoCertificate};
use crate::proxy::marker;

/// How soon the proxy is asked whether it has loaded a file, and how seldom at last.
const ASK: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(2));
/// How long a proxy that is not observed gets to load a file: it reads at most every 2 s.
const UNOBSERVED: Duration = Duration::from_secs(4);
/// From when on a proxy that has not loaded the file is reported.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a proxy is looked at: a user may have removed it, or it may have died.
const HOST: Duration = Duration::from_secs(30);
/// The pauses between attempts, such as requests to addresses that do not answer.
pub(super) const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));

/// How many addresses are requested at the same time.
const REQUESTS: usize = 8;

/// How a look at the proxy ended.
enum Look {
    Loaded(BTreeMap<String, String>),
    Unobserved,
    /// A newer change is to be written first.
    Overtaken,
    Unreachable(String),
}

impl Routes {
    /// Writes and observes until the process ends. `listed` is cancelled when all Applications are in the cache.
    pub async fn run(self: Arc<Self>, listed: CancellationToken) {
        listed.cancelled().await;
        if let Some(cluster) = &self.cluster {
            return self.run_in_cluster(cluster).await;
        }
        let mut pause = RETRY.0;
        let mut again: Option<Instant> = None;
        loop {
            let looked = async {
                let due = self.state.lock().lingering.due();
                match due {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.changed.notified() => pause = RETRY.0,
                () = self.retry_due(again) => pause = (pause * 2).min(RETRY.1),
                () = looked => {
                    self.look().await;
                    continue;
                }
            }
            again = None;
            if !self.is_complete() {
                continue;
            }
            let done = self.step().await;
            self.wake_changed();
            if !done {
                again = Some(Instant::now() + pause);
            }
        }
    }

    /// Waits until something is to be tried again, or the proxy or the certificates of routes are to be looked at.
    pub(super) async fn retry_due(&self, again: Option<Instant>) {
        let due = match again {
            None if self.host.is_some() => return tokio::time::sleep(HOST).await,
            None => {
                let has_api = self.observed().api.is_some();
                let state = self.state.lock();
                // Without routes it does not matter whether the proxy lives.
                let soon = (has_api && !state.apps.is_empty()).then(|| Instant::now() + HOST);
                state.next_look().into_iter().chain(soon).min()
            }
            again => again,
        };
        match due {
            Some(at) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    /// Whether every Application with routes has reported since the start.
    pub(super) fn is_complete(&self) -> bool {
        let mut state = self.state.lock();
        if !state.is_complete {
            state.is_complete = self.applications.state().iter().all(|app| {
                let id = AppId::new(app.namespace().unwrap_or_default(), app.name_any());
                app.spec.routes.is_empty()
                    || app.metadata.deletion_timestamp.is_some()
                    || state.apps.contains_key(&id)
            });
        }
        state.is_complete
    }

    /// Writes, observes and requests what is due. Returns false if something is to be tried again.
    async fn step(&self) -> bool {
        if !self.ensure_host().await {
            return false;
        }
        let (text, version, change, servers) = {
            let mut state = self.state.lock();
            let change = state.change;
            state.render_changes(&self.options.settings);
            let servers = state.all_servers();
            state.widen_reach(&servers);
            let Some((rendered, _)) = &state.rendered else {
                return true;
            };
            (rendered.text.clone(), rendered.version.clone(), change, servers)
        };
        if let Err(why) = self.write(text).await {
            self.state.lock().unreachable = Some(why);
            return false;
        }
        let has_api = self.observed().api.is_some();
        let is_due = is_to_be_asked(&self.state.lock(), change, has_api);
        if is_due {
            match self.observe(&version).await {
                Look::Overtaken => {
                    self.changed.notify_one();
                    return true;
                }
                Look::Unreachable(why) => {
                    let mut state = self.state.lock();
                    state.unreachable = Some(why);
                    // Another one that is started has loaded nothing yet.
                    state.forget_loaded();
                    return false;
                }
                Look::Loaded(errors) => self.loaded(change, servers, errors).await,
                Look::Unobserved => self.loaded(change, servers, BTreeMap::new()).await,
            }
            // Rollouts that wait for this go on before the first requests.
            self.wake_changed();
        }
        let none_refused = self.state.lock().errors.is_empty();
        let observed = self.observed();
        let Some(entry_points) = observed.entry_points else {
            return none_refused;
        };
        self.request(Some(entry_points)).await && none_refused
    }

    /// Lets a proxy of Davit's own run, and reach all replicas before it gets their addresses.
    async fn ensure_host(&self) -> bool {
        let Some(host) = &self.host else { return true };
        let found = host.ensure(&self.namespaces()).await;
        let runs = found.is_ok();
        let new = found.unwrap_or_else(|why| Observed {
            problem: Some(why),
            expected: true,
            ..Observed::default()
        });
        let mut observed = self.options.observed.lock();
        if *observed != new {
            // Another proxy, or one that was started again, has loaded nothing yet.
            if let Some(why) = &new.problem {
                tracing::warn!("the reverse proxy does not run: {why}");
            }
            *observed = new;
            drop(observed);
            self.state.lock().forget_loaded();
        }
        runs
    }

    pub(super) fn observed(&self) -> Observed {
        self.options.observed.lock().clone()
    }

    async fn loaded(&self, change: u64, servers: super::state::Servers, errors: BTreeMap<String, String>) {
        let is_first = self.state.lock().reach.is_none();
        // Requests that were under way when Davit started may go to replicas that the file of before had already left out.
        let under_way = if is_first {
            self.connected(true).await
        } else {
            None
        };
        let mut state = self.state.lock();
        let now = Instant::now();
        let under_way = under_way.into_iter().flatten().map(|address| address.to_string());
        let is_served = |address: &String| servers.values().any(|servers| servers.contains(address));
        let under_way: Vec<String> = under_way.filter(|address| !is_served(address)).collect();
        state.lingering.add(None, under_way, now);
        state.reached(change, servers, now);
        state.errors = errors;
        state.unreachable = None;
        state.asked = Some(now);
    }

    /// The addresses that the proxy has connections to.
    async fn connected(&self, v6: bool) -> Option<BTreeSet<IpAddr>> {
        let process = self.observed().process;
        tokio::task::spawn_blocking(move || connections::read(process, v6))
            .await
            .ok()
            .flatten()
    }

    /// Lets go of replicas that have no requests under way any longer.
    async fn look(&self) {
        // Traefik connects to an address of IPv4 by a socket of IPv4.
        let v6 = self
            .state
            .lock()
            .lingering
            .addresses()
            .any(|address| address.contains(':'));
        let connected = self.connected(v6).await;
        let mut state = self.state.lock();
        let free = state.lingering.look(connected.as_ref(), Instant::now());
        let all = free
            .contains(&None)
            .then(|| state.apps.keys().cloned().collect::<Vec<_>>());
        drop(state);
        for app in free.into_iter().flatten().chain(all.into_iter().flatten()) {
            let _ = self.wake.send(app);
        }
    }

    /// Writes the file if it differs.
    async fn write(&self, text: Arc<str>) -> Result<(), String> {
        let path = self.options.file.clone();
        {
            let mut state = self.state.lock();
            if state.written.is_none() {
                state.written = file::read(&path).map(Arc::from);
                state.written_at = Some(Instant::now());
            }
            if state.written.as_ref() == Some(&text) && path.exists() {
                return Ok(());
            }
        }
        let written = Arc::clone(&text);
        let place = path.clone();
        let result = tokio::task::spawn_blocking(move || file::write(&place, &written)).await;
        match result {
            Ok(Ok(())) => {
                let mut state = self.state.lock();
                state.written = Some(text);
                state.written_at = Some(Instant::now());
                tracing::debug!(path = %path.display(), "wrote the configuration of the reverse proxy");
                Ok(())
            }
            Ok(Err(error)) => Err(format!(
                "{} cannot be written: {error}: create the directory, let Davit write to it, or free space",
                path.display()
            )),
            Err(error) => Err(format!("{} was not written: {error}", path.display())),
        }
    }

    /// Waits until the proxy has loaded a version.
    async fn observe(&self, version: &str) -> Look {
        let name = marker(&self.options.settings, version);
        let begun = Instant::now();
        let mut pause = ASK.0;
        loop {
            let observed = self.observed();
            if let Some(why) = observed.problem {
                return Look::Unreachable(why);
            }
            let why = match &observed.api {
                None if observed.expected => "its address is not known yet".to_owned(),
                None => {
                    tokio::select! {
                        () = tokio::time::sleep(UNOBSERVED) => return Look::Unobserved,
                        () = self.changed.notified() => return Look::Overtaken,
                    }
                }
                Some(api) => match self.ask(&Client::new(api), &name).await {
                    Ok(Some(errors)) => return Look::Loaded(errors),
                    Ok(None) => {
                        let path = self.options.file.display();
                        format!(
                            "it has not loaded {path}: the log of Traefik names the reason; its file provider must watch that directory"
                        )
                    }
                    Err(Failure::Refused(status)) => {
                        format!("its API answers {status}: set user and password in --traefik-api")
                    }
                    Err(Failure::Unreachable(why)) => {
                        format!(
                            "its API at {} does not answer ({why}): start Traefik",
                            api.authority
                        )
                    }
                },
            };
            if begun.elapsed() > PATIENCE {
                return Look::Unreachable(format!("Traefik cannot be observed: {why}"));
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(ASK.1),
                () = self.changed.notified() => return Look::Overtaken,
            }
        }
    }

    /// Asks the API for the marker of a version. Returns the routers that are refused, if the version is loaded.
    async fn ask(
        &self,
        client: &Client<'_>,
        name: &str,
    ) -> Result<Option<BTreeMap<String, String>>, Failure> {
        let found = client.get(&format!("/api/http/middlewares/{name}@file")).await?;
        if found.is_none() {
            return Ok(None);
        }
        let own = format!("{}_", self.options.settings.instance);
        let mut errors = BTreeMap::new();
        for status in ["disabled", "warning"] {
            let path = format!("/api/http/routers?status={status}&per_page=10000&search={own}");
            let listed = client.get(&path).await?.unwrap_or_default();
            let routers: Vec<ApiRouter> = serde_json::from_slice(&listed).unwrap_or_default();
            for router in routers {
                let name = router.name.split('@').next().unwrap_or_default().to_owned();
                errors.insert(name, router.error.join("; "));
            }
        }
        Ok(Some(errors))
    }

    /// Requests the addresses that have not answered yet. Returns whether all do now; a change of the routes comes first.
    pub(super) async fn request(&self, entry_points: Option<[SocketAddr; 2]>) -> bool {
        let due = self.state.lock().unanswered();
        let answers = due
            .into_iter()
            .map(|(app, index)| self.request_one(entry_points, app, index));
        let mut answers = futures::stream::iter(answers).buffer_unordered(REQUESTS);
        let mut complete = true;
        loop {
            tokio::select! {
                biased;
                () = self.changed.notified() => {
                    self.changed.notify_one();
                    return true;
                }
                answer = answers.next() => match answer {
                    Some(answered) => complete &= answered,
                    None => return complete,
                },
            }
        }
    }

    /// Requests the address of a route, and returns whether it answers.
    async fn request_one(&self, entry_points: Option<[SocketAddr; 2]>, app: AppId, index: usize) -> bool {
        let place = {
            let state = self.state.lock();
            let shown = state
                .shown
                .as_ref()
                .and_then(|shown| shown.get(&(app.clone(), index)));
            let entry_points = entry_points.or(shown.and_then(|shown| shown.entry_points));
            let entry = state.apps.get(&app).and_then(|entry| entry.routes.get(index));
            entry.zip(entry_points).map(|(entry, entry_points)| {
                let tls = entry.route.tls.as_ref();
                answers::Place {
                    entry_point: entry_points[usize::from(tls.is_some())],
                    host: entry.host.clone(),
                    path: entry.route.prefix().to_owned(),
                    tls: tls.is_some(),
                    has_resolver: self.cluster.is_none()
                        && tls.is_some_and(|tls| tls.cert_resolver.is_some()),
                    is_loaded: self.options.observed.lock().api.is_some(),
                    health: entry.health.clone(),
                }
            })
        };
        let Some(place) = place else { return true };
        let mut answer = answers::request(&place).await;
        if place.has_resolver
            && let Answer::DefaultCertificate(why) = &mut answer
            && let Some(hosting) = &self.host
            && let Some(words) = hosting.refusal(&place.host).await
        {
            *why = NoCertificate::Refused(words);
        }
        let answered = matches!(answer, Answer::Answered { .. });
        let mut state = self.state.lock();
        state.answered(app.clone(), index, answer);
        answered && !state.awaits_certificate(&(app, index))
    }
}

/// Reports whether the proxy is to be asked which configuration it has.
fn is_to_be_asked(state: &State, change: u64, has_api: bool) -> bool {
    // It may have died since it was asked.
    let is_stale = has_api && !state.apps.is_empty() && state.asked.is_none_or(|at| at.elapsed() >= HOST);
    // A user may have given the proxy what a refused route lacked, which changes nothing here.
    state.loaded < change || !state.errors.is_empty() || state.unreachable.is_some() || is_stale
}

/// A router as the API shows it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ApiRouter {
    name: String,
    error: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::AppRoutes;

    #[tokio::test(start_paused = true)]
    async fn proxy_is_asked_again_although_nothing_changes() {
        let app = AppId::new("ns", "web");
        let mut state = State::default();
        state.loaded = 1;
        state.asked = Some(Instant::now());
        let routes = AppRoutes {
            app: app.clone(),
            uid: "1".to_owned(),
            created: 0,
            allowed: None,
            routes: Vec::new(),
        };
        state.apps.insert(app, routes);
        assert!(!is_to_be_asked(&state, 1, true));
        assert!(is_to_be_asked(&state, 2, true));
        tokio::time::advance(HOST).await;
        assert!(is_to_be_asked(&state, 1, true));
        assert!(!is_to_be_asked(&state, 1, false));
        state.unreachable = Some("it died".to_owned());
        assert!(is_to_be_asked(&state, 1, false));
        state.unreachable = None;
        state.apps.clear();
        assert!(!is_to_be_asked(&state, 1, true));
    }
}
