//! Resources as the documents describe them.

use serde_json::Value;

use super::builtin;

/// One resource in one version, as the documents describe it.
#[derive(Clone, Debug)]
pub struct Described<'a> {
    /// The API group; empty for the core group.
    pub group: &'a str,
    /// The version, such as `v1`.
    pub version: &'a str,
    /// The kind, such as `Secret`.
    pub kind: &'a str,
    /// The name in URLs, such as `secrets`.
    pub plural: &'a str,
    /// Whether its objects are in namespaces.
    pub namespaced: bool,
    /// What can be done with it: `create`, `get`, `list`, `update`, `patch`, `delete`, `deletecollection`, `watch`.
    pub verbs: &'a [&'a str],
    /// `status` and `scale`, where it has them.
    pub subresources: &'a [&'a str],
    /// The `openAPIV3Schema` of a custom resource; none for a built-in one.
    pub schema: Option<&'a Value>,
    /// Whether a CRD defines it: one without a schema is described as an object of which nothing is known.
    pub custom: bool,
}

impl Described<'_> {
    /// The name of its definition, such as `io.k8s.api.core.v1.Secret` or `com.example.v1.Lamp`.
    pub(super) fn definition(&self) -> String {
        if !self.custom
            && let Some(name) = builtin::name(self.group, self.version, self.kind)
        {
            return name;
        }
        let reversed: Vec<&str> = self.group.split('.').rev().collect();
        format!("{}.{}.{}", reversed.join("."), self.version, self.kind)
    }

    pub(super) fn group_version_kind(&self) -> Value {
        serde_json::json!({"group": self.group, "kind": self.kind, "version": self.version})
    }

    /// `api/v1` or `apis/GROUP/VERSION`.
    pub(super) fn root(&self) -> String {
        if self.group.is_empty() {
            format!("api/{}", self.version)
        } else {
            format!("apis/{}/{}", self.group, self.version)
        }
    }
}
