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

/// Whether an object or a namespace may have this name. Others are not asked for: they do not fit into every URL.
pub(super) fn may_exist(name: &str) -> bool {
    let is_end = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    bytes.len() <= 253 && is_end(bytes.first()) && is_end(bytes.last()) && bytes.iter().all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_that_no_object_can_have_is_not_asked_for() {
        for name in ["shop", "shop-1.2", "0", "Shop"] {
            assert!(may_exist(name), "{name}");
        }
        let long = "a".repeat(254);
        for name in ["", "sh p", "shop\0", "..", "a/b", "a?b", "sh%p", "-a", "é", &long] {
            assert!(!may_exist(name), "{name}");
        }
    }
}
