//! Fields that a JSON body gives more than once: the last one counts, and who asked to be told is told.

use std::{cell::RefCell, collections::HashSet, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// How many are named at most, as upstream bounds it.
const MOST: usize = 100;

/// The paths of the fields that are given again, in the order of the body: `metadata.name`, `spec.a[0].b`.
pub fn duplicates(body: &[u8]) -> Vec<String> {
    let found = RefCell::new(Vec::new());
    let mut reader = serde_json::Deserializer::from_slice(body);
    // What is no JSON is refused elsewhere.
    let _ = Look {
        path: String::new(),
        found: &found,
    }
    .deserialize(&mut reader);
    let mut found = found.into_inner();
    let mut seen = HashSet::new();
    found.retain(|path| seen.insert(path.clone()));
    found.truncate(MOST);
    found
}

struct Look<'a> {
    path: String,
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
                path: format!("{}[{index}]", self.path),
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
            let path = if self.path.is_empty() {
                key.clone()
            } else {
                format!("{}.{key}", self.path)
            };
            if keys.insert(key) {
                map.next_value_seed(Look {
                    path,
                    found: self.found,
                })?;
            } else {
                self.found.borrow_mut().push(path);
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows() {
        let rows: [(&str, &[&str]); 4] = [
            (r#"{"a":1,"b":{"a":2}}"#, &[]),
            (r#"{"a":1,"a":2,"a":3}"#, &["a"]),
            (
                r#"{"a":[{"b":1},{"b":1,"b":2}],"c":{"d":0,"d":1}}"#,
                &["a[1].b", "c.d"],
            ),
            ("nonsense", &[]),
        ];
        for (body, wanted) in rows {
            assert_eq!(duplicates(body.as_bytes()), wanted, "{body}");
        }
    }
}
