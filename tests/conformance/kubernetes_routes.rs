//! Routes as Ingresses and as HTTPRoutes on a real cluster, served by the real Traefik, with exactly the rights of `manifests/`.

mod admission;
mod certificates;

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::common::cluster::Cluster;
use crate::common::http::{Reply, request};
use crate::common::process::{Daemon, Port, User, command};
use crate::common::registry::Registry;
use crate::common::{peers, run, wait_for};
use crate::kubernetes_loop::{Admin, Controller, push};
use crate::rights::{ACCOUNT, granted, used};

const PATIENCE: Duration = Duration::from_mins(2);

/// Traefik as the controller of Ingresses and of the Gateway, at an address of its own on this machine.
struct Traefik {
    address: String,
    _port: Port,
    _process: Daemon,
}

impl Traefik {
    fn start(cluster: &Cluster, dir: &Path) -> Self {
        let port = Port::take();
        let address = format!("127.0.{}.{}", port.number() / 256, port.number() % 256);
        let mut serve = command(peers::file("traefik-3.6.7/traefik"), User::Own);
        serve
            .env("KUBECONFIG", &cluster.server.kubeconfig)
            .arg(format!("--entrypoints.web.address={address}:80"))
            .arg(format!("--entrypoints.websecure.address={address}:443"))
            // As the chart of Traefik sets it: an Ingress alone has no TLS there.
            .arg("--entrypoints.websecure.http.tls=true")
            .args([
                "--providers.kubernetesingress=true",
                "--providers.kubernetesgateway=true",
            ])
            .arg(format!(
                "--providers.kubernetesingress.ingressendpoint.ip={address}"
            ))
            .arg(format!(
                "--providers.kubernetesgateway.statusaddress.ip={address}"
            ))
            .args(["--providers.providersthrottleduration=100ms", "--log.level=INFO"]);
        let process = Daemon::start("traefik", serve, &dir.join("traefik.log"));
        Self {
            address,
            _port: port,
            _process: process,
        }
    }

    fn get(&self, scheme: &str, host: &str, path: &str) -> Reply {
        let port = if scheme == "https" { 443 } else { 80 };
        let url = format!("{scheme}://{host}{path}");
        request("GET", &url)
            .connect_to(host, port, &self.address)
            .insecure()
            .include()
            .send()
    }

    /// Asks until the answer is good: this Traefik reports an Ingress before it knows the replicas.
    fn wait(&self, scheme: &str, host: &str, path: &str, is_good: impl Fn(&Reply) -> bool) {
        wait_for(&format!("{scheme}://{host}{path}"), PATIENCE, || {
            is_good(&self.get(scheme, host, path)).then_some(())
        });
    }
}

fn application(registry: &Registry, routes: &Value) -> Value {
    json!({"apiVersion": "davit.dev/v1alpha1", "kind": "Application", "metadata": {"name": "shop"}, "spec": {
        "source": {"docker": {"image": registry.image("acme/shop:web"), "pullSecretRef": {"name": "registry"}}},
        "ports": [{"name": "http", "containerPort": 8080}],
        "healthCheck": {"http": {"port": "http"}, "interval": "1s"},
        "stopGracePeriod": "1s",
        "routes": routes}})
}

fn condition(admin: &Admin) -> Value {
    let app = admin.get("dapp/shop");
    let conditions = app["status"]["conditions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let found = conditions
        .into_iter()
        .find(|condition| condition["type"] == "RoutesReady");
    let found = found.unwrap_or_default();
    if found["observedGeneration"] == app["metadata"]["generation"] {
        found
    } else {
        Value::Null
    }
}

/// Waits for a reason of `RoutesReady`, and returns its message.
fn wait_reason(admin: &Admin, reason: &str) -> String {
    let end = std::time::Instant::now() + PATIENCE;
    loop {
        let found = condition(admin);
        if found["reason"] == reason {
            return found["message"].as_str().unwrap_or_default().to_owned();
        }
        assert!(
            std::time::Instant::now() < end,
            "RoutesReady has no reason {reason}: {found}: {}",
            admin.get("dapp/shop")["status"]
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn routes_are_ingresses_or_http_routes_that_traefik_serves() {
    let cluster = Cluster::start_audited();
    let registry = Registry::start();
    cluster.allow_plain_http(&registry.address);
    push(
        &registry,
        "web",
        "mkdir -p /w/api; echo hello >/w/index.html; echo api >/w/api/index.html; exec httpd -f -p 8080 -h /w",
    );
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let apply = ["apply", "--server-side", "--kustomize"];
    run(cluster
        .kubectl()
        .args(apply)
        .arg(root.join("manifests/high-availability")));
    let apply = ["apply", "--server-side", "--filename"];
    run(cluster
        .kubectl()
        .args(apply)
        .arg(root.join("manifests/components/routes/role.yaml")));
    let crds = peers::file("gateway-api-1.4.0/gateway.networking.k8s.io_gateways.yaml");
    run(cluster.kubectl().args(apply).arg(crds.parent().unwrap()));
    run(cluster.kubectl().args([
        "wait",
        "--for=condition=Established",
        "--timeout=30s",
        "crd",
        "--all",
    ]));
    let scale = [
        "--namespace=davit-system",
        "scale",
        "deployment/davit",
        "--replicas=0",
    ];
    run(cluster.kubectl().args(scale));
    let token = ["--namespace=davit-system", "create", "token", "davit"];
    let kubeconfig = cluster
        .server
        .kubeconfig_with_token(&run(cluster.kubectl().args(token)));
    let first = cluster.server.requests_of(ACCOUNT).len();
    let admin = Admin {
        cluster,
        dir: tempfile::tempdir().unwrap(),
    };
    let dir = admin.dir.path();
    let traefik = Traefik::start(&admin.cluster, dir);
    let pair = rcgen::generate_simple_self_signed(["secure.example.com".to_owned()]).unwrap();
    let certificate = |name: &str| {
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": "kubernetes.io/tls",
            "stringData": {"tls.crt": pair.cert.pem(), "tls.key": pair.signing_key.serialize_pem()}})
    };
    let login = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "registry"},
        "type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": registry.docker_config()}});
    let class = json!({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": "traefik"},
        "spec": {"controller": "traefik.io/ingress-controller"}});
    admin.apply(&[login, class, certificate("own")]);

    let flags = |more: &[&str]| -> Vec<String> {
        let insecure = format!("--insecure-registry={}", registry.address);
        [insecure.as_str()]
            .iter()
            .chain(more)
            .map(|flag| (*flag).to_owned())
            .collect()
    };
    let ingress = flags(&["--routes=ingress", "--ingress-class=traefik"]);
    let mut davit = Controller::start(&kubeconfig, dir, "one", &ingress);
    admin.apply(&[application(
        &registry,
        &json!([
            {"host": "shop.example.com"},
            {"host": "secure.example.com", "tls": {"redirect": false, "secretRef": {"name": "own"}}},
        ]),
    )]);
    wait_reason(&admin, "RoutesReady");
    // The address of the Ingress or Gateway may come after it was accepted.
    admin.wait(
        "dapp/shop",
        "/status/urls",
        &json!(["http://shop.example.com", "https://secure.example.com"]),
    );
    traefik.wait("http", "shop.example.com", "/", |answer| {
        answer.body.contains("hello")
    });
    traefik.wait("https", "secure.example.com", "/", |answer| {
        answer.body.contains("hello")
    });
    // One that was deleted or changed comes back.
    run(admin.cluster.kubectl().args(["delete", "ingress", "shop-0"]));
    wait_for("the Ingress to come back", PATIENCE, || {
        (admin.get("ingress/shop-0")["metadata"]["name"] == "shop-0").then_some(())
    });
    let other = json!({"spec": {"ingressClassName": "other"}}).to_string();
    run(admin
        .cluster
        .kubectl()
        .args(["patch", "ingress", "shop-1", "--type=merge", "--patch", &other]));
    admin.wait("ingress/shop-1", "/spec/ingressClassName", &json!("traefik"));
    certificates::check(&admin, &registry, &traefik);
    // What an Ingress cannot express is refused, and the route that was there goes.
    admin.apply(&[application(
        &registry,
        &json!([{"host": "shop.example.com", "compress": true}]),
    )]);
    let message = wait_reason(&admin, "RouteInvalid");
    assert!(
        message.contains("compress cannot be expressed by an Ingress"),
        "{message}"
    );
    wait_for("the Ingresses to go", PATIENCE, || {
        admin.get("ingress")["items"]
            .as_array()
            .is_some_and(Vec::is_empty)
            .then_some(())
    });
    // An Ingress of another program is left alone.
    let foreign = json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "shop-0"},
        "spec": {"defaultBackend": {"service": {"name": "other", "port": {"number": 1}}}}});
    admin.apply(&[foreign]);
    admin.apply(&[application(&registry, &json!([{"host": "shop.example.com"}]))]);
    let message = wait_reason(&admin, "RouteRefused");
    assert!(
        message.contains("Ingress shop-0 exists and is not Davit's"),
        "{message}"
    );
    run(admin.cluster.kubectl().args(["delete", "ingress", "shop-0"]));
    wait_reason(&admin, "RoutesReady");
    // Routes that are removed leave nothing.
    admin.apply(&[application(&registry, &json!([]))]);
    wait_for("the Ingresses to go", PATIENCE, || {
        admin.get("ingress")["items"]
            .as_array()
            .is_some_and(Vec::is_empty)
            .then_some(())
    });
    davit.stop();

    let gateway = flags(&["--routes=gateway", "--gateway=default/public"]);
    let mut davit = Controller::start(&kubeconfig, dir, "two", &gateway);
    let routes = json!([
        {"host": "shop.example.com", "path": "/api", "stripPrefix": true, "headers": {"response": {"X-Shop": "main"}}},
        {"host": "secure.example.com", "tls": {}},
    ]);
    admin.apply(&[application(&registry, &routes)]);
    let message = wait_reason(&admin, "ProxyUnreachable");
    assert!(
        message.contains("Gateway default/public does not exist"),
        "{message}"
    );
    let listener = |name: &str, port: u16, protocol: &str, tls: Value| {
        let mut listener = json!({"name": name, "port": port, "protocol": protocol, "allowedRoutes": {"namespaces": {"from": "All"}}});
        if !tls.is_null() {
            listener["tls"] = tls;
        }
        listener
    };
    let api = "gateway.networking.k8s.io/v1";
    admin.apply(&[
        json!({"apiVersion": api, "kind": "GatewayClass", "metadata": {"name": "traefik"},
            "spec": {"controllerName": "traefik.io/gateway-controller"}}),
        json!({"apiVersion": api, "kind": "Gateway", "metadata": {"name": "public"}, "spec": {
        "gatewayClassName": "traefik",
        "listeners": [
            listener("http", 80, "HTTP", Value::Null),
            listener("https", 443, "HTTPS", json!({"certificateRefs": [{"name": "own"}]})),
        ]}}),
    ]);
    wait_reason(&admin, "RoutesReady");
    // The address of the Ingress or Gateway may come after it was accepted.
    admin.wait(
        "dapp/shop",
        "/status/urls",
        &json!(["http://shop.example.com/api", "https://secure.example.com"]),
    );
    traefik.wait("http", "shop.example.com", "/api/", |answer| {
        answer.body.contains("hello") && answer.body.to_lowercase().contains("x-shop: main")
    });
    traefik.wait("https", "secure.example.com", "/", |answer| {
        answer.body.contains("hello")
    });
    traefik.wait("http", "secure.example.com", "/a", |plain| {
        let head = plain.body.to_lowercase();
        plain.status == 302 && head.contains("location: https://secure.example.com")
    });
    admin.apply(&[application(
        &registry,
        &json!([{"host": "shop.example.com", "tls": {"certResolver": "letsencrypt"}}]),
    )]);
    let message = wait_reason(&admin, "RouteInvalid");
    assert!(
        message.contains("tls.certResolver cannot be expressed by an HTTPRoute"),
        "{message}"
    );
    admin.apply(&[application(&registry, &routes)]);
    wait_reason(&admin, "RoutesReady");
    run(admin
        .cluster
        .kubectl()
        .args(["delete", "applications.davit.dev", "--all", "--timeout=90s"]));
    wait_for("the HTTPRoutes to go", PATIENCE, || {
        admin.get("httproutes")["items"]
            .as_array()
            .is_some_and(Vec::is_empty)
            .then_some(())
    });
    davit.stop();
    admission::check(&admin, &registry);

    let used = used(&admin.cluster.server, first);
    // An apply that creates needs both, and is recorded as one patch.
    let rights = granted(&admin.cluster.server, "clusterrole", "davit-routes");
    let spare: Vec<&String> = rights
        .iter()
        .filter(|right| !used.contains(*right) && !right.starts_with("create "))
        .collect();
    assert!(spare.is_empty(), "granted and never used: {spare:?}");
}
