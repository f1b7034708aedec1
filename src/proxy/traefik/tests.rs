//! Rows: a route, and the configuration that it becomes; each configuration is checked against Traefik's own reference.

mod hostile;

use serde_json::{Value, json};

use super::*;
use crate::api::{Route, ascii_host};
use crate::model::AppId;
use crate::proxy::{AppRoutes, Certificate, HostPolicy, Refusal, RouteInput, Server};
use crate::redact::Secret;

/// Every key of the file provider, as Traefik's sources list them (docs/content/reference, `file.yaml`), as far as it is about
/// HTTP and certificates.
const REFERENCE: &str = include_str!("tests/reference.yaml");

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

fn route(value: Value) -> Route {
    serde_json::from_value(value).unwrap()
}

fn entry(namespace: &str, name: &str, created: i64, routes: &[Value]) -> (AppId, AppRoutes) {
    let app = AppId::new(namespace, name);
    let routes = routes.iter().map(|value| {
        let route = route(value.clone());
        RouteInput {
            host: ascii_host(&route.host).unwrap(),
            port: Some(3000),
            servers: vec![
                Server {
                    address: "10.0.0.2".to_owned(),
                    port: 3000,
                },
                Server {
                    address: "10.0.0.3".to_owned(),
                    port: 3000,
                },
            ],
            health: None,
            users: route
                .basic_auth_secret_ref
                .as_ref()
                .map(|_| vec!["jane:$2y$06$x".to_owned()]),
            certificate: None,
            problem: None,
            route,
        }
    });
    let entry = AppRoutes {
        app: app.clone(),
        uid: format!("{namespace}-{name}"),
        created,
        allowed: None,
        routes: routes.collect(),
    };
    (app, entry)
}

/// The configuration of these Applications, checked against the reference.
fn configuration(apps: impl IntoIterator<Item = (AppId, AppRoutes)>, settings: &Settings) -> Value {
    let rendered = render(&apps.into_iter().collect(), settings);
    assert!(
        rendered.text.is_ascii() && !rendered.text.contains("{{"),
        "{}",
        rendered.text
    );
    let as_json: Value = serde_json::from_str(&rendered.text).unwrap();
    // Traefik reads it as YAML.
    let as_yaml: Value = serde_yaml::from_str(&rendered.text).unwrap();
    assert_eq!(as_json, as_yaml);
    conforms(&as_json);
    as_json
}

/// Fails on a key that Traefik does not have at this place, and on a value of another type.
fn conforms(configuration: &Value) {
    let reference: Value = serde_yaml::from_str(REFERENCE).unwrap();
    for (section, entries) in configuration["http"].as_object().unwrap() {
        assert!(
            !entries.as_object().unwrap().is_empty(),
            "Traefik refuses an empty {section}"
        );
        let known: Vec<&Value> = reference["http"][section].as_object().unwrap().values().collect();
        for (name, entry) in entries.as_object().unwrap() {
            assert!(!name.contains('@'), "{name}");
            let fits = known.iter().any(|known| differs(entry, known).is_none());
            let why: Vec<_> = known.iter().filter_map(|known| differs(entry, known)).collect();
            assert!(fits, "{section} {name}: {entry}: {}", why.join("; "));
        }
    }
    let certificates = configuration["tls"]["certificates"].as_array();
    for certificate in certificates.into_iter().flatten() {
        assert_eq!(differs(certificate, &reference["tls"]["certificates"][0]), None);
    }
}

/// Returns the first place where a value is not one of the reference's.
fn differs(value: &Value, reference: &Value) -> Option<String> {
    match (value, reference) {
        // The reference writes an empty object for one with optional keys only, and `foobar` for text and durations.
        (Value::Object(value), Value::Object(known)) => value.iter().find_map(|(key, value)| {
            let free = known.contains_key("name0");
            match known.get(key).or_else(|| known.get("name0").filter(|_| free)) {
                Some(known) => differs(value, known).map(|why| format!("{key}.{why}")),
                None => Some(format!("there is no key {key}")),
            }
        }),
        (Value::Array(value), Value::Array(known)) => {
            value.iter().find_map(|value| differs(value, &known[0]))
        }
        (Value::String(_), Value::String(_))
        | (Value::Number(_), Value::Number(_))
        | (Value::Bool(_), Value::Bool(_)) => None,
        (value, known) => Some(format!("{value} in place of {known}")),
    }
}

/// The entries of one route, each as one line.
fn lines(value: Value) -> Vec<String> {
    let configuration = configuration([entry("ns", "web", 1, &[value])], &settings());
    let mut lines = Vec::new();
    for section in ["routers", "services", "middlewares"] {
        for (name, entry) in configuration["http"][section].as_object().into_iter().flatten() {
            if !name.starts_with("davit_loaded_") {
                let name = name.trim_start_matches("davit_ns_web_0");
                lines.push(format!("{}{name} {entry}", section.trim_end_matches('s')));
            }
        }
    }
    lines
}

const HOST: &str = "shop.example.com";

#[test]
fn route_becomes_a_router_and_a_service() {
    assert_eq!(
        lines(json!({"host": HOST})),
        [
            r#"router {"entryPoints":["web"],"middlewares":["davit_ns_web_0-retry"],"priority":200000,"rule":"Host(\"shop.example.com\")","service":"davit_ns_web_0"}"#,
            r#"service {"loadBalancer":{"passHostHeader":true,"servers":[{"url":"http://10.0.0.2:3000"},{"url":"http://10.0.0.3:3000"}],"serversTransport":"davit_transport"}}"#,
            r#"middleware-retry {"retry":{"attempts":2,"initialInterval":"50ms"}}"#,
        ]
    );
}

#[test]
fn idle_connections_to_replicas_end_soon() {
    let configuration = configuration([entry("ns", "web", 1, &[json!({"host": HOST})])], &settings());
    assert_eq!(
        configuration["http"]["serversTransports"],
        json!({"davit_transport": {"maxIdleConnsPerHost": 200, "forwardingTimeouts": {"idleConnTimeout": "3s"}}})
    );
}

/// The rule of a host and a path.
fn rule_of(host: &str, path: &str) -> (String, u64) {
    let configuration = configuration(
        [entry("ns", "web", 1, &[json!({"host": host, "path": path})])],
        &settings(),
    );
    let router = &configuration["http"]["routers"]["davit_ns_web_0"];
    (
        router["rule"].as_str().unwrap().to_owned(),
        router["priority"].as_u64().unwrap(),
    )
}

#[test]
fn hosts_and_paths_become_rules() {
    let exact = |host: &str| format!("Host(\"{host}\")");
    let below = |path: &str| format!(" && (Path(\"{path}\") || PathPrefix(\"{path}/\"))");
    for (host, ascii) in [
        ("shop.example.com", "shop.example.com"),
        ("SHOP.example.com", "shop.example.com"),
        ("localhost", "localhost"),
        ("a.b.c.d.example.com", "a.b.c.d.example.com"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("straße.example", "xn--strae-oqa.example"),
        ("例え.jp", "xn--r8jz45g.jp"),
        ("пример.испытание", "xn--e1afmkfd.xn--80akhbyknj4f"),
        ("1.example.com", "1.example.com"),
        ("a-b.example.com", "a-b.example.com"),
    ] {
        for (path, written) in [
            ("/", ""),
            ("//", ""),
            ("/shop", "/shop"),
            ("/shop/", "/shop"),
            ("/shop/cart", "/shop/cart"),
            ("/a.b_c~d", "/a.b_c~d"),
            ("/~jane", "/~jane"),
            ("/v1$x", "/v1$x"),
            ("/a(b)", "/a(b)"),
            ("/a=b;c,d", "/a=b;c,d"),
        ] {
            let (rule, priority) = rule_of(host, path);
            let path = if written.is_empty() {
                String::new()
            } else {
                below(written)
            };
            assert_eq!(rule, exact(ascii) + &path, "{host}{written}");
            assert_eq!(priority, 200_000 + written.len() as u64);
        }
    }
    for (host, expression) in [
        ("*.example.com", r"^[^.]+\\.example\\.com$"),
        ("*.bücher.example", r"^[^.]+\\.xn--bcher-kva\\.example$"),
        ("*.a-b.example.com", r"^[^.]+\\.a-b\\.example\\.com$"),
    ] {
        let (rule, priority) = rule_of(host, "/");
        assert_eq!(rule, format!("HostRegexp(\"{expression}\")"));
        assert_eq!(priority, 100_000);
    }
}

#[test]
fn options_become_middlewares_in_their_order() {
    let all = json!({
        "host": HOST, "path": "/shop", "stripPrefix": true, "addPrefix": "/app/", "allowFrom": ["10.0.0.0/8"],
        "redirects": [{"from": "^http://(.*)", "to": "https://$1"}, {"from": "^x$", "to": "y", "permanent": true}],
        "rateLimit": {"average": 10, "period": "1m"}, "basicAuthSecretRef": {"name": "staff"},
        "headers": {"request": {"X-A": "1"}, "response": {"X-B": ""}}, "compress": true, "maxBodySize": "10Mi",
        "middlewares": ["sso@file"],
    });
    let lines = lines(all);
    let order = [
        "allow",
        "sso@file",
        "redirect0",
        "redirect1",
        "rate",
        "auth",
        "headers",
        "compress",
        "body",
        "retry",
        "strip",
        "prefix",
    ];
    let names: Vec<String> = order
        .iter()
        .map(|kind| {
            if kind.contains('@') {
                format!("\"{kind}\"")
            } else {
                format!("\"davit_ns_web_0-{kind}\"")
            }
        })
        .collect();
    assert!(
        lines[0].contains(&format!("\"middlewares\":[{}]", names.join(","))),
        "{}",
        lines[0]
    );
    for expected in [
        r#"middleware-allow {"ipAllowList":{"sourceRange":["10.0.0.0/8"]}}"#,
        r#"middleware-redirect0 {"redirectRegex":{"permanent":false,"regex":"^http://(.*)","replacement":"https://$1"}}"#,
        r#"middleware-redirect1 {"redirectRegex":{"permanent":true,"regex":"^x$","replacement":"y"}}"#,
        r#"middleware-rate {"rateLimit":{"average":10,"burst":10,"period":"1m"}}"#,
        r#"middleware-auth {"basicAuth":{"realm":"restricted","removeHeader":true,"users":["jane:$2y$06$x"]}}"#,
        r#"middleware-headers {"headers":{"customRequestHeaders":{"X-A":"1"},"customResponseHeaders":{"X-B":""}}}"#,
        r#"middleware-compress {"compress":{"minResponseBodyBytes":1024}}"#,
        r#"middleware-body {"buffering":{"maxRequestBodyBytes":10485760}}"#,
        r#"middleware-strip {"stripPrefix":{"prefixes":["/shop"]}}"#,
        r#"middleware-prefix {"addPrefix":{"prefix":"/app"}}"#,
    ] {
        assert!(
            lines.iter().any(|line| line == expected),
            "{expected}\n{}",
            lines.join("\n")
        );
    }
    assert_eq!(lines.len(), 2 + 11, "{}", lines.join("\n"));
}

#[test]
fn tls_has_a_router_for_each_entry_point() {
    for (tls, secure, plain) in [
        (json!({}), json!({}), "noop@internal"),
        (
            json!({"certResolver": "letsencrypt"}),
            json!({"certResolver": "letsencrypt"}),
            "noop@internal",
        ),
        (json!({"redirect": false}), json!({}), "davit_ns_web_0"),
    ] {
        let configuration = configuration(
            [entry("ns", "web", 1, &[json!({"host": HOST, "tls": tls})])],
            &settings(),
        );
        let routers = &configuration["http"]["routers"];
        assert_eq!(routers["davit_ns_web_0"]["entryPoints"], json!(["websecure"]));
        assert_eq!(routers["davit_ns_web_0"]["tls"], secure);
        assert_eq!(routers["davit_ns_web_0-http"]["entryPoints"], json!(["web"]));
        assert_eq!(routers["davit_ns_web_0-http"]["service"], plain);
        assert_eq!(routers["davit_ns_web_0-http"]["tls"], Value::Null);
        let redirect = &configuration["http"]["middlewares"]["davit_ns_web_0-https"];
        assert_eq!(redirect.is_null(), plain != "noop@internal");
    }
    // A wildcard has no name in its rule that the resolver could find.
    let wildcard = json!({"host": "*.example.com", "tls": {"certResolver": "dns"}});
    let configuration = configuration([entry("ns", "web", 1, &[wildcard])], &settings());
    let tls = &configuration["http"]["routers"]["davit_ns_web_0"]["tls"];
    assert_eq!(
        *tls,
        json!({"certResolver": "dns", "domains": [{"main": "*.example.com"}]})
    );
}

#[test]
fn protocol_and_stickiness_belong_to_the_service() {
    let service = |value: Value| {
        let mut found = configuration([entry("ns", "web", 1, &[value])], &settings());
        found["http"]["services"]["davit_ns_web_0"]["loadBalancer"].take()
    };
    let grpc = service(json!({"host": HOST, "protocol": "H2C"}));
    assert_eq!(grpc["servers"][0]["url"], "h2c://10.0.0.2:3000");
    let sticky = service(json!({"host": HOST, "sticky": true, "tls": {}}));
    let cookie = &sticky["sticky"]["cookie"];
    assert_eq!(
        (&cookie["secure"], &cookie["httpOnly"], &cookie["sameSite"]),
        (&json!(true), &json!(true), &json!("lax"))
    );
    assert!(cookie["name"].as_str().unwrap().starts_with("davit_"));
}

#[test]
fn certificate_is_in_the_file_once() {
    let made = rcgen::generate_simple_self_signed([HOST.to_owned()]).unwrap();
    let key = Secret::from(made.signing_key.serialize_pem());
    let certificate = Certificate::read(made.cert.pem().as_bytes(), &key, HOST).unwrap();
    let (app, mut routes) = entry(
        "ns",
        "web",
        1,
        &[
            json!({"host": HOST, "tls": {}}),
            json!({"host": HOST, "path": "/api", "tls": {}}),
        ],
    );
    for route in &mut routes.routes {
        route.certificate = Some(certificate.clone());
    }
    let other = entry("other", "web", 2, &[json!({"host": "x.example.com"})]);
    let shown = configuration([(app.clone(), routes.clone()), other], &settings());
    let all = shown["tls"]["certificates"].as_array().unwrap().clone();
    assert_eq!(all.len(), 1);
    assert!(
        all[0]["certFile"]
            .as_str()
            .unwrap()
            .starts_with("-----BEGIN CERTIFICATE-----")
    );
    assert!(all[0]["keyFile"].as_str().unwrap().contains("PRIVATE KEY-----"));
    // A certificate for the host of another namespace would be served there too.
    let older = entry("other", "web", 0, &[json!({"host": "y.example.com"})]);
    let both = rcgen::generate_simple_self_signed([HOST.to_owned(), "y.example.com".to_owned()]).unwrap();
    let key = Secret::from(both.signing_key.serialize_pem());
    routes.routes[0].certificate = Some(Certificate::read(both.cert.pem().as_bytes(), &key, HOST).unwrap());
    let rendered = render(&[(app.clone(), routes), older].into_iter().collect(), &settings());
    let refusal = rendered.claims.refusal(&app, 0);
    assert_eq!(
        refusal,
        Some(&Refusal::CertificateOfOthers {
            name: "y.example.com".to_owned()
        })
    );
}

#[test]
fn option_that_this_traefik_does_not_have_is_refused() {
    let known = Settings {
        resolvers: Some(["dns".to_owned()].into()),
        by_service: true,
        ..settings()
    };
    for (route, refused) in [
        (json!({"host": HOST, "tls": {"certResolver": "DNS"}}), None),
        (json!({"host": HOST, "tls": {}}), None),
        (
            json!({"host": HOST, "tls": {"certResolver": "letsencrypt"}}),
            Some("start davit with --acme-email"),
        ),
        (
            json!({"host": HOST, "tls": {"certResolver": "other"}}),
            Some("tls.certResolver \"other\" is not a resolver of Traefik"),
        ),
        (
            json!({"host": HOST, "sticky": true}),
            Some("sticky cannot be used with --runtime swarm"),
        ),
    ] {
        let (app, entry) = entry("ns", "web", 1, std::slice::from_ref(&route));
        let all = [(app.clone(), entry)].into();
        let refusal = |settings: &Settings| render(&all, settings).claims.refusal(&app, 0).cloned();
        assert_eq!(refusal(&settings()), None, "{route}");
        match (refusal(&known), refused) {
            (None, None) => {}
            (Some(Refusal::Problem(why)), Some(part)) => assert!(why.contains(part), "{why}"),
            (found, _) => panic!("{route}: {found:?}"),
        }
    }
}

#[test]
fn configuration_without_routes_is_not_empty() {
    let empty = configuration([], &settings());
    assert_eq!(empty["http"]["middlewares"].as_object().unwrap().len(), 1);
    let with_api = Settings {
        api: Some(("davit".to_owned(), "davit:{SHA}x".to_owned())),
        ..settings()
    };
    let with_api = configuration([], &with_api);
    let router = &with_api["http"]["routers"]["davit_api"];
    assert_eq!(router["entryPoints"], json!(["davit"]));
    assert_eq!(router["middlewares"], json!(["davit_api-auth"]));
}

#[test]
fn route_without_replicas_answers_that_it_is_unavailable() {
    let (app, mut routes) = entry("ns", "web", 1, &[json!({"host": HOST})]);
    routes.routes[0].servers.clear();
    let shown = configuration([(app, routes)], &settings());
    assert_eq!(
        shown["http"]["services"]["davit_ns_web_0"]["loadBalancer"]["servers"],
        json!([])
    );
}

#[test]
fn version_follows_from_the_content_and_is_shown_in_it() {
    let of = |routes: &[Value]| {
        render(
            &[entry("ns", "web", 1, routes)].into_iter().collect(),
            &settings(),
        )
    };
    let (one, same, other) = (
        of(&[json!({"host": HOST})]),
        of(&[json!({"host": HOST})]),
        of(&[json!({"host": HOST, "compress": true})]),
    );
    assert_eq!(one, same);
    assert_ne!(one.version, other.version);
    assert!(one.text.contains(&marker(&settings(), &one.version)));
}
