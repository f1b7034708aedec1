//! `davit up --traefik` with the real Traefik: requests of a real client, through the published ports.

mod acme;
mod options;
mod own;
mod previews;
mod requests;
mod rollout;
mod streams;
mod swarm;
mod traffic;

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::common::davit::{Davit, condition};
use crate::common::docker::{BASE_IMAGE, docker};
use crate::common::http::{Reply, Request, request};
use crate::common::process::Port;
use crate::common::{is_of_the_past, peers, run, try_run, wait_for};

/// The version that `scripts/build-peer` builds.
const VERSION: &str = "3.6.7";
/// How long a route may take until it works, on a loaded machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// An image of the real Traefik.
pub fn image() -> String {
    let name = format!("davit-test/traefik:{VERSION}");
    let lock = std::fs::File::create(std::env::temp_dir().join("davit-test-traefik-image.lock")).unwrap();
    lock.lock().unwrap();
    if try_run(docker().args(["image", "inspect", &name])).0 {
        return name;
    }
    let program = peers::file(&format!("traefik-{VERSION}/traefik"));
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    std::fs::create_dir_all(root.join("tmp")).unwrap();
    std::fs::create_dir_all(root.join("etc/traefik/dynamic")).unwrap();
    std::fs::copy(program, root.join("traefik")).unwrap();
    let tar = dir.path().join("image.tar");
    run(std::process::Command::new("tar")
        .arg("-C")
        .arg(&root)
        .arg("-cf")
        .arg(&tar)
        .arg("."));
    run(docker()
        .args(["import", "--change", r#"ENTRYPOINT ["/traefik"]"#])
        .arg(&tar)
        .arg(&name));
    name
}

/// A Davit with a Traefik of its own at free ports.
pub struct Proxy {
    pub davit: Davit,
    http: Port,
    https: Port,
}

impl Proxy {
    pub fn up(test: &str, flags: &[&str]) -> Self {
        let (http, https) = (Port::take(), Port::take());
        let image = image();
        let (http_place, https_place) = (
            format!("127.0.0.1:{}", http.number()),
            format!("127.0.0.1:{}", https.number()),
        );
        let mut all = vec![
            "--traefik",
            "--traefik-image",
            &image,
            "--traefik-http",
            &http_place,
            "--traefik-https",
            &https_place,
        ];
        all.extend(flags);
        Self {
            davit: Davit::with_flags(test, &all),
            http,
            https,
        }
    }

    /// The URL of a host over plain HTTP.
    pub fn url(&self, host: &str) -> String {
        format!("http://{host}:{}", self.http.number())
    }

    /// A request to a host over plain HTTP.
    pub fn request(&self, method: &str, host: &str, path: &str) -> Request {
        let url = format!("http://127.0.0.1:{}{path}", self.http.number());
        request(method, &url).header(&format!("Host: {host}"))
    }

    /// The answer to a GET of a host over plain HTTP.
    pub fn get(&self, host: &str, path: &str) -> Reply {
        self.request("GET", host, path).send()
    }

    /// The answer to a GET of a host over HTTPS, with the trust in this authority only.
    pub fn get_https(&self, host: &str, path: &str, ca: Option<&Path>) -> Reply {
        let port = self.https.number();
        let request = request("GET", &format!("https://{host}:{port}{path}")).resolve(host, port);
        match ca {
            Some(ca) => request.ca(ca),
            None => request.insecure(),
        }
        .send()
    }

    /// Waits until the routes of an Application are ready.
    pub fn wait_ready(&self, name: &str) -> Value {
        self.wait_reason(name, "RoutesReady")
    }

    /// Waits until `RoutesReady` of an Application has a reason.
    pub fn wait_reason(&self, name: &str, reason: &str) -> Value {
        self.davit.wait_until(name, PATIENCE.as_secs(), reason, |app| {
            let found = condition(app, "RoutesReady");
            found["reason"] == reason && found["observedGeneration"] == app["metadata"]["generation"]
        })
    }

    /// The containers of Traefik.
    pub fn traefik(&self) -> Vec<String> {
        let instance = format!("label=dev.davit.instance={}", self.davit.instance);
        let list = [
            "ps",
            "--all",
            "--quiet",
            "--no-trunc",
            "--filter",
            "label=dev.davit.role=proxy",
            "--filter",
            &instance,
        ];
        run(docker().args(list)).lines().map(str::to_owned).collect()
    }
}

/// An Application that answers with a text at each path.
#[expect(clippy::needless_pass_by_value, reason = "json! makes values")]
pub fn web(text: &str, routes: Value) -> Value {
    let script = format!(
        "mkdir -p /w/shop /w/v2/shop; for f in /w /w/shop /w/v2 /w/v2/shop; do echo '{text}' > $f/index.html; done; \
         echo {text}-cart > /w/cart; exec httpd -f -p 8080 -h /w"
    );
    json!({
        "source": {"docker": {"image": BASE_IMAGE}},
        "command": ["sh", "-c", script],
        "ports": [{"name": "http", "containerPort": 8080}],
        "healthCheck": {"http": {"path": "/", "port": "http"}, "interval": "1s"},
        "stopGracePeriod": "2s",
        "routes": routes,
    })
}

#[test]
fn route_is_served_and_goes_on_without_davit() {
    let mut proxy = Proxy::up("routed", &[]);
    proxy.davit.apply(
        "web",
        web(
            "hello",
            json!([{"host": "web.example.com"}, {"host": "*.sub.example.com"}]),
        ),
    );
    let app = proxy.wait_ready("web");
    assert_eq!(app["status"]["urls"], json!([proxy.url("web.example.com")]));
    assert_eq!(proxy.get("web.example.com", "/").body.trim(), "hello");
    assert_eq!(proxy.get("x.sub.example.com", "/").body.trim(), "hello");
    assert_eq!(proxy.get("x.y.sub.example.com", "/").status, 404);
    assert_eq!(proxy.get("other.example.com", "/").status, 404);
    // Not the API: it is for Davit alone.
    assert_eq!(proxy.get("web.example.com", "/api/rawdata").status, 404);

    let before = proxy.traefik();
    assert_eq!(before.len(), 1);
    proxy.davit.kill();
    assert_eq!(proxy.get("web.example.com", "/").body.trim(), "hello");
    proxy.davit.start();
    proxy
        .davit
        .patch("web", json!({"spec": {"routes": [{"host": "new.example.com"}]}}));
    let app = proxy.wait_ready("web");
    assert_eq!(app["status"]["urls"], json!([proxy.url("new.example.com")]));
    assert_eq!(proxy.get("new.example.com", "/").body.trim(), "hello");
    assert_eq!(proxy.get("web.example.com", "/").status, 404);
    assert_eq!(proxy.traefik(), before, "it is adopted");

    proxy.davit.delete_and_wait("web");
    wait_for("the route to go", PATIENCE, || {
        (proxy.get("new.example.com", "/").status == 404).then_some(())
    });
    // The network of the namespace goes although Traefik was in it.
    let networks = || {
        let filter = format!("label=dev.davit.namespace={}", proxy.davit.namespace);
        let instance = format!("label=dev.davit.instance={}", proxy.davit.instance);
        run(docker().args([
            "network", "ls", "--quiet", "--filter", &filter, "--filter", &instance,
        ]))
    };
    wait_for("the network to go", PATIENCE, || {
        networks().is_empty().then_some(())
    });
}

#[test]
fn traefik_that_was_removed_comes_back() {
    let proxy = Proxy::up("removed", &[]);
    proxy
        .davit
        .apply("web", web("hello", json!([{"host": "web.example.com"}])));
    proxy.wait_ready("web");
    let before = proxy.traefik();
    run(docker().args(["rm", "--force"]).args(&before));
    // A change of any route is enough.
    proxy
        .davit
        .patch("web", json!({"spec": {"routes": [{"host": "new.example.com"}]}}));
    proxy.wait_ready("web");
    assert_eq!(proxy.get("new.example.com", "/").body.trim(), "hello");
    assert_ne!(proxy.traefik(), before);
}

#[test]
fn older_application_owns_a_host_until_it_gives_it_up() {
    let proxy = Proxy::up("owned", &[]);
    proxy
        .davit
        .apply("old", web("old", json!([{"host": "web.example.com"}])));
    let app = proxy.wait_ready("old");
    wait_for("the next second", PATIENCE, || is_of_the_past(&app).then_some(()));
    proxy
        .davit
        .apply("new", web("new", json!([{"host": "web.example.com"}])));
    let app = proxy.wait_reason("new", "RouteConflict");
    wait_for("the next second", PATIENCE, || is_of_the_past(&app).then_some(()));
    let message = condition(&app, "RoutesReady")["message"].clone();
    assert!(
        message
            .as_str()
            .unwrap()
            .contains("the older Application old has it"),
        "{message}"
    );
    assert_eq!(proxy.get("web.example.com", "/").body.trim(), "old");
    // In another namespace the owner does not become known.
    let kubectl = || proxy.davit.kubectl();
    run(kubectl().args(["create", "namespace", "strangers"]));
    let stranger = json!({"apiVersion": "davit.dev/v1alpha1", "kind": "Application",
        "metadata": {"name": "stranger", "namespace": "strangers"},
        "spec": web("stranger", json!([{"host": "web.example.com", "path": "/other"}]))});
    let file = proxy.davit.data_dir().join("stranger.json");
    std::fs::write(&file, stranger.to_string()).unwrap();
    run(kubectl()
        .args(["--namespace=strangers", "apply", "--filename"])
        .arg(&file));
    wait_for("the conflict with another namespace", PATIENCE, || {
        let get = [
            "--namespace=strangers",
            "get",
            "applications.davit.dev",
            "stranger",
            "--output=json",
        ];
        let app: Value = serde_json::from_str(&run(kubectl().args(get))).unwrap();
        let found = condition(&app, "RoutesReady");
        let message = found["message"].as_str().unwrap_or_default();
        assert!(!message.contains("Application old"), "{message}");
        (found["reason"] == "RouteConflict"
            && message.contains("an older Application of another namespace has it"))
        .then_some(())
    });
    assert_eq!(proxy.get("web.example.com", "/other").status, 404);
    proxy.davit.patch("old", json!({"spec": {"routes": []}}));
    let app = proxy.wait_ready("new");
    assert_eq!(app["status"]["urls"], json!([proxy.url("web.example.com")]));
    assert_eq!(proxy.get("web.example.com", "/").body.trim(), "new");
}

#[test]
fn taken_port_is_reported_with_its_solution() {
    let http = Port::take();
    let listener = std::net::TcpListener::bind(("127.0.0.1", http.number())).unwrap();
    let (image, https) = (image(), Port::take());
    let places = [&http, &https].map(|port| format!("127.0.0.1:{}", port.number()));
    let davit = Davit::with_flags(
        "taken",
        &[
            "--traefik",
            "--traefik-image",
            &image,
            "--traefik-http",
            &places[0],
            "--traefik-https",
            &places[1],
        ],
    );
    davit.apply("web", web("hello", json!([{"host": "web.example.com"}])));
    let app = davit.wait_until("web", PATIENCE.as_secs(), "without a proxy", |app| {
        condition(app, "RoutesReady")["reason"] == "ProxyUnreachable"
    });
    let message = condition(&app, "RoutesReady")["message"]
        .as_str()
        .unwrap()
        .to_owned();
    for part in [&format!("host port {}", places[0]), "is taken", "--traefik-http"] {
        assert!(message.contains(part), "{message}");
    }
    drop(listener);
    davit.wait_until("web", PATIENCE.as_secs(), "served", |app| {
        condition(app, "RoutesReady")["reason"] == "RoutesReady"
    });
}
