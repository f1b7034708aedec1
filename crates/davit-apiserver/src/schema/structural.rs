//! Whether a schema may serve as a CRD's: the structural rules and the checks of the CRD's own validation.

mod lists;
mod rules;

use serde_json::{Map, Value};

use self::{lists::lists, rules::rules};
use super::{
    json_fields::{flag, list, object, string},
    node,
};
use crate::field::{FieldError, child, index, key};

/// Upstream has no limit of its own, but its decoder does.
const MAX_DEPTH: usize = 64;

/// Where a place stands: the root, an item, or a field.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

/// What holds for everything below a place.
#[derive(Clone, Copy)]
struct Scope<'a> {
    level: Level,
    depth: usize,
    /// Why defaults are not allowed here, if they are not.
    no_defaults: Option<&'a str>,
    /// Inside the metadata of a resource.
    in_meta: bool,
}

/// Checks `schema`, which stands at `path` in the CRD; errors are sorted and each is there once.
pub(super) fn check(schema: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let scope = Scope {
        level: Level::Root,
        depth: 0,
        no_defaults: None,
        in_meta: false,
    };
    match schema.as_object() {
        Some(schema) => {
            place(schema, path, scope, &mut errors);
            let more = crate::cel::rules::check(schema, path, &errors);
            errors.extend(more);
        }
        None => errors.push(FieldError::required(path, "schemas are required")),
    }
    errors.sort_by_key(ToString::to_string);
    errors.dedup();
    errors
}

fn place(schema: &Map<String, Value>, path: &str, scope: Scope<'_>, errors: &mut Vec<FieldError>) {
    if scope.depth > MAX_DEPTH {
        errors.push(FieldError::forbidden(path, "the schema is nested too deeply"));
        return;
    }
    unsupported(schema, path, scope, errors);
    types(schema, path, scope, errors);
    extensions(schema, path, errors);
    lists(schema, path, errors);
    let inner = Scope {
        depth: scope.depth + 1,
        ..scope
    };
    let embedded = flag(schema, "x-kubernetes-embedded-resource");
    let resource = scope.level == Level::Root || embedded;
    for (name, sub) in object(schema, "properties").into_iter().flatten() {
        let at = key(&child(path, "properties"), name);
        let Some(sub) = sub.as_object() else { continue };
        let mut inner = Scope {
            level: Level::Field,
            ..inner
        };
        let meta = resource && matches!(name.as_str(), "apiVersion" | "kind" | "metadata");
        let reason = format!("in top-level {name}");
        if meta {
            inner.in_meta = true;
            if scope.level == Level::Root {
                inner.no_defaults = Some(&reason);
            }
            metadata(name, sub, scope.level, &at, errors);
        }
        place(sub, &at, inner, errors);
    }
    if let Some(sub) = object(schema, "additionalProperties") {
        let reason = "inside additionalProperties applying to object metadata";
        let no_defaults = if scope.in_meta {
            Some(reason)
        } else {
            scope.no_defaults
        };
        place(
            sub,
            &child(path, "additionalProperties"),
            Scope {
                level: Level::Field,
                no_defaults,
                ..inner
            },
            errors,
        );
    }
    if let Some(sub) = object(schema, "items") {
        place(
            sub,
            &child(path, "items"),
            Scope {
                level: Level::Item,
                ..inner
            },
            errors,
        );
    }
    junctors(schema, Some(schema), path, path, scope.depth, errors);
    rules(schema, path, errors);
}

/// Keywords that JSON Schema has and CRDs have not.
fn unsupported(schema: &Map<String, Value>, path: &str, scope: Scope<'_>, errors: &mut Vec<FieldError>) {
    for name in [
        "id",
        "additionalItems",
        "patternProperties",
        "definitions",
        "dependencies",
        "$ref",
    ] {
        if schema.get(name).is_some_and(|value| !value.is_null()) {
            errors.push(FieldError::forbidden(
                &child(path, name),
                &format!("{name} is not supported"),
            ));
        }
    }
    if flag(schema, "uniqueItems") {
        let detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.push(FieldError::forbidden(&child(path, "uniqueItems"), detail));
    }
    if schema.get("items").is_some_and(Value::is_array) {
        let detail = "items must be a schema object and not an array";
        errors.push(FieldError::forbidden(&child(path, "items"), detail));
    }
    if let (Some(reason), true) = (scope.no_defaults, schema.contains_key("default")) {
        errors.push(FieldError::forbidden(
            &child(path, "default"),
            &format!("must not be set {reason}"),
        ));
    }
    if let Some(additional) = schema
        .get("additionalProperties")
        .filter(|value| !value.is_null())
    {
        let at = child(path, "additionalProperties");
        let only_allows = additional.as_bool() == Some(true);
        if object(schema, "properties").is_some_and(|map| !map.is_empty()) && !only_allows {
            errors.push(FieldError::forbidden(
                &at,
                "additionalProperties and properties are mutual exclusive",
            ));
        }
        if scope.level == Level::Root {
            errors.push(FieldError::forbidden(&at, "must not be used at the root"));
        }
        if flag(schema, "x-kubernetes-embedded-resource") {
            let detail = "must not be used if x-kubernetes-embedded-resource is set";
            errors.push(FieldError::forbidden(&at, detail));
        }
    }
}

fn types(schema: &Map<String, Value>, path: &str, scope: Scope<'_>, errors: &mut Vec<FieldError>) {
    const KNOWN: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];
    let kind = string(schema, "type");
    let at = child(path, "type");
    let preserve = flag(schema, "x-kubernetes-preserve-unknown-fields");
    let embedded = flag(schema, "x-kubernetes-embedded-resource");
    if kind == "null" {
        let detail = "type cannot be set to null, use nullable as an alternative";
        errors.push(FieldError::forbidden(&at, detail));
    }
    if !kind.is_empty() && !KNOWN.contains(&kind) {
        errors.push(FieldError::not_supported(&at, &Value::from(kind), KNOWN));
    }
    if kind == "array" && !schema.get("items").is_some_and(Value::is_object) {
        errors.push(FieldError::required(&child(path, "items"), "must be specified"));
    }
    if embedded && kind != "object" {
        let detail = "must be object if x-kubernetes-embedded-resource is true";
        errors.push(if kind.is_empty() {
            FieldError::required(&at, detail)
        } else {
            FieldError::invalid(&at, &Value::from(kind), detail)
        });
    } else if kind.is_empty() && !flag(schema, "x-kubernetes-int-or-string") && !preserve {
        let detail = match scope.level {
            Level::Root => "must not be empty at the root",
            Level::Item => "must not be empty for specified array items",
            Level::Field => "must not be empty for specified object fields",
        };
        errors.push(FieldError::required(&at, detail));
    }
    if scope.level == Level::Root && !kind.is_empty() && kind != "object" {
        errors.push(FieldError::invalid(
            &at,
            &Value::from(kind),
            "must be object at the root",
        ));
    }
    if embedded && !preserve && object(schema, "properties").is_none_or(Map::is_empty) {
        let detail = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
        errors.push(FieldError::required(&child(path, "properties"), detail));
    }
    let pattern = string(schema, "pattern");
    if let Err(error) = node::build(pattern) {
        let detail = format!("must be a valid regular expression, but isn't: {error}");
        errors.push(FieldError::invalid(
            &child(path, "pattern"),
            &Value::from(pattern),
            &detail,
        ));
    }
}

/// The metadata of a resource is known: a schema may only narrow its names.
fn metadata(name: &str, sub: &Map<String, Value>, level: Level, path: &str, errors: &mut Vec<FieldError>) {
    let expected = if name == "metadata" { "object" } else { "string" };
    let kind = string(sub, "type");
    if kind != expected {
        let detail = format!("must be {expected}");
        errors.push(FieldError::invalid(
            &child(path, "type"),
            &Value::from(kind),
            &detail,
        ));
    }
    if name == "metadata" && level == Level::Root {
        let known = |name: &String| matches!(name.as_str(), "name" | "generateName");
        let narrow = object(sub, "properties").is_none_or(|fields| fields.keys().all(known));
        let plain = sub
            .keys()
            .all(|key| matches!(key.as_str(), "type" | "properties" | "description" | "default"));
        if !narrow || !plain {
            let detail = "must not specify anything other than name and generateName, but metadata is implicitly specified";
            errors.push(FieldError::forbidden(path, detail));
        }
    }
}

fn extensions(schema: &Map<String, Value>, path: &str, errors: &mut Vec<FieldError>) {
    let at = child(path, "x-kubernetes-preserve-unknown-fields");
    let int_or_string = flag(schema, "x-kubernetes-int-or-string");
    match schema
        .get("x-kubernetes-preserve-unknown-fields")
        .and_then(Value::as_bool)
    {
        Some(true) if int_or_string => {
            let detail = "must be false if x-kubernetes-int-or-string is true";
            errors.push(FieldError::invalid(&at, &Value::from(true), detail));
        }
        Some(false) => errors.push(FieldError::invalid(
            &at,
            &Value::from(false),
            "must be true or undefined",
        )),
        Some(true) | None => {}
    }
    if int_or_string && flag(schema, "x-kubernetes-embedded-resource") {
        let detail = "must be false if x-kubernetes-int-or-string is true";
        let at = child(path, "x-kubernetes-embedded-resource");
        errors.push(FieldError::invalid(&at, &Value::from(true), detail));
    }
}

/// `anyOf`, `oneOf`, `allOf` and `not` may narrow what the schema itself says, and say nothing new.
fn junctors(
    schema: &Map<String, Value>,
    spine: Option<&Map<String, Value>>,
    path: &str,
    spine_path: &str,
    depth: usize,
    errors: &mut Vec<FieldError>,
) {
    if depth > MAX_DEPTH {
        errors.push(FieldError::forbidden(path, "the schema is nested too deeply"));
        return;
    }
    let int_or_string = flag(schema, "x-kubernetes-int-or-string");
    for name in ["allOf", "anyOf", "oneOf"] {
        let branches = list(schema, name);
        if int_or_string && name == "anyOf" && is_int_or_string(branches) {
            continue;
        }
        for (at, branch) in branches.iter().enumerate() {
            let Some(branch) = branch.as_object() else {
                continue;
            };
            let inside = index(&child(path, name), at);
            let exempt =
                int_or_string && name == "allOf" && at == 0 && is_int_or_string(list(branch, "anyOf"));
            if !exempt {
                nested(branch, spine, &inside, spine_path, depth + 1, errors);
            }
        }
    }
    if let Some(not) = object(schema, "not") {
        nested(not, spine, &child(path, "not"), spine_path, depth + 1, errors);
    }
}

/// The one pair of types that a junctor may name.
fn is_int_or_string(branches: &[Value]) -> bool {
    let only = |branch: Option<&Value>, kind: &str| {
        branch
            .and_then(Value::as_object)
            .is_some_and(|branch| branch.len() == 1 && string(branch, "type") == kind)
    };
    branches.len() == 2 && only(branches.first(), "integer") && only(branches.get(1), "string")
}

fn nested(
    schema: &Map<String, Value>,
    spine: Option<&Map<String, Value>>,
    path: &str,
    spine_path: &str,
    depth: usize,
    errors: &mut Vec<FieldError>,
) {
    let mut forbid =
        |name: &str, detail: &str| errors.push(FieldError::forbidden(&child(path, name), detail));
    for name in ["type", "title", "description"] {
        if !string(schema, name).is_empty() {
            forbid(name, "must be empty to be structural");
        }
    }
    for name in [
        "additionalProperties",
        "default",
        "x-kubernetes-list-type",
        "x-kubernetes-map-type",
    ] {
        if schema.get(name).is_some_and(|value| !value.is_null()) {
            forbid(name, "must be undefined to be structural");
        }
    }
    for name in [
        "nullable",
        "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-embedded-resource",
        "x-kubernetes-int-or-string",
    ] {
        if flag(schema, name) {
            forbid(name, "must be false to be structural");
        }
    }
    for name in ["x-kubernetes-list-map-keys", "x-kubernetes-validations"] {
        if !list(schema, name).is_empty() {
            forbid(name, "must be empty to be structural");
        }
    }
    let pattern = string(schema, "pattern");
    if let Err(error) = node::build(pattern) {
        let detail = format!("must be a valid regular expression, but isn't: {error}");
        errors.push(FieldError::invalid(
            &child(path, "pattern"),
            &Value::from(pattern),
            &detail,
        ));
    }
    for (name, sub) in object(schema, "properties").into_iter().flatten() {
        let at = key(&child(path, "properties"), name);
        let Some(sub) = sub.as_object() else { continue };
        if name == "metadata" {
            errors.push(FieldError::forbidden(
                &at,
                "must not be specified in a nested context",
            ));
        }
        let below = key(&child(spine_path, "properties"), name);
        let beside = spine
            .and_then(|spine| object(spine, "properties"))
            .and_then(|fields| object(fields, name));
        if spine.is_some() && beside.is_none() {
            errors.push(FieldError::required(
                &below,
                &format!("because it is defined in {at}"),
            ));
        }
        nested(sub, beside, &at, &below, depth + 1, errors);
    }
    if let Some(sub) = object(schema, "items") {
        let at = child(path, "items");
        let below = child(spine_path, "items");
        let beside = spine.and_then(|spine| object(spine, "items"));
        if spine.is_some() && beside.is_none() {
            errors.push(FieldError::required(
                &below,
                &format!("because it is defined in {at}"),
            ));
        }
        nested(sub, beside, &at, &below, depth + 1, errors);
    }
    junctors(schema, spine, path, spine_path, depth, errors);
}
