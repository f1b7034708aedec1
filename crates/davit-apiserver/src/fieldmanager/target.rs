//! The object that a write is about, as ownership sees it, and conflicts.

use serde_json::{Value, json};

use super::{
    managed::Owner,
    set::{FieldSet, field},
    shape::Shape,
};
use crate::schema::Schema;

/// What the object is and by which way it is written.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The schema of a custom resource; none for one without a schema and for built-in kinds.
    pub schema: Option<&'a Schema>,
    /// The kind, such as `Secret`.
    pub kind: &'a str,
    /// Whether the kind is built in.
    pub builtin: bool,
    /// The version in which the client speaks, such as `example.com/v1`.
    pub api_version: &'a str,
    /// The subresource written to, or empty.
    pub subresource: &'a str,
    /// Whether the kind has a status subresource: then `status` is owned only by its writers.
    pub has_status: bool,
}

/// One field that another manager owns with another value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// `conflict with "MANAGER"…`, the message of the cause.
    pub message: String,
    /// The path, such as `.spec.replicas`.
    pub field: String,
}

/// Why an apply was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// The patch is not one: 400 `BadRequest`.
    #[error("{0}")]
    BadRequest(String),
    /// The object does not fit the schema: 500, as upstream answers it.
    #[error("{0}")]
    Untyped(String),
    /// Others own fields with other values: 409 `Conflict` with these causes (reason `FieldManagerConflict`).
    #[error("{message}")]
    Conflicts {
        /// The message of the whole answer.
        message: String,
        /// One for each field.
        conflicts: Vec<Conflict>,
    },
}

impl<'a> Target<'a> {
    pub(super) fn shape(&self) -> Shape<'a> {
        match self.schema {
            Some(schema) => Shape::Custom {
                node: schema.root(),
                root: true,
                preserve: schema.root().preserve_unknown,
            },
            None if self.builtin => Shape::Builtin {
                kind: self.kind,
                path: String::new(),
            },
            None => Shape::Builtin {
                kind: "",
                path: String::new(),
            },
        }
    }

    pub(super) fn owner(&self, manager: &str, applied: bool) -> Owner {
        Owner {
            manager: if manager.is_empty() {
                "unknown".into()
            } else {
                manager.into()
            },
            applied,
            subresource: self.subresource.into(),
            api_version: self.api_version.into(),
        }
    }

    /// Leaves only what this way of writing can change.
    pub(super) fn own(&self, set: &FieldSet) -> FieldSet {
        match self.subresource {
            "status" => set.split(&field("status"), true),
            _ if self.has_status => set.split(&field("status"), false),
            _ => set.clone(),
        }
    }

    /// What an object of the kind is before anything is set: structs that are never absent upstream.
    pub(super) fn nothing(&self) -> Value {
        let mut object = json!({"apiVersion": self.api_version, "kind": self.kind, "metadata": {}});
        if self.builtin {
            let structs: &[&str] = match self.kind {
                review if review.ends_with("Review") => &["spec"],
                "Namespace"
                | "CustomResourceDefinition"
                | "Service"
                | "FlowSchema"
                | "PriorityLevelConfiguration" => &["spec", "status"],
                "Lease" => &["spec"],
                "Event" => &["involvedObject", "source", "regarding", "deprecatedSource"],
                "RoleBinding" | "ClusterRoleBinding" => &["roleRef"],
                _ => &[],
            };
            for name in structs {
                object[*name] = json!({});
            }
            if self.kind == "CustomResourceDefinition" {
                object["spec"]["names"] = json!({});
            }
            if self.kind == "FlowSchema" {
                object["spec"]["priorityLevelConfiguration"] = json!({});
            }
            if self.kind == "Event" {
                // Written even where they are empty.
                for name in ["reportingComponent", "reportingInstance"] {
                    object[name] = "".into();
                }
                for name in [
                    "eventTime",
                    "firstTimestamp",
                    "lastTimestamp",
                    "deprecatedFirstTimestamp",
                    "deprecatedLastTimestamp",
                ] {
                    object[name] = Value::Null;
                }
            }
        }
        object
    }
}
