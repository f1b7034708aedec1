//! `davit exec` and `davit top` on the real engine, through the API server.

#![allow(clippy::disallowed_methods, reason = "a test starts the program")]

use std::io::{Read as _, Write as _};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};

use crate::common::davit::Davit;
use crate::common::docker::BASE_IMAGE;
use crate::common::{run, wait_for};

fn command(davit: &Davit, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_davit"));
    command
        .args(args)
        .env("KUBECONFIG", davit.kubeconfig())
        .stdin(Stdio::null());
    command
}

fn types(davit: &Davit, args: &[&str]) -> Output {
    let namespace = ["-n", &davit.namespace];
    // What follows -- is the command.
    let at = args.iter().position(|word| *word == "--").unwrap_or(args.len());
    let (before, after) = args.split_at(at);
    command(davit, &[before, &namespace, after].concat())
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn shop(davit: &Davit) {
    davit.apply(
        "shop",
        json!({"source": {"docker": {"image": BASE_IMAGE}}, "command": ["sleep", "1000"], "stopGracePeriod": "0s",
            "env": [{"name": "GREETING", "value": "good evening"}], "replicas": 2,
            "resources": {"limits": {"memory": "64Mi", "cpu": "500m"}}}),
    );
    davit.wait_until_done("shop");
}

#[test]
fn exec_runs_a_command_with_its_streams_and_its_exit_code() {
    let davit = Davit::up("exec");
    shop(&davit);
    let ran = types(
        &davit,
        &[
            "exec",
            "shop",
            "--",
            "sh",
            "-c",
            "echo $GREETING; echo problem >&2; exit 7",
        ],
    );
    assert_eq!(
        (text(&ran.stdout), text(&ran.stderr), ran.status.code()),
        ("good evening\n".to_owned(), "problem\n".to_owned(), Some(7))
    );
    let ran = types(&davit, &["exec", "shop", "--", "true"]);
    assert_eq!((ran.status.code(), text(&ran.stderr)), (Some(0), String::new()));

    // Standard input to its end, and more of it than any buffer holds.
    let sent = vec![b'x'; 3 << 20];
    let mut child = command(
        &davit,
        &["exec", "shop", "-i", "-n", &davit.namespace, "--", "wc", "-c"],
    )
    .stdin(Stdio::piped())
    .stdout(Stdio::piped())
    .spawn()
    .unwrap();
    let mut input = child.stdin.take().unwrap();
    let writing = std::thread::spawn(move || input.write_all(&sent).unwrap());
    let ended = child.wait_with_output().unwrap();
    writing.join().unwrap();
    assert_eq!(text(&ended.stdout).trim(), (3 << 20).to_string());
    let ran = types(
        &davit,
        &["exec", "shop", "--", "sh", "-c", "head -c 5000000 /dev/zero"],
    );
    assert_eq!(ran.stdout.len(), 5_000_000);

    // One replica by its name.
    let release = davit.application("shop")["status"]["release"]["active"]
        .as_str()
        .unwrap()
        .to_owned();
    for number in 0..2 {
        let replica = format!("{release}.{number}");
        let ran = types(&davit, &["exec", "shop", "--replica", &replica, "--", "hostname"]);
        assert!(ran.status.success(), "{}", text(&ran.stderr));
    }
    // The role davit-view reads an Application and runs no command in it.
    let bind = [
        "create",
        "rolebinding",
        "jane",
        "--clusterrole=davit-view",
        "--user=jane",
    ];
    run(davit.kubectl().args(bind));
    for (args, word) in [
        (
            &["exec", "shop", "--replica", "shop-9.9", "--", "ls"][..],
            "replica \"shop-9.9\" does not run",
        ),
        (&["exec", "shpo", "--", "ls"], "shop"),
        (&["exec", "shop", "--", "no-such-program"], "no-such-program"),
        (&["exec", "shop", "-t", "--", "ls"], "needs a terminal"),
        (&["exec", "shop", "--as", "jane", "--", "ls"], "davit-edit"),
    ] {
        let ran = types(&davit, args);
        let said = [text(&ran.stdout), text(&ran.stderr)].concat();
        assert!(!ran.status.success() && said.contains(word), "{args:?}: {said}");
    }
    davit.patch("shop", json!({"spec": {"stopped": true}}));
    davit.wait_until("shop", 30, "stopped", |app| app["status"]["replicas"] == 0);
    let ran = types(&davit, &["exec", "shop", "--", "ls"]);
    assert!(
        text(&ran.stderr).contains("no container of Application \"shop\" runs"),
        "{}",
        text(&ran.stderr)
    );
}

#[test]
fn exec_on_a_terminal_has_its_size() {
    let davit = Davit::up("exec-tty");
    shop(&davit);
    // `script` gives the program a terminal; the shell in the container reads from it.
    let davit_program = env!("CARGO_BIN_EXE_davit");
    let line = format!(
        "stty cols 101 rows 31; exec {davit_program} exec shop -n {} -- sh",
        davit.namespace
    );
    let mut child = Command::new("script")
        .args(["--quiet", "--return", "--command", &line, "/dev/null"])
        .env("KUBECONFIG", davit.kubeconfig())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = child.stdout.take().unwrap();
    let (sender, seen) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 1024];
        while let Ok(length @ 1..) = output.read(&mut buffer) {
            if sender.send(buffer[..length].to_vec()).is_err() {
                break;
            }
        }
    });
    let mut said = String::new();
    let mut wait_until_said = |what: &str| {
        while !said.contains(what) {
            let part = seen.recv_timeout(Duration::from_secs(30));
            let part = part.unwrap_or_else(|_| panic!("{what} was not said: {said:?}"));
            said.push_str(&String::from_utf8_lossy(&part));
        }
    };
    wait_until_said("# ");
    // The text is put together there, so that what the terminal echoes is not taken for the answer.
    input
        .write_all(b"stty size; test -t 0 && echo is-a\"\"-terminal; exit 5\n")
        .unwrap();
    wait_until_said("31 101");
    wait_until_said("is-a-terminal");
    assert_eq!(child.wait().unwrap().code(), Some(5));
}

#[test]
fn exec_needs_the_verb_create_beside_get() {
    let davit = Davit::up("exec-rbac");
    shop(&davit);
    let binding = |role: &str, user: &str| -> RoleBinding {
        serde_json::from_value(
            json!({"metadata": {"name": format!("{user}-{role}"), "namespace": davit.namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}]}),
        )
        .unwrap()
    };
    let api: Api<RoleBinding> = Api::namespaced(davit.client(), &davit.namespace);
    for (role, user) in [
        ("davit-view", "jane"),
        ("davit-view", "joe"),
        ("davit-edit", "joe"),
    ] {
        davit
            .block_on(api.create(&PostParams::default(), &binding(role, user)))
            .unwrap();
    }
    let exec = |user: &str| types(&davit, &["exec", "shop", "--as", user, "--", "echo", "done"]);
    assert_eq!(text(&exec("joe").stdout), "done\n");
    let refused = text(&exec("jane").stderr);
    assert!(
        refused.contains("applications/exec") && refused.contains("davit-edit"),
        "{refused}"
    );
    // The role davit-view shows what an Application uses.
    let top = types(&davit, &["top", "--as", "jane"]);
    assert!(top.status.success(), "{}", text(&top.stderr));
}

#[test]
fn top_shows_what_applications_and_replicas_use() {
    let davit = Davit::with_flags(
        "top",
        &["--health-listen", "127.0.0.1:0", "--metrics-per-application"],
    );
    shop(&davit);
    let busy = json!({"source": {"docker": {"image": BASE_IMAGE}}, "command": ["sh", "-c", "while true; do :; done"],
        "stopGracePeriod": "0s", "resources": {"limits": {"cpu": "200m"}}});
    davit.apply("busy", busy);
    davit.wait_until_done("busy");
    let table = types(&davit, &["top"]);
    let lines: Vec<String> = text(&table.stdout).lines().map(str::to_owned).collect();
    assert!(lines[0].starts_with("APPLICATION   REPLICAS   CPU"), "{lines:?}");
    assert!(
        lines[1].starts_with("busy ") && lines[2].starts_with("shop "),
        "{lines:?}"
    );
    assert!(lines[2].contains("of 128.0 MiB"), "{lines:?}");
    let replicas = text(&types(&davit, &["top", "apps", "shop"]).stdout);
    assert_eq!(replicas.lines().count(), 3, "{replicas}");
    assert!(
        replicas.contains("shop-1.0") && replicas.contains("of 64.0 MiB"),
        "{replicas}"
    );
    let releases = text(&types(&davit, &["top", "releases"]).stdout);
    assert!(
        releases.contains("busy-1 ") && releases.contains("shop-1 "),
        "{releases}"
    );

    let found = types(&davit, &["top", "apps", "busy", "-o", "json"]);
    let found: Value = serde_json::from_slice(&found.stdout).unwrap();
    let replica = &found["items"][0]["replicas"][0];
    let used = replica["cpu"]["usageNanoCores"].as_u64().unwrap();
    // A fifth of a core, as far as the machine grants it.
    assert!((1_000_000..=400_000_000).contains(&used), "{used}");
    assert_eq!(replica["cpu"]["limitNanoCores"], 200_000_000);
    assert!(replica["memory"]["usageBytes"].as_u64().unwrap() > 10_000);

    // Again and again, until the reader ends.
    let mut watching = command(&davit, &["top", "--watch", "-n", &davit.namespace])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = watching.stdout.take().unwrap();
    let (mut seen, mut buffer) = (String::new(), [0; 4096]);
    while seen.matches("APPLICATION").count() < 2 {
        let length = output.read(&mut buffer).unwrap();
        assert!(length > 0, "{seen}");
        seen.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
    watching.kill().unwrap();
    watching.wait().unwrap();

    let address = davit.health_address().unwrap();
    let series = wait_for("the series", Duration::from_secs(20), || {
        let url = format!("http://{address}/metrics");
        let text = davit.block_on(async { reqwest::get(url).await.unwrap().text().await.unwrap() });
        text.contains("davit_application_cpu_seconds_total{")
            .then_some(text)
    });
    assert!(series.contains("davit_application_replicas_running{namespace=\"top\",application=\"shop\"} 2"));
    assert!(series.ends_with("# EOF\n") && series.matches("# EOF").count() == 1);
}
