//! Bodies in protobuf, decoded to the JSON that they stand for.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Number, Value};

use super::messages::{Field, MAGIC, MESSAGES, Shape, message_name};

/// How deep messages may nest: schemas of CRDs are the deepest.
const DEPTH: usize = 100;

type Failed = String;

/// Decodes a body: its apiVersion and kind say which message it holds.
pub fn decode(body: &[u8]) -> Result<Value, Failed> {
    let envelope = body
        .strip_prefix(MAGIC)
        .ok_or("the body does not begin as protobuf of Kubernetes does")?;
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    for field in Reader(envelope) {
        match field? {
            (1, Wire::Bytes(type_meta)) => {
                for field in Reader(type_meta) {
                    match field? {
                        (1, Wire::Bytes(text)) => api_version = utf8(text)?,
                        (2, Wire::Bytes(text)) => kind = utf8(text)?,
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let name = message_name(&api_version, &kind);
    let mut object = message(&name, raw, 0)?;
    object.insert("apiVersion".into(), api_version.into());
    object.insert("kind".into(), kind.into());
    Ok(Value::Object(object))
}

fn message(name: &str, bytes: &[u8], depth: usize) -> Result<Map<String, Value>, Failed> {
    if depth > DEPTH {
        return Err("messages nest too deeply".into());
    }
    let known = MESSAGES
        .get(name)
        .ok_or_else(|| format!("no protobuf form of {name} is known"))?;
    let mut object = Map::new();
    for field in Reader(bytes) {
        let (number, wire) = field?;
        let Some(Field { json, shape, kind }) = known.get(&number) else {
            continue;
        };
        match shape {
            Shape::List => {
                let item = value(kind, &wire, depth)?;
                if let Value::Array(list) = object.entry(*json).or_insert_with(|| Value::Array(Vec::new())) {
                    list.push(item);
                }
            }
            Shape::Map => {
                let (key, item) = entry(kind, &wire, depth)?;
                if let Value::Object(map) = object.entry(*json).or_insert_with(|| Value::Object(Map::new())) {
                    map.insert(key, item);
                }
            }
            Shape::One | Shape::Optional => {
                let item = value(kind, &wire, depth)?;
                // Go sends every plain field, set or not: what is empty was not set.
                if *shape == Shape::Optional || !is_zero(&item) {
                    object.insert((*json).to_owned(), item);
                }
            }
        }
    }
    Ok(object)
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(set) => !set,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Array(_) => false,
    }
}

fn entry(kind: &str, wire: &Wire<'_>, depth: usize) -> Result<(String, Value), Failed> {
    let Wire::Bytes(bytes) = wire else {
        return Err("a map's entry is no message".into());
    };
    let (mut key, mut item) = (String::new(), None);
    for field in Reader(bytes) {
        match field? {
            (1, Wire::Bytes(text)) => key = utf8(text)?,
            (2, wire) => item = Some(value(kind, &wire, depth)?),
            _ => {}
        }
    }
    let absent = || {
        if kind == "text" || kind == "bytes" {
            "".into()
        } else {
            Value::Object(Map::new())
        }
    };
    Ok((key, item.unwrap_or_else(absent)))
}

fn value(kind: &str, wire: &Wire<'_>, depth: usize) -> Result<Value, Failed> {
    let wrong = || format!("a field of type {kind} has another wire type");
    Ok(match (kind, wire) {
        ("text", Wire::Bytes(bytes)) => utf8(bytes)?.into(),
        ("bytes", Wire::Bytes(bytes)) => STANDARD.encode(bytes).into(),
        ("bool", Wire::Varint(number)) => (*number != 0).into(),
        // Go's int32 and int64 are sent as two's complement in 64 bits.
        ("int", Wire::Varint(number)) => number.cast_signed().into(),
        ("double", Wire::Fixed64(bits)) => double(f64::from_bits(*bits)),
        ("raw", Wire::Bytes(bytes)) => raw(bytes)?,
        ("wrapped", Wire::Bytes(bytes)) => match first(bytes)? {
            Some(Wire::Bytes(text)) => utf8(text)?.into(),
            _ => Value::Null,
        },
        ("texts", Wire::Bytes(bytes)) => {
            let items: Result<Vec<Value>, Failed> = Reader(bytes)
                .map(|field| value("text", &field?.1, depth))
                .collect();
            items?.into()
        }
        ("time" | "micro", Wire::Bytes(bytes)) => time(bytes, kind == "micro")?,
        ("intstr", Wire::Bytes(bytes)) => int_or_string(bytes)?,
        ("orbool" | "orarray" | "orstrings", Wire::Bytes(bytes)) => schema_or(kind, bytes, depth)?,
        (name, Wire::Bytes(bytes)) if name.contains('.') => Value::Object(message(name, bytes, depth + 1)?),
        _ => return Err(wrong()),
    })
}

fn double(number: f64) -> Value {
    // `5.0` was `5` in the schema.
    #[allow(
        clippy::cast_possible_truncation,
        reason = "only whole numbers of moderate size are cast"
    )]
    if number.fract() == 0.0 && number.abs() < 1e15 {
        return (number as i64).into();
    }
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}

fn first(bytes: &[u8]) -> Result<Option<Wire<'_>>, Failed> {
    Reader(bytes)
        .next()
        .transpose()
        .map(|field| field.map(|(_, wire)| wire))
}

fn raw(bytes: &[u8]) -> Result<Value, Failed> {
    match first(bytes)? {
        Some(Wire::Bytes(json)) if !json.is_empty() => {
            serde_json::from_slice(json).map_err(|error| error.to_string())
        }
        _ => Ok(Value::Null),
    }
}

fn time(bytes: &[u8], micro: bool) -> Result<Value, Failed> {
    let (mut seconds, mut nanos) = (0, 0);
    for field in Reader(bytes) {
        match field? {
            (1, Wire::Varint(number)) => seconds = number.cast_signed(),
            (2, Wire::Varint(number)) => nanos = i32::try_from(number).unwrap_or_default(),
            _ => {}
        }
    }
    // Go's zero time: not set.
    if bytes.is_empty() || seconds <= -62_135_596_800 {
        return Ok(Value::Null);
    }
    let time = jiff::Timestamp::new(seconds, nanos).map_err(|error| error.to_string())?;
    let format = if micro {
        "%Y-%m-%dT%H:%M:%S.%6fZ"
    } else {
        "%Y-%m-%dT%H:%M:%SZ"
    };
    Ok(time.strftime(format).to_string().into())
}

fn int_or_string(bytes: &[u8]) -> Result<Value, Failed> {
    let (mut is_text, mut number, mut text) = (false, 0, String::new());
    for field in Reader(bytes) {
        match field? {
            (1, Wire::Varint(kind)) => is_text = kind == 1,
            (2, Wire::Varint(value)) => number = value.cast_signed(),
            (3, Wire::Bytes(value)) => text = utf8(value)?,
            _ => {}
        }
    }
    Ok(if is_text { text.into() } else { number.into() })
}

/// A schema, or a truth value, or a list.
fn schema_or(kind: &str, bytes: &[u8], depth: usize) -> Result<Value, Failed> {
    const SCHEMA: &str = "apiextensions.JSONSchemaProps";
    let (mut allows, mut schema, mut list) = (false, None, Vec::new());
    for field in Reader(bytes) {
        match (kind, field?) {
            ("orbool", (1, Wire::Varint(number))) => allows = number != 0,
            ("orbool", (2, Wire::Bytes(inner))) | ("orarray" | "orstrings", (1, Wire::Bytes(inner))) => {
                schema = Some(Value::Object(message(SCHEMA, inner, depth + 1)?));
            }
            ("orarray", (2, Wire::Bytes(inner))) => {
                list.push(Value::Object(message(SCHEMA, inner, depth + 1)?));
            }
            ("orstrings", (2, Wire::Bytes(text))) => list.push(utf8(text)?.into()),
            _ => {}
        }
    }
    Ok(match schema {
        Some(schema) => schema,
        None if kind == "orbool" => allows.into(),
        None => list.into(),
    })
}

fn utf8(bytes: &[u8]) -> Result<String, Failed> {
    String::from_utf8(bytes.to_vec()).map_err(|_| "a text is not UTF-8".into())
}

enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32,
    Bytes(&'a [u8]),
}

/// The fields of a message, one after the other.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn varint(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn field(&mut self) -> Option<(u64, Wire<'a>)> {
        let tag = self.varint()?;
        let wire = match tag & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => Wire::Fixed64(u64::from_le_bytes(self.take(8)?.try_into().ok()?)),
            2 => {
                let count = usize::try_from(self.varint()?).ok()?;
                Wire::Bytes(self.take(count)?)
            }
            5 => {
                self.take(4)?;
                Wire::Fixed32
            }
            _ => return None,
        };
        Some((tag >> 3, wire))
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<(u64, Wire<'a>), Failed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field.ok_or_else(|| "the protobuf ends in the middle or is none".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn bytes(number: u8, body: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, u8::try_from(body.len()).unwrap()], body].concat()
    }

    #[test]
    fn a_config_map() {
        let metadata = [bytes(1, b"name"), bytes(4, b""), bytes(8, b"")].concat();
        let data = [bytes(1, b"k"), bytes(2, b"v")].concat();
        let map = [bytes(1, &metadata), bytes(2, &data), vec![4 << 3, 0]].concat();
        let types = [bytes(1, b"v1"), bytes(2, b"ConfigMap")].concat();
        let body = [MAGIC, &bytes(1, &types), &bytes(2, &map)].concat();
        assert_eq!(
            decode(&body).unwrap(),
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "name"}, "data": {"k": "v"},
                "immutable": false})
        );
        for end in 0..body.len() {
            // A body cut short is refused or decodes to less; it never panics.
            let _ = decode(&body[..end]);
        }
    }

    #[test]
    fn times() {
        let body = [8, 0x80, 0x8c, 0xff, 0xc2, 0x06];
        assert_eq!(time(&body, false).unwrap(), json!("2025-06-28T10:37:52Z"));
        assert_eq!(time(&[], false).unwrap(), Value::Null);
    }
}
