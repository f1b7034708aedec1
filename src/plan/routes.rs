//! The routes of an Application: what the reverse proxy gets, and what the status reports.

mod state;
mod verdict;

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::api::{
    Application, ApplicationSpec, ApplicationStatus, ConditionType, Port, ReleaseStatus, Route, condition,
};
use crate::error::Problem;
use crate::model::AppId;
use crate::proxy::{AppRoutes, Certificate, RouteInput, Server};
use crate::runtime::Running;
pub use state::{Answer, Expiry, NoCertificate, ProxyView, RouteState, TRAEFIK};
use verdict::{is_serving, judge};

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
    // The reverse proxy would refuse all routes for some values, take others as no limit, and serve every Application slowly
    // for a few.
    let problem = route.check(&spec.ports).err().or(values.problem);
    let host = route.ascii_host().unwrap_or_default();
    let port = route.port_number(&spec.ports);
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
    let port = port.ok();
    RouteInput {
        health: port.and_then(|port| health(route, spec, port)),
        port,
        servers: servers.collect(),
        route: route.clone(),
        host,
        users: values.users,
        certificate: values.certificate,
        problem,
    }
}

/// Returns where a client of a route finds the health check of its port.
fn health(route: &Route, spec: &ApplicationSpec, port: u16) -> Option<String> {
    let check = spec.health_check.as_ref()?.http.as_ref()?;
    if check.port.number(&spec.ports).ok()? != port || route.add_prefix.is_some() {
        return None;
    }
    let prefix = route.prefix();
    if route.strip_prefix {
        return Some(format!("{prefix}{}", check.path));
    }
    let below = check.path.strip_prefix(prefix)?;
    let is_below = prefix.is_empty() || below.is_empty() || below.starts_with(['/', '?']);
    is_below.then(|| check.path.clone())
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn route_with_a_value_that_cannot_work_has_a_problem() {
        let expression = ".{0,999}".repeat(60);
        for (fields, expected) in [
            (json!({}), None),
            (json!({"maxBodySize": "10Mi"}), None),
            (
                json!({"host": "*.test"}),
                Some("host \"*.test\" stands for a whole top-level domain"),
            ),
            (
                json!({"maxBodySize": "10 MB"}),
                Some("maxBodySize 10 MB is not a size"),
            ),
            (json!({"maxBodySize": -1}), Some("maxBodySize -1 is not a size")),
            (
                json!({"allowFrom": ["10.0.0.0/8", "10.0.0.0/33"]}),
                Some("allowFrom[1] \"10.0.0.0/33\" is not an address"),
            ),
            (
                json!({"headers": {"request": {"X y": "a"}}}),
                Some("headers.request has \"X y\""),
            ),
            (
                json!({"headers": {"response": {"X": "a\nb"}}}),
                Some("headers.response has a value for X"),
            ),
            (
                json!({"redirects": [{"from": "(", "to": "https://x"}]}),
                Some("redirects[0].from \"(\" is not a regular expression (unclosed group)"),
            ),
            (
                json!({"redirects": [{"from": expression, "to": "https://x"}]}),
                Some("redirects[0].from \".{0,999}"),
            ),
            (
                json!({"port": "none"}),
                Some("port \"none\" is not a name in spec.ports"),
            ),
        ] {
            let spec: ApplicationSpec =
                serde_json::from_value(json!({"ports": [{"name": "http", "containerPort": 80}]})).unwrap();
            let mut whole = json!({"host": "a.example.com"});
            for (name, value) in fields.as_object().unwrap() {
                whole[name] = value.clone();
            }
            let route: Route = serde_json::from_value(whole).unwrap();
            let running = Running::default();
            let found = input(&route, &spec, &BTreeMap::new(), &running, RouteValues::default());
            let problem = found.problem.unwrap_or_default();
            assert_eq!(problem.is_empty(), expected.is_none(), "{problem}");
            assert!(problem.starts_with(expected.unwrap_or_default()), "{problem}");
        }
    }

    #[test]
    fn health_check_is_found_where_a_client_of_the_route_finds_it() {
        for (route, check, expected) in [
            (json!({}), json!({"path": "/up", "port": "http"}), Some("/up")),
            (json!({}), json!({"path": "/up", "port": "admin"}), None),
            (
                json!({"path": "/api"}),
                json!({"path": "/api", "port": "http"}),
                Some("/api"),
            ),
            (
                json!({"path": "/api"}),
                json!({"path": "/api/up", "port": "http"}),
                Some("/api/up"),
            ),
            (
                json!({"path": "/api"}),
                json!({"path": "/apis", "port": "http"}),
                None,
            ),
            (
                json!({"path": "/api", "stripPrefix": true}),
                json!({"path": "/up", "port": "http"}),
                Some("/api/up"),
            ),
            (
                json!({"addPrefix": "/v2"}),
                json!({"path": "/up", "port": "http"}),
                None,
            ),
        ] {
            let spec: ApplicationSpec = serde_json::from_value(json!({
                "ports": [{"name": "http", "containerPort": 80}, {"name": "admin", "containerPort": 81}],
                "healthCheck": {"http": check},
            }))
            .unwrap();
            let mut whole = route.clone();
            whole["host"] = json!("a.example.com");
            let parsed: Route = serde_json::from_value(whole).unwrap();
            assert_eq!(health(&parsed, &spec, 80).as_deref(), expected, "{route} {check}");
        }
    }
}
