//! What Traefik's log says of a certificate that it did not get.

/// The longest quotation.
const LONGEST: usize = 300;

/// Returns the last refusal of a certificate for this host in a log, without colours and times.
pub fn refusal(log: &str, host: &str) -> Option<String> {
    let line = log
        .lines()
        .rev()
        .map(plain)
        .find(|line| line.contains("Unable to obtain ACME certificate") && names(line, host))?;
    // The words of the authority come after the name of the problem, if it has one.
    let words = line
        .split_once("urn:ietf:params:acme:error:")
        .map_or(line.as_str(), |(_, words)| words);
    let words = words.split(" acmeCA=").next().unwrap_or(words);
    let words = words.trim().trim_end_matches('"');
    Some(cut(&unescaped(words)))
}

/// Takes back the escapes of a quoted text in the log, which may be quoted more than once.
fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            plain.push(letter);
            continue;
        }
        while letters.next_if_eq(&'\\').is_some() {}
        if letters.next_if(|next| matches!(next, 'n' | 't' | 'r')).is_some() {
            plain.push(' ');
        }
    }
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Cuts a text between two words.
fn cut(text: &str) -> String {
    let Some((end, _)) = text.char_indices().nth(LONGEST) else {
        return text.to_owned();
    };
    let whole = text.get(..end).unwrap_or_default();
    let whole = whole.rsplit_once(' ').map_or(whole, |(words, _)| words);
    format!("{whole} …")
}

/// Reports whether a line names the host, and not only one that contains it.
fn names(line: &str, host: &str) -> bool {
    line.split(|letter: char| !letter.is_ascii_alphanumeric() && !matches!(letter, '.' | '-' | '*'))
        .any(|word| word == host)
}

/// A line without the escapes of a terminal.
fn plain(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        if letter == '\u{1b}' {
            letters.by_ref().find(char::is_ascii_alphabetic);
        } else if !letter.is_control() {
            text.push(letter);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_is_the_last_one_of_the_host() {
        let line = |host: &str, words: &str| {
            format!(
                "\u{1b}[90m2026-11-29T19:25:24Z\u{1b}[0m \u{1b}[31mERR\u{1b}[0m Unable to obtain ACME certificate for domains \
                 error=\"unable to generate a certificate for the domains [{host}]: error: one or more domains had a problem:\\n[{host}] \
                 invalid authorization: acme: error: 400 :: urn:ietf:params:acme:error:{words}\" acmeCA=https://ca.example.com/dir"
            )
        };
        let log = [
            line("a.example.com", "connection :: first"),
            "something else".to_owned(),
            line("a.example.com", "dns :: NXDOMAIN looking up A for a.example.com"),
            line("b.example.com", "rateLimited :: too many"),
        ]
        .join("\n");
        let words = refusal(&log, "a.example.com").unwrap();
        assert!(words.starts_with("dns :: NXDOMAIN looking up A"), "{words}");
        assert!(!words.contains("acmeCA"), "{words}");
        assert!(words.ends_with("for a.example.com"), "{words}");
        assert_eq!(refusal(&log, "c.example.com"), None);
    }

    #[test]
    fn words_are_without_escapes_and_end_between_two_of_them() {
        for (text, expected) in [
            (r#"no \\\"A\\\" record\\nfor it"#, r#"no "A" record for it"#),
            (r#"get \"http://a\": refused"#, r#"get "http://a": refused"#),
            ("as it is", "as it is"),
        ] {
            assert_eq!(unescaped(text), expected);
        }
        let long = cut(&"word ".repeat(100));
        assert!(
            long.ends_with("word word …") && long.chars().count() <= LONGEST + 2,
            "{long}"
        );
        assert_eq!(cut("short"), "short");
    }
}
