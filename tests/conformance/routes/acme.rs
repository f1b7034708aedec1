//! A certificate by ACME, from pebble, which asks Traefik for the challenge as Let's Encrypt does.

use std::process::Command;

use serde_json::json;

use super::{Proxy, web};
use crate::common::http::request;
use crate::common::process::{Daemon, Port};
use crate::common::{peers, run, wait_for};

const VERSION: &str = "2.10.1";

#[test]
fn certificate_comes_from_an_acme_server() {
    let dir = tempfile::tempdir().unwrap();
    // The engine's machine, as containers of every network reach it.
    let shown = run(Command::new("ip").args(["-4", "-o", "address", "show", "docker0"]));
    let machine = shown
        .split_whitespace()
        .nth(3)
        .unwrap()
        .split('/')
        .next()
        .unwrap()
        .to_owned();
    let made = rcgen::generate_simple_self_signed([machine.clone()]).unwrap();
    std::fs::write(dir.path().join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(dir.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();

    let [directory, management, names, records] = [(); 4].map(|()| Port::take());
    let server = format!("https://{machine}:{}/dir", directory.number());
    let proxy = Proxy::up(
        "acme",
        &[
            "--acme-email",
            "admin@example.com",
            "--acme-server",
            &server,
            "--traefik-arg=--certificatesresolvers.letsencrypt.acme.cacertificates=/etc/traefik/dynamic/ca.pem",
        ],
    );
    let (from, to) = (
        dir.path().join("cert.pem"),
        proxy.davit.data_dir().join("proxy/ca.pem"),
    );
    // Davit makes the directory after its API server is ready.
    wait_for("the directory of the configuration", super::PATIENCE, || {
        std::fs::copy(&from, &to).ok()
    });
    let config = json!({"pebble": {
        "listenAddress": format!("0.0.0.0:{}", directory.number()),
        "managementListenAddress": format!("127.0.0.1:{}", management.number()),
        "certificate": dir.path().join("cert.pem"),
        "privateKey": dir.path().join("key.pem"),
        "httpPort": proxy.http.number(),
        "tlsPort": proxy.https.number(),
        "ocspResponderURL": "",
        "externalAccountBindingRequired": false,
    }});
    let file = dir.path().join("pebble.json");
    std::fs::write(&file, config.to_string()).unwrap();
    let folder = peers::file(&format!("pebble-{VERSION}/pebble"))
        .parent()
        .unwrap()
        .to_owned();
    let mut dns = Command::new(folder.join("pebble-challtestsrv"));
    let name_server = format!("127.0.0.1:{}", names.number());
    dns.args([
        "-defaultIPv6",
        "",
        "-doh",
        "",
        "-http01",
        "",
        "-https01",
        "",
        "-tlsalpn01",
        "",
    ]);
    dns.args([
        "-dnsserver",
        &name_server,
        "-management",
        &format!("127.0.0.1:{}", records.number()),
    ]);
    let _dns = Daemon::start("pebble-challtestsrv", dns, &dir.path().join("dns.log"));
    let mut pebble = Command::new(folder.join("pebble"));
    pebble
        .arg("-config")
        .arg(&file)
        .args(["-dnsserver", &name_server]);
    // Without this it waits up to 15 s before each validation, and refuses some nonces.
    pebble
        .env("PEBBLE_VA_NOSLEEP", "1")
        .env("PEBBLE_WFE_NONCEREJECT", "0");
    let _pebble = Daemon::start("pebble", pebble, &dir.path().join("pebble.log"));
    wait_for("pebble", super::PATIENCE, || {
        (request("GET", &server).insecure().send().status == 200).then_some(())
    });

    proxy.davit.apply(
        "web",
        web(
            "hello",
            json!([{"host": "web.example.com", "tls": {"certResolver": "letsencrypt"}}]),
        ),
    );
    let app = proxy.wait_ready("web");
    let url = format!("https://web.example.com:{}", proxy.https.number());
    assert_eq!(app["status"]["urls"], json!([url]));
    let root = dir.path().join("root.pem");
    let roots = request(
        "GET",
        &format!("https://127.0.0.1:{}/roots/0", management.number()),
    )
    .insecure()
    .send();
    std::fs::write(&root, roots.body).unwrap();
    assert_eq!(
        proxy.get_https("web.example.com", "/", Some(&root)).body.trim(),
        "hello"
    );

    // The authority finds no server at the address of the name.
    let elsewhere = request("POST", &format!("http://127.0.0.1:{}/add-a", records.number()));
    let record = json!({"host": "away.example.com.", "addresses": ["127.0.0.9"]});
    elsewhere.json(&record).send().expect(200);
    proxy.davit.patch(
        "web",
        json!({"spec": {"routes": [{"host": "away.example.com", "tls": {"certResolver": "letsencrypt"}}]}}),
    );
    let app = proxy.wait_reason("web", "CertificateRefused");
    let message = crate::common::davit::condition(&app, "RoutesReady")["message"].clone();
    let message = message.as_str().unwrap();
    assert!(
        message.contains("the certificate authority refused: connection"),
        "{message}"
    );
    assert_eq!(app["status"]["urls"], serde_json::Value::Null);
}
