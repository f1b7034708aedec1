//! What a path names.

use serde::Deserialize;

/// The subresource of one object.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Target {
    /// The object's namespace.
    pub namespace: String,
    /// The object's resource, in the plural.
    pub resource: String,
    /// The object.
    pub name: String,
    /// Which subresource.
    pub subresource: String,
}
