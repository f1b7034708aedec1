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
    Some(words.trim().chars().take(LONGEST).collect())
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
        assert_eq!(refusal(&log, "c.example.com"), None);
    }
}
