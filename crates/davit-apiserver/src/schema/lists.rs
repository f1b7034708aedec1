//! Lists that are sets or maps hold each item once.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::node::{ListType, Node};
use crate::field::{FieldError, child, index, key};

/// Every second occurrence, at whatever depth.
pub(super) fn duplicates(root: &Node, value: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if value.is_object() {
        visit(root, value, "", &mut errors);
    }
    errors
}

fn visit(node: &Node, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    match value {
        Value::Object(map) => {
            for (name, field) in map {
                if let Some(sub) = node.property(name) {
                    visit(sub, field, &child(path, name), errors);
                } else if let Some(sub) = node.field(name) {
                    visit(sub, field, &key(path, name), errors);
                }
            }
        }
        Value::Array(list) => {
            match &node.list_type {
                ListType::Atomic => {}
                ListType::Set => {
                    for at in repeated(list.iter().map(Value::to_string)) {
                        if let Some(item) = list.get(at) {
                            errors.push(FieldError::duplicate(&index(path, at), item));
                        }
                    }
                }
                ListType::Map(keys) => keyed(keys, list, path, errors),
            }
            if let Some(items) = &node.items {
                for (at, item) in list.iter().enumerate() {
                    visit(items, item, &index(path, at), errors);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn keyed(keys: &[Box<str>], list: &[Value], path: &str, errors: &mut Vec<FieldError>) {
    if let Some((at, item)) = list
        .iter()
        .enumerate()
        .find(|(_, item)| !item.is_null() && !item.is_object())
    {
        let detail = "must be an object for an array of list-type map";
        errors.push(FieldError::invalid(&index(path, at), item, detail));
        return;
    }
    let identities: Vec<Value> = list
        .iter()
        .map(|item| {
            let named = keys
                .iter()
                .filter_map(|key| Some((key.to_string(), item.get(&**key)?.clone())));
            Value::Object(named.collect::<Map<String, Value>>())
        })
        .collect();
    for at in repeated(identities.iter().map(Value::to_string)) {
        if let Some(identity) = identities.get(at) {
            errors.push(FieldError::duplicate(&index(path, at), identity));
        }
    }
}

/// The place of the second occurrence of each text that occurs more than once.
fn repeated(texts: impl Iterator<Item = String>) -> Vec<usize> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut places = Vec::new();
    for (at, text) in texts.enumerate() {
        let times = seen.entry(text).or_default();
        *times += 1;
        if *times == 2 {
            places.push(at);
        }
    }
    places
}
