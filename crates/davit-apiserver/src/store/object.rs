//! One stored object: its bytes as every answer carries them, and the few facts that are asked of it often.
//!
//! The bytes always begin `{"kind":…,"apiVersion":…,"metadata":{…}`, in this order. So another version of the same
//! kind is a spliced head, an item of a typed list is the same bytes without their head, and a
//! `PartialObjectMetadata` is a slice: none of the three needs the object parsed.

use std::{borrow::Cow, sync::OnceLock};

use bytes::{BufMut, Bytes, BytesMut};
use serde::Deserialize;
use serde_json::{Map, Value};

const METADATA: &str = "\"metadata\":";

/// Group and plural resource name: what a collection is called.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupResource {
    /// The API group; empty for the core group.
    pub group: Box<str>,
    /// The plural name.
    pub resource: Box<str>,
}

impl GroupResource {
    /// The resource `resource` of `group`.
    pub fn new(group: &str, resource: &str) -> Self {
        Self {
            group: group.into(),
            resource: resource.into(),
        }
    }
}

impl std::fmt::Display for GroupResource {
    /// `widgets.example.com`, or `secrets` in the core group, as messages name a resource.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &*self.group {
            "" => f.write_str(&self.resource),
            group => write!(f, "{}.{group}", self.resource),
        }
    }
}

/// Namespace (empty for a cluster scoped object) and name: what tells objects of one collection apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    /// The namespace; empty for a cluster scoped object.
    pub namespace: Box<str>,
    /// The name.
    pub name: Box<str>,
}

impl ObjectKey {
    /// The key of `namespace` and `name`.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

/// What an owner reference points at.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    /// `apiVersion` of the owner.
    #[serde(default)]
    pub api_version: Box<str>,
    /// `kind` of the owner.
    #[serde(default)]
    pub kind: Box<str>,
    /// Name of the owner.
    #[serde(default)]
    pub name: Box<str>,
    /// Unique id of the owner: the part that decides.
    #[serde(default)]
    pub uid: Box<str>,
    /// Whether the owner's foreground deletion waits for this dependent.
    #[serde(default)]
    pub block_owner_deletion: Option<bool>,
}

/// An immutable version of an object.
#[derive(Debug)]
pub struct Object {
    /// Namespace and name.
    pub key: ObjectKey,
    /// `metadata.uid`.
    pub uid: Box<str>,
    /// The revision at which this version was written.
    pub revision: u64,
    /// `metadata.labels`.
    pub labels: Box<[(Box<str>, Box<str>)]>,
    /// `metadata.ownerReferences`.
    pub owners: Box<[Owner]>,
    /// `metadata.finalizers`.
    pub finalizers: Box<[Box<str>]>,
    /// Whether `metadata.deletionTimestamp` is set.
    pub deleting: bool,
    /// Path and text of the field that was selected by first.
    field: OnceLock<(Box<str>, Box<str>)>,
    json: Bytes,
    head: usize,
    metadata_end: usize,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Facts {
    namespace: Option<Box<str>>,
    name: Box<str>,
    uid: Box<str>,
    resource_version: Box<str>,
    labels: Option<std::collections::BTreeMap<Box<str>, Box<str>>>,
    owner_references: Option<Vec<Owner>>,
    finalizers: Option<Vec<Box<str>>>,
    deletion_timestamp: Option<serde::de::IgnoredAny>,
}

impl Object {
    /// Renders `value` with the given revision as its resourceVersion.
    pub fn render(value: &mut Map<String, Value>, revision: u64) -> Result<Self, serde_json::Error> {
        let metadata = value
            .entry("metadata")
            .or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(metadata) = metadata {
            // What is answered without being stored has none.
            if revision == 0 {
                metadata.remove("resourceVersion");
            } else {
                metadata.insert("resourceVersion".into(), Value::String(revision.to_string()));
            }
        }
        let mut out = BytesMut::with_capacity(512).writer();
        let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
        put(&mut out, "{\"kind\":");
        serde_json::to_writer(&mut out, text("kind"))?;
        put(&mut out, ",\"apiVersion\":");
        serde_json::to_writer(&mut out, text("apiVersion"))?;
        put(&mut out, ",");
        let head = out.get_ref().len();
        put(&mut out, METADATA);
        serde_json::to_writer(&mut out, value.get("metadata").unwrap_or(&Value::Null))?;
        let metadata_end = out.get_ref().len();
        for (key, field) in &*value {
            if !matches!(key.as_str(), "kind" | "apiVersion" | "metadata") {
                put(&mut out, ",");
                serde_json::to_writer(&mut out, key)?;
                put(&mut out, ":");
                serde_json::to_writer(&mut out, field)?;
            }
        }
        put(&mut out, "}");
        // A copy of the right size: what was written to has up to twice the room that it needs, and stays for long.
        Self::parse(Bytes::copy_from_slice(out.get_ref()), head, metadata_end)
    }

    /// Reads back what [`Object::render`] made: `"metadata":` begins at `head`, its value ends at `metadata_end`.
    pub fn parse(json: Bytes, head: usize, metadata_end: usize) -> Result<Self, serde_json::Error> {
        let metadata = json.get(head + METADATA.len()..metadata_end).unwrap_or_default();
        let facts: Facts = serde_json::from_slice(metadata)?;
        Ok(Self {
            key: ObjectKey {
                namespace: facts.namespace.unwrap_or_default(),
                name: facts.name,
            },
            uid: facts.uid,
            revision: facts.resource_version.parse().unwrap_or_default(),
            labels: facts.labels.unwrap_or_default().into_iter().collect(),
            owners: facts.owner_references.unwrap_or_default().into(),
            finalizers: facts.finalizers.unwrap_or_default().into(),
            deleting: facts.deletion_timestamp.is_some(),
            field: OnceLock::new(),
            head,
            metadata_end,
            json,
        })
    }

    /// The whole object as JSON, in the version in which it is stored.
    pub fn json(&self) -> &Bytes {
        &self.json
    }

    /// What precedes `"metadata":`, that is `{"kind":…,"apiVersion":…,`.
    pub fn head(&self) -> Bytes {
        self.json.slice(..self.head)
    }

    /// Everything from `"metadata":` on, to the closing brace.
    pub fn tail(&self) -> Bytes {
        self.json.slice(self.head..)
    }

    /// The value of `metadata` as JSON.
    pub fn metadata_json(&self) -> Bytes {
        self.json
            .slice((self.head + METADATA.len()).min(self.metadata_end)..self.metadata_end)
    }

    /// Where `"metadata":` begins and where its value ends, for [`Object::parse`].
    pub fn offsets(&self) -> (usize, usize) {
        (self.head, self.metadata_end)
    }

    /// The text of the field at this path, which `read` takes from the object. That of the first path is kept: a list of a thousand
    /// objects by a field would otherwise parse all of them each time.
    pub fn field(&self, path: &str, mut read: impl FnMut() -> String) -> Cow<'_, str> {
        let (kept, text) = self.field.get_or_init(|| (path.into(), read().into()));
        if **kept == *path {
            Cow::Borrowed(text)
        } else {
            Cow::Owned(read())
        }
    }

    /// The object parsed.
    pub fn value(&self) -> Map<String, Value> {
        serde_json::from_slice(&self.json).unwrap_or_default()
    }
}

fn put(out: &mut bytes::buf::Writer<BytesMut>, text: &str) {
    out.get_mut().put_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn slices_stand_where_they_should() {
        let mut value = json!({"apiVersion": "v1", "data": {"a": "b"}, "kind": "ConfigMap",
            "metadata": {"name": "n", "namespace": "s", "uid": "u", "labels": {"x": "y"}}});
        let object = Object::render(value.as_object_mut().unwrap(), 7).unwrap();
        assert_eq!(&object.head()[..], br#"{"kind":"ConfigMap","apiVersion":"v1","#);
        assert!(object.tail().starts_with(br#""metadata":{"#));
        let metadata: Value = serde_json::from_slice(&object.metadata_json()).unwrap();
        assert_eq!(metadata["resourceVersion"], "7");
        assert_eq!(Value::Object(object.value()), value);
        assert_eq!(object.revision, 7);
        assert_eq!(object.key, ObjectKey::new("s", "n"));
    }

    #[test]
    fn field_of_the_first_path_is_read_once() {
        let mut value = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "n"}});
        let object = Object::render(value.as_object_mut().unwrap(), 7).unwrap();
        let mut reads = Vec::new();
        for path in ["spec.a", "spec.b", "spec.a", "spec.b", ""] {
            let text = object.field(path, || {
                reads.push(path);
                format!("of {path}")
            });
            assert_eq!(text, format!("of {path}"));
        }
        assert_eq!(reads, ["spec.a", "spec.b", "spec.b", ""]);
    }
}
