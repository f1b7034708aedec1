//! Davit installed in a cluster as docs/kubernetes.md says, by its commands: an Application goes from Git to a running Pod, built by
//! the rootless buildkitd of one component and pushed to the registry of the other.
//!
//! The images are stand-ins, because no registry can be reached: files of this machine, the real programs of BuildKit, and the image
//! that the Dockerfile makes of the program under test.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::common::cluster::Cluster;
use crate::common::docker::{BASE_IMAGE, DockerScope, base_image, docker, docker_with};
use crate::common::file_system::FileSystem;
use crate::common::git_repo::GitRepo;
use crate::common::git_server::{Access, GitHttps};
use crate::common::http::request;
use crate::common::{run, try_run, unique, wait_for};

/// The longest that one rollout may take.
const PATIENCE: Duration = Duration::from_mins(2);
/// Where nodes reach the registry.
const NODE_PORT: &str = "127.0.0.1:30500";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The blocks of the page's section, with the language of each.
fn blocks() -> Vec<(String, String)> {
    let page = std::fs::read_to_string(root().join("docs/kubernetes.md")).unwrap();
    let (_, section) = page
        .split_once("\n## Builds and a registry in the cluster\n")
        .unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let fenced = section.split("```").skip(1).step_by(2);
    fenced
        .map(|block| {
            let (language, text) = block.split_once('\n').unwrap();
            (language.to_owned(), text.to_owned())
        })
        .collect()
}

/// The only block in this language that contains `word`.
fn block(language: &str, word: &str) -> String {
    let mut found = blocks()
        .into_iter()
        .filter(|(its, text)| its == language && text.contains(word));
    let (_, text) = found
        .next()
        .unwrap_or_else(|| panic!("no {language} with {word}"));
    assert!(found.next().is_none(), "two of {language} with {word}");
    text
}

/// The commands of a block.
fn commands(word: &str) -> String {
    block("console", word).lines().fold(String::new(), |all, line| {
        all + line.strip_prefix("$ ").unwrap_or(line) + "\n"
    })
}

/// A user's directory with Davit's source, and the cluster.
struct User {
    cluster: Cluster,
    dir: tempfile::TempDir,
}

impl User {
    fn bash(&self, lines: &str) -> Command {
        let kubeconfig = &self.cluster.server.kubeconfig;
        let mut command = Command::new("bash");
        command
            .args(["-euo", "pipefail", "-c", lines])
            .env("KUBECONFIG", kubeconfig)
            .env("KUBECACHEDIR", kubeconfig.with_extension("cache"))
            .current_dir(self.dir.path());
        command
    }

    fn kubectl(&self, args: &[&str]) -> String {
        run(self.cluster.kubectl().args(args))
    }

    fn get(&self, what: &[&str]) -> Value {
        let (_, text, _) = try_run(self.cluster.kubectl().arg("get").args(what).arg("--output=json"));
        serde_json::from_str(&text).unwrap_or_default()
    }

    fn apply(&self, objects: &[Value]) {
        let file = self.dir.path().join("objects.json");
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        std::fs::write(&file, list.to_string()).unwrap();
        run(self.cluster.kubectl().args(["apply", "--filename"]).arg(&file));
    }

    fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.path().join(name)).unwrap()
    }

    /// A request to the registry with the password, and the code and body of the answer.
    fn registry(&self, path: &str) -> (u16, String) {
        let reply = request("GET", &format!("https://{NODE_PORT}/v2/{path}"))
            .ca(&self.dir.path().join("secrets/ca.crt"))
            .basic("davit", self.file("secrets/password").trim())
            .send();
        (reply.status, reply.body)
    }

    /// Rolls out what `lines` wait for; what the Pods say is in the panic.
    fn install(&self, lines: &str) {
        let (done, out, error) = try_run(&mut self.bash(lines));
        if !done {
            let mut told = out + &error + &self.kubectl(&["get", "pods,events", "--all-namespaces"]);
            for (namespace, name) in [
                ("davit-build", "buildkitd"),
                ("davit-system", "registry"),
                ("davit-system", "davit"),
            ] {
                let deployment = format!("deployment/{name}");
                let logs = ["logs", "--namespace", namespace, &deployment, "--tail=20"];
                let (_, out, error) = try_run(self.cluster.kubectl().args(logs));
                told = told + "\n" + name + ":\n" + &out + &error;
            }
            panic!("{told}");
        }
    }
}

/// The image that the Dockerfile makes, with the stand-ins as its bases.
fn davit_image(scope: &DockerScope, name: &str) {
    let label = scope.label();
    let change = format!("LABEL {label}");
    let [rust, base] = ["rust", "base"].map(|part| format!("{name}-{part}"));
    FileSystem::rust(Path::new(env!("CARGO_BIN_EXE_davit"))).import(&rust, &[&change]);
    FileSystem::alpine().import(&base, &[&change]);
    run(docker()
        .args(["build", "--quiet", "--label", &label, "--tag", name])
        .args(["--build-arg", &format!("RUST_IMAGE={rust}")])
        .args(["--build-arg", &format!("BASE_IMAGE={base}")])
        .arg(root()));
}

/// The image of a Deployment in what kustomize makes, as a node names it.
fn image_of(objects: &[Value], name: &str) -> String {
    let deployment = objects
        .iter()
        .find(|object| object["kind"] == "Deployment" && object["metadata"]["name"] == name)
        .unwrap();
    let image = deployment["spec"]["template"]["spec"]["containers"][0]["image"]
        .as_str()
        .unwrap();
    let first = image.split_once('/').map_or("", |(first, _)| first);
    match (first, first.contains('.')) {
        ("", _) => format!("docker.io/library/{image}"),
        (_, false) => format!("docker.io/{image}"),
        (_, true) => image.to_owned(),
    }
}

/// Gives the node the images that the kustomization names.
fn load_images(user: &User) {
    let rendered = user.kubectl(&["kustomize", user.dir.path().to_str().unwrap()]);
    let objects: Vec<Value> = serde_yaml::Deserializer::from_str(&rendered)
        .map(|object| Value::deserialize(object).unwrap())
        .collect();
    let instance: String = unique("n").chars().filter(char::is_ascii_alphanumeric).collect();
    let scope = DockerScope::of_instance(&instance);
    let change = format!("LABEL {}", scope.label());
    let named = |part: &str| format!("localhost/davit-test-{instance}:{part}");
    davit_image(&scope, &named("davit"));
    for (part, files, lines) in [
        ("registry", FileSystem::registry(), FileSystem::REGISTRY),
        (
            "buildkitd",
            FileSystem::rootless_buildkit(),
            FileSystem::ROOTLESS_BUILDKIT,
        ),
    ] {
        let mut lines: Vec<&str> = lines.to_vec();
        lines.push(&change);
        files.import(&named(part), &lines);
    }
    for part in ["davit", "registry", "buildkitd"] {
        user.cluster.load_as(&named(part), &image_of(&objects, part));
    }
}

/// Puts the base image of a Dockerfile into the registry, as its owner would.
fn push_base(user: &User) -> String {
    let password = user.file("secrets/password");
    let auth = base64::prelude::BASE64_STANDARD.encode(format!("davit:{}", password.trim()));
    let config = user.dir.path().join("docker");
    std::fs::create_dir(&config).unwrap();
    let text = json!({"auths": {NODE_PORT: {"auth": auth}}}).to_string();
    std::fs::write(config.join("config.json"), text).unwrap();
    let local = format!("{NODE_PORT}/base/busybox:1");
    run(docker().args(["tag", BASE_IMAGE, &local]));
    run(docker_with(&config).args(["push", "--quiet", &local]));
    run(docker().args(["rmi", &local]));
    "registry.davit-system.svc/base/busybox:1".to_owned()
}

#[test]
fn installed_davit_takes_an_application_from_git_to_a_pod() {
    base_image();
    let cluster = Cluster::start_with_services();
    for (name, size) in [("davit", "8Gi"), ("registry", "20Gi")] {
        cluster.add_volume_of(name, size);
    }
    let user = User {
        cluster,
        dir: tempfile::tempdir().unwrap(),
    };
    for part in ["manifests", "crds", "scripts"] {
        std::os::unix::fs::symlink(root().join(part), user.dir.path().join(part)).unwrap();
    }

    // The page's steps.
    run(&mut user.bash(&commands("cluster-secrets")));
    let here = "/etc/containerd/certs.d";
    let hosts = block("toml", "server = ");
    assert!(hosts.contains(here));
    let registries = user.cluster.registries();
    let of_node = registries.join("registry.davit-system.svc");
    std::fs::create_dir_all(&of_node).unwrap();
    std::fs::copy(user.dir.path().join("secrets/ca.crt"), of_node.join("ca.crt")).unwrap();
    std::fs::write(
        of_node.join("hosts.toml"),
        hosts.replace(here, &registries.display().to_string()),
    )
    .unwrap();
    std::fs::write(
        user.dir.path().join("kustomization.yaml"),
        block("yaml", "components/registry"),
    )
    .unwrap();
    load_images(&user);
    user.install(&commands("kubectl apply"));
    let (status, catalog) = user.registry("_catalog");
    assert_eq!(
        (status, catalog.contains("\"repositories\"")),
        (200, true),
        "{catalog}"
    );
    let stranger = request("GET", &format!("https://{NODE_PORT}/v2/_catalog"))
        .ca(&user.dir.path().join("secrets/ca.crt"))
        .send();
    assert_eq!(stranger.status, 401, "a password is needed");
    // buildkitd is root in a user namespace only.
    let build = ["exec", "--namespace=davit-build", "deployment/buildkitd", "--"];
    let id = run(user.cluster.kubectl().args(build).args(["id", "-u"]));
    assert_eq!(id, "1000");

    // From Git to a Pod.
    let base = push_base(&user);
    let page = |text: &str| {
        format!(
            "FROM {base}\nRUN mkdir /w && echo {text} >/w/index.html\nCMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/w\"]\n"
        )
    };
    let git = GitHttps::start_at(&user.cluster.gateway());
    let repo = GitRepo::with(&[("Dockerfile", &page("first"))]);
    git.publish("acme/shop.git", &repo);
    let mut application: Value = serde_yaml::from_str(&block("yaml", "kind: Application")).unwrap();
    application["spec"]["source"]["git"] =
        json!({"url": git.url(Access::Anonymous, "acme/shop.git"), "secretRef": {"name": "git"}});
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "git"}, "stringData": {"ca.crt": git.ca.ca_pem}});
    user.apply(&[secret, application]);
    let active = |release: &str| {
        let end = std::time::Instant::now() + PATIENCE;
        loop {
            let shop = user.get(&["dapp/shop"]);
            if shop["status"]["phase"] == "done" && shop["status"]["release"]["active"] == release {
                return shop;
            }
            let log = [
                "logs",
                "--namespace=davit-system",
                "deployment/davit",
                "--tail=20",
            ];
            assert!(
                std::time::Instant::now() < end,
                "{:#}\n{}",
                shop["status"],
                user.kubectl(&log)
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    let shop = active("shop-1");
    let image = shop["status"]["release"]["image"].as_str().unwrap();
    assert!(
        image.starts_with("registry.davit-system.svc/default/shop:") && image.contains("@sha256:"),
        "{image}"
    );
    let pods = user.get(&["pods", "--selector=davit.dev/application=shop"]);
    assert_eq!(pods["items"][0]["spec"]["containers"][0]["image"], image);
    // Its Service leads to it, and its log through the API server to the controller.
    let service = user.get(&["service/shop"])["spec"]["clusterIP"]
        .as_str()
        .unwrap()
        .to_owned();
    let ask = || request("GET", &format!("http://{service}:8080/")).send().body;
    wait_for("the Service to lead to the Pod", Duration::from_secs(10), || {
        ask().contains("first").then_some(())
    });
    let log = "/apis/subresources.davit.dev/v1alpha1/namespaces/default/releases/shop-1/log";
    let log = user.kubectl(&["get", "--raw", log]);
    assert!(
        log.contains("pushed registry.davit-system.svc/default/shop:"),
        "{log}"
    );

    // The next commit takes the place of the first.
    repo.commit("second", &[("Dockerfile", &page("second"))]);
    git.publish("acme/shop.git", &repo);
    user.kubectl(&[
        "annotate",
        "applications.davit.dev/shop",
        "davit.dev/requestedAt=1",
    ]);
    active("shop-2");
    wait_for(
        "the Service to lead to the second Pod",
        Duration::from_secs(30),
        || ask().contains("second").then_some(()),
    );

    // Its images leave the registry with it, and everything goes with the kustomization.
    user.kubectl(&["delete", "applications.davit.dev", "--all", "--timeout=60s"]);
    wait_for("the images to go", Duration::from_secs(10), || {
        let (_, tags) = user.registry("default/shop/tags/list");
        tags.contains("\"tags\":null").then_some(())
    });
    run(&mut user.bash("kubectl delete -k . --timeout=90s"));
    let namespaces = user.kubectl(&["get", "namespaces", "--output=name"]);
    assert!(!namespaces.contains("davit-"), "{namespaces}");
}
