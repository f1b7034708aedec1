//! A Traefik that the user runs: Davit writes into its directory and observes its API.

use serde_json::{Value, json};

use super::{PATIENCE, web};
use crate::common::davit::{Davit, condition};
use crate::common::http::request;
use crate::common::process::{Daemon, Port, User, command};
use crate::common::{peers, wait_for};

#[test]
fn traefik_of_the_user_gets_the_routes() {
    let dir = tempfile::tempdir().unwrap();
    let directory = dir.path().join("dynamic");
    std::fs::create_dir(&directory).unwrap();
    // A middleware of the user's own.
    let own = "http: {middlewares: {own: {headers: {customResponseHeaders: {X-Own: mine}}}}}";
    std::fs::write(directory.join("own.yml"), own).unwrap();
    let [http, https, api] = [(); 3].map(|()| Port::take());
    let place = |port: &Port| format!("127.0.0.1:{}", port.number());
    let mut serve = command(peers::file("traefik-3.6.7/traefik"), User::Own);
    serve
        .arg(format!("--providers.file.directory={}", directory.display()))
        .arg(format!("--entrypoints.web.address={}", place(&http)))
        .arg(format!("--entrypoints.websecure.address={}", place(&https)))
        .arg(format!("--entrypoints.traefik.address={}", place(&api)))
        .args(["--api.insecure=true", "--metrics.prometheus=true"])
        // An authority that never answers.
        .args([
            "--certificatesresolvers.le.acme.email=a@example.com",
            "--certificatesresolvers.le.acme.httpchallenge.entrypoint=web",
        ])
        .arg("--certificatesresolvers.le.acme.caserver=https://127.0.0.1:9/dir")
        .arg(format!(
            "--certificatesresolvers.le.acme.storage={}",
            dir.path().join("acme.json").display()
        ));
    let _traefik = Daemon::start("traefik", serve, &dir.path().join("traefik.log"));
    let davit = Davit::with_flags(
        "owned-by-user",
        &[
            "--traefik-config",
            directory.to_str().unwrap(),
            "--traefik-api",
            &format!("http://{}", place(&api)),
            "--traefik-http",
            &place(&http),
            "--traefik-https",
            &place(&https),
        ],
    );
    let reason = |reason: &str| {
        davit.wait_until("web", PATIENCE.as_secs(), reason, |app| {
            let found = condition(app, "RoutesReady");
            found["reason"] == reason && found["observedGeneration"] == app["metadata"]["generation"]
        })
    };
    davit.apply(
        "web",
        web(
            "hello",
            json!([{"host": "web.example.com", "middlewares": ["own@file"]}]),
        ),
    );
    let app = reason("RoutesReady");
    assert_eq!(app["status"]["urls"], json!(["http://web.example.com"]));
    let answer = request("GET", &format!("http://{}/", place(&http)))
        .header("Host: web.example.com")
        .include()
        .send();
    assert!(
        answer.body.contains("hello") && answer.body.to_lowercase().contains("x-own: mine"),
        "{answer:?}"
    );
    // A name that has no address is the reason why there is no certificate.
    davit.patch(
        "web",
        json!({"spec": {"routes": [{"host": "web.invalid", "tls": {"certResolver": "le"}}]}}),
    );
    let app = reason("DnsElsewhere");
    let message = condition(&app, "RoutesReady")["message"].clone();
    assert!(
        message
            .as_str()
            .unwrap()
            .contains("the name has no address in DNS"),
        "{message}"
    );
    assert_eq!(app["status"]["urls"], Value::Null);
    davit.delete_and_wait("web");
    wait_for("the route to go", PATIENCE, || {
        let answer = request("GET", &format!("http://{}/", place(&http)))
            .header("Host: web.invalid")
            .send();
        (answer.status == 404).then_some(())
    });
}
