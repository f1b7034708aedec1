//! A real kube-apiserver 1.36 on a real etcd 3.6: no nodes, and no controllers unless asked for. For `make test-peers`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::http::request;
use super::peers;
use super::process::{Daemon, Port, User, command};
use super::tls::TestCa;

/// The token of [`KubeApiserver::kubeconfig`], a member of `system:masters`.
const ADMIN_TOKEN: &str = "admin-token-6f0d";

/// What one API server does beside that of the others.
#[derive(Clone, Copy, Default)]
struct Extras {
    /// It records every request.
    audited: bool,
    /// It gives Pods the tokens of their accounts.
    accounts: bool,
    /// Its etcd waits for the disk.
    durable: bool,
}

/// A running API server; it ends before its etcd does.
pub struct KubeApiserver {
    /// Its base address.
    pub url: String,
    /// A kubeconfig of an administrator.
    pub kubeconfig: PathBuf,
    controllers: Option<(Daemon, Port)>,
    daemon: Daemon,
    etcd: Daemon,
    _ports: [Port; 3],
    dir: TempDir,
}

impl KubeApiserver {
    /// Starts a new, empty one.
    pub fn start() -> Self {
        Self::start_with(Extras::default())
    }

    /// Starts one that gives Pods the tokens of their accounts, as any cluster does. It needs all controllers.
    pub fn start_with_accounts() -> Self {
        Self::start_with(Extras {
            accounts: true,
            ..Extras::default()
        })
    }

    /// Starts one that records every request, for [`KubeApiserver::requests_of`].
    pub fn start_audited() -> Self {
        Self::start_with(Extras {
            audited: true,
            ..Extras::default()
        })
    }

    /// One that keeps what it acknowledged over a power failure, as any cluster would: for comparing speeds.
    pub fn start_durable() -> Self {
        Self::start_with(Extras {
            durable: true,
            ..Extras::default()
        })
    }

    fn start_with(extras: Extras) -> Self {
        let program = peers::file("kube-apiserver-1.36.3/kube-apiserver");
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let ports = [Port::take(), Port::take(), Port::take()];
        let [client, peer, api] = [0, 1, 2].map(|index: usize| ports[index].number());
        let etcd = start_etcd(root, client, peer, extras.durable);

        let key = rcgen::KeyPair::generate().unwrap();
        std::fs::write(root.join("sa.key"), key.serialize_pem()).unwrap();
        std::fs::write(root.join("sa.pub"), key.public_key_pem()).unwrap();
        let tokens = format!("{ADMIN_TOKEN},admin,admin,\"system:masters\"\nnobody-token-1c,nobody,nobody\n");
        std::fs::write(root.join("tokens.csv"), tokens).unwrap();
        let path = |name: &str| root.join(name).display().to_string();
        let mut serve = command(program, User::Own);
        serve
            .arg(format!("--etcd-servers=http://127.0.0.1:{client}"))
            .arg(format!("--secure-port={api}"))
            .args(["--bind-address=127.0.0.1", "--endpoint-reconciler-type=none"])
            .arg("--kubelet-preferred-address-types=Hostname")
            .arg(format!("--cert-dir={}", path("certs")))
            .arg(format!("--token-auth-file={}", path("tokens.csv")))
            .args([
                "--authorization-mode=RBAC",
                "--service-cluster-ip-range=10.96.0.0/16",
            ])
            .arg("--service-account-issuer=https://kubernetes.default.svc")
            .arg(format!("--service-account-key-file={}", path("sa.pub")))
            .arg(format!("--service-account-signing-key-file={}", path("sa.key")));
        if !extras.accounts {
            // Without the controller that makes the default service accounts, no pod would be admitted.
            serve.arg("--disable-admission-plugins=ServiceAccount");
        }
        // A front proxy, so that the API server forwards API groups to extension servers.
        let authority = TestCa::new(root);
        let (certificate, key) = authority.client("front-proxy-client");
        std::fs::write(root.join("proxy.crt"), certificate).unwrap();
        std::fs::write(root.join("proxy.key"), key).unwrap();
        serve
            .arg(format!(
                "--requestheader-client-ca-file={}",
                authority.ca_file.display()
            ))
            .arg("--requestheader-allowed-names=front-proxy-client")
            .arg("--requestheader-username-headers=X-Remote-User")
            .arg("--requestheader-group-headers=X-Remote-Group")
            .arg("--requestheader-extra-headers-prefix=X-Remote-Extra-")
            .arg(format!("--proxy-client-cert-file={}", path("proxy.crt")))
            .arg(format!("--proxy-client-key-file={}", path("proxy.key")));
        if extras.audited {
            let policy = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules: [{level: Metadata}]\n";
            std::fs::write(root.join("audit.yaml"), policy).unwrap();
            serve
                .arg(format!("--audit-policy-file={}", path("audit.yaml")))
                // All of it stays in one file.
                .arg("--audit-log-maxsize=100000")
                .arg(format!("--audit-log-path={}", path("audit.log")));
        }
        let mut daemon = Daemon::start("kube-apiserver", serve, &root.join("apiserver.log"));
        let url = format!("https://127.0.0.1:{api}");
        let ca = root.join("certs/apiserver.crt");
        daemon.wait_ready(Duration::from_mins(1), || {
            let token = format!("Authorization: Bearer {ADMIN_TOKEN}");
            ca.exists()
                && request("GET", &format!("{url}/readyz"))
                    .ca(&ca)
                    .header(&token)
                    .send()
                    .status
                    == 200
        });
        let kubeconfig = root.join("kubeconfig");
        std::fs::write(&kubeconfig, kubeconfig_text(&url, &ca, ADMIN_TOKEN)).unwrap();
        Self {
            url,
            kubeconfig,
            daemon,
            etcd,
            _ports: ports,
            controllers: None,
            dir,
        }
    }

    /// The processes of the API server and of its etcd.
    pub fn pids(&self) -> [u32; 2] {
        [self.daemon.id(), self.etcd.id()]
    }

    /// Starts the controllers of a cluster that Davit's objects meet too: those that collect what lost its owner,
    /// empty a deleted namespace, and give a new one its service account and the authority's certificate.
    pub fn start_controllers(&mut self) {
        self.run_controllers(
            "garbage-collector-controller,namespace-controller,serviceaccount-controller,\
             root-ca-certificate-publisher-controller,serviceaccount-token-controller",
        );
    }

    /// Starts all controllers of a cluster.
    pub fn start_all_controllers(&mut self) {
        self.run_controllers(
            "*,-cloud-node-lifecycle-controller,-service-lb-controller,-node-route-controller",
        );
    }

    fn run_controllers(&mut self, controllers: &str) {
        let port = Port::take();
        let program = peers::file("kube-controller-manager-1.36.3/kube-controller-manager");
        let certs = self.dir.path().join("controllers");
        let mut serve = command(program, User::Own);
        serve
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .arg(format!("--controllers={controllers}"))
            .arg("--service-account-private-key-file")
            .arg(self.dir.path().join("sa.key"))
            .arg("--root-ca-file")
            .arg(self.dir.path().join("certs/apiserver.crt"))
            .args(["--leader-elect=false", "--bind-address=127.0.0.1"])
            // Their own limit, of 20 requests per second, would be all that a measurement sees.
            .args(["--kube-api-qps=1000", "--kube-api-burst=1000"])
            .arg(format!("--secure-port={}", port.number()))
            .arg(format!("--cert-dir={}", certs.display()));
        let log = self.dir.path().join("controllers.log");
        let mut daemon = Daemon::start("kube-controller-manager", serve, &log);
        let ca = certs.join("kube-controller-manager.crt");
        let url = format!("https://127.0.0.1:{}/healthz", port.number());
        daemon.wait_ready(Duration::from_mins(1), || {
            ca.exists() && request("GET", &url).ca(&ca).send().status == 200
        });
        self.controllers = Some((daemon, port));
    }

    /// `kubectl` as the administrator.
    pub fn kubectl(&self) -> Command {
        kubectl(&self.kubeconfig)
    }

    /// Another kubeconfig, of a user without any permission.
    pub fn kubeconfig_without_rights(&self) -> PathBuf {
        let file = self.kubeconfig.with_file_name("nobody.kubeconfig");
        let text = std::fs::read_to_string(&self.kubeconfig)
            .unwrap()
            .replace(ADMIN_TOKEN, "nobody-token-1c");
        std::fs::write(&file, text).unwrap();
        file
    }

    /// The requests for resources that `user` has made so far: verb, API group, resource (with its subresource) and the
    /// code of the answer. Needs [`KubeApiserver::start_audited`].
    pub fn requests_of(&self, user: &str) -> Vec<(String, String, String, u64)> {
        let log = std::fs::read_to_string(self.dir.path().join("audit.log")).unwrap();
        log.lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .filter(|event| event["user"]["username"] == user && event["stage"] != "RequestReceived")
            .filter_map(|event| {
                let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
                let object = &event["objectRef"];
                let resource = object["resource"].as_str()?;
                let resource = match object["subresource"].as_str() {
                    Some(subresource) => format!("{resource}/{subresource}"),
                    None => resource.to_owned(),
                };
                let code = event["responseStatus"]["code"].as_u64().unwrap_or_default();
                Some((text(&event["verb"]), text(&object["apiGroup"]), resource, code))
            })
            .collect()
    }

    /// A kubeconfig of the user with this token.
    pub fn kubeconfig_with_token(&self, token: &str) -> PathBuf {
        let file = self.kubeconfig.with_file_name("token.kubeconfig");
        let text = std::fs::read_to_string(&self.kubeconfig).unwrap();
        std::fs::write(&file, text.replace(ADMIN_TOKEN, token)).unwrap();
        file
    }

    /// What the server has said so far.
    pub fn log(&self) -> String {
        self.daemon.log()
    }
}

/// The machine's `kubectl` with this kubeconfig, and with a cache beside it, so that no test sees another's.
pub fn kubectl(kubeconfig: &Path) -> Command {
    kubectl_at(Path::new("kubectl"), kubeconfig)
}

/// Another `kubectl`, as that of Debian 12, in the same way.
pub fn kubectl_at(program: &Path, kubeconfig: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env("KUBECONFIG", kubeconfig)
        .arg("--cache-dir")
        .arg(kubeconfig.with_extension("cache"));
    command
}

fn start_etcd(root: &Path, client: u16, peer: u16, durable: bool) -> Daemon {
    let mut serve = command(peers::file("etcd-3.6.13/etcd"), User::Own);
    if !durable {
        serve.arg("--unsafe-no-fsync");
    }
    let (client, peer) = (
        format!("http://127.0.0.1:{client}"),
        format!("http://127.0.0.1:{peer}"),
    );
    serve
        .arg("--data-dir")
        .arg(root.join("etcd"))
        .args(["--name", "rig"])
        .args([
            "--listen-client-urls",
            &client,
            "--advertise-client-urls",
            &client,
            "--listen-peer-urls",
            &peer,
            "--initial-advertise-peer-urls",
            &peer,
            "--initial-cluster",
            &format!("rig={peer}"),
        ]);
    let mut etcd = Daemon::start("etcd", serve, &root.join("etcd.log"));
    let health = format!("{client}/health");
    etcd.wait_ready(Duration::from_secs(30), || {
        request("GET", &health).send().status == 200
    });
    etcd
}

fn kubeconfig_text(server: &str, ca: &Path, token: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: rig\n\
         clusters: [{{name: rig, cluster: {{server: \"{server}\", certificate-authority: {}}}}}]\n\
         users: [{{name: rig, user: {{token: {token}}}}}]\n\
         contexts: [{{name: rig, context: {{cluster: rig, user: rig, namespace: default}}}}]\n",
        ca.display()
    )
}
