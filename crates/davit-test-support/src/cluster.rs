//! A real Kubernetes with one node: the kubelet, scheduler and controllers of 1.36 over a containerd of its own. For
//! `make test-peers`.
//!
//! Pods and the machine reach each other by address. Names and addresses of Services lead nowhere unless the cluster was started
//! with [`Cluster::start_with_services`].

use std::fs::File;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::docker::{BASE_IMAGE, base_image, docker, import_with};
use super::kube_apiserver::KubeApiserver;
use super::peers;
use super::process::{Daemon, Port, User, command};
use super::services::Services;
use super::{is_root, run, try_run, wait_for};

/// The image of the container that holds the network of a Pod.
const PAUSE_IMAGE: &str = "localhost/pause:1";
/// The name of the node; the API server reaches its kubelet by it.
const NODE: &str = "localhost";
/// Settings of the kernel that the kubelet and kube-proxy change.
const KERNEL: [&str; 5] = [
    "/proc/sys/vm/overcommit_memory",
    "/proc/sys/vm/panic_on_oom",
    "/proc/sys/kernel/panic",
    "/proc/sys/kernel/panic_on_oops",
    "/proc/sys/net/ipv4/conf/all/route_localnet",
];

/// A running cluster; dropping it removes its Pods and everything that they left on the machine.
pub struct Cluster {
    /// Its API server.
    pub server: KubeApiserver,
    kubelet: Option<Daemon>,
    scheduler: Option<Daemon>,
    containerd: Option<Daemon>,
    services: Option<Services>,
    bridge: String,
    /// The first three numbers of the addresses of Pods.
    network: String,
    kernel: Vec<(&'static str, String)>,
    /// One kubelet at a time: each removes the control groups of Pods that it does not know.
    _lock: File,
    ports: [Port; 3],
    dir: TempDir,
}

impl Cluster {
    /// Starts a cluster, whose node has the base image.
    pub fn start() -> Self {
        Self::with(KubeApiserver::start, false)
    }

    /// Starts one in which names and addresses of Services lead to their Pods, and Pods reach the API server, as in any cluster.
    pub fn start_with_services() -> Self {
        Self::with(KubeApiserver::start_with_accounts, true)
    }

    /// Starts one that records every request, for [`KubeApiserver::requests_of`].
    pub fn start_audited() -> Self {
        Self::with(KubeApiserver::start_audited, false)
    }

    fn with(start: fn() -> KubeApiserver, services: bool) -> Self {
        assert!(is_root(), "a kubelet runs as root only");
        let lock = File::create(std::env::temp_dir().join("davit-test-cluster.lock")).unwrap();
        lock.lock().unwrap();
        let mut server = start();
        server.start_all_controllers();
        let dir = tempfile::tempdir().unwrap();
        let ports = [Port::take(), Port::take(), Port::take()];
        let number: u16 = ports[0].number();
        let kernel = KERNEL
            .map(|file| (file, std::fs::read_to_string(file).unwrap()))
            .to_vec();
        let mut cluster = Self {
            server,
            kubelet: None,
            scheduler: None,
            containerd: None,
            services: None,
            bridge: format!("davit{number}"),
            // Each cluster has a network of its own: tests of several programs run at the same time.
            network: format!("10.{}.{}", 100 + number / 256 % 100, number % 256),
            kernel,
            _lock: lock,
            ports,
            dir,
        };
        cluster.start_scheduler();
        cluster.start_containerd();
        if services {
            let services = Services::start(&cluster.server, &cluster.bridge, &cluster.gateway());
            cluster.services = Some(services);
        }
        cluster.start_kubelet();
        if let Some(services) = &mut cluster.services {
            services.start_proxy(&cluster.server, NODE);
        }
        cluster
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn start_scheduler(&mut self) {
        let port = self.ports[2].number();
        let certs = self.path("scheduler");
        let mut serve = command(peers::file("kube-scheduler-1.36.3/kube-scheduler"), User::Own);
        serve
            .arg("--kubeconfig")
            .arg(&self.server.kubeconfig)
            .args(["--leader-elect=false", "--bind-address=127.0.0.1"])
            .arg(format!("--secure-port={port}"))
            .arg(format!("--cert-dir={}", certs.display()));
        self.scheduler = Some(Daemon::start(
            "kube-scheduler",
            serve,
            &self.path("scheduler.log"),
        ));
    }

    fn start_containerd(&mut self) {
        let root = self.dir.path().display().to_string();
        std::fs::create_dir_all(self.path("cni")).unwrap();
        let subnet = format!("{}.0/24", self.network);
        let network = serde_json::json!({"cniVersion": "0.4.0", "name": self.bridge, "plugins": [{
            "type": "bridge", "bridge": self.bridge, "isGateway": true, "ipMasq": false, "hairpinMode": true,
            "ipam": {"type": "host-local", "dataDir": format!("{root}/ipam"), "ranges": [[{"subnet": subnet}]],
                "routes": [{"dst": "0.0.0.0/0"}]}}]});
        std::fs::write(self.path("cni/10-bridge.conflist"), network.to_string()).unwrap();
        let config = format!(
            "version = 2\nroot = \"{root}/containerd\"\nstate = \"{root}/state\"\n\
             [grpc]\naddress = \"{root}/containerd.sock\"\n\
             [ttrpc]\naddress = \"{root}/containerd.sock.ttrpc\"\n\
             [plugins.\"io.containerd.grpc.v1.cri\"]\nsandbox_image = \"{PAUSE_IMAGE}\"\nrestrict_oom_score_adj = true\n\
             [plugins.\"io.containerd.grpc.v1.cri\".cni]\nbin_dir = \"/usr/lib/cni\"\nconf_dir = \"{root}/cni\"\n\
             [plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc]\nruntime_type = \"io.containerd.runc.v2\"\n\
             [plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc.options]\nSystemdCgroup = false\n\
             [plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"{root}/certs.d\"\n"
        );
        std::fs::write(self.path("containerd.toml"), config).unwrap();
        let mut serve = command("containerd", User::Own);
        serve.arg("--config").arg(self.path("containerd.toml"));
        let mut daemon = Daemon::start("containerd", serve, &self.path("containerd.log"));
        daemon.wait_ready(Duration::from_secs(30), || try_run(self.ctr().arg("version")).0);
        self.containerd = Some(daemon);
        base_image();
        import_with(PAUSE_IMAGE, &[r#"CMD ["/bin/sleep","2000000000"]"#]);
        self.load(PAUSE_IMAGE);
        self.load(BASE_IMAGE);
    }

    fn start_kubelet(&mut self) {
        let root = self.dir.path().display().to_string();
        let [port, health] = [0, 1].map(|index: usize| self.ports[index].number());
        let config = format!(
            "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nfailCgroupV1: false\n\
             cgroupDriver: cgroupfs\ncontainerRuntimeEndpoint: unix://{root}/containerd.sock\naddress: 127.0.0.1\n\
             port: {port}\nhealthzPort: {health}\nreadOnlyPort: 0\nfailSwapOn: false\n\
             authentication: {{anonymous: {{enabled: true}}, webhook: {{enabled: false}}}}\n\
             authorization: {{mode: AlwaysAllow}}\nevictionHard: {{memory.available: 100Mi}}\n\
             imageGCHighThresholdPercent: 100\nresolvConf: /etc/resolv.conf\nvolumePluginDir: {root}/plugins\n\
             podLogsDir: {root}/logs\ncrashLoopBackOff: {{maxContainerRestartPeriod: 2s}}\n"
        ) + &self.services.as_ref().map_or(String::new(), |services| {
            format!("clusterDomain: cluster.local\nclusterDNS: [{}]\n", services.dns())
        });
        std::fs::write(self.path("kubelet.yaml"), config).unwrap();
        let mut serve = command(peers::file("kubelet-1.36.3/kubelet"), User::Own);
        serve
            .arg("--config")
            .arg(self.path("kubelet.yaml"))
            .arg("--kubeconfig")
            .arg(&self.server.kubeconfig)
            .arg(format!("--hostname-override={NODE}"))
            .arg(format!("--root-dir={root}/kubelet"))
            .arg(format!("--cert-dir={root}/kubelet-pki"));
        let mut daemon = Daemon::start("kubelet", serve, &self.path("kubelet.log"));
        daemon.wait_ready(Duration::from_mins(2), || {
            let (_, text, _) = try_run(
                self.server
                    .kubectl()
                    .args(["get", "node", NODE, "--output", "json"]),
            );
            let node: Value = serde_json::from_str(&text).unwrap_or_default();
            let conditions = node["status"]["conditions"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            let ready = |it: &Value| it["type"] == "Ready" && it["status"] == "True";
            conditions.iter().any(ready) && node["spec"]["taints"].is_null()
        });
        self.kubelet = Some(daemon);
    }

    fn ctr(&self) -> Command {
        let mut command = Command::new("ctr");
        command
            .arg("--address")
            .arg(self.path("containerd.sock"))
            .args(["--namespace", "k8s.io"]);
        command
    }

    /// The address of the machine in the network of the Pods.
    pub fn gateway(&self) -> String {
        format!("{}.1", self.network)
    }

    /// Gives the node an image of the machine's engine below another name, which the engine does not need to have. `image` is a name
    /// with a host.
    pub fn load_as(&self, image: &str, name: &str) {
        self.load(image);
        run(self.ctr().args(["images", "tag", "--force", image, name]));
    }

    /// The directory whose `HOST/hosts.toml` says how the node reaches a registry: `/etc/containerd/certs.d` of other nodes.
    pub fn registries(&self) -> PathBuf {
        self.path("certs.d")
    }

    /// Gives the node an image of the machine's engine.
    pub fn load(&self, image: &str) {
        let tar = self.path("image.tar");
        run(docker().args(["save", "--output"]).arg(&tar).arg(image));
        run(self.ctr().args(["images", "import"]).arg(&tar));
        std::fs::remove_file(&tar).unwrap();
    }

    /// Lets the node pull from a registry over plain HTTP.
    pub fn allow_plain_http(&self, host: &str) {
        let dir = self.path("certs.d").join(host);
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("hosts.toml"), format!("server = \"http://{host}\"\n")).unwrap();
    }

    /// Adds a directory of the node as a volume that one claim of any namespace can have.
    pub fn add_volume(&self, name: &str) {
        self.add_volume_of(name, "1Gi");
    }

    /// Adds one of this size, which any user can write: the kubelet gives such a directory to no group.
    pub fn add_volume_of(&self, name: &str, size: &str) {
        let dir = self.path("volumes").join(name);
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o777)).unwrap();
        let volume = serde_json::json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": {
            "capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": dir},
            "persistentVolumeReclaimPolicy": "Retain"}});
        let file = self.path("volume.json");
        std::fs::write(&file, volume.to_string()).unwrap();
        run(self.server.kubectl().args(["apply", "--filename"]).arg(&file));
    }

    /// Serves the API `metrics.k8s.io` with the use of one Pod, as metrics-server does after its first measurement.
    pub fn serve_metrics(&self, namespace: &str, pod: &str, cpu: &str, memory: &str) {
        let definition = serde_json::json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "pods.metrics.k8s.io",
                "annotations": {"api-approved.kubernetes.io": "unapproved, a stand-in of a test"}},
            "spec": {"group": "metrics.k8s.io", "scope": "Namespaced", "names": {"kind": "PodMetrics", "plural": "pods"},
                "versions": [{"name": "v1beta1", "served": true, "storage": true, "schema": {"openAPIV3Schema":
                    {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}});
        let labels = self
            .server
            .kubectl()
            .args(["get", "pod", pod, "--namespace", namespace])
            .arg("--output=jsonpath={.metadata.labels}")
            .output()
            .unwrap();
        let labels: Value = serde_json::from_slice(&labels.stdout).unwrap();
        let metrics = serde_json::json!({"apiVersion": "metrics.k8s.io/v1beta1", "kind": "PodMetrics",
            "metadata": {"name": pod, "namespace": namespace, "labels": labels},
            "timestamp": "2026-11-29T15:00:00Z", "window": "15s",
            "containers": [{"name": "app", "usage": {"cpu": cpu, "memory": memory}}]});
        let file = self.path("metrics.json");
        std::fs::write(&file, definition.to_string()).unwrap();
        run(self.server.kubectl().args(["apply", "--filename"]).arg(&file));
        std::fs::write(&file, metrics.to_string()).unwrap();
        // The definition is served a moment later.
        wait_for("the API metrics.k8s.io", Duration::from_secs(30), || {
            try_run(self.server.kubectl().args(["apply", "--filename"]).arg(&file))
                .0
                .then_some(())
        });
    }

    /// `kubectl` as the administrator.
    pub fn kubectl(&self) -> Command {
        self.server.kubectl()
    }

    /// What the kubelet has said so far.
    pub fn log(&self) -> String {
        self.kubelet.as_ref().map(Daemon::log).unwrap_or_default()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let all = "deployments,replicasets,jobs,pods";
        try_run(self.server.kubectl().args([
            "delete",
            all,
            "--all-namespaces",
            "--all",
            "--force",
            "--grace-period=0",
            "--timeout=30s",
        ]));
        self.kubelet = None;
        if self.containerd.is_some() {
            let tasks = || {
                let (_, tasks, _) = try_run(self.ctr().args(["tasks", "list", "--quiet"]));
                tasks.lines().map(str::to_owned).collect::<Vec<_>>()
            };
            for task in tasks() {
                try_run(self.ctr().args(["tasks", "delete", "--force", &task]));
            }
            let (_, containers, _) = try_run(self.ctr().args(["containers", "list", "--quiet"]));
            for container in containers.lines() {
                try_run(self.ctr().args(["containers", "delete", container]));
            }
        }
        self.scheduler = None;
        self.containerd = None;
        self.services = None;
        unmount_below(self.dir.path());
        try_run(Command::new("ip").args(["link", "delete", &self.bridge]));
        for (file, value) in &self.kernel {
            let _ = std::fs::write(file, value);
        }
    }
}

fn unmount_below(dir: &Path) {
    super::engine::unmount_below(dir);
    wait_for("the mounts to go", Duration::from_secs(10), || {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let left = mounts
            .lines()
            .any(|line| line.contains(&dir.display().to_string()));
        (!left).then_some(())
    });
}
