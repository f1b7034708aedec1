//! `manifests/` on the real API server: it is taken as it is, and a controller with the token of its service account
//! works, is never refused, and uses every right that it has.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use davit_test_support::docker::{BASE_IMAGE, DockerScope, base_image};
use davit_test_support::git_repo::GitRepo;
use davit_test_support::kube_apiserver::{KubeApiserver, kubectl};
use davit_test_support::process::Port;
use davit_test_support::{run, try_run, unique, wait_for};
use serde_json::{Value, json};

use crate::rights::{ACCOUNT, granted, used};

/// A controller that ends with the test.
struct Controller(std::process::Child);

impl Controller {
    /// SIGTERM, and its end.
    fn stop(&mut self) {
        run(Command::new("kill").arg(self.0.id().to_string()));
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// kubectl as the administrator, in the namespace of the Applications.
struct Admin<'a> {
    server: &'a KubeApiserver,
    dir: &'a Path,
}

impl Admin<'_> {
    fn apply(&self, objects: &[Value]) {
        let file = self.dir.join("objects.json");
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        std::fs::write(&file, list.to_string()).unwrap();
        run(self.server.kubectl().args(["apply", "--filename"]).arg(&file));
    }

    fn get(&self, what: &str) -> Value {
        let (found, text, _) = try_run(self.server.kubectl().args(["get", what, "--output", "json"]));
        if found {
            serde_json::from_str(&text).unwrap()
        } else {
            Value::Null
        }
    }

    fn wait(&self, what: &str, pointer: &str, expected: &str) {
        let log = || std::fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        let end = std::time::Instant::now() + Duration::from_secs(90);
        while self.get(what).pointer(pointer).and_then(Value::as_str) != Some(expected) {
            assert!(
                std::time::Instant::now() < end,
                "{what} {pointer} is not {expected}: {:#}\n{}",
                self.get(what)["status"],
                log()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

fn application(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "davit.dev/v1alpha1", "kind": "Application", "metadata": {"name": name}, "spec": spec})
}

#[test]
fn controller_needs_and_has_the_rights_of_the_manifests() {
    base_image();
    let mut server = KubeApiserver::start_audited();
    server.start_controllers();
    let dir = tempfile::tempdir().unwrap();
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/base");
    run(server
        .kubectl()
        .args(["apply", "--server-side", "--kustomize"])
        .arg(&base));
    run(server.kubectl().args(["apply", "--kustomize"]).arg(&base)); // Both ways are taken, one after the other too.
    run(server.kubectl().args([
        "wait",
        "--for=condition=Established",
        "--timeout=30s",
        "crd",
        "--all",
    ]));
    let token = run(server
        .kubectl()
        .args(["--namespace", "davit-system", "create", "token", "davit"]));
    let kubeconfig = server.kubeconfig_with_token(&token);
    let (forbidden, _, error) = try_run(kubectl(&kubeconfig).args(["get", "pods"]));
    assert!(
        !forbidden && error.contains("Forbidden"),
        "the authorizer does not refuse: {error}"
    );

    // Nothing routes to a Service here.
    let local =
        json!({"spec": {"type": "ExternalName", "externalName": "localhost", "selector": null}}).to_string();
    run(server.kubectl().args([
        "--namespace",
        "davit-system",
        "patch",
        "service",
        "davit",
        "--patch",
        &local,
    ]));
    let port = Port::take();

    let first = server.requests_of(ACCOUNT).len();

    let instance: String = unique("r").chars().filter(char::is_ascii_alphanumeric).collect();
    let _scope = DockerScope::of_instance(&instance);
    let log = std::fs::File::create(dir.path().join("log")).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_davit"))
        .args([
            "controller",
            "--allow-local-sources",
            "--instance",
            &instance,
            "--api-listen",
            &format!("127.0.0.1:{}", port.number()),
            "--api-service",
            &format!("davit-system/davit:{}", port.number()),
            "--data-dir",
        ])
        .arg(dir.path().join("data"))
        .env("KUBECONFIG", &kubeconfig)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    let mut controller = Controller(child);
    let admin = Admin {
        server: &server,
        dir: dir.path(),
    };

    // A GitProvider and its Secret: read, finalizer, status; a second failure repeats an event.
    let provider = |port: u16| {
        json!({"apiVersion": "davit.dev/v1alpha1", "kind": "GitProvider", "metadata": {"name": "forge"}, "spec": {
            "gitea": {"url": format!("http://127.0.0.1:{port}"), "tokenSecretRef": {"name": "forge"}},
            "allowedNamespaces": {"from": "Selector", "selector": {"matchLabels": {"team": "a"}}}}})
    };
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "forge"}, "stringData": {"token": "t"}});
    admin.apply(&[secret, provider(1)]);
    admin.wait("gitprov/forge", "/status/type", "gitea");

    // An Application that is built, with a ConfigMap and a Secret; the name of its second Release is taken.
    let page =
        |text: &str| format!("FROM {BASE_IMAGE}\nRUN echo {text} > /page\nCMD [\"sleep\", \"10000\"]\n");
    let repo = GitRepo::with(&[("Dockerfile", &page("one"))]);
    let spec = |colour: &str| {
        json!({"source": {"git": {"url": repo.url()}}, "history": {"succeeded": 1, "failed": 1},
            "envFrom": [{"configMapRef": {"name": "settings"}}, {"secretRef": {"name": "forge"}}],
            "env": [{"name": "COLOUR", "value": colour}]})
    };
    let settings = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"A": "b"}});
    let taken = json!({"apiVersion": "davit.dev/v1alpha1", "kind": "Release", "metadata": {"name": "web-2"}, "spec": {"application": "other"}});
    admin.apply(&[settings, taken, application("web", &spec("blue"))]);
    admin.wait("dapp/web", "/status/phase", "done");
    admin.apply(&[application("web", &spec("green"))]);
    admin.wait("dapp/web", "/status/release/active", "web-3");
    // The API server forwards the log of an Application.
    let log = "/apis/subresources.davit.dev/v1alpha1/namespaces/default/applications/web/log";
    wait_for("the API group of subresources", Duration::from_mins(1), || {
        try_run(server.kubectl().args(["get", "--raw", log]))
            .0
            .then_some(())
    });
    // A Release of a user is adopted; the oldest one is pruned.
    let manual = json!({"apiVersion": "davit.dev/v1alpha1", "kind": "Release", "metadata": {"name": "by-hand"},
        "spec": {"application": "web", "type": "Redeploy"}});
    admin.apply(&[manual]);
    admin.wait("dapp/web", "/status/release/active", "by-hand");
    wait_for("the oldest Release to be pruned", Duration::from_mins(1), || {
        admin.get("rel/web-1").is_null().then_some(())
    });
    // What is reported once more is the same event with a higher count.
    for (suspend, reason) in [(true, "Suspended"), (false, "Ready"), (true, "Suspended")] {
        let mut spec = spec("green");
        spec["suspend"] = json!(suspend);
        admin.apply(&[application("web", &spec)]);
        let wanted = format!("--for=jsonpath={{.status.conditions[?(@.type==\"Ready\")].reason}}={reason}");
        run(server
            .kubectl()
            .args(["wait", &wanted, "--timeout=60s", "dapp/web"]));
    }
    // An Application through the GitProvider asks for the labels of its namespace.
    run(server.kubectl().args(["create", "namespace", "elsewhere"]));
    let refused = json!({"apiVersion": "davit.dev/v1alpha1", "kind": "Application", "metadata": {"name": "guest", "namespace": "elsewhere"},
        "spec": {"source": {"gitea": {"provider": {"name": "forge", "namespace": "default"}, "owner": "a", "repository": "b"}}}});
    admin.apply(&[refused]);
    wait_for("the guest to be refused", Duration::from_mins(1), || {
        let (_, text, _) = try_run(server.kubectl().args([
            "get",
            "dapp",
            "guest",
            "--namespace",
            "elsewhere",
            "--output",
            "json",
        ]));
        let guest: Value = serde_json::from_str(&text).unwrap_or_default();
        guest["status"]["conditions"].is_array().then_some(())
    });
    for namespace in ["elsewhere", "default"] {
        run(server.kubectl().args([
            "delete",
            "dapp",
            "--all",
            "--timeout=60s",
            "--namespace",
            namespace,
        ]));
    }
    run(server
        .kubectl()
        .args(["delete", "gitprov", "--all", "--timeout=60s"]));

    controller.stop();
    let mut used = used(&server, first);
    let mut granted = granted(&server, "clusterrole", "davit-controller");
    // An apply that creates needs both, and is recorded as one patch.
    let creates = "create apiregistration.k8s.io apiservices";
    assert!(granted.remove(creates));
    // Previews are Applications that Davit makes; a forge with pull requests is not part of this test.
    for verb in ["create", "update", "delete"] {
        let preview = format!("{verb} davit.dev applications");
        assert!(granted.contains(&preview), "{preview}");
        used.insert(preview);
    }
    let spare: Vec<_> = granted.difference(&used).collect();
    assert!(spare.is_empty(), "granted and never used: {spare:?}");
    let free: Vec<_> = used.difference(&granted).collect();
    assert!(free.is_empty(), "used although not granted: {free:?}");
}
