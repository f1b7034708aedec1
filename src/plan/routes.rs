//! The routes of an Application: what the reverse proxy gets, and what the status reports.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::api::{
    Application, ApplicationSpec, ApplicationStatus, ConditionType, Port, Reason, ReleaseStatus, Route,
    condition,
};
use crate::error::Problem;
use crate::model::AppId;
use crate::proxy::{AppRoutes, Certificate, Refusal, RouteInput, Server};
use crate::runtime::{Replica, ReplicaState, Running};

/// The values that a route refers to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RouteValues {
    /// Lines of htpasswd.
    pub users: Option<Vec<String>>,
    /// The certificate.
    pub certificate: Option<Certificate>,
    /// What is wrong with a Secret, and the solution.
    pub problem: Option<String>,
}

/// What is known of one route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteState {
    /// It is left out.
    Refused(Refusal),
    /// The proxy has not loaded it yet.
    Pending,
    /// The proxy refuses it with these words.
    RefusedByProxy(String),
    /// The proxy does not answer, or its configuration cannot be written.
    Unreachable(String),
    /// It is written, and the proxy is not observed.
    Unobserved,
    /// The proxy has loaded it.
    Loaded {
        /// Whether an answer was seen at its address. `None`: not observed yet.
        answer: Option<Answer>,
    },
}

/// What a request to the address of a route came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The Application answered.
    Answered {
        /// When the certificate expires, in seconds since 1970.
        expires: Option<i64>,
    },
    /// The proxy has only its default certificate for the host.
    DefaultCertificate,
    /// No answer, or one that the proxy itself gave for a replica that does not answer.
    None(String),
}

/// What the reverse proxy is to this installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProxyView {
    /// The installation has no proxy.
    Missing,
    /// It has one.
    Routes {
        /// The state of each route of the Application, in the order of the spec.
        states: Vec<RouteState>,
        /// The public ports of HTTP and HTTPS, if they are not the usual ones.
        ports: [Option<u16>; 2],
    },
}

/// Returns what the proxy gets of an Application.
pub fn app_routes(
    app: &Application,
    id: &AppId,
    releases: &BTreeMap<String, ReleaseStatus>,
    running: &Running,
    mut values: Vec<RouteValues>,
    allowed: Option<String>,
) -> AppRoutes {
    values.resize(app.spec.routes.len(), RouteValues::default());
    let routes = app.spec.routes.iter().zip(values);
    AppRoutes {
        app: id.clone(),
        uid: app.metadata.uid.clone().unwrap_or_default(),
        created: app
            .metadata
            .creation_timestamp
            .as_ref()
            .map_or(i64::MAX, |time| time.0.as_second()),
        allowed,
        routes: routes
            .map(|(route, values)| input(route, &app.spec, releases, running, values))
            .collect(),
    }
}

fn input(
    route: &Route,
    spec: &ApplicationSpec,
    releases: &BTreeMap<String, ReleaseStatus>,
    running: &Running,
    values: RouteValues,
) -> RouteInput {
    let mut problem = values.problem;
    let host = route.ascii_host().unwrap_or_else(|| {
        problem = Some(format!("host {:?} is not a host name", route.host));
        String::new()
    });
    if let Err(why) = route.port_number(&spec.ports) {
        problem = problem.or(Some(format!("port {why}")));
    }
    let serving = running.replicas.iter().filter(|replica| is_serving(replica));
    let servers = serving.filter_map(|replica| {
        // While a port changes, each replica has that of its own Release.
        let recorded = releases.get(&replica.release).and_then(recorded_ports);
        let ports = recorded.as_deref().unwrap_or(&spec.ports);
        let port = route
            .port_number(ports)
            .or_else(|_| route.port_number(&spec.ports));
        Some(Server {
            address: replica.address.clone()?,
            port: port.ok()?,
        })
    });
    RouteInput {
        servers: servers.collect(),
        route: route.clone(),
        host,
        users: values.users,
        certificate: values.certificate,
        problem,
    }
}

/// Whether a replica gets requests: it has been seen healthy, and is not about to be stopped.
fn is_serving(replica: &Replica) -> bool {
    replica.state == ReplicaState::Healthy && replica.serving && !replica.draining && !replica.leaving
}

fn recorded_ports(release: &ReleaseStatus) -> Option<Vec<Port>> {
    let ports = release.config.as_ref()?.0.get("ports")?;
    serde_json::from_value(ports.clone()).ok()
}

/// Reports the routes of an Application in `RoutesReady` and `status.urls`, if it has routes.
pub fn report(
    app: &Application,
    proxy: &ProxyView,
    running: &Result<Running, Problem>,
    status: &mut ApplicationStatus,
    now: Timestamp,
) {
    if app.spec.routes.is_empty() || app.metadata.deletion_timestamp.is_some() {
        condition::remove(&mut status.conditions, ConditionType::RoutesReady);
        return;
    }
    let (ready, reason, message) = judge(app, proxy, running);
    if let ProxyView::Routes { states, ports } = proxy {
        let answering = app.spec.routes.iter().zip(states).filter(|(_, state)| {
            matches!(
                state,
                RouteState::Loaded {
                    answer: Some(Answer::Answered { .. })
                }
            )
        });
        let urls: Vec<String> = answering.filter_map(|(route, _)| route.url(*ports)).collect();
        // The public addresses come first.
        status.urls.splice(0..0, urls);
    }
    let generation = app.metadata.generation.unwrap_or(1);
    condition::set(
        &mut status.conditions,
        ConditionType::RoutesReady,
        ready,
        reason,
        &message,
        generation,
        now,
    );
    status
        .conditions
        .sort_by_key(|condition| super::application_status::order(&condition.type_));
}

/// The first route that does not work decides.
fn judge(
    app: &Application,
    proxy: &ProxyView,
    running: &Result<Running, Problem>,
) -> (Option<bool>, Reason, String) {
    let states = match proxy {
        ProxyView::Missing => {
            let message = "this Davit has no reverse proxy, so spec.routes has no effect: start davit with --traefik, or with \
                           --traefik-config DIRECTORY beside a Traefik of yours";
            return (Some(false), Reason::ProxyMissing, message.to_owned());
        }
        ProxyView::Routes { states, .. } => states,
    };
    let all = || app.spec.routes.iter().zip(states).enumerate();
    let at = |index: usize, route: &Route| format!("spec.routes[{index}] {}{}", route.host, route.prefix());
    let first = |rank: u8| all().find(|(_, (_, state))| self::rank(state) == rank);
    for number in 0..LAST {
        if let Some((index, (route, state))) = first(number) {
            return verdict(&at(index, route), route, state);
        }
    }
    if app.spec.stopped {
        let message =
            "no replica runs, because spec.stopped is true; the reverse proxy answers 503".to_owned();
        return (Some(false), Reason::Stopped, message);
    }
    let serving = running
        .as_ref()
        .is_ok_and(|running| running.replicas.iter().any(is_serving));
    if !serving {
        let message = "no replica is healthy; the reverse proxy answers 503 until one is".to_owned();
        return (Some(false), Reason::RouteHasNoReplica, message);
    }
    for number in LAST..=ANSWERED {
        if let Some((index, (route, state))) = first(number) {
            return verdict(&at(index, route), route, state);
        }
    }
    (Some(true), Reason::RoutesReady, String::new())
}

/// The states before this one do not depend on replicas.
const LAST: u8 = 4;
const ANSWERED: u8 = 8;

/// The order in which states are reported.
fn rank(state: &RouteState) -> u8 {
    match state {
        RouteState::Refused(_) => 0,
        RouteState::Unreachable(_) => 1,
        RouteState::RefusedByProxy(_) => 2,
        RouteState::Pending => 3,
        RouteState::Loaded {
            answer: Some(Answer::None(_)),
        } => 4,
        RouteState::Loaded {
            answer: Some(Answer::DefaultCertificate),
        } => 5,
        RouteState::Loaded { answer: None } => 6,
        RouteState::Unobserved => 7,
        RouteState::Loaded {
            answer: Some(Answer::Answered { .. }),
        } => 8,
    }
}

fn verdict(at: &str, route: &Route, state: &RouteState) -> (Option<bool>, Reason, String) {
    let no = |reason, message: String| (Some(false), reason, message);
    match state {
        RouteState::Refused(Refusal::Conflict { owner }) => {
            let owner = match owner {
                Some(name) => format!("the older Application {name}"),
                None => "an older Application of another namespace".to_owned(),
            };
            no(
                Reason::RouteConflict,
                format!("{at}: {owner} has it: set another host, or remove the other route"),
            )
        }
        RouteState::Refused(Refusal::NotAllowed { by_namespace }) => {
            let limit = if *by_namespace {
                "the annotation davit.dev/allowed-hosts of its namespace"
            } else {
                "--allowed-hosts"
            };
            no(
                Reason::RouteNotAllowed,
                format!("{at}: {limit} does not contain the host: set another one, or ask an administrator to add it"),
            )
        }
        RouteState::Refused(Refusal::PatternsInvalid(why)) => no(
            Reason::RouteNotAllowed,
            format!("{at}: the annotation davit.dev/allowed-hosts of the namespace: {why}"),
        ),
        RouteState::Refused(Refusal::CertificateOfOthers { name }) => no(
            Reason::RouteInvalid,
            format!(
                "{at}: the certificate in tls.secretRef is also for {name}, which an Application of another namespace has: use a \
                 certificate without it"
            ),
        ),
        RouteState::Refused(Refusal::Problem(why)) => no(Reason::RouteInvalid, format!("{at}: {why}")),
        RouteState::Unreachable(why) => (None, Reason::ProxyUnreachable, format!("{at}: {why}")),
        RouteState::RefusedByProxy(why) => no(
            Reason::RouteRefused,
            format!("{at}: Traefik refuses it: {why}: correct the route"),
        ),
        RouteState::Pending => (
            None,
            Reason::RoutePending,
            format!("{at}: Traefik has not loaded it yet"),
        ),
        RouteState::Loaded {
            answer: Some(Answer::None(why)),
        } => no(
            Reason::RouteHasNoReplica,
            format!("{at}: a request to it got no answer of the Application: {why}"),
        ),
        RouteState::Loaded {
            answer: Some(Answer::DefaultCertificate),
        } => {
            let resolver = route.tls.as_ref().and_then(|tls| tls.cert_resolver.as_deref());
            let solution = match resolver {
                Some(resolver) => format!(
                    "resolver {resolver} has not got one: the name must resolve to this machine and its port 80 must be reachable \
                     from the Internet; the log of Traefik names the refusal"
                ),
                None => "set tls.certResolver or tls.secretRef, or give Traefik a certificate for the host".to_owned(),
            };
            no(
                Reason::CertificatePending,
                format!("{at}: Traefik has no certificate for it: {solution}"),
            )
        }
        RouteState::Loaded { answer: None } => (
            Some(true),
            Reason::RoutesReady,
            "Traefik has loaded all routes".to_owned(),
        ),
        RouteState::Unobserved => (
            None,
            Reason::RouteUnobserved,
            "the routes are in the file for Traefik; whether it has loaded them is not known: start davit with --traefik-api URL"
                .to_owned(),
        ),
        RouteState::Loaded {
            answer: Some(Answer::Answered { .. }),
        } => (
            Some(true),
            Reason::RoutesReady,
            "Traefik has loaded all routes, and the Application answers at each".to_owned(),
        ),
    }
}
