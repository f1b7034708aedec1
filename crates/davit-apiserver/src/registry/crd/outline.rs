//! A definition without its schemas, which are nearly all of its size.

use serde::{
    Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

use super::fields::versions;
use crate::store::Object;

const SCHEMA: &str = "openAPIV3Schema";

/// The stored definition with an empty object in place of each schema. Where versions are converted, their schemas are
/// compared, so a definition of several versions is whole.
pub fn outline(definition: &Object) -> Value {
    let mut json = serde_json::Deserializer::from_slice(definition.json());
    let outline = Outline.deserialize(&mut json).unwrap_or_default();
    if versions(&outline).len() > 1 {
        return Value::Object(definition.value());
    }
    outline
}

struct Outline;

impl<'de> DeserializeSeed<'de> for Outline {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Outline {
    type Value = Value;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Self)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            let value = if name == SCHEMA {
                fields.next_value::<IgnoredAny>()?;
                Value::Object(Map::new())
            } else {
                fields.next_value_seed(Self)?
            };
            map.insert(name, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn version(name: &str, kind: &str) -> Value {
        json!({"name": name, "served": true, "schema": {SCHEMA: {"type": kind, "properties": {"a": {"type": "string"}}}}})
    }

    fn outlined(versions: &[Value]) -> (Value, Value) {
        let whole = json!({"kind": "CustomResourceDefinition", "apiVersion": "a/v1", "metadata": {"name": "x", "generation": 3},
            "spec": {"versions": versions, "numbers": [-1, 2, 0.5, null, true]}});
        let object = Object::render(whole.clone().as_object_mut().unwrap(), 7).unwrap();
        let mut outline = outline(&object);
        outline["metadata"]
            .as_object_mut()
            .unwrap()
            .remove("resourceVersion");
        (whole, outline)
    }

    #[test]
    fn outline_has_everything_but_the_schema() {
        let (mut whole, outline) = outlined(&[version("v1", "object")]);
        whole["spec"]["versions"][0]["schema"] = json!({SCHEMA: {}});
        assert_eq!(outline, whole);
    }

    #[test]
    fn outline_of_several_versions_is_whole() {
        let (whole, outline) = outlined(&[version("v1", "object"), version("v2", "string")]);
        assert_eq!(outline, whole);
    }
}
