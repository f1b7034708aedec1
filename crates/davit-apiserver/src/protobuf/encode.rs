//! Answers in protobuf: the JSON that they stand for, written as Go's generated code writes it.
//!
//! Go writes every plain field, set or not, and in the order of their numbers.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};

use super::messages::{Field, MAGIC, MESSAGES, Shape, message_name};

/// A document in the envelope that says what it is; none if its kind has no protobuf form.
pub fn encode(document: &Value) -> Option<Vec<u8>> {
    let text = |name: &str| document.get(name).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let fields = document.as_object()?;
    let raw = match item_name(api_version, kind) {
        None => message(&message_name(api_version, kind), fields)?,
        Some(item) => {
            let mut out = list_head(document.get("metadata"))?;
            let items = document.get("items").and_then(Value::as_array);
            for object in items.into_iter().flatten() {
                list_item(&mut out, &item, object.as_object()?)?;
            }
            out
        }
    };
    Some(envelope(api_version, kind, &raw))
}

/// The message of the items, if that kind is a list's.
pub fn item_name(api_version: &str, kind: &str) -> Option<String> {
    let name = message_name(api_version, kind);
    let item = message_name(api_version, kind.strip_suffix("List")?);
    (!MESSAGES.contains_key(name.as_str()) && MESSAGES.contains_key(item.as_str())).then_some(item)
}

/// What a list begins with; its items follow.
pub fn list_head(metadata: Option<&Value>) -> Option<Vec<u8>> {
    let empty = Map::new();
    let metadata = metadata.and_then(Value::as_object).unwrap_or(&empty);
    let mut out = Vec::new();
    chunk(&mut out, 1, &message("meta.ListMeta", metadata)?);
    Some(out)
}

/// One item of a list.
pub fn list_item(out: &mut Vec<u8>, name: &str, object: &Map<String, Value>) -> Option<()> {
    chunk(out, 2, &message(name, object)?);
    Some(())
}

/// The envelope of every document.
fn envelope(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let mut out = envelope_head(api_version, kind, raw.len());
    out.extend_from_slice(raw);
    out.extend_from_slice(END);
    out
}

/// The envelope up to its content, which takes so many bytes.
pub fn envelope_head(api_version: &str, kind: &str, length: usize) -> Vec<u8> {
    let mut type_meta = Vec::new();
    chunk(&mut type_meta, 1, api_version.as_bytes());
    chunk(&mut type_meta, 2, kind.as_bytes());
    let mut out = MAGIC.to_vec();
    chunk(&mut out, 1, &type_meta);
    begin(&mut out, 2, length);
    out
}

/// What ends an envelope: no encoding and no content type.
pub const END: &[u8] = &[3 << 3 | 2, 0, 4 << 3 | 2, 0];

/// One event of a watch: its length, its type, and the object in its envelope.
pub fn event(kind: &str, object: &[u8]) -> Vec<u8> {
    let mut extension = Vec::new();
    chunk(&mut extension, 1, object);
    let mut event = Vec::new();
    chunk(&mut event, 1, kind.as_bytes());
    chunk(&mut event, 2, &extension);
    let length = u32::try_from(event.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], &event].concat()
}

fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(u8::try_from(number & 0x7f).unwrap_or_default() | 0x80);
        number >>= 7;
    }
    out.push(u8::try_from(number).unwrap_or_default());
}

fn whole(out: &mut Vec<u8>, field: u64, number: i64) {
    varint(out, field << 3);
    varint(out, number.cast_unsigned());
}

/// What stands before so many bytes of a field.
fn begin(out: &mut Vec<u8>, field: u64, length: usize) {
    varint(out, field << 3 | 2);
    varint(out, length as u64);
}

fn chunk(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    begin(out, field, bytes.len());
    out.extend_from_slice(bytes);
}

fn message(name: &str, object: &Map<String, Value>) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for (number, Field { json, shape, kind }) in MESSAGES.get(name)? {
        let given = object.get(*json).filter(|value| !value.is_null());
        match (shape, given) {
            (Shape::Optional | Shape::List | Shape::Map, None) => {}
            (Shape::One | Shape::Optional, given) => {
                value(&mut out, *number, kind, given.unwrap_or(&Value::Null));
            }
            (Shape::List, Some(list)) => {
                for item in list.as_array().into_iter().flatten() {
                    value(&mut out, *number, kind, item);
                }
            }
            (Shape::Map, Some(map)) => {
                for (key, item) in map.as_object().into_iter().flatten() {
                    let mut entry = Vec::new();
                    chunk(&mut entry, 1, key.as_bytes());
                    value(&mut entry, 2, kind, item);
                    chunk(&mut out, *number, &entry);
                }
            }
        }
    }
    Some(out)
}

/// Writes one value; null is what Go has where nothing was set.
fn value(out: &mut Vec<u8>, field: u64, kind: &str, value: &Value) {
    let text = || value.as_str().unwrap_or_default();
    match kind {
        "text" => chunk(out, field, text().as_bytes()),
        "bytes" => {
            // Absent bytes are left out, except in an entry of a map.
            if !value.is_null() {
                chunk(out, field, &STANDARD.decode(text()).unwrap_or_default());
            }
        }
        "bool" => whole(out, field, i64::from(value.as_bool().unwrap_or_default())),
        "int" => whole(out, field, number(value)),
        "double" => {
            varint(out, field << 3 | 1);
            out.extend_from_slice(&value.as_f64().unwrap_or_default().to_le_bytes());
        }
        "time" | "micro" => chunk(out, field, &time(text())),
        "intstr" => chunk(out, field, &int_or_string(value)),
        "raw" => chunk(out, field, &wrapped(value.to_string().as_bytes())),
        "wrapped" => chunk(out, field, &wrapped(text().as_bytes())),
        "texts" => {
            let mut texts = Vec::new();
            for item in value.as_array().into_iter().flatten() {
                chunk(&mut texts, 1, item.as_str().unwrap_or_default().as_bytes());
            }
            chunk(out, field, &texts);
        }
        "orbool" | "orarray" | "orstrings" => chunk(out, field, &schema_or(kind, value)),
        name => {
            let empty = Map::new();
            let below = message(name, value.as_object().unwrap_or(&empty));
            chunk(out, field, &below.unwrap_or_default());
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "of a whole number that JSON wrote as a float"
)]
fn number(value: &Value) -> i64 {
    value
        .as_i64()
        .or_else(|| value.as_f64().map(|float| float as i64))
        .unwrap_or_default()
}

fn wrapped(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    chunk(&mut out, 1, bytes);
    out
}

/// Seconds and nanoseconds; nothing for a time that is not set.
fn time(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        whole(&mut out, 1, time.as_second());
        whole(&mut out, 2, i64::from(time.subsec_nanosecond()));
    }
    out
}

fn int_or_string(value: &Value) -> Vec<u8> {
    let text = value.as_str();
    let mut out = Vec::new();
    whole(&mut out, 1, i64::from(text.is_some()));
    whole(&mut out, 2, number(value));
    chunk(&mut out, 3, text.unwrap_or_default().as_bytes());
    out
}

/// A schema, or a truth value, or a list.
fn schema_or(kind: &str, value: &Value) -> Vec<u8> {
    const SCHEMA: &str = "apiextensions.JSONSchemaProps";
    let schema = |value: &Value| value.as_object().and_then(|fields| message(SCHEMA, fields));
    let mut out = Vec::new();
    let number = if kind == "orbool" { 2 } else { 1 };
    if kind == "orbool" {
        let allows = value.as_bool().unwrap_or_else(|| value.is_object());
        whole(&mut out, 1, i64::from(allows));
    }
    if let Some(schema) = schema(value) {
        chunk(&mut out, number, &schema);
    }
    for item in value.as_array().into_iter().flatten() {
        match (schema(item), item.as_str()) {
            (Some(schema), _) => chunk(&mut out, 2, &schema),
            (None, Some(text)) => chunk(&mut out, 2, text.as_bytes()),
            (None, None) => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protobuf::decode;
    use proptest::prelude::*;
    use serde_json::json;

    /// What is written is read again: nothing of a document is lost but what Go has no word for.
    #[test]
    fn documents_come_back() {
        let rows = [
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "labels": {"x": "y"},
                "creationTimestamp": "2024-01-01T00:00:00Z", "generation": 3, "deletionGracePeriodSeconds": 0,
                "managedFields": [{"manager": "m", "operation": "Apply", "time": "2024-01-01T00:00:00Z",
                    "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {".": {}}}}]},
                "data": {"k": "v"}, "binaryData": {"b": "AAE="}, "immutable": false}),
            json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"},
                "spec": {"holderIdentity": "me", "leaseTransitions": 0, "renewTime": "2024-01-01T00:00:00.000001Z"}}),
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
                "spec": {"ports": [{"port": 80, "targetPort": "http"}, {"port": 81, "targetPort": 8081}]}}),
            json!({"apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure", "message": "m",
                "reason": "Invalid", "details": {"name": "n", "causes": [{"field": "f"}]}, "code": 422}),
            json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "c"},
                "spec": {"group": "g", "scope": "Cluster", "names": {"plural": "p", "kind": "K"}, "versions": [{"name": "v1",
                    "served": true, "schema": {"openAPIV3Schema": {"type": "object", "properties": {"a": {"type": "integer",
                        "minimum": 0.5, "default": 3}, "b": {"type": "object", "additionalProperties": {"type": "string"}},
                        "c": {"type": "array", "items": {"type": "string", "enum": ["x"]}},
                        "d": {"type": "object", "additionalProperties": true}}}}}]}}),
        ];
        for document in rows {
            let mut back = decode(&encode(&document).unwrap()).unwrap();
            strip(&mut back);
            let mut wanted = document.clone();
            strip(&mut wanted);
            assert_eq!(back, wanted);
        }
        assert_eq!(encode(&json!({"apiVersion": "v1", "kind": "Nonsense"})), None);
    }

    /// Empty messages are there for Go and not in JSON.
    fn strip(value: &mut Value) {
        match value {
            Value::Object(map) => {
                map.values_mut().for_each(strip);
                map.retain(|_, value| *value != json!({}) && !value.is_null());
            }
            Value::Array(list) => list.iter_mut().for_each(strip),
            _ => {}
        }
    }

    #[test]
    fn lists_and_events() {
        let list = json!({"apiVersion": "v1", "kind": "SecretList", "metadata": {"resourceVersion": "5"},
            "items": [{"metadata": {"name": "a"}}]});
        let bytes = encode(&list).unwrap();
        assert!(bytes.starts_with(MAGIC));
        let event = event("ADDED", &bytes);
        let length = u32::from_be_bytes(event[..4].try_into().unwrap());
        assert_eq!(length as usize, event.len() - 4);
    }

    proptest! {
        #[test]
        fn config_maps_come_back(data in prop::collection::btree_map("[a-z]{1,8}", ".{0,20}", 0..5), set in any::<bool>()) {
            let document = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data,
                "immutable": set});
            let back = decode(&encode(&document).unwrap()).unwrap();
            prop_assert_eq!(back.get("data").cloned().unwrap_or_else(|| json!({})), json!(data));
            prop_assert_eq!(&back["immutable"], set);
        }
    }
}
