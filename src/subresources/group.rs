//! The name of the API group.

/// The API group.
pub const GROUP: &str = "subresources.davit.dev";
/// Its only version.
pub const VERSION: &str = "v1alpha1";
