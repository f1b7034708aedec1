//! With `--wait` each command has an exit code of its own for done, failed, cancelled and out of time. Done is in the snapshots.

use std::fs;
use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::session::Session;
use crate::common::wait_for;

/// Containers that are never healthy.
fn never_healthy(deadline: &str, number: u32) -> Value {
    json!({"spec": {"env": [{"name": "NUMBER", "value": number.to_string()}], "healthCheck": {"exec": {"command": ["false"]}, "interval": "200ms"},
        "rollout": {"progressDeadline": deadline}}})
}

fn start(session: &Session, args: &[&str]) -> Child {
    let mut command = session.command(env!("CARGO_BIN_EXE_davit"));
    command
        .args(args)
        .args(["-n", &session.davit.namespace, "--wait"])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.spawn().unwrap()
}

/// The name of the newest Release, if it is under way.
fn under_way(session: &Session) -> Option<String> {
    let release = session.davit.releases_of("shop").pop()?;
    let phase = release["status"]["phase"].as_str().unwrap_or("Pending");
    let open = [
        "Pending",
        "Fetching",
        "Building",
        "Pushing",
        "Deploying",
        "Verifying",
    ]
    .contains(&phase);
    open.then(|| release["metadata"]["name"].as_str().unwrap().to_owned())
}

#[test]
fn exit_code_tells_failed_cancelled_and_out_of_time() {
    let mut session = Session::new("codes");
    session.apply("shop", &json!({}));
    session.davit.wait_until_done("shop");
    session
        .davit
        .patch("shop", json!({"spec": {"env": [{"name": "A", "value": "1"}]}}));
    session.davit.wait_until("shop", 60, "the second", |app| {
        app["status"]["release"]["active"] == "shop-2" && app["status"]["phase"] == "done"
    });

    // Out of time, whatever the command does.
    let site = session.davit.dir().join("site");
    fs::create_dir(&site).unwrap();
    fs::write(site.join("index.html"), "one").unwrap();
    for command in [
        &["suspend", "shop"][..],
        &["resume", "shop"],
        &["restart", "shop"],
        &["stop", "shop"],
        &["start", "shop"],
        &["deploy", "shop"],
        &["redeploy", "shop"],
        &["rollback", "shop", "1"],
        &["drop", "shop", "site", "--replace"],
        &["status", "shop"],
        &["history", "shop"],
        &["top"],
    ] {
        session.types(&[command, &["--wait", "--timeout", "1ms"]].concat(), 4);
    }
    wait_for("Releases to clear", Duration::from_mins(1), || {
        let releases = session.davit.releases_of("shop");
        let ended = |release: &&Value| release["status"]["phase"] == "Superseded";
        (releases.iter().filter(ended).count() > 1).then_some(())
    });
    session.types(&["clear", "shop", "--wait", "--timeout", "1ms"], 4);
    session.davit.delete_and_wait("shop");

    // Cancelled: another command cancels the Release for which this one waits.
    session.apply("shop", &json!({}));
    session.davit.wait_until_done("shop");
    let mut number = 0;
    // Another spec leads to another Release.
    let mut changes = |session: &Session, deadline: &str| {
        number += 1;
        session.davit.patch("shop", never_healthy(deadline, number));
    };
    session.types(&["suspend", "shop"], 0);
    let mut last = None;
    for command in [
        &["resume", "shop"][..],
        &["deploy", "shop"],
        &["redeploy", "shop"],
        &["start", "shop"],
        &["status", "shop"],
    ] {
        match command[0] {
            "resume" => changes(&session, "10m"),
            "start" => {
                session.types(&["stop", "shop", "--wait", "--timeout", "1m"], 0);
                changes(&session, "10m");
            }
            "status" => {
                session.types(&["deploy", "shop"], 0);
                session
                    .davit
                    .wait_until("shop", 60, "under way", |app| app["status"]["phase"] == "running");
            }
            _ => {}
        }
        let mut child = start(&session, command);
        let release = wait_for("a Release", Duration::from_mins(1), || {
            assert!(child.try_wait().unwrap().is_none(), "{command:?} ended early");
            under_way(&session).filter(|found| last.as_ref() != Some(found))
        });
        session.types(&["cancel", "shop", &release], 0);
        assert_eq!(child.wait().unwrap().code(), Some(3), "{command:?}");
        last = Some(release);
    }

    // So was the one before the command.
    session.types(&["status", "shop", "--wait", "--timeout", "1m"], 3);

    // Failed: the containers do not become healthy in time.
    changes(&session, "2s");
    session
        .davit
        .wait_until("shop", 60, "failed", |app| app["status"]["phase"] == "error");
    session.types(&["status", "shop", "--wait"], 1);
    session.types(&["history", "shop", "--wait", "-o", "name"], 1);
    session.types(&["deploy", "shop", "--wait"], 1);
    session.types(&["redeploy", "shop", "--wait"], 1);
    session.types(&["stop", "shop", "--wait"], 0);
    changes(&session, "2s");
    session.types(&["start", "shop", "--wait"], 1);
    session.types(&["suspend", "shop", "--wait", "--timeout", "1m"], 0);
    changes(&session, "2s");
    session.types(&["resume", "shop", "--wait"], 1);
    session.types(&["rollback", "shop", "1", "--wait"], 0);
    session.davit.delete_and_wait("shop");

    // A restart whose containers end: the first one left a file behind.
    session.apply(
        "shop",
        &json!({"command": ["sh", "-c", "test -e /data/once && exit 3; touch /data/once; exec sleep 1000"],
            "volumes": [{"name": "data", "mountPath": "/data", "volume": {}}], "rollout": {"progressDeadline": "3s"}}),
    );
    session.davit.wait_until_done("shop");
    for _ in 0..2 {
        session.types(&["restart", "shop", "--wait", "--timeout", "2m"], 1);
    }
}

#[test]
fn commands_for_a_suspended_application_claim_nothing() {
    let mut session = Session::new("suspended");
    session.apply("shop", &json!({"replicas": 2}));
    session.davit.wait_until_done("shop");
    let wait = ["--wait", "--timeout", "1m"];
    session.types(&[&["suspend", "shop"], &wait[..]].concat(), 0);
    for command in ["restart", "stop"] {
        let said = session.transcript.len();
        session.types(&[&[command, "shop"], &wait[..]].concat(), 1);
        let (_, said) = session.transcript.split_at(said);
        assert!(
            said.contains("davit resume shop") && !said.contains("shop stopped"),
            "{said}"
        );
    }
    session.types(&["stop", "shop"], 0);
    assert_eq!(session.davit.containers("shop").len(), 2, "nothing has happened");
    session.types(&[&["resume", "shop"], &wait[..]].concat(), 0);
    session.types(&[&["start", "shop"], &wait[..]].concat(), 0);
    assert_eq!(session.davit.application("shop")["status"]["readyReplicas"], 2);

    // What failed before says nothing about the containers that are started and replaced.
    session.davit.patch("shop", never_healthy("2s", 1));
    session
        .davit
        .wait_until("shop", 60, "failed", |app| app["status"]["phase"] == "error");
    session.types(&[&["restart", "shop"], &wait[..]].concat(), 0);
    assert!(
        session.transcript.contains("did not succeed before"),
        "{}",
        session.transcript
    );
}
