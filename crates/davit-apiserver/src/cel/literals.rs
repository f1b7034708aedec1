//! Texts and bytes in expressions, read as the language says: the parser gets several of its escapes wrong, and does not
//! know some.

use std::{borrow::Cow, fmt::Write as _};

use super::positions::quoted;

/// The expression with every text and bytes in it written in the one way that the parser reads right. Invalid
/// literals stay as they are, for the parser to refuse.
pub(crate) fn plain(source: &str) -> Cow<'_, str> {
    let mut made = String::new();
    let mut from = 0;
    for place in quoted(source) {
        let literal = source.get(place.clone()).unwrap_or_default();
        if let Some(written) = rewritten(literal) {
            made.push_str(source.get(from..place.start).unwrap_or_default());
            made.push_str(&written);
            from = place.end;
        }
    }
    if from == 0 {
        return Cow::Borrowed(source);
    }
    made.push_str(source.get(from..).unwrap_or_default());
    Cow::Owned(made)
}

/// The same literal without anything that is hard to read; none where there is nothing to do, or it is no literal.
fn rewritten(literal: &str) -> Option<String> {
    let (prefix, rest) = literal.split_at_checked(literal.find(['"', '\''])?)?;
    let (raw, bytes) = match prefix.to_ascii_lowercase().as_str() {
        "" => (false, false),
        "r" => (true, false),
        "b" => (false, true),
        "br" => (true, true),
        _ => return None,
    };
    let quote = rest.get(..1)?;
    let triple = quote.repeat(3);
    let open = if rest.starts_with(&triple) {
        triple.as_str()
    } else {
        quote
    };
    if open.len() == 1 && !rest.contains('\\') && !raw {
        return None;
    }
    let body = rest.strip_prefix(open)?.strip_suffix(open)?;
    let content = if raw {
        body.as_bytes().to_vec()
    } else {
        unescaped(body, bytes)?
    };
    let mut made = String::new();
    if bytes {
        made.push_str("b\"");
        for byte in content {
            let _ = write!(made, "\\x{byte:02x}");
        }
    } else {
        made.push('"');
        for letter in std::str::from_utf8(&content).ok()?.chars() {
            match letter {
                '"' | '\\' => made.extend(['\\', letter]),
                _ if letter.is_control() => {
                    let _ = write!(made, "\\U{:08x}", u32::from(letter));
                }
                _ => made.push(letter),
            }
        }
    }
    made.push('"');
    Some(made)
}

/// What stands between the quotes, in UTF-8; in bytes, a number stands for one of them and not for a character.
fn unescaped(body: &str, bytes: bool) -> Option<Vec<u8>> {
    let mut made = Vec::with_capacity(body.len());
    let mut rest = body.chars();
    while let Some(letter) = rest.next() {
        let mut push = |letter: char| made.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
        if letter != '\\' {
            push(letter);
            continue;
        }
        let escape = rest.next()?;
        let (mut number, digits, radix) = match escape {
            'a' => (0x07, 0, 8),
            'b' => (0x08, 0, 8),
            't' => (0x09, 0, 8),
            'n' => (0x0a, 0, 8),
            'v' => (0x0b, 0, 8),
            'f' => (0x0c, 0, 8),
            'r' => (0x0d, 0, 8),
            '\\' | '\'' | '"' | '`' | '?' => (u32::from(escape), 0, 8),
            '0'..='3' => (escape.to_digit(8)?, 2, 8),
            'x' | 'X' => (0, 2, 16),
            'u' if !bytes => (0, 4, 16),
            'U' if !bytes => (0, 8, 16),
            _ => return None,
        };
        for _ in 0..digits {
            let digit = rest.next()?.to_digit(radix)?;
            number = number.checked_mul(radix)?.checked_add(digit)?;
        }
        if bytes {
            made.push(u8::try_from(number).ok()?);
        } else {
            push(char::from_u32(number)?);
        }
    }
    Some(made)
}

#[cfg(test)]
mod tests {
    use super::plain;
    use crate::cel::evaluation::tests::say;

    #[test]
    fn literals_are_read_as_the_language_says() {
        let rows = [
            r#"'a\"b' == "a\x22b" && "a\'b" == 'a\x27b'"#,
            r#"'\a\b\f\n\r\t\v\\\?\`' == "\u0007\u0008\u000c\U0000000a\x0d\011\013\\?`""#,
            r#"r'\d"\' == '\\d"\\' && R"\'" == '\\\''"#,
            r#"'''it's "so"''' == 'it\'s "so"' && """a""b""" == 'a""b'"#,
            r#"'''''' == '' && "" == '' && r'''a'b\''' == 'a\'b\\'"#,
            r"'é' == '\xe9' && size(b'é') == 2 && size(b'\xe9') == 1",
            r#"b'\n\'\"\377' == b'\x0a\x27\x22\xff' && br'\n' == b'\x5c\x6e' && bR'a' == b'a'"#,
            "\"\"\"two\nlines\"\"\" == 'two\\nlines'",
        ];
        say(&rows.map(|row| (row, "true")));
    }

    #[test]
    fn what_is_simple_or_wrong_stays() {
        for source in [
            "self.a == 'b' + \"c\" // 'd",
            r"'\q' == 'x'",
            r"'\u12' == b'\u0041'",
            r"'\ud800' + '\x4",
            r"'\400' + '\",
            "'''",
        ] {
            assert_eq!(plain(source), source);
        }
    }
}
