//! The three patches that change an object by what is sent: JSON patch, merge patch, strategic merge patch.

mod json;
mod merge;
mod strategic;

use serde_json::Value;

pub use self::{
    json::json_patch,
    merge::merge_patch,
    strategic::{go_map, strategic_merge_patch},
};

/// What Go's errors call a JSON value.
pub const fn go_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Why a patch was not applied, with the HTTP status that upstream answers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The patch cannot be read: 400 `BadRequest`.
    #[error("{0}")]
    Malformed(String),
    /// The patch has more operations than upstream takes: 413 `RequestEntityTooLarge`.
    #[error("{0}")]
    TooLarge(String),
    /// The patch has an unknown directive, or lists that contradict each other: 500, as upstream answers it.
    #[error("{0}")]
    Unknown(String),
    /// The patch does not fit this object: 422 `Invalid`, with this message as the whole.
    #[error("{0}")]
    Unprocessable(String),
}
