//! What ours answers otherwise than the recorded real server, and which of that docs/apiserver-differences.md accepts.

use crate::compare::{Answers, diff::diff};

/// What is different and not accepted, as text for people; empty if nothing is. A case is its name and its steps, as
/// text.
pub fn differences(
    cases: &[(String, Vec<String>)],
    ours: &Answers,
    theirs: &Answers,
    accepted: &mut Accepted,
) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, steps) in cases {
        let none = Vec::new();
        let (ours, theirs) = (ours.get(name).unwrap_or(&none), theirs.get(name).unwrap_or(&none));
        if theirs.is_empty() {
            wrong.push(format!("{name}: not recorded (UPDATE=1 make test-peers)"));
            continue;
        }
        for (index, step) in steps.iter().enumerate() {
            let place = format!("{name}#{}", index + 1);
            let found: Vec<String> = match (ours.get(index), theirs.get(index)) {
                (Some(ours), Some(theirs)) => diff(ours, theirs)
                    .into_iter()
                    .filter(|(pointer, _)| !accepted.covers(&format!("{place} {pointer}")))
                    .map(|(pointer, said)| format!("  {pointer}:\n    {said}"))
                    .collect(),
                (ours, theirs) => vec![format!("  only one of {ours:?} and {theirs:?}")],
            };
            if !found.is_empty() {
                wrong.push(format!("{place} {step}\n{}", found.join("\n")));
            }
        }
    }
    wrong
}

/// The accepted differences: the rows of the page's tables, by where they are.
pub struct Accepted {
    rows: Vec<(String, bool)>,
}

impl Accepted {
    /// Reads the page: the first column of each row whose first cell is code, as `` `file/case#2 /body/message` ``.
    pub fn read() -> Self {
        let page =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/apiserver-differences.md");
        let text = std::fs::read_to_string(page).unwrap();
        let rows = text
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
            .map(|(place, _)| (place.to_owned(), false))
            .collect();
        Self { rows }
    }

    /// Whether the difference at this place is one of them; a `*` in a row stands for anything.
    pub fn covers(&mut self, place: &str) -> bool {
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
    pub fn stale(&self, files: &[String]) -> Vec<&str> {
        self.rows
            .iter()
            .filter(|(row, used)| {
                // A row about every kubectl is looked at with the current one.
                let row = row.replacen("kubectl*/", "kubectl/", 1);
                !used && files.iter().any(|file| row.starts_with(&format!("{file}/")))
            })
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
