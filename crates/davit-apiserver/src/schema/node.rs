//! A structural schema in the form in which objects are checked: small, without descriptions, rules compiled.

use std::sync::OnceLock;

use regex::Regex;
use serde_json::{Map, Value};

use super::{formats::Format, json_types::Types, rule::Rule};

/// What a map says of keys that no property names.
#[derive(Debug, Default)]
pub(crate) enum Additional {
    /// Nothing: such keys are unknown and pruned.
    #[default]
    Absent,
    /// `additionalProperties: false`.
    Denied,
    /// `additionalProperties: true`.
    Any,
    /// Each value has this schema.
    Schema(Box<Node>),
}

/// How a list merges and compares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum ListType {
    /// Replaced as one value.
    #[default]
    Atomic,
    Set,
    /// Items told apart by these keys.
    Map(Box<[Box<str>]>),
}

/// One place of a schema.
#[derive(Debug, Default)]
pub(crate) struct Node {
    pub(crate) types: Types,
    pub(crate) nullable: bool,
    pub(crate) preserve_unknown: bool,
    pub(crate) atomic_map: bool,
    pub(crate) embedded: bool,
    /// Whether a rule is here or deeper, so that the walk for rules can stop early.
    pub(crate) ruled: bool,
    pub(crate) format: Format,
    pub(crate) properties: Box<[(Box<str>, Self)]>,
    pub(crate) additional: Additional,
    pub(crate) items: Option<Box<Self>>,
    pub(crate) list_type: ListType,
    pub(crate) default: Option<Box<Value>>,
    pub(crate) checks: Option<Box<Checks>>,
    pub(crate) rules: Box<[Rule]>,
}

/// What a value must satisfy beyond its type.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    pub(crate) choices: Vec<Value>,
    pub(crate) pattern: Option<Pattern>,
    pub(crate) minimum: Option<f64>,
    pub(crate) exclusive_minimum: bool,
    pub(crate) maximum: Option<f64>,
    pub(crate) exclusive_maximum: bool,
    pub(crate) multiple_of: Option<f64>,
    pub(crate) min_length: Option<u64>,
    pub(crate) max_length: Option<u64>,
    pub(crate) min_items: Option<u64>,
    pub(crate) max_items: Option<u64>,
    pub(crate) unique_items: bool,
    pub(crate) min_properties: Option<u64>,
    pub(crate) max_properties: Option<u64>,
    pub(crate) required: Box<[Box<str>]>,
    pub(crate) all_of: Vec<Node>,
    pub(crate) any_of: Vec<Node>,
    pub(crate) one_of: Vec<Node>,
    pub(crate) not: Option<Box<Node>>,
}

/// A regular expression that is built when the first value meets it: an idle schema keeps only the text.
#[derive(Debug)]
pub(crate) struct Pattern {
    pub(crate) text: Box<str>,
    built: OnceLock<Option<Regex>>,
}

impl Pattern {
    pub(crate) fn new(text: &str) -> Self {
        Self {
            text: text.into(),
            built: OnceLock::new(),
        }
    }

    /// Whether the text matches; an expression that cannot be built matches nothing.
    pub(crate) fn matches(&self, text: &str) -> bool {
        self.built
            .get_or_init(|| build(&self.text).ok())
            .as_ref()
            .is_some_and(|regex| regex.is_match(text))
    }
}

/// Builds a regular expression of the RE2 syntax, bounded in size.
pub(crate) fn build(pattern: &str) -> Result<Regex, regex::Error> {
    regex::RegexBuilder::new(pattern)
        .size_limit(2 << 20)
        .dfa_size_limit(256 << 10)
        .build()
}

impl Node {
    pub(crate) fn property(&self, name: &str) -> Option<&Self> {
        let at = self
            .properties
            .binary_search_by(|(known, _)| (**known).cmp(name))
            .ok()?;
        self.properties.get(at).map(|(_, node)| node)
    }

    /// Whether values may be of several types, so that nothing can be said of what is inside.
    pub(crate) const fn is_int_or_string(&self) -> bool {
        self.types.has(Types::INTEGER) && self.types.has(Types::STRING)
    }

    /// What a value's JSON type must be, where the schema names one.
    pub(crate) fn expected(&self) -> Option<&'static str> {
        let types = [
            (Types::OBJECT, "map"),
            (Types::ARRAY, "list"),
            (Types::STRING, "string"),
            (Types::INTEGER, "numeric"),
            (Types::NUMBER, "numeric"),
            (Types::BOOLEAN, "boolean"),
        ];
        types
            .into_iter()
            .find(|(one, _)| self.types == *one)
            .map(|(_, name)| name)
    }

    /// The schema of the value under `name`: a property's, or that of all other keys.
    pub(crate) fn field(&self, name: &str) -> Option<&Self> {
        self.property(name).or(match &self.additional {
            Additional::Schema(node) => Some(node),
            Additional::Absent | Additional::Denied | Additional::Any => None,
        })
    }

    /// Reads a schema that passed the structural checks; what it does not know it leaves out.
    pub(crate) fn compile(schema: &Map<String, Value>) -> Self {
        let flag = |name: &str| schema.get(name).and_then(Value::as_bool) == Some(true);
        let int_or_string = flag("x-kubernetes-int-or-string");
        let types = if int_or_string {
            Types::INT_OR_STRING
        } else {
            Types::named(schema.get("type").and_then(Value::as_str).unwrap_or_default())
        };
        let mut properties: Vec<(Box<str>, Self)> = schema
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .filter_map(|(name, sub)| Some((name.as_str().into(), Self::compile(sub.as_object()?))))
            .collect();
        properties.sort_by(|a, b| a.0.cmp(&b.0));
        let additional = match schema.get("additionalProperties") {
            Some(Value::Bool(true)) => Additional::Any,
            Some(Value::Bool(false)) => Additional::Denied,
            Some(Value::Object(sub)) => Additional::Schema(Box::new(Self::compile(sub))),
            _ => Additional::Absent,
        };
        let items = schema
            .get("items")
            .and_then(Value::as_object)
            .map(|sub| Box::new(Self::compile(sub)));
        let checks = Checks::compile(schema);
        let rules = Rule::compile_all(schema);
        let ruled = !rules.is_empty()
            || properties.iter().any(|(_, node)| node.ruled)
            || matches!(&additional, Additional::Schema(node) if node.ruled)
            || items.as_ref().is_some_and(|node| node.ruled)
            || checks
                .as_ref()
                .is_some_and(|checks| checks.all_of.iter().any(|node| node.ruled));
        Self {
            types,
            nullable: flag("nullable"),
            preserve_unknown: flag("x-kubernetes-preserve-unknown-fields"),
            embedded: flag("x-kubernetes-embedded-resource"),
            atomic_map: schema.get("x-kubernetes-map-type").and_then(Value::as_str) == Some("atomic"),
            ruled,
            format: Format::of(
                types,
                schema.get("format").and_then(Value::as_str).unwrap_or_default(),
            ),
            properties: properties.into_boxed_slice(),
            additional,
            items,
            list_type: list_type(schema),
            default: schema
                .get("default")
                .filter(|value| !value.is_null())
                .cloned()
                .map(Box::new),
            checks: checks.map(Box::new),
            rules,
        }
    }
}

fn list_type(schema: &Map<String, Value>) -> ListType {
    match schema.get("x-kubernetes-list-type").and_then(Value::as_str) {
        Some("set") => ListType::Set,
        Some("map") => ListType::Map(strings(schema, "x-kubernetes-list-map-keys")),
        _ => ListType::Atomic,
    }
}

fn strings(schema: &Map<String, Value>, name: &str) -> Box<[Box<str>]> {
    let list = schema.get(name).and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(Into::into)
        .collect()
}

impl Checks {
    fn compile(schema: &Map<String, Value>) -> Option<Self> {
        const KEYS: [&str; 18] = [
            "enum",
            "pattern",
            "minimum",
            "maximum",
            "multipleOf",
            "minLength",
            "maxLength",
            "minItems",
            "maxItems",
            "uniqueItems",
            "minProperties",
            "maxProperties",
            "required",
            "allOf",
            "anyOf",
            "oneOf",
            "not",
            "exclusiveMaximum",
        ];
        if !KEYS.iter().any(|key| schema.contains_key(*key)) {
            return None;
        }
        let flag = |name: &str| schema.get(name).and_then(Value::as_bool) == Some(true);
        let float = |name: &str| schema.get(name).and_then(Value::as_f64);
        let count = |name: &str| schema.get(name).and_then(Value::as_u64);
        let nodes = |name: &str| -> Vec<Node> {
            let list = schema.get(name).and_then(Value::as_array);
            list.into_iter()
                .flatten()
                .filter_map(Value::as_object)
                .map(Node::compile)
                .collect()
        };
        Some(Self {
            choices: schema
                .get("enum")
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default(),
            pattern: schema
                .get("pattern")
                .and_then(Value::as_str)
                .filter(|p| !p.is_empty())
                .map(Pattern::new),
            minimum: float("minimum"),
            exclusive_minimum: flag("exclusiveMinimum"),
            maximum: float("maximum"),
            exclusive_maximum: flag("exclusiveMaximum"),
            multiple_of: float("multipleOf"),
            min_length: count("minLength"),
            max_length: count("maxLength"),
            min_items: count("minItems"),
            max_items: count("maxItems"),
            unique_items: flag("uniqueItems"),
            min_properties: count("minProperties"),
            max_properties: count("maxProperties"),
            required: strings(schema, "required"),
            all_of: nodes("allOf"),
            any_of: nodes("anyOf"),
            one_of: nodes("oneOf"),
            not: schema
                .get("not")
                .and_then(Value::as_object)
                .map(|sub| Box::new(Node::compile(sub))),
        })
    }
}
