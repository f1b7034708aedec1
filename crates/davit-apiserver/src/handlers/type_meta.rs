//! What a body says of its own type, before it is looked at as an object.

use std::fmt::Write as _;

use serde_json::Value;

use crate::{
    object_meta::Fields,
    patch::go_kind,
    registry::builtin::Builtin,
    status::{ApiError, ApiResult},
};

/// How many bytes of a body a refusal shows.
const SHOWN: usize = 30;

/// What Go names the type that a body is read as first.
const TYPE_META: &str = r#"Go value of type struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;

/// A body, and what it should be.
#[derive(Clone, Copy)]
pub(super) struct Given<'a> {
    pub(super) kind: &'a str,
    pub(super) builtin: Builtin,
    pub(super) body: &'a [u8],
}

impl Given<'_> {
    /// The body is no object. The refusal shows how it begins, unless it may be a secret.
    pub(super) fn unrecognised(&self, why: &str) -> ApiError {
        let shown = match self.builtin {
            Builtin::Secret => String::new(),
            _ => format!(" ({})", summary(self.body)),
        };
        let kind = self.kind;
        ApiError::bad_request(format!(
            "the object provided is unrecognized (must be of type {kind}): {why}{shown}"
        ))
    }

    /// The parsed body as an object that has texts where its type stands.
    pub(super) fn object(&self, parsed: Value) -> ApiResult<Fields> {
        let wrong = |value: &Value, place: &str| {
            let found = go_kind(value);
            self.unrecognised(&format!(
                "couldn't get version/kind; json parse error: json: cannot unmarshal {found} into {place}"
            ))
        };
        let object = match parsed {
            Value::Object(object) => object,
            Value::Null if self.builtin != Builtin::Custom => return Ok(Fields::new()),
            Value::Null => return Err(self.unrecognised("Object 'Kind' is missing in 'null'")),
            other => return Err(wrong(&other, TYPE_META)),
        };
        for field in ["apiVersion", "kind"] {
            match object.get(field) {
                None | Some(Value::Null | Value::String(_)) => {}
                Some(value) => return Err(wrong(value, &format!("Go struct field .{field} of type string"))),
            }
        }
        let version = object
            .get("apiVersion")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if version.matches('/').count() > 1 {
            return Err(self.unrecognised(&format!("unexpected GroupVersion string: {version}")));
        }
        Ok(object)
    }
}

/// How a body begins: JSON as it is, anything else in hexadecimal digits.
fn summary(body: &[u8]) -> String {
    let (shown, more) = match body.get(..SHOWN) {
        Some(begin) if body.len() > SHOWN => (begin, " ..."),
        _ => (body, ""),
    };
    match shown {
        [] => "<empty>".to_owned(),
        [b'{', ..] => format!("{}{more}", String::from_utf8_lossy(shown)),
        _ => {
            let mut text = String::with_capacity(2 * shown.len() + more.len());
            for byte in shown {
                // A String takes everything.
                let _ = write!(text, "{byte:02x}");
            }
            text + more
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn refusals_are_upstreams() {
        let rows = [
            (
                Builtin::ConfigMap,
                json!([1]),
                "json: cannot unmarshal array into Go value of type struct",
            ),
            (
                Builtin::ConfigMap,
                json!({"kind": 1}),
                "cannot unmarshal number into Go struct field .kind of type string",
            ),
            (
                Builtin::Custom,
                json!({"apiVersion": []}),
                "unmarshal array into Go struct field .apiVersion of type",
            ),
            (
                Builtin::Custom,
                json!({"apiVersion": "a/b/c"}),
                "unexpected GroupVersion string: a/b/c ({\"apiV",
            ),
            (
                Builtin::Custom,
                Value::Null,
                "Object 'Kind' is missing in 'null' (6e756c6c)",
            ),
        ];
        for (builtin, value, said) in rows {
            let body = value.to_string();
            let given = Given {
                kind: "Thing",
                builtin,
                body: body.as_bytes(),
            };
            let error = given.object(value).unwrap_err();
            assert!(
                error.code == 400 && error.message.contains(said),
                "{}",
                error.message
            );
        }
    }

    #[test]
    fn a_secret_is_not_shown() {
        let given = Given {
            kind: "Secret",
            builtin: Builtin::Secret,
            body: b"{\"kind\": 5}",
        };
        let error = given.object(json!({"kind": 5})).unwrap_err();
        assert!(error.message.ends_with("of type string"), "{}", error.message);
    }

    #[test]
    fn bodies_are_shortened() {
        assert_eq!(summary(b""), "<empty>");
        assert_eq!(summary(b"{\"a\": 1}"), "{\"a\": 1}");
        assert_eq!(summary(b"a: b"), "613a2062");
        assert_eq!(summary(&[b'{'; 40]), format!("{} ...", "{".repeat(30)));
        assert_eq!(summary(&[b'x'; 40]), format!("{} ...", "78".repeat(30)));
    }
}
