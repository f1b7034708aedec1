//! `metadata.managedFields`.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::set::FieldSet;

/// As many entries of updates as upstream keeps before it joins the oldest.
const MAX_UPDATES: usize = 10;

/// The key of an entry: manager, operation, version, subresource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) manager: String,
    pub(super) applied: bool,
    pub(super) subresource: String,
    /// The version in which the fields are named.
    pub(super) api_version: String,
}

impl Owner {
    /// Whether both are the same: an applier stays itself in another version.
    fn is(&self, other: &Self) -> bool {
        self.manager == other.manager
            && self.applied == other.applied
            && self.subresource == other.subresource
            && (self.applied || self.api_version == other.api_version)
    }

    /// How a conflict names it.
    pub(super) fn printed(&self) -> String {
        let mut text = crate::field::quote(&self.manager);
        if !self.subresource.is_empty() {
            text = format!(
                "{text} with subresource {}",
                crate::field::quote(&self.subresource)
            );
        }
        if !self.applied {
            text = format!("{text} using {}", self.api_version);
        }
        text
    }
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) owner: Owner,
    pub(super) set: FieldSet,
    pub(super) time: Option<String>,
}

/// All entries of an object.
#[derive(Clone, Debug, Default)]
pub(super) struct Managed(pub(super) Vec<Entry>);

impl Managed {
    /// Reads the entries of an object; none if one of them cannot be read.
    pub(super) fn decode(object: &Value) -> Option<Self> {
        let Some(list) = object["metadata"]["managedFields"].as_array() else {
            return Some(Self::default());
        };
        let mut entries: Vec<Entry> = Vec::with_capacity(list.len());
        for entry in list {
            let text = |name: &str| {
                entry
                    .get(name)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned()
            };
            let applied = match entry["operation"].as_str() {
                Some("Apply") => true,
                Some("Update") => false,
                _ => return None,
            };
            let owner = Owner {
                manager: text("manager"),
                applied,
                subresource: text("subresource"),
                api_version: text("apiVersion"),
            };
            if owner.api_version.is_empty() || entry["fieldsType"] != "FieldsV1" {
                return None;
            }
            let set = match entry.get("fieldsV1") {
                Some(fields) => FieldSet::decode(fields)?,
                None => FieldSet::default(),
            };
            let time = entry["time"].as_str().map(ToOwned::to_owned);
            entries.retain(|known| !known.owner.is(&owner));
            entries.push(Entry { owner, set, time });
        }
        Some(Self(entries))
    }

    /// The wire form, sorted as upstream sorts it.
    fn encode(mut self) -> Vec<Value> {
        self.0.retain(|entry| !entry.set.is_empty());
        self.0.sort_by(|a, b| {
            let key = |entry: &Entry| {
                let owner = &entry.owner;
                let time = entry.time.clone().unwrap_or_default();
                (
                    !owner.applied,
                    time,
                    owner.manager.clone(),
                    owner.api_version.clone(),
                    owner.subresource.clone(),
                )
            };
            key(a).cmp(&key(b))
        });
        self.0
            .into_iter()
            .map(|entry| {
                let operation = if entry.owner.applied { "Apply" } else { "Update" };
                let mut value = json!({
                    "manager": entry.owner.manager, "operation": operation, "apiVersion": entry.owner.api_version,
                    "fieldsType": "FieldsV1", "fieldsV1": entry.set.encode(),
                });
                if let Some(time) = entry.time {
                    value["time"] = time.into();
                }
                if !entry.owner.subresource.is_empty() {
                    value["subresource"] = entry.owner.subresource.into();
                }
                value
            })
            .collect()
    }

    /// Writes the entries into an object; without any the field goes.
    pub(super) fn write(self, object: &mut Value) {
        strip(object);
        let entries = self.encode();
        if !entries.is_empty()
            && let Value::Object(map) = object
        {
            let metadata = map.entry("metadata").or_insert_with(|| json!({}));
            if let Value::Object(metadata) = metadata {
                metadata.insert("managedFields".into(), Value::Array(entries));
            }
        }
    }

    pub(super) fn get(&self, owner: &Owner) -> Option<&Entry> {
        self.0.iter().find(|entry| entry.owner.is(owner))
    }

    /// Puts the owner's fields in place of those that it had; the time stays unless one is given.
    pub(super) fn put(&mut self, owner: Owner, set: FieldSet, time: Option<String>) {
        match self.0.iter_mut().find(|entry| entry.owner.is(&owner)) {
            Some(entry) => {
                let time = time.or_else(|| entry.time.take());
                *entry = Entry { owner, set, time };
            }
            None => self.0.push(Entry { owner, set, time }),
        }
    }

    /// Joins the oldest updates, so that controllers with changing names do not fill the object.
    pub(super) fn cap(&mut self) {
        loop {
            let mut updates: Vec<usize> = (0..self.0.len())
                .filter(|at| {
                    self.0
                        .get(*at)
                        .is_some_and(|entry| !entry.owner.applied && !entry.set.is_empty())
                })
                .collect();
            if updates.len() <= MAX_UPDATES {
                return;
            }
            updates.sort_by_key(|at| {
                self.0
                    .get(*at)
                    .map(|entry| (entry.time.clone(), entry.owner.manager.clone()))
            });
            // The first two of one version are joined; of versions there are never so many.
            let version = |at: usize| self.0.get(at).map(|entry| entry.owner.api_version.clone());
            let pair = updates.iter().enumerate().find_map(|(place, second)| {
                let first = updates
                    .iter()
                    .take(place)
                    .find(|first| version(**first) == version(*second))?;
                Some((*first, *second))
            });
            let Some((first, second)) = pair else { return };
            let (low, high) = (first.min(second), first.max(second));
            let later = self.0.swap_remove(high);
            if let Some(entry) = self.0.get_mut(low) {
                entry.set = entry.set.union(&later.set);
                entry.owner.manager = "ancient-changes".into();
                entry.owner.subresource = String::new();
                entry.time = entry.time.take().max(later.time);
            }
            // Joined entries may have become the same owner.
            let mut joined = Self::default();
            for entry in std::mem::take(&mut self.0) {
                let set = joined
                    .get(&entry.owner)
                    .map_or_else(|| entry.set.clone(), |known| known.set.union(&entry.set));
                joined.put(entry.owner, set, entry.time);
            }
            *self = joined;
        }
    }
}

/// Takes the entries out of an object.
pub(super) fn strip(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
}

/// A time as managedFields writes it: whole seconds.
pub(super) fn stamp(now: Timestamp) -> String {
    Timestamp::from_second(now.as_second()).unwrap_or(now).to_string()
}
