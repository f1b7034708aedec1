//! All routes as one configuration.

use std::collections::BTreeSet;

use sha2::{Digest as _, Sha256};

use super::launch::RESOLVER;
use super::rule::{priority, rule};
use super::schema::{
    AddPrefix, BasicAuth, Buffering, Compress, Cookie, Domain, ForwardingTimeouts, Headers, Http,
    IpAllowList, LoadBalancer, Middleware, RateLimit, RedirectRegex, RedirectScheme, Retry, Router,
    RouterTls, ServersTransport, Service, Sticky, StripPrefix, Url,
};
use super::text::short;
use crate::api::RouteProtocol;
use crate::model::AppId;
use crate::proxy::claims::{Claims, HostPolicy, Refusal};
use crate::proxy::input::{AllRoutes, RouteInput};

/// How this Traefik is set up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// What all names of this Davit begin with: its instance name.
    pub instance: String,
    /// The entry point for HTTP.
    pub http: String,
    /// The entry point for HTTPS.
    pub https: String,
    /// The public port of HTTP, if it is not 80.
    pub http_port: Option<u16>,
    /// The public port of HTTPS, if it is not 443.
    pub https_port: Option<u16>,
    /// The entry point of the API, and its user as a line of htpasswd.
    pub api: Option<(String, String)>,
    /// The certificate resolvers that Traefik has, in lower case; `None` if they are not known.
    pub resolvers: Option<BTreeSet<String>>,
    /// Whether the server of a route is the service of a Swarm, which spreads the requests itself.
    pub by_service: bool,
    /// Which hosts Applications may have.
    pub policy: HostPolicy,
}

/// The name of the middleware that shows which version Traefik has loaded. It is also the entry without which the
/// configuration would be empty: Traefik ignores an empty one, and the last route would stay.
pub fn marker(settings: &Settings, version: &str) -> String {
    format!("{}_loaded_{version}", settings.instance)
}

/// The names of the routers of a route: the one that serves first, then that for plain HTTP beside it.
pub fn router_names(settings: &Settings, app: &AppId, index: usize) -> [String; 2] {
    // Neither namespaces, names nor instances have `_`, so no two routes share a name.
    let name = format!("{}_{}_{}_{index}", settings.instance, app.namespace, app.name);
    [name.clone(), format!("{name}-http")]
}

/// Decides which routes are refused.
pub(super) fn claims(all: &AllRoutes, settings: &Settings) -> Claims {
    let mut claims = Claims::new(all, &settings.policy);
    for entry in all.values() {
        for (index, input) in entry.routes.iter().enumerate() {
            if let Some(name) = own_middleware(input, settings) {
                let problem = format!(
                    "middlewares names {name:?}, which is Davit's own: use a middleware of your configuration"
                );
                claims.refuse(&entry.app, index, Refusal::Problem(problem));
            }
            if let Some(name) = unknown_resolver(input, settings) {
                let problem = if name == RESOLVER {
                    format!(
                        "tls.certResolver {name} needs an ACME account: start davit with --acme-email, or remove it"
                    )
                } else {
                    format!(
                        "tls.certResolver {name:?} is not a resolver of Traefik: set it to {RESOLVER}, or give Traefik one with --traefik-arg"
                    )
                };
                claims.refuse(&entry.app, index, Refusal::Problem(problem));
            }
            if settings.by_service && input.route.sticky {
                let problem =
                    "sticky cannot be used with --runtime swarm, which spreads requests itself: remove it";
                claims.refuse(&entry.app, index, Refusal::Problem(problem.to_owned()));
            }
        }
    }
    claims
}

/// The middleware that shows a version.
pub(super) fn shown(version: &str) -> Middleware {
    Middleware::StripPrefix(StripPrefix {
        prefixes: vec!["/".to_owned() + version],
    })
}

/// Returns the resolver of a route that Traefik does not have. Traefik itself only logs that.
fn unknown_resolver<'a>(input: &'a RouteInput, settings: &Settings) -> Option<&'a String> {
    let known = settings.resolvers.as_ref()?;
    let name = input.route.tls.as_ref()?.cert_resolver.as_ref()?;
    (!known.contains(&name.to_ascii_lowercase())).then_some(name)
}

/// Returns the name of a middleware that Davit itself made, if a route names one.
fn own_middleware<'a>(input: &'a RouteInput, settings: &Settings) -> Option<&'a String> {
    let own = format!("{}_", settings.instance);
    input.route.middlewares.iter().find(|name| name.starts_with(&own))
}

/// Adds a route.
pub(super) fn add(http: &mut Http, settings: &Settings, app: &AppId, index: usize, input: &RouteInput) {
    let route = &input.route;
    let [name, plain] = router_names(settings, app, index);
    let path = route.prefix();
    let middlewares = middlewares(http, &name, input);
    let router = Router {
        entry_points: vec![settings.http.clone()],
        middlewares,
        service: name.clone(),
        rule: rule(&input.host, path),
        priority: priority(&input.host, path),
        tls: None,
    };
    http.services
        .insert(name.clone(), service(app, index, input, transport_name(settings)));
    let Some(tls) = &route.tls else {
        http.routers.insert(name, router);
        return;
    };
    let mut beside = router.clone();
    if tls.redirect {
        let redirect = format!("{name}-https");
        beside.middlewares = vec![redirect.clone()];
        "noop@internal".clone_into(&mut beside.service);
        http.middlewares.insert(
            redirect,
            Middleware::RedirectScheme(RedirectScheme {
                scheme: "https".to_owned(),
                port: settings.https_port.map(|port| port.to_string()),
                // Browsers keep a permanent one even after the route has become plain HTTP.
                permanent: false,
            }),
        );
    }
    http.routers.insert(plain, beside);
    let wildcard = input.host.starts_with("*.") && tls.cert_resolver.is_some();
    let domains = wildcard.then(|| Domain {
        main: input.host.clone(),
    });
    let secure = Router {
        entry_points: vec![settings.https.clone()],
        tls: Some(RouterTls {
            cert_resolver: tls.cert_resolver.clone(),
            domains: domains.into_iter().collect(),
        }),
        ..router
    };
    http.routers.insert(name, secure);
}

/// The name of how Traefik connects to replicas.
pub(super) fn transport_name(settings: &Settings) -> String {
    format!("{}_transport", settings.instance)
}

/// How Traefik connects to replicas: as by default, but that it closes idle connections itself, and soon. Many servers close
/// theirs after 5 s, which a request may meet; and a replica without a connection is known to have no request.
pub(super) fn transport() -> ServersTransport {
    ServersTransport {
        max_idle_conns_per_host: 200,
        forwarding_timeouts: ForwardingTimeouts {
            idle_conn_timeout: "3s".to_owned(),
        },
    }
}

fn service(app: &AppId, index: usize, input: &RouteInput, servers_transport: String) -> Service {
    let scheme = match input.route.protocol {
        RouteProtocol::Http => "http",
        RouteProtocol::H2c => "h2c",
    };
    let servers: BTreeSet<_> = input.servers.iter().collect();
    let sticky = input.route.sticky.then(|| Sticky {
        cookie: Cookie {
            name: format!("davit_{}", &short(&Sha256::digest(format!("{app}/{index}")))[..8]),
            secure: input.route.tls.is_some(),
            http_only: true,
            same_site: "lax".to_owned(),
        },
    });
    Service {
        load_balancer: LoadBalancer {
            servers: servers
                .into_iter()
                .map(|server| Url {
                    url: format!("{scheme}://{}", server.authority()),
                })
                .collect(),
            pass_host_header: true,
            sticky,
            servers_transport,
        },
    }
}

/// Adds the middlewares of a route, and returns their names in the order in which a request meets them.
fn middlewares(http: &mut Http, router: &str, input: &RouteInput) -> Vec<String> {
    let route = &input.route;
    let mut names = Vec::new();
    let mut add = |kind: &str, middleware: Middleware| {
        let name = format!("{router}-{kind}");
        http.middlewares.insert(name.clone(), middleware);
        names.push(name);
    };
    if !route.allow_from.is_empty() {
        let source_range = route.allow_from.clone();
        add("allow", Middleware::IpAllowList(IpAllowList { source_range }));
    }
    for (number, redirect) in route.redirects.iter().enumerate() {
        let middleware = RedirectRegex {
            regex: redirect.from.clone(),
            replacement: redirect.to.clone(),
            permanent: redirect.permanent,
        };
        add(
            &format!("redirect{number}"),
            Middleware::RedirectRegex(middleware),
        );
    }
    if let Some(limit) = &route.rate_limit {
        let period = limit
            .period
            .as_ref()
            .map_or_else(|| "1s".to_owned(), ToString::to_string);
        let middleware = RateLimit {
            average: limit.average,
            period,
            burst: limit.burst.unwrap_or(limit.average),
        };
        add("rate", Middleware::RateLimit(middleware));
    }
    if let Some(users) = &input.users {
        let middleware = BasicAuth {
            users: users.clone(),
            realm: "restricted".to_owned(),
            remove_header: true,
        };
        add("auth", Middleware::BasicAuth(middleware));
    }
    if let Some(headers) = &route.headers {
        let middleware = Headers {
            custom_request_headers: headers.request.clone(),
            custom_response_headers: headers.response.clone(),
        };
        if middleware != Headers::default() {
            add("headers", Middleware::Headers(middleware));
        }
    }
    if route.compress {
        let middleware = Compress {
            min_response_body_bytes: 1024,
        };
        add("compress", Middleware::Compress(middleware));
    }
    if let Some(bytes) = route.max_body_size.as_ref().and_then(crate::api::Quantity::bytes) {
        let middleware = Buffering {
            max_request_body_bytes: bytes,
        };
        add("body", Middleware::Buffering(middleware));
    }
    if input.servers.len() > 1 {
        // Only of a request that no replica has received.
        let middleware = Retry {
            attempts: 2,
            initial_interval: "50ms".to_owned(),
        };
        add("retry", Middleware::Retry(middleware));
    }
    if route.strip_prefix && !route.prefix().is_empty() {
        let prefixes = vec![route.prefix().to_owned()];
        add("strip", Middleware::StripPrefix(StripPrefix { prefixes }));
    }
    if let Some(prefix) = &route.add_prefix {
        let prefix = prefix.trim_end_matches('/').to_owned();
        if !prefix.is_empty() {
            add("prefix", Middleware::AddPrefix(AddPrefix { prefix }));
        }
    }
    // Those of the user come first but for the list of addresses: a login of theirs must protect everything else.
    let own = usize::from(!route.allow_from.is_empty());
    names.splice(own..own, route.middlewares.iter().cloned());
    names
}

/// Adds the API and the metrics for Davit, which its password protects: containers of Applications can reach the entry point.
pub(super) fn add_api(http: &mut Http, settings: &Settings, entry_point: &str, user: &str) {
    let name = format!("{}_api", settings.instance);
    let auth = format!("{name}-auth");
    let middleware = BasicAuth {
        users: vec![user.to_owned()],
        realm: "davit".to_owned(),
        remove_header: true,
    };
    http.middlewares
        .insert(auth.clone(), Middleware::BasicAuth(middleware));
    for (name, path, service) in [
        (name.clone(), "/api", "api@internal"),
        (format!("{name}-metrics"), "/metrics", "prometheus@internal"),
    ] {
        let router = Router {
            entry_points: vec![entry_point.to_owned()],
            middlewares: vec![auth.clone()],
            service: service.to_owned(),
            rule: format!("PathPrefix({path:?})"),
            priority: 1,
            tls: None,
        };
        http.routers.insert(name, router);
    }
}
