//! 1,000 Applications at once on Kubernetes with kwok's nodes: the time until all are done, the memory of the controller, and its
//! requests, beside what Flux publishes. `APPLICATIONS` in the environment makes a small run.
//!
//! The figures of Flux 2.6 are those of `RESULTS.md` of <https://github.com/fluxcd/flux-benchmark>: 1,000 Kustomizations of three
//! objects and of a Deployment without Pods, with 16 cores for the cluster and 2 of them for kustomize-controller. The Applications here
//! have a Deployment, a Service and one Pod, and are done when the Pod is ready; cluster and controller share the cores of one machine.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::docker::{BASE_IMAGE, base_image};
use crate::common::kwok::Kwok;
use crate::common::registry::Registry;
use crate::common::run;
use crate::memory;

/// Of kustomize-controller: until the Kustomizations are ready, and its memory.
const FLUX: &str = "Flux 2.6: 256 s, 175 MiB";
/// The account of the controller.
const ACCOUNT: &str = "system:serviceaccount:davit-system:davit";
/// How many Pods are on a node at most.
const PODS: usize = 200;
/// How often Davit looks at the source of an Application, if `pollInterval` says nothing else.
const LOOK: Duration = Duration::from_mins(5);
/// The longest that all Applications may take.
const PATIENCE: Duration = Duration::from_mins(20);

struct Controller(Child);

impl Controller {
    fn start(kubeconfig: &Path, dir: &Path, registry: &Registry) -> Self {
        let log = std::fs::File::create(dir.join("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_davit"))
            .args(["controller", "--runtime=kubernetes"])
            .arg(format!("--insecure-registry={}", registry.address))
            .arg(format!("--data-dir={}", dir.join("data").display()))
            .env("KUBECONFIG", kubeconfig)
            // As in the image.
            .env("GLIBC_TUNABLES", "glibc.malloc.arena_max=1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The phases of all Applications.
fn phases(cluster: &Kwok) -> Vec<String> {
    let get = [
        "get",
        "applications.davit.dev",
        "--output=jsonpath={.items[*].status.phase}",
    ];
    let phases = run(cluster.kubectl().args(get));
    phases.split_whitespace().map(str::to_owned).collect()
}

/// From `kubectl create` to done, and five minutes in which nothing happens.
pub fn applications() {
    let count: usize = std::env::var("APPLICATIONS").map_or(1000, |text| text.parse().expect("a number"));
    base_image();
    let registry = Registry::start_open();
    registry.push(BASE_IMAGE, "acme/shop:1");
    let cluster = Kwok::start(count / PODS + 1);
    let kubeconfig = cluster.install(&Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/kubernetes"));
    let dir = tempfile::tempdir().unwrap();
    let controller = Controller::start(&kubeconfig, dir.path(), &registry);
    let pid = controller.0.id();
    let requests = || cluster.server.requests_of(ACCOUNT).len();
    // The last watch of its start.
    let watches = || {
        let all = cluster.server.requests_of(ACCOUNT);
        all.iter()
            .any(|(verb, _, resource, _)| verb == "watch" && resource == "pods")
    };
    while !watches() {
        std::thread::sleep(Duration::from_millis(100));
    }
    let (before, cpu_before) = (requests(), crate::cpu(pid));
    let at_rest = memory(pid, "VmRSS");

    let application = |number: usize| {
        json!({"apiVersion": "davit.dev/v1alpha1", "kind": "Application", "metadata": {"name": format!("app-{number}")},
            "spec": {"source": {"docker": {"image": registry.image("acme/shop:1")}},
                "ports": [{"name": "http", "containerPort": 8080}]}})
    };
    let items: Vec<Value> = (0..count).map(application).collect();
    let file = dir.path().join("applications.json");
    std::fs::write(
        &file,
        json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string(),
    )
    .unwrap();
    let began = Instant::now();
    run(cluster.kubectl().args(["create", "--filename"]).arg(&file));
    let created = began.elapsed();
    loop {
        let phases = phases(&cluster);
        let done = phases.iter().filter(|phase| *phase == "done").count();
        if done == count {
            break;
        }
        assert!(
            began.elapsed() < PATIENCE,
            "{done} of {count} are done:\n{}",
            std::fs::read_to_string(dir.path().join("log")).unwrap()
        );
        std::thread::sleep(Duration::from_secs(2));
    }
    let took = began.elapsed();
    let made = requests() - before;
    let cpu = crate::cpu(pid) - cpu_before;
    println!(
        "{count} Applications on Kubernetes: done after {:.0} s, the last was created after {:.0} s ({FLUX}, for 1,000)",
        took.as_secs_f64(),
        created.as_secs_f64()
    );
    println!(
        "controller: {at_rest:.0} MiB before, {:.0} MiB after, {:.0} MiB at most; {made} requests, {:.0} for each Application; {:.0} ms of CPU for each",
        memory(pid, "VmRSS"),
        memory(pid, "VmHWM"),
        made as f64 / count as f64,
        cpu as f64 / count as f64
    );
    // What the last change has caused is over.
    std::thread::sleep(Duration::from_secs(10));
    let (before, cpu) = (requests(), crate::cpu(pid));
    std::thread::sleep(LOOK);
    let minutes = LOOK.as_secs_f64() / 60.0;
    let asked = (requests() - before) as f64;
    println!(
        "idle: {:.0} requests and {:.0} ms of CPU in a minute; {:.1} requests for each look at a source, every five minutes",
        asked / minutes,
        (crate::cpu(pid) - cpu) as f64 / minutes,
        asked / count as f64
    );
}
