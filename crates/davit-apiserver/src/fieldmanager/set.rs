//! Sets of fields, in the form of `FieldsV1`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value};

/// One step of a path, in the form in which `FieldsV1` writes it: `f:NAME`, `k:{KEYS}`, `v:VALUE`, `i:INDEX`.
pub(super) type Element = String;

/// A set of paths, as a tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FieldSet(BTreeMap<Element, Place>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Place {
    /// Whether the path that ends here is in the set.
    member: bool,
    below: FieldSet,
}

/// The element of a named field.
pub(super) fn field(name: &str) -> Element {
    format!("f:{name}")
}

impl FieldSet {
    pub(super) fn is_empty(&self) -> bool {
        self.0
            .values()
            .all(|place| !place.member && place.below.is_empty())
    }

    pub(super) fn insert(&mut self, path: &[Element]) {
        let Some((first, rest)) = path.split_first() else {
            return;
        };
        let place = self.0.entry(first.clone()).or_default();
        if rest.is_empty() {
            place.member = true;
        } else {
            place.below.insert(rest);
        }
    }

    /// Whether the path of this one element is in the set.
    pub(super) fn has(&self, element: &str) -> bool {
        self.0.get(element).is_some_and(|place| place.member)
    }

    /// What lies below an element, if anything.
    pub(super) fn below(&self, element: &str) -> Option<&Self> {
        self.0
            .get(element)
            .map(|place| &place.below)
            .filter(|below| !below.is_empty())
    }

    fn combine(&self, other: &Self, keep: fn(bool, bool) -> bool) -> Self {
        let nothing = Place::default();
        let mut result = BTreeMap::new();
        for element in self.0.keys().chain(other.0.keys()) {
            if result.contains_key(element) {
                continue;
            }
            let (mine, theirs) = (
                self.0.get(element).unwrap_or(&nothing),
                other.0.get(element).unwrap_or(&nothing),
            );
            let place = Place {
                member: keep(mine.member, theirs.member),
                below: mine.below.combine(&theirs.below, keep),
            };
            if place.member || !place.below.0.is_empty() {
                result.insert(element.clone(), place);
            }
        }
        Self(result)
    }

    pub(super) fn union(&self, other: &Self) -> Self {
        self.combine(other, |a, b| a || b)
    }

    pub(super) fn intersection(&self, other: &Self) -> Self {
        self.combine(other, |a, b| a && b)
    }

    pub(super) fn difference(&self, other: &Self) -> Self {
        self.combine(other, |a, b| a && !b)
    }

    /// Takes the paths of `other` out.
    pub(super) fn remove(&mut self, other: &Self) {
        for (element, theirs) in &other.0 {
            let Some(mine) = self.0.get_mut(element) else {
                continue;
            };
            mine.member &= !theirs.member;
            mine.below.remove(&theirs.below);
            if !mine.member && mine.below.0.is_empty() {
                self.0.remove(element);
            }
        }
    }

    /// Without `element` and all that is below it, or with only that.
    pub(super) fn split(&self, element: &str, only: bool) -> Self {
        let kept = self
            .0
            .iter()
            .filter(|(name, _)| (name.as_str() == element) == only);
        Self(kept.map(|(name, place)| (name.clone(), place.clone())).collect())
    }

    /// Makes members of the elements that have something below and for which `named` says yes; `named` also gives
    /// what to ask below.
    pub(super) fn with_containers<S>(&self, shape: &S, named: &impl Fn(&S, &str) -> (bool, S)) -> Self {
        let places = self.0.iter().map(|(element, place)| {
            let (is_named, shape) = named(shape, element);
            let member = place.member || (is_named && !place.below.is_empty());
            (
                element.clone(),
                Place {
                    member,
                    below: place.below.with_containers(&shape, named),
                },
            )
        });
        Self(places.collect())
    }

    /// Every path of the set, as messages print it: `.spec.ports[port=80,protocol="TCP"].name`.
    pub(super) fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect(&mut String::new(), &mut paths);
        paths
    }

    fn collect(&self, prefix: &mut String, paths: &mut Vec<String>) {
        for (element, place) in &self.0 {
            let length = prefix.len();
            prefix.push_str(&printed(element));
            if place.member {
                paths.push(prefix.clone());
            }
            place.below.collect(prefix, paths);
            prefix.truncate(length);
        }
    }

    pub(super) fn encode(&self) -> Value {
        let mut map = Map::new();
        for (element, place) in &self.0 {
            let mut below = place.below.encode();
            if let (true, Value::Object(inner)) = (place.member && !place.below.is_empty(), &mut below) {
                inner.insert(".".into(), Value::Object(Map::new()));
            }
            map.insert(element.clone(), below);
        }
        Value::Object(map)
    }

    /// Reads the wire form; none if it is not one.
    pub(super) fn decode(fields: &Value) -> Option<Self> {
        Self::decode_within(fields, 0)
    }

    fn decode_within(fields: &Value, depth: u8) -> Option<Self> {
        if depth > 100 {
            return None;
        }
        let mut set = BTreeMap::new();
        for (element, inner) in fields.as_object()? {
            if element == "." {
                continue;
            }
            let inner_map = inner.as_object()?;
            let member = inner_map.is_empty() || inner_map.contains_key(".");
            set.insert(
                canonical(element)?,
                Place {
                    member,
                    below: Self::decode_within(inner, depth + 1)?,
                },
            );
        }
        Some(Self(set))
    }
}

/// The element with its JSON written in the one way in which it is compared.
fn canonical(element: &str) -> Option<Element> {
    let (kind, rest) = element.split_at_checked(2)?;
    match kind {
        "f:" => Some(element.to_owned()),
        "k:" | "v:" => {
            let value: Value = serde_json::from_str(rest).ok()?;
            (kind == "v:" || value.is_object()).then(|| format!("{kind}{value}"))
        }
        "i:" => rest.parse::<i64>().ok().map(|_| element.to_owned()),
        _ => None,
    }
}

fn printed(element: &str) -> String {
    let (kind, rest) = element.split_at_checked(2).unwrap_or(("", element));
    match kind {
        "f:" => format!(".{rest}"),
        "v:" => format!("[={rest}]"),
        "k:" => {
            let keys: Map<String, Value> = serde_json::from_str(rest).unwrap_or_default();
            let mut text = String::from("[");
            for (at, (name, value)) in keys.iter().enumerate() {
                // Writing to a string cannot fail.
                let _ = write!(text, "{}{name}={value}", if at == 0 { "" } else { "," });
            }
            text.push(']');
            text
        }
        _ => format!("[{rest}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_wire_form_survives_and_prints() {
        let fields = json!({
            "f:metadata": {"f:finalizers": {".": {}, "v:\"a\"": {}}},
            "f:spec": {"f:ports": {"k:{\"protocol\":\"TCP\",\"port\":80}": {".": {}, "f:port": {}}}, "f:x": {}}
        });
        let set = FieldSet::decode(&fields).unwrap();
        let again = FieldSet::decode(&set.encode()).unwrap();
        assert_eq!(again, set);
        assert_eq!(
            set.paths(),
            [
                ".metadata.finalizers",
                ".metadata.finalizers[=\"a\"]",
                ".spec.ports[port=80,protocol=\"TCP\"]",
                ".spec.ports[port=80,protocol=\"TCP\"].port",
                ".spec.x"
            ]
        );
        for bad in [
            json!([]),
            json!({"x": {}}),
            json!({"k:1": {}}),
            json!({"f:a": 1}),
            json!({"v:{": {}}),
        ] {
            assert_eq!(FieldSet::decode(&bad), None, "{bad}");
        }
    }

    #[test]
    fn sets_behave_as_sets() {
        let set = |value: Value| FieldSet::decode(&value).unwrap();
        let a = set(json!({"f:a": {".": {}, "f:b": {}}}));
        let b = set(json!({"f:a": {}}));
        assert_eq!(a.difference(&b), set(json!({"f:a": {"f:b": {}}})));
        let mut left = a.clone();
        left.remove(&b);
        assert_eq!(left, a.difference(&b));
        left.remove(&set(json!({"f:a": {"f:b": {}}, "f:c": {}})));
        assert_eq!(left, FieldSet::default());
        assert_eq!(a.intersection(&b), b);
        assert_eq!(a.union(&b), a);
        assert!(b.difference(&a).is_empty());
    }
}
