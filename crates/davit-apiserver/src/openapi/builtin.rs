//! The schemas of the built-in kinds, from the types of `k8s-openapi`.

use k8s_openapi::{
    api::{
        authentication::v1 as authentication, authorization::v1 as authorization,
        autoscaling::v1 as autoscaling, coordination::v1 as coordination, core::v1 as core,
        events::v1 as events, flowcontrol::v1 as flowcontrol, rbac::v1 as rbac,
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1 as apiextensions,
    apimachinery::pkg::apis::meta::v1 as meta,
};
use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::dialect::Dialect;
use crate::merge_strategy::{self, Apply, Strategic};

type Register = fn(&mut SchemaGenerator) -> String;

fn register<T: JsonSchema>(generator: &mut SchemaGenerator) -> String {
    generator.subschema_for::<T>();
    T::schema_name().into_owned()
}

/// The kinds that have a schema, each with what adds it to a generator.
fn find(group: &str, version: &str, kind: &str) -> Option<Register> {
    let register: Register = match (group, version, kind) {
        ("", "v1", "Namespace") => register::<core::Namespace>,
        ("", "v1", "Secret") => register::<core::Secret>,
        ("", "v1", "ConfigMap") => register::<core::ConfigMap>,
        ("", "v1", "Event") => register::<core::Event>,
        ("", "v1", "ServiceAccount") => register::<core::ServiceAccount>,
        ("", "v1", "Service") => register::<core::Service>,
        ("events.k8s.io", "v1", "Event") => register::<events::Event>,
        ("coordination.k8s.io", "v1", "Lease") => register::<coordination::Lease>,
        ("apiextensions.k8s.io", "v1", "CustomResourceDefinition") => {
            register::<apiextensions::CustomResourceDefinition>
        }
        ("rbac.authorization.k8s.io", "v1", "Role") => register::<rbac::Role>,
        ("rbac.authorization.k8s.io", "v1", "RoleBinding") => register::<rbac::RoleBinding>,
        ("rbac.authorization.k8s.io", "v1", "ClusterRole") => register::<rbac::ClusterRole>,
        ("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding") => register::<rbac::ClusterRoleBinding>,
        ("flowcontrol.apiserver.k8s.io", "v1", "FlowSchema") => register::<flowcontrol::FlowSchema>,
        ("flowcontrol.apiserver.k8s.io", "v1", "PriorityLevelConfiguration") => {
            register::<flowcontrol::PriorityLevelConfiguration>
        }
        ("authentication.k8s.io", "v1", "TokenReview") => register::<authentication::TokenReview>,
        ("authentication.k8s.io", "v1", "TokenRequest") => register::<authentication::TokenRequest>,
        ("authentication.k8s.io", "v1", "SelfSubjectReview") => register::<authentication::SelfSubjectReview>,
        ("authorization.k8s.io", "v1", "SubjectAccessReview") => {
            register::<authorization::SubjectAccessReview>
        }
        ("authorization.k8s.io", "v1", "LocalSubjectAccessReview") => {
            register::<authorization::LocalSubjectAccessReview>
        }
        ("authorization.k8s.io", "v1", "SelfSubjectAccessReview") => {
            register::<authorization::SelfSubjectAccessReview>
        }
        ("authorization.k8s.io", "v1", "SelfSubjectRulesReview") => {
            register::<authorization::SelfSubjectRulesReview>
        }
        ("autoscaling", "v1", "Scale") => register::<autoscaling::Scale>,
        _ => return None,
    };
    Some(register)
}

/// The name of the definition of a built-in kind.
pub(super) fn name(group: &str, version: &str, kind: &str) -> Option<String> {
    find(group, version, kind).map(|register| register(&mut generator("")))
}

fn generator(prefix: &str) -> SchemaGenerator {
    let mut settings = SchemaSettings::draft07();
    settings.definitions_path = prefix
        .trim_start_matches('#')
        .trim_end_matches('/')
        .to_owned()
        .into();
    settings.transforms.clear();
    settings.into_generator()
}

/// The definitions of these kinds and of all that they refer to, with what every document needs.
pub(super) fn definitions<'a>(
    dialect: Dialect,
    kinds: impl Iterator<Item = (&'a str, &'a str, &'a str)>,
) -> Map<String, Value> {
    let mut generator = generator(dialect.prefix());
    register::<meta::ObjectMeta>(&mut generator);
    register::<meta::ListMeta>(&mut generator);
    register::<meta::Status>(&mut generator);
    register::<meta::DeleteOptions>(&mut generator);
    let mut roots = Vec::new();
    for (group, version, kind) in kinds {
        if let Some(register) = find(group, version, kind) {
            roots.push((register(&mut generator), group, version, kind));
        }
    }
    let mut definitions: Map<String, Value> = generator.take_definitions(false).into_iter().collect();
    for (name, group, version, kind) in roots {
        for (path, shape) in merge_strategy::all(kind) {
            mark(&mut definitions, &name, path, shape);
        }
        if let Some(Value::Object(root)) = definitions.get_mut(&name) {
            // The Rust types always have metadata; the API does not require it.
            if let Some(Value::Array(required)) = root.get_mut("required") {
                required.retain(|field| field != "metadata");
            }
            if root
                .get("required")
                .and_then(Value::as_array)
                .is_some_and(Vec::is_empty)
            {
                root.remove("required");
            }
            let gvk = json!([{"group": group, "kind": kind, "version": version}]);
            root.insert("x-kubernetes-group-version-kind".into(), gvk);
        }
    }
    definitions.insert(
        "io.k8s.apimachinery.pkg.apis.meta.v1.Patch".into(),
        json!({"type": "object", "description": "The changes to an object, in the form that the content type names."}),
    );
    for name in ANYTHING {
        if let Some(Value::Object(definition)) = definitions.get_mut(name) {
            definition.remove("type");
        }
    }
    if let Some(Value::Object(either)) = definitions.get_mut(INT_OR_STRING) {
        either.insert("format".into(), "int-or-string".into());
        match dialect {
            Dialect::V2 => either.insert("type".into(), "string".into()),
            Dialect::V3 => either.insert("oneOf".into(), json!([{"type": "integer"}, {"type": "string"}])),
        };
    }
    for definition in definitions.values_mut() {
        adapt(definition, dialect);
    }
    definitions
}

/// Definitions that stand for values of more than one type, and so have none in the API server's documents; the Rust
/// types say `object`, by which kubectl 1.20 would refuse a CRD with `default: red`.
const ANYTHING: [&str; 4] = [
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray",
];

/// A number or a text, which has a form of its own in each dialect.
const INT_OR_STRING: &str = "io.k8s.apimachinery.pkg.util.intstr.IntOrString";

/// Writes the shape of one list or map beside its schema, following references.
fn mark(definitions: &mut Map<String, Value>, root: &str, path: &str, shape: merge_strategy::Shape) {
    let mut name = root.to_owned();
    let mut fields = path.split('.').peekable();
    while let Some(field) = fields.next() {
        // The items of a list are definitions of their own, which say by themselves whether they are atomic.
        if field.ends_with("[]") {
            return;
        }
        let Some(place) = definitions
            .get_mut(&name)
            .and_then(|place| place.get_mut("properties")?.get_mut(field))
        else {
            return;
        };
        if fields.peek().is_some() {
            match place
                .get("$ref")
                .and_then(Value::as_str)
                .and_then(|to| to.rsplit('/').next())
            {
                Some(next) => next.clone_into(&mut name),
                None => return,
            }
            continue;
        }
        let list = place.get("type").and_then(Value::as_str) == Some("array");
        let Some(place) = place.as_object_mut() else {
            return;
        };
        match shape.apply {
            Apply::Atomic if list => place.insert("x-kubernetes-list-type".into(), "atomic".into()),
            Apply::Atomic => place.insert("x-kubernetes-map-type".into(), "atomic".into()),
            Apply::Set => place.insert("x-kubernetes-list-type".into(), "set".into()),
            Apply::Map(keys) => {
                place.insert("x-kubernetes-list-map-keys".into(), json!(keys));
                place.insert("x-kubernetes-list-type".into(), "map".into())
            }
        };
        match shape.strategic {
            Strategic::Replace => {}
            Strategic::Merge => {
                place.insert("x-kubernetes-patch-strategy".into(), "merge".into());
            }
            Strategic::MergeBy(key) => {
                place.insert("x-kubernetes-patch-strategy".into(), "merge".into());
                place.insert("x-kubernetes-patch-merge-key".into(), key.into());
            }
        }
    }
}

/// Puts a schema of the generator into the form of the dialect, in place.
fn adapt(schema: &mut Value, dialect: Dialect) {
    match schema {
        Value::Object(map) => {
            if dialect == Dialect::V3
                && map.len() > 1
                && let Some(to @ Value::String(_)) = map.remove("$ref")
            {
                map.insert("allOf".into(), json!([{"$ref": to}]));
                map.insert("default".into(), json!({}));
            }
            for value in map.values_mut() {
                adapt(value, dialect);
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|item| adapt(item, dialect)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
