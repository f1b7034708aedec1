//! The rules for Events.

use serde_json::Value;

use crate::{
    field::FieldError,
    object_meta::{self, Fields},
};

pub(super) fn event(object: &Fields, errors: &mut Vec<FieldError>) {
    let about = object
        .get("involvedObject")
        .and_then(|about| about.get("namespace")?.as_str())
        .unwrap_or_default();
    let namespace = object_meta::text(object, "namespace");
    // Events about what has no namespace are kept in `default` (or, of old, in `kube-system`).
    let fits = about == namespace || (about.is_empty() && matches!(namespace, "default" | "kube-system"));
    if !fits {
        let why = "does not match event.namespace";
        errors.push(FieldError::invalid(
            "involvedObject.namespace",
            &about.into(),
            why,
        ));
    }
}

/// What events.k8s.io does not let change in an Event: all but its series.
pub(super) fn same_event(object: &Fields, old: &Fields, errors: &mut Vec<FieldError>) {
    for field in [
        "involvedObject",
        "reason",
        "message",
        "source",
        "firstTimestamp",
        "lastTimestamp",
        "count",
        "reportingComponent",
        "reportingInstance",
        "type",
        "eventTime",
        "action",
        "related",
    ] {
        if object.get(field) != old.get(field) {
            let value = object.get(field).cloned().unwrap_or_default();
            errors.push(FieldError::invalid(field, &value, "field is immutable"));
        }
    }
}

/// What events.k8s.io asks of a new Event, in the stored form.
pub(super) fn new_event(object: &Fields, errors: &mut Vec<FieldError>) {
    if object.get("eventTime").is_none_or(Value::is_null) {
        errors.push(FieldError::required("eventTime", ""));
    }
    let kind = object.get("type").and_then(Value::as_str).unwrap_or_default();
    if !matches!(kind, "Normal" | "Warning") {
        let why = format!("has invalid value: {kind}");
        errors.push(FieldError::invalid("type", &kind.into(), &why));
    }
    let fields = [
        ("reportingComponent", "reportingController"),
        ("reportingInstance", "reportingInstance"),
        ("action", "action"),
        ("reason", "reason"),
    ];
    if errors.is_empty() {
        for (stored, field) in fields {
            if object
                .get(stored)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .is_empty()
            {
                errors.push(FieldError::required(field, ""));
            }
        }
    }
}
