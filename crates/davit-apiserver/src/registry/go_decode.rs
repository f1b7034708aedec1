//! JSON read as Go's decoder reads it: `null` is the zero value of any type, and errors name the field.

use std::fmt;

use serde::{
    Deserializer,
    de::{
        self, DeserializeSeed, IntoDeserializer as _, MapAccess, SeqAccess, Visitor, value::StrDeserializer,
    },
    forward_to_deserialize_any,
};
use serde_json::{Map, Value};

use crate::{field::quote, patch::go_kind};

/// Why a value does not fit its type, in Go's words.
#[derive(Debug)]
pub struct Mismatch(String);

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Mismatch {}

impl de::Error for Mismatch {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

/// Reads `value` as a `T`.
pub fn decode<T: de::DeserializeOwned>(value: &Value) -> Result<T, Mismatch> {
    let place = Place {
        structure: "",
        path: None,
    };
    T::deserialize(Typed { value, place: &place })
}

/// The innermost struct around a value, and the names of the fields that lead to it.
struct Place<'a> {
    structure: &'static str,
    path: Option<(&'a Place<'a>, &'a str)>,
}

impl Place<'_> {
    fn field(&self) -> String {
        match self.path {
            None => String::new(),
            Some((above, name)) => match above.field() {
                field if field.is_empty() => name.to_owned(),
                field => format!("{field}.{name}"),
            },
        }
    }

    /// Go names the innermost struct, and the path from the root without keys and indexes.
    fn mismatch(&self, value: &Value, wanted: &str) -> Mismatch {
        let kind = match value {
            Value::Number(number) if wanted.starts_with("int") => format!("number {number}"),
            _ => go_kind(value).to_owned(),
        };
        let (structure, field) = (self.structure, self.field());
        Mismatch(if field.is_empty() {
            format!("json: cannot unmarshal {kind} into Go value of type {wanted}")
        } else {
            format!("json: cannot unmarshal {kind} into Go struct field {structure}.{field} of type {wanted}")
        })
    }

    /// Adds the field to the error of a type that parses its text itself, such as a time.
    fn parsing(&self, error: &dyn fmt::Display) -> Mismatch {
        Mismatch(format!("{}: {error}", self.field()))
    }
}

/// Whether a time has microseconds, as Go's decoder asks of some. The other parts are looked at by the type.
fn microseconds(text: &str) -> Result<(), String> {
    let Some(rest) = text.get("2006-01-02T15:04:05".len()..) else {
        return Ok(());
    };
    let wrong = |found: &str, wanted: &str| {
        let (text, found) = (quote(text), quote(found));
        format!(
            "parsing time {text} as \"2006-01-02T15:04:05.000000Z07:00\": cannot parse {found} as \"{wanted}\""
        )
    };
    let digits = rest
        .strip_prefix('.')
        .and_then(|digits| digits.split_at_checked(6));
    match digits {
        Some((digits, zone)) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            if zone.starts_with(|next: char| next.is_ascii_digit()) {
                return Err(wrong(zone, "Z07:00"));
            }
            Ok(())
        }
        _ => Err(wrong(rest, ".000000")),
    }
}

/// A value and its place.
#[derive(Clone, Copy)]
struct Typed<'a> {
    value: &'a Value,
    place: &'a Place<'a>,
}

impl<'a> Typed<'a> {
    fn text(self, wanted: &str) -> Result<&'a str, Mismatch> {
        match self.value {
            Value::Null => Ok(""),
            Value::String(text) => Ok(text),
            other => Err(self.place.mismatch(other, wanted)),
        }
    }

    fn whole(self, wanted: &str) -> Result<i64, Mismatch> {
        match self.value {
            Value::Null => Some(0),
            Value::Number(number) => number.as_i64(),
            _ => None,
        }
        .filter(|whole| wanted != "int32" || i32::try_from(*whole).is_ok())
        .ok_or_else(|| self.place.mismatch(self.value, wanted))
    }

    fn entries(self, structure: Option<&'static str>, wanted: &str) -> Result<Entries<'a>, Mismatch> {
        static EMPTY: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
        let map = match self.value {
            Value::Null => &*EMPTY,
            Value::Object(map) => map,
            other => return Err(self.place.mismatch(other, wanted)),
        };
        Ok(Entries {
            rest: map.iter(),
            next: None,
            structure,
            place: self.place,
        })
    }
}

impl<'de> Deserializer<'de> for Typed<'_> {
    type Error = Mismatch;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        // The type reads any JSON. Its errors are its own.
        self.value
            .clone()
            .deserialize_any(visitor)
            .map_err(|error| self.place.parsing(&error))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match self.value {
            Value::Null => visitor.visit_bool(false),
            Value::Bool(flag) => visitor.visit_bool(*flag),
            other => Err(self.place.mismatch(other, "bool")),
        }
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_i64(self.whole("int32")?)
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_i64(self.whole("int64")?)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match self.value {
            Value::Null => visitor.visit_f64(0.0),
            Value::Number(number) => visitor.visit_f64(number.as_f64().unwrap_or_default()),
            other => Err(self.place.mismatch(other, "float64")),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        let text = self.text("string")?;
        visitor.visit_str(text).map_err(|error: Mismatch| {
            // As upstream, an error of base64 does not name the field.
            if error.0.contains("offset ") {
                error
            } else {
                self.place.parsing(&error)
            }
        })
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match self.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        if name == "MicroTime"
            && let Value::String(text) = self.value
            && let Err(why) = microseconds(text)
        {
            return Err(self.place.parsing(&why));
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        let items = match self.value {
            Value::Null => &[][..],
            Value::Array(items) => items,
            other => return Err(self.place.mismatch(other, "[]string")),
        };
        visitor.visit_seq(Items {
            items: items.iter(),
            place: self.place,
        })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_map(self.entries(None, "map[string]string")?)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        visitor.visit_map(self.entries(Some(name), &format!("v1.{name}"))?)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i8 i16 i128 u8 u16 u32 u64 u128 f32 char bytes byte_buf unit unit_struct tuple tuple_struct enum identifier
    }
}

struct Items<'a> {
    items: std::slice::Iter<'a, Value>,
    place: &'a Place<'a>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Mismatch;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Mismatch> {
        let place = self.place;
        let next = self.items.next();
        next.map(|value| seed.deserialize(Typed { value, place }))
            .transpose()
    }
}

struct Entries<'a> {
    rest: serde_json::map::Iter<'a>,
    next: Option<(&'a str, &'a Value)>,
    /// The struct whose fields these are; `None` for a map.
    structure: Option<&'static str>,
    place: &'a Place<'a>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Mismatch;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Mismatch> {
        self.next = self.rest.next().map(|(name, value)| (name.as_str(), value));
        self.next
            .map(|(name, _)| {
                let key: StrDeserializer<'_, Mismatch> = name.into_deserializer();
                seed.deserialize(key)
            })
            .transpose()
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Mismatch> {
        let (name, value) = self.next.take().unwrap_or(("", &Value::Null));
        match self.structure {
            Some(structure) => {
                let place = Place {
                    structure,
                    path: Some((self.place, name)),
                };
                seed.deserialize(Typed { value, place: &place })
            }
            None => seed.deserialize(Typed {
                value,
                place: self.place,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::{
        coordination::v1::Lease,
        core::v1::{ConfigMap, Secret, Service},
    };
    use serde_json::json;

    use super::*;

    #[test]
    fn null_is_the_zero_value() {
        let map: ConfigMap =
            decode(&json!({"data": {"a": null, "b": "c"}, "immutable": null, "metadata": null})).unwrap();
        assert_eq!(
            serde_json::to_value(map).unwrap()["data"],
            json!({"a": "", "b": "c"})
        );
        let secret: Secret = decode(&json!({"data": {"a": null}, "stringData": {"b": null}})).unwrap();
        let secret = serde_json::to_value(secret).unwrap();
        assert_eq!(
            (&secret["data"]["a"], &secret["stringData"]["b"]),
            (&json!(""), &json!(""))
        );
        let spec = json!({"ports": [null, {"port": null}], "externalIPs": [null], "selector": {"a": null}});
        let service: Service = decode(&json!({"spec": spec})).unwrap();
        let spec = serde_json::to_value(service).unwrap()["spec"].take();
        assert_eq!(spec["ports"], json!([{"port": 0}, {"port": 0}]));
        assert_eq!(
            (&spec["externalIPs"], &spec["selector"]),
            (&json!([""]), &json!({"a": ""}))
        );
    }

    #[test]
    fn some_times_have_microseconds() {
        for (time, part) in [
            ("2026-01-01T00:00:00.123456Z", ""),
            ("2026-01-01T00:00:00.123456+02:00", ""),
            ("2026-01-01T00:00:00Z", "cannot parse \"Z\" as \".000000\""),
            ("2026-01-01T00:00:00.12Z", "cannot parse \".12Z\" as \".000000\""),
            (
                "2026-01-01T00:00:00.123456789Z",
                "cannot parse \"789Z\" as \"Z07:00\"",
            ),
            ("x", "spec.renewTime: "),
        ] {
            let error = decode::<Lease>(&json!({"spec": {"renewTime": time}})).err();
            let text = error.map(|error| error.to_string());
            assert_eq!(text.is_some(), !part.is_empty(), "{time}: {text:?}");
            assert!(text.unwrap_or_default().contains(part), "{time}");
        }
    }

    #[test]
    fn mismatch_names_the_field() {
        for (value, wanted) in [
            (
                json!({"data": {"a": 1}}),
                "number into Go struct field ConfigMap.data of type string",
            ),
            (
                json!({"data": []}),
                "array into Go struct field ConfigMap.data of type map[string]string",
            ),
            (
                json!({"metadata": {"labels": {"a": 1}}}),
                "number into Go struct field ObjectMeta.metadata.labels of type string",
            ),
            (
                json!({"metadata": []}),
                "array into Go struct field ConfigMap.metadata of type v1.ObjectMeta",
            ),
            (json!([]), "array into Go value of type v1.ConfigMap"),
        ] {
            let error = decode::<ConfigMap>(&value).unwrap_err().to_string();
            assert_eq!(error, format!("json: cannot unmarshal {wanted}"));
        }
        let error = decode::<Service>(&json!({"spec": {"ports": [{"port": 1.5}]}}))
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "json: cannot unmarshal number 1.5 into Go struct field ServicePort.spec.ports.port of type int32"
        );
    }
}
