//! Protobuf without its descriptions: fields by number, so that two answers can be compared and nothing of them is lost
//! but what differs from run to run: the seconds of times, tokens, and texts of digits, which are revisions.

use serde_json::{Map, Value, json};

/// Seconds from 2025 on: no other number in these answers is as large.
const NOW: u64 = 1_735_689_600;

/// A document in Kubernetes' envelope; a watch is a sequence of frames, which is told by the missing magic.
pub fn document(bytes: &[u8]) -> Value {
    let Some(rest) = bytes.strip_prefix(b"k8s\0") else {
        return frames(bytes);
    };
    let mut whole = message(rest).unwrap_or_else(|| json!({"not protobuf": rest.len()}));
    if let Some(raw) = field(rest, 2) {
        whole["2"] = message(&raw).unwrap_or_default();
    }
    whole
}

fn frames(mut bytes: &[u8]) -> Value {
    let mut events = Vec::new();
    while let Some((length, rest)) = bytes.split_at_checked(4) {
        let length = u32::from_be_bytes(length.try_into().unwrap()) as usize;
        let Some((frame, rest)) = rest.split_at_checked(length) else {
            break;
        };
        events.push(message(frame).unwrap_or_default());
        bytes = rest;
    }
    Value::Array(events)
}

/// The first field of that number, as bytes.
fn field(mut bytes: &[u8], wanted: u64) -> Option<Vec<u8>> {
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        match tag & 7 {
            0 => {
                varint(&mut bytes)?;
            }
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                let (value, rest) = bytes.split_at_checked(length)?;
                if tag >> 3 == wanted {
                    return Some(value.to_vec());
                }
                bytes = rest;
            }
            _ => return None,
        }
    }
    None
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn message(mut bytes: &[u8]) -> Option<Value> {
    let mut fields: Map<String, Value> = Map::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let value = match tag & 7 {
            0 => match varint(&mut bytes)? {
                NOW.. => "SECONDS".into(),
                number => number.into(),
            },
            1 => {
                let (value, rest) = bytes.split_at_checked(8)?;
                bytes = rest;
                json!(value)
            }
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                let (value, rest) = bytes.split_at_checked(length)?;
                bytes = rest;
                chunk(value)
            }
            _ => return None,
        };
        if tag >> 3 == 0 {
            return None;
        }
        let list = fields.entry((tag >> 3).to_string()).or_insert_with(|| json!([]));
        list.as_array_mut()?.push(value);
    }
    Some(Value::Object(fields))
}

/// Text if it can be text, else a message if it can be one.
fn chunk(bytes: &[u8]) -> Value {
    if bytes.starts_with(b"k8s\0") {
        return document(bytes);
    }
    let text = std::str::from_utf8(bytes).ok();
    match text.filter(|text| !text.chars().any(char::is_control)) {
        Some(text) if text.starts_with("eyJ") => "TOKEN".into(),
        Some(text) if !text.is_empty() && text.chars().all(|c| c.is_ascii_digit()) => "DIGITS".into(),
        Some(text) => text.into(),
        None => message(bytes).unwrap_or_else(|| text.map_or_else(|| json!(bytes), Into::into)),
    }
}
