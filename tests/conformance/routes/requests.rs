//! What an Application and its clients get of each other through a route.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{PATIENCE, Proxy};
use crate::common::docker::BASE_IMAGE;
use crate::common::wait_for;

const HOST: &str = "web.example.com";

/// Two replicas with a long page, their own names, and a program that shows a request; another page at a second port.
fn application(routes: &Value) -> Value {
    let script = "mkdir -p /w/cgi-bin /o; yes line | head -c 8192 > /w/long.txt; hostname > /w/name; hostname > /w/index.html; \
                  echo second > /o/index.html; \
                  printf '#!/bin/sh\\nprintf \"Content-Type: text/plain\\\\r\\\\n\\\\r\\\\n\"; env\\n' > /w/cgi-bin/env; \
                  chmod +x /w/cgi-bin/env; httpd -p 9090 -h /o; exec httpd -f -p 8080 -h /w";
    json!({
        "source": {"docker": {"image": BASE_IMAGE}},
        "command": ["sh", "-c", script],
        "replicas": 2,
        "ports": [{"name": "http", "containerPort": 8080}, {"name": "admin", "containerPort": 9090}],
        "healthCheck": {"http": {"path": "/", "port": "http"}, "interval": "1s"},
        "stopGracePeriod": "1s",
        "routes": routes,
    })
}

#[test]
fn requests_and_answers_pass_as_the_route_describes() {
    let proxy = Proxy::up("requests", &[]);
    let patch = |routes: Value| {
        proxy.davit.patch("web", json!({"spec": {"routes": routes}}));
        proxy.wait_ready("web")
    };
    let body = |host: &str, path: &str| proxy.get(host, path).body.trim().to_owned();

    // Names in other scripts; several routes; ports by name and by number.
    proxy.davit.apply(
        "web",
        application(&json!([
            {"host": "Bücher.example", "port": "http"},
            {"host": "*.bücher.example", "port": 9090},
            {"host": "x.bücher.example", "port": "http"},
            {"host": "bücher.example", "path": "/admin", "port": "admin", "stripPrefix": true},
        ])),
    );
    let app = proxy.wait_ready("web");
    let urls = ["", "/admin"].map(|path| proxy.url("xn--bcher-kva.example") + path);
    let named = proxy.url("x.xn--bcher-kva.example");
    assert_eq!(app["status"]["urls"], json!([urls[0], named, urls[1]]));
    assert!(body("xn--bcher-kva.example", "/long.txt").starts_with("line"));
    assert_eq!(body("a.xn--bcher-kva.example", "/"), "second");
    assert_ne!(body("x.xn--bcher-kva.example", "/"), "second");
    assert_eq!(body("XN--BCHER-KVA.example", "/admin/"), "second");

    // Headers of requests; those that are empty go.
    patch(json!([{"host": HOST, "port": "http", "headers": {
        "request": {"User-Agent": "of the route", "Referer": ""}, "response": {"Last-Modified": "", "X-Shop": "a \"b\" `c`"}}}]));
    let shown = proxy
        .request("GET", HOST, "/cgi-bin/env")
        .header("Referer: http://other.example.com/")
        .send()
        .body;
    assert!(shown.contains("HTTP_USER_AGENT=of the route"), "{shown}");
    assert!(!shown.contains("other.example.com"), "{shown}");
    let head = proxy
        .request("GET", HOST, "/name")
        .include()
        .send()
        .body
        .to_lowercase();
    assert!(
        head.contains("x-shop: a \"b\" `c`") && !head.contains("last-modified"),
        "{head}"
    );

    // Compression, for clients that accept it.
    patch(json!([{"host": HOST, "port": "http", "compress": true}]));
    // The proxy leaves answers without a body alone.
    let accepting = |encoding: &str| {
        let request = proxy.request("GET", HOST, "/long.txt").include();
        let answer = request.header(&format!("Accept-Encoding: {encoding}")).send();
        answer.body.to_lowercase()
    };
    let (short, long) = (accepting("gzip"), accepting("identity"));
    assert!(
        short.contains("content-encoding: gzip") && short.len() < 4096,
        "{short}"
    );
    assert!(!long.contains("content-encoding") && long.len() > 8192, "{long}");

    // One client stays at one replica; others go to all.
    patch(json!([{"host": HOST, "port": "http", "sticky": true}]));
    wait_for("answers of both replicas", PATIENCE, || {
        let names: BTreeSet<String> = (0..10).map(|_| body(HOST, "/name")).collect();
        (names.len() == 2).then_some(())
    });
    let first = proxy.request("GET", HOST, "/name").include().send().body;
    let cookie = first
        .lines()
        .find_map(|line| {
            line.to_lowercase()
                .starts_with("set-cookie: ")
                .then(|| line[12..].to_owned())
        })
        .unwrap();
    let cookie = format!("Cookie: {}", cookie.split(';').next().unwrap());
    let name = first.lines().last().unwrap().trim().to_owned();
    for _ in 0..20 {
        let again = proxy.request("GET", HOST, "/name").header(&cookie).send();
        assert_eq!(again.body.trim(), name);
    }

    // Clients by address and by htpasswd; the redirect of one request is not permanent.
    proxy.davit.create_secret(
        "lines",
        &[(
            "auth",
            "jane:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\njoe:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n",
        )],
    );
    patch(
        json!([{"host": HOST, "port": "http", "allowFrom": ["0.0.0.0/0", "::/0"], "basicAuthSecretRef": {"name": "lines"},
        "maxBodySize": "1Ki", "redirects": [{"from": "^(https?://[^/]+)/old$", "to": "${1}/name"}]}]),
    );
    let as_user = |user: &str, password: &str| {
        let request = proxy.request("GET", HOST, "/name").basic(user, password);
        request.send().status
    };
    assert_eq!(
        [
            as_user("jane", "secret"),
            as_user("joe", "secret"),
            as_user("joe", "other")
        ],
        [200, 200, 401]
    );
    let moved = proxy.request("GET", HOST, "/old").include().send();
    let location = format!("location: http://{HOST}/name");
    assert!(
        moved.status == 302 && moved.body.to_lowercase().contains(&location),
        "{moved:?}"
    );

    // A middleware in a file of the user's, beside Davit's.
    let own = "http: {middlewares: {own: {headers: {customResponseHeaders: {X-Own: mine}}}}}";
    std::fs::write(proxy.davit.data_dir().join("proxy/own.yml"), own).unwrap();
    proxy.davit.patch(
        "web",
        json!({"spec": {"routes": [{"host": HOST, "port": "http", "middlewares": ["own", "own@file"]}]}}),
    );
    proxy.wait_ready("web");
    let head = proxy.request("HEAD", HOST, "/name").send().body.to_lowercase();
    assert!(head.contains("x-own: mine"), "{head}");
}
