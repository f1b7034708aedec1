//! The messages that users read, as checked-in text: `tests/checks/messages/*.txt`. `UPDATE=1` writes it anew.
//!
//! An error enum gives a sample of each variant through [`samples`], whose match is exhaustive: a new variant does not compile
//! until it has one. The messages of the planner are in `src/plan/tests/messages.txt`.

#![allow(clippy::unwrap_used, reason = "a test panics if an expectation fails")]

mod errors;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use davit::error::{Explain, Problem};
use regex::Regex;
use serde_json::Value;

/// Returns the samples of an error enum, one for each variant.
macro_rules! samples {
    ($type:ident: $($variant:pat => $sample:expr),* $(,)?) => {{
        let name = |error: &$type| match error {
            $($variant => stringify!($variant),)*
        };
        let samples = vec![$((stringify!($variant), $sample)),*];
        for (expected, sample) in &samples {
            assert_eq!(&name(sample), expected, "this is a sample of another variant");
        }
        samples
    }};
}
pub(crate) use samples;

/// Words that leave the actor unnamed, or have no clear meaning.
const UNCLEAR: &str =
    r"(?i)\b(who|whom|whoever|nobody|somebody|anybody|everybody|is none|by hand|one's own|of one's)\b";

/// Checks the rules of "Comments" in CONTRIBUTING.md that hold for every message.
fn check(message: &str) {
    let unclear = Regex::new(UNCLEAR).unwrap();
    assert!(
        !unclear.is_match(message),
        "a word leaves the actor unnamed: {message}"
    );
    assert!(
        !message.contains("; ; ") && !message.contains(": : "),
        "{message}"
    );
    let field = Regex::new(r"\bspec(\.[A-Za-z]+(\[[^\]]*\])?)+").unwrap();
    let mut fields: BTreeMap<&str, usize> = BTreeMap::new();
    for found in field.find_iter(message) {
        *fields.entry(found.as_str()).or_default() += 1;
    }
    assert!(
        fields.values().all(|count| *count == 1),
        "a field is named twice: {message}"
    );
}

/// Describes samples of an error enum: variant, reason, class, message.
fn explained<E: Explain + 'static>(name: &str, samples: Vec<(&str, E)>) -> String {
    let mut text = format!("# {name}\n");
    for (variant, error) in samples {
        let Problem {
            class,
            reason,
            message,
        } = Problem::of(&error);
        check(&message);
        let variant = variant.rsplit("::").next().unwrap_or(variant);
        let variant = variant.split([' ', '(', '{']).next().unwrap_or_default();
        writeln!(text, "{variant} ({reason}, {class:?})\n  {message}").unwrap();
    }
    text
}

/// Describes samples of errors of the command line.
fn chained<E: std::error::Error + 'static>(name: &str, samples: Vec<(&str, E)>) -> String {
    let mut text = format!("# {name}\n");
    for (variant, error) in samples {
        let message = davit::error::chain(&error);
        check(&message);
        let variant = variant.rsplit("::").next().unwrap_or(variant);
        let variant = variant.split([' ', '(', '{']).next().unwrap_or_default();
        writeln!(text, "{variant}\n  {message}").unwrap();
    }
    text
}

#[allow(clippy::disallowed_methods, reason = "texts are written anew by request")]
fn compare(name: &str, found: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checks/messages");
    let path = folder.join(name);
    let recorded = std::fs::read_to_string(&path).unwrap_or_default();
    if recorded != found && std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, found).unwrap();
        return;
    }
    for (expected, got) in recorded.lines().zip(found.lines()) {
        assert_eq!(
            expected, got,
            "{name}: read the new message, then run again with UPDATE=1"
        );
    }
    assert_eq!(
        recorded, found,
        "{name}: read the new messages, then run again with UPDATE=1"
    );
}

#[test]
fn messages_of_errors_are_as_recorded() {
    compare("errors.txt", &errors::all().join("\n"));
}

#[test]
fn messages_of_the_crds_are_as_recorded() {
    fn collect(path: &str, schema: &Value, text: &mut String) {
        let rules = schema["x-kubernetes-validations"].as_array();
        for rule in rules.into_iter().flatten() {
            let message = rule["message"].as_str().unwrap();
            check(message);
            writeln!(text, "{path}\n  {message}").unwrap();
        }
        for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
            collect(&format!("{path}.{name}"), inner, text);
        }
        for (mark, inner) in [("[]", &schema["items"]), ("{}", &schema["additionalProperties"])] {
            if inner.is_object() {
                collect(&format!("{path}{mark}"), inner, text);
            }
        }
    }
    let mut text = String::new();
    for (kind, schema) in crate::crds::schemas() {
        collect(kind, schema, &mut text);
    }
    compare("crds.txt", &text);
}

#[test]
fn messages_of_the_planner_follow_the_rules() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/plan/tests/messages.txt");
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.lines().count() > 50, "the messages are there");
    text.lines().for_each(|line| {
        let message = line.split_once(": ").map_or(line, |(_, message)| message);
        // The sentences of docs/reasons.md are whole sentences.
        check(message.trim_end_matches('.'));
    });
}

#[test]
fn sentences_of_reasons_follow_the_rules() {
    for reason in davit::api::Reason::ALL {
        check(reason.sentence().trim_end_matches('.'));
    }
}
