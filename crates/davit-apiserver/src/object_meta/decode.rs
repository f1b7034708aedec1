//! `metadata` as its Go type reads it: what the type does not know goes, and what does not fit is said in Go's words.

use serde_json::{Map, Value};

use crate::patch::go_kind;

/// What a field of a Go type holds.
#[derive(Clone, Copy)]
enum Go {
    Text(&'static str),
    Int,
    Bool,
    Time,
    Texts,
    TextMap,
    Raw,
    List(&'static str, &'static [(&'static str, Go, bool)]),
}

/// A field: its name, what it holds, and whether a zero is a value.
type Row = (&'static str, Go, bool);

const STRING: Go = Go::Text("string");

const OWNER: &[Row] = &[
    ("apiVersion", STRING, true),
    ("kind", STRING, true),
    ("name", STRING, true),
    ("uid", Go::Text("types.UID"), true),
    ("controller", Go::Bool, true),
    ("blockOwnerDeletion", Go::Bool, true),
];

const MANAGED: &[Row] = &[
    ("manager", STRING, false),
    ("operation", Go::Text("v1.ManagedFieldsOperationType"), false),
    ("apiVersion", STRING, false),
    ("time", Go::Time, false),
    ("fieldsType", STRING, false),
    ("fieldsV1", Go::Raw, false),
    ("subresource", STRING, false),
];

const META: &[Row] = &[
    ("name", STRING, false),
    ("generateName", STRING, false),
    ("namespace", STRING, false),
    ("selfLink", STRING, false),
    ("uid", Go::Text("types.UID"), false),
    ("resourceVersion", STRING, false),
    ("generation", Go::Int, false),
    ("creationTimestamp", Go::Time, false),
    ("deletionTimestamp", Go::Time, false),
    ("deletionGracePeriodSeconds", Go::Int, true),
    ("labels", Go::TextMap, false),
    ("annotations", Go::TextMap, false),
    ("ownerReferences", Go::List("OwnerReference", OWNER), false),
    ("finalizers", Go::Texts, false),
    ("managedFields", Go::List("ManagedFieldsEntry", MANAGED), false),
];

/// Whether the type of `metadata` has a field of that name.
pub fn is_declared(name: &str) -> bool {
    META.iter().any(|(known, ..)| *known == name)
}

/// The metadata as its type has it, and the paths of what the type does not know, such as `ownerReferences[0].x`.
///
/// `within` stands before a field where Go names one: `metadata.`, or nothing. The error is Go's.
pub fn read(given: &Value, within: &str) -> Result<(Map<String, Value>, Vec<String>), String> {
    let mut unknown = Vec::new();
    let Some(map) = given.as_object() else {
        return Err(format!(
            "json: cannot unmarshal {} into Go value of type v1.ObjectMeta",
            go_kind(given)
        ));
    };
    let place = Place {
        go: "ObjectMeta",
        field: within.to_owned(),
        path: String::new(),
    };
    let read = object(map, META, &place, &mut unknown)?;
    Ok((read, unknown))
}

/// Where a value stands, for Go and for people.
struct Place {
    go: &'static str,
    field: String,
    path: String,
}

impl Place {
    fn wrong(&self, name: &str, value: &Value, wanted: &str) -> String {
        format!(
            "json: cannot unmarshal {} into Go struct field {}.{}{name} of type {wanted}",
            go_kind(value),
            self.go,
            self.field
        )
    }
}

fn object(
    map: &Map<String, Value>,
    rows: &[Row],
    place: &Place,
    unknown: &mut Vec<String>,
) -> Result<Map<String, Value>, String> {
    let mut read = Map::new();
    for (name, value) in map {
        let Some((_, go, zero)) = rows.iter().find(|(known, ..)| known == name) else {
            unknown.push(format!("{}{name}", place.path));
            continue;
        };
        if value.is_null() {
            continue;
        }
        let value = field(name, value, *go, place, unknown)?;
        if *zero || !empty(&value) {
            read.insert(name.clone(), value);
        }
    }
    // Of these the type always has a value.
    for (name, go, zero) in rows {
        if *zero && matches!(go, Go::Text(_)) && !read.contains_key(*name) {
            read.insert((*name).to_owned(), "".into());
        }
    }
    Ok(read)
}

fn field(
    name: &str,
    value: &Value,
    go: Go,
    place: &Place,
    unknown: &mut Vec<String>,
) -> Result<Value, String> {
    let text = |value: &Value, wanted: &str| match value {
        Value::Null => Ok(Value::from("")),
        Value::String(_) => Ok(value.clone()),
        _ => Err(place.wrong(name, value, wanted)),
    };
    match (go, value) {
        (Go::Text(wanted), _) => text(value, wanted),
        (Go::Raw, _) | (Go::Bool, Value::Bool(_)) => Ok(value.clone()),
        (Go::Bool, _) => Err(place.wrong(name, value, "bool")),
        (Go::Int, Value::Number(number)) => match number.as_i64() {
            Some(whole) => Ok(whole.into()),
            None => Err(place
                .wrong(name, value, "int64")
                .replacen("number", &format!("number {number}"), 1)),
        },
        (Go::Int, _) => Err(place.wrong(name, value, "int64")),
        (Go::Time, Value::String(text)) => time(text),
        (Go::Time, _) => Err(place.wrong(name, value, "string")),
        (Go::Texts, Value::Array(list)) => list.iter().map(|item| text(item, "string")).collect(),
        (Go::Texts, _) => Err(place.wrong(name, value, "[]string")),
        (Go::TextMap, Value::Object(map)) => {
            let entries = map
                .iter()
                .map(|(key, item)| Ok((key.clone(), text(item, "string")?)));
            entries.collect::<Result<Map<_, _>, String>>().map(Value::Object)
        }
        (Go::TextMap, _) => Err(place.wrong(name, value, "map[string]string")),
        (Go::List(go, rows), Value::Array(list)) => {
            let mut items = Vec::new();
            for (at, item) in list.iter().enumerate() {
                let Some(map) = item.as_object() else {
                    return Err(place.wrong(name, item, &format!("v1.{go}")));
                };
                let below = Place {
                    go,
                    field: format!("{}{name}.", place.field),
                    path: format!("{}{name}[{at}].", place.path),
                };
                items.push(Value::Object(object(map, rows, &below, unknown)?));
            }
            Ok(items.into())
        }
        (Go::List(go, _), _) => Err(place.wrong(name, value, &format!("[]v1.{go}"))),
    }
}

/// A time as the API writes it, to the second.
fn time(text: &str) -> Result<Value, String> {
    if text.is_empty() {
        return Ok(Value::Null);
    }
    let parsed: jiff::Timestamp = text.parse().map_err(|_| {
        format!(
            "parsing time \"{text}\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"{text}\" as \"2006\""
        )
    })?;
    Ok(parsed.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into())
}

fn empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_the_type_knows_stays() {
        let given = json!({"name": "a", "labels": {"x": "y", "n": null}, "generation": 0, "uid": "", "more": 1,
            "creationTimestamp": null, "deletionTimestamp": "2024-01-01T02:00:00+02:00", "finalizers": [],
            "ownerReferences": [{"name": "o", "x": 1, "controller": false}], "deletionGracePeriodSeconds": 0,
            "managedFields": [{"manager": "m", "fieldsV1": {"f:a": {}}, "time": null}]});
        let (read, unknown) = read(&given, "").unwrap();
        assert_eq!(
            Value::Object(read),
            json!({"name": "a", "labels": {"x": "y", "n": ""}, "deletionTimestamp": "2024-01-01T00:00:00Z",
                "ownerReferences": [{"apiVersion": "", "kind": "", "name": "o", "uid": "", "controller": false}],
                "deletionGracePeriodSeconds": 0, "managedFields": [{"manager": "m", "fieldsV1": {"f:a": {}}}]})
        );
        assert_eq!(unknown, ["more", "ownerReferences[0].x"]);
    }

    #[test]
    fn what_does_not_fit_is_said_in_gos_words() {
        let rows = [
            (
                json!({"labels": {"a": 5}}),
                "number into Go struct field ObjectMeta.metadata.labels of type string",
            ),
            (
                json!({"labels": "x"}),
                "string into Go struct field ObjectMeta.metadata.labels of type map[string]string",
            ),
            (
                json!({"finalizers": "x"}),
                "string into Go struct field ObjectMeta.metadata.finalizers of type []string",
            ),
            (
                json!({"uid": 5}),
                "number into Go struct field ObjectMeta.metadata.uid of type types.UID",
            ),
            (
                json!({"generation": 1.5}),
                "number 1.5 into Go struct field ObjectMeta.metadata.generation of type int64",
            ),
            (
                json!({"ownerReferences": [{"controller": "yes"}]}),
                "string into Go struct field OwnerReference.metadata.ownerReferences.controller of type bool",
            ),
            (json!(5), "number into Go value of type v1.ObjectMeta"),
        ];
        for (given, wanted) in rows {
            let said = read(&given, "metadata.").unwrap_err();
            assert_eq!(said, format!("json: cannot unmarshal {wanted}"), "{given}");
        }
    }
}
