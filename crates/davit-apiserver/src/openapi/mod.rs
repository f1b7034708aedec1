//! The API described: `/openapi/v3` with a document per group and version, and `/openapi/v2` for older clients.
//!
//! Documents are made when they are asked for and not kept: the schemas of the built-in kinds alone are larger than
//! everything else that an idle server holds.

mod builtin;
mod custom;
mod operations;
mod proto;
mod v2;
mod v3;

use serde_json::Value;

pub use self::{
    builtin::{inlined as builtin_schema, known as has_builtin_schema},
    proto::encode as v2_protobuf,
    v2::document as v2_document,
    v3::{document as v3_document, index as v3_index},
};

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

/// Where the definitions of a document stand, and which dialect it speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    V2,
    V3,
}

impl Dialect {
    const fn prefix(self) -> &'static str {
        match self {
            Self::V2 => "#/definitions/",
            Self::V3 => "#/components/schemas/",
        }
    }

    /// A reference to a definition, in the form in which a property holds it beside a description.
    fn reference(self, name: &str, description: &str) -> Value {
        let to = format!("{}{name}", self.prefix());
        match self {
            Self::V2 => serde_json::json!({"$ref": to, "description": description}),
            Self::V3 => {
                serde_json::json!({"allOf": [{"$ref": to}], "default": {}, "description": description})
            }
        }
    }
}

impl Described<'_> {
    /// The name of its definition, such as `io.k8s.api.core.v1.Secret` or `dev.davit.v1alpha1.Application`.
    fn definition(&self) -> String {
        if !self.custom
            && let Some(name) = builtin::name(self.group, self.version, self.kind)
        {
            return name;
        }
        let reversed: Vec<&str> = self.group.split('.').rev().collect();
        format!("{}.{}.{}", reversed.join("."), self.version, self.kind)
    }

    fn group_version_kind(&self) -> Value {
        serde_json::json!({"group": self.group, "kind": self.kind, "version": self.version})
    }

    /// `api/v1` or `apis/GROUP/VERSION`.
    fn root(&self) -> String {
        if self.group.is_empty() {
            format!("api/{}", self.version)
        } else {
            format!("apis/{}/{}", self.group, self.version)
        }
    }
}

#[cfg(test)]
mod tests;
