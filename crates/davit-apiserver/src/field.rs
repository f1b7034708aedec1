//! Errors about one field, worded as `k8s.io/apimachinery/pkg/util/validation/field` words them.
//!
//! kubectl prints these texts, and people (and tools) grep for them, so the wording is part of the contract.

use std::fmt::{self, Write as _};

use serde_json::Value;

/// Why a field was refused: the `reason` of a cause in a `metav1.Status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// A value that does not satisfy a rule.
    Invalid,
    /// A value of another JSON type than the schema's.
    TypeInvalid,
    /// A value that is missing.
    Required,
    /// A value outside the enumeration.
    NotSupported,
    /// A key or value that must be unique and is there already.
    Duplicate,
    /// A value that may not be set here.
    Forbidden,
    /// A string that is too long.
    TooLong,
    /// A list or map with too many entries.
    TooMany,
    /// Something that refers to what is not there.
    NotFound,
    /// A failure that is not the user's.
    Internal,
}

impl Cause {
    /// The machine-readable name, as in `status.details.causes[].reason`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "FieldValueInvalid",
            Self::TypeInvalid => "FieldValueTypeInvalid",
            Self::Required => "FieldValueRequired",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::NotFound => "FieldValueNotFound",
            Self::Internal => "InternalError",
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::Required => "Required value",
            Self::NotSupported => "Unsupported value",
            Self::Duplicate => "Duplicate value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::NotFound => "Not found",
            Self::Internal => "Internal error",
        }
    }
}

/// One refused field: what `details.causes` of a 422 answer lists.
///
/// `Display` gives `FIELD: MESSAGE`, the form in which the message of the whole answer joins them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// Why it was refused.
    pub reason: Cause,
    /// The path of the field; `<nil>` where the rule belongs to no one field, as upstream prints it.
    pub field: String,
    /// The text without the path, such as `Required value`.
    pub message: String,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

impl FieldError {
    fn with_value(reason: Cause, field: &str, value: Option<&Value>, detail: &str) -> Self {
        let mut message = reason.text().to_owned();
        if let Some(value) = value {
            message.push_str(": ");
            message.push_str(&printed(value));
        }
        if !detail.is_empty() {
            message.push_str(": ");
            message.push_str(detail);
        }
        let field = if field.is_empty() { "<nil>" } else { field };
        Self {
            reason,
            field: field.to_owned(),
            message,
        }
    }

    /// `Invalid value: VALUE: DETAIL`.
    pub fn invalid(field: &str, value: &Value, detail: &str) -> Self {
        Self::with_value(Cause::Invalid, field, Some(value), detail)
    }

    /// `Invalid value: SHOWN: DETAIL`, for a value of one of Go's types, whose text is not that of its JSON here.
    pub fn invalid_shown(field: &str, shown: &str, detail: &str) -> Self {
        Self::with_value(Cause::Invalid, field, None, &format!("{shown}: {detail}"))
    }

    /// `Invalid value: DETAIL`, for objects and lists, whose text would be too long to be of help.
    pub fn invalid_omitted(field: &str, detail: &str) -> Self {
        Self::with_value(Cause::Invalid, field, None, detail)
    }

    /// `Invalid value: VALUE: DETAIL` with the reason that says that the JSON type was wrong.
    pub fn type_invalid(field: &str, value: &Value, detail: &str) -> Self {
        Self::with_value(Cause::TypeInvalid, field, Some(value), detail)
    }

    /// `Required value`, with the detail if there is one.
    pub fn required(field: &str, detail: &str) -> Self {
        Self::with_value(Cause::Required, field, None, detail)
    }

    /// `Forbidden: DETAIL`.
    pub fn forbidden(field: &str, detail: &str) -> Self {
        Self::with_value(Cause::Forbidden, field, None, detail)
    }

    /// `Duplicate value: VALUE`.
    pub fn duplicate(field: &str, value: &Value) -> Self {
        Self::with_value(Cause::Duplicate, field, Some(value), "")
    }

    /// `Duplicate value: SHOWN`, for a value of one of Go's types.
    pub fn duplicate_shown(field: &str, shown: &str) -> Self {
        Self::with_value(Cause::Duplicate, field, None, shown)
    }

    /// `Duplicate value`, for objects and lists.
    pub fn duplicate_omitted(field: &str) -> Self {
        Self::with_value(Cause::Duplicate, field, None, "")
    }

    /// `Unsupported value: VALUE: supported values: "a", "b"`.
    pub fn not_supported<'a>(
        field: &str,
        value: &Value,
        supported: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let quoted: Vec<String> = supported.into_iter().map(quote).collect();
        let detail = if quoted.is_empty() {
            String::new()
        } else {
            format!("supported values: {}", quoted.join(", "))
        };
        Self::with_value(Cause::NotSupported, field, Some(value), &detail)
    }

    /// `Too long: may not be more than N bytes`.
    pub fn too_long(field: &str, max: u64) -> Self {
        let unit = if max == 1 { "byte" } else { "bytes" };
        Self::with_value(
            Cause::TooLong,
            field,
            None,
            &format!("may not be more than {max} {unit}"),
        )
    }

    /// `Too many: COUNT: must have at most N items`.
    pub fn too_many(field: &str, count: usize, max: u64) -> Self {
        let unit = if max == 1 { "item" } else { "items" };
        let detail = format!("must have at most {max} {unit}");
        Self::with_value(Cause::TooMany, field, Some(&Value::from(count)), &detail)
    }

    /// `Internal error: DETAIL`.
    pub fn internal(field: &str, detail: &str) -> Self {
        Self::with_value(Cause::Internal, field, None, detail)
    }
}

/// A value as Go prints it in a field error: `%v` for numbers and booleans, quoted for strings, JSON for the rest.
fn printed(value: &Value) -> String {
    match value {
        Value::String(text) => quote(text),
        Value::Number(number) => go_number(number),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => go_json(value),
    }
}

/// A number as Go's `%v` prints it: an integer plainly, a float in its shortest form.
pub fn go_number(number: &serde_json::Number) -> String {
    if number.is_f64() {
        go_float(number.as_f64().unwrap_or_default())
    } else {
        number.to_string()
    }
}

/// A float as Go's `%v` prints it: an exponent below 1e-4 and from 1e21 on.
pub fn go_float(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-4..1e21).contains(&magnitude) {
        let text = format!("{value:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, digits) = match exponent.strip_prefix('-') {
            Some(digits) => ('-', digits),
            None => ('+', exponent),
        };
        return format!("{mantissa}e{sign}{digits:0>2}");
    }
    format!("{value}")
}

/// JSON as Go's encoder writes it: `<`, `>` and `&` are escaped, and so are U+2028 and U+2029.
pub fn go_json(value: &Value) -> String {
    let mut text = String::new();
    for c in value.to_string().chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => escape(&mut text, 'u', 4, c),
            other => text.push(other),
        }
    }
    text
}

/// Appends the number of a character in hexadecimal, such as `\x07` or `\u2028`.
fn escape(text: &mut String, letter: char, width: usize, c: char) {
    // Writing to a string cannot fail.
    let _ = write!(text, "\\{letter}{:0width$x}", u32::from(c));
}

/// A string as Go's `%q` quotes it.
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{b}' => quoted.push_str("\\v"),
            '\u{c}' => quoted.push_str("\\f"),
            c if u32::from(c) < 0x20 || c == '\u{7f}' => escape(&mut quoted, 'x', 2, c),
            c if c.is_control() || is_invisible(c) => escape(&mut quoted, 'u', 4, c),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Whether Go escapes a character because it shows nothing: a space other than U+0020, or a mark of the layout.
fn is_invisible(c: char) -> bool {
    (c != ' ' && c.is_whitespace())
        || matches!(
            c,
            '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        )
}

/// `PARENT.NAME`, or only the name at the root.
pub fn child(parent: &str, name: &str) -> String {
    if parent.is_empty() {
        name.to_owned()
    } else {
        format!("{parent}.{name}")
    }
}

/// `PARENT[INDEX]`.
pub fn index(parent: &str, index: usize) -> String {
    format!("{parent}[{index}]")
}

/// `PARENT[KEY]`, which is how upstream writes an entry of a map.
pub fn key(parent: &str, key: &str) -> String {
    format!("{parent}[{key}]")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn texts_are_upstreams() {
        let rows = [
            (FieldError::required("spec.a", ""), "spec.a: Required value"),
            (
                FieldError::required("spec.a", "because"),
                "spec.a: Required value: because",
            ),
            (
                FieldError::invalid("a", &json!("x\"y"), "no"),
                r#"a: Invalid value: "x\"y": no"#,
            ),
            (
                FieldError::invalid("a", &json!("x\u{a0}y\u{ad}"), "no"),
                r#"a: Invalid value: "x\u00a0y\u00ad": no"#,
            ),
            (
                FieldError::invalid("a", &json!(3), "no"),
                "a: Invalid value: 3: no",
            ),
            (
                FieldError::invalid("", &json!(null), "no"),
                "<nil>: Invalid value: null: no",
            ),
            (
                FieldError::invalid("a", &json!({"b": "<"}), "no"),
                r#"a: Invalid value: {"b":"\u003c"}: no"#,
            ),
            (FieldError::invalid_omitted("a", "no"), "a: Invalid value: no"),
            (
                FieldError::not_supported("a", &json!("z"), ["b", "c"]),
                r#"a: Unsupported value: "z": supported values: "b", "c""#,
            ),
            (
                FieldError::duplicate("a[1]", &json!({"n": 1})),
                r#"a[1]: Duplicate value: {"n":1}"#,
            ),
            (
                FieldError::too_long("a", 1),
                "a: Too long: may not be more than 1 byte",
            ),
            (
                FieldError::too_many("a", 4, 3),
                "a: Too many: 4: must have at most 3 items",
            ),
            (FieldError::forbidden("a", "no"), "a: Forbidden: no"),
        ];
        for (error, text) in rows {
            assert_eq!(error.to_string(), text);
        }
    }

    #[test]
    fn floats_are_gos() {
        let rows = [
            (5.0, "5"),
            (0.5, "0.5"),
            (1e21, "1e+21"),
            (1e20, "100000000000000000000"),
            (1e-5, "1e-05"),
            (0.0, "0"),
            (-1.5e-7, "-1.5e-07"),
        ];
        for (value, text) in rows {
            assert_eq!(go_float(value), text);
        }
    }
}
