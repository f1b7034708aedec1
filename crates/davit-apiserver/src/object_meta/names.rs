//! The syntax of names, labels and qualified names, with the messages of upstream.

use std::sync::LazyLock;

use regex::Regex;

#[allow(
    clippy::unwrap_used,
    reason = "the patterns are literals, and the tests use every one"
)]
fn pattern(text: &str) -> Regex {
    Regex::new(text).unwrap()
}

const SUBDOMAIN_FMT: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";

const LABEL_FMT: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";

const LABEL_1035_FMT: &str = "[a-z]([-a-z0-9]*[a-z0-9])?";

const QUALIFIED_FMT: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";

const VALUE_FMT: &str = "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?";

static SUBDOMAIN: LazyLock<Regex> = LazyLock::new(|| pattern(&format!("^{SUBDOMAIN_FMT}$")));

static LABEL: LazyLock<Regex> = LazyLock::new(|| pattern(&format!("^{LABEL_FMT}$")));

static LABEL_1035: LazyLock<Regex> = LazyLock::new(|| pattern(&format!("^{LABEL_1035_FMT}$")));

static QUALIFIED: LazyLock<Regex> = LazyLock::new(|| pattern(&format!("^{QUALIFIED_FMT}$")));

static LABEL_VALUE: LazyLock<Regex> = LazyLock::new(|| pattern(&format!("^{VALUE_FMT}$")));

pub fn dns_subdomain(name: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if name.len() > 253 {
        wrong.push("must be no more than 253 characters".to_owned());
    }
    if !SUBDOMAIN.is_match(name) {
        wrong.push(format!(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must \
             start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
             '{SUBDOMAIN_FMT}')"
        ));
    }
    wrong
}

/// What is wrong with the name of a namespace.
pub(super) fn namespace_name(name: &str) -> Vec<String> {
    let mut wrong = dns_label(name);
    if name.contains('.') {
        wrong.retain(|why| why.contains("bytes"));
        wrong.push("must not contain dots".to_owned());
    }
    wrong
}

/// What is wrong with a label of DNS.
pub fn dns_label(name: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if name.len() > 63 {
        wrong.push("must be no more than 63 bytes".to_owned());
    }
    if !LABEL.is_match(name) {
        wrong.push(format!(
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and \
             end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
             '{LABEL_FMT}')"
        ));
    }
    wrong
}

/// What is wrong with a name that must begin with a letter and be a label.
pub fn dns_1035_label(name: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if name.len() > 63 {
        wrong.push("must be no more than 63 bytes".to_owned());
    }
    if !LABEL_1035.is_match(name) {
        wrong.push(format!(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic \
             character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for \
             validation is '{LABEL_1035_FMT}')"
        ));
    }
    wrong
}

pub(super) fn path_segment(name: &str) -> Vec<String> {
    if matches!(name, "." | "..") {
        return vec![format!("may not be '{name}'")];
    }
    ['/', '%']
        .iter()
        .filter(|c| name.contains(**c))
        .map(|c| format!("may not contain '{c}'"))
        .collect()
}

/// What is wrong with a text as the value of a label.
pub fn label_value(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if text.len() > 63 {
        wrong.push("must be no more than 63 bytes".to_owned());
    }
    if !LABEL_VALUE.is_match(text) {
        wrong.push(format!(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and \
             must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', \
             regex used for validation is '{VALUE_FMT}')"
        ));
    }
    wrong
}

/// What is wrong with a text as a qualified name.
pub fn qualified_name(name: &str) -> Vec<String> {
    let (prefix, local) = match name.split_once('/') {
        Some((_, rest)) if rest.contains('/') => {
            return vec![format!(
                "a valid label key must consist of alphanumeric characters, '-', '_' or '.', and must start and end \
                 with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for \
                 validation is '{QUALIFIED_FMT}') with an optional DNS subdomain prefix and '/' (e.g. \
                 'example.com/MyName')"
            )];
        }
        Some((prefix, local)) => (Some(prefix), local),
        None => (None, name),
    };
    let mut wrong = Vec::new();
    if let Some(prefix) = prefix {
        if prefix.is_empty() {
            wrong.push("prefix part must be non-empty".to_owned());
        } else {
            wrong.extend(
                dns_subdomain(prefix)
                    .into_iter()
                    .map(|text| format!("prefix part {text}")),
            );
        }
    }
    if local.is_empty() {
        wrong.push("name part must be non-empty".to_owned());
    } else if local.len() > 63 {
        wrong.push("name part must be no more than 63 bytes".to_owned());
    }
    if !QUALIFIED.is_match(local) {
        wrong.push(format!(
            "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
             alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
             '{QUALIFIED_FMT}')"
        ));
    }
    wrong
}
