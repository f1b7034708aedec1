//! The real source-controller and kustomize-controller of Flux on the API server of `davit up`: they apply Applications from Git,
//! wait for them, fail early, and prune them, as docs/gitops.md says.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::davit::Davit;
use crate::common::docker::BASE_IMAGE;
use crate::common::git_repo::GitRepo;
use crate::common::git_server::{Access, GitHttps};
use crate::common::kube_apiserver::kubectl;
use crate::common::peers;
use crate::common::process::{Daemon, Port, User, command};
use crate::common::{run, wait_for};

/// The folder that `scripts/build-peer` builds both controllers and their CRDs into.
const FLUX: &str = "flux-1.9.6";
/// The timeout of the Kustomization, in seconds: a failure that comes much earlier was not waited for.
const TIMEOUT: u64 = 600;

/// The two controllers. Outside of a cluster they elect no leader.
struct Flux {
    _controllers: Vec<Daemon>,
    _ports: Vec<Port>,
    _dir: tempfile::TempDir,
}

impl Flux {
    fn start(kubeconfig: &Path) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let [storage, source, kustomize] = [Port::take(), Port::take(), Port::take()];
        let ready = |port: &Port| {
            let health = format!("http://127.0.0.1:{}/readyz", port.number());
            crate::common::http::request("GET", &health).send().status == 200
        };
        let start = |name: &str, health: &Port, flags: &[String]| {
            let mut controller = command(peers::file(&format!("{FLUX}/{name}")), User::Own);
            controller
                .env("KUBECONFIG", kubeconfig)
                .env("RUNTIME_NAMESPACE", "flux-system")
                .env("HOME", dir.path())
                .env("TMPDIR", dir.path())
                .args(["--watch-all-namespaces", "--metrics-addr=0"])
                .arg(format!("--health-addr=127.0.0.1:{}", health.number()))
                .args(flags);
            let log = dir.path().join(format!("{name}.log"));
            let mut controller = Daemon::start(name, controller, &log);
            controller.wait_ready(Duration::from_mins(1), || ready(health));
            controller
        };
        let address = format!("127.0.0.1:{}", storage.number());
        let controllers = vec![
            start(
                "source-controller",
                &source,
                &[
                    format!("--storage-path={}", dir.path().display()),
                    format!("--storage-addr={address}"),
                    format!("--storage-adv-addr={address}"),
                ],
            ),
            start("kustomize-controller", &kustomize, &[]),
        ];
        Self {
            _controllers: controllers,
            _ports: vec![storage, source, kustomize],
            _dir: dir,
        }
    }
}

fn applications(command: &str) -> String {
    let app = |name: &str, command: &str| {
        json!({"apiVersion": "davit.dev/v1alpha1", "kind": "Application", "metadata": {"name": name},
            "spec": {"source": {"docker": {"image": BASE_IMAGE}}, "command": ["sh", "-c", command], "stopGracePeriod": "0s"}})
        .to_string()
    };
    format!(
        "{}\n---\n{}\n",
        app("shop", "sleep 10000"),
        app("worker", command)
    )
}

#[test]
fn flux_applies_waits_fails_early_and_prunes() {
    let davit = Davit::up("flux");
    let kube = |args: &[&str]| run(kubectl(&davit.kubeconfig()).args(args));
    let folder = peers::file(&format!("{FLUX}/source-controller"));
    let crds = folder.parent().unwrap().to_str().unwrap();
    kube(&["apply", "--server-side", "--filename", crds]);
    kube(&[
        "wait",
        "--for=condition=Established",
        "--all",
        "customresourcedefinitions",
    ]);
    kube(&["create", "namespace", "flux-system"]);
    let _flux = Flux::start(&davit.kubeconfig());

    let settings = "{\"apiVersion\": \"v1\", \"kind\": \"ConfigMap\", \"metadata\": {\"name\": \"settings\"}, \"data\": {\"a\": \"b\"}}";
    let repo = GitRepo::with(&[
        ("shop/apps.yaml", &applications("sleep 10000")),
        ("shop/settings.yaml", settings),
    ]);
    let server = GitHttps::start();
    server.publish("shop.git", &repo);
    kube(&[
        "create",
        "secret",
        "generic",
        "server",
        "--namespace=flux-system",
        &format!("--from-file=ca.crt={}", server.ca.ca_file.display()),
    ]);
    let flux = |kind: &str, group: &str, spec: Value| {
        json!({"apiVersion": format!("{group}.toolkit.fluxcd.io/v1"), "kind": kind,
            "metadata": {"name": "shop", "namespace": "flux-system"}, "spec": spec})
    };
    let source = flux(
        "GitRepository",
        "source",
        json!({"interval": "1s", "url": server.url(Access::Anonymous, "shop.git"), "ref": {"branch": "main"}, "secretRef": {"name": "server"}}),
    );
    let kustomization = flux(
        "Kustomization",
        "kustomize",
        json!({"interval": "1h", "sourceRef": {"kind": "GitRepository", "name": "shop"}, "path": "./shop", "targetNamespace": davit.namespace,
            "prune": true, "wait": true, "timeout": format!("{TIMEOUT}s"), "retryInterval": "1h"}),
    );
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("flux.json");
    std::fs::write(
        &file,
        json!({"apiVersion": "v1", "kind": "List", "items": [source, kustomization]}).to_string(),
    )
    .unwrap();
    kube(&["apply", "--filename", file.to_str().unwrap()]);

    // The Ready condition of the Kustomization for this commit, when Flux has decided.
    let decided = |commit: &str| {
        wait_for("a decision of Flux", Duration::from_mins(4), || {
            let found: Value = serde_json::from_str(&kube(&[
                "get",
                "kustomizations",
                "shop",
                "-n=flux-system",
                "-o=json",
            ]))
            .ok()?;
            let status = &found["status"];
            let ready = status["conditions"]
                .as_array()?
                .iter()
                .find(|condition| condition["type"] == "Ready")?
                .clone();
            let is_of_it = status["lastAttemptedRevision"].as_str()?.ends_with(commit);
            (is_of_it
                && ready["status"] != "Unknown"
                && ready["observedGeneration"] == found["metadata"]["generation"])
                .then_some(ready)
        })
    };

    let first = decided(&repo.head());
    assert_eq!(first["status"], "True", "{first}");
    for name in ["shop", "worker"] {
        assert_eq!(
            davit.application(name)["status"]["phase"],
            "done",
            "ready means that {name} runs"
        );
    }
    assert_eq!(davit.list_in_engine("containers").len(), 2);

    let began = Instant::now();
    let broken = repo.commit(
        "break it",
        &[("shop/apps.yaml", &applications("echo no database; exit 3"))],
    );
    server.publish("shop.git", &repo);
    let failed = decided(&broken);
    assert_eq!(failed["status"], "False", "{failed}");
    assert_eq!(failed["reason"], "HealthCheckFailed", "{failed}");
    let message = failed["message"].as_str().unwrap();
    assert!(message.contains("Application/flux/worker"), "{message}");
    assert!(!message.contains("Application/flux/shop"), "{message}");
    assert!(
        began.elapsed() < Duration::from_secs(TIMEOUT / 2),
        "it did not wait for its timeout"
    );
    let events = kube(&["events", "-n=flux-system", "--for=kustomization/shop"]);
    assert!(events.contains("HealthCheckFailed"), "{events}");

    let mended = repo.commit("mend it", &[("shop/apps.yaml", &applications("sleep 20000"))]);
    server.publish("shop.git", &repo);
    let ready = decided(&mended);
    assert_eq!(ready["status"], "True", "{ready}");

    std::fs::remove_file(repo.path().join("shop/apps.yaml")).unwrap();
    let removed = repo.commit("remove the applications", &[]);
    server.publish("shop.git", &repo);
    assert_eq!(decided(&removed)["status"], "True");
    wait_for("the Applications to be pruned", Duration::from_mins(1), || {
        (kube(&["get", "applications.davit.dev", "-n=flux", "-o=name"]).is_empty()
            && davit.list_in_engine("containers").is_empty())
        .then_some(())
    });
    let left = kube(&["get", "configmaps", "-n=flux", "-o=name"]);
    assert!(
        left.contains("configmap/settings"),
        "what is still in Git stays: {left}"
    );

    kube(&[
        "delete",
        "kustomizations",
        "shop",
        "-n=flux-system",
        "--timeout=60s",
    ]);
    let left = kube(&["get", "configmaps", "-n=flux", "-o=name"]);
    assert!(!left.contains("settings"), "{left}");
}
