//! `davit controller --runtime kubernetes` on a real cluster with a node, with exactly the rights of `manifests/`.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::buildkitd::Buildkitd;
use crate::common::cluster::Cluster;
use crate::common::docker::{BASE_IMAGE, DockerScope, import_with};
use crate::common::git_repo::GitRepo;
use crate::common::process::Port;
use crate::common::registry::Registry;
use crate::common::{run, try_run, unique, wait_for};
use crate::rights::{ACCOUNT, granted, used};

/// The longest that one rollout may take.
const PATIENCE: Duration = Duration::from_mins(2);

/// A controller that ends with the test.
pub struct Controller(Child);

impl Controller {
    pub fn start(kubeconfig: &Path, dir: &Path, name: &str, more: &[String]) -> Self {
        let log = std::fs::File::create(dir.join(format!("{name}.log"))).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_davit"))
            .args([
                "controller",
                "--runtime=kubernetes",
                "--allow-local-sources",
                "--lease=davit-system/davit",
            ])
            .arg(format!("--data-dir={}", dir.join(name).display()))
            .args(more)
            .env("KUBECONFIG", kubeconfig)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self(child)
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    pub fn stop(&mut self) {
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

/// kubectl as the administrator, in the namespace of the Application.
pub struct Admin {
    pub cluster: Cluster,
    pub dir: tempfile::TempDir,
}

impl Admin {
    pub fn apply(&self, objects: &[Value]) {
        let file = self.dir.path().join("objects.json");
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        std::fs::write(&file, list.to_string()).unwrap();
        run(self.cluster.kubectl().args(["apply", "--filename"]).arg(&file));
    }

    pub fn get(&self, what: &str) -> Value {
        let (_, text, _) = try_run(self.cluster.kubectl().args(["get", what, "--output=json"]));
        serde_json::from_str(&text).unwrap_or_default()
    }

    pub fn wait(&self, what: &str, pointer: &str, expected: &Value) {
        let end = Instant::now() + PATIENCE;
        while self.get(what).pointer(pointer) != Some(expected) {
            let logs = ["one.log", "two.log"].map(|file| {
                let text = std::fs::read_to_string(self.dir.path().join(file)).unwrap_or_default();
                let lines: Vec<&str> = text.lines().collect();
                lines[lines.len().saturating_sub(20)..].join("\n")
            });
            assert!(
                Instant::now() < end,
                "{what} {pointer} is not {expected}: {:#}\n{}",
                self.get(what)["status"],
                logs.join("\n")
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The addresses to which the Application's Service leads.
    fn endpoints(&self, service: &str) -> Vec<String> {
        let select = format!("--selector=kubernetes.io/service-name={service}");
        let (_, text, _) =
            try_run(
                self.cluster
                    .kubectl()
                    .args(["get", "endpointslices", &select, "--output=json"]),
            );
        let slices: Value = serde_json::from_str(&text).unwrap_or_default();
        let slices = slices["items"].as_array().cloned().unwrap_or_default();
        let endpoints = slices
            .iter()
            .flat_map(|slice| slice["endpoints"].as_array().cloned().unwrap_or_default());
        endpoints
            .filter(|endpoint| endpoint["conditions"]["ready"] == true)
            .filter_map(|endpoint| Some(format!("{}:8080", endpoint["addresses"][0].as_str()?)))
            .collect()
    }

    fn holder(&self) -> String {
        let get = [
            "get",
            "lease/davit",
            "--namespace=davit-system",
            "--output=jsonpath={.spec.holderIdentity}",
        ];
        try_run(self.cluster.kubectl().args(get)).1
    }
}

fn ask(address: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address.parse().unwrap(), Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    match text.split_once("\r\n\r\n") {
        Some((head, body)) if head.contains(" 200 ") => Ok(body.trim().to_owned()),
        _ => Err(std::io::Error::other(text)),
    }
}

/// Pushes an image that runs this script.
pub fn push(registry: &Registry, tag: &str, script: &str) {
    let local = format!("davit-test-{tag}:loop");
    import_with(&local, &[&format!("CMD {}", json!(["sh", "-c", script]))]);
    registry.push(&local, &format!("acme/shop:{tag}"));
}

fn application(registry: &Registry, tag: &str) -> Value {
    json!({"apiVersion": "davit.dev/v1alpha1", "kind": "Application", "metadata": {"name": "shop"}, "spec": {
        "source": {"docker": {"image": registry.image(&format!("acme/shop:{tag}")), "pullSecretRef": {"name": "registry"}}},
        "replicas": 2,
        "env": [{"name": "GREETING", "value": tag}],
        "hooks": {"preDeploy": {"command": ["sh", "-c", "echo migrated to $GREETING"]}},
        "ports": [{"name": "http", "containerPort": 8080}],
        "healthCheck": {"http": {"port": "http"}, "interval": "1s"},
        "rollout": {"progressDeadline": "25s"},
        "stopGracePeriod": "1s"}})
}

#[test]
fn application_runs_in_the_cluster_with_the_rights_of_the_manifests() {
    let cluster = Cluster::start_audited();
    let registry = Registry::start();
    cluster.allow_plain_http(&registry.address);
    let serve = "mkdir /w; echo TEXT $GREETING >/w/index.html; exec httpd -f -p 8080 -h /w";
    push(&registry, "one", &serve.replace("TEXT", "first"));
    push(&registry, "two", &serve.replace("TEXT", "second"));
    push(&registry, "sick", "echo no database; exec sleep 1000");

    let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/high-availability");
    let apply = ["apply", "--server-side", "--kustomize"];
    run(cluster.kubectl().args(apply).arg(&manifests));
    run(cluster.kubectl().args([
        "wait",
        "--for=condition=Established",
        "--timeout=30s",
        "crd",
        "--all",
    ]));
    let exec = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/components/exec/role.yaml");
    run(cluster.kubectl().args(["apply", "--filename"]).arg(exec));
    // The program under test takes the place of the image, which no registry has.
    run(cluster.kubectl().args([
        "--namespace=davit-system",
        "scale",
        "deployment/davit",
        "--replicas=0",
    ]));
    let local =
        json!({"spec": {"type": "ExternalName", "externalName": "localhost", "selector": null}}).to_string();
    let service = [
        "--namespace=davit-system",
        "patch",
        "service",
        "davit",
        "--patch",
        &local,
    ];
    run(cluster.kubectl().args(service));
    let token = run(cluster
        .kubectl()
        .args(["--namespace=davit-system", "create", "token", "davit"]));
    let kubeconfig = cluster.server.kubeconfig_with_token(&token);
    let first = cluster.server.requests_of(ACCOUNT).len();
    let admin = Admin {
        cluster,
        dir: tempfile::tempdir().unwrap(),
    };
    let dir = admin.dir.path();
    let insecure = format!("--insecure-registry={}", registry.address);
    let instance: String = unique("r").chars().filter(char::is_ascii_alphanumeric).collect();
    let _scope = DockerScope::of_instance(&instance);
    let api = |port: &Port| {
        vec![
            insecure.clone(),
            format!("--instance={instance}"),
            format!("--api-listen=127.0.0.1:{}", port.number()),
            format!("--api-service=davit-system/davit:{}", port.number()),
        ]
    };
    let ports = [Port::take(), Port::take()];
    let mut one = Controller::start(&kubeconfig, dir, "one", &api(&ports[0]));
    wait_for("a leader", Duration::from_secs(30), || {
        (!admin.holder().is_empty()).then_some(())
    });
    let leader = admin.holder();
    // No Docker Engine: a buildkitd builds, and pushes to the registry itself.
    let buildkitd = Buildkitd::start();
    let mut with_buildkitd = api(&ports[1]);
    with_buildkitd.push(format!("--buildkit-host=tcp://{}", buildkitd.address));
    for (flag, file) in [
        ("ca", &buildkitd.ca),
        ("cert", &buildkitd.certificate),
        ("key", &buildkitd.key),
    ] {
        with_buildkitd.push(format!("--buildkit-{flag}={}", file.display()));
    }
    let mut two = Controller::start(&kubeconfig, dir, "two", &with_buildkitd);

    // From an image to Pods that serve.
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "registry"},
        "type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": registry.docker_config()}});
    admin.apply(&[secret, application(&registry, "one")]);
    admin.wait("dapp/shop", "/status/release/active", &json!("shop-1"));
    admin.wait("dapp/shop", "/status/phase", &json!("done"));
    admin.wait("deployment/shop", "/status/readyReplicas", &json!(2));
    assert_eq!(ask(&admin.endpoints("shop")[0]).unwrap(), "first one");
    let steps = admin.get("rel/shop-1")["status"]["steps"].to_string();
    assert!(
        steps.contains("\"name\":\"PreDeploy\"") && steps.contains("\"exitCode\":0"),
        "{steps}"
    );

    // What the runtime cannot honour is refused when it is applied.
    let mut refused = application(&registry, "one");
    refused["spec"]["ports"][0]["hostPort"] = json!(8080);
    refused["spec"]["replicas"] = json!(1);
    let file = dir.join("refused.json");
    std::fs::write(&file, refused.to_string()).unwrap();
    let apply = ["apply", "--dry-run=server", "--filename"];
    let (accepted, _, said) = try_run(admin.cluster.kubectl().args(apply).arg(&file));
    assert!(
        !accepted && said.contains("spec.ports.hostPort") && said.contains("by its Service"),
        "{said}"
    );

    // A rollout under load.
    let done = Arc::new(AtomicBool::new(false));
    let (asked, last) = std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let (mut asked, mut last) = (0, String::new());
            while !done.load(Ordering::Relaxed) {
                let endpoints = admin.endpoints("shop");
                assert!(!endpoints.is_empty(), "nothing serves");
                for address in endpoints.iter().cycle().take(20) {
                    last =
                        ask(address).unwrap_or_else(|error| panic!("request {asked} to {address}: {error}"));
                    asked += 1;
                }
            }
            (asked, last)
        });
        admin.apply(&[application(&registry, "two")]);
        admin.wait("dapp/shop", "/status/release/active", &json!("shop-2"));
        admin.wait("dapp/shop", "/status/phase", &json!("done"));
        done.store(true, Ordering::Relaxed);
        load.join().unwrap()
    });
    assert!(asked > 100, "{asked}");
    assert_eq!(last, "second two");

    // A Release that fails: the Pods of before serve.
    admin.apply(&[application(&registry, "sick")]);
    admin.wait("rel/shop-3", "/status/phase", &json!("Failed"));
    assert_eq!(
        admin.get("rel/shop-3")["status"]["failure"]["reason"],
        "Unhealthy"
    );
    let message = admin.get("rel/shop-3")["status"]["failure"].to_string();
    assert!(message.contains("connection refused"), "{message}");
    admin.wait("dapp/shop", "/status/phase", &json!("error"));
    admin.wait("deployment/shop", "/status/readyReplicas", &json!(2));
    assert_eq!(ask(&admin.endpoints("shop")[0]).unwrap(), "second two");

    // A rollback restores image and environment.
    let rollback = json!({"apiVersion": "davit.dev/v1alpha1", "kind": "Release", "metadata": {"name": "back"},
        "spec": {"application": "shop", "type": "Rollback", "rollbackTo": "shop-1"}});
    admin.apply(&[rollback]);
    admin.wait("dapp/shop", "/status/release/active", &json!("back"));
    assert_eq!(ask(&admin.endpoints("shop")[0]).unwrap(), "first one");

    // A controller without a BuildKit builds nothing.
    let page = format!(
        "FROM {BASE_IMAGE}\nRUN mkdir /w && echo built >/w/index.html\nCMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/w\"]\n"
    );
    let repo = GitRepo::with(&[("Dockerfile", &page)]);
    let mut built = application(&registry, "one");
    built["metadata"]["name"] = json!("built");
    built["spec"]["source"] = json!({"git": {"url": repo.url()}});
    built["spec"]["image"] =
        json!({"repository": registry.image("acme/built"), "pushSecretRef": {"name": "registry"}});
    admin.apply(&[built]);
    admin.wait("rel/built-1", "/status/phase", &json!("Failed"));
    let failure = admin.get("rel/built-1")["status"]["failure"].to_string();
    assert!(
        failure.contains("no container engine") && failure.contains("--docker-host"),
        "{failure}"
    );

    // The log, through the API server and this controller.
    let log = "/apis/subresources.davit.dev/v1alpha1/namespaces/default/applications/shop/log";
    wait_for("the API group of subresources", Duration::from_mins(1), || {
        try_run(admin.cluster.kubectl().args(["get", "--raw", log]))
            .0
            .then_some(())
    });

    // A command in a Pod, and what Pods use, by the rights of the manifests.
    let davit = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_davit"));
        command
            .args(args)
            .env("KUBECONFIG", &admin.cluster.server.kubeconfig);
        try_run(command.stdin(Stdio::null()))
    };
    let (_, out, error) = davit(&[
        "exec",
        "shop",
        "--wait",
        "--",
        "sh",
        "-c",
        "echo $GREETING; exit 3",
    ]);
    assert_eq!(out.trim(), "one", "{error}");
    let (shown, _, error) = davit(&["top"]);
    assert!(!shown && error.contains("install metrics-server"), "{error}");
    let pods = admin.get("pods");
    let mut names = pods["items"].as_array().unwrap().iter();
    let pod = names
        .find(|pod| {
            pod["metadata"]["labels"]["davit.dev/application"] == "shop"
                && pod["status"]["phase"] == "Running"
        })
        .unwrap();
    let pod = pod["metadata"]["name"].as_str().unwrap();
    admin.cluster.serve_metrics("default", pod, "250m", "3Mi");
    wait_for("davit top", Duration::from_secs(30), || {
        let (shown, out, _) = davit(&["top", "apps", "shop"]);
        (shown && out.contains("250m") && out.contains("3.0 MiB")).then_some(())
    });

    // The leader is killed; the other controller takes over, and scales as an autoscaler asks.
    one.kill();
    let killed = Instant::now();
    wait_for("another leader", Duration::from_secs(15), || {
        (admin.holder() != leader).then_some(())
    });
    assert!(killed.elapsed() <= Duration::from_secs(15));
    run(admin
        .cluster
        .kubectl()
        .args(["scale", "applications.davit.dev/shop", "--replicas=3"]));
    admin.wait("deployment/shop", "/status/readyReplicas", &json!(3));
    let scale = "/apis/davit.dev/v1alpha1/namespaces/default/applications/shop/scale";
    let scale: Value =
        serde_json::from_str(&run(admin.cluster.kubectl().args(["get", "--raw", scale]))).unwrap();
    assert_eq!(scale["status"]["selector"], "davit.dev/application=shop");

    // With a buildkitd it is built from Git, pushed to the registry, and pulled by the node.
    let request = [
        "annotate",
        "applications.davit.dev/built",
        "davit.dev/requestedAt=1",
    ];
    run(admin.cluster.kubectl().args(request));
    admin.wait("dapp/built", "/status/release/active", &json!("built-2"));
    admin.wait("deployment/built", "/status/readyReplicas", &json!(2));
    assert_eq!(ask(&admin.endpoints("built")[0]).unwrap(), "built");
    let image = admin.get("rel/built-2")["status"]["image"].to_string();
    assert!(
        image.contains(&registry.image("acme/built:")) && image.contains("@sha256:"),
        "{image}"
    );

    // A job with a volume: a Job of the cluster that runs once.
    admin.cluster.add_volume("one");
    let mut job = application(&registry, "one");
    job["metadata"]["name"] = json!("job");
    job["spec"]["restartPolicy"] = json!({"condition": "Never"});
    job["spec"]["replicas"] = json!(1);
    job["spec"]["command"] = json!(["sleep", "5"]);
    job["spec"]["volumes"] = json!([{"name": "data", "mountPath": "/data", "volume": {}}]);
    job["spec"]["deletionPolicy"] = json!("DeleteWithVolumes");
    let spec = job["spec"].as_object_mut().unwrap();
    spec.remove("healthCheck");
    admin.apply(&[job]);
    admin.wait("dapp/job", "/status/release/active", &json!("job-1"));
    admin.wait("jobs", "/items/0/status/succeeded", &json!(1));

    // Everything goes with the Applications.
    let delete = ["delete", "applications.davit.dev", "--all", "--timeout=90s"];
    run(admin.cluster.kubectl().args(delete));
    let kinds = "deployments,replicasets,jobs,pods,services,persistentvolumeclaims,secrets";
    let select = "--selector=app.kubernetes.io/managed-by=davit";
    wait_for("the objects to go", Duration::from_secs(30), || {
        run(admin
            .cluster
            .kubectl()
            .args(["get", kinds, select, "--output=name"]))
        .is_empty()
        .then_some(())
    });
    // One that loses the Lease ends at once; another takes it when it has expired, and gives it back at its end.
    let lost = r#"{"spec": {"holderIdentity": "another", "leaseDurationSeconds": 3}}"#;
    let patch = [
        "--namespace=davit-system",
        "patch",
        "lease/davit",
        "--type=merge",
        "--patch",
        lost,
    ];
    run(admin.cluster.kubectl().args(patch));
    let ended = wait_for("the controller to end", Duration::from_secs(8), || {
        two.0.try_wait().unwrap()
    });
    assert!(!ended.success());
    let mut three = Controller::start(&kubeconfig, dir, "three", &api(&ports[0]));
    wait_for("the Lease to be taken", Duration::from_secs(30), || {
        (admin.holder() != "another").then_some(())
    });
    three.stop();
    wait_for("the Lease to be given back", Duration::from_secs(5), || {
        admin.holder().is_empty().then_some(())
    });

    let used = used(&admin.cluster.server, first);
    let runtime = granted(&admin.cluster.server, "clusterrole", "davit-runtime");
    let election = granted(&admin.cluster.server, "role", "davit-leader");
    // An apply that creates needs both, and is recorded as one patch.
    let exec = granted(&admin.cluster.server, "clusterrole", "davit-exec");
    let runtime = runtime.union(&exec).cloned().collect::<BTreeSet<_>>();
    let spare: Vec<&String> = runtime
        .union(&election)
        .filter(|right| !used.contains(*right) && !right.starts_with("create "))
        .collect();
    assert!(spare.is_empty(), "granted and never used: {spare:?}");
}
