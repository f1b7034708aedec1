//! What the group contains: one table for discovery and for dispatch.

use axum::Json;
use axum::response::{IntoResponse as _, Response};
use http::Method;
use serde_json::{Value, json};

use super::closest::closest;
use super::failure::Failure;
use super::group::{GROUP, VERSION};
use super::target::Target;

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subresource {
    /// The output of an Application's containers.
    ContainerLog,
    /// The repositories that a GitProvider reaches.
    Repositories,
    /// The branches of one of them.
    Branches,
    /// The log of a Release's build.
    ReleaseLog,
}

/// One subresource.
#[derive(Debug)]
pub(super) struct Entry {
    resource: &'static str,
    name: &'static str,
    kind: &'static str,
    verb: &'static str,
    pub subresource: Subresource,
}

const ENTRIES: &[Entry] = &[
    Entry {
        resource: "applications",
        name: "log",
        kind: "Application",
        verb: "get",
        subresource: Subresource::ContainerLog,
    },
    Entry {
        resource: "gitproviders",
        name: "branches",
        kind: "GitProvider",
        verb: "get",
        subresource: Subresource::Branches,
    },
    Entry {
        resource: "gitproviders",
        name: "repositories",
        kind: "GitProvider",
        verb: "get",
        subresource: Subresource::Repositories,
    },
    Entry {
        resource: "releases",
        name: "log",
        kind: "Release",
        verb: "get",
        subresource: Subresource::ReleaseLog,
    },
];

impl Entry {
    /// Whether the method stands for the entry's verb.
    pub(super) fn accepts(&self, method: &Method) -> bool {
        match self.verb {
            "create" => *method == Method::POST,
            _ => *method == Method::GET || *method == Method::HEAD,
        }
    }
}

/// The APIResourceList. All names have a slash: a resource without one would hide that of the group `davit.dev`.
pub(super) fn list() -> Response {
    let resources: Vec<Value> = ENTRIES
        .iter()
        .map(|entry| {
            json!({"name": format!("{}/{}", entry.resource, entry.name), "singularName": "", "namespaced": true,
                "kind": entry.kind, "verbs": [entry.verb]})
        })
        .collect();
    Json(
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": format!("{GROUP}/{VERSION}"),
        "resources": resources}),
    )
    .into_response()
}

/// Every subresource, as a role names it, and its verb.
pub fn permissions() -> impl Iterator<Item = (String, &'static str)> {
    ENTRIES
        .iter()
        .map(|entry| (format!("{}/{}", entry.resource, entry.name), entry.verb))
}

/// The entry that a request names.
pub(super) fn entry(target: &Target) -> Result<&'static Entry, Failure> {
    let of_resource = || ENTRIES.iter().filter(|entry| entry.resource == target.resource);
    if let Some(entry) = of_resource().find(|entry| entry.name == target.subresource) {
        return Ok(entry);
    }
    let resources = ENTRIES.iter().map(|entry| entry.resource);
    let (what, near) = if of_resource().next().is_none() {
        let near = closest(&target.resource, resources);
        (format!("no resource {:?}", target.resource), near)
    } else {
        let near = closest(&target.subresource, of_resource().map(|entry| entry.name));
        (
            format!("no subresource {:?} of {}", target.subresource, target.resource),
            near,
        )
    };
    let near = near
        .map(|near| format!(": did you mean {near:?}?"))
        .unwrap_or_default();
    Err(Failure::not_found(
        &format!("the API group {GROUP}/{VERSION} has {what}{near}"),
        target,
    ))
}
