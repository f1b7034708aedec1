//! Fields of a schema that is still JSON.

use serde_json::{Map, Value};

use crate::field::{FieldError, child};

/// A string field; empty if it is absent or of another type.
pub(super) fn string<'a>(schema: &'a Map<String, Value>, name: &str) -> &'a str {
    schema.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// A list field; empty if it is absent or of another type.
pub(super) fn list<'a>(schema: &'a Map<String, Value>, name: &str) -> &'a [Value] {
    schema
        .get(name)
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}

pub(super) fn object<'a>(schema: &'a Map<String, Value>, name: &str) -> Option<&'a Map<String, Value>> {
    schema.get(name).and_then(Value::as_object)
}

pub(super) fn flag(schema: &Map<String, Value>, name: &str) -> bool {
    schema.get(name).and_then(Value::as_bool) == Some(true)
}

pub(super) fn of_type(
    schema: &Map<String, Value>,
    path: &str,
    expected: &str,
    extension: &str,
    errors: &mut Vec<FieldError>,
) {
    let kind = string(schema, "type");
    let detail = format!("must be {expected} if {extension} is specified");
    let at = child(path, "type");
    if kind.is_empty() {
        errors.push(FieldError::required(&at, &detail));
    } else if kind != expected {
        errors.push(FieldError::invalid(&at, &Value::from(kind), &detail));
    }
}
