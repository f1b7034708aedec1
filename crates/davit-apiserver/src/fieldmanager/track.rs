//! Field ownership after a write that is not an apply.

use std::sync::Arc;

use serde_json::Value;

use super::{self as pure, Target};
use crate::{
    object_meta::{self, Fields},
    registry::{Resource, builtin::Builtin, builtin_strategy, events},
    schema::Schema,
};

/// The field manager of objects that the API server makes.
pub const APISERVER: &str = "kube-apiserver";
/// The field manager of objects that its controllers make.
pub const CONTROLLERS: &str = "kube-controller-manager";

/// What a [`Target`] borrows, held where the request has gone elsewhere.
pub struct SharedTarget {
    /// The schema of the version that is written; none for a built-in kind.
    pub schema: Option<Arc<Schema>>,
    pub kind: String,
    /// Whether it is a built-in one.
    pub builtin: bool,
    /// Group and version, as owners name it.
    pub api_version: String,
    /// The subresource that is written through; empty for the object itself.
    pub subresource: String,
    /// Whether the status is a subresource.
    pub has_status: bool,
}

impl SharedTarget {
    /// What is written, for [`pure::apply`] and its like.
    pub fn as_target(&self) -> Target<'_> {
        Target {
            schema: self.schema.as_deref(),
            kind: &self.kind,
            builtin: self.builtin,
            api_version: &self.api_version,
            subresource: &self.subresource,
            has_status: self.has_status,
        }
    }
}

/// Takes out of a role what Go writes for an empty list of rules: it has no owner.
pub fn without_empty_rules(value: &mut Value) {
    if let Some(fields) = value.as_object_mut()
        && fields.get("rules") == Some(&Value::Null)
    {
        fields.remove("rules");
    }
}

/// The object with its owners after `manager` has written it, by no apply.
pub fn tracked(
    builtin: Builtin,
    shared: &SharedTarget,
    live: Option<&Value>,
    mut new: Fields,
    manager: &str,
) -> Fields {
    let now = jiff::Timestamp::now();
    let target = shared.as_target();
    // The other form of an Event is stored under other names than its writer knows.
    let renamed = builtin == Builtin::EventsEvent;
    // The server's own finalizer comes after the owners were written down.
    let finalized = builtin == Builtin::Namespace && live.is_none();
    let role = matches!(builtin, Builtin::Role | Builtin::ClusterRole);
    if !renamed && !finalized && !role {
        return match pure::update(&target, live, Value::Object(new), manager, now) {
            Value::Object(tracked) => tracked,
            _ => Fields::new(),
        };
    }
    let known = |fields: &Fields| {
        let mut fields = fields.clone();
        if renamed {
            events::from_core(&mut fields);
        }
        if finalized {
            if builtin_strategy::spec_finalizers(&fields) == [object_meta::NAMESPACE_FINALIZER] {
                fields.remove("spec");
            }
            fields.remove("status");
        }
        let mut value = Value::Object(fields);
        without_empty_rules(&mut value);
        value
    };
    let before = live.map(|live| known(object_meta::fields(live)));
    let mut after = pure::update(&target, before.as_ref(), known(&new), manager, now);
    let managed = after.pointer_mut("/metadata/managedFields").map(Value::take);
    match managed {
        Some(managed) => object_meta::set(&mut new, "managedFields", managed),
        None => {
            object_meta::remove(&mut new, "managedFields");
        }
    }
    new
}

/// What the server itself writes, through `subresource` if that is not empty.
fn target(resource: &Resource, subresource: &str) -> Option<SharedTarget> {
    let version = resource.version(&resource.storage_version)?;
    Some(SharedTarget {
        kind: resource.names.kind.clone(),
        builtin: resource.builtin != Builtin::Custom,
        api_version: resource.storage_api_version(),
        subresource: subresource.to_owned(),
        has_status: version.status,
        schema: version.schema(),
    })
}

/// The same for what the server does by itself, through `subresource` if that is not empty.
pub fn owned(
    resource: &Resource,
    live: Option<&Fields>,
    new: Fields,
    manager: &str,
    subresource: &str,
) -> Fields {
    let Some(shared) = target(resource, subresource) else {
        return new;
    };
    let live = live.map(|live| Value::Object(live.clone()));
    tracked(resource.builtin, &shared, live.as_ref(), new, manager)
}

/// An object after the server has applied `config` to it, through `subresource` if that is not empty; `None` if it does
/// not fit. Fields of others become the manager's.
pub fn applied(
    resource: &Resource,
    live: &Fields,
    config: &Value,
    manager: &str,
    subresource: &str,
) -> Option<Fields> {
    let shared = target(resource, subresource)?;
    let (live, now) = (Value::Object(live.clone()), jiff::Timestamp::now());
    match pure::apply(&shared.as_target(), Some(&live), config, manager, true, now) {
        Ok(Value::Object(object)) => Some(object),
        _ => None,
    }
}
