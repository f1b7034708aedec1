//! Server-side apply: every field has owners, and a write by one does not silently undo another's.
//!
//! [`apply`] is the apply patch; [`update`] keeps the owners right on every other write. Both are pure: the caller
//! passes what is stored and what is wanted, and stores what comes back. The rules, the texts and the wire form are
//! those of `k8s.io/apimachinery/pkg/util/managedfields` and `sigs.k8s.io/structured-merge-diff`.

mod managed;
mod set;
mod shape;
mod target;
#[cfg(test)]
mod tests;
pub mod track;
mod walk;

use std::{borrow::Cow, sync::LazyLock};

use jiff::Timestamp;
use serde_json::{Value, json};

pub use self::target::{ApplyError, Conflict, Target};
use self::{
    managed::{Entry, Managed, Owner, stamp, strip},
    set::{FieldSet, field},
    shape::Shape,
    walk::{check, compare, fields, merge, remove},
};

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Fields without owners: identity, and fields that the server sets.
static UNOWNED: LazyLock<FieldSet> = LazyLock::new(|| {
    let mut set = FieldSet::default();
    for name in ["apiVersion", "kind", "metadata"] {
        set.insert(&[field(name)]);
    }
    for name in [
        "name",
        "namespace",
        "creationTimestamp",
        "selfLink",
        "uid",
        "clusterName",
        "generation",
        "managedFields",
        "resourceVersion",
    ] {
        set.insert(&[field("metadata"), field(name)]);
    }
    set
});

/// Keeps `managedFields` right for a write that is no apply: what changed belongs to the writer now.
///
/// `live` is what is stored (none on create) and `new` what will be; the result is `new` with its `managedFields`.
pub fn update(
    target: &Target<'_>,
    live: Option<&Value>,
    mut new: Value,
    manager: &str,
    now: Timestamp,
) -> Value {
    let given = new["metadata"]["managedFields"].as_array().cloned();
    let reset = target.subresource.is_empty()
        && given.is_some_and(|list| match list.as_slice() {
            [] => true,
            [one] => one.as_object().is_some_and(serde_json::Map::is_empty),
            _ => false,
        });
    let managed = if reset {
        Managed::default()
    } else {
        let sent = if target.subresource.is_empty() {
            Managed::decode(&new)
        } else {
            None
        };
        sent.filter(|sent| !sent.0.is_empty())
            .or_else(|| Managed::decode(live?))
            .unwrap_or_default()
    };
    strip(&mut new);
    // An object that was never tracked stays so until it is applied.
    if managed.0.is_empty() && live.is_some() {
        return new;
    }
    // `managedFields` has no owner, so the stored object may contain it.
    let before = live.map_or_else(|| Cow::Owned(target.nothing()), Cow::Borrowed);
    let managed = updated(target, &before, &new, managed, manager, Some(stamp(now)));
    managed.write(&mut new);
    new
}

/// A version with its group, which is empty for the core's: `/v1`.
pub fn qualified(api_version: &str) -> String {
    if api_version.contains('/') {
        api_version.to_owned()
    } else {
        format!("/{api_version}")
    }
}

fn without_managed(object: &Value) -> Value {
    let mut object = object.clone();
    strip(&mut object);
    object
}

fn updated(
    target: &Target<'_>,
    before: &Value,
    after: &Value,
    mut managed: Managed,
    manager: &str,
    time: Option<String>,
) -> Managed {
    let difference = compare(before, after, &target.shape());
    let changed = target.own(&difference.modified.union(&difference.added));
    let gone = target.own(&difference.removed);
    for entry in &mut managed.0 {
        entry.set.remove(&changed);
        entry.set.remove(&gone);
    }
    let taken = changed.difference(&UNOWNED);
    if !taken.is_empty() {
        let owner = target.owner(manager, false);
        let set = managed
            .get(&owner)
            .map_or_else(|| taken.clone(), |entry| entry.set.union(&taken));
        managed.put(owner, set, time);
    }
    managed.0.retain(|entry| !entry.set.is_empty());
    managed.cap();
    managed
}

/// Applies `config` as `manager`. `live` is what is stored, none if the object is to be created.
///
/// The result has its `managedFields`; defaults and validation are the caller's. It equals `live` where nothing
/// changed (see [`keep_times`] for the times).
pub fn apply(
    target: &Target<'_>,
    live: Option<&Value>,
    config: &Value,
    manager: &str,
    force: bool,
    now: Timestamp,
) -> Result<Value, ApplyError> {
    let given = (
        config["apiVersion"].as_str().unwrap_or_default(),
        config["kind"].as_str().unwrap_or_default(),
    );
    if given != (target.api_version, target.kind) {
        let text = format!("invalid object type: {}, Kind={}", qualified(given.0), given.1);
        return Err(ApplyError::BadRequest(text));
    }
    if config["metadata"]
        .get("managedFields")
        .is_some_and(|fields| !fields.is_null())
    {
        return Err(ApplyError::BadRequest(
            "metadata.managedFields must be nil".into(),
        ));
    }
    let shape = target.shape();
    check(config, &shape).map_err(|message| {
        let name = |field: &str| config["metadata"][field].as_str().unwrap_or_default().to_owned();
        let (namespace, name) = (name("namespace"), name("name"));
        ApplyError::Untyped(format!(
            "failed to create typed patch object ({namespace}/{name}; {}, Kind={}): {message}",
            qualified(target.api_version),
            target.kind
        ))
    })?;
    let before = live.map_or_else(|| target.nothing(), without_managed);
    let mut managed = live.and_then(Managed::decode).unwrap_or_default();
    if managed.0.is_empty() && live.is_some() {
        // Fields from before the first apply get an owner, too.
        managed = updated(
            target,
            &target.nothing(),
            &before,
            managed,
            "before-first-apply",
            None,
        );
    }
    let first = attempt(target, &before, config, managed.clone(), manager, force);
    let (object, mut managed) = match first {
        Err(conflicts) => {
            let left = if manager == "kubectl" {
                not_last_applied(target, &before, &conflicts)
            } else {
                conflicts
            };
            if !left.is_empty() {
                return Err(conflict(&left));
            }
            attempt(target, &before, config, managed, manager, true).map_err(|left| conflict(&left))?
        }
        Ok(done) => done,
    };
    let owner = target.owner(manager, true);
    if let (true, Some(entry)) = (object != before || live.is_none(), managed.get(&owner).cloned()) {
        managed.put(owner, entry.set, Some(stamp(now)));
    }
    let mut object = object;
    if manager == "kubectl" {
        refresh_last_applied(&mut object, config);
    }
    managed.write(&mut object);
    Ok(object)
}

type Conflicts = Vec<(Owner, FieldSet)>;

fn attempt(
    target: &Target<'_>,
    before: &Value,
    config: &Value,
    mut managed: Managed,
    manager: &str,
    force: bool,
) -> Result<(Value, Managed), Conflicts> {
    let shape = target.shape();
    let owner = target.owner(manager, true);
    let merged = merge(before, config, &shape);
    let last = managed
        .get(&owner)
        .map(|entry| entry.set.clone())
        .unwrap_or_default();
    managed.put(owner.clone(), target.own(&fields(config, &shape)), None);
    let after = prune(merged, &last, &managed, &shape);
    let difference = compare(before, &after, &shape);
    let changed = target.own(&difference.modified.union(&difference.added));
    let gone = target.own(&difference.removed);
    let is_other = |entry: &Entry| {
        !(entry.owner.manager == owner.manager
            && entry.owner.applied
            && entry.owner.subresource == owner.subresource)
    };
    let conflicts: Conflicts = managed
        .0
        .iter()
        .filter(|entry| is_other(entry))
        .map(|entry| (entry.owner.clone(), entry.set.intersection(&changed)))
        .filter(|(_, set)| !set.is_empty())
        .collect();
    if !force && !conflicts.is_empty() {
        return Err(conflicts);
    }
    for entry in managed.0.iter_mut().filter(|entry| is_other(entry)) {
        entry.set.remove(&changed);
        entry.set.remove(&gone);
    }
    if let Some(entry) = managed.get(&owner).cloned() {
        managed.put(owner, entry.set.difference(&UNOWNED), None);
    }
    managed.0.retain(|entry| !entry.set.is_empty());
    Ok((after, managed))
}

/// Removes what this manager applied last time, does not apply now, and no other manager owns.
fn prune(merged: Value, last: &FieldSet, managed: &Managed, shape: &Shape<'_>) -> Value {
    if last.is_empty() {
        return merged;
    }
    // Fields that another manager owns stay.
    let mut left = last.clone();
    managed.0.iter().for_each(|entry| left.remove(&entry.set));
    if left.is_empty() {
        return merged;
    }
    let owned = managed
        .0
        .iter()
        .fold(FieldSet::default(), |all, entry| all.union(&entry.set));
    let whole = |set: &FieldSet| set.with_containers(shape, &named);
    let without = |gone: &FieldSet| remove(&merged, gone, &owned, shape).unwrap_or_else(|| json!({}));
    let pruned = without(&whole(last));
    let all = whole(&fields(&merged, shape));
    let pruned = without(&all.difference(&whole(&fields(&pruned, shape)).union(&whole(&owned))));
    // What the last apply did not own is not this manager's to remove.
    without(
        &all.difference(&whole(&fields(&pruned, shape)))
            .intersection(&whole(last)),
    )
}

/// Whether the schema names the field of an element, and the shape below it.
fn named<'a>(shape: &Shape<'a>, element: &str) -> (bool, Shape<'a>) {
    shape.element(element)
}

/// The conflicts that client-side apply does not explain: kubectl may take over what it applied itself before.
fn not_last_applied(target: &Target<'_>, before: &Value, conflicts: &Conflicts) -> Conflicts {
    let last = before["metadata"]["annotations"][LAST_APPLIED].as_str();
    let Some(last) = last.and_then(|text| serde_json::from_str::<Value>(text).ok()) else {
        return conflicts.clone();
    };
    if last["apiVersion"] != target.api_version {
        return conflicts.clone();
    }
    let shape = target.shape();
    let difference = compare(&last, before, &shape);
    let allowed = fields(&last, &shape)
        .difference(&difference.modified)
        .difference(&difference.added)
        .difference(&difference.removed);
    let left = conflicts
        .iter()
        .map(|(owner, set)| (owner.clone(), set.difference(&allowed)));
    left.filter(|(_, set)| !set.is_empty()).collect()
}

/// Keeps the annotation of client-side apply true, so that it can be gone back to.
fn refresh_last_applied(object: &mut Value, config: &Value) {
    let Some(annotations) = object
        .pointer_mut("/metadata/annotations")
        .and_then(Value::as_object_mut)
    else {
        return;
    };
    if !annotations.contains_key(LAST_APPLIED) {
        return;
    }
    let mut plain = config.clone();
    strip(&mut plain);
    if let Some(annotations) = plain
        .pointer_mut("/metadata/annotations")
        .and_then(Value::as_object_mut)
    {
        annotations.remove(LAST_APPLIED);
    }
    annotations.insert(LAST_APPLIED.into(), format!("{plain}\n").into());
}

fn conflict(conflicts: &Conflicts) -> ApplyError {
    let mut all = Vec::new();
    let mut by_owner: Vec<(String, Vec<String>)> = Vec::new();
    for (owner, set) in conflicts {
        let paths = set.paths();
        all.extend(paths.iter().map(|path| Conflict {
            message: format!("conflict with {}", owner.printed()),
            field: path.clone(),
        }));
        by_owner.push((owner.printed(), paths));
    }
    let message = match all.as_slice() {
        [one] => format!("Apply failed with 1 conflict: {}: {}", one.message, one.field),
        many => {
            by_owner.sort();
            let lines = by_owner.iter().flat_map(|(owner, paths)| {
                let paths = paths.iter().map(|path| format!("- {path}"));
                std::iter::once(format!("conflicts with {owner}:")).chain(paths)
            });
            format!(
                "Apply failed with {} conflicts: {}",
                many.len(),
                lines.collect::<Vec<_>>().join("\n")
            )
        }
    };
    ApplyError::Conflicts {
        message,
        conflicts: all,
    }
}

/// Restores the old times if only the times of `managedFields` differ, so that the write changes nothing.
pub fn keep_times(old: &Value, new: &mut Value) {
    if same_but(old, new, &["metadata", "managedFields"]) && timeless(old) == timeless(new) {
        new.clone_from(old);
    }
}

/// Whether both are equal, whatever the field at this path is.
fn same_but(old: &Value, new: &Value, path: &[&str]) -> bool {
    let Some((name, below)) = path.split_first() else {
        return true;
    };
    let (Value::Object(old), Value::Object(new)) = (old, new) else {
        return old == new;
    };
    let rest = |map: &'_ serde_json::Map<String, Value>| map.len() - usize::from(map.contains_key(*name));
    rest(old) == rest(new)
        && old
            .iter()
            .all(|(key, value)| key == name || new.get(key) == Some(value))
        && match (old.get(*name), new.get(*name)) {
            (Some(old), Some(new)) => same_but(old, new, below),
            (old, new) => old == new || below.is_empty(),
        }
}

/// The owners of an object without the times at which they wrote, in one order.
fn timeless(object: &Value) -> Vec<Value> {
    let mut entries = object["metadata"]["managedFields"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    for entry in entries.iter_mut().filter_map(Value::as_object_mut) {
        entry.remove("time");
    }
    entries.sort_by_key(ToString::to_string);
    entries
}
