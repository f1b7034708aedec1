//! JSON with invalid Unicode, which Go's decoder accepts.

use serde_json::Value;

/// The length of `\uXXXX`.
const UNIT: usize = 6;

/// Parses JSON. A byte that is no UTF-8 and an escape of half a surrogate pair stand for U+FFFD.
pub fn parse(body: &[u8]) -> serde_json::Result<Value> {
    serde_json::from_slice(body).or_else(|error| {
        let repaired = repaired(body);
        if repaired.as_bytes() == body {
            return Err(error);
        }
        serde_json::from_str(&repaired).map_err(|_| error)
    })
}

fn repaired(body: &[u8]) -> String {
    let mut text = String::with_capacity(body.len());
    for chunk in body.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    without_lone_surrogates(&text)
}

fn without_lone_surrogates(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        let next = escape.get(UNIT..).unwrap_or_default();
        let length = match (unit(escape), unit(next)) {
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => 2 * UNIT,
            (Some(0xD800..=0xDFFF), _) => {
                out.push_str("\\ufffd");
                rest = next;
                continue;
            }
            (Some(_), _) => UNIT,
            // The backslash and the character that it escapes.
            (None, _) => escape.char_indices().nth(2).map_or(escape.len(), |(at, _)| at),
        };
        let (escape, after) = escape.split_at_checked(length).unwrap_or((escape, ""));
        out.push_str(escape);
        rest = after;
    }
    out.push_str(rest);
    out
}

/// The UTF-16 code unit of `\uXXXX` at the beginning of the text.
fn unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_hex.then(|| u16::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_unicode_is_replaced_as_by_go() {
        let rows: [(&[u8], &str); 9] = [
            (br#"["plain \\ \" \n \u00e9"]"#, "plain \\ \" \n é"),
            (b"[\"a\xffb\"]", "a\u{fffd}b"),
            (b"[\"\xe2\x82\"]", "\u{fffd}\u{fffd}"),
            (br#"["\ud800"]"#, "\u{fffd}"),
            (br#"["\udc00x"]"#, "\u{fffd}x"),
            (br#"["\ud800\ud800"]"#, "\u{fffd}\u{fffd}"),
            (br#"["\ud83d\ude00"]"#, "\u{1f600}"),
            (b"[\"\\ud83d\\ude00\xff\"]", "\u{1f600}\u{fffd}"),
            (br#"["\\ud800 \ud800"]"#, "\\ud800 \u{fffd}"),
        ];
        for (body, text) in rows {
            assert_eq!(parse(body).unwrap(), serde_json::json!([text]), "{body:?}");
        }
    }

    #[test]
    fn other_errors_remain() {
        for body in [&b"{"[..], b"[\"\\x\"]", b"\xff", b"[\"\\ud80"] {
            assert!(parse(body).is_err(), "{body:?}");
        }
    }
}
