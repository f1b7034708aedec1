//! The rules for `metadata` on create and on update.

use serde_json::Value;

use super::{
    fields::{FOREGROUND, Fields, NAMESPACE_FINALIZER, ORPHAN, finalizers, of},
    names::{dns_label, dns_subdomain, label_value, namespace_name, path_segment, qualified_name},
};
use crate::{field::FieldError, registry::builtin::Builtin};

/// How many bytes all annotations of an object may have together.
const ANNOTATION_BYTES: usize = 256 << 10;

fn name_rules(builtin: Builtin) -> fn(&str) -> Vec<String> {
    match builtin {
        Builtin::Namespace => namespace_name,
        Builtin::Service => dns_label,
        Builtin::Role | Builtin::RoleBinding | Builtin::ClusterRole | Builtin::ClusterRoleBinding => {
            path_segment
        }
        _ => dns_subdomain,
    }
}

/// What is wrong with the metadata of any object.
pub fn validate(metadata: &Fields, builtin: Builtin) -> Vec<FieldError> {
    let mut errors = Vec::new();
    check(metadata, name_rules(builtin), &mut errors);
    if builtin != Builtin::Custom {
        for (index, finalizer) in finalizers(metadata).into_iter().enumerate() {
            errors.extend(plain_finalizer("metadata.finalizers", index, &finalizer));
        }
    }
    errors
}

/// Whether a finalizer is one of Kubernetes' own or has a path, by which others are told apart.
fn is_qualified(finalizer: &str) -> bool {
    matches!(finalizer, NAMESPACE_FINALIZER | ORPHAN | FOREGROUND) || finalizer.contains('/')
}

/// What is wrong with a finalizer of a built-in kind that has no domain.
pub fn plain_finalizer(field: &str, index: usize, finalizer: &str) -> Option<FieldError> {
    let why = "name is neither a standard finalizer name nor is it fully qualified";
    (!is_qualified(finalizer))
        .then(|| FieldError::invalid(&format!("{field}[{index}]"), &finalizer.into(), why))
}

/// Warnings about new finalizers of a custom resource that have no domain.
pub fn finalizer_warnings(new: &Fields, old: Option<&Fields>) -> Vec<String> {
    let before = old.map(|old| finalizers(of(old))).unwrap_or_default();
    let mut added = finalizers(of(new));
    added.retain(|name| !before.contains(name));
    added.sort();
    added.dedup();
    added
        .into_iter()
        .filter(|name| !is_qualified(name))
        .map(|name| {
            let path = if name.contains('.') { " including a path (/)" } else { "" };
            format!(
                "metadata.finalizers: \"{name}\": prefer a domain-qualified finalizer name{path} to avoid accidental \
                 conflicts with other finalizer writers"
            )
        })
        .collect()
}

/// What is wrong with the metadata of a resource inside of another, which need not have a name.
pub fn validate_embedded(metadata: &Fields) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut metadata = metadata.clone();
    metadata.entry("name").or_insert_with(|| "fakename".into());
    check(&metadata, path_segment, &mut errors);
    let owners = metadata.get("managedFields").and_then(Value::as_array);
    for (at, owner) in owners.into_iter().flatten().enumerate() {
        let operation = owner.get("operation").and_then(Value::as_str).unwrap_or_default();
        if !matches!(operation, "Apply" | "Update") {
            let field = format!("metadata.managedFields[{at}].operation");
            let why = "must be `Apply` or `Update`";
            errors.push(FieldError::invalid(&field, &operation.into(), why));
        }
    }
    let namespace = metadata.get("namespace").and_then(Value::as_str);
    for why in namespace.into_iter().flat_map(namespace_name) {
        let value = namespace.unwrap_or_default().into();
        errors.push(FieldError::invalid("metadata.namespace", &value, &why));
    }
    errors
}

fn check(metadata: &Fields, rules: fn(&str) -> Vec<String>, errors: &mut Vec<FieldError>) {
    let string = |key: &str| metadata.get(key).and_then(Value::as_str).unwrap_or_default();
    let generate = string("generateName");
    if !generate.is_empty() {
        // The random end makes a trailing dash or dot a good one.
        for why in rules(&format!("{}a", generate.trim_end_matches('-'))) {
            errors.push(FieldError::invalid(
                "metadata.generateName",
                &generate.into(),
                &why,
            ));
        }
    }
    let name = string("name");
    if name.is_empty() {
        errors.push(FieldError::required(
            "metadata.name",
            "name or generateName is required",
        ));
    } else {
        for why in rules(name) {
            errors.push(FieldError::invalid("metadata.name", &name.into(), &why));
        }
    }
    for (key, value) in metadata
        .get("labels")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        for why in qualified_name(key) {
            errors.push(FieldError::invalid("metadata.labels", &key.as_str().into(), &why));
        }
        let text = value.as_str().unwrap_or_default();
        for why in label_value(text) {
            errors.push(FieldError::invalid("metadata.labels", value, &why));
        }
    }
    let mut bytes = 0;
    for (key, value) in metadata
        .get("annotations")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        for why in qualified_name(&key.to_lowercase()) {
            errors.push(FieldError::invalid(
                "metadata.annotations",
                &key.as_str().into(),
                &why,
            ));
        }
        bytes += key.len() + value.as_str().unwrap_or_default().len();
    }
    if bytes > ANNOTATION_BYTES {
        errors.push(FieldError::too_long(
            "metadata.annotations",
            ANNOTATION_BYTES as u64,
        ));
    }
    owner_references(metadata, errors);
    let all = finalizers(metadata);
    if [ORPHAN, FOREGROUND]
        .iter()
        .all(|policy| all.iter().any(|name| name == policy))
    {
        let why = "finalizer orphan and foregroundDeletion cannot be both set";
        errors.push(FieldError::invalid(
            "metadata.finalizers",
            &all.clone().into(),
            why,
        ));
    }
    for finalizer in all {
        for why in qualified_name(&finalizer) {
            let value = finalizer.as_str().into();
            errors.push(FieldError::invalid("metadata.finalizers", &value, &why));
        }
    }
}

fn owner_references(metadata: &Fields, errors: &mut Vec<FieldError>) {
    let owners = metadata.get("ownerReferences").and_then(Value::as_array);
    let mut controller: Option<String> = None;
    for owner in owners.into_iter().flatten() {
        let string = |key: &str| owner.get(key).and_then(Value::as_str).unwrap_or_default();
        for (key, why) in [
            ("apiVersion", "version must not be empty"),
            ("kind", "must not be empty"),
            ("name", "must not be empty"),
            ("uid", "must not be empty"),
        ] {
            if string(key).is_empty() {
                let field = format!("metadata.ownerReferences.{key}");
                errors.push(FieldError::invalid(&field, &"".into(), why));
            }
        }
        if (string("apiVersion"), string("kind")) == ("v1", "Event") {
            let why = "/v1, Kind=Event is disallowed from being an owner";
            errors.push(FieldError::invalid("metadata.ownerReferences", owner, why));
        }
        if owner.get("controller") == Some(&Value::Bool(true)) {
            let named = format!("{}/{}", string("kind"), string("name"));
            if let Some(first) = controller {
                let why = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {named}"
                );
                let all = metadata.get("ownerReferences").cloned().unwrap_or_default();
                errors.push(FieldError::invalid("metadata.ownerReferences", &all, &why));
            }
            controller = Some(named);
        }
    }
}

/// What an update may not change.
pub fn validate_update(new: &mut Fields, old: &Fields) -> Vec<FieldError> {
    let mut errors = Vec::new();
    // Upstream passes over what a client says about it.
    if let Some(created) = old.get("creationTimestamp") {
        new.insert("creationTimestamp".into(), created.clone());
    }
    for key in ["uid", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        let empty = new.get(key).is_none_or(|value| value.is_null() || value == "");
        match old.get(key) {
            // Left out means unchanged, so that a client may send only what it knows.
            Some(value) if empty => {
                new.insert(key.into(), value.clone());
            }
            kept => {
                if new.get(key).filter(|value| !value.is_null()) != kept {
                    let value = new.get(key).cloned().unwrap_or_default();
                    errors.push(FieldError::invalid(
                        &format!("metadata.{key}"),
                        &value,
                        "field is immutable",
                    ));
                }
            }
        }
    }
    for key in ["name", "namespace"] {
        if new.get(key) != old.get(key) {
            let value = new.get(key).cloned().unwrap_or_default();
            errors.push(FieldError::invalid(
                &format!("metadata.{key}"),
                &value,
                "field is immutable",
            ));
        }
    }
    if old.contains_key("deletionTimestamp") {
        let before = finalizers(old);
        let added: Vec<String> = finalizers(new)
            .into_iter()
            .filter(|name| !before.contains(name))
            .collect();
        if !added.is_empty() {
            let quoted: Vec<String> = added.iter().map(|name| format!("\"{name}\"")).collect();
            let why = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                quoted.join(", ")
            );
            errors.push(FieldError::forbidden("metadata.finalizers", &why));
        }
    }
    // Upstream looks twice, and its causes say everything twice.
    let again = errors.clone();
    errors.extend(again);
    errors
}
