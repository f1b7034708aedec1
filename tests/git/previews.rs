//! `spec.previews` with a real Gitea: from a pull request to a running container, and back to nothing, by polling alone.

#![allow(
    clippy::too_many_lines,
    reason = "a test tells one story from its beginning to its end"
)]

use std::time::Duration;

use serde_json::{Value, json};

use crate::common::davit::{Davit, condition};
use crate::common::docker::BASE_IMAGE;
use crate::common::git_repo::{GitRepo, git};
use crate::common::gitea::Gitea;
use crate::common::process::Port;
use crate::common::{run, try_run, wait_for};
use kube::api::PostParams;

/// What no preview may know.
const SECRET: &str = "Parent-S3cret-5f0e9d";
const MINUTE: Duration = Duration::from_mins(1);

struct Forge {
    gitea: Gitea,
    repo: GitRepo,
}

impl Forge {
    fn start() -> Self {
        let gitea = Gitea::start();
        let dockerfile = format!("FROM {BASE_IMAGE}\nCOPY page /page\nCMD [\"sleep\", \"10000\"]\n");
        let repo = GitRepo::with(&[("Dockerfile", &dockerfile), ("page", "main")]);
        gitea.create_repository("shop", &repo);
        Self { gitea, repo }
    }

    fn api(&self, method: &str, path: &str, token: &str, body: Option<&Value>) -> Value {
        let path = format!("/repos/{}/shop{path}", self.gitea.user);
        let reply = self.gitea.api(method, &path, Some(token), body);
        assert!(
            (200..300).contains(&reply.status),
            "{method} {path}: {} {}",
            reply.status,
            reply.body
        );
        if reply.body.is_empty() {
            Value::Null
        } else {
            reply.json()
        }
    }

    fn open(&self, head: &str, token: &str) -> u64 {
        let body = json!({"head": head, "base": "main", "title": "A change"});
        let path = format!("/repos/{}/shop/pulls", self.gitea.user);
        // Gitea knows a pushed branch a moment after the push.
        wait_for("the branch to be known", MINUTE, || {
            let reply = self.gitea.api("POST", &path, Some(token), Some(&body));
            (reply.status != 404).then(|| {
                assert_eq!(reply.status, 201, "{}", reply.body);
                reply.json()["number"].as_u64().unwrap()
            })
        })
    }

    fn set_state(&self, number: u64, state: &str) {
        self.api(
            "PATCH",
            &format!("/pulls/{number}"),
            &self.gitea.token,
            Some(&json!({"state": state})),
        );
    }

    fn add_label(&self, number: u64) -> i64 {
        let label = self.api(
            "POST",
            "/labels",
            &self.gitea.token,
            Some(&json!({"name": "preview", "color": "#00aa00"})),
        );
        let id = label["id"].as_i64().unwrap();
        self.api(
            "POST",
            &format!("/issues/{number}/labels"),
            &self.gitea.token,
            Some(&json!({"labels": [id]})),
        );
        id
    }

    fn comments(&self, number: u64) -> Vec<(i64, String)> {
        let all = self.api(
            "GET",
            &format!("/issues/{number}/comments"),
            &self.gitea.token,
            None,
        );
        let all = all.as_array().unwrap().iter();
        all.map(|comment| {
            (
                comment["id"].as_i64().unwrap(),
                comment["body"].as_str().unwrap().to_owned(),
            )
        })
        .collect()
    }

    /// The only comment, once it says this.
    fn wait_for_comment(&self, number: u64, text: &str) -> (i64, String) {
        let mut seen = Vec::new();
        let found = wait_for(&format!("the comment {text:?}"), MINUTE * 2, || {
            seen = self.comments(number);
            seen.iter().find(|(_, body)| body.contains(text)).cloned()
        });
        assert_eq!(seen.len(), 1, "{seen:#?}");
        found
    }

    fn statuses(&self, commit: &str, context: &str) -> Vec<String> {
        let all = self.api(
            "GET",
            &format!("/statuses/{commit}?sort=recentupdate"),
            &self.gitea.token,
            None,
        );
        let all = all
            .as_array()
            .unwrap()
            .iter()
            .filter(|status| status["context"] == context);
        all.map(|status| status["status"].as_str().unwrap().to_owned())
            .collect()
    }
}

fn davit_with_provider(test: &str, forge: &Forge) -> Davit {
    let davit = Davit::up(test);
    create_provider(&davit, forge, &Value::Null);
    davit
}

fn create_provider(davit: &Davit, forge: &Forge, webhook: &Value) {
    davit.create_secret("gt", &[("token", &forge.gitea.token)]);
    davit.create_secret("db", &[("url", SECRET)]);
    let object = json!({"apiVersion": "davit.dev/v1alpha1", "kind": "GitProvider", "metadata": {"name": "gt"},
        "spec": {"gitea": {"url": forge.gitea.url, "tokenSecretRef": {"name": "gt"}}, "webhook": webhook}});
    let object = serde_json::from_value(object).unwrap();
    davit
        .block_on(davit.providers().create(&PostParams::default(), &object))
        .unwrap();
}

fn shop(forge: &Forge, previews: &Value) -> Value {
    let secret = json!({"secretKeyRef": {"name": "db", "key": "url"}});
    json!({
        "source": {"gitea": {"provider": {"name": "gt"}, "owner": forge.gitea.user, "repository": "shop", "ref": {"branch": "main"}}},
        "trigger": {"pollInterval": "1s"},
        "build": {"dockerfile": {}, "secrets": [{"name": "DB", "valueFrom": secret}]},
        "env": [{"name": "DATABASE_URL", "valueFrom": secret}],
        "envFrom": [{"secretRef": {"name": "db"}, "prefix": "DB_"}],
        "volumes": [{"name": "conf", "mountPath": "/conf", "secret": {"name": "db"}}],
        "stopGracePeriod": "1s",
        "previews": previews,
    })
}

fn wait_for_preview(davit: &Davit, name: &str, commit: &str) -> Value {
    davit.wait_until(name, 120, "done at the commit", |app| {
        app["status"]["phase"] == "done" && app["status"]["source"]["revision"] == commit
    })
}

/// The logs of the jobs of an Application.
fn logs_of(davit: &Davit, name: &str) -> String {
    let mut found = String::new();
    let mut folders = vec![davit.data_dir().join("logs")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().contains(name) {
                found += &std::fs::read_to_string(path).unwrap();
            }
        }
    }
    found
}

fn wait_until_gone(davit: &Davit, name: &str) {
    wait_for(&format!("{name} to be gone"), MINUTE, || {
        (davit.application(name).is_null() && davit.containers(name).is_empty()).then_some(())
    });
    assert!(davit.releases_of(name).is_empty());
    let images = run(davit
        .docker()
        .args(["image", "ls", "--format", "{{.Repository}}:{{.Tag}}"]));
    let left: Vec<_> = images
        .lines()
        .filter(|image| image.contains(&davit.instance) && image.contains(&format!("/{name}:")))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn pull_request_of_a_branch_becomes_a_running_copy_and_then_nothing() {
    let forge = Forge::start();
    let davit = davit_with_provider("previews", &forge);
    let previews = json!({"labels": ["preview"], "env": [{"name": "KIND", "value": "preview"}],
        "volumes": [{"name": "data", "mountPath": "/data", "volume": {}}]});
    davit.apply("shop", shop(&forge, &previews));
    davit.wait_until_done("shop");

    // Opened without the label, it gets none.
    forge.repo.git([
        "checkout",
        "--quiet",
        "-b",
        "feature/Ünïcode-and/a-rather-long-name",
    ]);
    // It looks for what it must not see, while it is built and while it runs.
    let nosy = format!(
        "FROM {BASE_IMAGE}\nARG DATABASE_URL\nCOPY page /page\n\
         RUN --mount=type=secret,id=DB echo looking; env; cat /run/secrets/* || true\n\
         CMD [\"sh\", \"-c\", \"echo looking; env; cat /run/secrets/* /conf/*; exec sleep 10000\"]\n"
    );
    let first = forge
        .repo
        .commit("change", &[("page", "first"), ("Dockerfile", &nosy)]);
    forge.gitea.push("shop", &forge.repo);
    let number = forge.open("feature/Ünïcode-and/a-rather-long-name", &forge.gitea.token);
    let name = format!("shop-pr-{number}");
    let label = forge.add_label(number);
    let app = wait_for_preview(&davit, &name, &first);
    assert_eq!(app["metadata"]["labels"]["davit.dev/preview-of"], "shop");
    assert_eq!(app["metadata"]["ownerReferences"][0]["name"], "shop");
    let releases = davit.releases_of(&name);
    assert_eq!(releases[0]["status"]["cause"]["kind"], "Preview", "{releases:#?}");
    let (comment, text) = forge.wait_for_comment(number, "is ready");
    assert!(text.contains(&first), "{text}");
    let context = format!("davit/previews/{name}");
    wait_for("the status of the commit", MINUTE, || {
        (forge.statuses(&first, &context).first()? == "success").then_some(())
    });

    // It has what is listed for previews, and nothing of the Application's.
    let containers = davit.containers(&name);
    assert_eq!(containers.len(), 1);
    let inspected = run(davit.docker().arg("inspect").args(&containers));
    assert!(
        inspected.contains("KIND=preview") && inspected.contains("/data"),
        "{inspected}"
    );
    let image = app["status"]["release"]["image"].as_str().unwrap();
    let history = run(davit.docker().args(["history", "--no-trunc", image]));
    let page = run(davit.docker().args(["exec", &containers[0], "cat", "/page"]));
    assert_eq!(page, "first");
    let files = run(davit.docker().args([
        "exec",
        &containers[0],
        "sh",
        "-c",
        "env; mount; ls -R /conf || true",
    ]));
    let object = davit.application(&name).to_string();
    for shown in [&inspected, &files, &davit.log(), &object] {
        assert!(
            !shown.contains(SECRET) && !shown.contains("DATABASE_URL"),
            "{shown}"
        );
    }
    let (_, out, err) = try_run(davit.docker().arg("logs").arg(&containers[0]));
    let of_build = logs_of(&davit, &name);
    for shown in [&history, &format!("{out}{err}"), &of_build] {
        assert!(!shown.contains(SECRET), "{shown}");
    }
    assert!(
        out.contains("looking") && of_build.contains("looking"),
        "{out}{of_build}"
    );
    let saved = davit.data_dir().join("image.tar");
    run(davit.docker().args(["save", "--output"]).arg(&saved).arg(image));
    let layers = std::fs::read(&saved).unwrap();
    let holds = |text: &str| layers.windows(text.len()).any(|part| part == text.as_bytes());
    assert!(holds("echo looking") && !holds(SECRET));
    assert!(run(davit.docker().arg("inspect").args(davit.containers("shop"))).contains(SECRET));

    // A comment that a person deletes, and a change that a person makes, do not stay.
    forge.api(
        "DELETE",
        &format!("/issues/comments/{comment}"),
        &forge.gitea.token,
        None,
    );
    forge.wait_for_comment(number, "is ready");
    davit.patch(&name, json!({"spec": {"replicas": 2}}));
    wait_for("the change to be reverted", MINUTE, || {
        (davit.application(&name)["spec"]["replicas"] == 1).then_some(())
    });

    // A push, and a force push.
    for content in ["second", "third"] {
        let flags = if content == "third" {
            "--amend"
        } else {
            "--allow-empty"
        };
        forge.repo.write(&[("page", content)]);
        forge.repo.git(["add", "--all"]);
        forge.repo.git(["commit", "--quiet", flags, "--message", content]);
        let commit = forge.repo.head();
        forge.gitea.push("shop", &forge.repo);
        wait_for_preview(&davit, &name, &commit);
        let (_, text) = forge.wait_for_comment(number, &commit);
        assert!(text.contains("preview of `shop`"), "{text}");
    }

    // What changes in the Application reaches it.
    davit.patch(
        "shop",
        json!({"spec": {"previews": {"env": [{"name": "KIND", "value": "other"}]}}}),
    );
    wait_for("the variable", MINUTE, || {
        let containers = davit.containers(&name);
        let inspected = run(davit.docker().arg("inspect").args(&containers));
        inspected.contains("KIND=other").then_some(())
    });

    // Without the label it goes, with it it comes back, and closed it goes again.
    forge.api(
        "DELETE",
        &format!("/issues/{number}/labels/{label}"),
        &forge.gitea.token,
        None,
    );
    wait_until_gone(&davit, &name);
    forge.wait_for_comment(number, "was removed");
    forge.api(
        "POST",
        &format!("/issues/{number}/labels"),
        &forge.gitea.token,
        Some(&json!({"labels": [label]})),
    );
    wait_for_preview(&davit, &name, &forge.repo.head());
    forge.set_state(number, "closed");
    wait_until_gone(&davit, &name);
    forge.wait_for_comment(number, "the pull request is closed");
    let app = davit.wait_until("shop", 60, "without previews", |app| {
        app["status"]["previews"].is_null()
    });
    assert_eq!(condition(&app, "Ready")["status"], "True");
    let mut volumes = davit.list_in_engine("volumes");
    volumes.retain(|volume| volume.contains("-pr-"));
    assert!(volumes.is_empty(), "{volumes:?}");
    assert_eq!(davit.containers("shop").len(), 1);
}

#[test]
fn code_of_a_fork_runs_only_after_an_approval_of_its_commit() {
    let forge = Forge::start();
    let gitea = &forge.gitea;
    forge.api("PATCH", "", &gitea.token, Some(&json!({"private": false})));
    gitea.create_user("eve");
    let eve = gitea.create_token("eve", &["all"]);
    forge.api("POST", "/forks", &eve, Some(&json!({})));
    let fork = gitea
        .clone_url("shop")
        .replace(&format!("/{}/", gitea.user), "/eve/");
    let fork = fork.replace("http://", &format!("http://eve:{eve}@"));
    let push = |content: &str| {
        let commit = forge.repo.commit(content, &[("page", content)]);
        run(git(forge.repo.path()).args(["push", "--quiet", "--force", &fork, "HEAD:refs/heads/change"]));
        commit
    };
    let first = push("first");
    let number = forge.open("eve:change", &eve);
    let name = format!("shop-pr-{number}");
    let davit = davit_with_provider("forks", &forge);
    davit.apply("shop", shop(&forge, &json!({})));
    davit.wait_until_done("shop");
    davit.wait_until("shop", 30, "without a preview", |app| {
        app["status"]["previews"].is_null()
    });
    assert!(forge.comments(number).is_empty());

    davit.patch("shop", json!({"spec": {"previews": {"allowForks": true}}}));
    let (_, text) = forge.wait_for_comment(number, "waits for the approval");
    assert!(text.contains("eve") && text.contains(&first[..12]), "{text}");
    assert!(davit.application(&name).is_null());
    davit.wait_until("shop", 30, "waiting for the approval", |app| {
        let waits = &app["status"]["previews"][0];
        waits["state"] == "Waiting" && waits["number"] == number
    });

    // A label does not show which commit it is about; a review of a user with write access does.
    forge.add_label(number);
    let approve = |commit: &str| {
        let review = json!({"event": "APPROVED", "commit_id": commit, "body": "fine"});
        forge.api(
            "POST",
            &format!("/pulls/{number}/reviews"),
            &gitea.token,
            Some(&review),
        );
    };
    approve(&first);
    wait_for_preview(&davit, &name, &first);
    forge.wait_for_comment(number, "is ready");
    let second = push("second");
    let (_, text) = forge.wait_for_comment(number, &format!("commit {} waits", &second[..12]));
    assert!(text.contains(&first), "what was approved still runs: {text}");
    assert_eq!(
        davit.application(&name)["status"]["source"]["revision"],
        first.as_str()
    );
    approve(&second);
    wait_for_preview(&davit, &name, &second);

    // The Application is deleted: nothing stays.
    davit.delete_and_wait("shop");
    wait_until_gone(&davit, &name);
    forge.wait_for_comment(number, "was removed");
    assert!(davit.list_in_engine("containers").is_empty());
}

#[test]
fn deliveries_alone_bring_and_remove_a_preview() {
    let forge = Forge::start();
    let port = Port::take();
    let address = format!("127.0.0.1:{}", port.number());
    let public = format!("http://{address}");
    let flags = ["--webhook-listen", &address, "--public-url", &public];
    let davit = Davit::with_flags("hooked", &flags);
    davit.create_secret("hook", &[("webhookSecret", "correct horse battery staple")]);
    create_provider(
        &davit,
        &forge,
        &json!({"manage": true, "secretRef": {"name": "hook"}}),
    );
    let mut spec = shop(&forge, &json!({}));
    spec["trigger"] = json!({"pollInterval": "0s"});
    davit.apply("shop", spec);
    davit.wait_until_done("shop");
    let reports = || -> Vec<bool> {
        let hooks = forge.api("GET", "/hooks", &forge.gitea.token, None);
        let hooks = hooks.as_array().unwrap().iter();
        hooks
            .map(|hook| {
                hook["events"]
                    .as_array()
                    .unwrap()
                    .contains(&json!("pull_request"))
            })
            .collect()
    };
    wait_for("the hook for pull requests", MINUTE, || {
        (reports() == [true]).then_some(())
    });

    forge.repo.git(["checkout", "--quiet", "-b", "next"]);
    let commit = forge.repo.commit("next", &[("page", "next")]);
    forge.gitea.push("shop", &forge.repo);
    let number = forge.open("next", &forge.gitea.token);
    let name = format!("shop-pr-{number}");
    wait_for_preview(&davit, &name, &commit);
    let commit = forge.repo.commit("more", &[("page", "more")]);
    forge.gitea.push("shop", &forge.repo);
    wait_for_preview(&davit, &name, &commit);
    forge.wait_for_comment(number, "is ready");
    forge.set_state(number, "closed");
    wait_until_gone(&davit, &name);

    davit.patch("shop", json!({"spec": {"previews": null}}));
    wait_for("the hook for pushes only", MINUTE, || {
        (reports() == [false]).then_some(())
    });
}
