//! Access to `metadata` of objects that are JSON.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use super::decode;
use crate::status::{ApiError, ApiResult};

/// The finalizer of an owner whose dependents go first.
pub const FOREGROUND: &str = "foregroundDeletion";
/// The finalizer of an owner whose dependents stay.
pub const ORPHAN: &str = "orphan";
/// The finalizer of a namespace that goes when the namespace has been emptied.
pub const NAMESPACE_FINALIZER: &str = "kubernetes";

/// What has no fields.
static NONE: LazyLock<Fields> = LazyLock::new(Fields::new);

/// The fields of an object; none of what is not one.
pub fn fields(object: &Value) -> &Fields {
    object.as_object().unwrap_or(&NONE)
}

/// An object as a map: what handlers work on.
pub type Fields = Map<String, Value>;

/// `metadata.finalizers`.
pub fn finalizers(metadata: &Fields) -> Vec<String> {
    let list = metadata.get("finalizers").and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(ToOwned::to_owned)
        .collect()
}

/// The metadata with what its type does not know taken out, and the paths of that.
///
/// A value of a wrong type is a bad request.
pub fn normalise(object: &mut Fields) -> ApiResult<Vec<String>> {
    let given = object.remove("metadata").unwrap_or_else(|| json!({}));
    let given = if given.is_null() { json!({}) } else { given };
    let (mut clean, unknown) = decode::read(&given, "metadata.").map_err(ApiError::bad_request)?;
    clean.remove("selfLink");
    object.insert("metadata".into(), clean.into());
    Ok(unknown
        .into_iter()
        .map(|path| format!("metadata.{path}"))
        .collect())
}

/// The metadata of an object; empty if it is absent.
pub fn of(object: &Fields) -> &Fields {
    object.get("metadata").map_or(&*NONE, fields)
}

/// Sets one field of the metadata.
pub fn set(object: &mut Fields, key: &str, value: impl Into<Value>) {
    if !object.get("metadata").is_some_and(Value::is_object) {
        object.insert("metadata".into(), json!({}));
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert(key.into(), value.into());
    }
}

/// Takes one field of the metadata out.
pub fn remove(object: &mut Fields, key: &str) -> Option<Value> {
    object
        .get_mut("metadata")
        .and_then(Value::as_object_mut)?
        .remove(key)
}

/// Sets the finalizers; none leaves the field out.
pub fn set_finalizers(object: &mut Fields, finalizers: Vec<String>) {
    if finalizers.is_empty() {
        remove(object, "finalizers");
    } else {
        set(object, "finalizers", finalizers);
    }
}

/// A string of the metadata; empty if it is absent.
pub fn text<'a>(object: &'a Fields, key: &str) -> &'a str {
    object
        .get("metadata")
        .and_then(|metadata| metadata.get(key))
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The present moment as the API writes it, to the second.
pub fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `base` with five random characters, of an alphabet without vowels, so that no words come out.
pub fn generate_name(base: &str) -> String {
    use rand::Rng as _;
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let end = base
        .char_indices()
        .map(|(at, _)| at)
        .take_while(|at| *at <= 58)
        .last()
        .unwrap_or_default();
    let kept = if base.len() > 58 {
        base.get(..end.min(58)).unwrap_or(base)
    } else {
        base
    };
    let mut random = rand::rng();
    let tail: String = (0..5)
        .filter_map(|_| {
            ALPHABET
                .get(random.random_range(0..ALPHABET.len()))
                .copied()
                .map(char::from)
        })
        .collect();
    format!("{kept}{tail}")
}
