//! What holds for every node of every schema.

use davit::api::crds;
use serde_json::{Map, Value, json};

use super::schemas;

/// Calls `look` with every schema beneath `schema` and its path.
fn walk(schema: &Value, path: &str, look: &mut dyn FnMut(&str, &Map<String, Value>)) {
    let node = schema
        .as_object()
        .unwrap_or_else(|| panic!("{path} is no schema: {schema}"));
    look(path, node);
    for (name, property) in node
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        walk(property, &format!("{path}.{name}"), look);
    }
    for (key, suffix) in [("items", "[]"), ("additionalProperties", "{}")] {
        if let Some(inner) = node.get(key) {
            walk(inner, &format!("{path}{suffix}"), look);
        }
    }
}

/// Everything that is wrong with any node of any kind, as one list.
fn complaints(judge: impl Fn(&str, &Map<String, Value>) -> Option<String>) -> Vec<String> {
    let mut all = Vec::new();
    for (kind, schema) in schemas() {
        walk(schema, kind, &mut |path, node| {
            all.extend(judge(path, node).map(|wrong| format!("{path}: {wrong}")));
        });
    }
    all
}

fn is_true(node: &Map<String, Value>, key: &str) -> bool {
    node.get(key) == Some(&Value::Bool(true))
}

#[test]
fn schema_node_is_structural() {
    let wrong = complaints(|_, node| {
        let typed = node.contains_key("type")
            || is_true(node, "x-kubernetes-int-or-string")
            || is_true(node, "x-kubernetes-preserve-unknown-fields");
        if !typed {
            return Some("has no type".to_owned());
        }
        let forbidden = [
            "$ref",
            "definitions",
            "dependencies",
            "id",
            "patternProperties",
            "uniqueItems",
            "additionalItems",
            "oneOf",
            "allOf",
            "not",
        ];
        if let Some(key) = forbidden.iter().find(|key| node.contains_key(**key)) {
            return Some(format!("uses {key}"));
        }
        let both = node.contains_key("properties") && node.contains_key("additionalProperties");
        both.then(|| "has properties and additionalProperties".to_owned())
    });
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn schema_node_has_only_keywords_of_kubernetes() {
    let wrong = complaints(|path, node| {
        let format = node.get("format").and_then(Value::as_str);
        if format.is_some_and(|format| !matches!(format, "int32" | "int64" | "date-time")) {
            return Some(format!("has format {format:?}"));
        }
        // Without it, an explicit null counts as not set, in rules too.
        if node.contains_key("nullable") {
            return Some("is nullable".to_owned());
        }
        let list = node.get("type") == Some(&json!("array")) && path.contains(".spec.");
        if list && !node.contains_key("maxItems") {
            return Some("is a list without a limit, which makes rules too dear".to_owned());
        }
        None
    });
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn field_has_a_description() {
    let wrong = complaints(|path, node| {
        let inner = path.ends_with("[]") || path.ends_with("{}");
        let described = node
            .get("description")
            .and_then(Value::as_str)
            .is_some_and(|text| text.trim().len() > 3);
        (!inner && !described).then(|| "has no description".to_owned())
    });
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn list_key_is_required_or_has_a_default() {
    let wrong = complaints(|_, node| {
        let keys = node.get("x-kubernetes-list-map-keys")?.as_array()?;
        let items = node.get("items")?;
        let loose = keys.iter().find(|key| {
            let required = items["required"]
                .as_array()
                .is_some_and(|required| required.contains(key));
            let property = &items["properties"][key.as_str().unwrap_or_default()];
            !required && property.get("default").is_none()
        })?;
        Some(format!("its key {loose} may be missing"))
    });
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn kind_is_served_with_the_names_of_the_contract() {
    let found: Vec<_> = crds()
        .into_iter()
        .map(|crd| {
            let version = &crd.spec.versions[0];
            assert_eq!((crd.spec.versions.len(), version.name.as_str()), (1, "v1alpha1"));
            assert_eq!(
                (crd.spec.group.as_str(), crd.spec.scope.as_str()),
                ("davit.dev", "Namespaced")
            );
            assert_eq!(crd.spec.names.categories, Some(vec!["davit".to_owned()]));
            assert!(
                version
                    .subresources
                    .as_ref()
                    .is_some_and(|all| all.status.is_some()),
                "a status of its own"
            );
            let columns = version.additional_printer_columns.iter().flatten();
            let columns = columns
                .filter(|column| column.priority.unwrap_or(0) == 0)
                .map(|column| column.name.as_str());
            (
                crd.spec.names.kind,
                crd.spec.names.short_names.unwrap().join(","),
                columns.collect::<Vec<_>>().join(" "),
            )
        })
        .collect();
    let wanted = [
        (
            "Application",
            "dapp",
            "Status Ready Source Revision Release URL Age",
        ),
        ("Release", "rel", "App Type Revision Phase Reason Duration Age"),
        (
            "GitProvider",
            "gitprov",
            "Type URL Account Repositories Ready Age",
        ),
    ];
    assert_eq!(
        found,
        wanted.map(|(kind, short, columns)| (kind.to_owned(), short.to_owned(), columns.to_owned()))
    );
}

#[test]
fn unobserved_object_has_observed_generation_minus_one() {
    for (kind, schema) in schemas() {
        assert_eq!(
            schema["properties"]["status"]["default"],
            json!({"observedGeneration": -1}),
            "{kind}"
        );
        assert_eq!(
            schema["properties"]["status"]["properties"]["observedGeneration"]["default"],
            json!(-1),
            "{kind}"
        );
    }
}

#[test]
fn printer_column_shows_an_existing_field() {
    for crd in crds() {
        let version = &crd.spec.versions[0];
        let schema =
            serde_json::to_value(version.schema.as_ref().unwrap().open_api_v3_schema.as_ref()).unwrap();
        for column in version.additional_printer_columns.iter().flatten() {
            if column.json_path.starts_with(".metadata.") {
                continue;
            }
            let mut node = &schema;
            for part in column
                .json_path
                .trim_start_matches('.')
                .replace("[?(@.type==\"Ready\")]", "[]")
                .replace("[?(@.type==\"Succeeded\")]", "[]")
                .split('.')
            {
                let name = part.split('[').next().unwrap_or_default();
                node = &node["properties"][name];
                if part.contains('[') {
                    node = &node["items"];
                }
            }
            let typed = if column.type_ == "date" {
                "string"
            } else {
                column.type_.as_str()
            };
            assert_eq!(
                node["type"],
                json!(typed),
                "{} {}",
                crd.spec.names.kind,
                column.json_path
            );
        }
    }
}
