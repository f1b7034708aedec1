//! The messages of the built-in types, by name.

use std::{
    collections::{BTreeMap, HashMap},
    sync::LazyLock,
};

use super::wire;

/// What every body begins with.
pub(super) const MAGIC: &[u8] = b"k8s\0";
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    One,
    /// One that may be absent.
    Optional,
    List,
    Map,
}

#[derive(Debug)]
pub(super) struct Field {
    pub(super) json: &'static str,
    pub(super) shape: Shape,
    pub(super) kind: &'static str,
}

/// By number: the order in which Go writes them.
pub(super) type Message = BTreeMap<u64, Field>;

pub(super) static MESSAGES: LazyLock<HashMap<&'static str, Message>> = LazyLock::new(|| {
    let mut messages: HashMap<&'static str, Message> = HashMap::new();
    let mut current = "";
    for line in wire::TYPES.lines().filter(|line| !line.is_empty()) {
        let fields = if let Some(rest) = line.strip_prefix("  ") {
            rest
        } else {
            let (name, rest) = line.split_once(':').unwrap_or((line, ""));
            current = name;
            rest
        };
        let message = messages.entry(current).or_default();
        for field in fields.split(", ").map(|field| field.trim().trim_end_matches(',')) {
            let mut parts = field.split(' ');
            let (Some(number), Some(json), Some(kind)) = (parts.next(), parts.next(), parts.next()) else {
                continue;
            };
            let Ok(number) = number.parse() else { continue };
            let (shape, kind) = match kind.split_at_checked(1) {
                Some(("*", kind)) => (Shape::Optional, kind),
                Some(("[", kind)) => (Shape::List, kind),
                Some(("{", kind)) => (Shape::Map, kind),
                _ => (Shape::One, kind),
            };
            message.insert(number, Field { json, shape, kind });
        }
    }
    messages
});

pub(super) fn message_name(api_version: &str, kind: &str) -> String {
    const META: [&str; 7] = [
        "DeleteOptions",
        "Status",
        "APIVersions",
        "APIGroup",
        "APIGroupList",
        "APIResourceList",
        "PartialObjectMetadata",
    ];
    let group = match api_version.rsplit_once('/') {
        _ if META.contains(&kind) => "meta",
        None => "core",
        // `rbac.authorization.k8s.io` is `rbac` in the table, `apiextensions.k8s.io` `apiextensions`.
        Some((group, _)) => group.split('.').next().unwrap_or_default(),
    };
    format!("{group}.{kind}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_that_is_named_is_there() {
        for (name, message) in &*MESSAGES {
            for field in message.values().filter(|field| field.kind.contains('.')) {
                assert!(
                    MESSAGES.contains_key(field.kind),
                    "{name}.{}: {}",
                    field.json,
                    field.kind
                );
            }
        }
    }
}
