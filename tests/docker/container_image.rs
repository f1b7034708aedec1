//! The container image: docs/operations.md builds it, and `davit up` and `davit controller` run in it. No base image can be
//! pulled, so stand-ins made of files of this machine take their place; in the one for Rust, cargo gives the program that
//! these tests were built with. Dockerfile itself, .dockerignore and the commands of the page are the real ones.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test starts programs, and panics if an expectation fails"
)]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use davit_apiserver::{ApiServer, Options};
use davit_test_support::docker::{BASE_IMAGE, DockerScope, base_image, docker};
use davit_test_support::file_system::FileSystem;
use davit_test_support::git_repo::GitRepo;
use davit_test_support::git_server::{Access, GitHttps, GitSsh};
use davit_test_support::process::Port;
use davit_test_support::{run, try_run, unique, wait_for};
use serde_json::Value;
use tempfile::TempDir;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The commands of docs/operations.md below `### In a container`, the block with `wanted` in it, as one text.
fn page(wanted: &str) -> String {
    let page = std::fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let (_, section) = page.split_once("\n### In a container\n").unwrap();
    let (section, _) = section.split_once("\n### ").unwrap();
    let block = section
        .split("```console\n")
        .skip(1)
        .filter_map(|block| block.split("```").next())
        .find(|block| block.contains(wanted))
        .unwrap_or_else(|| panic!("no block with {wanted:?}"));
    block.lines().fold(String::new(), |all, line| {
        all + line.strip_prefix("$ ").unwrap_or(line) + "\n"
    })
}

/// Replaces each of these, which must be there.
fn replaced(text: &str, replacements: &[(&str, &str)]) -> String {
    replacements.iter().fold(text.to_owned(), |text, (what, with)| {
        assert!(text.contains(what), "{what:?} is not in:\n{text}");
        text.replace(what, with)
    })
}

/// An image of one test, and whatever is made from it.
struct Image {
    name: String,
    container: String,
    volume: String,
    instance: String,
    dir: TempDir,
    scope: DockerScope,
}

impl Image {
    /// Builds it with the command of the page.
    fn build() -> Self {
        base_image();
        let instance: String = unique("i").chars().filter(char::is_ascii_alphanumeric).collect();
        let scope = DockerScope::of_instance(&instance);
        let label = scope.label();
        let name = format!("davit-test-{instance}:image");
        let [rust, base] = ["rust", "base"].map(|part| format!("davit-test-{instance}:{part}"));
        let change = format!("LABEL {label}");
        FileSystem::rust(Path::new(env!("CARGO_BIN_EXE_davit"))).import(&rust, &[&change]);
        FileSystem::alpine().import(&base, &[&change]);
        let (build, _) = page("docker build")
            .split_once('\n')
            .map(|(build, rest)| (build.to_owned(), rest.to_owned()))
            .unwrap();
        let arguments = format!(
            "docker build --build-arg RUST_IMAGE={rust} --build-arg BASE_IMAGE={base} --label {label}"
        );
        let build = replaced(
            &build,
            &[
                ("docker build", &arguments),
                ("--tag davit ", &format!("--tag {name} ")),
            ],
        );
        bash(root(), &build);
        let volume = format!("davit-test-{instance}");
        run(docker().args(["volume", "create", "--label", &label, &volume]));
        Self {
            container: format!("davit-test-{instance}"),
            dir: tempfile::tempdir().unwrap(),
            name,
            volume,
            instance,
            scope,
        }
    }

    /// The command of the page that runs the container, with names of this test's own and further arguments of davit.
    fn run_command(&self, page: &str, name: &str, command: &str, arguments: &str) -> String {
        let run = page
            .split_once("docker run ")
            .map(|(_, rest)| {
                rest.split_once(&format!("davit {command}\n"))
                    .expect("the command of the container")
                    .0
            })
            .expect("a docker run");
        replaced(
            &format!(
                "docker run {run}{} {command} --instance {} {arguments}\n",
                self.name, self.instance
            ),
            &[
                (
                    &format!("--name {name} "),
                    &format!("--name {} --label {} ", self.container, self.scope.label()),
                ),
                (
                    &format!("--volume {name}:"),
                    &format!("--volume {}:", self.volume),
                ),
                // A restart would hide a failure.
                ("--restart unless-stopped", "--restart no"),
            ],
        )
    }

    fn logs(&self) -> String {
        let (_, out, err) = try_run(docker().args(["logs", &self.container]));
        out + &err
    }

    fn wait_for_log(&self, words: &str) {
        wait_for("the container to start", Duration::from_secs(30), || {
            let running = run(docker().args(["inspect", "--format", "{{.State.Running}}", &self.container]));
            let log = self.logs();
            assert_eq!(running, "true", "{log}");
            log.contains(words).then_some(())
        });
    }

    fn kubectl(&self, kubeconfig: &Path, args: &[&str]) -> String {
        let mut kubectl = Command::new("kubectl");
        let (ok, out, err) = try_run(kubectl.arg("--kubeconfig").arg(kubeconfig).args(args));
        assert!(ok, "kubectl {args:?}: {out}{err}\n{}", self.logs());
        out
    }

    /// Applies this, and waits until the Application is Ready.
    fn deploy(&self, kubeconfig: &Path, name: &str, manifest: &str) {
        let file = self.dir.path().join(format!("{name}.yaml"));
        std::fs::write(&file, manifest).unwrap();
        self.kubectl(kubeconfig, &["apply", "--filename", file.to_str().unwrap()]);
        let target = format!("applications.davit.dev/{name}");
        let mut wait = Command::new("kubectl");
        wait.arg("--kubeconfig").arg(kubeconfig);
        let (ready, _, err) = try_run(wait.args(["wait", "--for=condition=Ready", "--timeout=90s", &target]));
        if !ready {
            let state = self.kubectl(kubeconfig, &["get", "davit", "--output", "yaml"]);
            panic!("{err}\n{state}\n{}", self.logs());
        }
    }

    /// Stops the container as the engine does, which must end well.
    fn stop(&self) {
        run(docker().args(["stop", "--time", "20", &self.container]));
        let code = run(docker().args(["inspect", "--format", "{{.State.ExitCode}}", &self.container]));
        assert_eq!(code, "0", "{}", self.logs());
    }
}

/// Runs the lines of a page.
fn bash(dir: &Path, lines: &str) -> String {
    run(Command::new("bash")
        .args(["-euo", "pipefail", "-c", lines])
        .current_dir(dir))
}

/// A Secret and an Application of a Git repository with a Dockerfile.
fn application(name: &str, url: &str, secret: &[(&str, &str)], more: &str) -> String {
    let data: serde_json::Map<String, Value> = secret
        .iter()
        .map(|(key, value)| ((*key).to_owned(), Value::from(*value)))
        .collect();
    let secret = serde_json::json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data});
    format!(
        "---\n{secret}\n---\napiVersion: davit.dev/v1alpha1\nkind: Application\nmetadata: {{name: {name}}}\nspec:\n  \
         source: {{git: {{url: '{url}', secretRef: {{name: {name}}}}}}}\n{more}"
    )
}

fn web(text: &str) -> GitRepo {
    let dockerfile = format!(
        "FROM {BASE_IMAGE}\nRUN mkdir /www && echo '{text}' > /www/index.html\n\
         CMD [\"httpd\", \"-f\", \"-p\", \"80\", \"-h\", \"/www\"]\n"
    );
    GitRepo::with(&[("Dockerfile", &dockerfile)])
}

#[test]
fn dockerfile_names_the_version_of_rust_toolchain() {
    let toolchain = std::fs::read_to_string(root().join("rust-toolchain.toml")).unwrap();
    let channel = toolchain.split('"').nth(1).unwrap();
    let dockerfile = std::fs::read_to_string(root().join("Dockerfile")).unwrap();
    assert!(dockerfile.contains(&format!("/rust:{channel}-")), "{channel}");
}

/// The files at the top of the tree that the build context leaves out. A new file is let in or named here.
const LEFT_OUT: [&str; 19] = [
    ".ci",
    ".dockerignore",
    ".gitignore",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Dockerfile",
    "LICENSE",
    "Makefile",
    "README.md",
    "SECURITY.md",
    "clippy.toml",
    "deny.toml",
    "docs",
    "examples",
    "proptest-regressions",
    "rust-toolchain.toml",
    "rustfmt.toml",
    "scripts",
];

#[test]
fn image_context_holds_what_cargo_reads() {
    let image = Image::build();
    let part = format!("davit-test-{}:build", image.instance);
    let mut build = docker();
    build.args(["build", "--quiet", "--target", "build", "--tag", &part]);
    for stage in ["RUST", "BASE"] {
        let stand_in = format!(
            "{stage}_IMAGE=davit-test-{}:{}",
            image.instance,
            stage.to_lowercase()
        );
        build.args(["--build-arg", &stand_in]);
    }
    run(build.arg(root()));
    let container = run(docker().args(["create", "--label", &image.scope.label(), &part, "true"]));
    run(docker()
        .arg("cp")
        .arg(format!("{container}:/src"))
        .arg(image.dir.path()));
    let context = image.dir.path().join("src");
    run(Command::new("cargo")
        .args(["tree", "--locked", "--offline", "--workspace", "--depth", "0"])
        .current_dir(&context));
    let tracked = run(Command::new("git")
        .args(["ls-tree", "--name-only", "HEAD"])
        .current_dir(root()));
    for name in tracked.lines() {
        assert_ne!(context.join(name).exists(), LEFT_OUT.contains(&name), "{name}");
    }
    // Of these folders, the program contains a part.
    for (part, rest) in [
        ("manifests/base/user-roles.yaml", "manifests/kubernetes"),
        ("packaging/completions", "packaging/man"),
    ] {
        assert!(context.join(part).exists(), "{part} is missing");
        assert!(!context.join(rest).exists(), "{rest} is in the context");
    }
    for name in [".git", ".work", "target/debug"] {
        assert!(!context.join(name).exists(), "{name} is in the context");
    }
}

#[test]
fn davit_up_in_the_image_runs_applications() {
    let image = Image::build();
    let port = Port::take();
    let page = page("davit up");
    let arguments = format!("--listen 127.0.0.1:{}", port.number());
    bash(
        image.dir.path(),
        &image.run_command(&page, "davit", "up", &arguments),
    );
    image.wait_for_log("davit is ready");
    let (_, rest) = page.split_once("docker exec ").unwrap();
    let container = image.container.as_str();
    bash(
        image.dir.path(),
        &replaced(
            &format!("docker exec {rest}"),
            &[("exec davit ", &format!("exec {container} "))],
        ),
    );
    let kubeconfig = image.dir.path().join("davit.kubeconfig");

    let ssh = GitSsh::start();
    ssh.publish("web.git", &web("Over ssh."));
    let secret = [
        ("ssh-privatekey", ssh.client_key.as_str()),
        ("known_hosts", &ssh.known_hosts()),
    ];
    let healthy = "  ports: [{name: http, containerPort: 80}]\n  healthCheck: {http: {path: /, port: http}, interval: 1s}\n";
    image.deploy(
        &kubeconfig,
        "over-ssh",
        &application("over-ssh", &ssh.url("web.git"), &secret, healthy),
    );

    let https = GitHttps::start();
    https.publish("web.git", &web("Over https."));
    let ca = std::fs::read_to_string(&https.ca.ca_file).unwrap();
    let secret = [
        ("username", https.user.as_str()),
        ("password", &https.password),
        ("ca.crt", &ca),
    ];
    image.deploy(
        &kubeconfig,
        "over-https",
        &application(
            "over-https",
            &https.url(Access::Basic, "web.git"),
            &secret,
            healthy,
        ),
    );

    let inspected: Value = serde_json::from_str(&run(docker().args(["inspect", container]))).unwrap();
    assert_eq!(inspected[0]["HostConfig"]["ReadonlyRootfs"], true);
    assert_eq!(inspected[0]["Config"]["User"], "65532:65532");
    assert_eq!(run(docker().args(["exec", container, "id", "-u"])), "65532");
    // What was written in the volume is there after a restart, and nothing is deployed anew.
    image.stop();
    run(docker().args(["start", container]));
    wait_for("the API server", Duration::from_secs(30), || {
        let mut kubectl = Command::new("kubectl");
        try_run(
            kubectl
                .arg("--kubeconfig")
                .arg(&kubeconfig)
                .args(["get", "davit"]),
        )
        .0
        .then_some(())
    });
    let releases = image.kubectl(&kubeconfig, &["get", "releases.davit.dev", "--output", "name"]);
    assert_eq!(releases.lines().count(), 2, "{releases}");
    image.kubectl(
        &kubeconfig,
        &["delete", "applications.davit.dev", "--all", "--timeout=60s"],
    );
    image.stop();
}

#[test]
fn davit_controller_in_the_image_runs_applications_of_a_cluster() {
    let image = Image::build();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let server = runtime.block_on(ApiServer::open(Options::default())).unwrap();
    let listener = runtime
        .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
        .unwrap();
    let address = listener.local_addr().unwrap();
    let _served = runtime.block_on(async { server.serve(listener) }).unwrap();
    let admin = image.dir.path().join("admin.kubeconfig");
    std::fs::write(&admin, server.kubeconfig(address)).unwrap();

    let page = page("davit controller");
    let kubeconfig = image.dir.path().join("kubeconfig");
    let crds = image.dir.path().join("crds.yaml");
    let (prepare, _) = page.split_once("docker run ").unwrap();
    // The kubeconfig of the user becomes readable for the user of the image, and the CRDs are installed.
    let prepare = replaced(
        prepare,
        &[
            ("/etc/davit/kubeconfig", kubeconfig.to_str().unwrap()),
            (
                "davit crds | kubectl apply",
                &format!(
                    "{} crds >{}; kubectl apply",
                    env!("CARGO_BIN_EXE_davit"),
                    crds.display()
                ),
            ),
            ("-f -", &format!("-f {}", crds.display())),
        ],
    );
    bash(
        image.dir.path(),
        &format!("export KUBECONFIG={}\n{prepare}", admin.display()),
    );
    let command = replaced(
        &image.run_command(&page, "davit-controller", "controller", ""),
        &[(
            "--volume /etc/davit/kubeconfig",
            &format!("--volume {}", kubeconfig.display()),
        )],
    );
    bash(image.dir.path(), &command);
    image.wait_for_log("started");
    image.deploy(
        &admin,
        "plain",
        &format!(
            "apiVersion: davit.dev/v1alpha1\nkind: Application\nmetadata: {{name: plain}}\nspec:\n  source: {{docker: {{image: '{BASE_IMAGE}'}}}}\n  \
             command: [sleep, '10000']\n"
        ),
    );
    image.kubectl(
        &admin,
        &["delete", "applications.davit.dev", "--all", "--timeout=60s"],
    );
    image.stop();
    runtime.block_on(server.close());
}
