//! The status of a CustomResourceDefinition: accepted names and conditions.

use serde_json::{Map, Value, json};

use super::fields::{condition, established, storage_version_name};
use crate::{
    json_pointer::{text, texts},
    registry::{Claim, Registry},
};

fn set_condition(
    status: &mut Map<String, Value>,
    kind: &str,
    value: bool,
    reason: &str,
    message: &str,
    now: &str,
) {
    let value = if value { "True" } else { "False" };
    let conditions = status.entry("conditions").or_insert_with(|| json!([]));
    let Some(list) = conditions.as_array_mut() else {
        return;
    };
    if let Some(old) = list.iter_mut().find(|condition| text(condition, "/type") == kind) {
        let since = if text(old, "/status") == value {
            text(old, "/lastTransitionTime")
        } else {
            now
        }
        .to_owned();
        *old = json!({"type": kind, "status": value, "reason": reason, "message": message, "lastTransitionTime": since});
    } else {
        list.push(
            json!({"type": kind, "status": value, "reason": reason, "message": message, "lastTransitionTime": now}),
        );
    }
}

/// Says in the status which names were accepted, and whether the resource is served.
///
/// Upstream's controllers do this a moment later; here it is part of the write.
pub fn set_status(crd: &mut Value, registry: &Registry, now: &str) {
    let (accepted, conflict) = accept_names(crd, registry);
    let storage = storage_version_name(crd);
    let mut stored = texts(crd, "/status/storedVersions");
    stored.extend(storage.filter(|name| !stored.contains(name)));
    let was_established = established(crd);
    let Some(object) = crd.as_object_mut() else { return };
    let status = object.entry("status").or_insert_with(|| json!({}));
    let Some(status) = status.as_object_mut() else {
        return;
    };
    status.insert("storedVersions".into(), json!(stored));
    status.insert("acceptedNames".into(), accepted);
    match conflict {
        None => {
            set_condition(
                status,
                "NamesAccepted",
                true,
                "NoConflicts",
                "no conflicts found",
                now,
            );
            let message = "the initial names have been accepted";
            set_condition(status, "Established", true, "InitialNamesAccepted", message, now);
        }
        Some((reason, message)) => {
            set_condition(status, "NamesAccepted", false, reason, &message, now);
            if !was_established {
                set_condition(
                    status,
                    "Established",
                    false,
                    "NotAccepted",
                    "not all names are accepted",
                    now,
                );
            }
        }
    }
}

/// How far the removal of a CRD's objects is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Terminating {
    /// It was asked for.
    Pending,
    /// It is under way.
    InProgress,
}

/// Says in the conditions that the objects are being removed.
pub fn set_terminating(crd: &mut Map<String, Value>, how_far: Terminating, now: &str) {
    let (reason, message) = match how_far {
        Terminating::Pending => (
            "InstanceDeletionPending",
            "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
        ),
        Terminating::InProgress => (
            "InstanceDeletionInProgress",
            "CustomResource deletion is in progress",
        ),
    };
    let status = crd.entry("status").or_insert_with(|| json!({}));
    if let Some(status) = status.as_object_mut() {
        set_condition(status, "Terminating", true, reason, message, now);
    }
}

/// Whether the CRD waits for a name that another one has.
pub fn waits_for_names(crd: &Value) -> bool {
    condition(crd, "NamesAccepted") == Some("False")
}

/// The names that the CRD may have, and why not all that it asks for: of several conflicts upstream tells the last.
fn accept_names(crd: &Value, registry: &Registry) -> (Value, Option<(&'static str, String)>) {
    let (group, plural) = (text(crd, "/spec/group"), text(crd, "/spec/names/plural"));
    let others: Vec<&Claim> = registry.claims(group, plural).collect();
    let wanted = |key: &str| crd.pointer(&format!("/spec/names/{key}"));
    let mut accepted = Map::from_iter([("plural".to_owned(), "".into()), ("kind".to_owned(), "".into())]);
    if let Some(before) = crd.pointer("/status/acceptedNames").and_then(Value::as_object) {
        accepted.extend(before.clone());
    }
    let mut conflict = None;
    let checks = [
        ("plural", "PluralConflict"),
        ("singular", "SingularConflict"),
        ("shortNames", "ShortNamesConflict"),
        ("kind", "KindConflict"),
        ("listKind", "ListKindConflict"),
    ];
    for (key, reason) in checks {
        let taken = |name: &str| {
            others.iter().any(|other| {
                let names = match key {
                    "kind" | "listKind" => &other.kinds,
                    _ => &other.resources,
                };
                names.iter().any(|own| own == name)
            })
        };
        let had = texts(crd, &format!("/status/acceptedNames/{key}"));
        let mut asked = texts(crd, &format!("/spec/names/{key}"));
        asked.extend(wanted(key).and_then(Value::as_str).map(ToOwned::to_owned));
        let own = |name: &str| {
            accepted.get(key).is_some_and(|known| known == name) || had.iter().any(|known| known == name)
        };
        let lost: Vec<String> = asked
            .iter()
            .filter(|name| !own(name) && taken(name))
            .map(|name| format!("\"{name}\" is already in use"))
            .collect();
        match (lost.as_slice(), wanted(key)) {
            ([], Some(names)) => {
                accepted.insert(key.into(), names.clone());
            }
            ([], None) => {
                accepted.remove(key);
            }
            ([one], _) => conflict = Some((reason, one.clone())),
            (several, _) => conflict = Some((reason, format!("[{}]", several.join(", ")))),
        }
    }
    match wanted("categories") {
        Some(categories) => accepted.insert("categories".into(), categories.clone()),
        None => accepted.remove("categories"),
    };
    (accepted.into(), conflict)
}
