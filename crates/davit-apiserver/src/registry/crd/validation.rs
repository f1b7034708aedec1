//! What a CRD says beside its schemas: names, printer columns, scale paths, selectable fields.

use serde_json::Value;

use crate::{
    field::{FieldError, go_json},
    object_meta::{dns_1035_label, dns_subdomain},
};

const TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const FORMATS: [&str; 8] = [
    "byte",
    "date",
    "date-time",
    "double",
    "float",
    "int32",
    "int64",
    "password",
];
/// How many selectable fields a version may have.
const SELECTABLE: usize = 8;
/// How many bytes a deprecation warning may have.
const WARNING: usize = 256;

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// What is wrong with `spec.names`, whose defaults are filled in.
pub fn names(names: &Value, errors: &mut Vec<FieldError>) {
    let mut check = |field: String, name: &str, mixed: bool| {
        let lower = if mixed {
            name.to_lowercase()
        } else {
            name.to_owned()
        };
        for why in dns_1035_label(&lower) {
            let why = if mixed {
                format!("may have mixed case, but should otherwise match: {why}")
            } else {
                why
            };
            errors.push(FieldError::invalid(&field, &name.into(), &why));
        }
    };
    for (key, mixed) in [
        ("plural", false),
        ("singular", false),
        ("kind", true),
        ("listKind", true),
    ] {
        // That one is missing is another error.
        if !text(names, key).is_empty() {
            check(format!("spec.names.{key}"), text(names, key), mixed);
        }
    }
    let (kind, list_kind) = (text(names, "kind"), text(names, "listKind"));
    let is_ambiguous = !kind.is_empty() && kind == list_kind;
    for key in ["shortNames", "categories"] {
        let list = names.get(key).and_then(Value::as_array).into_iter().flatten();
        for (index, name) in list.enumerate() {
            let field = format!("spec.names.{key}[{index}]");
            check(field, name.as_str().unwrap_or_default(), false);
        }
    }
    if is_ambiguous {
        let why = "kind and listKind may not be the same";
        errors.push(FieldError::invalid("spec.names.listKind", &list_kind.into(), why));
    }
}

/// What is wrong with a name that is also part of a path.
pub fn label(field: &str, name: &str, errors: &mut Vec<FieldError>) {
    let wrong = dns_1035_label(name);
    if !wrong.is_empty() {
        errors.push(FieldError::invalid(field, &name.into(), &wrong.join(",")));
    }
}

/// What is wrong with the group.
pub fn group(group: &str, errors: &mut Vec<FieldError>) {
    let wrong = dns_subdomain(group);
    let why = if group.is_empty() || (wrong.is_empty() && group.contains('.')) {
        return;
    } else if wrong.is_empty() {
        "should be a domain with at least one dot".to_owned()
    } else {
        wrong.join(",")
    };
    errors.push(FieldError::invalid("spec.group", &group.into(), &why));
}

/// What is wrong with the deprecation warning of a version.
pub fn deprecation(version: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let Some(warning) = version
        .get("deprecationWarning")
        .filter(|warning| !warning.is_null())
    else {
        return;
    };
    let mut refuse = |why: &str| {
        errors.push(FieldError::invalid(
            &format!("{path}.deprecationWarning"),
            warning,
            why,
        ));
    };
    if version.get("deprecated") != Some(&Value::Bool(true)) {
        refuse("can only be set for deprecated versions");
        return;
    }
    let text = warning.as_str().unwrap_or_default();
    if text.len() > WARNING {
        refuse(&format!("must be <= {WARNING} characters long"));
    }
    if text.is_empty() {
        refuse("must not be an empty string");
    }
    if let Some((index, _)) = text.char_indices().find(|(_, character)| character.is_control()) {
        refuse(&format!(
            "must only contain printable UTF-8 characters; non-printable character found at index {index}"
        ));
    }
}

/// What is wrong with the parts of each version that are no schema.
pub fn parts(versions: &[Value], errors: &mut Vec<FieldError>) {
    for key in ["subresources", "additionalPrinterColumns", "selectableFields"] {
        // What all versions have in common is in one place of upstream's internal form, and errors name that one.
        let first = versions.first().and_then(|version| version.get(key));
        let shared = versions.iter().all(|version| version.get(key) == first);
        for (index, version) in versions.iter().enumerate() {
            if shared && index > 0 {
                break;
            }
            let Some(part) = version.get(key) else { continue };
            let path = if shared {
                format!("spec.{key}")
            } else {
                format!("spec.versions[{index}].{key}")
            };
            match key {
                "subresources" => scale(part, &path, errors),
                "additionalPrinterColumns" => columns(part, &path, errors),
                _ => selectable(part, version, &path, errors),
            }
        }
    }
}

/// Versions as upstream's internal form prints them; what all versions have in common is not in them.
pub fn internal_versions(versions: &[Value]) -> String {
    let part = |version: &Value, key: &str| {
        let first = versions.first().and_then(|version| version.get(key));
        let shared = versions.iter().all(|version| version.get(key) == first);
        let own = version.get(key).filter(|_| !shared);
        go_json(own.unwrap_or(&Value::Null))
    };
    let list = versions.iter().map(|version| {
        let flag = |key: &str| version.get(key).and_then(Value::as_bool).unwrap_or_default();
        format!(
            "{{\"Name\":{},\"Served\":{},\"Storage\":{},\"Deprecated\":{},\"DeprecationWarning\":{},\"Schema\":{},\
             \"Subresources\":{},\"AdditionalPrinterColumns\":{},\"SelectableFields\":{}}}",
            go_json(&version["name"]),
            flag("served"),
            flag("storage"),
            flag("deprecated"),
            go_json(version.get("deprecationWarning").unwrap_or(&Value::Null)),
            part(version, "schema"),
            subresources(version.get("subresources").filter(|_| {
                let first = versions.first().and_then(|version| version.get("subresources"));
                versions
                    .iter()
                    .any(|version| version.get("subresources") != first)
            })),
            part(version, "additionalPrinterColumns"),
            part(version, "selectableFields"),
        )
    });
    format!("[{}]", list.collect::<Vec<_>>().join(","))
}

fn subresources(part: Option<&Value>) -> String {
    let Some(part) = part else { return "null".into() };
    let scale = part.get("scale").map(|scale| {
        let path = |key: &str| go_json(scale.get(key).unwrap_or(&Value::Null));
        format!(
            "{{\"SpecReplicasPath\":{},\"StatusReplicasPath\":{},\"LabelSelectorPath\":{}}}",
            path("specReplicasPath"),
            path("statusReplicasPath"),
            path("labelSelectorPath"),
        )
    });
    let status = part.get("status").map_or("null", |_| "{}");
    format!(
        "{{\"Status\":{status},\"Scale\":{}}}",
        scale.as_deref().unwrap_or("null")
    )
}

/// What is wrong with the versions that objects may be stored in.
pub fn stored(crd: &Value, errors: &mut Vec<FieldError>) {
    const FIELD: &str = "status.storedVersions";
    let texts = |pointer: &str| crd.pointer(pointer).and_then(Value::as_array);
    let known: Vec<&str> = texts("/status/storedVersions")
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if known.is_empty() {
        let why = "must have at least one stored version";
        errors.push(FieldError::invalid(FIELD, &Value::Null, why));
        return;
    }
    let versions = texts("/spec/versions").map_or(&[][..], Vec::as_slice);
    for version in versions {
        let name = text(version, "name");
        if version.get("storage") == Some(&Value::Bool(true)) && !known.contains(&name) {
            let why = format!("must have the storage version {name}");
            errors.push(FieldError::invalid(FIELD, &known.clone().into(), &why));
        }
    }
    for (index, stored) in known.into_iter().enumerate() {
        if !versions.iter().any(|version| text(version, "name") == stored) {
            let why = "missing from spec.versions; v1 was previously a storage version, and must remain in \
                       spec.versions until a storage migration ensures no data remains persisted in v1 and \
                       removes v1 from status.storedVersions"
                .replace("v1", stored);
            errors.push(FieldError::invalid(
                &format!("{FIELD}[{index}]"),
                &stored.into(),
                &why,
            ));
        }
    }
}

fn simple(field: &str, path: &str, errors: &mut Vec<FieldError>) -> bool {
    if path.is_empty() {
        errors.push(FieldError::required(field, ""));
    } else if !path.starts_with('.') {
        let why = "must be a simple json path starting with .";
        errors.push(FieldError::invalid(field, &path.into(), why));
    } else {
        return true;
    }
    false
}

fn scale(part: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let Some(scale) = part.get("scale").filter(|scale| !scale.is_null()) else {
        return;
    };
    for (key, root) in [("specReplicasPath", ".spec."), ("statusReplicasPath", ".status.")] {
        let (field, given) = (format!("{path}.scale.{key}"), text(scale, key));
        if simple(&field, given, errors) && !given.starts_with(root) {
            let why = format!("should be a json path under {}", root.trim_end_matches('.'));
            errors.push(FieldError::invalid(&field, &given.into(), &why));
        }
    }
    let (key, given) = ("labelSelectorPath", text(scale, "labelSelectorPath"));
    let field = format!("{path}.scale.{key}");
    if !given.is_empty()
        && simple(&field, given, errors)
        && !given.starts_with(".spec.")
        && !given.starts_with(".status.")
    {
        let why = "should be a json path under either .spec or .status";
        errors.push(FieldError::invalid(&field, &given.into(), why));
    }
}

fn columns(part: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for (index, column) in part.as_array().into_iter().flatten().enumerate() {
        let path = format!("{path}[{index}]");
        if text(column, "name").is_empty() {
            errors.push(FieldError::required(&format!("{path}.name"), ""));
        }
        let kind = text(column, "type");
        if kind.is_empty() {
            let why = format!("must be one of {}", TYPES.join(","));
            errors.push(FieldError::required(&format!("{path}.type"), &why));
        } else if !TYPES.contains(&kind) {
            let why = format!("must be one of {}", TYPES.join(","));
            errors.push(FieldError::invalid(&format!("{path}.type"), &kind.into(), &why));
        }
        let format = text(column, "format");
        if !format.is_empty() && !FORMATS.contains(&format) {
            let why = format!("must be one of {}", FORMATS.join(","));
            errors.push(FieldError::invalid(
                &format!("{path}.format"),
                &format.into(),
                &why,
            ));
        }
        simple(&format!("{path}.JSONPath"), text(column, "jsonPath"), errors);
    }
}

fn selectable(part: &Value, version: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let schema = version.pointer("/schema/openAPIV3Schema");
    let mut seen: Vec<&str> = Vec::new();
    for (index, chosen) in part.as_array().into_iter().flatten().enumerate() {
        let field = format!("{path}[{index}].jsonPath");
        let given = text(chosen, "jsonPath");
        if given.is_empty() {
            errors.push(FieldError::required(&field, ""));
            continue;
        }
        let mut refuse = |why: &str| errors.push(FieldError::invalid(&field, &given.into(), why));
        let Some(names) = given.strip_prefix('.') else {
            let begin = given.split(['.', '[']).next().unwrap_or_default();
            refuse(&format!("is an invalid path: expected [ or . but got: {begin}"));
            continue;
        };
        let found = names
            .split('.')
            .try_fold(schema, |at, name| at?.get("properties")?.get(name).map(Some))
            .flatten();
        let Some(found) = found else {
            refuse("is an invalid path: does not refer to a valid field");
            continue;
        };
        if names.split('.').next() == Some("metadata") {
            refuse("must not point to fields in metadata");
        }
        if !matches!(text(found, "type"), "string" | "boolean" | "integer") {
            refuse(
                "must point to a field of type string, boolean or integer. Enum string fields and strings with \
                 formats are allowed.",
            );
        }
        if seen.contains(&given) {
            errors.push(FieldError::duplicate(&field, &given.into()));
        } else {
            seen.push(given);
        }
    }
    if seen.len() > SELECTABLE {
        errors.push(FieldError::too_many(path, seen.len(), SELECTABLE as u64));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_wrong_is_named() {
        let mut errors = Vec::new();
        names(
            &json!({"plural": "Things", "kind": "Th ing", "shortNames": ["ok", "A_b", ""]}),
            &mut errors,
        );
        let version = json!({"subresources": {"scale": {"specReplicasPath": ".status.x"}},
            "additionalPrinterColumns": [{"name": "A", "type": "x", "format": "y", "jsonPath": ".a"}],
            "selectableFields": [{"jsonPath": ".spec.a"}, {"jsonPath": ".spec.b"}, {"jsonPath": ".spec.a"},
                {"jsonPath": "spec.a"}, {"jsonPath": ".spec"}],
            "schema": {"openAPIV3Schema": {"properties": {"spec": {"type": "object", "properties": {"a": {"type": "string"}}}}}}});
        parts(&[version], &mut errors);
        for (text, deprecated) in [("x", false), ("", true), ("a\u{7}", true), ("fine", true)] {
            let version = json!({"deprecationWarning": text, "deprecated": deprecated});
            deprecation(&version, "v", &mut errors);
        }
        for name in ["", "nodots", "a b.c", "a.b"] {
            group(name, &mut errors);
        }
        let fields: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(
            fields,
            [
                "spec.names.plural",
                "spec.names.kind",
                "spec.names.shortNames[1]",
                "spec.names.shortNames[2]",
                "spec.subresources.scale.specReplicasPath",
                "spec.subresources.scale.statusReplicasPath",
                "spec.additionalPrinterColumns[0].type",
                "spec.additionalPrinterColumns[0].format",
                "spec.selectableFields[1].jsonPath",
                "spec.selectableFields[2].jsonPath",
                "spec.selectableFields[3].jsonPath",
                "spec.selectableFields[4].jsonPath",
                "v.deprecationWarning",
                "v.deprecationWarning",
                "v.deprecationWarning",
                "spec.group",
                "spec.group",
            ]
        );
    }
}
