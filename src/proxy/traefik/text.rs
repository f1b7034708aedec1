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
    for letter in json.chars() {
        match letter {
            '{' if after_brace => text.push_str("\\u007b"),
            ' '..='~' => text.push(letter),
            _ => {
                for unit in letter.encode_utf16(&mut units) {
                    // A String takes everything.
                    let _ = write!(text, "\\u{unit:04x}");
                }
            }
        }
        after_brace = letter == '{';
    }
    text
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
