//! The rules for roles and bindings.

use serde_json::{Value, json};

use super::builtin::Builtin;
use crate::{
    field::FieldError,
    object_meta::{Fields, label_value, qualified_name},
};

const RBAC: &str = "rbac.authorization.k8s.io";

pub(super) fn rules(object: &Fields, builtin: Builtin, errors: &mut Vec<FieldError>) {
    let list = object.get("rules").and_then(Value::as_array);
    for (index, rule) in list.into_iter().flatten().enumerate() {
        let empty = |key: &str| rule.get(key).and_then(Value::as_array).is_none_or(Vec::is_empty);
        let path = format!("rules[{index}]");
        if empty("verbs") {
            errors.push(FieldError::required(
                &format!("{path}.verbs"),
                "verbs must contain at least one value",
            ));
        }
        if !empty("nonResourceURLs") {
            if builtin == Builtin::Role {
                let why = "namespaced rules cannot apply to non-resource URLs";
                let value = rule.get("nonResourceURLs").cloned().unwrap_or_default();
                errors.push(FieldError::invalid(
                    &format!("{path}.nonResourceURLs"),
                    &value,
                    why,
                ));
            }
            if !["apiGroups", "resources", "resourceNames"].into_iter().all(empty) {
                let why = "rules cannot apply to both regular resources and non-resource URLs";
                let value = rule.get("nonResourceURLs").cloned().unwrap_or_default();
                errors.push(FieldError::invalid(
                    &format!("{path}.nonResourceURLs"),
                    &value,
                    why,
                ));
            }
            continue;
        }
        if empty("apiGroups") {
            let why = "resource rules must supply at least one api group";
            errors.push(FieldError::required(&format!("{path}.apiGroups"), why));
        }
        if empty("resources") {
            let why = "resource rules must supply at least one resource";
            errors.push(FieldError::required(&format!("{path}.resources"), why));
        }
    }
}

/// The selectors of an aggregated role.
pub(super) fn aggregation(object: &Fields, errors: &mut Vec<FieldError>) {
    const FIELD: &str = "aggregationRule.clusterRoleSelectors";
    let Some(rule) = object.get("aggregationRule").filter(|rule| !rule.is_null()) else {
        return;
    };
    let selectors = rule.get("clusterRoleSelectors").and_then(Value::as_array);
    if selectors.is_none_or(Vec::is_empty) {
        let why = "at least one clusterRoleSelector required if aggregationRule is non-nil";
        errors.push(FieldError::required(FIELD, why));
    }
    for (index, chosen) in selectors.into_iter().flatten().enumerate() {
        let (path, before) = (format!("{FIELD}[{index}]"), errors.len());
        selector(&path, chosen, errors);
        if errors.len() > before {
            errors.push(FieldError::invalid(
                &path,
                &Value::Null,
                "invalid label selector.",
            ));
        }
    }
}

fn selector(path: &str, selector: &Value, errors: &mut Vec<FieldError>) {
    let labels = selector.get("matchLabels").and_then(Value::as_object);
    for (key, value) in labels.into_iter().flatten() {
        let field = format!("{path}.matchLabels");
        for why in qualified_name(key) {
            errors.push(FieldError::invalid(&field, &key.as_str().into(), &why));
        }
        for why in label_value(value.as_str().unwrap_or_default()) {
            errors.push(FieldError::invalid(&field, value, &why));
        }
    }
    let expressions = selector.get("matchExpressions").and_then(Value::as_array);
    for (index, expression) in expressions.into_iter().flatten().enumerate() {
        let path = format!("{path}.matchExpressions[{index}]");
        let text = |key: &str| expression.get(key).and_then(Value::as_str).unwrap_or_default();
        let values = expression.get("values").and_then(Value::as_array);
        let none = values.is_none_or(Vec::is_empty);
        let field = format!("{path}.values");
        match text("operator") {
            "In" | "NotIn" if none => {
                let why = "must be specified when `operator` is 'In' or 'NotIn'";
                errors.push(FieldError::required(&field, why));
            }
            "Exists" | "DoesNotExist" if !none => {
                let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.push(FieldError::forbidden(&field, why));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => {
                let why = "not a valid selector operator";
                errors.push(FieldError::invalid(
                    &format!("{path}.operator"),
                    &other.into(),
                    why,
                ));
            }
        }
        for why in qualified_name(text("key")) {
            errors.push(FieldError::invalid(
                &format!("{path}.key"),
                &text("key").into(),
                &why,
            ));
        }
        for (index, value) in values.into_iter().flatten().enumerate() {
            for why in label_value(value.as_str().unwrap_or_default()) {
                errors.push(FieldError::invalid(&format!("{field}[{index}]"), value, &why));
            }
        }
    }
}

pub(super) fn binding(builtin: Builtin, object: &Fields, old: Option<&Fields>, errors: &mut Vec<FieldError>) {
    let role = object.get("roleRef");
    let text = |value: Option<&Value>, key: &str| {
        let found = value.and_then(|value| value.get(key)?.as_str());
        found.unwrap_or_default().to_owned()
    };
    let (group, kind) = (text(role, "apiGroup"), text(role, "kind"));
    if group != RBAC {
        errors.push(FieldError::not_supported(
            "roleRef.apiGroup",
            &group.into(),
            [RBAC],
        ));
    }
    let kinds: &[&str] = match builtin {
        Builtin::RoleBinding => &["Role", "ClusterRole"],
        _ => &["ClusterRole"],
    };
    if !kinds.contains(&kind.as_str()) {
        errors.push(FieldError::not_supported(
            "roleRef.kind",
            &kind.into(),
            kinds.iter().copied(),
        ));
    }
    if let Some(old) = old
        && old.get("roleRef") != role
    {
        // Upstream shows its own type, not the one that was sent.
        let value = json!({"APIGroup": text(role, "apiGroup"), "Kind": text(role, "kind"), "Name": text(role, "name")});
        errors.push(FieldError::invalid("roleRef", &value, "cannot change roleRef"));
    }
    if role
        .and_then(|role| role.get("name")?.as_str())
        .unwrap_or_default()
        .is_empty()
    {
        errors.push(FieldError::required("roleRef.name", ""));
    }
    let subjects = object.get("subjects").and_then(Value::as_array);
    for (index, subject) in subjects.into_iter().flatten().enumerate() {
        subject_errors(builtin, &format!("subjects[{index}]"), subject, errors);
    }
}

fn subject_errors(builtin: Builtin, path: &str, subject: &Value, errors: &mut Vec<FieldError>) {
    let text = |key: &str| subject.get(key).and_then(Value::as_str).unwrap_or_default();
    if text("name").is_empty() {
        errors.push(FieldError::required(&format!("{path}.name"), ""));
    }
    let field = format!("{path}.apiGroup");
    match text("kind") {
        "ServiceAccount" => {
            if !text("apiGroup").is_empty() {
                errors.push(FieldError::not_supported(&field, &text("apiGroup").into(), [""]));
            }
            if text("namespace").is_empty() && builtin == Builtin::ClusterRoleBinding {
                errors.push(FieldError::required(&format!("{path}.namespace"), ""));
            }
        }
        "User" | "Group" => {
            if text("apiGroup") != RBAC {
                errors.push(FieldError::not_supported(
                    &field,
                    &text("apiGroup").into(),
                    [RBAC],
                ));
            }
        }
        other => {
            let field = format!("{path}.kind");
            errors.push(FieldError::not_supported(
                &field,
                &other.into(),
                ["ServiceAccount", "User", "Group"],
            ));
        }
    }
}
