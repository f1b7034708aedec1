//! Resources inside of resources: they name their type, and their metadata is read as every other's.

use serde_json::{Map, Value};

use super::node::{Additional, Node};
use crate::{
    field::{FieldError, child, go_json, index, key},
    object_meta::{self, decode},
};

/// Whether there can be such resources at all.
pub(super) fn any(node: &Node) -> bool {
    node.embedded
        || node.properties.iter().any(|(_, sub)| any(sub))
        || node.items.as_deref().is_some_and(any)
        || matches!(&node.additional, Additional::Schema(sub) if any(sub))
}

/// Takes out of their metadata what its type does not know, and returns the paths of that, sorted.
///
/// The error names a value that does not fit.
pub(super) fn coerce(root: &Node, value: &mut Value) -> Result<Vec<String>, String> {
    let mut unknown = Vec::new();
    reread(root, value, "", &mut unknown)?;
    unknown.sort_unstable();
    Ok(unknown)
}

fn reread(node: &Node, value: &mut Value, path: &str, unknown: &mut Vec<String>) -> Result<(), String> {
    match value {
        Value::Object(map) => {
            for name in ["apiVersion", "kind"] {
                if let Some(other) = map
                    .get(name)
                    .filter(|text| node.embedded && !text.is_string() && !text.is_null())
                {
                    let (at, shown) = (child(path, name), go_json(other));
                    return Err(format!("{at}: Invalid value: {shown}: must be a string"));
                }
            }
            if node.embedded
                && let Some(metadata) = map.get_mut("metadata").filter(|metadata| !metadata.is_null())
            {
                let at = child(path, "metadata");
                let (read, lost) = decode::read(metadata, "")
                    .map_err(|why| format!("{at}: Invalid value: {}: {why}", go_json(metadata)))?;
                unknown.extend(lost.iter().map(|name| child(&at, name)));
                *metadata = Value::Object(read);
            }
            for (name, field) in map {
                if let Some(sub) = node.property(name) {
                    reread(sub, field, &child(path, name), unknown)?;
                } else if let Some(sub) = node.field(name) {
                    reread(sub, field, &key(path, name), unknown)?;
                }
            }
        }
        Value::Array(list) => {
            if let Some(items) = &node.items {
                for (at, item) in list.iter_mut().enumerate() {
                    reread(items, item, &index(path, at), unknown)?;
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    Ok(())
}

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
                resource(map, path, errors);
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

fn resource(map: &Map<String, Value>, path: &str, errors: &mut Vec<FieldError>) {
    for name in ["apiVersion", "kind"] {
        let at = child(path, name);
        match map.get(name) {
            None => errors.push(FieldError::required(&at, "")),
            Some(Value::String(text)) => {
                let why = match (text.as_str(), name) {
                    ("", _) => Some("must not be empty".to_owned()),
                    (version, "apiVersion") => (version.matches('/').count() > 1)
                        .then(|| format!("unexpected GroupVersion string: {version}")),
                    (kind, _) => {
                        let wrong = object_meta::dns_1035_label(&kind.to_lowercase()).join(",");
                        (!wrong.is_empty())
                            .then(|| format!("may have mixed case, but should otherwise match: {wrong}"))
                    }
                };
                errors.extend(why.map(|why| FieldError::invalid(&at, &text.as_str().into(), &why)));
            }
            Some(other) => errors.push(FieldError::invalid(&at, other, "must be a string")),
        }
    }
    if let Some(metadata) = map.get("metadata").and_then(Value::as_object) {
        let at = child(path, "metadata");
        for mut error in object_meta::validate_embedded(metadata) {
            error.field = error.field.replacen("metadata", &at, 1);
            errors.push(error);
        }
    }
}
