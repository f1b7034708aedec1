//! API groups that the embedding program serves itself, as another server serves a group behind upstream's aggregator.

use std::sync::Arc;

use axum::Router;
use serde_json::{Value, json};

use crate::{registry::api_version, status::ApiError};

/// Why a group was not mounted.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// The server has a group of this name.
    #[error("the API group {0:?} is served already")]
    Taken(String),
    /// The router does not describe the group.
    #[error("GET {path} answers {code} without an APIResourceList")]
    NotDescribed {
        /// The path.
        path: String,
        /// The status code of the answer.
        code: u16,
    },
    /// The description could not be read.
    #[error("could not read the description of the group")]
    Unreadable(#[source] ApiError),
}

/// One version of a group that a router serves.
pub struct Mount {
    pub group: String,
    pub version: String,
    /// Its APIResourceList.
    pub list: Value,
    pub router: Router,
}

/// All of them.
#[derive(Default)]
pub struct Mounts(Vec<Arc<Mount>>);

impl Mounts {
    pub fn find(&self, group: &str, version: &str) -> Option<Arc<Mount>> {
        let found = self
            .0
            .iter()
            .find(|one| one.group == group && one.version == version);
        found.cloned()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Mount>> {
        self.0.iter()
    }

    pub fn add(&mut self, mount: Mount) -> Result<(), MountError> {
        if self.0.iter().any(|one| one.group == mount.group) {
            return Err(MountError::Taken(mount.group));
        }
        self.0.push(Arc::new(mount));
        Ok(())
    }
}

impl Mount {
    pub fn path(group: &str, version: &str) -> String {
        format!("/apis/{}", api_version(group, version))
    }

    /// The resources as the aggregated discovery lists them: subresources below a resource of their own.
    pub fn discovered(&self) -> Vec<Value> {
        let mut all: Vec<Value> = Vec::new();
        let listed = self.list.get("resources").and_then(Value::as_array);
        for entry in listed.into_iter().flatten() {
            let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
            let kind = json!({"group": text("group"), "version": text("version"), "kind": text("kind")});
            let namespaced = entry
                .get("namespaced")
                .and_then(Value::as_bool)
                .unwrap_or_default();
            let scope = if namespaced { "Namespaced" } else { "Cluster" };
            let verbs = entry.get("verbs").cloned().unwrap_or_else(|| json!([]));
            let (name, sub) = match text("name").split_once('/') {
                Some((name, sub)) => (name, Some(sub)),
                None => (text("name"), None),
            };
            let known = all
                .iter_mut()
                .find(|known| known.get("resource").and_then(Value::as_str) == Some(name));
            let Some(sub) = sub else {
                if known.is_none() {
                    all.push(json!({"resource": name, "responseKind": kind, "scope": scope,
                        "singularResource": text("singularName"), "verbs": verbs}));
                }
                continue;
            };
            let sub = json!({"subresource": sub, "responseKind": kind, "verbs": verbs});
            match known {
                Some(known) => {
                    let subs = known.get_mut("subresources").and_then(Value::as_array_mut);
                    match subs {
                        Some(subs) => subs.push(sub),
                        None => known["subresources"] = json!([sub]),
                    }
                }
                // The kind of a resource that is not served itself is empty.
                None => all.push(
                    json!({"resource": name, "scope": scope, "singularResource": "", "verbs": [],
                    "responseKind": {"group": "", "version": "", "kind": ""}, "subresources": [sub]}),
                ),
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subresources_are_discovered_below_their_resource() {
        let entry = |name: &str| json!({"name": name, "namespaced": true, "kind": "Lamp", "verbs": ["get"]});
        let mount = Mount {
            group: "sub.example.com".to_owned(),
            version: "v1".to_owned(),
            list: json!({"resources": [entry("lamps/light"), entry("lamps/heat"), entry("rooms")]}),
            router: Router::new(),
        };
        let found = mount.discovered();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0]["resource"], "lamps");
        assert_eq!(found[0]["verbs"], json!([]));
        assert_eq!(found[0]["subresources"][1]["subresource"], "heat");
        assert_eq!(found[0]["subresources"][1]["responseKind"]["kind"], "Lamp");
        assert_eq!(found[1]["resource"], "rooms");
        assert_eq!(found[1]["verbs"], json!(["get"]));
    }
}
