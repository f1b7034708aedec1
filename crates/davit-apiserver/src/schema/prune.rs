//! Removal of fields that the schema does not know.

use std::fmt::Write as _;

use serde_json::Value;

use super::node::{Additional, Node};

const META: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Removes what no schema names and returns the paths, sorted: `spec.foo`, `spec.list[0].bar`.
pub(super) fn prune(value: &mut Value, root: &Node) -> Vec<String> {
    let mut walk = Walk {
        path: String::new(),
        unknown: Vec::new(),
    };
    // The root of a resource keeps its type and metadata, like an embedded one.
    if root.preserve_unknown {
        walk.keep_known(value, Some(root), true);
    } else {
        walk.visit(value, Some(root), true);
    }
    walk.unknown.sort_unstable();
    walk.unknown
}

struct Walk {
    path: String,
    unknown: Vec<String>,
}

impl Walk {
    fn enter(&mut self, value: &mut Value, node: Option<&Node>) {
        match node {
            Some(node) if node.preserve_unknown => self.keep_known(value, Some(node), node.embedded),
            _ => self.visit(value, node, node.is_some_and(|node| node.embedded)),
        }
    }

    fn visit(&mut self, value: &mut Value, node: Option<&Node>, resource: bool) {
        let length = self.path.len();
        match value {
            Value::Object(map) => map.retain(|name, field| {
                if resource && META.contains(&name.as_str()) {
                    return true;
                }
                self.push(name);
                let kept = match node.map(|node| (node.field(name), &node.additional)) {
                    Some((Some(sub), _)) => {
                        self.enter(field, Some(sub));
                        true
                    }
                    // A boolean keeps the key but gives its value no schema, so what lies deeper goes.
                    Some((None, Additional::Any | Additional::Denied)) => {
                        self.enter(field, None);
                        true
                    }
                    Some((None, Additional::Absent | Additional::Schema(_))) => {
                        if length > 0 || !META.contains(&name.as_str()) {
                            self.unknown.push(self.path.clone());
                        }
                        false
                    }
                    None => {
                        self.unknown.push(self.path.clone());
                        false
                    }
                };
                self.path.truncate(length);
                kept
            }),
            Value::Array(list) => {
                let items = node.and_then(|node| node.items.as_deref());
                self.each(list, |walk, item| walk.enter(item, items));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    /// Below a place that preserves unknown fields only what has a schema of its own is looked at.
    fn keep_known(&mut self, value: &mut Value, node: Option<&Node>, resource: bool) {
        let Some(node) = node else { return };
        let length = self.path.len();
        match value {
            Value::Object(map) => {
                for (name, field) in map.iter_mut() {
                    if resource && META.contains(&name.as_str()) {
                        continue;
                    }
                    let sub = match (node.field(name), &node.additional) {
                        (Some(sub), _) => Some(sub),
                        (None, Additional::Any | Additional::Denied) => None,
                        (None, Additional::Absent | Additional::Schema(_)) => continue,
                    };
                    self.push(name);
                    self.enter(field, sub);
                    self.path.truncate(length);
                }
            }
            Value::Array(list) => {
                let items = node.items.as_deref();
                self.each(list, |walk, item| {
                    walk.keep_known(item, items, items.is_some_and(|items| items.embedded));
                });
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn each(&mut self, list: &mut [Value], mut visit: impl FnMut(&mut Self, &mut Value)) {
        let length = self.path.len();
        for (at, item) in list.iter_mut().enumerate() {
            // Writing to a string cannot fail.
            let _ = write!(self.path, "[{at}]");
            visit(self, item);
            self.path.truncate(length);
        }
    }

    fn push(&mut self, name: &str) {
        if !self.path.is_empty() {
            self.path.push('.');
        }
        self.path.push_str(name);
    }
}
