//! The verdict on the routes of an Application: the first one that does not work decides.

use jiff::Timestamp;

use super::state::{Answer, Expiry, NoCertificate, ProxyView, RouteState, TRAEFIK};
use crate::api::{Application, Reason, Route};
use crate::error::Problem;
use crate::proxy::Refusal;
use crate::runtime::{Replica, ReplicaState, Running};

/// The first route that does not work decides.
pub fn judge(
    app: &Application,
    proxy: &ProxyView,
    running: &Result<Running, Problem>,
    now: Timestamp,
) -> (Option<bool>, Reason, String) {
    let (states, proxy) = match proxy {
        ProxyView::Missing => {
            let message = "this Davit has no reverse proxy, so spec.routes has no effect, and a Traefik of an earlier start is not \
                           kept up to date: start davit with --traefik, or with --traefik-config DIRECTORY beside a Traefik of \
                           yours, or in a cluster with --routes";
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

/// Whether a replica gets requests: it has been seen healthy, and is not about to be stopped.
pub fn is_serving(replica: &Replica) -> bool {
    replica.state == ReplicaState::Healthy && replica.serving && !replica.draining && !replica.leaving
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
        RouteState::Unobserved
        | RouteState::Loaded {
            answer: Some(Answer::Unclear),
        } => 7,
        RouteState::Loaded {
            answer: Some(Answer::Certified { expires }),
        } => certificate_rank(expires, now).unwrap_or(6),
        RouteState::Loaded {
            answer: Some(Answer::Answered { expires }),
        } => expires
            .as_ref()
            .and_then(|end| certificate_rank(end, now))
            .unwrap_or(9),
    }
}

fn certificate_rank(end: &Expiry, now: Timestamp) -> Option<u8> {
    match now.as_second() {
        second if end.at <= second || end.from > second => Some(5),
        second if end.soon <= second => Some(8),
        _ => None,
    }
}

/// How the host of a route gets a certificate.
fn certificate_solution(route: &Route, proxy: &str) -> String {
    let tls = route.tls.as_ref();
    if proxy != TRAEFIK {
        return match tls.and_then(|tls| tls.secret_ref.as_ref()) {
            Some(secret) => format!(
                "put one for the host into the Secret {:?} of tls.secretRef",
                secret.name
            ),
            None => format!("give {proxy} a certificate for the host"),
        };
    }
    let resolver = tls.and_then(|tls| tls.cert_resolver.as_deref());
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

/// The verdict on a certificate that clients refuse, or soon will.
fn expiring(
    at: &str,
    route: &Route,
    end: Expiry,
    (proxy, now): (&str, Timestamp),
) -> (Option<bool>, Reason, String) {
    let date = Timestamp::from_second(end.at).unwrap_or(Timestamp::MAX);
    let solution = renewal(route, proxy);
    if end.at <= now.as_second() {
        let message = format!("{at}: its certificate expired at {date}: {solution}");
        return (Some(false), Reason::CertificateExpired, message);
    }
    if end.from > now.as_second() {
        let date = Timestamp::from_second(end.from).unwrap_or(Timestamp::MAX);
        let message = format!(
            "{at}: its certificate is not valid before {date}: use one that is valid now, or set the clock of this machine"
        );
        return (Some(false), Reason::CertificatePending, message);
    }
    let message = format!("{at}: its certificate expires at {date} and was not renewed: {solution}");
    (Some(true), Reason::CertificateExpires, message)
}

/// How the certificate of a route is renewed.
fn renewal(route: &Route, proxy: &str) -> String {
    let tls = route.tls.as_ref();
    let resolver = tls.and_then(|tls| tls.cert_resolver.as_ref());
    let secret = tls.and_then(|tls| tls.secret_ref.as_ref());
    match (resolver, secret) {
        (Some(_), _) if proxy != TRAEFIK => {
            "cert-manager renews it; kubectl describe certificate shows what refuses that".to_owned()
        }
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

#[expect(clippy::too_many_lines, reason = "one arm for each state")]
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
                format!(
                    "{at}: {proxy} has no certificate for it: {}",
                    certificate_solution(route, proxy)
                ),
            )
        }
        RouteState::Loaded {
            answer:
                Some(Answer::DefaultCertificate(NoCertificate::OfManager { words, is_refused })),
        } => {
            let reason = if *is_refused {
                Reason::CertificateRefused
            } else {
                Reason::CertificatePending
            };
            no(
                reason,
                format!(
                    "{at}: cert-manager has no certificate for it: {words}"
                ),
            )
        }
        RouteState::Loaded {
            answer: Some(Answer::Unclear),
        } => (
            None,
            Reason::RouteUnobserved,
            format!(
                "{at}: the answer is 404, as for hosts without a route, so it is not known whether the Application answers: set \
                 spec.healthCheck.http, which is requested too, or let the Application answer at that path"
            ),
        ),
        RouteState::Unobserved => (
            None,
            Reason::RouteUnobserved,
            "the routes are in the file for Traefik; whether it has loaded them is not known: start davit with --traefik-api URL"
                .to_owned(),
        ),
        RouteState::Loaded {
            answer: Some(Answer::Answered { expires: Some(end) } | Answer::Certified { expires: end }),
        } if certificate_rank(end, now).is_some() => expiring(at, route, *end, (proxy, now)),
        RouteState::Loaded {
            answer: None | Some(Answer::Certified { .. }),
        } => (
            Some(true),
            Reason::RoutesReady,
            format!("{proxy} has loaded all routes"),
        ),
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
        verdict("spec.routes[0] a.example.com", &route, &state, (TRAEFIK, now))
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
        let (ready, reason, message) = judged(&resolver, Expiry::new(10 * DAY, 90 * DAY), 9 * DAY);
        assert_eq!((ready, reason), (Some(false), Reason::CertificatePending));
        assert!(message.contains("not valid before 1970-01-11"), "{message}");
        // A shorter one is renewed later.
        assert_eq!(Expiry::new(0, 5 * DAY).soon, 4 * DAY);
    }

    #[test]
    fn answer_that_the_proxy_may_have_given_is_no_answer_of_the_application() {
        let route: Route = serde_json::from_value(json!({"host": "a.example.com"})).unwrap();
        let now = Timestamp::from_second(0).unwrap();
        let of = |answer| {
            let state = RouteState::Loaded { answer: Some(answer) };
            assert!(rank(&state, now) <= ANSWERED);
            verdict(
                "spec.routes[0] a.example.com",
                &route,
                &state,
                ("the Ingress controller", now),
            )
        };
        let (ready, reason, message) = of(Answer::Unclear);
        assert_eq!((ready, reason), (None, Reason::RouteUnobserved));
        assert!(message.contains("the answer is 404"), "{message}");
        let manager = |is_refused| {
            Answer::DefaultCertificate(NoCertificate::OfManager {
                words: "the order failed".to_owned(),
                is_refused,
            })
        };
        let (ready, reason, message) = of(manager(true));
        assert_eq!((ready, reason), (Some(false), Reason::CertificateRefused));
        assert!(
            message.contains("cert-manager has no certificate for it: the order failed"),
            "{message}"
        );
        assert_eq!(of(manager(false)).1, Reason::CertificatePending);
        let certified = |at| Answer::Certified {
            expires: Expiry {
                from: 0,
                at,
                soon: at - 100,
            },
        };
        assert_eq!(of(certified(1000)).1, Reason::RoutesReady);
        assert_eq!(of(certified(50)).1, Reason::CertificateExpires);
        assert_eq!(of(certified(0)).1, Reason::CertificateExpired);
    }
}
