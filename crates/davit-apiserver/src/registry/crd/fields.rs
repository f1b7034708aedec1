//! Fields of a CustomResourceDefinition.

use serde_json::Value;

use crate::json_pointer::text;

pub(super) fn versions(crd: &Value) -> &[Value] {
    crd.pointer("/spec/versions")
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// The version in which objects are stored.
pub(super) fn storage_version(crd: &Value) -> Option<&Value> {
    let storage = |version: &&Value| version.get("storage") == Some(&Value::Bool(true));
    versions(crd).iter().find(storage)
}

pub(super) fn storage_version_name(crd: &Value) -> Option<String> {
    storage_version(crd).map(|version| text(version, "/name").to_owned())
}

pub(super) fn condition<'a>(crd: &'a Value, wanted: &str) -> Option<&'a str> {
    let conditions = crd.pointer("/status/conditions").and_then(Value::as_array)?;
    let found = conditions
        .iter()
        .find(|condition| text(condition, "/type") == wanted)?;
    Some(text(found, "/status"))
}

/// Whether the CRD's resource is served.
pub fn established(crd: &Value) -> bool {
    condition(crd, "Established") == Some("True")
}

/// Group and plural name of what a CRD defines.
pub fn names(crd: &Value) -> Option<(&str, &str)> {
    let group = crd.pointer("/spec/group")?.as_str()?;
    Some((group, crd.pointer("/spec/names/plural")?.as_str()?))
}
