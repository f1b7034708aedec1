//! Defaults from the schema, and the nulls that stand for "not set".

use serde_json::Value;

use super::node::{Additional, Node};
use crate::field::{FieldError, child, key};

/// Drops nulls that the schema does not allow, then fills in defaults, as upstream does for every object that it
/// reads from a client or from the store.
pub(super) fn apply(value: &mut Value, root: &Node) {
    drop_nulls(value, Some(root));
    fill(value, root);
}

fn drop_nulls(value: &mut Value, node: Option<&Node>) {
    match value {
        Value::Object(map) => map.retain(|name, field| {
            let sub = node.and_then(|node| node.field(name));
            let unset = field.is_null() && sub.is_some_and(|sub| !sub.nullable && sub.default.is_none());
            if !unset {
                drop_nulls(field, sub);
            }
            !unset
        }),
        Value::Array(list) => {
            let items = node.and_then(|node| node.items.as_deref());
            for item in list {
                drop_nulls(item, items);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn fill(value: &mut Value, node: &Node) {
    match value {
        Value::Object(map) => {
            for (name, sub) in &node.properties {
                if let Some(default) = &sub.default {
                    let missing = match map.get(&**name) {
                        None => true,
                        Some(present) => present.is_null() && !sub.nullable,
                    };
                    if missing {
                        map.insert(name.to_string(), (**default).clone());
                    }
                }
            }
            for (name, field) in map.iter_mut() {
                if let Some(sub) = node.field(name) {
                    fill_null(field, sub);
                    fill(field, sub);
                }
            }
        }
        Value::Array(list) => {
            if let Some(items) = &node.items {
                for item in list {
                    fill_null(item, items);
                    fill(item, items);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn fill_null(value: &mut Value, node: &Node) {
    if value.is_null()
        && !node.nullable
        && let Some(default) = &node.default
    {
        *value = (**default).clone();
    }
}

/// Checks that every default is a value that its own schema would accept.
pub(super) fn check(node: &Node, path: &str, errors: &mut Vec<FieldError>) {
    if let Some(default) = &node.default {
        let at = child(path, "default");
        for mut error in super::validate::validate(node, default, None) {
            let inner = if error.field == "<nil>" {
                String::new()
            } else {
                error.field
            };
            error.field = if inner.is_empty() {
                at.clone()
            } else {
                child(&at, &inner)
            };
            errors.push(error);
        }
        let mut pruned = (**default).clone();
        if !node.embedded && !super::prune::prune(&mut pruned, node).is_empty() {
            errors.push(FieldError::invalid(&at, default, "must not have unknown fields"));
        }
    }
    for (name, sub) in &node.properties {
        check(sub, &key(&child(path, "properties"), name), errors);
    }
    if let Additional::Schema(sub) = &node.additional {
        check(sub, &child(path, "additionalProperties"), errors);
    }
    if let Some(sub) = &node.items {
        check(sub, &child(path, "items"), errors);
    }
}
