//! A configuration as text: JSON, which YAML contains, so that no value needs quoting rules of its own.

use std::fmt::Write as _;

use serde::Serialize;

/// Returns the text of a configuration. Escaped is what Traefik would read as the beginning of a template, and what YAML
/// does not allow unescaped: JSON has both in strings only.
pub fn text(configuration: &impl Serialize) -> String {
    // Maps have text as keys, so this cannot fail.
    let json = serde_json::to_string(configuration).unwrap_or_default();
    let mut text = String::with_capacity(json.len());
    let mut units = [0; 2];
    let mut after_brace = false;
    // What stays is copied in one piece: a thousand routes are half a megabyte.
    let mut copied = 0;
    for (at, letter) in json.char_indices() {
        let stays = (' '..='~').contains(&letter) && !(letter == '{' && after_brace);
        if !stays {
            text.push_str(json.get(copied..at).unwrap_or_default());
            copied = at + letter.len_utf8();
            for unit in letter.encode_utf16(&mut units) {
                // A String takes everything.
                let _ = write!(text, "\\u{unit:04x}");
            }
        }
        after_brace = letter == '{';
    }
    text.push_str(json.get(copied..).unwrap_or_default());
    text
}

/// The digits of a digest that a name has.
pub fn short(digest: &[u8]) -> String {
    let mut digits = String::with_capacity(16);
    for byte in digest.iter().take(8) {
        // A String takes everything.
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_no_template_and_is_read_back() {
        let hostile = "{{ env \"HOME\" }} {{{ ${1} \u{7f} ä \u{1f600} \" \\ \n `";
        let written = text(&serde_json::json!([{"a": {"b": hostile}}]));
        assert!(!written.contains("{{") && written.is_ascii(), "{written}");
        let back: serde_json::Value = serde_json::from_str(&written).unwrap();
        assert_eq!(back[0]["a"]["b"], hostile);
    }
}
