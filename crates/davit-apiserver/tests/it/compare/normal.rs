//! Takes out of answers what differs from server to server and from run to run: uids, times, revisions, tokens.
//!
//! A uid is numbered by its first appearance in the case, a resourceVersion by its first appearance on its object, so
//! that whether it changed still shows.

use std::{collections::HashMap, sync::LazyLock};

use regex::{Captures, Regex};
use serde_json::Value;

static UID: LazyLock<Regex> =
    LazyLock::new(|| Regex::new("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").unwrap());
static TEXTS: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    [
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", "MICROTIME"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME"),
        (r"eyJ[\w-]+\.[\w-]+\.[\w-]+", "JWT"),
        // Years too: what was made in 2024 is a day older tomorrow.
        (r"^(\d+[smhdy]){1,2}$", "AGE"),
        (
            r"(?i)resourceversion in (precondition|object meta): \d+",
            "ResourceVersion in $1: N",
        ),
        (r"current: \d+", "current: N"),
        (
            r"too old resource version: (\d+) \(\d+\)",
            "too old resource version: $1 (N)",
        ),
        (r"^ZXlK[\w+/]+=*$", "JWT in base64"),
        (r"^LS0tLS1CRUdJTiBDRVJU[\w+/]+=*$", "PEM in base64"),
        (r"kubernetes-admin", "admin"),
        (r"127\.0\.0\.1:\d+", "HOST"),
        (
            r"(?s)-----BEGIN CERTIFICATE-----.*-----END CERTIFICATE-----\n?",
            "PEM",
        ),
        (r"\.default\.svc\.cluster\.local", ".default.svc"),
        (
            r#"(?s)patch: Invalid value: "\{.*\}": "#,
            "patch: Invalid value: PATCHED: ",
        ),
        (r#"(?s)^Invalid value: "\{.*\}": "#, "Invalid value: PATCHED: "),
        (r"in record \(\d+\)", "in record (N)"),
        (
            r"the ResourceVersion in the precondition \(\d+\)",
            "the ResourceVersion in the precondition (N)",
        ),
        (r"selfType\d+", "selfTypeN"),
        (r"Gen_[a-z0-9]{5}", "Gen_<5>"),
        // The causes say it again, one by one; upstream gives several in any order.
        (r"(?s)is invalid: \[.*\]$", "is invalid: [CAUSES]"),
        (r"X509SHA256=[0-9a-f]{64}", "FINGERPRINT"),
        (r"JTI=UID\d+", "JTI"),
    ]
    .map(|(pattern, with)| (Regex::new(pattern).unwrap(), with))
    .into_iter()
    .collect()
});

/// What has been seen in a case so far.
#[derive(Default)]
pub struct Normal {
    uids: HashMap<String, usize>,
    /// By uid: the revisions of that object, in the order in which they were seen.
    revisions: HashMap<String, Vec<String>>,
}

impl Normal {
    /// A text without what is particular to this run.
    pub fn text(&mut self, text: &str) -> String {
        let uids = &mut self.uids;
        let mut text = UID
            .replace_all(text, |found: &Captures<'_>| {
                let next = uids.len() + 1;
                format!("UID{}", uids.entry(found[0].to_owned()).or_insert(next))
            })
            .into_owned();
        for (pattern, with) in TEXTS.iter() {
            text = pattern.replace_all(&text, *with).into_owned();
        }
        text
    }

    /// The same for all of a document.
    pub fn value(&mut self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.text(text),
            Value::Array(list) => list.iter_mut().for_each(|item| self.value(item)),
            Value::Object(map) => {
                let list = map.contains_key("items") || map.contains_key("rows");
                if let Some(metadata) = map.get_mut("metadata").and_then(Value::as_object_mut) {
                    self.metadata(metadata, list);
                }
                if let Some(causes) = map.get_mut("causes").and_then(Value::as_array_mut) {
                    for cause in causes.iter_mut() {
                        self.value(cause);
                    }
                    causes.sort_by_key(Value::to_string);
                }
                // Roles are looked up in no order.
                for key in ["resourceRules", "nonResourceRules"] {
                    if let Some(rules) = map.get_mut(key).and_then(Value::as_array_mut) {
                        rules.sort_by_key(Value::to_string);
                    }
                }
                if let Some(Value::Number(port)) = map.get_mut("targetPort") {
                    *port = 0.into();
                }
                // What a server says of itself.
                for (key, plain) in [
                    ("serverAddress", "HOST"),
                    ("gitCommit", "COMMIT"),
                    ("buildDate", "DATE"),
                    ("goVersion", "GO"),
                    ("compiler", "COMPILER"),
                ] {
                    if let Some(Value::String(text)) = map.get_mut(key) {
                        plain.clone_into(text);
                    }
                }
                // The elements of a list with keys are named by their keys.
                let keyed: Vec<String> = map.keys().filter(|key| key.starts_with("k:")).cloned().collect();
                for key in keyed {
                    if let Some(item) = map.remove(&key) {
                        map.insert(self.text(&key), item);
                    }
                }
                map.values_mut().for_each(|item| self.value(item));
            }
            _ => {}
        }
    }

    fn metadata(&mut self, metadata: &mut serde_json::Map<String, Value>, list: bool) {
        let uid = metadata
            .get("uid")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        if let Some(Value::String(revision)) = metadata.get_mut("resourceVersion") {
            *revision = match revision.as_str() {
                "0" | "" => revision.clone(),
                // A list's is the server's, which others move too.
                _ if list => "RV".into(),
                _ => {
                    let known = self.revisions.entry(uid).or_default();
                    if !known.contains(revision) {
                        known.push(revision.clone());
                    }
                    let at = known.iter().position(|one| one == revision).unwrap_or_default();
                    format!("RV{}", at + 1)
                }
            };
        }
        if let Some(Value::String(token)) = metadata.get_mut("continue") {
            *token = "TOKEN".into();
        }
        let base = metadata
            .get("generateName")
            .and_then(Value::as_str)
            .map(ToOwned::to_owned);
        if let (Some(base), Some(Value::String(name))) = (base, metadata.get_mut("name"))
            && name.starts_with(&base)
        {
            *name = format!("{base}<{}>", name.len() - base.len());
        }
    }
}

#[test]
fn an_age_is_the_same_on_any_day() {
    for age in "0s 59s 2m10s 59m 3h5m 20h 2d4h 325d 2y 2y325d 10y".split(' ') {
        assert_eq!(Normal::default().text(age), "AGE", "{age}");
    }
}
