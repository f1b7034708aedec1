//! JSON as the CEL values that the schema's types make of it.

use std::{collections::HashMap, sync::Arc};

use base64::Engine as _;
use kube_cel::cel::{
    Value as Cel,
    objects::{Key, Map},
};
use serde_json::{Number, Value};

use crate::schema::{
    duration::parse_duration,
    formats::Format,
    json_types::Types,
    node::{Additional, Node},
};

/// The words of the CEL grammar, which a field may be called by only in underscores.
const RESERVED: [&str; 21] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// The name under which a rule sees a field, or none if it has no such name.
pub(crate) fn escape(name: &str) -> Option<String> {
    if RESERVED.contains(&name) {
        return Some(format!("__{name}__"));
    }
    let first = name.chars().next()?;
    let rest_fits = name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "_.-/".contains(c));
    if !rest_fits || first.is_ascii_digit() {
        return None;
    }
    let escaped = name.replace("__", "__underscores__");
    Some(
        escaped
            .replace('.', "__dot__")
            .replace('-', "__dash__")
            .replace('/', "__slash__"),
    )
}

fn text(text: &str) -> Cel {
    Cel::String(Arc::new(text.to_owned()))
}

/// Converts a value; `resource` adds the type and metadata that every resource has.
pub(crate) fn convert(value: &Value, node: &Node, resource: bool) -> Cel {
    match value {
        Value::Null => Cel::Null,
        Value::Bool(flag) => Cel::Bool(*flag),
        Value::Number(number) => convert_number(number, node),
        Value::String(string) => convert_text(string, node),
        Value::Array(list) => {
            let items = list.iter().map(|item| match &node.items {
                Some(items) => convert(item, items, items.embedded),
                None => untyped(item),
            });
            Cel::List(Arc::new(items.collect()))
        }
        Value::Object(map) => convert_map(map, node, resource),
    }
}

fn convert_map(map: &serde_json::Map<String, Value>, node: &Node, resource: bool) -> Cel {
    let mut fields: HashMap<Key, Cel> = HashMap::with_capacity(map.len());
    let mut put = |name: String, value: Cel| {
        fields.insert(Key::String(Arc::new(name)), value);
    };
    let shapeless = node.properties.is_empty() && node.preserve_unknown && !resource;
    for (name, value) in map {
        let own = resource && matches!(name.as_str(), "apiVersion" | "kind" | "metadata");
        if let Some(sub) = node.property(name).filter(|_| !own) {
            if let Some(name) = escape(name) {
                put(name, convert(value, sub, sub.embedded));
            }
        } else if own {
            put(name.clone(), meta(name, value));
        } else {
            match &node.additional {
                Additional::Schema(sub) => put(name.clone(), convert(value, sub, sub.embedded)),
                Additional::Any => put(name.clone(), untyped(value)),
                Additional::Absent | Additional::Denied if shapeless => put(name.clone(), untyped(value)),
                Additional::Absent | Additional::Denied => {}
            }
        }
    }
    Cel::Map(Map {
        map: Arc::new(fields),
    })
}

/// Rules see only the name and the generateName of metadata.
fn meta(name: &str, value: &Value) -> Cel {
    match value {
        Value::Object(map) if name == "metadata" => {
            let named = ["name", "generateName"].into_iter().filter_map(|field| {
                map.get(field)
                    .map(|value| (Key::String(Arc::new(field.to_owned())), untyped(value)))
            });
            Cel::Map(Map {
                map: Arc::new(named.collect()),
            })
        }
        other => untyped(other),
    }
}

fn convert_number(number: &Number, node: &Node) -> Cel {
    let float = number.as_f64().unwrap_or(f64::NAN);
    if node.types == Types::NUMBER {
        return Cel::Float(float);
    }
    match number.as_i64() {
        Some(whole) => Cel::Int(whole),
        // The schema lets a whole number be written with a point.
        #[expect(
            clippy::cast_possible_truncation,
            reason = "only whole floats in range get here"
        )]
        None if node.types.has(Types::INTEGER) && float.fract() == 0.0 && float.abs() < 9e18 => {
            Cel::Int(float as i64)
        }
        None => Cel::Float(float),
    }
}

fn convert_text(string: &str, node: &Node) -> Cel {
    if node.types != Types::STRING {
        return text(string);
    }
    let typed = match node.format {
        Format::DateTime => parse_time(string),
        Format::Date => parse_time(&format!("{string}T00:00:00Z")),
        Format::Duration => parse_duration(string).and_then(duration),
        Format::Byte => base64::engine::general_purpose::STANDARD
            .decode(string)
            .ok()
            .map(|bytes| Cel::Bytes(Arc::new(bytes))),
        _ => None,
    };
    typed.unwrap_or_else(|| text(string))
}

/// The interpreter's own type of times parses RFC 3339.
pub(crate) fn parse_time(string: &str) -> Option<Cel> {
    string.parse().ok().map(Cel::Timestamp)
}

pub(crate) fn duration(nanos: i64) -> Option<Cel> {
    let Cel::Timestamp(epoch) = parse_time("1970-01-01T00:00:00Z")? else {
        return None;
    };
    let length = (epoch + std::time::Duration::from_nanos(nanos.unsigned_abs())) - epoch;
    Some(Cel::Duration(if nanos < 0 { -length } else { length }))
}

/// A value of which no schema says anything.
pub(crate) fn untyped(value: &Value) -> Cel {
    match value {
        Value::Null => Cel::Null,
        Value::Bool(flag) => Cel::Bool(*flag),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => Cel::Int(whole),
            None => Cel::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(string) => text(string),
        Value::Array(list) => Cel::List(Arc::new(list.iter().map(untyped).collect())),
        Value::Object(map) => {
            let fields = map
                .iter()
                .map(|(name, value)| (Key::String(Arc::new(name.clone())), untyped(value)));
            Cel::Map(Map {
                map: Arc::new(fields.collect()),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_as_upstream_escapes_them() {
        let rows = [
            ("namespace", Some("__namespace__")),
            ("my_field", Some("my_field")),
            ("a__b", Some("a__underscores__b")),
            ("a-b", Some("a__dash__b")),
            ("a.b/c", Some("a__dot__b__slash__c")),
            ("default", Some("default")),
            ("1a", None),
            ("a b", None),
        ];
        for (name, escaped) in rows {
            assert_eq!(escape(name).as_deref(), escaped, "{name}");
        }
    }
}
