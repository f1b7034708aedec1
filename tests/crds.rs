//! `crds/` is what the types generate, a real API server takes it, and its rules refuse what they should.
//! `UPDATE=1 cargo test --test crds` writes the files anew.

#[path = "crds/files.rs"]
mod files;
#[path = "crds/rules.rs"]
mod rules;
#[path = "crds/shape.rs"]
mod shape;

use davit::api::crds;
use serde_json::Value;

/// The name of each kind with the schema of its version.
fn schemas() -> Vec<(String, Value)> {
    crds()
        .into_iter()
        .map(|crd| {
            let version = &crd.spec.versions[0];
            let schema = version
                .schema
                .as_ref()
                .unwrap()
                .open_api_v3_schema
                .as_ref()
                .unwrap();
            (crd.spec.names.kind.clone(), serde_json::to_value(schema).unwrap())
        })
        .collect()
}
