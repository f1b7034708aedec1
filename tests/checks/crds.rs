//! `crds/` is what the types generate, a real API server takes it, and its rules refuse what they should.
//! `UPDATE=1 cargo test --test checks crds` writes the files anew.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what fails here is a failed test"
)]

mod files;
mod rows;
mod rules;
mod shape;

use std::sync::LazyLock;

use davit::api::crds;
use serde_json::Value;

/// The name of each kind with the schema of its version.
pub fn schemas() -> &'static [(String, Value)] {
    static SCHEMAS: LazyLock<Vec<(String, Value)>> = LazyLock::new(|| {
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
    });
    &SCHEMAS
}

/// The schema of one kind.
fn schema(kind: &str) -> &'static Value {
    &schemas().iter().find(|(name, _)| name == kind).unwrap().1
}
