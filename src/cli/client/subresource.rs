//! Paths in the API group of subresources.

use crate::subresources::{GROUP, VERSION};
use std::fmt::Write as _;

/// The path of a subresource.
pub fn path(namespace: &str, resource: &str, name: &str, subresource: &str) -> String {
    let [namespace, name] = [namespace, name].map(encoded);
    format!("/apis/{GROUP}/{VERSION}/namespaces/{namespace}/{resource}/{name}/{subresource}")
}

/// A value as a segment of a path or a part of a query.
pub fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_segment() {
        assert_eq!(
            path("default", "gitproviders", "a/../b?c", "log"),
            "/apis/subresources.davit.dev/v1alpha1/namespaces/default/gitproviders/a%2F..%2Fb%3Fc/log"
        );
        assert_eq!(encoded("ä"), "%C3%A4");
    }
}
