//! The user's contract: the three kinds of `davit.dev/v1alpha1`, their conditions and reasons. Pure.

#![allow(
    clippy::duplicated_attributes,
    reason = "every printcolumn has a type_, and clippy takes that for a repetition"
)]

mod application;
mod build;
pub mod condition;
mod delivery;
mod forge_source;
mod forge_spec;
mod formats;
mod from_forge;
mod git_provider;
mod git_ref;
mod image;
mod preview;
mod release;
mod route;
mod route_values;
mod run;
mod source;
mod validation;
#[cfg(test)]
mod validation_tests;
mod values;
mod webhook;

pub use application::*;
pub use build::*;
pub use condition::{ConditionType, Reason};
pub use delivery::{DELIVERY, Delivery};
pub use forge_source::*;
pub use forge_spec::*;
pub use from_forge::*;
pub use git_provider::*;
pub use git_ref::GitRef;
pub use image::Image;
pub use preview::*;
pub use release::*;
pub use route::*;
pub use route_values::ascii_host;
pub use run::*;
pub use source::*;
pub use validation::InvalidField;
pub use values::*;
pub use webhook::*;

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt as _;

/// The API group.
pub const GROUP: &str = "davit.dev";
/// The label of a Release with its Application's name. On the engine the labels are `dev.davit.*`.
pub const LABEL_APPLICATION: &str = "davit.dev/application";
/// The name of Davit in managed fields, in events and in [`LABEL_MANAGED_BY`].
pub const MANAGER: &str = "davit";
/// The recommended label of the objects that Davit created by itself: its value is [`MANAGER`].
pub const LABEL_MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The finalizer that keeps an object until everything that Davit made for it is removed.
pub const FINALIZER: &str = "davit.dev/finalizer";
/// Annotations whose change requests a reconcile: Davit's and Flux's.
pub const REQUESTED_AT: [&str; 2] = ["davit.dev/requestedAt", "reconcile.fluxcd.io/requestedAt"];

/// The annotation of an Application that ends the hold of a rollback: its value is the name of that Release.
pub const RESUME: &str = "davit.dev/resume";

/// The annotation of an Application whose change replaces the containers of the serving Release.
pub const RESTARTED_AT: &str = "davit.dev/restartedAt";
/// The annotation of an Application up to whose number Releases that ended are removed.
pub const CLEARED: &str = "davit.dev/cleared";

/// The CRDs of all kinds, in the order in which they are installed.
pub fn crds() -> Vec<CustomResourceDefinition> {
    each_crd().collect()
}

/// The same, each generated when it is needed: in this form the largest takes several MiB.
pub fn each_crd() -> impl Iterator<Item = CustomResourceDefinition> {
    [Application::crd, Release::crd, GitProvider::crd]
        .into_iter()
        .map(|crd| with_unseen_status(crd()))
}

/// Adds the default `status: {observedGeneration: -1}`, so that kstatus does not report an object as ready before the
/// controller has observed it.
fn with_unseen_status(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    let roots = crd
        .spec
        .versions
        .iter_mut()
        .filter_map(|version| version.schema.as_mut()?.open_api_v3_schema.as_mut());
    for root in roots {
        complete(root);
        let status = root
            .properties
            .as_mut()
            .and_then(|properties| properties.get_mut("status"));
        if let Some(status) = status {
            status.default = Some(JSON(serde_json::json!({"observedGeneration": unseen()})));
        }
    }
    crd
}

/// Completes a schema and everything in it. Optional fields are not nullable: an explicit null then counts as not set, in
/// rules and for defaults too. Patterns become rules with a message.
fn complete(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    formats::explain(schema);
    for property in schema.properties.iter_mut().flat_map(BTreeMap::values_mut) {
        complete(property);
    }
    match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => complete(items),
        Some(JSONSchemaPropsOrArray::Schemas(all)) => all.iter_mut().for_each(complete),
        None => {}
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        complete(values);
    }
}
