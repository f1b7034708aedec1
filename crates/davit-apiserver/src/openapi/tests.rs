//! What clients look for in the documents.

use serde_json::{Value, json};

use super::{Described, v2_document, v2_protobuf, v3_document, v3_index};

const ALL: &[&str] = &[
    "create",
    "get",
    "list",
    "watch",
    "update",
    "patch",
    "delete",
    "deletecollection",
];

fn custom_schema() -> Value {
    json!({"type": "object", "description": "A thing.", "properties": {"spec": {"type": "object", "description": "What is wanted.", "properties": {
        "port": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]},
        "maybe": {"type": "string", "nullable": true},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        "list": {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "integer", "default": 3}}}}},
        "x-kubernetes-validations": [{"rule": "true"}]}}})
}

fn described(schema: &Value) -> Vec<Described<'_>> {
    let builtin = |group, kind, plural, namespaced, subresources| Described {
        group,
        version: "v1",
        kind,
        plural,
        namespaced,
        verbs: ALL,
        subresources,
        schema: None,
        custom: false,
    };
    vec![
        builtin("", "ConfigMap", "configmaps", true, &[]),
        builtin("", "ServiceAccount", "serviceaccounts", true, &[]),
        builtin("", "Namespace", "namespaces", false, &["status"]),
        builtin("", "Service", "services", true, &["status"]),
        builtin(
            "apiextensions.k8s.io",
            "CustomResourceDefinition",
            "customresourcedefinitions",
            false,
            &["status"],
        ),
        Described {
            group: "example.com",
            version: "v1alpha1",
            kind: "Thing",
            plural: "things",
            namespaced: true,
            verbs: ALL,
            subresources: &["status", "scale"],
            schema: Some(schema),
            custom: true,
        },
    ]
}

/// Every reference of a document leads to a definition.
fn check_references(value: &Value, definitions: &Value, prefix: &str) {
    match value {
        Value::Object(map) => {
            if let Some(to) = map.get("$ref").and_then(Value::as_str) {
                let name = to.strip_prefix(prefix).unwrap_or_else(|| panic!("{to}"));
                assert!(definitions.get(name).is_some(), "{to}");
            }
            map.values()
                .for_each(|value| check_references(value, definitions, prefix));
        }
        Value::Array(list) => list
            .iter()
            .for_each(|value| check_references(value, definitions, prefix)),
        _ => {}
    }
}

#[test]
fn v3_has_what_explain_and_apply_look_for() {
    let schema = custom_schema();
    let all = described(&schema);
    let document = v3_document("example.com", "v1alpha1", &all);
    let definitions = &document["components"]["schemas"];
    check_references(&document, definitions, "#/components/schemas/");
    let thing = &definitions["com.example.v1alpha1.Thing"];
    assert_eq!(
        thing["x-kubernetes-group-version-kind"],
        json!([{"group": "example.com", "kind": "Thing", "version": "v1alpha1"}])
    );
    assert_eq!(
        thing["properties"]["metadata"]["allOf"][0]["$ref"],
        "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
    );
    assert_eq!(thing["properties"]["spec"]["description"], "What is wanted.");
    assert!(thing["properties"]["spec"]["x-kubernetes-validations"].is_array());
    let path = &document["paths"]["/apis/example.com/v1alpha1/namespaces/{namespace}/things/{name}"];
    assert_eq!(path["patch"]["x-kubernetes-group-version-kind"]["kind"], "Thing");
    let parameters = path["patch"]["parameters"].as_array().unwrap();
    for name in ["dryRun", "fieldValidation", "force"] {
        assert!(
            parameters.iter().any(|parameter| parameter["name"] == name),
            "{name}"
        );
    }
    assert!(document["paths"]["/apis/example.com/v1alpha1/things"]["get"].is_object());
    assert!(
        document["paths"]["/apis/example.com/v1alpha1/namespaces/{namespace}/things/{name}/scale"]["put"]
            .is_object()
    );

    let core = v3_document("", "v1", &all);
    let definitions = &core["components"]["schemas"];
    check_references(&core, definitions, "#/components/schemas/");
    assert!(definitions.get("com.example.v1alpha1.Thing").is_none());
    let account = &definitions["io.k8s.api.core.v1.ServiceAccount"];
    assert_eq!(account["required"], Value::Null);
    assert_eq!(
        account["properties"]["secrets"]["x-kubernetes-patch-merge-key"],
        "name"
    );
    assert_eq!(
        definitions["io.k8s.api.core.v1.ServiceSpec"]["properties"]["ports"]["x-kubernetes-list-map-keys"],
        json!(["port", "protocol"])
    );
    assert!(core["paths"]["/api/v1/namespaces/{name}"]["get"].is_object());
}

#[test]
fn the_index_changes_with_the_schema() {
    let schema = custom_schema();
    let first = v3_index(&described(&schema));
    assert_eq!(first, v3_index(&described(&schema)));
    let url = first["paths"]["apis/example.com/v1alpha1"]["serverRelativeURL"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        url.starts_with("/openapi/v3/apis/example.com/v1alpha1?hash="),
        "{url}"
    );
    let other = json!({"type": "object"});
    let second = v3_index(&described(&other));
    assert_ne!(
        first["paths"]["apis/example.com/v1alpha1"],
        second["paths"]["apis/example.com/v1alpha1"]
    );
    assert_eq!(first["paths"]["api/v1"], second["paths"]["api/v1"]);
}

#[test]
fn v2_says_only_what_it_can() {
    let schema = custom_schema();
    let document = v2_document(&described(&schema));
    check_references(&document, &document["definitions"], "#/definitions/");
    let spec = &document["definitions"]["com.example.v1alpha1.Thing"]["properties"]["spec"];
    assert_eq!(
        spec["properties"]["port"],
        json!({"x-kubernetes-int-or-string": true})
    );
    assert_eq!(spec["properties"]["maybe"], json!({}));
    assert_eq!(
        spec["properties"]["free"],
        json!({"x-kubernetes-preserve-unknown-fields": true})
    );
    assert_eq!(
        spec["properties"]["list"]["items"]["properties"]["n"],
        json!({"type": "integer"})
    );
    assert_eq!(spec.get("x-kubernetes-validations"), None);
}

#[test]
fn the_protobuf_carries_names_and_extensions() {
    let schema = custom_schema();
    let bytes = v2_protobuf(&v2_document(&described(&schema)));
    // Field 1 of the document is the version.
    assert_eq!(bytes.get(..5), Some(&[0x0a, 3, b'2', b'.', b'0'][..]));
    let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    for text in [
        "com.example.v1alpha1.Thing",
        "io.k8s.api.core.v1.ConfigMap",
        "x-kubernetes-group-version-kind",
        "/api/v1/namespaces/{namespace}/configmaps",
        "dryRun",
    ] {
        assert!(holds(text), "{text}");
    }
}
