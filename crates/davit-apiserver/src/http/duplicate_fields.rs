//! Duplicate fields of a body: the last one counts; field validation reports the others.

use std::{cell::RefCell, collections::HashSet, fmt};

use serde::{
    Deserialize,
    de::{DeserializeOwned, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

/// How many are named at most, as upstream bounds it.
const MOST: usize = 100;

/// The fields that a body contains more than once, as upstream words the warnings, in the order of the body.
#[derive(Debug, Clone, Default)]
pub struct DuplicateFields {
    texts: Vec<String>,
    yaml: bool,
}

impl DuplicateFields {
    /// Of a body of that media type; of what is no JSON and no YAML there is nothing to say.
    pub fn of(content_type: &str, body: &[u8]) -> Self {
        match content_type {
            _ if body.is_empty() => Self::default(),
            ""
            | "application/json"
            | "application/merge-patch+json"
            | "application/strategic-merge-patch+json" => {
                let named = |path: &String| format!("duplicate field \"{path}\"");
                let found = duplicates(body).unwrap_or_default();
                Self {
                    texts: found.iter().map(named).collect(),
                    yaml: false,
                }
            }
            "application/yaml" | "application/apply-patch+yaml" => {
                let plain = begins_as_json(body) && duplicates(body).is_some_and(|found| found.is_empty());
                Self {
                    texts: if plain { Vec::new() } else { lines(body) },
                    yaml: true,
                }
            }
            _ => Self::default(),
        }
    }

    /// One text for each, as a warning says it.
    pub fn warnings(&self) -> &[String] {
        &self.texts
    }

    /// The texts of a refusal; YAML's are one.
    pub fn faults(&self) -> Vec<String> {
        if self.yaml && !self.texts.is_empty() {
            vec![format!("yaml: unmarshal errors:\n  {}", self.texts.join("\n  "))]
        } else {
            self.texts.clone()
        }
    }
}

/// Whether a body of YAML may be JSON, and a value that is no scalar.
pub fn begins_as_json(body: &[u8]) -> bool {
    body.trim_ascii_start().first() == Some(&b'{')
}

/// How often the aliases of YAML may repeat what it says: of what is read, upstream lets 99 in 100 be repeated, and here
/// each byte counts for something said.
const REPEATED: usize = 100;
/// As much may be repeated however much is said.
const MOST_REPEATED: usize = 1_000_000;
/// As much may be repeated however little is said.
const FEW_REPEATED: usize = 2_000;

/// How deep YAML may be: as deep as `serde_json` reads JSON.
const DEEPEST: usize = 127;
/// How many values YAML may have: more than fit into a body.
const MOST_VALUES: usize = 4 << 20;

/// The stack that reading YAML of that depth takes, in bytes, with room to spare.
const STACK: usize = 16 << 20;

/// Reads YAML; what is given twice is no error yet. Without a bound by its length, a few hundred bytes with aliases of
/// aliases keep a processor busy for seconds.
pub fn read_yaml<T: DeserializeOwned>(text: &str) -> Result<T, serde_saphyr::Error> {
    let most = text.len().saturating_mul(REPEATED);
    let options = serde_saphyr::options! {
        duplicate_keys: serde_saphyr::options::DuplicateKeyPolicy::LastWins,
        budget: serde_saphyr::budget! {
            max_depth: DEEPEST,
            max_nodes: MOST_VALUES,
            max_events: MOST_VALUES,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: most.clamp(FEW_REPEATED, MOST_REPEATED),
        },
    };
    stacker::maybe_grow(STACK / 2, STACK, || {
        serde_saphyr::from_str_with_options(text, options)
    })
}

/// The keys of YAML that are given again, each with its line.
fn lines(body: &[u8]) -> Vec<String> {
    let text = std::str::from_utf8(body).unwrap_or_default();
    let read = read_yaml::<Lines>(text);
    let mut found = read.unwrap_or_default().0;
    found.truncate(MOST);
    found
}

/// What is found below one place of a YAML document.
#[derive(Default)]
struct Lines(Vec<String>);

impl<'de> Deserialize<'de> for Lines {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self::default())
    }
}

impl<'de> Visitor<'de> for Lines {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E: Error>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<Self, A::Error> {
        while let Some(item) = list.next_element::<Self>()? {
            self.0.extend(item.0);
        }
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self, A::Error> {
        let mut keys = HashSet::new();
        while let Some(key) = map.next_key::<serde_saphyr::Spanned<String>>()? {
            let line = key.referenced.line();
            if keys.contains(&key.value) {
                self.0
                    .push(format!("line {line}: key \"{}\" already set in map", key.value));
            }
            keys.insert(key.value);
            self.0.extend(map.next_value::<Self>()?.0);
        }
        Ok(self)
    }
}

/// The paths of the fields of JSON that are given again: `metadata.name`, `spec.a[0].b`; none of what is no JSON, which
/// is refused elsewhere.
fn duplicates(body: &[u8]) -> Option<Vec<String>> {
    let found = RefCell::new(Vec::new());
    let mut reader = serde_json::Deserializer::from_slice(body);
    let look = Look {
        at: At::Root,
        found: &found,
    };
    look.deserialize(&mut reader).ok()?;
    reader.end().ok()?;
    let mut found = found.into_inner();
    let mut seen = HashSet::new();
    found.retain(|path| seen.insert(path.clone()));
    found.truncate(MOST);
    Some(found)
}

/// A place in JSON; it is written down only where something is to be said of it.
#[derive(Clone, Copy)]
enum At<'a> {
    Root,
    Field(&'a At<'a>, &'a str),
    Item(&'a At<'a>, usize),
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Field(Self::Root, name) => f.write_str(name),
            Self::Field(above, name) => write!(f, "{above}.{name}"),
            Self::Item(above, index) => write!(f, "{above}[{index}]"),
        }
    }
}

struct Look<'a> {
    at: At<'a>,
    found: &'a RefCell<Vec<String>>,
}

impl<'de> DeserializeSeed<'de> for Look<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Look<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let mut index = 0;
        loop {
            let look = Look {
                at: At::Item(&self.at, index),
                found: self.found,
            };
            if list.next_element_seed(look)?.is_none() {
                return Ok(());
            }
            index += 1;
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut keys = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            let at = At::Field(&self.at, &key);
            if keys.contains(&key) {
                self.found.borrow_mut().push(at.to_string());
                map.next_value::<IgnoredAny>()?;
            } else {
                map.next_value_seed(Look {
                    at,
                    found: self.found,
                })?;
                keys.insert(key);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_yaml() {
        let body = "a: 1\nb: {c: 1, c: 2}\na:\n  - d: 1\n    d: 2\n";
        let again = DuplicateFields::of("application/yaml", body.as_bytes());
        let wanted = [
            "line 2: key \"c\" already set in map",
            "line 3: key \"a\" already set in map",
            "line 5: key \"d\" already set in map",
        ];
        assert_eq!(again.warnings(), wanted);
        assert_eq!(again.faults().len(), 1);
        assert!(
            DuplicateFields::of("application/yaml", b"a: {")
                .warnings()
                .is_empty()
        );
        for (body, wanted) in [
            (&b" {\"a\": 1, \"b\": {\"a\": 2}}"[..], &[][..]),
            (b"{\"a\": 1, \"a\": 2}", &["line 1: key \"a\" already set in map"]),
            (b"{a: 1, a: 2}", &["line 1: key \"a\" already set in map"]),
        ] {
            assert_eq!(DuplicateFields::of("application/yaml", body).warnings(), wanted);
        }
    }

    #[test]
    fn rows() {
        let rows: [(&str, &[&str]); 4] = [
            (r#"{"a":1,"b":{"a":2}}"#, &[]),
            (r#"{"a":1,"a":2,"a":3}"#, &["a"]),
            (
                r#"{"a":[{"b":1},{"b":1,"b":2}],"c":{"d":0,"d":1}}"#,
                &["a[1].b", "c.d"],
            ),
            (r#"[{"a":1,"a":2}]"#, &["[0].a"]),
        ];
        for (body, wanted) in rows {
            assert_eq!(duplicates(body.as_bytes()).unwrap(), wanted, "{body}");
        }
        for body in ["nonsense", "{\"a\":1} more", ""] {
            assert_eq!(duplicates(body.as_bytes()), None, "{body}");
        }
    }
}
