//! The commands of daily use against a real `davit up`: what the user types, what is printed, and the exit code. The
//! snapshots are what a user reads; what differs from run to run is replaced first.

#![allow(
    clippy::disallowed_methods,
    clippy::too_many_lines,
    clippy::unwrap_used,
    reason = "a test tells one story from its beginning to its end"
)]

mod commands;
mod exit_codes;
mod session;
mod terminal;

use std::process::Command;
use std::time::Duration;

use regex::Regex;
use serde_json::{Value, json};

use crate::common::davit::{Davit, condition};
use crate::common::docker::BASE_IMAGE;
use crate::common::git_repo::GitRepo;
use crate::common::{run, wait_for};
use session::Session;

#[test]
fn status_and_deploy_show_what_runs_and_why() {
    let mut session = Session::new("cli");
    session.types(&["status"], 0);
    session.apply("shop", &json!({}));
    session.davit.wait_until_done("shop");
    session.types(&["status"], 0);
    session.types(
        &[
            "deploy",
            "shop",
            "--title",
            "Once more",
            "--wait",
            "--timeout",
            "1m",
        ],
        0,
    );
    session.types(&["status", "application/shop"], 0);
    let object: Value = serde_json::from_str(&session.types(&["status", "shop", "-o", "json"], 0)).unwrap();
    assert_eq!(object["kind"], "Application");
    assert!(object["metadata"]["managedFields"].is_null());
    session.transcript = session
        .transcript
        .split("$ davit status shop -o json")
        .next()
        .unwrap()
        .to_owned();
    let names = session.types(&["status", "-o", "name"], 0);
    assert_eq!(names, "application.davit.dev/shop\n");

    // What goes wrong.
    session.types(&["status", "shpo"], 1);
    session.types(&["deploy", "nothing-like-it"], 1);
    session.types(&["deploy", "deployment/shop"], 2);
    session.types(&["deploy", "shop", "--timeout", "1m"], 2);
    session.types(&["deploy", "shop", "--as", "jane"], 1);
    session.types(&["status", "shop", "--context", "davti"], 1);
    session.apply(
        "broken",
        &json!({"command": ["sh", "-c", "echo no database; exit 3"], "restartPolicy": {"condition": "Never"}}),
    );
    session.davit.wait_for_error("broken", "ContainerExited");
    session.types(&["deploy", "broken", "--wait"], 1);
    session.types(&["status", "broken"], 0);
    session.apply(
        "slow",
        &json!({"healthCheck": {"exec": {"command": ["false"]}, "interval": "200ms"}}),
    );
    session.types(&["deploy", "slow", "--wait", "--timeout", "1500ms"], 4);
    assert!(session.steps > 3, "{}", session.transcript);
    insta::assert_snapshot!(session.transcript);
}

#[test]
fn commands_of_daily_use_do_what_they_report() {
    let mut session = Session::new("daily");
    let wait = ["--wait", "--timeout", "90s"];
    session.apply("shop", &json!({"replicas": 2}));
    session.davit.wait_until_done("shop");
    session
        .davit
        .patch("shop", json!({"spec": {"env": [{"name": "A", "value": "2"}]}}));
    session.davit.wait_until_done("shop");
    session.types(&["history", "shop"], 0);

    // There and back again, without a build; then an automatic deployment is held.
    let first = session.davit.containers("shop");
    session.types(&[&["rollback", "shop"], &wait[..]].concat(), 0);
    let env = |davit: &Davit| {
        let container = davit.containers("shop").swap_remove(0);
        run(davit
            .docker()
            .args(["inspect", "--format", "{{json .Config.Env}}", &container]))
    };
    assert!(
        !env(&session.davit).contains("A=2"),
        "the configuration is the earlier one"
    );
    assert!(
        session
            .davit
            .containers("shop")
            .iter()
            .all(|container| !first.contains(container))
    );
    session.davit.wait_until("shop", 20, "held", |app| {
        condition(app, "AutoDeployHeld")["reason"] == "RolledBack" && app["status"]["phase"] == "done"
    });
    session.types(&["status", "shop"], 0);
    session.types(&["resume", "shop"], 0);
    // What the spec asks for is deployed then.
    session.davit.wait_until("shop", 60, "resumed", |app| {
        condition(app, "AutoDeployHeld").is_null() && app["status"]["phase"] == "done"
    });
    session.types(&["resume", "shop"], 0);
    session.types(&[&["rollback", "shop", "2"], &wait[..]].concat(), 0);
    session.types(&["rollback", "shop", "shop-22"], 1);

    // New containers of the same Release, and the old ones serve until then.
    let (before, release) = (
        session.davit.containers("shop"),
        session.davit.application("shop")["status"]["release"]["active"].clone(),
    );
    session.types(&[&["restart", "shop"], &wait[..]].concat(), 0);
    let app = session.davit.application("shop");
    assert_eq!(app["status"]["release"]["active"], release);
    assert_eq!(app["status"]["readyReplicas"], 2);
    let serving = |davit: &Davit| {
        let filter = format!("label=dev.davit.instance={}", davit.instance);
        run(davit
            .docker()
            .args(["ps", "--quiet", "--no-trunc", "--filter", &filter]))
    };
    wait_for("the old containers to end", Duration::from_secs(20), || {
        let now = serving(&session.davit);
        before.iter().all(|old| !now.contains(old)).then_some(())
    });

    session.types(&[&["stop", "shop"], &wait[..]].concat(), 0);
    assert!(serving(&session.davit).is_empty());
    session.types(&["stop", "shop"], 0);
    session.types(&["status", "shop"], 0);
    session.types(&["restart", "shop"], 1);
    session.types(&[&["start", "shop"], &wait[..]].concat(), 0);
    assert_eq!(session.davit.containers("shop").len(), 2);
    session.davit.patch("shop", json!({"spec": {"replicas": 0}}));
    session
        .davit
        .wait_until("shop", 30, "empty", |app| app["status"]["replicas"] == 0);
    session.types(&[&["start", "shop"], &wait[..]].concat(), 0);
    assert_eq!(session.davit.containers("shop").len(), 2);

    session.types(&["suspend", "shop"], 0);
    session.types(&["suspend", "shop"], 0);
    session.types(&["status", "shop"], 0);
    session.types(&["resume", "shop"], 0);
    session.davit.wait_until_done("shop");
    session.types(&["redeploy", "shop", "--clean"], 0);
    session.davit.wait_for_error("shop", "InvalidSpec");
    session.types(
        &[&["redeploy", "shop", "--title", "Once more"], &wait[..]].concat(),
        0,
    );

    // A Release that never becomes healthy is cancelled.
    session.davit.patch(
        "shop",
        json!({"spec": {"healthCheck": {"exec": {"command": ["false"]}, "interval": "200ms"}}}),
    );
    session
        .davit
        .wait_until("shop", 30, "under way", |app| app["status"]["phase"] == "running");
    session.types(&[&["cancel", "shop"], &wait[..]].concat(), 0);
    session.types(&["cancel", "shop"], 0);
    session.types(&["cancel", "shop", "1"], 1);

    session.types(&["clear", "shop", "--dry-run"], 0);
    session.types(&[&["clear", "shop"], &wait[..]].concat(), 0);
    session.types(&["clear", "shop"], 0);
    session.types(&["history", "shop", "-o", "name"], 0);
    session.types(&["stop", "shop", "--as", "jane"], 1);
    assert!(session.steps > 5, "{}", session.transcript);
    insta::assert_snapshot!(session.transcript);
}

#[test]
fn init_writes_an_application_that_can_be_applied() {
    let mut session = Session::new("init");
    let repo = GitRepo::with(&[(
        "Dockerfile",
        &format!("FROM {BASE_IMAGE}\nEXPOSE 8080/tcp\nCMD [\"httpd\", \"-f\", \"-p\", \"8080\"]\n"),
    )]);
    let dir = session.davit.dir().join("work");
    run(Command::new("git")
        .args(["clone", "--quiet", &repo.url()])
        .arg(&dir));
    session.without_namespace = true;
    session.types(&["init", "work", "--name", "shop"], 0);
    session.types(&["init", "work"], 1);
    session.types(&["init", "nowhere"], 1);
    let printed = session.types(&["init", "work", "--name", "shop", "--dry-run"], 0);
    assert!(printed.contains("containerPort: 8080"), "{printed}");
    run(session
        .davit
        .kubectl()
        .args(["apply", "-f"])
        .arg(dir.join("application.yaml")));
    session.davit.wait_until_done("shop");
    let url = Regex::new(r"file:///[^\x22]+").unwrap();
    insta::assert_snapshot!(url.replace_all(&session.transcript, "URL"));
}

#[test]
fn completion_offers_names_from_the_api_server() {
    let session = Session::new("completion");
    session.apply("shop", &json!({}));
    session.apply("blog", &json!({}));
    session.davit.wait_until_done("shop");
    let complete = |words: &[&str]| {
        let mut command = session.command(env!("CARGO_BIN_EXE_davit"));
        run(command.args(["__complete", "--"]).args(words))
    };
    assert_eq!(complete(&["status", "-n", "completion", ""]), "blog\nshop\n:4");
    assert_eq!(
        complete(&["rollback", "-n=completion", "shop", "sh"]),
        "shop-1\n:4"
    );
    assert_eq!(complete(&["status", "-n", "comp"]), "completion\n:4");
    assert_eq!(complete(&["status", "--context", ""]), "davit\n:4");
    // Without an answer there are no candidates, and no error in the middle of the line.
    assert_eq!(complete(&["status", "--kubeconfig", "/nowhere", ""]), ":4");
}

#[test]
fn kubectl_runs_the_program_as_a_plugin() {
    let session = Session::new("plugin");
    let dir = session.davit.dir().join("bin");
    std::fs::create_dir(&dir).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_davit"), dir.join("kubectl-davit")).unwrap();
    let path = format!("{}:{}", dir.display(), std::env::var("PATH").unwrap());
    let mut kubectl = session.command("kubectl");
    let output = kubectl
        .args(["davit", "status", "-n", "plugin"])
        .env("PATH", &path)
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "No resources found in plugin namespace.\n"
    );
    let mut kubectl = session.command("kubectl");
    let output = kubectl
        .args(["davit", "status", "--help"])
        .env("PATH", &path)
        .output()
        .unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    assert!(
        help.contains("Usage: kubectl davit status [OPTIONS] [APPLICATION]"),
        "{help}"
    );
}

#[test]
fn kubeconfig_is_found_as_kubectl_finds_it() {
    let session = Session::new("kubeconfig");
    let home = session.davit.dir().join("home");
    std::fs::create_dir_all(home.join(".kube")).unwrap();
    std::fs::copy(session.davit.kubeconfig(), home.join(".kube/config")).unwrap();
    let run = |variable: &str, args: &[&str]| {
        let mut command = session.command(env!("CARGO_BIN_EXE_davit"));
        let output = command
            .env("KUBECONFIG", variable)
            .env("HOME", &home)
            .args(args)
            .output()
            .unwrap();
        (
            output.status.code().unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let found = "No resources found in default namespace.\n";
    assert_eq!(run("", &["status"]), (0, found.to_owned()));
    let listed = format!("/nowhere/config:{}", session.davit.kubeconfig().display());
    assert_eq!(run(&listed, &["status"]), (0, found.to_owned()));
    let (code, error) = run("/nowhere/config", &["status"]);
    assert!(
        code == 1 && error.contains("there is no /nowhere/config"),
        "{error}"
    );
    let (code, error) = run("", &["status", "--kubeconfig", "/nowhere/config"]);
    assert!(
        code == 1 && error.contains("cannot read the kubeconfig /nowhere/config"),
        "{error}"
    );

    // The namespace of the context, and a server that does not answer.
    let text = std::fs::read_to_string(session.davit.kubeconfig()).unwrap();
    let file = home.join("other");
    let mut config: Value = serde_yaml::from_str(&text).unwrap();
    config["contexts"][0]["context"]["namespace"] = json!("kubeconfig");
    std::fs::write(&file, config.to_string()).unwrap();
    let name = file.display().to_string();
    let (code, error) = run("", &["status", "--kubeconfig", &name]);
    assert_eq!(
        (code, error.as_str()),
        (0, "No resources found in kubeconfig namespace.\n")
    );
    config["clusters"][0]["cluster"]["server"] = json!("https://127.0.0.1:1");
    std::fs::write(&file, config.to_string()).unwrap();
    let (code, error) = run("", &["status", "--kubeconfig", &name]);
    assert!(
        code == 1 && error.contains("cannot reach the API server at https://127.0.0.1:1"),
        "{error}"
    );
}
