//! The schema of a custom resource as a definition of the document.

use serde_json::{Map, Value, json};

use super::{Described, dialect::Dialect};

const API_VERSION: &str = "APIVersion defines the versioned schema of this representation of an object. Servers should \
    convert recognized schemas to the latest internal value, and may reject unrecognized values. More info: \
    https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
const KIND: &str = "Kind is a string value representing the REST resource this object represents. Servers may infer \
    this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: \
    https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
const METADATA: &str = "Standard object's metadata. More info: \
    https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";
const LIST_METADATA: &str = "Standard list metadata. More info: \
    https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
const CONVENTIONS: &str =
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md";
const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";

/// The definition of the kind itself.
pub(super) fn definition(resource: &Described<'_>, dialect: Dialect) -> Value {
    let gvk = json!([resource.group_version_kind()]);
    let schema = resource.schema.and_then(Value::as_object);
    let preserved =
        schema.is_some_and(|schema| schema.get("x-kubernetes-preserve-unknown-fields") == Some(&json!(true)));
    let Some(schema) = schema.filter(|_| !(dialect == Dialect::V2 && preserved)) else {
        // Fields named here would make clients refuse all others.
        return json!({"type": "object", "x-kubernetes-group-version-kind": gvk});
    };
    let mut schema = schema.clone();
    if dialect == Dialect::V2 {
        simplify(&mut schema);
    }
    embed(&mut schema, dialect);
    type_meta(&mut schema, dialect);
    schema.insert("x-kubernetes-group-version-kind".into(), gvk);
    Value::Object(schema)
}

/// The definition of a list of the kind.
pub(super) fn list(resource: &Described<'_>, dialect: Dialect) -> Value {
    let name = resource.definition();
    let mut gvk = resource.group_version_kind();
    gvk["kind"] = format!("{}List", resource.kind).into();
    json!({
        "type": "object",
        "description": format!("{kind}List is a list of {kind}", kind = resource.kind),
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string", "description": API_VERSION},
            "kind": {"type": "string", "description": KIND},
            "metadata": dialect.reference(LIST_META, LIST_METADATA),
            "items": {
                "type": "array",
                "description": format!("List of {}. More info: {CONVENTIONS}", resource.plural),
                "items": {"$ref": format!("{}{name}", dialect.prefix())},
            },
        },
        "x-kubernetes-group-version-kind": [gvk],
    })
}

/// Adds `apiVersion`, `kind` and `metadata`, which a CRD's schema leaves out or only narrows.
fn type_meta(schema: &mut Map<String, Value>, dialect: Dialect) {
    let properties = schema.entry("properties").or_insert_with(|| json!({}));
    if let Some(properties) = properties.as_object_mut() {
        properties.insert(
            "apiVersion".into(),
            json!({"type": "string", "description": API_VERSION}),
        );
        properties.insert("kind".into(), json!({"type": "string", "description": KIND}));
        properties.insert("metadata".into(), dialect.reference(OBJECT_META, METADATA));
    }
}

/// Gives embedded resources their type and metadata too.
fn embed(schema: &mut Map<String, Value>, dialect: Dialect) {
    for value in children(schema) {
        if let Value::Object(sub) = value {
            embed(sub, dialect);
            if sub.get("x-kubernetes-embedded-resource") == Some(&json!(true)) && !opaque(sub, dialect) {
                type_meta(sub, dialect);
            }
        }
    }
}

fn opaque(schema: &Map<String, Value>, dialect: Dialect) -> bool {
    dialect == Dialect::V2 && schema.get("x-kubernetes-preserve-unknown-fields") == Some(&json!(true))
}

/// The schemas directly below: properties, items, values of maps.
fn children(schema: &mut Map<String, Value>) -> impl Iterator<Item = &mut Value> {
    schema.iter_mut().flat_map(|(name, value)| {
        let found: Vec<&mut Value> = match (name.as_str(), value) {
            ("properties", Value::Object(map)) => map.values_mut().collect(),
            ("items" | "additionalProperties", value @ Value::Object(_)) => vec![value],
            _ => Vec::new(),
        };
        found
    })
}

/// Takes out what OpenAPI v2 cannot say, as upstream does: clients then check less, never wrongly.
fn simplify(schema: &mut Map<String, Value>) {
    for name in [
        "oneOf",
        "anyOf",
        "allOf",
        "not",
        "default",
        "x-kubernetes-validations",
    ] {
        schema.remove(name);
    }
    let vague = schema.remove("nullable") == Some(json!(true))
        || schema.get("x-kubernetes-int-or-string") == Some(&json!(true))
        || schema.get("x-kubernetes-preserve-unknown-fields") == Some(&json!(true));
    if vague {
        for name in [
            "type",
            "properties",
            "items",
            "additionalProperties",
            "required",
            "enum",
            "format",
        ] {
            schema.remove(name);
        }
    }
    for value in children(schema) {
        if let Value::Object(sub) = value {
            simplify(sub);
        }
    }
}
