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
        /// The end of the certificate, over TLS.
        expires: Option<Expiry>,
    },
    /// The proxy has only its default certificate for the host.
    DefaultCertificate(NoCertificate),
    /// No answer, or one that the proxy itself gave for a replica that does not answer.
    None(String),
}

/// The end of a certificate, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// When it expires.
    pub at: i64,
    /// From when on it should have been renewed.
    pub soon: i64,
}

impl Expiry {
    /// The end of a certificate of this time: Traefik renews one of 90 days 30 days before its end, and shorter ones later.
    pub fn new(not_before: i64, not_after: i64) -> Self {
        const LONGEST: i64 = 14 * 24 * 60 * 60;
        let lifetime = not_after.saturating_sub(not_before);
        Self {
            at: not_after,
            soon: not_after.saturating_sub(LONGEST.min(lifetime / 5)),
        }
    }
}

/// Why a resolver has no certificate, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoCertificate {
    /// Not known.
    Unknown,
    /// The name leads elsewhere, in words.
    Elsewhere(String),
    /// The words of the certificate authority.
    Refused(String),
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
        /// Its name in messages.
        proxy: &'static str,
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
    let port = route.port_number(&spec.ports);
    if let Err(why) = &port {
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
        port: port.ok(),
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
    let (ready, reason, message) = judge(app, proxy, running, now);
    if let ProxyView::Routes { states, ports, .. } = proxy {
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

/// Reports whether an address of the Application may be seen to answer soon.
pub fn is_loading(proxy: &ProxyView) -> bool {
    let ProxyView::Routes { states, .. } = proxy else {
        return false;
    };
    states
        .iter()
        .any(|state| matches!(state, RouteState::Pending | RouteState::Loaded { answer: None }))
}

/// The first route that does not work decides.
fn judge(
    app: &Application,
    proxy: &ProxyView,
    running: &Result<Running, Problem>,
    now: Timestamp,
) -> (Option<bool>, Reason, String) {
    let (states, proxy) = match proxy {
        ProxyView::Missing => {
            let message = "this Davit has no reverse proxy, so spec.routes has no effect: start davit with --traefik, or with \
                           --traefik-config DIRECTORY beside a Traefik of yours, or in a cluster with --routes";
            return (Some(false), Reason::ProxyMissing, message.to_owned());
        }
        ProxyView::Routes { states, proxy, .. } => (states, *proxy),
    };
    let all = || app.spec.routes.iter().zip(states).enumerate();
    let at = |index: usize, route: &Route| format!("spec.routes[{index}] {}{}", route.host, route.prefix());
    let first = |rank: u8| all().find(|(_, (_, state))| self::rank(state, now) == rank);
    for number in 0..LAST {
        if let Some((index, (route, state))) = first(number) {
            return verdict(&at(index, route), route, state, (proxy, now));
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
            return verdict(&at(index, route), route, state, (proxy, now));
        }
    }
    (Some(true), Reason::RoutesReady, String::new())
}

/// The states before this one do not depend on replicas.
const LAST: u8 = 4;
const ANSWERED: u8 = 9;

/// The order in which states are reported.
fn rank(state: &RouteState, now: Timestamp) -> u8 {
    match state {
        RouteState::Refused(_) => 0,
        RouteState::Unreachable(_) => 1,
        RouteState::RefusedByProxy(_) => 2,
        RouteState::Pending => 3,
        RouteState::Loaded {
            answer: Some(Answer::None(_)),
        } => 4,
        RouteState::Loaded {
            answer: Some(Answer::DefaultCertificate(_)),
        } => 5,
        RouteState::Loaded { answer: None } => 6,
        RouteState::Unobserved => 7,
        RouteState::Loaded {
            answer: Some(Answer::Answered { expires }),
        } => match expires {
            Some(end) if end.at <= now.as_second() => 5,
            Some(end) if end.soon <= now.as_second() => 8,
            _ => 9,
        },
    }
}

/// How the host of a route gets a certificate.
fn certificate_solution(route: &Route) -> String {
    let resolver = route.tls.as_ref().and_then(|tls| tls.cert_resolver.as_deref());
    match resolver {
        Some(resolver) => format!(
            "resolver {resolver} has not got one: the name must resolve to this machine and its port 80 must be reachable \
             from the Internet; the log of Traefik names the refusal"
        ),
        None => {
            "set tls.certResolver or tls.secretRef, or give Traefik a certificate for the host".to_owned()
        }
    }
}

/// The verdict on a certificate that should have been renewed.
fn expiring(at: &str, route: &Route, end: Expiry, now: Timestamp) -> (Option<bool>, Reason, String) {
    let date = Timestamp::from_second(end.at).unwrap_or(Timestamp::MAX);
    let solution = renewal(route);
    if end.at <= now.as_second() {
        let message = format!("{at}: its certificate expired at {date}: {solution}");
        return (Some(false), Reason::CertificateExpired, message);
    }
    let message = format!("{at}: its certificate expires at {date} and was not renewed: {solution}");
    (Some(true), Reason::CertificateExpires, message)
}

/// How the certificate of a route is renewed.
fn renewal(route: &Route) -> String {
    let tls = route.tls.as_ref();
    let resolver = tls.and_then(|tls| tls.cert_resolver.as_ref());
    let secret = tls.and_then(|tls| tls.secret_ref.as_ref());
    match (resolver, secret) {
        (Some(resolver), _) => {
            format!("resolver {resolver} renews it; its log names what refuses that")
        }
        (_, Some(secret)) => format!(
            "write a new one into the Secret {:?} of tls.secretRef",
            secret.name
        ),
        _ => "give the reverse proxy a new one, or set tls.certResolver or tls.secretRef".to_owned(),
    }
}

fn verdict(
    at: &str,
    route: &Route,
    state: &RouteState,
    (proxy, now): (&str, Timestamp),
) -> (Option<bool>, Reason, String) {
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
            format!("{at}: {proxy} refuses it: {why}: correct the route"),
        ),
        RouteState::Pending => (
            None,
            Reason::RoutePending,
            format!("{at}: {proxy} has not loaded it yet"),
        ),
        RouteState::Loaded {
            answer: Some(Answer::None(why)),
        } => no(
            Reason::RouteHasNoReplica,
            format!("{at}: a request to it got no answer of the Application: {why}"),
        ),
        RouteState::Loaded {
            answer: Some(Answer::DefaultCertificate(NoCertificate::Elsewhere(why))),
        } => no(
            Reason::DnsElsewhere,
            format!("{at}: {why}: let the A and AAAA records of the name point to this machine"),
        ),
        RouteState::Loaded {
            answer: Some(Answer::DefaultCertificate(NoCertificate::Refused(why))),
        } => no(
            Reason::CertificateRefused,
            format!(
                "{at}: the certificate authority refused: {why}: mend that, then restart Traefik, which asks again when it starts \
                 and when a route changes"
            ),
        ),
        RouteState::Loaded {
            answer: Some(Answer::DefaultCertificate(NoCertificate::Unknown)),
        } => {
            no(
                Reason::CertificatePending,
                format!("{at}: {proxy} has no certificate for it: {}", certificate_solution(route)),
            )
        }
        RouteState::Loaded { answer: None } => (
            Some(true),
            Reason::RoutesReady,
            format!("{proxy} has loaded all routes"),
        ),
        RouteState::Unobserved => (
            None,
            Reason::RouteUnobserved,
            "the routes are in the file for Traefik; whether it has loaded them is not known: start davit with --traefik-api URL"
                .to_owned(),
        ),
        RouteState::Loaded {
            answer: Some(Answer::Answered { expires: Some(end) }),
        } if end.soon <= now.as_second() => expiring(at, route, *end, now),
        RouteState::Loaded {
            answer: Some(Answer::Answered { .. }),
        } => (
            Some(true),
            Reason::RoutesReady,
            format!("{proxy} has loaded all routes, and the Application answers at each"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const DAY: i64 = 24 * 60 * 60;

    /// Reason and message for a route whose certificate has this time.
    fn judged(tls: &serde_json::Value, expires: Expiry, now: i64) -> (Option<bool>, Reason, String) {
        let route: Route = serde_json::from_value(json!({"host": "a.example.com", "tls": tls})).unwrap();
        let state = RouteState::Loaded {
            answer: Some(Answer::Answered {
                expires: Some(expires),
            }),
        };
        let now = Timestamp::from_second(now).unwrap();
        assert!(rank(&state, now) <= ANSWERED);
        verdict("spec.routes[0] a.example.com", &route, &state, ("Traefik", now))
    }

    #[test]
    fn certificate_that_was_not_renewed_is_reported_before_its_end() {
        let expires = Expiry::new(0, 90 * DAY);
        assert_eq!(expires.soon, 76 * DAY);
        let resolver = json!({"certResolver": "letsencrypt"});
        let (ready, reason, _) = judged(&resolver, expires, 75 * DAY);
        assert_eq!((ready, reason), (Some(true), Reason::RoutesReady));
        let (ready, reason, message) = judged(&resolver, expires, 80 * DAY);
        assert_eq!((ready, reason), (Some(true), Reason::CertificateExpires));
        assert!(
            message.contains("1970-04-01") && message.contains("resolver letsencrypt"),
            "{message}"
        );
        let (ready, reason, message) = judged(&json!({"secretRef": {"name": "own"}}), expires, 90 * DAY);
        assert_eq!((ready, reason), (Some(false), Reason::CertificateExpired));
        assert!(
            message.contains("expired at 1970-04-01") && message.contains("Secret \"own\""),
            "{message}"
        );
        // A shorter one is renewed later.
        assert_eq!(Expiry::new(0, 5 * DAY).soon, 4 * DAY);
    }
}
