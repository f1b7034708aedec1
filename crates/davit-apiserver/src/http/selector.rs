//! Label and field selectors.

use serde_json::Value;

use crate::{
    object_meta::label_value,
    status::{ApiError, ApiResult},
    store::Object,
};

/// One requirement of a label selector.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Label {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Missing(String),
    Greater(String, i64),
    Less(String, i64),
}

/// One requirement of a field selector: path, value, and whether it must differ.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Field {
    path: String,
    value: String,
    differs: bool,
}

impl Field {
    fn new(path: &str, value: String, differs: bool) -> Self {
        Self {
            path: path.to_owned(),
            value,
            differs,
        }
    }
}

/// Both selectors of a request; the default one takes everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    labels: Vec<Label>,
    fields: Vec<Field>,
}

impl Selector {
    /// Parses both; `known` says which field paths the resource selects by, `unknown` refuses another.
    pub fn parse(
        labels: &str,
        fields: &str,
        known: impl Fn(&str) -> bool,
        unknown: impl Fn(&str) -> String,
    ) -> ApiResult<Self> {
        let labels = parse_labels(labels).map_err(ApiError::bad_request)?;
        let fields = parse_fields(fields)?;
        if let Some(field) = fields.iter().find(|field| !known(&field.path)) {
            return Err(ApiError::bad_request(unknown(&field.path)));
        }
        Ok(Self { labels, fields })
    }

    /// Whether everything is taken.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// The same selector with its field paths renamed.
    pub fn renamed(mut self, rename: impl Fn(&str) -> String) -> Self {
        for field in &mut self.fields {
            field.path = rename(&field.path);
        }
        self
    }

    /// Also requires that name.
    pub fn require_name(&mut self, name: &str) {
        self.fields
            .push(Field::new("metadata.name", name.to_owned(), false));
    }

    /// Whether the object is selected.
    pub fn matches(&self, object: &Object) -> bool {
        let label = |key: &str| {
            object
                .labels
                .iter()
                .find(|(name, _)| **name == *key)
                .map(|(_, value)| value.as_ref())
        };
        let labels = self.labels.iter().all(|requirement| match requirement {
            Label::In(key, values) => label(key).is_some_and(|value| values.iter().any(|v| v == value)),
            Label::NotIn(key, values) => label(key).is_none_or(|value| values.iter().all(|v| v != value)),
            Label::Exists(key) => label(key).is_some(),
            Label::Missing(key) => label(key).is_none(),
            Label::Greater(key, bound) => number(label(key)).is_some_and(|value| value > *bound),
            Label::Less(key, bound) => number(label(key)).is_some_and(|value| value < *bound),
        });
        labels && self.fields_match(object)
    }

    fn fields_match(&self, object: &Object) -> bool {
        // Parsed at most once, and only if a field is asked for that is not kept beside the bytes.
        let mut parsed: Option<Value> = None;
        self.fields.iter().all(|field| {
            let equal = match field.path.as_str() {
                "metadata.name" => *object.key.name == *field.value,
                "metadata.namespace" => *object.key.namespace == *field.value,
                path => {
                    let text = object.field(path, || {
                        let value = parsed.get_or_insert_with(|| Value::Object(object.value()));
                        field_text(value, path)
                    });
                    *text == *field.value
                }
            };
            equal != field.differs
        })
    }
}

fn number(text: Option<&str>) -> Option<i64> {
    text?.parse().ok()
}

/// The value at a dotted path as text; empty if it is absent.
fn field_text(value: &Value, path: &str) -> String {
    let path = match path {
        // The core Event's selectable `source` is the component that reported it, under either name.
        "source" => match value.pointer("/source/component").and_then(Value::as_str) {
            None | Some("") => "reportingComponent",
            Some(_) => "source.component",
        },
        "reportingComponent" | "reportingController" => "reportingComponent",
        other => other,
    };
    let found = path
        .trim_start_matches('.')
        .split('.')
        .try_fold(value, |value, part| value.get(part));
    match found {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

fn parse_fields(text: &str) -> ApiResult<Vec<Field>> {
    let mut fields = Vec::new();
    for term in split_escaped(text) {
        if term.is_empty() {
            continue;
        }
        let invalid =
            || ApiError::bad_request(format!("invalid selector: '{text}'; can't understand '{term}'"));
        let (path, value, differs) = if let Some((path, value)) = term.split_once("!=") {
            (path, value, true)
        } else if let Some((path, value)) = term.split_once("==") {
            (path, value, false)
        } else {
            let (path, value) = term.split_once('=').ok_or_else(invalid)?;
            (path, value, false)
        };
        fields.push(Field::new(path.trim(), unescape(value), differs));
    }
    Ok(fields)
}

fn split_escaped(text: &str) -> Vec<String> {
    let mut terms = vec![String::new()];
    let mut escaped = false;
    for c in text.chars() {
        if c == ',' && !escaped {
            terms.push(String::new());
            continue;
        }
        escaped = c == '\\' && !escaped;
        if let Some(term) = terms.last_mut() {
            term.push(c);
        }
    }
    terms
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        out.push(if c == '\\' { chars.next().unwrap_or(c) } else { c });
    }
    out
}

/// `a=b,c in (d,e),!f,g` and the other forms of upstream's grammar.
fn parse_labels(text: &str) -> Result<Vec<Label>, String> {
    let mut tokens = Tokens { rest: text };
    let mut requirements = Vec::new();
    if tokens.peek().is_empty() {
        return Ok(requirements);
    }
    let begins = |token: &str| token == "!" || key(token).is_ok();
    if !begins(tokens.peek()) {
        let found = tokens.peek();
        return Err(format!(
            "found '{found}', expected: !, identifier, or 'end of string'"
        ));
    }
    loop {
        let next = requirement(&mut tokens).map_err(|why| format!("unable to parse requirement: {why}"))?;
        requirements.push(next);
        match tokens.next() {
            "" => return Ok(requirements),
            "," if begins(tokens.peek()) => {}
            "," => {
                let found = tokens.peek();
                return Err(format!("found '{found}', expected: identifier after ','"));
            }
            other => return Err(format!("found '{other}', expected: ',' or 'end of string'")),
        }
    }
}

fn requirement(tokens: &mut Tokens<'_>) -> Result<Label, String> {
    let first = tokens.next();
    if first == "!" {
        let key = key(tokens.next())?;
        return Ok(Label::Missing(key));
    }
    let key = key(first)?;
    match tokens.peek() {
        "" | "," => Ok(Label::Exists(key)),
        "=" | "==" => {
            tokens.next();
            let values = checked(&key, vec![value(tokens)?])?;
            Ok(Label::In(key, values))
        }
        "!=" => {
            tokens.next();
            let values = checked(&key, vec![value(tokens)?])?;
            Ok(Label::NotIn(key, values))
        }
        "in" => {
            tokens.next();
            let values = checked(&key, values(tokens)?)?;
            Ok(Label::In(key, values))
        }
        "notin" => {
            tokens.next();
            let values = checked(&key, values(tokens)?)?;
            Ok(Label::NotIn(key, values))
        }
        operator @ (">" | "<") => {
            tokens.next();
            let text = value(tokens)?;
            let bound = text.parse().map_err(|_| {
                format!(
                    "values[0]: Invalid value: \"{text}\": for 'Gt', 'Lt' operators, the value must be an integer"
                )
            })?;
            Ok(if operator == ">" {
                Label::Greater(key, bound)
            } else {
                Label::Less(key, bound)
            })
        }
        other => Err(format!("found '{other}', expected: in, notin, =, ==, !=, gt, lt")),
    }
}

/// The name in `metadata.name=NAME`, for roles with `resourceNames`.
pub fn exact_name(fields: &str) -> Option<&str> {
    let name = fields.split(',').find_map(|term| {
        let value = term.trim().strip_prefix("metadata.name=")?;
        Some(value.strip_prefix('=').unwrap_or(value))
    })?;
    let plain = !name.is_empty() && !matches!(name, "." | "..") && !name.contains(['/', '%', '\\']);
    plain.then_some(name)
}

fn key(text: &str) -> Result<String, String> {
    let fine = !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/'))
        && text.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
    if fine {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "found '{text}', expected: !, identifier, or 'end of string'"
        ))
    }
}

fn value(tokens: &mut Tokens<'_>) -> Result<String, String> {
    match tokens.peek() {
        "" | "," => Ok(String::new()),
        operator @ ("=" | "==" | "!=" | "!" | "(" | ")" | ">" | "<") => {
            Err(format!("found '{operator}', expected: identifier"))
        }
        text => {
            let text = text.to_owned();
            tokens.next();
            Ok(text)
        }
    }
}

/// Values that no label can have are refused.
fn checked(key: &str, values: Vec<String>) -> Result<Vec<String>, String> {
    for (index, value) in values.iter().enumerate() {
        if let Some(why) = label_value(value).first() {
            return Err(format!(
                "values[{index}][{key}]: Invalid value: \"{value}\": {why}"
            ));
        }
    }
    Ok(values)
}

fn values(tokens: &mut Tokens<'_>) -> Result<Vec<String>, String> {
    let first = tokens.next();
    if first != "(" {
        return Err(format!("found '{first}' expected: '('"));
    }
    let mut found = Vec::new();
    loop {
        match tokens.next() {
            ")" => return Ok(found),
            "," => {}
            "" => return Err("found '', expected: ',' or ')'".into()),
            text => found.push(text.to_owned()),
        }
    }
}

struct Tokens<'a> {
    rest: &'a str,
}

impl<'a> Tokens<'a> {
    fn cut(&self) -> (&'a str, &'a str) {
        let text = self.rest.trim_start();
        for operator in ["==", "!=", "=", "!", ",", "(", ")", ">", "<"] {
            if let Some(rest) = text.strip_prefix(operator) {
                return (text.get(..operator.len()).unwrap_or_default(), rest);
            }
        }
        let end = text
            .find(|c: char| c.is_whitespace() || "=!,()><".contains(c))
            .unwrap_or(text.len());
        text.split_at_checked(end).unwrap_or((text, ""))
    }

    fn peek(&self) -> &'a str {
        self.cut().0
    }

    fn next(&mut self) -> &'a str {
        let (token, rest) = self.cut();
        self.rest = rest;
        token
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object() -> Object {
        let mut value = json!({"kind": "Event", "apiVersion": "v1", "type": "Normal",
            "metadata": {"name": "n", "namespace": "s", "labels": {"app": "a", "tier": "5"}},
            "involvedObject": {"name": "shop", "kind": "Application"}});
        Object::render(value.as_object_mut().unwrap(), 1).unwrap()
    }

    #[test]
    fn values_of_every_kind_are_compared_as_text() {
        let mut value = json!({"kind": "Release", "apiVersion": "davit.dev/v1alpha1", "metadata": {"name": "n"},
            "spec": {"application": "shop-1", "cancel": true, "count": 10, "text": "a\"b"}});
        let object = Object::render(value.as_object_mut().unwrap(), 1).unwrap();
        for (text, expected) in [
            ("spec.application=shop-1", true),
            ("spec.application=shop", false),
            ("spec.application!=shop", true),
            ("spec.application!=shop-1", false),
            ("spec.cancel=true", true),
            ("spec.count=10", true),
            ("spec.text=a\"b", true),
            ("spec.missing=", true),
        ] {
            let selector = Selector::parse("", text, |_| true, ToOwned::to_owned).unwrap();
            assert_eq!(selector.matches(&object), expected, "{text}");
        }
    }

    #[test]
    fn labels() {
        let rows = [
            ("", true),
            ("app", true),
            ("!app", false),
            ("app=a", true),
            ("app==a,tier=5", true),
            ("app!=a", false),
            ("other!=a", true),
            ("app in (b, a)", true),
            ("app notin (b,c),tier", true),
            ("app notin (a)", false),
            ("tier>4", true),
            ("tier<4", false),
            ("other", false),
        ];
        for (text, expected) in rows {
            let selector = Selector::parse(text, "", |_| true, ToOwned::to_owned).unwrap();
            assert_eq!(selector.matches(&object()), expected, "{text}");
        }
        for bad in ["=a", "app in", "app in (", "a b", "app in a", "-x"] {
            assert!(
                Selector::parse(bad, "", |_| true, ToOwned::to_owned).is_err(),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_name_that_is_meant() {
        for (fields, name) in [
            ("metadata.name=a", Some("a")),
            ("type=x, metadata.name==a", Some("a")),
            ("metadata.name!=a", None),
            ("metadata.name=", None),
            ("metadata.name=a/b", None),
            ("metadata.name=..", None),
            ("", None),
        ] {
            assert_eq!(exact_name(fields), name, "{fields}");
        }
    }

    #[test]
    fn fields() {
        let rows = [
            ("metadata.name=n", true),
            ("metadata.name!=n", false),
            ("metadata.namespace=s,involvedObject.name=shop", true),
            ("involvedObject.name=other", false),
            ("involvedObject.uid=", true),
            ("type==Normal", true),
        ];
        for (text, expected) in rows {
            let selector = Selector::parse("", text, |_| true, ToOwned::to_owned).unwrap();
            assert_eq!(selector.matches(&object()), expected, "{text}");
        }
        assert!(Selector::parse("", "spec.x=1", |path| path == "metadata.name", ToOwned::to_owned).is_err());
    }
}
