//! `davit controller` against the real API server: the whole line once more, with a Traefik, and what it leaves behind.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::common::docker::{BASE_IMAGE, docker};
use crate::common::git_repo::GitRepo;
use crate::common::http::request;
use crate::common::kube_apiserver::KubeApiserver;
use crate::common::process::Port;
use crate::common::{run, unique, wait_for};

struct Controller {
    child: Child,
    instance: String,
}

impl Drop for Controller {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        for (list, remove) in [
            (
                &["ps", "--all", "--quiet"][..],
                &["rm", "--force", "--volumes"][..],
            ),
            (&["network", "ls", "--quiet"], &["network", "rm"]),
            (&["volume", "ls", "--quiet"], &["volume", "rm", "--force"]),
        ] {
            let filter = format!("label=dev.davit.instance={}", self.instance);
            let left = run(docker().args(list).args(["--filter", &filter]));
            if !left.is_empty() {
                run(docker().args(remove).args(left.lines()));
            }
        }
    }
}

/// The containers of Applications.
fn containers(instance: &str) -> Vec<String> {
    let filter = format!("label=dev.davit.instance={instance}");
    let names = run(docker().args(["ps", "--all", "--format", "{{.Names}}", "--filter", &filter]));
    names
        .lines()
        .filter(|name| !name.ends_with("--proxy"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn davit_controller_deploys_with_a_kube_apiserver() {
    crate::common::docker::base_image();
    let mut server = KubeApiserver::start();
    // Owners' garbage is collected by the real controllers.
    server.start_controllers();
    let dir = tempfile::tempdir().unwrap();
    let crds = dir.path().join("crds.yaml");
    std::fs::write(&crds, run(Command::new(env!("CARGO_BIN_EXE_davit")).arg("crds"))).unwrap();
    run(server
        .kubectl()
        .args(["apply", "--server-side", "--filename"])
        .arg(&crds));
    run(server
        .kubectl()
        .args([
            "wait",
            "--for=condition=Established",
            "--timeout=30s",
            "--filename",
        ])
        .arg(&crds));
    run(server.kubectl().args(["create", "namespace", "real"]));

    let instance: String = unique("r").chars().filter(char::is_ascii_alphanumeric).collect();
    let log = std::fs::File::create(dir.path().join("log")).unwrap();
    let (http, https) = (Port::take(), Port::take());
    let [place, secure] = [&http, &https].map(|port| format!("127.0.0.1:{}", port.number()));
    let child = Command::new(env!("CARGO_BIN_EXE_davit"))
        .args([
            "controller",
            "--allow-local-sources",
            "--instance",
            &instance,
            "--traefik",
            "--traefik-image",
            &crate::routes::image(),
            "--traefik-http",
            &place,
            "--traefik-https",
            &secure,
            "--data-dir",
        ])
        .arg(dir.path().join("data"))
        .env("KUBECONFIG", &server.kubeconfig)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    let controller = Controller { child, instance };

    let page = |text: &str| {
        let serve = "[\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/w\"]";
        format!("FROM {BASE_IMAGE}\nRUN mkdir /w && echo {text} > /w/index.html\nCMD {serve}\n")
    };
    let repo = GitRepo::with(&[("Dockerfile", &page("one"))]);
    let manifest = dir.path().join("app.yaml");
    let text = format!(
        "apiVersion: davit.dev/v1alpha1\nkind: Application\nmetadata: {{name: web, namespace: real}}\nspec: {{source: {{git: {{url: '{}'}}}}, \
         ports: [{{containerPort: 8080}}], stopGracePeriod: 1s, routes: [{{host: web.example.com}}]}}\n",
        repo.url()
    );
    std::fs::write(&manifest, text).unwrap();
    run(server.kubectl().args(["apply", "--filename"]).arg(&manifest));
    let wait = [
        "wait",
        "--namespace",
        "real",
        "--timeout=90s",
        "applications.davit.dev/web",
    ];
    run(server.kubectl().args(wait).arg("--for=condition=Ready"));
    run(server
        .kubectl()
        .args(wait)
        .arg("--for=jsonpath={.status.phase}=done"));
    assert_eq!(containers(&controller.instance).len(), 1);
    let answers = |text: &str| {
        wait_for("an answer through Traefik", Duration::from_mins(1), || {
            let request = request("GET", &format!("http://{place}/")).header("Host: web.example.com");
            (request.send().body.trim() == text).then_some(())
        });
    };
    run(server.kubectl().args(wait).arg("--for=condition=RoutesReady"));
    answers("one");

    repo.commit("Two", &[("Dockerfile", &page("two"))]);
    run(server.kubectl().args([
        "annotate",
        "--namespace",
        "real",
        "applications.davit.dev/web",
        "davit.dev/requestedAt=1",
    ]));
    run(server
        .kubectl()
        .args(wait)
        .arg("--for=jsonpath={.status.release.active}=web-2"));
    answers("two");
    let events = run(server.kubectl().args([
        "events",
        "--namespace",
        "real",
        "--for",
        "applications.davit.dev/web",
    ]));
    assert!(events.contains("release web-2"), "{events}");

    run(server.kubectl().args([
        "delete",
        "--namespace",
        "real",
        "applications.davit.dev/web",
        "--timeout=60s",
    ]));
    wait_for("the containers to go", Duration::from_secs(20), || {
        containers(&controller.instance).is_empty().then_some(())
    });
    wait_for("the releases to go", Duration::from_mins(1), || {
        let left = run(server.kubectl().args([
            "get",
            "--namespace",
            "real",
            "releases.davit.dev",
            "--output",
            "name",
        ]));
        left.is_empty().then_some(())
    });
}
