//! The rules for Events, in the stored form.

use serde_json::{Value, json};

use crate::{
    field::FieldError,
    object_meta::{self, Fields, qualified_name},
};

/// How many bytes a note may have.
const NOTE: usize = 1024;
/// How many bytes the other texts may have.
const TEXT: usize = 128;

fn text<'a>(object: &'a Fields, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn is_set(object: &Fields, key: &str) -> bool {
    object.get(key).is_some_and(|value| !value.is_null())
}

/// What holds for every Event. `reporter` is what the API calls the field of the reporting controller.
pub(super) fn event(object: &Fields, reporter: &str, errors: &mut Vec<FieldError>) {
    let about = object
        .get("involvedObject")
        .and_then(|about| about.get("namespace")?.as_str())
        .unwrap_or_default();
    let namespace = object_meta::text(object, "namespace");
    let is_new = is_set(object, "eventTime");
    // Events about what has no namespace are kept in `default` or, if they have a time of their own, in `kube-system`.
    let fits = match (about, is_new) {
        ("", true) => matches!(namespace, "default" | "kube-system"),
        ("", false) => namespace == "default",
        (_, true) => true,
        (about, false) => about == namespace,
    };
    if !fits {
        let why = "does not match event.namespace";
        errors.push(FieldError::invalid(
            "involvedObject.namespace",
            &about.into(),
            why,
        ));
    }
    if is_new {
        texts(object, reporter, errors);
    }
}

/// The texts of an Event with a time of its own.
fn texts(object: &Fields, reporter: &str, errors: &mut Vec<FieldError>) {
    let given = text(object, "reportingComponent");
    if given.is_empty() {
        errors.push(FieldError::required(reporter, ""));
    }
    for why in qualified_name(given) {
        errors.push(FieldError::invalid(reporter, &given.into(), &why));
    }
    for (key, needed, most) in [
        ("reportingInstance", true, TEXT),
        ("action", true, TEXT),
        ("reason", true, TEXT),
        ("message", false, NOTE),
    ] {
        if needed && text(object, key).is_empty() {
            errors.push(FieldError::required(key, ""));
        }
        if text(object, key).len() > most {
            let why = format!("can have at most {most} characters");
            errors.push(FieldError::invalid(key, &"".into(), &why));
        }
    }
}

fn series(object: &Fields, errors: &mut Vec<FieldError>) {
    let Some(series) = object.get("series").filter(|series| !series.is_null()) else {
        return;
    };
    if series.get("count").and_then(Value::as_i64).unwrap_or_default() < 2 {
        errors.push(FieldError::invalid(
            "series.count",
            &"".into(),
            "should be at least 2",
        ));
    }
    if series.get("lastObservedTime").is_none_or(Value::is_null) {
        errors.push(FieldError::required("series.lastObservedTime", ""));
    }
}

/// What events.k8s.io does not let change in an Event: all but its series.
pub(super) fn same_event(object: &Fields, old: &Fields, errors: &mut Vec<FieldError>) {
    if object.get("series") != old.get("series") {
        series(object, errors);
    }
    for (stored, field) in [
        ("involvedObject", "involvedObject"),
        ("reason", "reason"),
        ("message", "message"),
        ("source", "source"),
        ("firstTimestamp", "firstTimestamp"),
        ("lastTimestamp", "lastTimestamp"),
        ("count", "count"),
        ("type", "type"),
        ("eventTime", "eventTime"),
        ("action", "action"),
        ("related", "related"),
        ("reportingComponent", "reportingController"),
        ("reportingInstance", "reportingInstance"),
    ] {
        if object.get(stored) != old.get(stored) {
            let value = object.get(stored).cloned().unwrap_or_default();
            errors.push(FieldError::invalid(field, &value, "field is immutable"));
        }
    }
}

/// What events.k8s.io asks of a new Event beside that.
pub(super) fn new_event(object: &Fields, errors: &mut Vec<FieldError>) {
    series(object, errors);
    if !is_set(object, "eventTime") {
        errors.push(FieldError::required("eventTime", ""));
    }
    let kind = text(object, "type");
    let mut refuse = |field: &str, why: &str| errors.push(FieldError::invalid(field, &"".into(), why));
    if !matches!(kind, "Normal" | "Warning") {
        refuse("type", &format!("has invalid value: {kind}"));
    }
    for field in ["firstTimestamp", "lastTimestamp", "count", "source"] {
        let value = object.get(field).unwrap_or(&Value::Null);
        if !value.is_null() && *value != json!({}) && *value != 0 {
            refuse(field, "needs to be unset");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(change: &[(&str, Value)], is_core: bool) -> Vec<String> {
        let mut object = json!({"metadata": {"namespace": "a"}, "involvedObject": {"namespace": "a"},
            "eventTime": "2024-01-01T00:00:00.000001Z", "reportingComponent": "c", "reportingInstance": "i", "action": "a",
            "reason": "r", "type": "Normal", "source": {}});
        for (key, value) in change {
            object[*key] = value.clone();
        }
        let (object, mut errors) = (object.as_object().unwrap(), Vec::new());
        if is_core {
            event(object, "reportingComponent", &mut errors);
        } else {
            event(object, "reportingController", &mut errors);
            new_event(object, &mut errors);
        }
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn events_have_upstreams_rules() {
        let other = ("involvedObject", json!({"namespace": "b"}));
        let own = ("eventTime", Value::Null);
        assert_eq!(wrong(&[], false), [""; 0]);
        assert_eq!(
            wrong(std::slice::from_ref(&other), true),
            [""; 0],
            "with a time of its own it may be about any namespace"
        );
        assert_eq!(wrong(&[other, own.clone()], true).len(), 1);
        assert_eq!(
            wrong(&[own], false),
            ["eventTime: Required value"],
            "what a new Event needs is not asked of an old one"
        );
        assert_eq!(
            wrong(&[("type", "Odd".into()), ("count", 1.into())], false),
            [
                "type: Invalid value: \"\": has invalid value: Odd",
                "count: Invalid value: \"\": needs to be unset"
            ]
        );
        assert_eq!(
            wrong(&[("series", json!({"count": 1}))], false),
            [
                "series.count: Invalid value: \"\": should be at least 2",
                "series.lastObservedTime: Required value"
            ]
        );
        let long = "x".repeat(NOTE + 1);
        assert_eq!(
            wrong(&[("message", long.into()), ("action", "".into())], true),
            [
                "action: Required value",
                "message: Invalid value: \"\": can have at most 1024 characters"
            ]
        );
    }
}
