//! Flow schemas.

use serde_json::{Value, json};

use super::values::{conditions, default_status, fill, items, map, text};
use crate::{
    field::FieldError,
    flow_schemas::suggested::{self, EXEMPT},
    object_meta::{self, Fields, dns_label, dns_subdomain},
};

const VERBS: [&str; 9] = [
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "proxy",
    "update",
    "watch",
];
const MOST_PRECEDENCE: i64 = 10_000;

/// The defaults of a flow schema.
pub(in crate::registry) fn default_schema(object: &mut Fields) {
    default_status(object);
    let Some(spec) = map(object, "spec") else { return };
    fill(spec, "matchingPrecedence", 1000, true);
    if spec.get("rules") == Some(&json!([])) {
        spec.remove("rules");
    }
    let rules = spec.get_mut("rules").and_then(Value::as_array_mut);
    for rule in rules.into_iter().flatten().filter_map(Value::as_object_mut) {
        for key in ["resourceRules", "nonResourceRules"] {
            if rule.get(key) == Some(&json!([])) {
                rule.remove(key);
            }
        }
        let resources = rule.get_mut("resourceRules").and_then(Value::as_array_mut);
        for rule in resources.into_iter().flatten().filter_map(Value::as_object_mut) {
            if rule.get("clusterScope") == Some(&Value::Bool(false)) {
                rule.remove("clusterScope");
            }
            // Go writes this list even if it is not set; protobuf, in which upstream stores it, knows no empty one.
            let namespaces = rule.entry("namespaces").or_insert(Value::Null);
            if namespaces.as_array().is_some_and(Vec::is_empty) {
                *namespaces = Value::Null;
            }
        }
    }
}

/// What is wrong with a flow schema.
pub(in crate::registry) fn schema(object: &Fields, errors: &mut Vec<FieldError>) {
    let name = object_meta::text(object, "name");
    let none = json!({});
    let spec = object.get("spec").unwrap_or(&none);
    let precedence = spec.get("matchingPrecedence").cloned().unwrap_or_default();
    let number = precedence.as_i64().unwrap_or_default();
    let why = match number {
        ..=0 => Some("must be a positive value".to_owned()),
        1 if name != EXEMPT => {
            Some("only the schema named 'exempt' may have matchingPrecedence 1".to_owned())
        }
        _ if number > MOST_PRECEDENCE => Some(format!("must not be greater than {MOST_PRECEDENCE}")),
        _ => None,
    };
    errors.extend(why.map(|why| FieldError::invalid("spec.matchingPrecedence", &precedence, &why)));
    if let Some(method) = spec.get("distinguisherMethod") {
        let kind = text(method, "type");
        if !matches!(kind, "ByNamespace" | "ByUser") {
            let field = "spec.distinguisherMethod.type";
            // Upstream shows its own type.
            errors.push(FieldError::not_supported(
                field,
                &json!({"Type": kind}),
                ["ByNamespace", "ByUser"],
            ));
        }
    }
    let level = spec
        .get("priorityLevelConfiguration")
        .map_or("", |level| text(level, "name"));
    let field = "spec.priorityLevelConfiguration.name";
    if level.is_empty() {
        errors.push(FieldError::required(field, "must reference a priority level"));
    } else {
        let wrong = dns_subdomain(level);
        errors.extend(
            wrong
                .iter()
                .map(|why| FieldError::invalid(field, &level.into(), why)),
        );
    }
    for (index, rule) in items(spec, "rules").enumerate() {
        rules(&format!("spec.rules[{index}]"), rule, errors);
    }
    let fixed = suggested::schemas().into_iter().find(|(known, _)| *known == name);
    if let Some((_, fixed)) = fixed
        && suggested::is_mandatory(name)
        && *spec != fixed
    {
        let why = format!("spec of '{name}' must equal the fixed value");
        errors.push(FieldError::invalid("spec", spec, &why));
    }
    conditions(object, errors);
}

fn rules(path: &str, rule: &Value, errors: &mut Vec<FieldError>) {
    if items(rule, "subjects").next().is_none() {
        let why = "subjects must contain at least one value";
        errors.push(FieldError::required(&format!("{path}.subjects"), why));
    }
    for (index, subject) in items(rule, "subjects").enumerate() {
        subject_errors(&format!("{path}.subjects[{index}]"), subject, errors);
    }
    let has = |key: &str| items(rule, key).next().is_some();
    if !has("resourceRules") && !has("nonResourceRules") {
        let why = "at least one of resourceRules and nonResourceRules has to be non-empty";
        errors.push(FieldError::required(path, why));
    }
    for (index, rule) in items(rule, "resourceRules").enumerate() {
        resource_rule(&format!("{path}.resourceRules[{index}]"), rule, errors);
    }
    for (index, rule) in items(rule, "nonResourceRules").enumerate() {
        path_rule(&format!("{path}.nonResourceRules[{index}]"), rule, errors);
    }
}

fn subject_errors(path: &str, subject: &Value, errors: &mut Vec<FieldError>) {
    const KINDS: [(&str, &str); 3] = [
        ("ServiceAccount", "serviceAccount"),
        ("User", "user"),
        ("Group", "group"),
    ];
    let kind = text(subject, "kind");
    let Some((_, own)) = KINDS.iter().find(|(known, _)| *known == kind) else {
        errors.push(FieldError::not_supported(
            &format!("{path}.kind"),
            &kind.into(),
            ["Group", "ServiceAccount", "User"],
        ));
        return;
    };
    let field = format!("{path}.{own}");
    match subject.get(*own).filter(|named| !named.is_null()) {
        None => {
            let why = format!("{own} is required when subject kind is '{kind}'");
            errors.push(FieldError::required(&field, &why));
        }
        Some(named) => {
            let name = text(named, "name");
            if name.is_empty() {
                errors.push(FieldError::required(&format!("{field}.name"), ""));
            }
            if kind == "ServiceAccount" {
                account(&field, name, text(named, "namespace"), errors);
            }
        }
    }
    for (other_kind, other) in KINDS {
        if other != *own && subject.get(other).is_some_and(|named| !named.is_null()) {
            let why = format!("{other} is forbidden when subject kind is not '{other_kind}'");
            errors.push(FieldError::forbidden(&format!("{path}.{other}"), &why));
        }
    }
}

fn account(field: &str, name: &str, namespace: &str, errors: &mut Vec<FieldError>) {
    if !name.is_empty() && name != "*" {
        let field = format!("{field}.name");
        let wrong = dns_subdomain(name);
        errors.extend(
            wrong
                .iter()
                .map(|why| FieldError::invalid(&field, &name.into(), why)),
        );
    }
    let field = format!("{field}.namespace");
    if namespace.is_empty() {
        errors.push(FieldError::required(
            &field,
            "must specify namespace for service account",
        ));
    } else {
        let wrong = dns_label(namespace);
        errors.extend(
            wrong
                .iter()
                .map(|why| FieldError::invalid(&field, &namespace.into(), why)),
        );
    }
}

/// The texts of a list, and the list as messages show it.
fn list<'a>(rule: &'a Value, key: &str) -> (Vec<&'a str>, Value) {
    let texts = items(rule, key).filter_map(Value::as_str).collect();
    (texts, rule.get(key).cloned().unwrap_or_default())
}

fn verbs(path: &str, rule: &Value, errors: &mut Vec<FieldError>) {
    let field = format!("{path}.verbs");
    let (verbs, shown) = list(rule, "verbs");
    if verbs.is_empty() {
        let why = "verbs must contain at least one value";
        errors.push(FieldError::required(&field, why));
    } else if verbs.contains(&"*") {
        alone(&field, &verbs, &shown, "verbs", errors);
    } else if verbs.iter().any(|verb| !VERBS.contains(verb)) {
        errors.push(FieldError::not_supported(&field, &shown, VERBS));
    }
}

/// The wildcard is the only entry of its list.
fn alone(field: &str, texts: &[&str], shown: &Value, called: &str, errors: &mut Vec<FieldError>) {
    if texts.len() > 1 && texts.contains(&"*") {
        let why = format!("if '*' is present, must not specify other {called}");
        errors.push(FieldError::invalid(field, shown, &why));
    }
}

fn resource_rule(path: &str, rule: &Value, errors: &mut Vec<FieldError>) {
    verbs(path, rule, errors);
    for (key, one, many) in [
        ("apiGroups", "api group", "api groups"),
        ("resources", "resource", "resources"),
    ] {
        let field = format!("{path}.{key}");
        let (texts, shown) = list(rule, key);
        if texts.is_empty() {
            let why = format!("resource rules must supply at least one {one}");
            errors.push(FieldError::required(&field, &why));
        }
        alone(&field, &texts, &shown, many, errors);
    }
    let field = format!("{path}.namespaces");
    let (namespaces, shown) = list(rule, "namespaces");
    if namespaces.is_empty() && rule.get("clusterScope") != Some(&Value::Bool(true)) {
        let why = "resource rules that are not cluster scoped must supply at least one namespace";
        errors.push(FieldError::required(&field, why));
    } else if namespaces.contains(&"*") {
        alone(&field, &namespaces, &shown, "namespaces", errors);
    } else {
        for (index, namespace) in namespaces.iter().enumerate() {
            for why in dns_label(namespace) {
                let why = format!("each member of this list must be '*' or a DNS-1123 label; {why}");
                errors.push(FieldError::invalid(
                    &format!("{field}[{index}]"),
                    &(*namespace).into(),
                    &why,
                ));
            }
        }
    }
}

fn path_rule(path: &str, rule: &Value, errors: &mut Vec<FieldError>) {
    verbs(path, rule, errors);
    let field = format!("{path}.nonResourceURLs");
    let (urls, shown) = list(rule, "nonResourceURLs");
    if urls.is_empty() {
        let why = "nonResourceURLs must contain at least one value";
        errors.push(FieldError::required(&field, why));
    } else if urls.contains(&"*") {
        alone(&field, &urls, &shown, "non-resource URLs", errors);
    } else {
        for (index, url) in urls.iter().enumerate() {
            let why = match *url {
                "" => "must not be empty",
                "/" => continue,
                url if !url.starts_with('/') => "must start with slash",
                url if url.contains(' ') => "must not contain white-space",
                url if url.contains("//") => "must not contain double slash",
                url if url.strip_suffix("/*").unwrap_or(url).contains('*') => {
                    "wildcard can only do suffix matching"
                }
                _ => continue,
            };
            errors.push(FieldError::invalid(
                &format!("{field}[{index}]"),
                &(*url).into(),
                why,
            ));
        }
    }
}
