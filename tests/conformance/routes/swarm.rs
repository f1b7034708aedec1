//! Routes on a Docker Swarm: Traefik is a container of the manager, in the overlay networks of the namespaces.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::image;
use crate::common::docker::BASE_IMAGE;
use crate::common::engine::Engine;
use crate::common::kube_apiserver::kubectl;
use crate::common::{run, try_run, wait_for};

const PATIENCE: Duration = Duration::from_mins(2);

/// A Davit in the network of the engine, which ends with the test.
struct Swarm {
    engine: Engine,
    davit: Option<Child>,
    dir: tempfile::TempDir,
}

impl Drop for Swarm {
    fn drop(&mut self) {
        if let Some(mut davit) = self.davit.take() {
            let _ = davit.kill();
            let _ = davit.wait();
        }
    }
}

impl Swarm {
    fn start() -> Self {
        let engine = Engine::swarm();
        let image = image();
        engine.load(&image);
        run(engine.enter().args(["ip", "link", "set", "lo", "up"]));
        let dir = tempfile::tempdir().unwrap();
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let davit = engine
            .enter()
            .arg(env!("CARGO_BIN_EXE_davit"))
            .args([
                "up",
                "--runtime=swarm",
                "--listen=127.0.0.1:7443",
                "--docker-host",
                &engine.host(),
            ])
            .arg("--data-dir")
            .arg(dir.path().join("data"))
            .args(["--traefik", "--traefik-image", &image])
            .args(["--traefik-http=127.0.0.1:8080", "--traefik-https=127.0.0.1:8443"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let swarm = Self {
            engine,
            davit: Some(davit),
            dir,
        };
        wait_for("the API server", PATIENCE, || {
            try_run(&mut swarm.kubectl(&["get", "namespaces"]))
                .0
                .then_some(())
        });
        swarm
    }

    fn kubectl(&self, args: &[&str]) -> Command {
        let plain = kubectl(&self.dir.path().join("data/kubeconfig"));
        let mut command = self.engine.enter();
        command.arg(plain.get_program()).args(plain.get_args()).args(args);
        for (key, value) in plain.get_envs() {
            match value {
                Some(value) => command.env(key, value),
                None => command.env_remove(key),
            };
        }
        command
    }

    fn app(&self) -> Value {
        let (_, text, _) =
            try_run(&mut self.kubectl(&["get", "applications.davit.dev", "web", "--output=json"]));
        serde_json::from_str(&text).unwrap_or_default()
    }

    fn wait(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let end = std::time::Instant::now() + PATIENCE;
        loop {
            let app = self.app();
            if wanted(&app) {
                return app;
            }
            let log = || std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            assert!(
                std::time::Instant::now() < end,
                "{what}: {}\n{}",
                app["status"],
                log()
            );
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn get(&self, host: &str) -> String {
        let mut curl = self.engine.enter();
        curl.args([
            "curl",
            "--silent",
            "--max-time",
            "10",
            "--write-out",
            "%{http_code}",
            "--header",
        ])
        .arg(format!("Host: {host}"))
        .arg("http://127.0.0.1:8080/");
        try_run(&mut curl).1
    }
}

#[test]
fn routes_lead_to_the_tasks_of_a_swarm() {
    let swarm = Swarm::start();
    let script = "mkdir /w; hostname >/w/index.html; exec httpd -f -p 8080 -h /w";
    let app = json!({"apiVersion": "davit.dev/v1alpha1", "kind": "Application", "metadata": {"name": "web"}, "spec": {
        "source": {"docker": {"image": BASE_IMAGE}},
        "command": ["sh", "-c", script],
        "replicas": 2,
        "ports": [{"name": "http", "containerPort": 8080}],
        "stopGracePeriod": "1s",
        "routes": [{"host": "web.example.com"}]}});
    let file = swarm.dir.path().join("app.json");
    std::fs::write(&file, app.to_string()).unwrap();
    run(&mut swarm.kubectl(&["apply", "--filename", file.to_str().unwrap()]));
    let ready = |app: &Value| {
        let conditions = app["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        conditions
            .iter()
            .any(|it| it["type"] == "RoutesReady" && it["reason"] == "RoutesReady")
    };
    let app = swarm.wait("the route to be ready", |app| {
        ready(app) && app["status"]["phase"] == "done"
    });
    assert_eq!(app["status"]["urls"][0], "http://web.example.com:8080");
    let mut names = std::collections::BTreeSet::new();
    wait_for("an answer of both tasks", PATIENCE, || {
        let answer = swarm.get("web.example.com");
        let name = answer.strip_suffix("200")?.trim().to_owned();
        names.insert(name);
        (names.len() == 2).then_some(())
    });
    assert_eq!(swarm.get("other.example.com"), "404 page not found\n404");
    let sticky = json!({"spec": {"routes": [{"host": "web.example.com", "sticky": true}]}}).to_string();
    run(&mut swarm.kubectl(&[
        "patch",
        "applications.davit.dev",
        "web",
        "--type=merge",
        "--patch",
        &sticky,
    ]));
    swarm.wait("sticky to be refused", |app| {
        let conditions = app["status"]["conditions"].to_string();
        conditions.contains("RouteInvalid")
            && conditions.contains("sticky cannot be used with --runtime swarm")
    });
    run(&mut swarm.kubectl(&["delete", "applications.davit.dev", "web", "--timeout=90s"]));
    wait_for("the route to go", PATIENCE, || {
        swarm.get("web.example.com").ends_with("404").then_some(())
    });
    wait_for("the network to go although Traefik was in it", PATIENCE, || {
        let list = [
            "network",
            "ls",
            "--quiet",
            "--filter",
            "label=dev.davit.namespace=default",
        ];
        run(swarm.engine.docker().args(list)).is_empty().then_some(())
    });
}
