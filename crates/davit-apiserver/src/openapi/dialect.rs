//! The two dialects of the documents.

use serde_json::Value;

/// Where the definitions of a document stand, and which dialect it speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    V2,
    V3,
}

impl Dialect {
    pub(super) const fn prefix(self) -> &'static str {
        match self {
            Self::V2 => "#/definitions/",
            Self::V3 => "#/components/schemas/",
        }
    }

    /// A reference to a definition, in the form in which a property holds it beside a description.
    pub(super) fn reference(self, name: &str, description: &str) -> Value {
        let to = format!("{}{name}", self.prefix());
        match self {
            Self::V2 => serde_json::json!({"$ref": to, "description": description}),
            Self::V3 => {
                serde_json::json!({"allOf": [{"$ref": to}], "default": {}, "description": description})
            }
        }
    }
}
