//! What a schema declares to rules: the type of each place, how large its values can be and how small.
//!
//! Sizes are upstream's: what no `maxItems` bounds is bounded by how much of it fits into a request.

use std::{collections::BTreeMap, rc::Rc};

use serde_json::{Map, Value};

use super::types::{Declared, Kind, Type};
use crate::cel::value::escape;

/// How large a request can be, in bytes: upstream's limit, from which all bounds are computed.
pub(crate) const REQUEST: u64 = 3 << 20;

fn text<'a>(schema: &'a Map<String, Value>, name: &str) -> &'a str {
    schema.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn flag(schema: &Map<String, Value>, name: &str) -> bool {
    schema.get(name).and_then(Value::as_bool) == Some(true)
}

impl Declared {
    /// What the schema declares, called `name`; none where rules cannot see it. `resource` is whether it is one, with
    /// a type and a name.
    pub(crate) fn of(schema: &Map<String, Value>, name: &str, resource: bool) -> Option<Rc<Self>> {
        let count = |key: &str| {
            let count = schema.get(key).and_then(Value::as_i64);
            count.map(|count| u64::try_from(count).unwrap_or(0))
        };
        let below = |value: &Value, at: &str| {
            let sub = value.as_object()?;
            Self::of(sub, at, flag(sub, "x-kubernetes-embedded-resource"))
        };
        if flag(schema, "x-kubernetes-int-or-string") {
            return Some(Self::simple(name, Kind::Dyn, REQUEST - 2, 1));
        }
        let made = match text(schema, "type") {
            "array" => {
                let items = below(schema.get("items")?, &format!("{name}.@idx"))?;
                let most = count("maxItems").unwrap_or((REQUEST - 2) / (items.least + 1));
                Self::simple(name, Kind::List(items), most, 2)
            }
            "object" => return Self::object(schema, name, resource, count("maxProperties")),
            "string" => Self::string(schema, name, count("maxLength")),
            "boolean" => Self::simple(name, Kind::Simple("bool"), 0, 4),
            "number" => Self::simple(name, Kind::Simple("double"), 0, 1),
            "integer" => Self::simple(name, Kind::Simple("int"), 0, 1),
            _ => return None,
        };
        Some(made)
    }

    fn simple(name: &str, kind: Kind, most: u64, least: u64) -> Rc<Self> {
        Rc::new(Self {
            name: name.to_owned(),
            kind,
            most,
            least,
        })
    }

    fn string(schema: &Map<String, Value>, name: &str, longest: Option<u64>) -> Rc<Self> {
        let whole = REQUEST - 2;
        let (kind, most, least) = match text(schema, "format") {
            "byte" => ("bytes", longest.unwrap_or(whole), 2),
            "duration" => ("duration", 32, 3),
            "date" => ("timestamp", 12, 12),
            "date-time" => ("timestamp", 32, 21),
            _ => {
                let choices = schema.get("enum").and_then(Value::as_array);
                let chosen = choices.filter(|choices| !choices.is_empty()).map(|choices| {
                    let lengths = choices.iter().filter_map(Value::as_str).map(str::len);
                    lengths.max().unwrap_or(0) as u64
                });
                // `maxLength` counts characters, of up to four bytes each.
                let longest = longest.map(|longest| longest.saturating_mul(4));
                ("string", longest.or(chosen).unwrap_or(whole), 2)
            }
        };
        Self::simple(name, Kind::Simple(kind), most, least)
    }

    fn object(
        schema: &Map<String, Value>,
        name: &str,
        resource: bool,
        most: Option<u64>,
    ) -> Option<Rc<Self>> {
        if let Some(Value::Object(sub)) = schema.get("additionalProperties") {
            let at = format!("{name}.@elem");
            let values = Self::of(sub, &at, flag(sub, "x-kubernetes-embedded-resource"))?;
            // A key of nothing, its quotes, a colon and a comma.
            let most = most.unwrap_or((REQUEST - 2) / (values.least + 6));
            return Some(Self::simple(name, Kind::Map(values), most, 2));
        }
        let required = schema.get("required").and_then(Value::as_array);
        let required = |name: &str| {
            let mut names = required.into_iter().flatten();
            names.any(|known| known.as_str() == Some(name))
        };
        let mut fields = BTreeMap::new();
        let mut least = 2;
        let empty = Map::new();
        let properties = schema
            .get("properties")
            .and_then(Value::as_object)
            .unwrap_or(&empty);
        for (property, sub) in properties {
            let (Some(sub), Some(field)) = (sub.as_object(), escape(property)) else {
                continue;
            };
            let at = format!("{name}.{field}");
            let Some(declared) = Self::of(sub, &at, flag(sub, "x-kubernetes-embedded-resource")) else {
                continue;
            };
            if required(property) && sub.get("default").is_none_or(Value::is_null) {
                least += property.len() as u64 + declared.least + 4;
            }
            fields.insert(field, declared);
        }
        if resource {
            let word = |at: String| Self::simple(&at, Kind::Simple("string"), REQUEST - 2, 2);
            for field in ["apiVersion", "kind"] {
                fields.insert(field.to_owned(), word(format!("{name}.{field}")));
            }
            let named = ["name", "generateName"];
            let named = named.map(|field| (field.to_owned(), word(format!("{name}.metadata.{field}"))));
            let at = format!("{name}.metadata");
            let metadata = Self::simple(&at, Kind::Object(named.into()), 0, 2);
            fields.insert("metadata".to_owned(), metadata);
        }
        Some(Self::simple(name, Kind::Object(fields), 0, least))
    }

    /// The type of its values.
    pub(crate) fn typed(self: &Rc<Self>) -> Type {
        match &self.kind {
            Kind::Simple(name) => Type::Plain(name),
            Kind::Dyn => Type::Dyn,
            Kind::List(items) => Type::List(Box::new(items.typed())),
            Kind::Map(values) => Type::Map(Box::new(Type::STRING), Box::new(values.typed())),
            Kind::Object(_) => Type::Object(self.clone()),
        }
    }

    /// The place below it: a field, or `@items`, `@keys` or `@values`; `None` if it does not exist.
    pub(crate) fn below(&self, step: &str) -> Option<Rc<Self>> {
        match (&self.kind, step) {
            (Kind::List(below) | Kind::Map(below), "@items" | "@values") => Some(below.clone()),
            // Of a key nothing is known but that it is a text.
            (Kind::Map(_), "@keys") => Some(Self::simple("", Kind::Simple("string"), 0, 2)),
            (Kind::Object(fields), field) => fields.get(field).cloned(),
            _ => None,
        }
    }

    /// How many of them there can be in a request, where nothing else bounds that.
    pub(crate) const fn cardinality(&self) -> u64 {
        REQUEST / (self.least + 1)
    }
}
