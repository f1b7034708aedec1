//! Strategic merge patch: a merge patch that knows which lists are really maps or sets, and has directives.

use serde_json::{Map, Value};

use super::PatchError;
use crate::merge_strategy::{self, Strategic};

const DIRECTIVE: &str = "$patch";
const RETAIN: &str = "$retainKeys";
const ORDER: &str = "$setElementOrder/";
const DELETE: &str = "$deleteFromPrimitiveList/";

/// Merges `patch` into an object of a built-in kind; on an error `target` is as it was.
pub fn strategic_merge_patch(kind: &str, target: &mut Value, patch: &Value) -> Result<(), PatchError> {
    let (Value::Object(before), Value::Object(patch)) = (&*target, patch) else {
        return Err(PatchError::Malformed("invalid JSON document".into()));
    };
    let merged = Merge { kind }.map(before.clone(), patch, "")?;
    *target = Value::Object(merged);
    Ok(())
}

struct Merge<'a> {
    kind: &'a str,
}

fn malformed<T>(message: impl Into<String>) -> Result<T, PatchError> {
    Err(PatchError::Malformed(message.into()))
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

impl Merge<'_> {
    fn strategy(&self, path: &str) -> Strategic {
        merge_strategy::at(self.kind, path).map_or(Strategic::Replace, |shape| shape.strategic)
    }

    fn map(
        &self,
        mut target: Map<String, Value>,
        patch: &Map<String, Value>,
        path: &str,
    ) -> Result<Map<String, Value>, PatchError> {
        if let Some(directive) = patch.get(DIRECTIVE) {
            return match directive.as_str() {
                Some("replace") => {
                    let rest = patch.iter().filter(|(name, _)| *name != DIRECTIVE);
                    Ok(rest.map(|(name, value)| (name.clone(), value.clone())).collect())
                }
                Some("delete") => Ok(Map::new()),
                _ => Err(PatchError::Unknown(format!(
                    "unknown patch type: {} in map: {}",
                    text(directive),
                    go_map(&Value::from(patch.clone()))
                ))),
            };
        }
        retain(&mut target, patch)?;
        let server_order = target.clone();
        for (name, value) in patch {
            if name == RETAIN || name.starts_with(ORDER) {
                continue;
            }
            if let Some(list) = name.strip_prefix(DELETE) {
                let Value::Array(gone) = value else {
                    return malformed("invalid patch format of primitive list");
                };
                if let Some(Value::Array(items)) = target.get_mut(list) {
                    items.retain(|item| !gone.contains(item));
                }
                continue;
            }
            if value.is_null() {
                target.remove(name);
                continue;
            }
            let path = below(path, name);
            match (target.remove(name), value) {
                (Some(Value::Object(old)), Value::Object(new)) => {
                    target.insert(name.clone(), Value::Object(self.map(old, new, &path)?));
                }
                (Some(Value::Array(old)), Value::Array(new)) => {
                    target.insert(name.clone(), Value::Array(self.list(&old, new, &path)?));
                }
                (_, new) => {
                    if let Some(clean) = without_directives(new) {
                        target.insert(name.clone(), clean);
                    }
                }
            }
        }
        for (name, order) in patch {
            if let Some(list) = name.strip_prefix(ORDER) {
                self.order(&mut target, &server_order, patch, list, order, &below(path, list))?;
            }
        }
        Ok(target)
    }

    fn list(&self, old: &[Value], new: &[Value], path: &str) -> Result<Vec<Value>, PatchError> {
        match self.strategy(path) {
            Strategic::Replace => Ok(new.to_vec()),
            Strategic::Merge => {
                let mut merged = old.to_vec();
                for item in new {
                    if !merged.contains(item) {
                        merged.push(item.clone());
                    }
                }
                Ok(ordered(merged, new, old, None))
            }
            Strategic::MergeBy(key) => self.keyed(old, new, key, path),
        }
    }

    fn keyed(&self, old: &[Value], new: &[Value], key: &str, path: &str) -> Result<Vec<Value>, PatchError> {
        let mut merged = old.to_vec();
        let mut plain = Vec::new();
        for item in new {
            let Value::Object(map) = item else {
                return malformed("expected a map, but received another type");
            };
            match map
                .get(DIRECTIVE)
                .map(|directive| (directive, directive.as_str()))
            {
                None => plain.push(item.clone()),
                Some((_, Some("delete"))) => {
                    let Some(value) = map.get(key) else {
                        return no_key(item, key);
                    };
                    merged.retain(|other| other.get(key) != Some(value));
                }
                // Everything else in the list then takes the place of what was there.
                Some((_, Some("replace"))) => merged.clear(),
                Some((_, Some("merge"))) => {
                    return malformed("merging lists cannot yet be specified in the patch");
                }
                Some((directive, _)) => {
                    return Err(PatchError::Unknown(format!(
                        "unknown patch type: {} in map: {}",
                        text(directive),
                        go_map(item)
                    )));
                }
            }
        }
        let replaced = new
            .iter()
            .any(|item| item.get(DIRECTIVE).and_then(Value::as_str) == Some("replace"));
        if replaced {
            return Ok(plain);
        }
        for item in &plain {
            let Some(value) = item.get(key) else {
                return no_key(item, key);
            };
            let found = merged.iter().position(|other| other.get(key) == Some(value));
            match (found.and_then(|at| merged.get_mut(at)), item) {
                (Some(Value::Object(known)), Value::Object(item)) => {
                    let before = std::mem::take(known);
                    *known = self.map(before, item, &format!("{path}[]"))?;
                }
                _ => merged.extend(without_directives(item)),
            }
        }
        Ok(ordered(merged, &plain, old, Some(key)))
    }

    /// Puts a merged list into the order that the client saw, with what only the server has where it was.
    fn order(
        &self,
        target: &mut Map<String, Value>,
        before: &Map<String, Value>,
        patch: &Map<String, Value>,
        list: &str,
        order: &Value,
        path: &str,
    ) -> Result<(), PatchError> {
        let Value::Array(order) = order else {
            return malformed("invalid patch format of setElementOrder list");
        };
        let key = match self.strategy(path) {
            Strategic::MergeBy(key) => Some(key),
            Strategic::Merge | Strategic::Replace => None,
        };
        let mut rest = order.iter();
        for item in patch.get(list).and_then(Value::as_array).into_iter().flatten() {
            if item.get(DIRECTIVE).is_none() && !rest.any(|known| same(known, item, key)) {
                return Err(PatchError::Unknown(format!(
                    "The order in patch list:\n{}\n doesn't match $setElementOrder list:\n{}\n",
                    go_map(patch.get(list).unwrap_or(&Value::Null)),
                    go_map(&Value::from(order.clone()))
                )));
            }
        }
        if let Some(Value::Array(items)) = target.get_mut(list) {
            let server = before
                .get(list)
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default();
            *items = ordered(std::mem::take(items), order, &server, key);
        }
        Ok(())
    }
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), ToOwned::to_owned)
}

fn no_key<T>(item: &Value, key: &str) -> Result<T, PatchError> {
    malformed(format!("map: {item} does not contain declared merge key: {key}"))
}

fn same(a: &Value, b: &Value, key: Option<&str>) -> bool {
    match key {
        Some(key) => a.get(key).is_some() && a.get(key) == b.get(key),
        None => a == b,
    }
}

fn place(list: &[Value], item: &Value, key: Option<&str>) -> Option<usize> {
    list.iter().position(|other| same(other, item, key))
}

/// Items of `order` in its order; the others keep their place relative to those that the server had, and come after those
/// that it did not have.
fn ordered(merged: Vec<Value>, order: &[Value], server: &[Value], key: Option<&str>) -> Vec<Value> {
    let (mut named, mut others): (Vec<Value>, Vec<Value>) = merged
        .into_iter()
        .partition(|item| place(order, item, key).is_some());
    named.sort_by_key(|item| place(order, item, key));
    others.sort_by_key(|item| place(server, item, key).unwrap_or(usize::MAX));
    let mut result = Vec::with_capacity(named.len() + others.len());
    let (mut left, mut right) = (named.into_iter().peekable(), others.into_iter().peekable());
    while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
        let first = match (place(server, a, key), place(server, b, key)) {
            (Some(a), Some(b)) => a < b,
            _ => true,
        };
        result.extend(if first { left.next() } else { right.next() });
    }
    result.extend(left);
    result.extend(right);
    result
}

fn retain(target: &mut Map<String, Value>, patch: &Map<String, Value>) -> Result<(), PatchError> {
    let Some(keep) = patch.get(RETAIN) else {
        return Ok(());
    };
    let Value::Array(keep) = keep else {
        return malformed("invalid patch format of retainKeys");
    };
    let kept = |name: &str| keep.iter().any(|known| known.as_str() == Some(name));
    let stray = patch.iter().any(|(name, value)| {
        !(value.is_null()
            || name == RETAIN
            || name.starts_with(DELETE)
            || name.starts_with(ORDER)
            || kept(name))
    });
    if stray {
        return malformed("invalid patch format of retainKeys");
    }
    target.retain(|name, _| kept(name));
    Ok(())
}

/// A new value as it is stored: without nulls, directives and what they delete; none if it deletes itself.
fn without_directives(value: &Value) -> Option<Value> {
    match value {
        Value::Object(map) => {
            if map.contains_key(DIRECTIVE) {
                return None;
            }
            let plain = |name: &str| name != RETAIN && !name.starts_with(ORDER) && !name.starts_with(DELETE);
            let kept = map.iter().filter(|(name, value)| plain(name) && !value.is_null());
            let fields = kept.filter_map(|(name, value)| Some((name.clone(), without_directives(value)?)));
            Some(Value::Object(fields.collect()))
        }
        Value::Array(list) => Some(Value::Array(list.iter().filter_map(without_directives).collect())),
        other => Some(other.clone()),
    }
}

/// A value as Go prints it with `%v`: `map[a:b c:[1 2]]`.
pub fn go_map(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let mut parts: Vec<String> = map
                .iter()
                .map(|(key, value)| format!("{key}:{}", go_map(value)))
                .collect();
            parts.sort();
            format!("map[{}]", parts.join(" "))
        }
        Value::Array(list) => {
            let parts: Vec<String> = list.iter().map(go_map).collect();
            format!("[{}]", parts.join(" "))
        }
        Value::String(text) => text.clone(),
        Value::Null => "<nil>".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn merged(kind: &str, target: &Value, patch: &Value) -> Result<Value, PatchError> {
        let mut target = target.clone();
        strategic_merge_patch(kind, &mut target, patch).map(|()| target)
    }

    #[test]
    fn lists_and_directives() {
        let ports =
            json!({"spec": {"ports": [{"port": 80, "name": "http"}, {"port": 443, "name": "https"}]}});
        let rows = [
            (
                "ConfigMap",
                json!({"data": {"a": "1", "b": "2"}}),
                json!({"data": {"a": null, "c": "3"}}),
                json!({"data": {"b": "2", "c": "3"}}),
            ),
            (
                "ConfigMap",
                json!({}),
                json!({"data": {"a": null, "c": "3"}}),
                json!({"data": {"c": "3"}}),
            ),
            (
                "ConfigMap",
                json!({"data": {"a": "1"}}),
                json!({"data": {"$patch": "replace", "c": "3"}}),
                json!({"data": {"c": "3"}}),
            ),
            (
                "ConfigMap",
                json!({"data": {"a": "1"}}),
                json!({"data": {"$patch": "delete"}}),
                json!({"data": {}}),
            ),
            (
                "ConfigMap",
                json!({"data": {"a": "1", "b": "2"}}),
                json!({"data": {"$retainKeys": ["b", "c"], "c": "3"}}),
                json!({"data": {"b": "2", "c": "3"}}),
            ),
            (
                "Service",
                ports.clone(),
                json!({"spec": {"ports": [{"port": 443, "name": "tls"}, {"port": 8080}]}}),
                json!({"spec": {"ports": [{"port": 80, "name": "http"}, {"port": 443, "name": "tls"}, {"port": 8080}]}}),
            ),
            (
                "Service",
                ports.clone(),
                json!({"spec": {"ports": [{"port": 80, "$patch": "delete"}]}}),
                json!({"spec": {"ports": [{"port": 443, "name": "https"}]}}),
            ),
            (
                "Service",
                ports.clone(),
                json!({"spec": {"ports": [{"$patch": "replace"}, {"port": 1}]}}),
                json!({"spec": {"ports": [{"port": 1}]}}),
            ),
            (
                "Service",
                ports.clone(),
                json!({"spec": {"$setElementOrder/ports": [{"port": 443}, {"port": 80}], "ports": [{"port": 80, "name": "x"}]}}),
                json!({"spec": {"ports": [{"port": 443, "name": "https"}, {"port": 80, "name": "x"}]}}),
            ),
            (
                "Secret",
                json!({"metadata": {"finalizers": ["a", "b"]}}),
                json!({"metadata": {"finalizers": ["c", "a"]}}),
                json!({"metadata": {"finalizers": ["c", "a", "b"]}}),
            ),
            (
                "Secret",
                json!({"metadata": {"finalizers": ["c", "a", "b"]}}),
                json!({"metadata": {"$setElementOrder/finalizers": ["b", "d", "a"], "finalizers": ["d"]}}),
                json!({"metadata": {"finalizers": ["c", "b", "d", "a"]}}),
            ),
            (
                "Service",
                ports.clone(),
                json!({"spec": {"$setElementOrder/ports": [{"port": 1}, {"port": 443}], "ports": [{"port": 1}]}}),
                json!({"spec": {"ports": [{"port": 1}, {"port": 80, "name": "http"}, {"port": 443, "name": "https"}]}}),
            ),
            (
                "Secret",
                json!({"metadata": {"finalizers": ["a", "b"]}}),
                json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}}),
                json!({"metadata": {"finalizers": ["b"]}}),
            ),
            (
                "Role",
                json!({"rules": [{"verbs": ["get"]}]}),
                json!({"rules": [{"verbs": ["list"]}]}),
                json!({"rules": [{"verbs": ["list"]}]}),
            ),
        ];
        for (kind, target, patch, expected) in rows {
            assert_eq!(merged(kind, &target, &patch).unwrap(), expected, "{patch}");
        }
    }

    #[test]
    fn bad_patches_are_refused_and_change_nothing() {
        let target = json!({"spec": {"ports": [{"port": 80}]}, "data": {"a": "1"}});
        let rows = [
            (json!([]), "invalid JSON document"),
            (json!({"data": {"$patch": "what"}}), "unknown patch type: what"),
            (json!({"data": {"$retainKeys": "a"}}), "retainKeys"),
            (json!({"data": {"$retainKeys": ["a"], "b": "c"}}), "retainKeys"),
            (
                json!({"spec": {"ports": [{"name": "x"}]}}),
                "does not contain declared merge key: port",
            ),
            (json!({"spec": {"ports": [1]}}), "expected a map"),
            (
                json!({"spec": {"$setElementOrder/ports": [{"port": 1}], "ports": [{"port": 80}]}}),
                "The order in patch list",
            ),
        ];
        for (patch, text) in rows {
            let mut after = target.clone();
            let error = strategic_merge_patch("Service", &mut after, &patch).unwrap_err();
            assert!(error.to_string().contains(text), "{error}");
            assert_eq!(after, target);
        }
    }
}
