//! What makes Services of a cluster reachable: a real kube-proxy for their addresses, a real CoreDNS for their names, and a way from Pods
//! to the API server, which listens on loopback.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use super::http::request;
use super::kube_apiserver::KubeApiserver;
use super::peers;
use super::process::{Daemon, Port, User, command};
use super::{run, try_run};

/// The three, for one cluster.
pub struct Services {
    bridge: String,
    gateway: String,
    proxy: Option<Daemon>,
    _dns: Daemon,
    ports: [Port; 2],
    dir: TempDir,
}

impl Services {
    /// Starts the DNS and the way to the API server, and makes the network of the Pods, in which `gateway` is the address of the machine.
    pub fn start(server: &KubeApiserver, bridge: &str, gateway: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ip = |args: &[&str]| run(Command::new("ip").args(args));
        ip(&["link", "add", bridge, "type", "bridge"]);
        ip(&["address", "add", &format!("{gateway}/24"), "dev", bridge]);
        ip(&["link", "set", bridge, "up"]);
        // A Docker Engine lets the machine forward what belongs to its own networks only.
        for direction in ["--in-interface", "--out-interface"] {
            forwarding("--insert", direction, bridge);
        }
        lead_to(server, gateway);

        let corefile = dir.path().join("Corefile");
        let text = format!(
            ".:53 {{\n  bind {gateway}\n  errors\n  kubernetes cluster.local {{\n    kubeconfig {}\n  }}\n}}\n",
            server.kubeconfig.display()
        );
        std::fs::write(&corefile, text).unwrap();
        let mut serve = command(peers::file("coredns-1.13.2/coredns"), User::Own);
        serve.arg("-conf").arg(corefile);
        let mut dns = Daemon::start("coredns", serve, &dir.path().join("dns.log"));
        dns.wait_ready(Duration::from_secs(30), || {
            TcpStream::connect((gateway, 53)).is_ok()
        });
        Self {
            bridge: bridge.to_owned(),
            gateway: gateway.to_owned(),
            proxy: None,
            _dns: dns,
            ports: [Port::take(), Port::take()],
            dir,
        }
    }

    /// Starts kube-proxy, which waits for the object of its node.
    pub fn start_proxy(&mut self, server: &KubeApiserver, node: &str) {
        let [metrics, health] =
            [0, 1].map(|index: usize| format!("127.0.0.1:{}", self.ports[index].number()));
        let mut serve = command(proxy(), User::Own);
        serve
            .arg("--kubeconfig")
            .arg(&server.kubeconfig)
            .arg(format!("--hostname-override={node}"))
            .args(["--bind-address=127.0.0.1", "--proxy-mode=iptables"])
            // Pods are in one network, so their answers would not come back through the machine.
            .arg("--masquerade-all")
            // The settings of the kernel stay as they are.
            .args([
                "--conntrack-max-per-core=0",
                "--conntrack-tcp-timeout-established=0",
                "--conntrack-tcp-timeout-close-wait=0",
            ])
            .arg(format!("--metrics-bind-address={metrics}"))
            .arg(format!("--healthz-bind-address={health}"));
        let mut proxy = Daemon::start("kube-proxy", serve, &self.dir.path().join("proxy.log"));
        let url = format!("http://{health}/livez");
        proxy.wait_ready(Duration::from_secs(30), || {
            request("GET", &url).send().status == 200
        });
        self.proxy = Some(proxy);
    }

    /// The address of the DNS.
    pub fn dns(&self) -> &str {
        &self.gateway
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        self.proxy = None;
        try_run(Command::new(proxy()).arg("--cleanup"));
        for direction in ["--in-interface", "--out-interface"] {
            forwarding("--delete", direction, &self.bridge);
        }
    }
}

fn proxy() -> std::path::PathBuf {
    peers::file("kube-proxy-1.36.3/kube-proxy")
}

fn forwarding(action: &str, direction: &str, bridge: &str) {
    try_run(
        Command::new("iptables").args(["--wait", action, "FORWARD", direction, bridge, "--jump", "ACCEPT"]),
    );
}

/// Lets the Service `kubernetes` lead to the API server. The threads end with the process.
fn lead_to(server: &KubeApiserver, gateway: &str) {
    let listener = TcpListener::bind((gateway, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let target = server.url.trim_start_matches("https://").to_owned();
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            if let Ok(upstream) = TcpStream::connect(&target) {
                join(&client, &upstream);
            }
        }
    });
    let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": "IPv4", "endpoints": [{"addresses": [gateway], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}]});
    let file = server.kubeconfig.with_file_name("slice.json");
    std::fs::write(&file, slice.to_string()).unwrap();
    run(server.kubectl().args(["apply", "--filename"]).arg(&file));
}

/// Copies both ways until each side has ended.
fn join(one: &TcpStream, other: &TcpStream) {
    for (from, to) in [(one, other), (other, one)] {
        let (Ok(mut from), Ok(mut to)) = (from.try_clone(), to.try_clone()) else {
            return;
        };
        std::thread::spawn(move || {
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(read @ 1..) = from.read(&mut buffer) {
                if to.write_all(&buffer[..read]).is_err() {
                    break;
                }
            }
            let _ = to.shutdown(Shutdown::Write);
        });
    }
}
