//! The options of a route, one after the other at one Traefik.

use std::io::Write as _;

use serde_json::{Value, json};

use super::{Proxy, web};
use crate::common::davit::condition;
use crate::common::wait_for;

const HOST: &str = "web.example.com";

/// A self-signed certificate, as files.
struct Pair {
    chain: String,
    key: String,
    ca: tempfile::NamedTempFile,
}

fn pair(host: &str) -> Pair {
    let made = rcgen::generate_simple_self_signed([host.to_owned()]).unwrap();
    let mut ca = tempfile::NamedTempFile::new().unwrap();
    ca.write_all(made.cert.pem().as_bytes()).unwrap();
    Pair {
        chain: made.cert.pem(),
        key: made.signing_key.serialize_pem(),
        ca,
    }
}

#[expect(clippy::needless_pass_by_value, reason = "json! makes values")]
fn route(more: Value) -> Value {
    let mut route = json!({"host": HOST});
    for (key, value) in more.as_object().unwrap() {
        route[key] = value.clone();
    }
    json!([route])
}

#[test]
fn option_of_a_route_does_what_it_says() {
    let proxy = Proxy::up("options", &[]);
    let apply = |more: Value| {
        proxy.davit.patch("web", json!({"spec": {"routes": route(more)}}));
        proxy.wait_ready("web");
    };
    proxy
        .davit
        .create_secret("staff", &[("username", "jane"), ("password", "secret")]);
    proxy.davit.apply("web", web("hello", route(json!({}))));
    proxy.wait_ready("web");

    apply(json!({"path": "/shop"}));
    assert_eq!(proxy.get(HOST, "/shop/").body.trim(), "hello");
    assert_eq!(proxy.get(HOST, "/shopping").status, 404);
    assert_eq!(proxy.get(HOST, "/").status, 404);
    apply(json!({"path": "/x", "stripPrefix": true}));
    assert_eq!(proxy.get(HOST, "/x/cart").body.trim(), "hello-cart");
    apply(json!({"path": "/x", "stripPrefix": true, "addPrefix": "/v2"}));
    assert_eq!(proxy.get(HOST, "/x/shop/").body.trim(), "hello");
    assert_eq!(proxy.get(HOST, "/x/cart").status, 404);

    apply(
        json!({"redirects": [{"from": "^http://[^/]+/old/(.*)", "to": "https://new.example.com/$1", "permanent": true}]}),
    );
    let redirected = proxy.request("HEAD", HOST, "/old/a").send();
    assert!(
        redirected
            .body
            .to_lowercase()
            .contains("location: https://new.example.com/a"),
        "{redirected:?}"
    );
    assert!(matches!(redirected.status, 301 | 308), "{redirected:?}");
    assert_eq!(proxy.get(HOST, "/").status, 200);

    // An answer of the proxy itself counts as one: the route works.
    apply(json!({"basicAuthSecretRef": {"name": "staff"}}));
    assert_eq!(proxy.get(HOST, "/").status, 401);
    assert_eq!(
        proxy
            .request("GET", HOST, "/")
            .basic("jane", "wrong")
            .send()
            .status,
        401
    );
    assert_eq!(
        proxy
            .request("GET", HOST, "/")
            .basic("jane", "secret")
            .send()
            .body
            .trim(),
        "hello"
    );
    proxy
        .davit
        .create_secret("staff", &[("username", "jane"), ("password", "other")]);
    wait_for("the new password", super::PATIENCE, || {
        (proxy
            .request("GET", HOST, "/")
            .basic("jane", "other")
            .send()
            .status
            == 200)
            .then_some(())
    });

    apply(json!({"headers": {"response": {"X-Shop": "main"}}}));
    let headers = proxy.request("HEAD", HOST, "/").send().body;
    assert!(headers.to_lowercase().contains("x-shop: main"), "{headers}");

    apply(json!({"maxBodySize": "10"}));
    assert_eq!(
        proxy
            .request("POST", HOST, "/")
            .body("text/plain", "01234567890123456789")
            .send()
            .status,
        413
    );
    // Traefik holds this one in a file.
    apply(json!({"maxBodySize": "1Ki"}));
    let longest = "x".repeat(1024);
    let sent = proxy
        .request("POST", HOST, "/")
        .body("text/plain", &longest)
        .send();
    assert!(!matches!(sent.status, 413 | 500), "{sent:?}");

    apply(json!({"allowFrom": ["192.0.2.7"]}));
    assert_eq!(proxy.get(HOST, "/").status, 403);

    apply(json!({"rateLimit": {"average": 1, "period": "1m", "burst": 2}}));
    wait_for("the limit", super::PATIENCE, || {
        (proxy.get(HOST, "/").status == 429).then_some(())
    });

    apply(json!({"sticky": true, "compress": true}));
    let headers = proxy.request("GET", HOST, "/").include().send().body;
    assert!(headers.to_lowercase().contains("set-cookie: davit_"), "{headers}");

    proxy.davit.patch(
        "web",
        json!({"spec": {"routes": route(json!({"middlewares": ["missing@file"]}))}}),
    );
    let app = proxy.wait_reason("web", "RouteRefused");
    let message = condition(&app, "RoutesReady")["message"].clone();
    assert!(message.as_str().unwrap().contains("missing@file"), "{message}");
    let mut status = std::process::Command::new(env!("CARGO_BIN_EXE_davit"));
    status
        .env("KUBECONFIG", proxy.davit.data_dir().join("kubeconfig"))
        .args(["status", "web", "--namespace"]);
    let shown = crate::common::run(status.arg(&proxy.davit.namespace));
    assert!(
        shown.contains("Routes:     RouteRefused: spec.routes[0]"),
        "{shown}"
    );
    // It is seen when it comes, although no route changes.
    let own = "http: {middlewares: {missing: {headers: {customResponseHeaders: {X-Own: mine}}}}}";
    std::fs::write(proxy.davit.data_dir().join("proxy/own.yml"), own).unwrap();
    proxy.wait_ready("web");
    // Without --acme-email there is no resolver, which Traefik itself would not refuse.
    proxy.davit.patch(
        "web",
        json!({"spec": {"routes": route(json!({"tls": {"certResolver": "letsencrypt"}}))}}),
    );
    let app = proxy.wait_reason("web", "RouteInvalid");
    let message = condition(&app, "RoutesReady")["message"].clone();
    assert!(message.as_str().unwrap().contains("--acme-email"), "{message}");
    apply(json!({}));
    assert_eq!(proxy.get(HOST, "/").body.trim(), "hello");
}

#[test]
fn certificate_comes_from_a_secret_and_follows_it() {
    let proxy = Proxy::up("secured", &[]);
    let (one, two) = (pair(HOST), pair(HOST));
    let secret = |pair: &Pair| {
        proxy
            .davit
            .create_secret("web-tls", &[("tls.crt", &pair.chain), ("tls.key", &pair.key)]);
    };
    proxy.davit.apply(
        "web",
        web("hello", route(json!({"tls": {"secretRef": {"name": "web-tls"}}}))),
    );
    let app = proxy.wait_reason("web", "RouteInvalid");
    let message = condition(&app, "RoutesReady")["message"].clone();
    assert!(message.as_str().unwrap().contains("web-tls"), "{message}");

    secret(&one);
    let app = proxy.wait_ready("web");
    let url = format!("https://web.example.com:{}", proxy.https.number());
    assert_eq!(app["status"]["urls"], json!([url]));
    assert_eq!(
        proxy.get_https(HOST, "/", Some(one.ca.path())).body.trim(),
        "hello"
    );
    let plain = proxy.request("HEAD", HOST, "/cart").send();
    let location = format!("location: https://web.example.com:{}/cart", proxy.https.number());
    assert!(plain.body.to_lowercase().contains(&location), "{plain:?}");

    secret(&two);
    wait_for("the new certificate", super::PATIENCE, || {
        (proxy.get_https(HOST, "/", Some(two.ca.path())).status == 200).then_some(())
    });
    proxy.davit.patch("web", json!({"spec": {"routes": route(json!({"tls": {"secretRef": {"name": "web-tls"}, "redirect": false}}))}}));
    proxy.wait_ready("web");
    assert_eq!(proxy.get(HOST, "/").body.trim(), "hello");

    // A host without a certificate.
    proxy.davit.patch(
        "web",
        json!({"spec": {"routes": [{"host": "none.example.com", "tls": {}}]}}),
    );
    let app = proxy.wait_reason("web", "CertificatePending");
    assert_eq!(app["status"]["urls"], Value::Null);
    // One that another route has serves it too.
    let wildcard = pair("*.example.com");
    secret(&wildcard);
    proxy.davit.patch(
        "web",
        json!({"spec": {"routes": [{"host": "none.example.com", "tls": {}},
            {"host": "a.example.com", "tls": {"secretRef": {"name": "web-tls"}}}]}}),
    );
    proxy.wait_ready("web");
    assert_eq!(
        proxy
            .get_https("none.example.com", "/", Some(wildcard.ca.path()))
            .body
            .trim(),
        "hello"
    );
}

#[test]
fn certificate_that_expires_is_reported() {
    let proxy = Proxy::up("expiring", &[]);
    let secret = |days: i64| {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut made = rcgen::CertificateParams::new([HOST.to_owned()]).unwrap();
        let now = std::time::SystemTime::now();
        let day = std::time::Duration::from_hours(24);
        made.not_before = (now - day * 80).into();
        made.not_after = if days < 0 {
            now - day
        } else {
            now + day * u32::try_from(days).unwrap()
        }
        .into();
        let chain = made.self_signed(&key).unwrap().pem();
        proxy.davit.create_secret(
            "web-tls",
            &[("tls.crt", &chain), ("tls.key", &key.serialize_pem())],
        );
    };
    secret(3);
    proxy.davit.apply(
        "web",
        web("hello", route(json!({"tls": {"secretRef": {"name": "web-tls"}}}))),
    );
    let app = proxy.wait_reason("web", "CertificateExpires");
    let found = condition(&app, "RoutesReady");
    let message = found["message"].as_str().unwrap();
    assert!(
        found["status"] == "True" && message.contains("write a new one into the Secret"),
        "{found}"
    );
    let events = [
        "get",
        "events",
        "--field-selector=reason=CertificateExpires,type=Warning",
        "--output=name",
    ];
    wait_for("the event", super::PATIENCE, || {
        let namespace = ["--namespace", &proxy.davit.namespace];
        let found = crate::common::run(proxy.davit.kubectl().args(events).args(namespace));
        (!found.is_empty()).then_some(())
    });
    secret(-1);
    let app = proxy.wait_reason("web", "CertificateExpired");
    assert_eq!(condition(&app, "RoutesReady")["status"], "False");
    secret(60);
    proxy.wait_ready("web");
}

#[test]
fn hosts_are_limited_by_the_flag_and_the_namespace() {
    let proxy = Proxy::up("limited", &["--allowed-hosts", "*.apps.example.com"]);
    proxy
        .davit
        .apply("web", web("hello", json!([{"host": "web.example.com"}])));
    let app = proxy.wait_reason("web", "RouteNotAllowed");
    let message = condition(&app, "RoutesReady")["message"].clone();
    assert!(message.as_str().unwrap().contains("--allowed-hosts"), "{message}");
    let annotation = format!("davit.dev/allowed-hosts={HOST}");
    crate::common::run(
        proxy
            .davit
            .kubectl()
            .args(["annotate", "namespace", "limited", &annotation]),
    );
    proxy.wait_ready("web");
    assert_eq!(proxy.get(HOST, "/").body.trim(), "hello");
}
