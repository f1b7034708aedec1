//! `--wait` on a terminal of 40 columns: the running step, the position in the queue, and the last lines of the log.

use std::fmt::Write as _;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::json;

use super::session::Session;
use crate::common::davit::Davit;
use crate::common::docker::BASE_IMAGE;
use crate::common::git_repo::GitRepo;
use crate::common::wait_for;

const COLUMNS: usize = 40;

/// What erases the line of progress.
const AGAIN: &str = "\r\u{1b}[K";

/// Runs a command in a terminal of 40 columns; `script` makes one.
fn in_terminal(davit: &Davit, words: &str) -> Command {
    let mut line = format!("stty cols {COLUMNS} rows 20; exec ");
    write!(
        line,
        "{} {words} -n {}",
        env!("CARGO_BIN_EXE_davit"),
        davit.namespace
    )
    .unwrap();
    let mut command = Command::new("script");
    command
        .args(["--quiet", "--return", "--command", &line, "/dev/null"])
        .env("KUBECONFIG", davit.kubeconfig())
        .env("TERM", "xterm")
        .env_remove("NO_COLOR")
        .stdin(Stdio::null());
    command
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The lines of progress, in the order in which they were drawn.
fn drawn(text: &str) -> Vec<&str> {
    let lines = text.split(AGAIN).skip(1);
    lines.filter_map(|line| line.split(['\r', '\n']).next()).collect()
}

#[test]
fn wait_on_a_narrow_terminal_shows_queue_step_and_log() {
    let mut session = Session::with_flags("narrow", &["--max-builds", "1"]);
    let git = |lines: &str| {
        let dir = session.davit.dir().display();
        // A step that the engine's cache has from an earlier run takes no time.
        let dockerfile = format!("FROM {BASE_IMAGE}\nRUN : {dir}; {lines}\nCMD [\"sleep\", \"1000\"]\n");
        let repo = GitRepo::with(&[("Dockerfile", &dockerfile)]);
        (
            json!({"source": {"git": {"url": repo.url(), "ref": {"branch": "main"}}}, "command": null}),
            repo,
        )
    };
    let (first, _first_repo) = git("sleep 15");
    let (second, _second_repo) = git("sleep 2; echo compiling; echo 'undefined: main'; exit 3");
    session.apply("first", &first);
    wait_for("the first build", Duration::from_secs(30), || {
        let release = session.davit.releases_of("first").pop()?;
        (release["status"]["phase"] == "Building").then_some(())
    });
    session.apply("shop", &second);
    wait_for("the Release", Duration::from_secs(30), || {
        (!session.davit.releases_of("shop").is_empty()).then_some(())
    });
    let waited = in_terminal(&session.davit, "status shop --wait")
        .output()
        .unwrap();
    let said = text(&waited);
    assert_eq!(waited.status.code(), Some(1), "{said}");
    let lines = drawn(&said);
    assert!(
        lines.iter().all(|line| line.chars().count() < COLUMNS),
        "{lines:#?}"
    );
    let shows = |what: &str| lines.iter().any(|line| line.contains(what));
    assert!(shows("shop-1: Pending, position 1 in"), "{lines:#?}");
    assert!(shows("shop-1: Building"), "{lines:#?}");
    // The screen itself, broken at words, and after it the error with the log.
    assert!(said.contains("error: release shop-1 failed in step"), "{said}");
    let (_, error) = said.split_once("error: release").unwrap();
    assert!(error.contains("undefined: main"), "{said}");

    // A table that is too wide has one line for each cell.
    let table = text(&in_terminal(&session.davit, "status").output().unwrap());
    assert!(
        table.contains("NAME") && table.contains("\u{1b}[31merror\u{1b}[0m"),
        "{table}"
    );
    assert!(!table.contains("NAME   STATUS"), "{table}");

    // Without a terminal there is one line for each change, and no escape sequence.
    let plain = session.types(&["deploy", "shop"], 0);
    assert!(!plain.contains('\u{1b}'));
    let mut piped = session.command(env!("CARGO_BIN_EXE_davit"));
    let piped = piped
        .args(["status", "shop", "--wait", "-n", "narrow"])
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&piped.stderr);
    assert!(error.contains("shop-") && !error.contains('\u{1b}'), "{error}");
    let steps: Vec<&str> = error.lines().filter(|line| line.starts_with("shop-")).collect();
    let mut once = steps.clone();
    once.dedup();
    assert_eq!(steps, once, "a line for each change");
}

#[test]
fn replicas_have_colours_on_a_terminal() {
    let mut session = Session::new("colours");
    session.apply(
        "shop",
        &json!({"command": ["sh", "-c", "echo up; exec sleep 1000"], "replicas": 2}),
    );
    session.davit.wait_until_done("shop");
    let said = text(&in_terminal(&session.davit, "logs shop").output().unwrap());
    let colours = ["\u{1b}[36m[shop-1.", "\u{1b}[33m[shop-1."];
    assert!(colours.iter().all(|colour| said.contains(colour)), "{said:?}");
    let piped = session.types(&["logs", "shop"], 0);
    assert!(
        !piped.contains('\u{1b}') && piped.contains("[shop-1.0] up"),
        "{piped}"
    );
    let mut dumb = in_terminal(&session.davit, "logs shop");
    let dumb = text(&dumb.env("TERM", "dumb").output().unwrap());
    assert!(!dumb.contains("\u{1b}[3"), "{dumb:?}");
}
