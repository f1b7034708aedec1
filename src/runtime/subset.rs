//! Compares an object of a cluster with the wanted one, by JSON. Pure.

use serde_json::Value;

/// Whether the object that was found has all that the wanted one has. A cluster adds defaults, and leaves out what is empty.
pub fn contains(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (_, Value::Null) => true,
        (Value::Object(found), Value::Object(wanted)) => wanted
            .iter()
            .all(|(key, value)| contains(found.get(key).unwrap_or(&Value::Null), value)),
        (Value::Array(found), Value::Array(wanted)) => {
            found.len() == wanted.len() && found.iter().zip(wanted).all(|(one, other)| contains(one, other))
        }
        (Value::Null, Value::Object(wanted)) => wanted.values().all(|value| contains(&Value::Null, value)),
        (Value::Null, Value::Array(wanted)) => wanted.is_empty(),
        (Value::Null, Value::Number(wanted)) => wanted.as_f64() == Some(0.0),
        (Value::Null, Value::Bool(wanted)) => !wanted,
        (Value::Null, Value::String(wanted)) => wanted.is_empty(),
        (found, wanted) => found == wanted,
    }
}
