//! The particular rules of the built-in kinds: defaults, what is filled on create, what is refused.

use std::sync::LazyLock;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use regex::Regex;
use serde_json::{Value, json};

use super::{
    builtin::Builtin,
    crd,
    event_rules::{event, new_event, same_event},
    flow_rules,
    rbac_rules::{aggregation, binding, rules},
    service_rules,
};
use crate::{
    field::FieldError,
    object_meta::{self, Fields},
};

/// How many bytes the data of a Secret or ConfigMap may have together.
const DATA_BYTES: usize = 1 << 20;

const RBAC: &str = "rbac.authorization.k8s.io";

const KEY_FMT: &str = "[-._a-zA-Z0-9]+";

#[allow(
    clippy::unwrap_used,
    reason = "the pattern is a literal, and the tests use it"
)]
static KEY: LazyLock<Regex> = LazyLock::new(|| Regex::new(&format!("^{KEY_FMT}$")).unwrap());

/// The defaults of a kind.
pub fn default(builtin: Builtin, object: &mut Fields) {
    match builtin {
        Builtin::Secret => {
            if let Some(Value::Object(plain)) = object.remove("stringData")
                && !plain.is_empty()
            {
                let data = object.entry("data").or_insert_with(|| json!({}));
                if let Some(data) = data.as_object_mut() {
                    for (key, value) in plain {
                        let text = value.as_str().unwrap_or_default();
                        data.insert(key, STANDARD.encode(text).into());
                    }
                }
            }
            object.entry("type").or_insert_with(|| "Opaque".into());
        }
        Builtin::Crd => {
            let mut value = Value::Object(std::mem::take(object));
            crd::default(&mut value);
            if let Value::Object(value) = value {
                *object = value;
            }
        }
        Builtin::Service => service_rules::default(object),
        Builtin::FlowSchema => flow_rules::default_schema(object),
        Builtin::PriorityLevel => flow_rules::default_level(object),
        Builtin::Namespace => {
            if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut)
                && spec.get("finalizers") == Some(&json!([]))
            {
                spec.remove("finalizers");
            }
        }
        Builtin::RoleBinding | Builtin::ClusterRoleBinding => {
            if let Some(role) = object.get_mut("roleRef").and_then(Value::as_object_mut) {
                let given = role.entry("apiGroup").or_insert_with(|| RBAC.into());
                if given == "" {
                    *given = RBAC.into();
                }
            }
            let subjects = object.get_mut("subjects").and_then(Value::as_array_mut);
            for subject in subjects.into_iter().flatten().filter_map(Value::as_object_mut) {
                let kind = subject.get("kind").and_then(Value::as_str).unwrap_or_default();
                let group = if matches!(kind, "User" | "Group") {
                    RBAC
                } else {
                    ""
                };
                if !group.is_empty() {
                    subject.entry("apiGroup").or_insert_with(|| group.into());
                }
            }
        }
        _ => {}
    }
    // What is empty at the top was not set, as Go's types write it.
    object.retain(|key, value| match value {
        Value::Null => false,
        Value::Object(map) => {
            let kept = ["aggregationRule", "metadata", "spec", "status"];
            !map.is_empty() || kept.contains(&key.as_str())
        }
        Value::Array(list) => !list.is_empty() || key == "rules",
        _ => true,
    });
    if builtin == Builtin::Lease {
        object.entry("spec").or_insert_with(|| json!({}));
    }
    if matches!(builtin, Builtin::Role | Builtin::ClusterRole) {
        let rules = object.entry("rules").or_insert(Value::Null);
        // Protobuf, in which upstream stores them, knows no empty list.
        if rules.as_array().is_some_and(Vec::is_empty) {
            *rules = Value::Null;
        }
    }
    if matches!(builtin, Builtin::Event | Builtin::EventsEvent) {
        for (key, empty) in [
            ("eventTime", Value::Null),
            ("firstTimestamp", Value::Null),
            ("lastTimestamp", Value::Null),
            ("source", json!({})),
            ("reportingComponent", "".into()),
            ("reportingInstance", "".into()),
        ] {
            object.entry(key).or_insert(empty);
        }
    }
}

/// What the server fills in a new object.
pub fn prepare_create(builtin: Builtin, object: &mut Fields) {
    match builtin {
        Builtin::Namespace => {
            let name = object_meta::text(object, "name").to_owned();
            object.insert("status".into(), json!({"phase": "Active"}));
            let mut finalizers = spec_finalizers(object);
            if !finalizers
                .iter()
                .any(|name| name == object_meta::NAMESPACE_FINALIZER)
            {
                finalizers.push(object_meta::NAMESPACE_FINALIZER.into());
            }
            object.insert("spec".into(), json!({"finalizers": finalizers}));
            namespace_label(object, &name);
        }
        Builtin::Lease => without_features(object),
        Builtin::Service => service_rules::allocate(object),
        Builtin::FlowSchema | Builtin::PriorityLevel => {
            object.insert("status".into(), json!({}));
            object_meta::set(object, "generation", 1);
        }
        _ => {}
    }
}

/// Draws the address and the node ports that a Service lacks.
pub fn allocate(service: &mut Fields) {
    service_rules::allocate(service);
}

/// What holds a namespace beside the finalizers of its metadata.
pub fn spec_finalizers(namespace: &Fields) -> Vec<String> {
    let list = namespace.get("spec").and_then(|spec| spec.get("finalizers"));
    list.and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(ToOwned::to_owned)
        .collect()
}

/// Takes out of a Lease what belongs to a feature that is not on.
fn without_features(object: &mut Fields) {
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        spec.remove("preferredHolder");
        spec.remove("strategy");
    }
}

fn namespace_label(object: &mut Fields, name: &str) {
    let mut labels = object
        .get("metadata")
        .and_then(|metadata| metadata.get("labels")?.as_object().cloned())
        .unwrap_or_default();
    labels.insert("kubernetes.io/metadata.name".into(), name.into());
    object_meta::set(object, "labels", labels);
}

/// What an update of that kind leaves as it was.
pub fn prepare_update(builtin: Builtin, subresource: &str, new: &mut Fields, old: &Fields) {
    match builtin {
        Builtin::Lease => without_features(new),
        Builtin::Service if subresource.is_empty() => service_rules::keep_allocated(new, old),
        Builtin::Namespace => {
            if subresource != "finalize" {
                match old.get("spec") {
                    Some(spec) => new.insert("spec".into(), spec.clone()),
                    None => new.remove("spec"),
                };
            }
            if !object_meta::text(new, "name").is_empty() {
                let name = object_meta::text(new, "name").to_owned();
                namespace_label(new, &name);
            }
        }
        Builtin::Secret => {
            if let (None, Some(kind)) = (new.get("type"), old.get("type")) {
                new.insert("type".into(), kind.clone());
            }
        }
        _ => {}
    }
}

/// What is wrong with an object of that kind.
pub fn validate(builtin: Builtin, object: &Fields, old: Option<&Fields>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    match builtin {
        Builtin::Namespace => namespace(object, &mut errors),
        Builtin::Secret => secret(object, old, &mut errors),
        Builtin::Service => service_rules::validate(object, old, &mut errors),
        Builtin::ConfigMap => config_map(object, old, &mut errors),
        Builtin::Event => event(object, "reportingComponent", &mut errors),
        Builtin::EventsEvent => {
            event(object, "reportingController", &mut errors);
            match old {
                None => new_event(object, &mut errors),
                Some(old) => same_event(object, old, &mut errors),
            }
        }
        Builtin::Lease => lease(object, &mut errors),
        Builtin::FlowSchema => flow_rules::schema(object, &mut errors),
        Builtin::PriorityLevel => flow_rules::level(object, &mut errors),
        Builtin::Role => rules(object, builtin, &mut errors),
        Builtin::ClusterRole => {
            rules(object, builtin, &mut errors);
            aggregation(object, &mut errors);
        }
        Builtin::RoleBinding | Builtin::ClusterRoleBinding => binding(builtin, object, old, &mut errors),
        _ => {}
    }
    errors
}

fn namespace(object: &Fields, errors: &mut Vec<FieldError>) {
    for (index, finalizer) in spec_finalizers(object).iter().enumerate() {
        errors.extend(object_meta::plain_finalizer("spec.finalizers", index, finalizer));
    }
    let phase = object
        .get("status")
        .and_then(|status| status.get("phase"))
        .cloned()
        .unwrap_or_default();
    let going = !object_meta::text(object, "deletionTimestamp").is_empty();
    let (only, when) = if going {
        ("Terminating", "is not")
    } else {
        ("Active", "is")
    };
    if phase != only && !(going && phase == "Active") {
        let why = format!("may only be '{only}' if `deletionTimestamp` {when} empty");
        errors.push(FieldError::invalid("status.Phase", &phase, &why));
    }
}

fn keys(object: &Fields, field: &str, errors: &mut Vec<FieldError>) -> usize {
    let mut bytes = 0;
    for (key, value) in object.get(field).and_then(Value::as_object).into_iter().flatten() {
        let path = format!("{field}[{key}]");
        if !KEY.is_match(key) {
            let why = format!(
                "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or \
                 'KEY_NAME',  or 'key-name', regex used for validation is '{KEY_FMT}')"
            );
            errors.push(FieldError::invalid(&path, &key.as_str().into(), &why));
        } else if key.len() > 253 {
            errors.push(FieldError::invalid(
                &path,
                &key.as_str().into(),
                "must be no more than 253 bytes",
            ));
        } else if key == "." || key == ".." || key.starts_with("..") {
            let why = if key == "." || key == ".." {
                format!("must not be '{key}'")
            } else {
                "must not start with '..'".into()
            };
            errors.push(FieldError::invalid(&path, &key.as_str().into(), &why));
        }
        bytes += value.as_str().unwrap_or_default().len();
    }
    bytes
}

fn immutable(object: &Fields, old: Option<&Fields>, fields: &[&str], errors: &mut Vec<FieldError>) {
    let Some(old) = old.filter(|old| old.get("immutable") == Some(&Value::Bool(true))) else {
        return;
    };
    if object.get("immutable") != Some(&Value::Bool(true)) {
        errors.push(FieldError::forbidden(
            "immutable",
            "field is immutable when `immutable` is set",
        ));
    }
    for field in fields {
        if object.get(*field) != old.get(*field) {
            errors.push(FieldError::forbidden(
                field,
                "field is immutable when `immutable` is set",
            ));
        }
    }
}

fn secret(object: &Fields, old: Option<&Fields>, errors: &mut Vec<FieldError>) {
    let encoded = keys(object, "data", errors);
    if encoded / 4 * 3 > DATA_BYTES {
        errors.push(FieldError::too_long("data", DATA_BYTES as u64));
    }
    let kind = object.get("type").and_then(Value::as_str).unwrap_or_default();
    let entry = |key: &str| object.get("data").and_then(|data| data.get(key)?.as_str());
    let required = |key: &str, errors: &mut Vec<FieldError>| {
        if entry(key).is_none() {
            errors.push(FieldError::required(&format!("data[{key}]"), ""));
        }
    };
    match kind {
        "kubernetes.io/dockerconfigjson" | "kubernetes.io/dockercfg" => {
            let key = if kind.ends_with("cfg") {
                ".dockercfg"
            } else {
                ".dockerconfigjson"
            };
            required(key, errors);
            let decoded = entry(key).and_then(|text| STANDARD.decode(text).ok());
            if let Some(decoded) = decoded
                && let Err(error) = serde_json::from_slice::<serde_json::Map<String, Value>>(&decoded)
            {
                // The content is secret: the message says where, never what.
                let field = format!("data[{key}]");
                let why = format!(
                    "is not a JSON object (line {}, column {})",
                    error.line(),
                    error.column()
                );
                errors.push(FieldError::invalid(
                    &field,
                    &"<secret contents redacted>".into(),
                    &why,
                ));
            }
        }
        "kubernetes.io/tls" => {
            required("tls.crt", errors);
            required("tls.key", errors);
        }
        "kubernetes.io/ssh-auth" if entry("ssh-privatekey").unwrap_or_default().is_empty() => {
            errors.push(FieldError::required("data[ssh-privatekey]", ""));
        }
        "kubernetes.io/basic-auth" if entry("username").is_none() && entry("password").is_none() => {
            errors.push(FieldError::required("data[username]", ""));
            errors.push(FieldError::required("data[password]", ""));
        }
        "kubernetes.io/service-account-token" => {
            let key = "kubernetes.io/service-account.name";
            let annotation = object
                .get("metadata")
                .and_then(|metadata| metadata.get("annotations")?.get(key));
            if annotation.and_then(Value::as_str).unwrap_or_default().is_empty() {
                errors.push(FieldError::required(&format!("metadata.annotations[{key}]"), ""));
            }
        }
        _ => {}
    }
    if let Some(before) = old.and_then(|old| old.get("type"))
        && before != kind
    {
        errors.push(FieldError::invalid("type", &kind.into(), "field is immutable"));
    }
    immutable(object, old, &["data"], errors);
}

fn config_map(object: &Fields, old: Option<&Fields>, errors: &mut Vec<FieldError>) {
    let bytes = keys(object, "data", errors) + keys(object, "binaryData", errors) / 4 * 3;
    if bytes > DATA_BYTES {
        // The data and the binary data together are no field.
        errors.push(FieldError::too_long("[]", DATA_BYTES as u64));
    }
    let binary = object.get("binaryData").and_then(Value::as_object);
    for (key, _) in object
        .get("data")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        if binary.is_some_and(|binary| binary.contains_key(key)) {
            let why = "duplicate of key present in binaryData";
            errors.push(FieldError::invalid(
                &format!("data[{key}]"),
                &key.as_str().into(),
                why,
            ));
        }
    }
    immutable(object, old, &["data", "binaryData"], errors);
}

fn lease(object: &Fields, errors: &mut Vec<FieldError>) {
    for field in ["leaseDurationSeconds", "leaseTransitions"] {
        let Some(value) = object.get("spec").and_then(|spec| spec.get(field)) else {
            continue;
        };
        let least = i64::from(field == "leaseDurationSeconds");
        if value.as_i64().is_some_and(|number| number < least) {
            let why = if least == 1 {
                "must be greater than 0"
            } else {
                "must be greater than or equal to 0"
            };
            errors.push(FieldError::invalid(&format!("spec.{field}"), value, why));
        }
    }
}
