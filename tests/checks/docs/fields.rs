//! Tables of fields, from the schemas.

use std::fmt::Write as _;

use davit::api::crds;
use serde_json::Value;

/// What a field says of itself when it does nothing yet.
const LATER: &str = "Not in this version yet.";

/// The table of everything below `place`, as `Application.spec.source`. What has a table of its own in the same page is
/// only named.
pub fn table(place: &str, page: &str) -> String {
    let mut parts = place.split('.');
    let kind = parts.next().unwrap();
    let crd = crds()
        .into_iter()
        .find(|crd| crd.spec.names.kind == kind)
        .unwrap_or_else(|| panic!("no kind {kind}"));
    let schema = crd.spec.versions[0]
        .schema
        .as_ref()
        .unwrap()
        .open_api_v3_schema
        .as_ref();
    let schema = serde_json::to_value(schema).unwrap();
    let node = parts.fold(&schema, |node, part| {
        let name = part.trim_end_matches("[]");
        let node = &node["properties"][name];
        assert!(node.is_object(), "{place}: there is no {name}");
        if part.ends_with("[]") {
            &node["items"]
        } else {
            node
        }
    });
    let mut rows = Rows {
        place,
        page,
        table: String::new(),
        later: Vec::new(),
    };
    rows.table
        .push_str("| field | type | default | meaning |\n|---|---|---|---|\n");
    rows.add(node, "");
    if !rows.later.is_empty() {
        let later = rows.later.join("`, `");
        writeln!(
            rows.table,
            "\nRefused with a message of their own, because this version does not act on them: `{later}`."
        )
        .unwrap();
    }
    rows.table
}

struct Rows<'a> {
    place: &'a str,
    page: &'a str,
    table: String,
    later: Vec<String>,
}

impl Rows<'_> {
    fn add(&mut self, node: &Value, prefix: &str) {
        let required: Vec<&str> = node["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        for (name, field) in node["properties"].as_object().into_iter().flatten() {
            let path = format!("{prefix}{name}");
            let text = field["description"].as_str().unwrap_or_default().trim();
            if text == LATER {
                self.later.push(path);
                continue;
            }
            let items = &field["items"];
            let path = if items["properties"].is_object() {
                format!("{path}[]")
            } else {
                path
            };
            let (meaning, said) = split_default(text);
            let default = match &field["default"] {
                _ if required.contains(&name.as_str()) => "required".to_owned(),
                Value::Null | Value::Object(_) => said.map_or_else(String::new, |said| format!("`{said}`")),
                Value::String(text) => format!("`{text}`"),
                value => format!("`{value}`"),
            };
            let own = self
                .page
                .contains(&format!("<!-- generated: {}.{path} -->", self.place));
            let see = if own {
                format!(" See [below](#{}).", anchor(&path))
            } else {
                String::new()
            };
            let meaning = meaning.replace('|', "\\|");
            writeln!(
                self.table,
                "| `{path}` | {} | {default} | {meaning}{see} |",
                type_of(field)
            )
            .unwrap();
            // Conditions are the same everywhere, and known to everybody.
            if own || path == "conditions[]" {
                continue;
            }
            self.add(if items.is_object() { items } else { field }, &format!("{path}."));
        }
    }
}

/// The heading under which a table of its own stands.
fn anchor(path: &str) -> String {
    path.trim_end_matches("[]").to_lowercase().replace('.', "")
}

/// The sentences without that of the default, and the default.
fn split_default(text: &str) -> (String, Option<String>) {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let Some((before, rest)) = text.split_once("Default ") else {
        return (text, None);
    };
    // `Default 5m.` and `Default 5m; 0s never.`, but not `Default 0s with a health check …`. A value in backticks may have dots.
    let quoted = rest
        .strip_prefix('`')
        .and_then(|rest| rest.split_once('`'))
        .and_then(|(value, after)| Some((value, after.strip_prefix(['.', ';'])?)));
    let plain = || {
        let (value, after) = rest.split_once(['.', ';'])?;
        (!value.contains(['`', ' ', ':', ','])).then_some((value, after))
    };
    let Some((value, after)) = quoted.or_else(plain) else {
        return (text, None);
    };
    let after = after.trim().trim_end_matches('.');
    let after = if after.is_empty() {
        String::new()
    } else {
        format!(" {}.", capital(after))
    };
    (format!("{}{after}", before.trim()), Some(value.to_owned()))
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).collect())
        .unwrap_or_default()
}

fn type_of(field: &Value) -> String {
    if let Some(values) = field["enum"].as_array() {
        let values: Vec<_> = values
            .iter()
            .filter_map(Value::as_str)
            .map(|value| format!("`{value}`"))
            .collect();
        return values.join(", ");
    }
    if field["x-kubernetes-int-or-string"] == true {
        let quantity = field["pattern"].is_string();
        return if quantity { "quantity" } else { "number or name" }.to_owned();
    }
    match field["type"].as_str().unwrap_or_default() {
        "array" => format!("list of {}s", type_of(&field["items"])),
        "string"
            if field["pattern"]
                .as_str()
                .is_some_and(|pattern| pattern.contains("(ms|s|m|h)")) =>
        {
            "duration".to_owned()
        }
        "object" if field["additionalProperties"].is_object() => "map of strings".to_owned(),
        other => other.to_owned(),
    }
}

#[test]
fn a_default_ends_where_its_backtick_ends() {
    for (text, meaning, default) in [
        (
            "How long. Default 5m; 0s never.",
            "How long. 0s never.",
            Some("5m"),
        ),
        ("The version. Default `0.9.0`.", "The version.", Some("0.9.0")),
        ("Where. Default `.`.", "Where.", Some(".")),
        (
            "Where. Default `.`; as in Docker.",
            "Where. As in Docker.",
            Some("."),
        ),
        (
            "How. Default `a` with b, else c.",
            "How. Default `a` with b, else c.",
            None,
        ),
        (
            "How. Default 0s with a check.",
            "How. Default 0s with a check.",
            None,
        ),
    ] {
        let expected = (meaning.to_owned(), default.map(str::to_owned));
        assert_eq!(split_default(text), expected, "{text}");
    }
}
