//! What the group contains: one table for discovery and for dispatch.

use axum::Json;
use axum::response::{IntoResponse as _, Response};
use http::Method;
use serde_json::{Value, json};

use super::failure::Failure;
use super::group::{GROUP, VERSION};
use super::nearest::nearest;
use super::target::Target;

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subresource {
    /// The output of an Application's containers.
    ContainerLog,
    /// A command in a container. A WebSocket begins as `get`; `create` is checked for it, too.
    Exec,
    /// What an Application uses.
    Metrics,
    /// The repositories that a GitProvider reaches.
    Repositories,
    /// The branches of one of them.
    Branches,
    /// The log of a Release's build.
    ReleaseLog,
    /// An upload that an Application is built from.
    Source,
}

/// One subresource.
#[derive(Debug)]
pub(super) struct Entry {
    resource: &'static str,
    name: &'static str,
    kind: &'static str,
    verbs: &'static [&'static str],
    pub subresource: Subresource,
}

const ENTRIES: &[Entry] = &[
    Entry {
        resource: "applications",
        name: "exec",
        kind: "Application",
        verbs: &["get", "create"],
        subresource: Subresource::Exec,
    },
    Entry {
        resource: "applications",
        name: "log",
        kind: "Application",
        verbs: &["get"],
        subresource: Subresource::ContainerLog,
    },
    Entry {
        resource: "applications",
        name: "metrics",
        kind: "Application",
        verbs: &["get"],
        subresource: Subresource::Metrics,
    },
    Entry {
        resource: "applications",
        name: "source",
        kind: "Application",
        verbs: &["create"],
        subresource: Subresource::Source,
    },
    Entry {
        resource: "gitproviders",
        name: "branches",
        kind: "GitProvider",
        verbs: &["get"],
        subresource: Subresource::Branches,
    },
    Entry {
        resource: "gitproviders",
        name: "repositories",
        kind: "GitProvider",
        verbs: &["get"],
        subresource: Subresource::Repositories,
    },
    Entry {
        resource: "releases",
        name: "log",
        kind: "Release",
        verbs: &["get"],
        subresource: Subresource::ReleaseLog,
    },
];

impl Entry {
    /// Whether the method stands for a verb of the entry.
    pub(super) fn accepts(&self, method: &Method) -> bool {
        let verb = match *method {
            Method::GET | Method::HEAD => "get",
            Method::POST => "create",
            _ => return false,
        };
        self.verbs.contains(&verb)
    }
}

/// The APIResourceList. All names have a slash: a resource without one would hide that of the group `davit.dev`.
pub(super) fn list() -> Response {
    let resources: Vec<Value> = ENTRIES
        .iter()
        .map(|entry| {
            json!({"name": format!("{}/{}", entry.resource, entry.name), "singularName": "", "namespaced": true,
                "kind": entry.kind, "verbs": entry.verbs})
        })
        .collect();
    Json(
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": format!("{GROUP}/{VERSION}"),
        "resources": resources}),
    )
    .into_response()
}

/// Every subresource, as a role names it, and each of its verbs.
pub fn permissions() -> impl Iterator<Item = (String, &'static str)> {
    let name = |entry: &Entry| format!("{}/{}", entry.resource, entry.name);
    ENTRIES
        .iter()
        .flat_map(move |entry| entry.verbs.iter().map(move |verb| (name(entry), *verb)))
}

/// The entry that a request names.
pub(super) fn entry(target: &Target) -> Result<&'static Entry, Failure> {
    let of_resource = || ENTRIES.iter().filter(|entry| entry.resource == target.resource);
    if let Some(entry) = of_resource().find(|entry| entry.name == target.subresource) {
        return Ok(entry);
    }
    let resources: Vec<&str> = ENTRIES.iter().map(|entry| entry.resource).collect();
    let (what, near) = if of_resource().next().is_none() {
        let near = nearest(&target.resource, &resources);
        (format!("no resource {:?}", target.resource), near)
    } else {
        let names: Vec<&str> = of_resource().map(|entry| entry.name).collect();
        let near = nearest(&target.subresource, &names);
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
