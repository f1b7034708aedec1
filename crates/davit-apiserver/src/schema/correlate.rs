//! Which old value belongs to a new one.

use serde_json::Value;

use super::node::{ListType, Node};

/// The old value under the same key.
pub(crate) fn field<'a>(old: Option<&'a Value>, name: &str) -> Option<&'a Value> {
    old?.get(name)
}

/// The old item with the same keys, in a list that tells its items apart by keys; items of other lists have none.
pub(crate) fn item<'a>(node: &Node, old: Option<&'a Value>, item: &Value) -> Option<&'a Value> {
    let ListType::Map(keys) = &node.list_type else {
        return None;
    };
    let old = old?.as_array()?;
    if keys.is_empty() || !item.is_object() {
        return None;
    }
    old.iter()
        .find(|candidate| keys.iter().all(|key| candidate.get(&**key) == item.get(&**key)))
}

/// Fields that name the type: the old object was read in the new one's version, so a change does not show.
pub(crate) fn is_type_meta(name: &str) -> bool {
    name == "apiVersion" || name == "kind"
}
