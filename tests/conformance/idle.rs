//! An Application for which there is nothing to do causes no requests, on Kubernetes with a node of kwok. A look at its source, every
//! five minutes, is none of that.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::docker::{BASE_IMAGE, base_image};
use crate::common::kwok::Kwok;
use crate::common::registry::Registry;
use crate::common::{run, wait_for};
use crate::rights::ACCOUNT;

/// How long nothing may be requested. Watches are renewed less often.
const QUIET: Duration = Duration::from_secs(45);

struct Controller(Child);

impl Drop for Controller {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn idle_applications_cause_no_requests() {
    base_image();
    let registry = Registry::start_open();
    registry.push(BASE_IMAGE, "acme/shop:1");
    let cluster = Kwok::start(1);
    let kubeconfig = cluster.install(&Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/kubernetes"));
    let dir = tempfile::tempdir().unwrap();
    let log = std::fs::File::create(dir.path().join("log")).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_davit"))
        .args(["controller", "--runtime=kubernetes"])
        .arg(format!("--insecure-registry={}", registry.address))
        .arg(format!("--data-dir={}", dir.path().join("data").display()))
        .env("KUBECONFIG", &kubeconfig)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    let _controller = Controller(child);

    let application = |name: &str, more: &Value| {
        let mut spec = json!({"source": {"docker": {"image": registry.image("acme/shop:1")}}});
        spec.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        json!({"apiVersion": "davit.dev/v1alpha1", "kind": "Application", "metadata": {"name": name}, "spec": spec})
    };
    let items = [
        application(
            "web",
            &json!({"replicas": 2, "ports": [{"name": "http", "containerPort": 8080}]}),
        ),
        application("job", &json!({"restartPolicy": {"condition": "Never"}})),
        application("stopped", &json!({"stopped": true})),
    ];
    let file = dir.path().join("objects.json");
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
    std::fs::write(&file, list.to_string()).unwrap();
    run(cluster.kubectl().args(["create", "--filename"]).arg(&file));
    // The job ends at once, and is not started again.
    for (name, phase) in [("web", "done"), ("job", "error"), ("stopped", "idle")] {
        let reached = format!("--for=jsonpath={{.status.phase}}={phase}");
        let object = format!("applications.davit.dev/{name}");
        run(cluster
            .kubectl()
            .args(["wait", &reached, "--timeout=60s", &object]));
    }

    let requests = || cluster.server.requests_of(ACCOUNT).len();
    let (mut count, mut since) = (requests(), Instant::now());
    wait_for("requests to end", 4 * QUIET, || {
        // The record of all requests is long.
        std::thread::sleep(Duration::from_millis(500));
        let now = requests();
        if now != count {
            (count, since) = (now, Instant::now());
        }
        (since.elapsed() > QUIET).then_some(())
    });
    let all = cluster.server.requests_of(ACCOUNT);
    assert!(
        all.iter()
            .any(|(verb, _, resource, _)| verb == "watch" && resource == "deployments"),
        "{all:?}"
    );
    // A change of the cluster is noticed all the same.
    run(cluster
        .kubectl()
        .args(["delete", "service", "web", "--wait=false"]));
    wait_for("the Service to be put right", Duration::from_secs(30), || {
        let get = ["get", "service", "web", "--ignore-not-found", "--output=name"];
        (!run(cluster.kubectl().args(get)).is_empty()).then_some(())
    });
    assert!(requests() > count);
}
