//! `/openapi/v3`: an index, and a document for each group and version.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use serde_json::{Map, Value, json};

use super::{Described, builtin, custom, dialect::Dialect, operations};

/// The index: for each group and version the URL of its document, with a hash that changes when the document does.
pub fn index(resources: &[Described<'_>]) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    let mut roots: Vec<String> = resources.iter().map(Described::root).collect();
    roots.sort_unstable();
    roots.dedup();
    for root in roots {
        let mut hasher = DefaultHasher::new();
        for resource in resources.iter().filter(|resource| resource.root() == root) {
            (
                resource.kind,
                resource.plural,
                resource.verbs,
                resource.subresources,
            )
                .hash(&mut hasher);
            resource.schema.map(Value::to_string).hash(&mut hasher);
        }
        let url = format!("/openapi/v3/{root}?hash={:032X}", hasher.finish());
        paths.insert(root, json!({"serverRelativeURL": url}));
    }
    json!({"paths": paths})
}

/// The document of one group and version; `resources` may hold others, which are left out.
pub fn document(group: &str, version: &str, resources: &[Described<'_>]) -> Value {
    let mine = || {
        resources
            .iter()
            .filter(move |resource| resource.group == group && resource.version == version)
    };
    let scale = mine().any(|resource| resource.subresources.contains(&"scale"));
    let kinds = mine()
        .filter(|resource| !resource.custom)
        .map(|resource| (resource.group, resource.version, resource.kind))
        .chain(scale.then_some(("autoscaling", "v1", "Scale")));
    let mut schemas = builtin::definitions(Dialect::V3, kinds);
    let mut paths = Map::new();
    for resource in mine() {
        describe(resource, Dialect::V3, &mut schemas, &mut paths);
    }
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "unversioned"},
        "paths": paths,
        "components": {"schemas": schemas},
    })
}

/// Adds one resource to a document of either dialect.
pub(super) fn describe(
    resource: &Described<'_>,
    dialect: Dialect,
    schemas: &mut Map<String, Value>,
    paths: &mut Map<String, Value>,
) {
    let name = resource.definition();
    if resource.custom {
        schemas.insert(name.clone(), custom::definition(resource, dialect));
    }
    if resource.verbs.contains(&"list") {
        schemas.insert(format!("{name}List"), custom::list(resource, dialect));
    }
    operations::add(paths, resource, dialect);
}
