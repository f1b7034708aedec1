//! Resources inside of resources must name their type.

use serde_json::Value;

use super::node::Node;
use crate::apiserver::field::{FieldError, child, index, key};

/// Checks `apiVersion`, `kind` and `metadata` of every embedded resource.
pub(super) fn validate(root: &Node, value: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    visit(root, value, "", &mut errors);
    errors
}

fn visit(node: &Node, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    match value {
        Value::Object(map) => {
            if node.embedded {
                type_meta(map, path, errors);
            }
            for (name, field) in map {
                if let Some(sub) = node.property(name) {
                    visit(sub, field, &child(path, name), errors);
                } else if let Some(sub) = node.field(name) {
                    visit(sub, field, &key(path, name), errors);
                }
            }
        }
        Value::Array(list) => {
            if let Some(items) = &node.items {
                for (at, item) in list.iter().enumerate() {
                    visit(items, item, &index(path, at), errors);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn type_meta(map: &serde_json::Map<String, Value>, path: &str, errors: &mut Vec<FieldError>) {
    for name in ["apiVersion", "kind"] {
        let at = child(path, name);
        match map.get(name) {
            None => errors.push(FieldError::required(&at, "")),
            Some(Value::String(text)) if text.is_empty() => {
                errors.push(FieldError::invalid(&at, &Value::from(""), "must not be empty"));
            }
            Some(Value::String(_)) => {}
            Some(other) => errors.push(FieldError::invalid(&at, other, "must be a string")),
        }
    }
    if let Some(metadata) = map.get("metadata").filter(|metadata| !metadata.is_object()) {
        errors.push(FieldError::invalid(
            &child(path, "metadata"),
            metadata,
            "must be an object",
        ));
    }
}
