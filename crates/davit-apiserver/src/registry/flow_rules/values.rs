//! What the rules of both kinds share.

use serde_json::{Map, Value, json};

use crate::{field::FieldError, object_meta::Fields};

/// A map, made if it is not there.
pub(super) fn map<'a>(fields: &'a mut Map<String, Value>, key: &str) -> Option<&'a mut Map<String, Value>> {
    fields.entry(key).or_insert_with(|| json!({})).as_object_mut()
}

/// Sets a number that is missing or, where that means the same, zero.
pub(super) fn fill(fields: &mut Map<String, Value>, key: &str, default: i64, zero_too: bool) {
    let value = fields.entry(key).or_insert(Value::Null);
    if value.is_null() || (zero_too && *value == 0) {
        *value = default.into();
    }
}

/// The defaults of the status.
pub(super) fn default_status(object: &mut Fields) {
    let status = map(object, "status");
    let conditions = status.and_then(|status| status.get_mut("conditions")?.as_array_mut());
    for condition in conditions.into_iter().flatten().filter_map(Value::as_object_mut) {
        // Go writes a time even if it is not set.
        condition.entry("lastTransitionTime").or_insert(Value::Null);
    }
}

pub(super) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn items<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

pub(super) fn conditions(object: &Fields, errors: &mut Vec<FieldError>) {
    let mut seen = Vec::new();
    let status = object.get("status").cloned().unwrap_or_default();
    for (index, condition) in items(&status, "conditions").enumerate() {
        let (field, kind) = (
            format!("status.conditions[{index}].type"),
            text(condition, "type"),
        );
        if seen.contains(&kind) {
            errors.push(FieldError::duplicate(&field, &kind.into()));
        }
        seen.push(kind);
        if kind.is_empty() {
            errors.push(FieldError::required(&field, ""));
        }
    }
}
