//! `meta.k8s.io/v1` Tables: what `kubectl get` prints.

mod age;
mod builtin;
mod jsonpath;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

pub use self::{
    builtin::{builtin_columns, scale_columns},
    jsonpath::JsonPath,
};
use crate::field::{go_json, go_number};

/// What of each object accompanies its row (`includeObject` of the request).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IncludeObject {
    /// Nothing.
    None,
    /// Type and metadata, as a `PartialObjectMetadata`.
    #[default]
    Metadata,
    /// The whole object.
    Object,
}

impl IncludeObject {
    /// Reads the value of the query parameter; an unknown one is refused with upstream's words.
    pub fn parse(value: &str) -> Result<Self, String> {
        match value {
            "None" => Ok(Self::None),
            "Metadata" | "" => Ok(Self::Metadata),
            "Object" => Ok(Self::Object),
            other => Err(format!(
                "unrecognized includeObject value: {}",
                crate::field::quote(other)
            )),
        }
    }
}

/// How a cell comes from an object.
#[derive(Clone, Debug)]
enum Cell {
    Path(JsonPath),
    Computed(fn(&Value, Timestamp) -> Value),
}

/// One column: its heading and how its cells are made.
#[derive(Clone, Debug)]
pub struct Column {
    name: String,
    kind: String,
    format: String,
    description: String,
    priority: i64,
    cell: Cell,
}

const NAME: &str = "The name of the object, unique among its kind in its namespace.";
const AGE: &str = "How long ago the server created the object.";

impl Column {
    fn computed(name: &str, kind: &str, priority: i64, cell: fn(&Value, Timestamp) -> Value) -> Self {
        let (format, description) = match name {
            "Name" => ("name", NAME),
            "Age" => ("", AGE),
            _ => ("", ""),
        };
        Self {
            name: name.into(),
            kind: kind.into(),
            format: format.into(),
            description: description.into(),
            priority,
            cell: Cell::Computed(cell),
        }
    }

    /// The columns of a custom resource: its name, then `additionalPrinterColumns` (by default the age).
    ///
    /// A path that cannot be read gives empty cells: the CRD's validation has the word about those.
    pub fn custom(additional_printer_columns: &[Value]) -> Vec<Self> {
        let mut columns = vec![Self::name()];
        if additional_printer_columns.is_empty() {
            columns.push(Self {
                name: "Age".into(),
                kind: "date".into(),
                format: String::new(),
                description: AGE.into(),
                priority: 0,
                cell: Cell::Path(JsonPath::parse(".metadata.creationTimestamp").unwrap_or_default()),
            });
        }
        columns.extend(additional_printer_columns.iter().map(Self::additional));
        columns
    }

    fn additional(column: &Value) -> Self {
        let text = |name: &str| {
            column
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let path = text("jsonPath");
        let description = Some(text("description"))
            .filter(|description| !description.is_empty())
            .unwrap_or_else(|| format!("Custom resource definition column (in JSONPath format): {path}"));
        Self {
            name: text("name"),
            kind: text("type"),
            format: text("format"),
            description,
            priority: column.get("priority").and_then(Value::as_i64).unwrap_or_default(),
            cell: JsonPath::parse(&path).map_or(Cell::Computed(|_, _| Value::Null), Cell::Path),
        }
    }

    fn name() -> Self {
        Self::computed("Name", "string", 0, |object, _| {
            object["metadata"]["name"].clone()
        })
    }

    fn definition(&self) -> Value {
        json!({
            "name": self.name, "type": self.kind, "format": self.format,
            "description": self.description, "priority": self.priority,
        })
    }

    fn cell(&self, object: &Value, now: Timestamp) -> Value {
        match &self.cell {
            Cell::Computed(make) => make(object, now),
            Cell::Path(path) => match path.find(object).as_deref() {
                Some([first, ..]) => shown(&self.kind, first, now),
                _ => Value::Null,
            },
        }
    }
}

/// A found value as a cell of a column's type; null where it is of another type.
fn shown(kind: &str, value: &Value, now: Timestamp) -> Value {
    match (kind, value) {
        ("string", Value::String(text)) => Value::from(text.as_str()),
        ("string", Value::Number(number)) => Value::from(go_number(number)),
        ("string", Value::Null) => Value::from("<no value>"),
        ("string", other) => Value::from(go_json(other)),
        #[expect(clippy::cast_possible_truncation, reason = "upstream truncates too")]
        ("integer", Value::Number(number)) => number.as_i64().map_or_else(
            || Value::from(number.as_f64().unwrap_or_default() as i64),
            Value::from,
        ),
        ("number", Value::Number(number)) => Value::from(number.clone()),
        ("boolean", Value::Bool(flag)) => Value::from(*flag),
        ("date", Value::String(_)) => Value::from(age::age(Some(value), now)),
        _ => Value::Null,
    }
}

/// The table of these objects, in that version of the table. The caller adds the list's metadata (`resourceVersion`, `continue`).
pub fn table(
    columns: &[Column],
    objects: &[Value],
    now: Timestamp,
    include: IncludeObject,
    version: &str,
) -> Value {
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| row(columns, object, now, include, version))
        .collect();
    let definitions: Vec<Value> = columns.iter().map(Column::definition).collect();
    json!({
        "kind": "Table", "apiVersion": format!("meta.k8s.io/{version}"), "metadata": {},
        "columnDefinitions": definitions, "rows": rows,
    })
}

/// The cells of an object of which nothing is known, as in a bookmark.
pub fn blank(columns: &[Column]) -> Vec<Value> {
    let nothing = json!({"metadata": {}});
    let cells = columns
        .iter()
        .map(|column| (column, column.cell(&nothing, Timestamp::now())));
    cells
        .map(|(column, cell)| match column.cell {
            Cell::Computed(_) if cell.is_null() => "".into(),
            _ => cell,
        })
        .collect()
}

fn row(columns: &[Column], object: &Value, now: Timestamp, include: IncludeObject, version: &str) -> Value {
    let cells: Vec<Value> = columns.iter().map(|column| column.cell(object, now)).collect();
    let object = match include {
        IncludeObject::None => Value::Null,
        IncludeObject::Metadata => partial(object, version),
        IncludeObject::Object => object.clone(),
    };
    json!({"cells": cells, "object": object})
}

/// The object's metadata as a `PartialObjectMetadata`.
pub fn partial(object: &Value, version: &str) -> Value {
    let metadata = object
        .get("metadata")
        .cloned()
        .unwrap_or_else(|| Value::Object(Map::new()));
    let api_version = format!("meta.k8s.io/{version}");
    json!({"kind": "PartialObjectMetadata", "apiVersion": api_version, "metadata": metadata})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2024-05-06T07:08:09Z".parse().unwrap()
    }

    #[test]
    fn cells_of_custom_columns() {
        let columns = json!([
            {"name": "S", "type": "string", "jsonPath": ".status.phase"},
            {"name": "N", "type": "integer", "jsonPath": ".spec.n", "priority": 1},
            {"name": "F", "type": "number", "jsonPath": ".spec.f"},
            {"name": "B", "type": "boolean", "jsonPath": ".spec.b"},
            {"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"},
            {"name": "L", "type": "string", "jsonPath": ".spec.list"},
            {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
            {"name": "Wrong", "type": "integer", "jsonPath": ".status.phase"}
        ]);
        let columns = Column::custom(columns.as_array().unwrap());
        let object = json!({"metadata": {"name": "a", "creationTimestamp": "2024-05-06T07:05:39Z"},
            "spec": {"n": 3.0, "f": 0.5, "b": true, "list": ["x"]},
            "status": {"phase": "done", "conditions": [{"type": "Ready", "status": "True"}]}});
        let table = table(
            &columns,
            std::slice::from_ref(&object),
            now(),
            IncludeObject::None,
            "v1",
        );
        assert_eq!(
            table["rows"][0]["cells"],
            json!(["a", "done", 3, 0.5, true, "True", "[\"x\"]", "2m30s", null])
        );
        assert_eq!(table["rows"][0]["object"], Value::Null);
        assert_eq!(table["columnDefinitions"][2]["priority"], 1);
        assert_eq!(table["columnDefinitions"][0]["format"], "name");
        let bare = super::table(
            &columns,
            &[json!({"metadata": {"name": "b"}})],
            now(),
            IncludeObject::Metadata,
            "v1",
        );
        assert_eq!(
            bare["rows"][0]["cells"],
            json!(["b", null, null, null, null, null, null, null, null])
        );
        assert_eq!(bare["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    }

    #[test]
    fn without_columns_the_age_is_shown() {
        let columns = Column::custom(&[]);
        let object = json!({"metadata": {"name": "a", "creationTimestamp": "2024-05-06T07:08:00Z"}});
        let table = table(&columns, &[object], now(), IncludeObject::Object, "v1");
        assert_eq!(table["rows"][0]["cells"], json!(["a", "9s"]));
    }

    #[test]
    fn a_bad_path_shows_nothing() {
        let columns = Column::custom(&[json!({"name": "x", "type": "string", "jsonPath": ".a["})]);
        let table = table(&columns, &[json!({"a": 1})], now(), IncludeObject::None, "v1");
        assert_eq!(table["rows"][0]["cells"], json!([null, null]));
    }
}
