//! Takes out of what kubectl prints what differs from server to server and from run to run.
//!
//! A uid and a resourceVersion are numbered by their first appearance in the case, so that whether one changed shows.

use std::{path::Path, sync::LazyLock};

use regex::{Captures, Regex};
use serde_json::Value;

static UID: LazyLock<Regex> =
    LazyLock::new(|| Regex::new("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").unwrap());
static REVISION: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#"(resourceVersion"?: ?|Resource Version:\s+)"?(\d+)"?"#).unwrap());
static TEXTS: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    [
        (
            r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z| ?[+-]\d\d:?\d\d)",
            "TIME",
        ),
        (r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}", "TIME"),
        (r"eyJ[\w-]+\.[\w-]+\.[\w-]+", "JWT"),
        (
            r"(?s)-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----",
            "PEM",
        ),
        (
            r"(?m)^([EWIF])\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ (\w+\.go):\d+\]",
            "$1 $2]",
        ),
        // What client-go says where its own time was over within the first second of a watch.
        (r"(?m)^I reflector\.go\] .*very short watch.*\n", ""),
        (r"\b(LIVE|MERGED)-\d+", "$1-N"),
        (r"kubectl-edit-\w+", "kubectl-edit-N"),
        (r"gen-[a-z0-9]{5}\b", "gen-<5>"),
        (r"127\.0\.0\.1:\d+", "HOST"),
        (r"kubernetes-admin", "admin"),
        (
            r#"patch: Invalid value: "\{.*\}": "#,
            "patch: Invalid value: PATCHED: ",
        ),
        // An age, and how long anything took.
        (r"<invalid>|\b(\d+(\.\d+)?[smhdy]|\d+ms){1,2}\b", "AGE"),
        // The columns of a table are as wide as its widest cell, an age among them.
        (r"(?m)(\S)[ \t]{2,}", "$1  "),
        (r"(?m)[ \t]+$", ""),
    ]
    .map(|(pattern, with)| (Regex::new(pattern).unwrap(), with))
    .into_iter()
    .collect()
});

/// What has been seen in a case so far.
#[derive(Default)]
pub struct Normal {
    ownerless: bool,
    uids: Vec<String>,
    revisions: Vec<String>,
}

/// The number of a text among those seen so far.
fn number(seen: &mut Vec<String>, text: &str) -> usize {
    if !seen.iter().any(|one| one == text) {
        seen.push(text.to_owned());
    }
    seen.iter().position(|one| one == text).map_or(0, |at| at + 1)
}

impl Normal {
    /// Nothing yet; `ownerless` leaves the owners of fields out of what is printed.
    pub fn new(ownerless: bool) -> Self {
        Self {
            ownerless,
            ..Self::default()
        }
    }

    /// A text without what is particular to this run, by lines.
    pub fn lines(&mut self, text: &str, directory: &Path) -> Vec<String> {
        let text = text.replace(&directory.display().to_string(), "DIR");
        let text = UID.replace_all(&text, |found: &Captures<'_>| {
            format!("UID{}", number(&mut self.uids, &found[0]))
        });
        let text = REVISION.replace_all(&text, |found: &Captures<'_>| {
            format!("{}\"RV{}\"", &found[1], number(&mut self.revisions, &found[2]))
        });
        let mut text = text.into_owned();
        for (pattern, with) in TEXTS.iter() {
            text = pattern.replace_all(&text, *with).into_owned();
        }
        let mut lines: Vec<String> = sorted(&text).lines().map(sorted).collect();
        if self.ownerless {
            lines = without_owners(lines);
        }
        // Several faults come in any order.
        let first = lines.iter().position(|line| line.starts_with("* "));
        if let Some(faults) = first.and_then(|first| lines.get_mut(first..)) {
            faults.sort();
        }
        lines
    }
}

/// The lines of an object without its owners, which are sorted by the second of their last write.
fn without_owners(lines: Vec<String>) -> Vec<String> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut kept = Vec::new();
    let mut within = None;
    for line in lines {
        let depth = indent(&line);
        let goes_on = |start: usize| {
            depth > start || (depth == start && line.trim_start().starts_with(['-', ']'])) || line.is_empty()
        };
        if within.is_some_and(goes_on) {
            continue;
        }
        let begins = ["managedFields:", "\"managedFields\": [", "Managed Fields:"];
        within = begins.contains(&line.trim()).then_some(depth);
        if within.is_none() {
            kept.push(line);
        }
    }
    kept
}

/// A JSON object, indented or not, with its keys in order: objects have none, and upstream's is that of Go's types.
fn sorted(text: &str) -> String {
    match serde_json::from_str::<Value>(text) {
        Ok(document @ Value::Object(_)) if text.trim_end().contains('\n') => format!("{document:#}"),
        Ok(document @ Value::Object(_)) => document.to_string(),
        _ => text.to_owned(),
    }
}

#[test]
fn an_age_is_the_same_on_any_day() {
    for age in "<invalid> 0s 2m10s 3h5m 2d4h 325d 2y 2y325d 10y 120ms 1.5s".split(' ') {
        let lines = Normal::default().lines(&format!("a   {age}   b"), Path::new("/nowhere"));
        assert_eq!(lines, ["a  AGE  b"], "{age}");
    }
}
