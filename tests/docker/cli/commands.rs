//! The commands that show something, upload, or run a command, and those that need no Application: what they print.

use std::fs;
use std::time::Duration;

use regex::Regex;
use serde_json::{Value, json};

use super::session::Session;
use crate::common::{run, wait_for};

/// What prints two lines and stays.
const SAYS: &str = "echo listening on 8080; echo 'a warning'; exec sleep 1000";

/// Numbers that differ from run to run, and the widths of columns that follow from them.
fn without_numbers(text: &str) -> String {
    let mut text = text.to_owned();
    for (pattern, stands_for) in [
        (r"\d+(\.\d+)? (bytes|KiB|MiB|GiB)", "SIZE"),
        (r"\d+% of", "PERCENT of"),
        (r" {3,}", "   "),
        // What an engine counts depends on the machine.
        (
            r"(SIZE / SIZE|-)   (SIZE / SIZE|-)   (\d+)\n",
            "IN / OUT   READ / WRITTEN   $3\n",
        ),
    ] {
        text = Regex::new(pattern)
            .unwrap()
            .replace_all(&text, stands_for)
            .into_owned();
    }
    text
}

#[test]
fn logs_exec_and_top_show_what_runs() {
    let mut session = Session::new("shows");
    session.types(&["top"], 0);
    session.types(&["logs", "shop"], 1);
    session.apply("late", &json!({"source": null}));
    for command in [
        &["logs", "late"][..],
        &["top"],
        &["status", "late"],
        &["logs", "late", "--build"],
    ] {
        let code = if command[0] == "status" { 0 } else { 4 };
        session.types(&[command, &["--wait", "--timeout", "1s"]].concat(), code);
    }
    session.types(&["exec", "late", "--wait", "--timeout", "1s", "--", "true"], 4);
    session.types(&["exec", "late", "--", "true"], 1);
    session.types(&["logs", "late"], 0);
    session.types(&["logs", "late", "--build"], 1);
    session.types(&["history", "late", "--wait", "--timeout", "20s"], 0);
    session.types(&["previews", "late", "--wait"], 0);
    session.davit.delete_and_wait("late");

    session.apply(
        "shop",
        &json!({"command": ["sh", "-c", SAYS], "resources": {"limits": {"memory": "64Mi"}}}),
    );
    session.types(&["status", "shop", "--wait", "--timeout", "1m"], 0);
    let container = session.davit.containers("shop").swap_remove(0);
    wait_for("the output", Duration::from_secs(20), || {
        run(session.davit.docker().args(["logs", &container]))
            .contains("a warning")
            .then_some(())
    });
    session.types(&["logs", "shop", "--wait", "--timeout", "1m"], 0);
    session.types(&["logs", "shop", "--replica", "shop-1.0"], 0);
    session.types(&["history", "shop", "--wait"], 0);
    session.types(&["logs", "shop", "--tail", "1"], 0);
    session.types(&["logs", "shop", "-o", "wide"], 0);
    session.types(&["logs", "shop", "-o", "json"], 0);
    session.types(&["logs", "shop", "--since", "2h", "--prefix"], 0);
    session.types(&["logs", "shop", "--replica", "shop-1.7"], 1);
    session.tries(&["logs", "shop", "--build"]);
    session.types(&["logs", "shop", "--build", "--release", "shop-9"], 1);
    session.types(&["exec", "shop", "--wait", "--", "echo", "hello"], 0);
    session.types(&["exec", "shop", "--", "sh", "-c", "echo problem >&2; exit 7"], 7);
    // The engine's own words differ from version to version.
    let shown = session.transcript.clone();
    let (_, code) = session.tries(&["exec", "shop", "--", "no-such-program"]);
    assert_ne!(code, 0);
    session.transcript = shown;
    session.types(&["exec", "shop", "--replica", "shop-1.7", "--", "true"], 1);
    session.types(&["exec", "shop", "--as", "jane", "--", "true"], 1);
    session.types(&["top", "--wait"], 0);
    session.types(&["top", "apps", "shop"], 0);
    session.types(&["top", "shop"], 0);
    session.types(&["top", "releases", "--replicas"], 0);
    session.types(&["top", "-o", "name"], 0);
    session.types(&["top", "apps", "shpo"], 1);
    session.types(&["previews", "shop"], 0);
    session.types(&["previews", "shpo"], 1);
    insta::assert_snapshot!(without_numbers(&session.transcript));
}

#[test]
fn drop_shows_what_is_uploaded_and_deployed() {
    let mut session = Session::with_flags("drops", &["--max-uploads", "1"]);
    let site = json!({"source": null, "command": null, "build": {"static": {"publishDirectory": "."}},
        "ports": [{"name": "http", "containerPort": 8080}]});
    session.apply("shop", &site);
    let dir = session.davit.dir().to_owned();
    for (path, text) in [
        ("site/index.html", "one"),
        ("site/a/b.css", "two"),
        ("site/.git/config", ""),
    ] {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let wait = ["--wait", "--timeout", "2m"];
    session.types(&[&["drop", "shop", "site"], &wait[..]].concat(), 0);
    session.types(&["drop", "shop", "site"], 0);
    session.types(&["drop", "shop", "site", "-o", "name"], 0);
    let object: Value =
        serde_json::from_str(&session.types(&["drop", "shop", "site", "-o", "json"], 0)).unwrap();
    assert!(object["spec"]["source"]["drop"]["digest"].is_string(), "{object}");
    session.transcript = session
        .transcript
        .split("$ davit drop shop site -o json")
        .next()
        .unwrap()
        .to_owned();
    session.types(&["status", "shop"], 0);

    // What goes wrong: a build that fails is shown with the last lines of its log.
    let dockerfile = format!(
        "FROM {}\nRUN echo compiling; echo no such file; exit 3\n",
        crate::common::docker::BASE_IMAGE
    );
    fs::write(dir.join("site/Dockerfile"), dockerfile).unwrap();
    session.davit.patch(
        "shop",
        json!({"spec": {"build": {"static": null, "dockerfile": {}}}}),
    );
    session
        .davit
        .wait_until("shop", 60, "failed", |app| app["status"]["phase"] == "error");
    let shown = session.transcript.clone();
    session.types(&[&["drop", "shop", "site"], &wait[..]].concat(), 1);
    let (_, failed) = session.transcript.split_at(shown.len());
    assert!(
        failed.contains("failed in step") && failed.contains("no such file"),
        "{failed}"
    );
    // The engine's own words differ from version to version.
    session.transcript = shown;
    fs::write(dir.join("notes.txt"), "text").unwrap();
    session.types(&["drop", "shop", "notes.txt"], 1);
    session.types(&["drop", "shop", "nowhere"], 1);
    // Other content than that of any other upload, and more than all uploads may hold.
    let large = vec![7; 3 << 20];
    fs::write(dir.join("large.tar"), tar_of(&large)).unwrap();
    session.types(&["drop", "shop", "large.tar"], 1);
    session.types(&["drop", "shpo", "site"], 1);
    session.types(&["drop", "shop", "site", "--as", "jane"], 1);
    session.apply("image", &json!({"command": ["true"]}));
    session.types(&["drop", "image", "site"], 1);
    insta::assert_snapshot!(without_numbers(&session.transcript));
}

fn tar_of(content: &[u8]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    builder.append_data(&mut header, "index.html", content).unwrap();
    builder.into_inner().unwrap()
}

#[test]
fn crds_backup_and_restore_say_what_they_wrote() {
    let mut session = Session::new("keeps");
    session.without_namespace = true;
    let crds = session.types(&["crds"], 0);
    assert_eq!(crds.matches("kind: CustomResourceDefinition").count(), 3);
    session.transcript.clear();
    let data = session.davit.data_dir().display().to_string();
    let file = session.davit.dir().join("backup").display().to_string();
    let new = session.davit.dir().join("new").display().to_string();
    let key = format!("{data}/apiserver/encryption.key");
    session.types(&["backup", &file, "--data-dir", &data], 0);
    fs::create_dir_all(session.davit.data_dir().join("uploads/keeps")).unwrap();
    session.types(&["backup", &file, "--data-dir", &data], 0);
    session.types(&["backup", "/nowhere/backup", "--data-dir", &data], 1);
    session.types(&["backup", &file, "--data-dir", &new], 1);
    session.types(&["restore", &file, "--data-dir", &new], 1);
    session.types(&["restore", &file, "--data-dir", &new, "--key", &key], 0);
    session.types(&["restore", &file, "--data-dir", &new, "--key", &key], 1);
    session.types(&["restore", "nowhere", "--data-dir", &new, "--key", &key], 1);
    let dir = session.davit.dir().display().to_string();
    let text = session.transcript.replace(&dir, "DIR");
    let text = Regex::new(r"/tmp/[^/ ]+/|DIR/")
        .unwrap()
        .replace_all(&text, "DIR/");
    let text = Regex::new(r"\d+ objects")
        .unwrap()
        .replace_all(&text, "N objects");
    let text = Regex::new(r"\.davit-backup\w+")
        .unwrap()
        .replace_all(&text, ".davit-backup");
    let text = Regex::new(r"at revision \d+")
        .unwrap()
        .replace_all(&text, "at revision N");
    insta::assert_snapshot!(text);
}
