//! `x-kubernetes-list-type`, its keys, and `x-kubernetes-map-type`.

use serde_json::{Map, Value};

use crate::field::{FieldError, child, key};
use crate::schema::json_fields::{flag, list, object, of_type, string};

pub(super) fn lists(schema: &Map<String, Value>, path: &str, errors: &mut Vec<FieldError>) {
    const LIST: &str = "x-kubernetes-list-type";
    const KEYS: &str = "x-kubernetes-list-map-keys";
    const MAP: &str = "x-kubernetes-map-type";
    if let Some(kind) = schema.get(MAP) {
        of_type(schema, path, "object", MAP, errors);
        if !matches!(kind.as_str(), Some("atomic" | "granular")) {
            errors.push(FieldError::not_supported(
                &child(path, MAP),
                kind,
                ["atomic", "granular"],
            ));
        }
    }
    let keys = list(schema, KEYS);
    let Some(kind) = schema.get(LIST) else {
        if !keys.is_empty() {
            errors.push(FieldError::required(
                &child(path, LIST),
                "must be map if x-kubernetes-list-map-keys is non-empty",
            ));
        }
        return;
    };
    of_type(schema, path, "array", LIST, errors);
    let kind_name = kind.as_str().unwrap_or_default();
    if !matches!(kind_name, "atomic" | "set" | "map") {
        errors.push(FieldError::not_supported(
            &child(path, LIST),
            kind,
            ["atomic", "set", "map"],
        ));
    }
    if !keys.is_empty() && kind_name != "map" {
        let detail = "must be map if x-kubernetes-list-map-keys is non-empty";
        errors.push(FieldError::invalid(&child(path, LIST), kind, detail));
    }
    let items = object(schema, "items");
    let items_path = child(path, "items");
    if matches!(kind_name, "set" | "map") && items.is_some_and(|items| flag(items, "nullable")) {
        let detail = format!("cannot be nullable when x-kubernetes-list-type is {kind_name}");
        errors.push(FieldError::forbidden(&child(&items_path, "nullable"), &detail));
    }
    if kind_name == "map" {
        list_map(schema, keys, items, path, errors);
    } else if let (true, Some(items)) = (kind_name == "set", items) {
        let detail = "must be atomic as item of a list with x-kubernetes-list-type=set";
        if string(items, "type") == "object" && string(items, MAP) != "atomic" {
            let shown = items.get(MAP).unwrap_or(&Value::Null);
            errors.push(FieldError::invalid(&child(&items_path, MAP), shown, detail));
        } else if string(items, "type") == "array" && !matches!(string(items, LIST), "" | "atomic") {
            let shown = items.get(LIST).unwrap_or(&Value::Null);
            errors.push(FieldError::invalid(&child(&items_path, LIST), shown, detail));
        }
    }
}

fn list_map(
    schema: &Map<String, Value>,
    keys: &[Value],
    items: Option<&Map<String, Value>>,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    let keys_path = child(path, "x-kubernetes-list-map-keys");
    if keys.is_empty() {
        errors.push(FieldError::required(
            &keys_path,
            "must not be empty if x-kubernetes-list-type is map",
        ));
    }
    let Some(items) = items else {
        let detail = "must have a schema if x-kubernetes-list-type is map";
        errors.push(FieldError::required(&child(path, "items"), detail));
        return;
    };
    let items_path = child(path, "items");
    if string(items, "type") != "object" {
        let detail = "must be object if parent array's x-kubernetes-list-type is map";
        errors.push(FieldError::invalid(
            &child(&items_path, "type"),
            &Value::from(string(items, "type")),
            detail,
        ));
        return;
    }
    let all_keys = schema.get("x-kubernetes-list-map-keys").unwrap_or(&Value::Null);
    for (at, name) in keys.iter().filter_map(Value::as_str).enumerate() {
        if keys.iter().take(at).any(|earlier| earlier.as_str() == Some(name)) {
            errors.push(FieldError::invalid(
                &keys_path,
                all_keys,
                "must not contain duplicate entries",
            ));
        }
        let Some(property) = object(items, "properties").and_then(|map| object(map, name)) else {
            let detail = "entries must all be names of item properties";
            errors.push(FieldError::invalid(&keys_path, all_keys, detail));
            continue;
        };
        let at = key(&child(&items_path, "properties"), name);
        if matches!(string(property, "type"), "array" | "object") {
            let detail = "must be a scalar type if parent array's x-kubernetes-list-type is map";
            errors.push(FieldError::invalid(
                &child(&at, "type"),
                &Value::from("object"),
                detail,
            ));
        }
        let required = list(items, "required")
            .iter()
            .any(|entry| entry.as_str() == Some(name));
        if !required && !property.contains_key("default") {
            let detail = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
            errors.push(FieldError::required(&child(&at, "default"), detail));
        }
        if flag(property, "nullable") {
            let detail = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
            errors.push(FieldError::forbidden(&child(&at, "nullable"), detail));
        }
    }
}
