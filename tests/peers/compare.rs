//! The requests of tests/apiserver/compare on the real kube-apiserver: it still answers what was recorded, or
//! (`UPDATE=1`) that is recorded anew.

use std::fmt::Write as _;

use serde_json::Value;

use crate::common::kube_apiserver::KubeApiserver;
use crate::compare::{Answers, answers, case, client, diff::diff, recorded, recording};

#[tokio::test(flavor = "multi_thread")]
async fn the_real_api_server_answers_as_it_was_recorded() {
    let mut server = KubeApiserver::start();
    server.start_controllers();
    let client = client(&server.kubeconfig).await;
    let update = std::env::var_os("UPDATE").is_some_and(|value| !value.is_empty());
    let mut wrong = Vec::new();
    for (file, cases) in case::all() {
        let live = answers(&client, &cases).await;
        for (case, answers) in &live {
            if let Some(failed) = answers.last().and_then(|last| last.get("failed")) {
                wrong.push(format!("{case}#{}: {failed}", answers.len()));
            }
        }
        if update {
            record(&file, &live);
            continue;
        }
        let kept = recorded(&file);
        for case in &cases {
            let none = Vec::new();
            let (kept, live) = (kept.get(&case.name).unwrap_or(&none), &live[&case.name]);
            for (index, answer) in live.iter().enumerate() {
                for (pointer, said) in diff(kept.get(index).unwrap_or_default(), answer) {
                    let place = format!("{}#{}", case.name, index + 1);
                    wrong.push(format!(
                        "{place} {pointer}:\n    {}",
                        said.replace("ours", "kept")
                    ));
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "no longer as recorded (UPDATE=1 records anew):\n{}",
        wrong.join("\n")
    );
}

/// Writes them, an answer a line, so that a change of one is a line in a diff.
fn record(file: &str, answers: &Answers) {
    let mut text = String::from("{\n");
    for (index, (name, answers)) in answers.iter().enumerate() {
        let lines: Vec<String> = answers.iter().map(|answer| format!("  {answer}")).collect();
        let before = if index > 0 { ",\n" } else { "" };
        let name = Value::from(name.as_str());
        write!(text, "{before}{name}: [\n{}\n]", lines.join(",\n")).unwrap();
    }
    text += "\n}\n";
    std::fs::write(recording(file), text).unwrap();
}
