//! Where two answers differ, and which differences docs/apiserver-differences.md accepts.

use serde_json::Value;

/// Every place where `ours` and `theirs` differ, as a pointer and both values.
pub fn diff(ours: &Value, theirs: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    walk(ours, theirs, "", &mut found);
    found
}

fn walk(ours: &Value, theirs: &Value, path: &str, found: &mut Vec<(String, String)>) {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            let mut keys: Vec<&String> = a.keys().chain(b.keys()).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                let path = format!("{path}/{}", key.replace('~', "~0").replace('/', "~1"));
                match (a.get(key), b.get(key)) {
                    (Some(a), Some(b)) => walk(a, b, &path, found),
                    (a, b) => found.push((path, said(a, b))),
                }
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                walk(a, b, &format!("{path}/{index}"), found);
            }
        }
        (a, b) if a == b => {}
        (a, b) => found.push((path.to_owned(), said(Some(a), Some(b)))),
    }
}

fn said(ours: Option<&Value>, theirs: Option<&Value>) -> String {
    let text = |value: Option<&Value>| value.map_or("nothing".to_owned(), ToString::to_string);
    format!("ours {}\n    real {}", text(ours), text(theirs))
}

/// The accepted differences: the rows of the page's tables, by where they are.
pub struct Accepted {
    rows: Vec<(String, bool)>,
}

impl Accepted {
    /// Reads the page: the first column of each row whose first cell is code, as `` `file/case#2 /body/message` ``.
    pub fn read() -> Self {
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
