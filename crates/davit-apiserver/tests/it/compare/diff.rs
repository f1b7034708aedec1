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
        // Owners are sorted by the second of their last write, which may have passed between two of them or not.
        (Value::Array(a), Value::Array(b)) if path.ends_with("/managedFields") && a.len() == b.len() => {
            let owner = |entry: &&Value| {
                ["operation", "manager", "apiVersion", "subresource"].map(|key| entry[key].to_string())
            };
            let (mut a, mut b): (Vec<&Value>, Vec<&Value>) = (a.iter().collect(), b.iter().collect());
            a.sort_by_key(owner);
            b.sort_by_key(owner);
            for (index, (a, b)) in a.into_iter().zip(b).enumerate() {
                walk(a, b, &format!("{path}/{index}"), found);
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
