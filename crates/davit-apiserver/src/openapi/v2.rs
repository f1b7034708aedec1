//! `/openapi/v2`: one document for everything, for clients that came before version 3.

use serde_json::{Map, Value, json};

use super::{Described, builtin, dialect::Dialect, v3::describe};

/// The document, as JSON; [`super::v2_protobuf`] makes the other form of it.
pub fn document(resources: &[Described<'_>]) -> Value {
    let scale = resources
        .iter()
        .any(|resource| resource.subresources.contains(&"scale"));
    let kinds = resources
        .iter()
        .filter(|resource| !resource.custom)
        .map(|resource| (resource.group, resource.version, resource.kind))
        .chain(scale.then_some(("autoscaling", "v1", "Scale")));
    let mut definitions = builtin::definitions(Dialect::V2, kinds);
    let mut paths = Map::new();
    for resource in resources {
        describe(resource, Dialect::V2, &mut definitions, &mut paths);
    }
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": "unversioned"},
        "paths": paths,
        "definitions": definitions,
    })
}
