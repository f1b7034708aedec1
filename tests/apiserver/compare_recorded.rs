//! Ours against the recorded answers of the real kube-apiserver.

use tokio::net::TcpListener;

use crate::compare::{
    Answers, answers,
    case::{self, Case},
    client,
    diff::diff,
    recorded,
};
use crate::support::server;

#[tokio::test(flavor = "multi_thread")]
async fn ours_answers_as_the_real_one_was_recorded() {
    let directory = tempfile::tempdir().unwrap();
    let server = server().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    server.serve(listener).unwrap();
    let kubeconfig = directory.path().join("kubeconfig");
    std::fs::write(&kubeconfig, server.kubeconfig(address)).unwrap();
    let client = client(&kubeconfig).await;
    let mut accepted = Accepted::read();
    let (mut wrong, mut files, mut requests) = (Vec::new(), Vec::new(), 0);
    for (file, cases) in case::all() {
        let ours = answers(&client, &cases).await;
        requests += cases.iter().map(|case| case.steps.len()).sum::<usize>();
        wrong.extend(differences(&cases, &ours, &recorded(&file), &mut accepted));
        files.push(file);
    }
    server.close().await;
    let stale = accepted.stale(&files);
    assert!(
        wrong.is_empty() && stale.is_empty(),
        "{} of {requests} requests are answered otherwise:\n{}\naccepted, but not different: {stale:#?}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// What is different and not accepted, as text for people; empty if nothing is.
fn differences(cases: &[Case], ours: &Answers, theirs: &Answers, accepted: &mut Accepted) -> Vec<String> {
    let mut wrong = Vec::new();
    for case in cases {
        let none = Vec::new();
        let (ours, theirs) = (
            ours.get(&case.name).unwrap_or(&none),
            theirs.get(&case.name).unwrap_or(&none),
        );
        if theirs.is_empty() {
            wrong.push(format!("{}: not recorded (UPDATE=1 make test-peers)", case.name));
            continue;
        }
        for (index, step) in case.steps.iter().enumerate() {
            let place = format!("{}#{}", case.name, index + 1);
            let found: Vec<String> = match (ours.get(index), theirs.get(index)) {
                (Some(ours), Some(theirs)) => diff(ours, theirs)
                    .into_iter()
                    .filter(|(pointer, _)| !accepted.covers(&format!("{place} {pointer}")))
                    .map(|(pointer, said)| format!("  {pointer}:\n    {said}"))
                    .collect(),
                (ours, theirs) => vec![format!("  only one of {ours:?} and {theirs:?}")],
            };
            if !found.is_empty() {
                wrong.push(format!(
                    "{place} {} {}\n{}",
                    step.method,
                    step.path,
                    found.join("\n")
                ));
            }
        }
    }
    wrong
}

/// The accepted differences: the rows of the page's tables, by where they are.
struct Accepted {
    rows: Vec<(String, bool)>,
}

impl Accepted {
    /// Reads the page: the first column of each row whose first cell is code, as `` `file/case#2 /body/message` ``.
    fn read() -> Self {
        let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/apiserver-differences.md");
        let text = std::fs::read_to_string(page).unwrap();
        let rows = text
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
            .map(|(place, _)| (place.to_owned(), false))
            .collect();
        Self { rows }
    }

    /// Whether the difference at this place is one of them; a `*` in a row stands for anything.
    fn covers(&mut self, place: &str) -> bool {
        let mut covered = false;
        for (row, used) in &mut self.rows {
            if fits(row, place) {
                *used = true;
                covered = true;
            }
        }
        covered
    }

    /// The rows about these files that no difference needed.
    fn stale(&self, files: &[String]) -> Vec<&str> {
        self.rows
            .iter()
            .filter(|(row, used)| !used && files.iter().any(|file| row.starts_with(&format!("{file}/"))))
            .map(|(row, _)| row.as_str())
            .collect()
    }
}

/// A row names a place and all that is below it.
fn fits(row: &str, place: &str) -> bool {
    let mut rest = place;
    for (index, part) in row.split('*').enumerate() {
        let at = if index == 0 {
            rest.starts_with(part).then_some(0)
        } else {
            rest.find(part)
        };
        let Some(at) = at else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.is_empty() || rest.starts_with('/') || rest.starts_with(' ') || row.ends_with('*')
}
