//! Which parts of an object are one value: from a CRD's schema, or from the table of built-in kinds.

use serde_json::{Map, Value};

use super::set::{Element, field};
use crate::{
    merge_strategy::{self, Apply},
    object_meta::decode,
    schema::{Additional, ListType, Node},
};

/// What is known of one place of an object.
#[derive(Clone, Debug)]
pub(super) enum Shape<'a> {
    /// A place of a CRD's schema. `preserve` is whether unknown fields are preserved here or at a place above: upstream's
    /// typed schema inherits it, although pruning does not.
    Custom {
        node: &'a Node,
        root: bool,
        preserve: bool,
    },
    /// A place of a built-in kind, by its path.
    Builtin { kind: &'a str, path: String },
    /// Nothing is known: maps are merged, lists are one value.
    Deduced,
    /// One value, whatever it is.
    Opaque,
    /// The schema has no such place.
    Unknown,
}

/// How a value at a place is taken apart.
pub(super) enum Form<'v> {
    Leaf,
    Map(&'v Map<String, Value>),
    Set(&'v [Value]),
    Keyed(&'v [Value], Vec<Key>),
}

/// A key of a list, with the value that stands for a missing one.
pub(super) struct Key {
    name: String,
    default: Option<Value>,
}

impl<'a> Shape<'a> {
    /// The place of a field, and whether the schema names it (a key of a map is not named).
    pub(super) fn field(&self, name: &str) -> (Self, bool) {
        match self {
            Self::Custom { root, node, .. } if name == "metadata" && (*root || node.embedded) => (
                Self::Builtin {
                    kind: "",
                    path: "metadata".into(),
                },
                true,
            ),
            Self::Custom { root: true, .. } if matches!(name, "apiVersion" | "kind") => (Self::Deduced, true),
            Self::Custom { node, preserve, .. } => match (node.property(name), &node.additional) {
                (Some(sub), _) => (Self::custom(sub, *preserve), true),
                (None, Additional::Schema(sub)) => (Self::custom(sub, *preserve), false),
                (None, Additional::Any) => (Self::Deduced, false),
                (None, Additional::Absent | Additional::Denied) if *preserve => (Self::Deduced, false),
                (None, Additional::Absent | Additional::Denied) => (Self::Unknown, false),
            },
            Self::Builtin { kind, path } => {
                let path = if path.is_empty() {
                    name.to_owned()
                } else {
                    format!("{path}.{name}")
                };
                (Self::Builtin { kind, path }, true)
            }
            Self::Opaque => (Self::Opaque, false),
            Self::Deduced | Self::Unknown => (Self::Deduced, false),
        }
    }

    /// The place of a field of an applied object; `metadata` has the fields of its type and no others.
    pub(super) fn declared(&self, name: &str) -> Self {
        match self {
            Self::Builtin { kind: "", path } if path == "metadata" && !decode::is_declared(name) => {
                Self::Unknown
            }
            _ => self.field(name).0,
        }
    }

    fn custom(node: &'a Node, preserve: bool) -> Self {
        if node.is_int_or_string() {
            Self::Opaque
        } else {
            Self::Custom {
                node,
                root: false,
                preserve: preserve || node.preserve_unknown,
            }
        }
    }

    /// The place of the items of a list.
    pub(super) fn items(&self) -> Self {
        match self {
            Self::Custom { node, preserve, .. } => {
                let items = node.items.as_deref();
                items.map_or(Self::Deduced, |items| Self::custom(items, *preserve))
            }
            Self::Builtin { kind, path } => Self::Builtin {
                kind,
                path: format!("{path}[]"),
            },
            Self::Opaque => Self::Opaque,
            Self::Deduced | Self::Unknown => Self::Deduced,
        }
    }

    /// The place below an element of a field set, and whether it is a field that the schema names.
    pub(super) fn element(&self, element: &str) -> (bool, Self) {
        match element.strip_prefix("f:") {
            Some(name) => {
                let (shape, named) = self.field(name);
                (named, shape)
            }
            None => (false, self.items()),
        }
    }

    pub(super) fn form<'v>(&self, value: &'v Value) -> Form<'v> {
        match (value, self) {
            (_, Self::Opaque) | (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_), _) => {
                Form::Leaf
            }
            (Value::Object(_), Self::Custom { node, .. }) if node.atomic_map => Form::Leaf,
            (Value::Object(_), Self::Builtin { kind, path }) if is_atomic(kind, path) => Form::Leaf,
            (Value::Object(map), _) => Form::Map(map),
            (Value::Array(list), Self::Custom { node, .. }) => match &node.list_type {
                ListType::Atomic => Form::Leaf,
                ListType::Set => Form::Set(list),
                ListType::Map(keys) => {
                    Form::Keyed(list, keys.iter().map(|key| schema_key(node, key)).collect())
                }
            },
            (Value::Array(list), Self::Builtin { kind, path }) => {
                match merge_strategy::at(kind, path).map(|shape| shape.apply) {
                    Some(Apply::Set) => Form::Set(list),
                    Some(Apply::Map(keys)) => {
                        Form::Keyed(list, keys.iter().map(|key| builtin_key(key)).collect())
                    }
                    Some(Apply::Atomic) | None => Form::Leaf,
                }
            }
            (Value::Array(_), Self::Deduced | Self::Unknown) => Form::Leaf,
        }
    }

    /// Whether a value is of the type that the schema names.
    pub(super) fn mismatch(&self, value: &Value) -> Option<String> {
        let Self::Custom {
            node, root: false, ..
        } = self
        else {
            return None;
        };
        let expected = node.expected()?;
        let (actual, shown) = match value {
            Value::Null => return None,
            Value::Bool(flag) => ("boolean", flag.to_string()),
            Value::Number(number) => ("numeric", number.to_string()),
            Value::String(text) => ("string", text.clone()),
            Value::Array(_) => ("list", String::new()),
            Value::Object(_) => ("map", String::new()),
        };
        if actual == expected {
            return None;
        }
        let named = if expected == "numeric" {
            "numeric (int or float)"
        } else {
            expected
        };
        Some(match actual {
            "list" | "map" => format!("expected {named}, got {actual}"),
            _ if matches!(expected, "list" | "map") => format!("expected {named}, got &{{{shown}}}"),
            _ if expected == "numeric" => {
                let go = if actual == "boolean" { "bool" } else { actual };
                format!("expected {named}, got {go}")
            }
            _ => format!("expected {named}, got {shown}"),
        })
    }
}

fn is_atomic(kind: &str, path: &str) -> bool {
    merge_strategy::at(kind, path).is_some_and(|shape| shape.apply == Apply::Atomic)
}

fn schema_key(list: &Node, name: &str) -> Key {
    let default = list
        .items
        .as_ref()
        .and_then(|items| items.property(name))
        .and_then(|node| node.default.as_deref());
    Key {
        name: name.to_owned(),
        default: default.cloned(),
    }
}

fn builtin_key(name: &str) -> Key {
    Key {
        name: name.to_owned(),
        default: (name == "protocol").then(|| Value::from("TCP")),
    }
}

/// The element of an item of a list with keys.
pub(super) fn keyed(item: &Value, keys: &[Key]) -> Result<Element, String> {
    let Value::Object(map) = item else {
        return Err("associative list with keys may only have items of type map".into());
    };
    let mut identity = Map::new();
    let present =
        |key: &Key| map.get(&key.name).is_some_and(|value| !value.is_null()) || key.default.is_some();
    if !keys.iter().any(present) {
        let names: Vec<String> = keys.iter().map(|key| format!("{:?}", key.name)).collect();
        return Err(format!(
            "associative list with keys has an element that omits all key fields [{}] (and doesn't have default \
             values for any key fields)",
            names.join(" ")
        ));
    }
    for key in keys {
        match map
            .get(&key.name)
            .filter(|value| !value.is_null())
            .or(key.default.as_ref())
        {
            Some(value) => identity.insert(key.name.clone(), value.clone()),
            None => {
                return Err(format!(
                    "associative list with keys has an element that omits key field {:?} (and doesn't have default value)",
                    key.name
                ));
            }
        };
    }
    Ok(format!("k:{}", Value::Object(identity)))
}

/// The element of an item of a set.
pub(super) fn valued(item: &Value) -> Result<Element, String> {
    match item {
        Value::Array(_) | Value::Object(_) => {
            Err("associative list without keys may only have scalar items".into())
        }
        Value::Null => Err("associative list without keys has an element that's an explicit null".into()),
        scalar => Ok(format!("v:{scalar}")),
    }
}

impl<'v> Form<'v> {
    /// The children with their elements: fields of a map, items of a list.
    pub(super) fn children(&self) -> Result<Vec<(Element, &'v Value)>, String> {
        match self {
            Self::Leaf => Ok(Vec::new()),
            Self::Map(map) => Ok(map.iter().map(|(name, value)| (field(name), value)).collect()),
            Self::Set(list) => list.iter().map(|item| Ok((valued(item)?, item))).collect(),
            Self::Keyed(list, keys) => list.iter().map(|item| Ok((keyed(item, keys)?, item))).collect(),
        }
    }

    /// Whether it could have children and has none.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Leaf => false,
            Self::Map(map) => map.is_empty(),
            Self::Set(list) | Self::Keyed(list, _) => list.is_empty(),
        }
    }

    pub(super) const fn is_leaf(&self) -> bool {
        matches!(self, Self::Leaf)
    }

    pub(super) const fn is_map(&self) -> bool {
        matches!(self, Self::Map(_))
    }
}
