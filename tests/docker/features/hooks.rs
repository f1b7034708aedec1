//! `hooks.preDeploy` on the real engine.
#![allow(clippy::disallowed_methods, reason = "a test starts the program")]

use std::process::Command;

use serde_json::{Value, json};

use super::phase;
use crate::common::davit::Davit;
use crate::common::docker::BASE_IMAGE;
use crate::common::run;

/// An Application with a volume in which the hook notes each of its runs.
fn spec(hook: &str, text: &str) -> Value {
    json!({"source": {"docker": {"image": BASE_IMAGE}}, "command": ["sleep", "1000"], "stopGracePeriod": "0s",
        "env": [{"name": "TEXT", "value": text}],
        "volumes": [{"name": "data", "mountPath": "/data", "volume": {}}],
        "hooks": {"preDeploy": {"command": ["sh", "-c", hook], "timeout": "30s"}}})
}

fn notes(davit: &Davit) -> String {
    let container = davit.containers("shop").swap_remove(0);
    run(davit.docker().args(["exec", &container, "cat", "/data/notes"]))
}

#[test]
fn hook_runs_once_for_each_release_and_its_failure_leaves_what_runs() {
    let davit = Davit::up("hook");
    davit.apply("shop", spec("echo $TEXT >>/data/notes", "one"));
    davit.wait_until_done("shop");
    assert_eq!(
        notes(&davit),
        "one",
        "the hook has the environment and the volume of the Application"
    );
    davit.apply("shop", spec("echo $TEXT >>/data/notes", "two"));
    davit.wait_until_done("shop");
    assert_eq!(notes(&davit), "one\ntwo");
    let before = davit.containers("shop");

    davit.apply(
        "shop",
        spec("echo failing >>/data/notes; echo no such table; exit 4", "three"),
    );
    let said = davit.wait_for_error("shop", "PreDeployFailed");
    assert!(
        said.contains("ended with code 4") && said.contains("the previous release serves"),
        "{said}"
    );
    let failed = davit.releases_of("shop").pop().unwrap();
    assert_eq!(phase(&failed), "Failed");
    assert_eq!(failed["status"]["failure"]["logTail"], "no such table");
    let log = |args: &[&str]| {
        let mut davit_logs = Command::new(env!("CARGO_BIN_EXE_davit"));
        davit_logs
            .args(["logs", "shop", "--hook", "-n", &davit.namespace])
            .args(args);
        run(davit_logs.env("KUBECONFIG", davit.kubeconfig()))
    };
    assert_eq!(log(&[]), "no such table");
    assert_eq!(davit.containers("shop"), before);
    assert_eq!(notes(&davit), "one\ntwo\nfailing");

    // Davit is killed while a hook runs: it goes on, and runs once.
    let mut davit = davit;
    davit.apply(
        "shop",
        spec(
            "echo slow >>/data/notes; sleep 3; echo done >>/data/notes",
            "four",
        ),
    );
    davit.wait_until("shop", 20, "running its hook", |_| notes(&davit).contains("slow"));
    davit.kill();
    davit.start();
    davit.wait_until_done("shop");
    assert_eq!(notes(&davit), "one\ntwo\nfailing\nslow\ndone");
    davit.wait_until("shop", 20, "without a container of the hook", |_| {
        davit.list_in_engine("containers").len() == 1
    });
    davit.delete_and_wait("shop");
    assert!(davit.list_in_engine("containers").is_empty());
}
