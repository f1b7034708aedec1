//! Fields of a schema that is still JSON.

use serde_json::{Map, Value};

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
