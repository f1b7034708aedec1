//! Values against the schema, with the messages of upstream's validator (`kube-openapi/pkg/validation`).

use serde_json::Value;

use super::{
    correlate,
    json_types::Types,
    node::{Additional, Checks, Node},
    outcome::Outcome,
    scalars,
};
use crate::field::{FieldError, child, index};

/// Checks a whole object; what equals `old` at the same place is not reported again.
pub(super) fn validate(root: &Node, value: &Value, old: Option<&Value>) -> Vec<FieldError> {
    place(root, value, old, "").errors
}

/// A field or item: where it has an old value and equals it, its errors are not this write's.
fn place(node: &Node, value: &Value, old: Option<&Value>, path: &str) -> Outcome {
    if old == Some(value) {
        return Outcome {
            errors: Vec::new(),
            matches: 1,
        };
    }
    visit(node, value, old, path)
}

fn visit(node: &Node, value: &Value, old: Option<&Value>, path: &str) -> Outcome {
    let mut outcome = Outcome::default();
    type_of(node, value, path, &mut outcome);
    if value.is_null() {
        choices(node, value, path, &mut outcome);
        return outcome;
    }
    outcome.matches += 2;
    if let Some(checks) = &node.checks {
        junctors(checks, value, old, path, &mut outcome);
    }
    match value {
        Value::String(text) => {
            outcome.matches += 1;
            if let Some(checks) = &node.checks {
                scalars::string(checks, text, path, &mut outcome);
            }
            if !node.format.accepts(text) {
                let name = node.format.name();
                let detail = format!(
                    "{path} in body must be of type {name}: {}",
                    crate::field::quote(text)
                );
                outcome.add(FieldError::type_invalid(path_of(path), value, &detail));
            }
        }
        Value::Number(number) => {
            outcome.matches += 2;
            scalars::number(node, number, value, path, &mut outcome);
        }
        Value::Array(list) => {
            outcome.matches += 2;
            items(node, list, old, path, &mut outcome);
        }
        Value::Object(_) | Value::Bool(_) | Value::Null => {}
    }
    choices(node, value, path, &mut outcome);
    outcome.matches += 2;
    if let Value::Object(map) = value {
        outcome.matches += 1;
        object(node, map, old, path, &mut outcome);
    }
    outcome
}

/// Upstream's paths begin with a dot where the parent is the root.
fn path_of(path: &str) -> &str {
    path.strip_prefix('.').unwrap_or(path)
}

fn type_of(node: &Node, value: &Value, path: &str, outcome: &mut Outcome) {
    let (kind, name, format) = match value {
        Value::Null => {
            if !node.types.is_empty() && !node.nullable {
                wrong_type(&node.types.names(), "null", path, outcome);
            }
            return;
        }
        Value::Bool(_) => (Types::BOOLEAN, "boolean", ""),
        Value::Number(number) if number.is_i64() => (Types::INTEGER, "integer", "int64"),
        Value::Number(_) => (Types::NUMBER, "number", "float64"),
        Value::String(_) => (Types::STRING, "string", ""),
        Value::Array(_) => (Types::ARRAY, "array", ""),
        Value::Object(_) => (Types::OBJECT, "object", ""),
    };
    if node.types.is_empty() && node.format == super::formats::Format::None {
        return;
    }
    outcome.matches += 1;
    let whole = matches!(value, Value::Number(number) if number.as_f64().is_some_and(|float| float.fract() == 0.0 && float.abs() < 9_007_199_254_740_992.0));
    let fits = node.types.has(kind)
        || (kind == Types::NUMBER && whole && node.types.has(Types::INTEGER))
        || (kind == Types::INTEGER && node.types.has(Types::NUMBER));
    let sized = !matches!(value, Value::String(_) | Value::Array(_));
    let formatted = node.format != super::formats::Format::None;
    if sized && formatted && !fits && format != node.format.name() {
        wrong_type(node.format.name(), format, path, outcome);
    } else if formatted && !sized && !node.types.has(Types::NUMBER) && !node.types.has(Types::INTEGER) {
        // The format decides alone.
    } else if !fits {
        wrong_type(&node.types.names(), name, path, outcome);
    }
}

fn wrong_type(expected: &str, actual: &str, path: &str, outcome: &mut Outcome) {
    let detail = format!("{path} in body must be of type {expected}: \"{actual}\"");
    outcome.matches = outcome.matches.saturating_sub(1);
    outcome.add(FieldError::type_invalid(
        path_of(path),
        &Value::from(actual),
        &detail,
    ));
}

fn choices(node: &Node, value: &Value, path: &str, outcome: &mut Outcome) {
    let Some(checks) = &node.checks else { return };
    if checks.choices.is_empty()
        || checks
            .choices
            .iter()
            .any(|choice| !value.is_null() && same(choice, value))
    {
        return;
    }
    let texts: Vec<String> = checks
        .choices
        .iter()
        .map(|choice| {
            choice
                .as_str()
                .map_or_else(|| choice.to_string(), ToOwned::to_owned)
        })
        .collect();
    outcome.add(FieldError::not_supported(
        path_of(path),
        value,
        texts.iter().map(String::as_str),
    ));
}

/// Equal values, whether an integer was written with a point or not.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        _ => a == b,
    }
}

fn junctors(checks: &Checks, value: &Value, old: Option<&Value>, path: &str, outcome: &mut Outcome) {
    let plain = |detail: String| FieldError::invalid("", &Value::from(""), &detail);
    if !checks.any_of.is_empty() {
        let mut best: Option<Outcome> = None;
        let mut valid = None;
        for branch in &checks.any_of {
            let result = visit(branch, value, old, path);
            if result.valid() {
                valid = Some(result);
                break;
            }
            if best.as_ref().is_none_or(|best| result.matches > best.matches) {
                best = Some(result);
            }
        }
        if valid.is_none() {
            outcome.add(plain(format!(
                "\"{path}\" must validate at least one schema (anyOf)"
            )));
        }
        if let Some(result) = valid.or(best) {
            outcome.merge(result);
        }
    }
    if !checks.one_of.is_empty() {
        let mut best: Option<Outcome> = None;
        let mut first = None;
        let mut count = 0_usize;
        for branch in &checks.one_of {
            let result = visit(branch, value, old, path);
            if result.valid() {
                count += 1;
                best = None;
                first.get_or_insert(result);
            } else if count == 0 && best.as_ref().is_none_or(|best| result.matches > best.matches) {
                best = Some(result);
            }
        }
        if count == 1 {
            if let Some(first) = first {
                outcome.merge(first);
            }
        } else {
            let found = if count == 0 {
                "Found none valid".into()
            } else {
                format!("Found {count} valid alternatives")
            };
            outcome.add(plain(format!(
                "\"{path}\" must validate one and only one schema (oneOf). {found}"
            )));
            if let Some(best) = best {
                outcome.merge(best);
            }
        }
    }
    if !checks.all_of.is_empty() {
        let mut count = 0_usize;
        for branch in &checks.all_of {
            let result = visit(branch, value, old, path);
            count += usize::from(result.valid());
            outcome.merge(result);
        }
        if count != checks.all_of.len() {
            let none = if count == 0 { ". None validated" } else { "" };
            outcome.add(plain(format!(
                "\"{path}\" must validate all the schemas (allOf){none}"
            )));
        }
    }
    if let Some(not) = &checks.not
        && visit(not, value, old, path).valid()
    {
        outcome.add(plain(format!("\"{path}\" must not validate the schema (not)")));
    }
    outcome.matches += 1;
}

fn items(node: &Node, list: &[Value], old: Option<&Value>, path: &str, outcome: &mut Outcome) {
    if let Some(items) = &node.items {
        for (at, item) in list.iter().enumerate() {
            let old = correlate::item(node, old, item);
            outcome.merge(place(items, item, old, &index(path, at)));
        }
    }
    let Some(checks) = &node.checks else { return };
    let size = list.len() as u64;
    if let Some(min) = checks.min_items.filter(|min| size < *min) {
        let detail = format!("{path} in body should have at least {min} items");
        outcome.add(FieldError::invalid(path_of(path), &Value::from(size), &detail));
    }
    if let Some(max) = checks.max_items.filter(|max| size > *max) {
        outcome.add(FieldError::too_many(path_of(path), list.len(), max));
    }
    if checks.unique_items
        && list
            .iter()
            .enumerate()
            .any(|(at, item)| list.iter().take(at).any(|other| other == item))
    {
        let detail = format!("{path} in body shouldn't contain duplicates");
        outcome.add(FieldError::invalid(path_of(path), &Value::from(""), &detail));
    }
}

fn object(
    node: &Node,
    map: &serde_json::Map<String, Value>,
    old: Option<&Value>,
    path: &str,
    outcome: &mut Outcome,
) {
    let size = map.len() as u64;
    if let Some(checks) = &node.checks {
        if let Some(min) = checks.min_properties.filter(|min| size < *min) {
            let detail = format!("{path} in body should have at least {min} properties");
            outcome.add(FieldError::invalid(path_of(path), &Value::from(size), &detail));
        }
        if let Some(max) = checks.max_properties.filter(|max| size > *max) {
            outcome.add(FieldError::too_many(path_of(path), map.len(), max));
        }
    }
    for (name, field) in map {
        match (node.field(name), &node.additional) {
            (None, Additional::Denied) => {
                let detail = format!("{path}.{name} in body is a forbidden property");
                outcome.add(FieldError::invalid(
                    path_of(path),
                    &Value::from(name.as_str()),
                    &detail,
                ));
            }
            (Some(sub), _) => {
                let old = correlate::field(old, name)
                    .filter(|_| !(path.is_empty() && correlate::is_type_meta(name)));
                outcome.merge(place(sub, field, old, &child(path, name)));
            }
            (None, Additional::Absent | Additional::Any | Additional::Schema(_)) => {}
        }
    }
    for name in node.checks.iter().flat_map(|checks| &checks.required) {
        if !map.contains_key(&**name) {
            outcome.add(FieldError::required(&child(path, name), ""));
        }
    }
}
