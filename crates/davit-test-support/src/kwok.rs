//! A Kubernetes whose nodes are made up: the API server, the scheduler and the controllers are real, and kwok reports of nodes and Pods
//! what a kubelet would. For `make test-peers` and `make bench-peers`.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::kube_apiserver::KubeApiserver;
use super::peers;
use super::process::{Daemon, Port, User, command};
use super::{run, try_run, wait_for};

/// A running cluster, which records every request.
pub struct Kwok {
    /// Its API server.
    pub server: KubeApiserver,
    _nodes: Daemon,
    _scheduler: Daemon,
    _port: Port,
    _dir: TempDir,
}

impl Kwok {
    /// Starts one with this many nodes, each of which has room for 250 Pods.
    pub fn start(nodes: usize) -> Self {
        let mut server = KubeApiserver::start_audited();
        server.start_all_controllers();
        let dir = tempfile::tempdir().unwrap();
        let port = Port::take();
        let mut serve = command(peers::file("kube-scheduler-1.36.3/kube-scheduler"), User::Own);
        serve
            .arg("--kubeconfig")
            .arg(&server.kubeconfig)
            .args(["--leader-elect=false", "--bind-address=127.0.0.1"])
            .args(["--kube-api-qps=1000", "--kube-api-burst=1000"])
            .arg(format!("--secure-port={}", port.number()))
            .arg(format!("--cert-dir={}", dir.path().join("certs").display()));
        let scheduler = Daemon::start("kube-scheduler", serve, &dir.path().join("scheduler.log"));
        let mut serve = command(peers::file("kwok-0.8.0/kwok"), User::Own);
        serve
            .arg("--kubeconfig")
            .arg(&server.kubeconfig)
            .args(["--manage-all-nodes", "--node-lease-duration-seconds=40"])
            .arg("--config")
            .arg(peers::file("kwok-0.8.0/stages.yaml"));
        let mut kwok = Daemon::start("kwok", serve, &dir.path().join("kwok.log"));

        let room = json!({"cpu": "64", "memory": "256Gi", "pods": "250"});
        let node = |number: usize| {
            json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": format!("node-{number}")},
                "status": {"allocatable": room, "capacity": room}})
        };
        let list =
            json!({"apiVersion": "v1", "kind": "List", "items": (0..nodes).map(node).collect::<Vec<_>>()});
        let file = dir.path().join("nodes.json");
        std::fs::write(&file, list.to_string()).unwrap();
        run(server.kubectl().args(["create", "--filename"]).arg(&file));
        kwok.wait_ready(Duration::from_mins(1), || {
            let (_, text, _) = try_run(server.kubectl().args(["get", "nodes", "--output=json"]));
            let list: Value = serde_json::from_str(&text).unwrap_or_default();
            let ready = |node: &Value| {
                let conditions = node["status"]["conditions"]
                    .as_array()
                    .cloned()
                    .unwrap_or_default();
                node["spec"]["taints"].is_null()
                    && conditions
                        .iter()
                        .any(|it| it["type"] == "Ready" && it["status"] == "True")
            };
            list["items"]
                .as_array()
                .is_some_and(|all| all.len() == nodes && all.iter().all(ready))
        });
        Self {
            server,
            _nodes: kwok,
            _scheduler: scheduler,
            _port: port,
            _dir: dir,
        }
    }

    /// `kubectl` as the administrator.
    pub fn kubectl(&self) -> Command {
        self.server.kubectl()
    }

    /// Installs the kustomization of this directory without its Deployment, and returns the kubeconfig of the controller's account.
    pub fn install(&self, manifests: &std::path::Path) -> std::path::PathBuf {
        let apply = ["apply", "--server-side", "--kustomize"];
        run(self.kubectl().args(apply).arg(manifests));
        let system = "--namespace=davit-system";
        run(self.kubectl().args([system, "delete", "deployment", "davit"]));
        let established = [
            "wait",
            "--for=condition=Established",
            "--timeout=30s",
            "crd",
            "--all",
        ];
        run(self.kubectl().args(established));
        let token = wait_for("the account", Duration::from_secs(10), || {
            let (made, token, _) = try_run(self.kubectl().args([system, "create", "token", "davit"]));
            made.then(|| token.trim().to_owned())
        });
        self.server.kubeconfig_with_token(&token)
    }
}
