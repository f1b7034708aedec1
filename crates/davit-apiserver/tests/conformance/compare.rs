//! The requests of tests/it/compare on the real kube-apiserver: it still answers what was recorded, or
//! (`UPDATE=1`) that is recorded anew.

use std::fmt::Write as _;

use serde_json::Value;

use crate::accepted::{Accepted, differences};
use crate::compare::{Answers, answers, case, client, diff::diff, recorded, recording};
use davit_test_support::kube_apiserver::KubeApiserver;

#[tokio::test(flavor = "multi_thread")]
async fn the_real_api_server_answers_as_it_was_recorded() {
    let mut server = KubeApiserver::start();
    server.start_controllers();
    let client = client(&server.kubeconfig).await;
    let mut wrong = Vec::new();
    for (file, cases) in case::all() {
        let live = answers(&client, &cases).await;
        wrong.extend(failed(&live));
        if updating() {
            record(&file, &live);
            continue;
        }
        wrong.extend(no_longer(&recorded(&file), &live));
    }
    assert!(
        wrong.is_empty(),
        "no longer as recorded (UPDATE=1 records anew):\n{}",
        wrong.join("\n")
    );
}

/// The same with a server of your own: `KUBECONFIG=… cargo test --features peers --test peers -- --ignored kubeconfig`.
/// It makes namespaces and definitions there, and leaves them: give it a cluster that is for that.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "asks the server that KUBECONFIG names"]
async fn the_server_of_kubeconfig_answers_as_it_was_recorded() {
    let kubeconfig = std::env::var_os("KUBECONFIG").expect("KUBECONFIG names a server");
    let client = client(kubeconfig.as_ref()).await;
    let mut accepted = Accepted::read();
    let mut wrong = Vec::new();
    for (file, cases) in case::all() {
        let theirs = answers(&client, &cases).await;
        let named: Vec<_> = cases.iter().map(case::Case::shown).collect();
        wrong.extend(differences(&named, &theirs, &recorded(&file), &mut accepted));
    }
    assert!(
        wrong.is_empty(),
        "{} requests are answered otherwise:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// Whether to record anew.
pub fn updating() -> bool {
    std::env::var_os("UPDATE").is_some_and(|value| !value.is_empty())
}

/// The cases that could not be run to their end.
pub fn failed(live: &Answers) -> Vec<String> {
    let failed = |(case, answers): (&String, &Vec<Value>)| {
        let why = answers.last()?.get("failed")?;
        Some(format!("{case}#{}: {why}", answers.len()))
    };
    live.iter().filter_map(failed).collect()
}

/// Where the real server no longer answers what was recorded.
pub fn no_longer(kept: &Answers, live: &Answers) -> Vec<String> {
    let mut wrong = Vec::new();
    for (case, answers) in live {
        let none = Vec::new();
        let kept = kept.get(case).unwrap_or(&none);
        for (index, answer) in answers.iter().enumerate() {
            for (pointer, said) in diff(kept.get(index).unwrap_or_default(), answer) {
                let said = said.replace("ours", "kept");
                wrong.push(format!("{case}#{} {pointer}:\n    {said}", index + 1));
            }
        }
    }
    wrong
}

/// Writes them, an answer a line, so that a change of one is a line in a diff.
pub fn record(file: &str, answers: &Answers) {
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
