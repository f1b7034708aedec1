//! Every example does what its README promises: its own commands are run, with the real kubectl, against a real
//! `davit up`; and so are those of README and of the pages in docs/ that can be applied as they stand.

#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test tells one story from its beginning to its end, and a person's commands are run by a shell"
)]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::common::davit::{Davit, condition, fetch_from_network};
use crate::common::docker::BASE_IMAGE;
use crate::common::git_repo::GitRepo;
use crate::common::git_server::GitSsh;
use crate::common::gitea::Gitea;
use crate::common::process::Port;
use crate::common::registry::Registry;
use crate::common::{run, wait_for};
use serde_json::{Value, json};

/// What an example names and a test machine cannot have, each with what stands for it.
type Instead<'a> = &'a [(&'a str, &'a str)];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A person's terminal beside a running Davit: the repository's files around it, with [`Instead`] applied.
pub struct Terminal {
    pub davit: Davit,
}

impl Terminal {
    fn new(test: &str) -> Self {
        Self::with_flags(test, &[])
    }

    /// Beside a Davit with further flags.
    pub fn with_flags(test: &str, flags: &[&str]) -> Self {
        Self {
            davit: Davit::with_flags(test, flags),
        }
    }

    /// Copies an example and runs what its README tells to do, line by line. Every replacement must be of use, so that
    /// none stays behind when the example changes.
    pub fn follow(&self, example: &str, instead: Instead<'_>) -> String {
        let from = root().join("examples").join(example);
        let to = self.davit.dir().join("examples").join(example);
        std::fs::create_dir_all(&to).unwrap();
        let mut all = String::new();
        let mut readme = String::new();
        for entry in from.read_dir().unwrap().flatten() {
            if !entry.file_type().unwrap().is_file() {
                continue;
            }
            let text = std::fs::read_to_string(entry.path()).unwrap();
            all.push_str(&text);
            let text = replaced(&text, instead);
            if entry.file_name() == "README.md" {
                readme.clone_from(&text);
            }
            std::fs::write(to.join(entry.file_name()), text).unwrap();
        }
        for (what, _) in instead {
            assert!(all.contains(what), "{example} does not name {what:?} any more");
        }
        self.type_in(&commands(&readme))
    }

    /// Runs these lines as a user would, with the oldest kubectl that the pages promise to work with, and returns what
    /// they print.
    pub fn type_in(&self, lines: &str) -> String {
        assert!(!lines.trim().is_empty(), "there is nothing to do");
        let kubectl = crate::common::peers::file("kubectl-debian-1.20/kubectl");
        let davit = Path::new(env!("CARGO_BIN_EXE_davit")).parent().unwrap();
        let path = std::env::var("PATH").unwrap();
        run(Command::new("bash")
            .args(["-euo", "pipefail", "-c", lines])
            .env(
                "PATH",
                format!(
                    "{}:{}:{path}",
                    kubectl.parent().unwrap().display(),
                    davit.display()
                ),
            )
            .env("KUBECONFIG", self.davit.kubeconfig())
            .current_dir(self.davit.dir()))
    }

    pub fn get(&self, what: &str) -> Value {
        let text = self.type_in(&format!("kubectl get {what} -o json"));
        serde_json::from_str(&text).unwrap()
    }
}

fn replaced(text: &str, instead: Instead<'_>) -> String {
    instead
        .iter()
        .fold(text.to_owned(), |text, (what, with)| text.replace(what, with))
}

/// The lines of a page that are set off as code, in order.
fn commands(page: &str) -> String {
    page.lines()
        .filter_map(|line| line.strip_prefix("    "))
        .fold(String::new(), |all, line| all + line + "\n")
}

#[test]
fn example_routes_writes_the_file_of_traefik() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let terminal = Terminal::with_flags("routes", &["--traefik-config", path]);
    let said = terminal.follow("13-routes", &[("busybox:1.36", BASE_IMAGE)]);
    assert!(
        said.contains("RouteUnobserved") || said.contains("RoutePending"),
        "{said}"
    );
    let file = directory
        .path()
        .join(format!("davit-{}.yml", terminal.davit.instance));
    let servers = wait_for(
        "both replicas of the second release",
        Duration::from_mins(1),
        || {
            let shown: Value = serde_json::from_str(&std::fs::read_to_string(&file).ok()?).unwrap();
            let router = format!("{}_default_hello-routes_0", terminal.davit.instance);
            assert_eq!(
                shown["http"]["routers"][&router]["rule"],
                "Host(\"hello.example.com\")"
            );
            let servers = shown["http"]["services"][&router]["loadBalancer"]["servers"].clone();
            let containers = terminal.davit.containers("hello-routes").len();
            (containers == 2 && servers.as_array()?.len() == 2).then_some(servers)
        },
    );
    assert!(
        servers[0]["url"].as_str().unwrap().ends_with(":8080"),
        "{servers}"
    );
}

/// A repository with the files of an example's `source/`.
fn source(example: &str) -> GitRepo {
    let repo = GitRepo::new();
    let from = root().join("examples").join(example).join("source");
    run(Command::new("cp").arg("-R").arg(from.join(".")).arg(repo.path()));
    repo.commit("first", &[]);
    repo
}

#[test]
fn example_static_works_as_its_readme_says() {
    let terminal = Terminal::new("ex-static");
    let repo = source("01-static");
    let port = Port::take();
    let said = terminal.follow(
        "01-static",
        &[
            ("https://git.example.com/me/hello.git", &repo.url()),
            ("hostPort: 8080", &format!("hostPort: {}", port.number())),
            ("localhost:8080", &format!("localhost:{}", port.number())),
        ],
    );
    assert!(said.contains("Hello from Davit, version 1"), "{said}");
}

#[test]
fn example_dockerfile_works_as_its_readme_says() {
    let terminal = Terminal::new("ex-dockerfile");
    let repo = source("02-dockerfile");
    terminal.follow(
        "02-dockerfile",
        &[
            ("https://git.example.com/me/web.git", &repo.url()),
            ("busybox:1.36", BASE_IMAGE),
        ],
    );
    let page = fetch_from_network(&terminal.davit, "default", "web:8080").unwrap();
    assert!(page.contains("Built from a Dockerfile."), "{page}");
    assert_eq!(terminal.get("dapp/web")["status"]["readyReplicas"], 2);
}

#[test]
fn example_triggers_works_as_its_readme_says() {
    let terminal = Terminal::new("ex-triggers");
    let repo = GitRepo::with(&[("apps/web/index.html", "web 1"), ("apps/api/index.html", "api 1")]);
    let tagged = repo.head();
    repo.git(["tag", "api/v1.9.0"]);
    repo.git(["tag", "api/v1.10.0"]);
    let newest = repo.commit("later", &[("apps/api/index.html", "api 2")]);
    let said = terminal.follow(
        "10-triggers",
        &[("https://git.example.com/acme/shop.git", &repo.url())],
    );
    assert!(said.contains(&newest[..12]), "{said}");
    let api = terminal.get("dapp/api");
    assert_eq!(api["status"]["source"]["tag"], "api/v1.10.0");
    assert_eq!(api["status"]["source"]["revision"], tagged);
    repo.commit(
        "notes",
        &[("apps/web/NOTES.md", "1"), ("apps/api/index.html", "api 3")],
    );
    terminal.type_in("kubectl annotate dapp web davit.dev/requestedAt=now");
    wait_for("an unwatched commit", Duration::from_secs(30), || {
        let web = terminal.get("dapp/web");
        (condition(&web, "SourceReady")["reason"] == "NoWatchedChange").then_some(())
    });
    let releases = terminal.type_in("kubectl get rel -o name");
    assert_eq!(releases.matches("web-").count(), 1, "{releases}");
}

#[test]
fn example_image_works_as_its_readme_says() {
    let terminal = Terminal::new("ex-image");
    let registry = Registry::start_open();
    let first = registry.push(crate::common::docker::base_image(), "busybox:1.36");
    let said = terminal.follow("03-image", &[("busybox:1.36", &registry.image("busybox:1.36"))]);
    assert!(said.contains(&first), "the digest is a column: {said}");
    let page = fetch_from_network(&terminal.davit, "default", "hello-image:8080/passwd").unwrap_or_default();
    assert!(page.contains("root:"), "{page}");

    // When the tag names another image, that is deployed: here at once, there every pollInterval.
    let other = crate::common::unique("davit-test-other:n");
    crate::common::docker::import(
        &other,
        &[&format!("dev.davit.instance={}", terminal.davit.instance)],
    );
    let second = registry.push(&other, "busybox:1.36");
    assert_ne!(first, second);
    terminal.type_in("kubectl annotate dapp hello-image davit.dev/requestedAt=\"$(date)\" --overwrite");
    wait_for("the other image", Duration::from_mins(1), || {
        let app = terminal.get("dapp/hello-image");
        let image = app["status"]["release"]["image"].as_str().unwrap_or_default();
        (image.ends_with(&second) && app["status"]["phase"] == "done").then_some(())
    });
}

#[test]
fn example_rollback_works_as_its_readme_says() {
    let terminal = Terminal::new("ex-rollback");
    let said = terminal.follow("10-rollback", &[("busybox:1.36", BASE_IMAGE)]);
    assert!(
        said.contains("goes back to greeting-1") && said.contains("Held:"),
        "{said}"
    );
    // Since the end of the hold, what the spec asks for runs.
    let app = wait_for("the end of the hold", Duration::from_mins(1), || {
        let app = terminal.get("dapp/greeting");
        let status = &app["status"];
        (status["phase"] == "done" && status["release"]["heldBy"].is_null()).then_some(app)
    });
    let active = app["status"]["release"]["active"].as_str().unwrap().to_owned();
    let resumed = terminal.get(&format!("rel/{active}"));
    assert_eq!(resumed["status"]["config"]["env"][0]["value"], "2");
    // The same by the file, which names the Release.
    terminal.type_in("kubectl create -f examples/10-rollback/rollback.yaml");
    let back = wait_for("the second rollback", Duration::from_mins(1), || {
        let app = terminal.get("dapp/greeting");
        app["status"]["release"]["heldBy"].as_str().map(str::to_owned)
    });
    let rollback = terminal.get(&format!("rel/{back}"));
    assert_eq!(rollback["status"]["rollback"]["release"], "greeting-1");
}

#[test]
fn example_upload_works_as_its_readme_says() {
    let terminal = Terminal::new("ex-upload");
    let port = Port::take();
    let to = terminal.davit.dir().join("examples/13-upload/site");
    std::fs::create_dir_all(&to).unwrap();
    run(Command::new("cp")
        .arg(root().join("examples/13-upload/site/index.html"))
        .arg(&to));
    let said = terminal.follow(
        "13-upload",
        &[
            ("hostPort: 8080", &format!("hostPort: {}", port.number())),
            ("localhost:8080", &format!("localhost:{}", port.number())),
        ],
    );
    for text in ["Uploaded as a directory.", "unchanged", "Uploaded as an archive."] {
        assert!(said.contains(text), "{text}: {said}");
    }
    let app = terminal.get("dapp/upload");
    assert_eq!(app["spec"]["source"]["drop"]["path"], "/site");
    assert_eq!(app["status"]["release"]["count"], 2);
}

#[test]
fn example_environments_works_as_its_readme_says() {
    let terminal = Terminal::new("ex-env-promote");
    let dockerfile = |text: &str| {
        format!(
            "FROM {BASE_IMAGE}\nRUN mkdir /w && echo {text} > /w/index.html\nCMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/w\"]\n"
        )
    };
    let repo = GitRepo::with(&[("Dockerfile", &dockerfile("main"))]);
    repo.git(["checkout", "--quiet", "-b", "next"]);
    repo.commit("Next", &[("Dockerfile", &dockerfile("next"))]);
    repo.git(["checkout", "--quiet", "main"]);
    let to = terminal.davit.dir().join("examples");
    std::fs::create_dir_all(&to).unwrap();
    run(Command::new("cp")
        .arg("-R")
        .arg(root().join("examples/12-environments"))
        .arg(&to));
    let base = to.join("12-environments/base/application.yaml");
    let text = std::fs::read_to_string(&base).unwrap();
    assert!(text.contains("https://git.example.com/me/shop.git"));
    std::fs::write(
        &base,
        text.replace("https://git.example.com/me/shop.git", &repo.url()),
    )
    .unwrap();
    let readme = std::fs::read_to_string(to.join("12-environments/README.md")).unwrap();
    let said = terminal.type_in(&commands(&readme));
    assert!(
        said.lines()
            .filter(|line| line.contains("done") && line.contains("shop"))
            .count()
            == 3,
        "{said}"
    );
    for (environment, page) in [("staging", "main"), ("preview", "next"), ("production", "main")] {
        assert_eq!(
            fetch_from_network(&terminal.davit, environment, "shop:8080").unwrap(),
            page,
            "{environment}"
        );
    }
    // The image of production is the one of staging, and was not built there.
    let image = |environment: &str| {
        terminal.get(&format!("-n {environment} dapp/shop"))["status"]["release"]["image"].clone()
    };
    assert_eq!(image("staging"), image("production"));
    assert_ne!(image("staging"), image("preview"));
    let production = terminal.get("-n production dapp/shop");
    assert_eq!(production["status"]["source"]["type"], "docker");
    assert_eq!(production["status"]["readyReplicas"], 2);
}

#[test]
fn example_previews_runs_a_copy_of_a_pull_request() {
    let gitea = Gitea::start();
    let repo = GitRepo::with(&[("index.html", "<p>Main.")]);
    repo.git(["checkout", "--quiet", "-b", "next"]);
    repo.commit("Next", &[("index.html", "<p>Next.")]);
    repo.git(["checkout", "--quiet", "main"]);
    gitea.create_repository("shop", &repo);
    let api = |path: &str, body: &Value| {
        let path = format!("/repos/{}/shop{path}", gitea.user);
        // Gitea takes a moment to know a branch that was pushed.
        wait_for(&path, Duration::from_secs(30), || {
            let answer = gitea.api("POST", &path, Some(&gitea.token), Some(body));
            (answer.status != 404).then(|| answer.expect(201).json())
        })
    };
    let label = api("/labels", &json!({"name": "preview", "color": "#00aa00"}));
    let pull = json!({"head": "next", "base": "main", "title": "Next", "labels": [label["id"]]});
    assert_eq!(api("/pulls", &pull)["number"], 1);
    let scopes = ["read:user", "write:repository", "write:issue"];
    let token = gitea.create_token(&gitea.user, &scopes);
    let terminal = Terminal::new("ex-previews");
    let said = terminal.follow(
        "13-previews",
        &[
            ("https://git.example.com", &gitea.url),
            ("owner: acme", &format!("owner: {}", gitea.user)),
            ("token=…", &format!("token={token}")),
        ],
    );
    assert!(!said.contains(&token));
    wait_for("the preview", Duration::from_mins(2), || {
        let said = terminal.type_in("davit previews shop -n shop");
        let mut rows = said.lines().filter(|line| line.contains("shop-pr-1"));
        rows.any(|row| row.contains("Ready")).then_some(())
    });
    let page = fetch_from_network(&terminal.davit, "shop", "shop-pr-1:8080").unwrap();
    assert_eq!(page, "<p>Next.");
    assert_eq!(
        fetch_from_network(&terminal.davit, "shop", "shop:8080").unwrap(),
        "<p>Main."
    );
}

#[test]
fn example_gitea_works_as_its_readme_says() {
    let gitea = Gitea::start();
    gitea.create_repository(
        "shop",
        &GitRepo::with(&[("index.html", "<p>From a private repository.")]),
    );
    let terminal = Terminal::new("ex-gitea");
    let said = terminal.follow(
        "04-gitea",
        &[
            ("https://git.example.com", &gitea.url),
            ("owner: acme", &format!("owner: {}", gitea.user)),
            ("token=…", &format!("token={}", gitea.token)),
        ],
    );
    assert!(!said.contains(&gitea.token));
    let page = fetch_from_network(&terminal.davit, "shop", "shop:8080").unwrap();
    assert!(page.contains("From a private repository."), "{page}");
    let provider = terminal.get("-n platform gitprov/gitea");
    assert_eq!(
        condition(&provider, "Ready")["message"],
        format!("Found 1 repository as {}", gitea.user)
    );
}

#[test]
fn example_env_secrets_volumes_works_as_its_readme_says() {
    let terminal = Terminal::new("ex-env");
    terminal.follow("05-env-secrets-volumes", &[("busybox:1.36", BASE_IMAGE)]);
    let app = wait_for("the second release", Duration::from_mins(1), || {
        let app = terminal.get("dapp/settings");
        (app["status"]["release"]["active"] == "settings-2").then_some(app)
    });
    assert_eq!(app["status"]["release"]["count"], 2);
    let release = terminal.get("rel/settings-2");
    assert_eq!(
        release["status"]["why"],
        json!(["env GREETING changed (ConfigMap settings)"])
    );
    let page = fetch_from_network(&terminal.davit, "default", "settings:8080").unwrap();
    assert!(page.contains("A page from a ConfigMap."), "{page}");
    let container = terminal.davit.containers("settings").pop().expect("it runs");
    let env = run(crate::common::docker::docker().args(["exec", &container, "env"]));
    for line in ["COLOUR=blue", "API_KEY=not-a-real-key", "GREETING=good evening"] {
        assert!(env.lines().any(|known| known == line), "{line}: {env}");
    }
}

#[test]
fn example_ssh_works_as_its_readme_says() {
    let server = GitSsh::start();
    server.publish("site.git", &GitRepo::with(&[("index.html", "<p>Over ssh.")]));
    let terminal = Terminal::new("ex-ssh");
    // The rig's server lets in a key that is there already, and listens on a port of its own.
    std::fs::write(terminal.davit.dir().join("rig"), &server.client_key).unwrap();
    let url = server.url("site.git");
    let address = url.split('@').nth(1).unwrap().split('/').next().unwrap();
    let scan = format!("ssh-keyscan -p {} 127.0.0.1", address.split(':').nth(1).unwrap());
    terminal.follow(
        "06-ssh",
        &[
            ("ssh-keygen -t ed25519 -N '' -f deploy", "cp rig deploy"),
            ("ssh-keyscan git.example.com", &scan),
            ("ssh://git@git.example.com/me/site.git", &url),
        ],
    );
    let page = fetch_from_network(&terminal.davit, "default", "over-ssh:8080").unwrap();
    assert!(page.contains("Over ssh."), "{page}");
}

/// The first Application in README: pasted into a terminal in which `davit up` was started.
#[test]
fn first_application_of_readme_works() {
    let terminal = Terminal::new("ex-readme");
    let repo = GitRepo::with(&[("index.html", "<p>Five lines.")]);
    let port = Port::take();
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let (_, section) = readme.split_once("\n## A first Application\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let lines = commands(section);
    let (start, rest) = lines.split_once('\n').unwrap();
    assert!(start.starts_with("davit up &"), "{start}");
    let url = "https://git.example.com/me/hello.git";
    assert!(rest.contains(url) && rest.contains("hostPort: 8080"));
    let said = terminal.type_in(&replaced(
        rest,
        &[
            (url, &repo.url()),
            ("hostPort: 8080", &format!("hostPort: {}", port.number())),
        ],
    ));
    assert!(
        said.contains("application.davit.dev/hello") && said.contains("release.davit.dev/hello-1"),
        "{said}"
    );
    let page = terminal.type_in(&format!("curl -fsS http://localhost:{}/", port.number()));
    assert!(page.contains("Five lines."), "{page}");
    // README continues: a push is deployed at once when the user asks for it, however often that is.
    let annotate = section
        .split('`')
        .find(|code| code.starts_with("kubectl annotate dapp hello "))
        .expect("README shows how to ask for a check");
    for line in ["Six lines.", "Seven lines."] {
        repo.commit(line, &[("index.html", &format!("<p>{line}"))]);
        terminal.type_in(annotate);
        wait_for("the new page", Duration::from_mins(1), || {
            let get = format!("curl -sS http://localhost:{}/ || true", port.number());
            terminal.type_in(&get).contains(line).then_some(())
        });
    }
}

/// What docs/ shows as YAML is taken by the API server, and the commands beside it work on it.
#[test]
fn objects_of_the_pages_are_accepted() {
    let terminal = Terminal::new("ex-docs");
    terminal.type_in("kubectl create namespace platform; kubectl create namespace production");
    let mut count = 0;
    for page in root().join("docs").read_dir().unwrap().flatten() {
        if !page.file_type().unwrap().is_file() {
            continue;
        }
        let text = std::fs::read_to_string(page.path()).unwrap();
        for block in text.split("```yaml\n").skip(1) {
            let (yaml, _) = block.split_once("```").unwrap();
            // Neither a kustomization, which the test of manifests/ renders, nor a part of a spec is an object; an autoscaler
            // is one of a cluster only.
            let of_a_cluster = ["kind: Kustomization", "kind: HorizontalPodAutoscaler"];
            if of_a_cluster.iter().any(|kind| yaml.contains(kind))
                || !yaml.lines().any(|line| line.starts_with("apiVersion:"))
            {
                continue;
            }
            let verb = if yaml.contains("generateName") {
                "create"
            } else {
                "apply"
            };
            std::fs::write(terminal.davit.dir().join("page.yaml"), yaml).unwrap();
            let said = terminal.type_in(&format!("kubectl {verb} -f page.yaml"));
            assert!(
                said.contains("created") || said.contains("configured") || said.contains("unchanged"),
                "{said}"
            );
            count += 1;
        }
    }
    assert!(count >= 6, "only {count} blocks were found");
    let production = "kubectl config set-context --current --namespace=production >/dev/null; ";
    for page in ["application", "reasons", "operations", "release"] {
        let mut text = std::fs::read_to_string(root().join("docs").join(page).with_extension("md")).unwrap();
        // The tests of packaging/, of the container image and of manifests/ follow these sections.
        if let Some((before, rest)) = text.split_once("\n### As a service\n") {
            text = before.to_owned() + rest.split_once("\n## ").unwrap().1;
        }
        for line in text.lines().filter_map(|line| line.strip_prefix("$ kubectl ")) {
            if line.starts_with("wait") {
                continue; // Its repository is nowhere.
            }
            terminal.type_in(&format!("{production} kubectl {line}"));
        }
    }
}
