//! Rules of routers. A value in a rule is a literal of Go in double quotes.

/// Above the priority of a rule that another configuration leaves to its length.
const EXACT: u32 = 200_000;
const WILDCARD: u32 = 100_000;

/// Returns a literal of Go.
fn quoted(text: &str) -> String {
    let mut literal = String::with_capacity(text.len() + 2);
    literal.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => {
                literal.push('\\');
                literal.push(letter);
            }
            ' '..='~' => literal.push(letter),
            // No value that was checked has such a character.
            _ => literal.push('?'),
        }
    }
    literal.push('"');
    literal
}

/// Returns the rule for a host in ASCII and a path without a slash at its end; empty: all paths.
pub fn rule(host: &str, path: &str) -> String {
    let host = match host.strip_prefix("*.") {
        // Traefik 3.6 has no wildcards in Host.
        Some(domain) => {
            let expression = format!(r"^[^.]+\.{}$", domain.replace('.', r"\."));
            format!("HostRegexp({})", quoted(&expression))
        }
        None => format!("Host({})", quoted(host)),
    };
    if path.is_empty() {
        return host;
    }
    // PathPrefix alone has no boundary between elements.
    let below = format!("{path}/");
    format!(
        "{host} && (Path({}) || PathPrefix({}))",
        quoted(path),
        quoted(&below)
    )
}

/// Returns the priority: hosts before wildcards, then longer paths before shorter ones.
pub fn priority(host: &str, path: &str) -> u32 {
    let base = if host.starts_with("*.") { WILDCARD } else { EXACT };
    base + u32::try_from(path.len()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_cannot_leave_its_literal() {
        for (text, literal) in [
            ("shop.example.com", r#""shop.example.com""#),
            (r#"a") || Host("b"#, r#""a\") || Host(\"b""#),
            (r"a\", r#""a\\""#),
            ("a`b", r#""a`b""#),
            ("a\nb", r#""a?b""#),
        ] {
            assert_eq!(quoted(text), literal);
        }
    }

    #[test]
    fn path_ends_between_elements() {
        assert_eq!(rule("x.example.com", ""), r#"Host("x.example.com")"#);
        assert_eq!(
            rule("x.example.com", "/shop"),
            r#"Host("x.example.com") && (Path("/shop") || PathPrefix("/shop/"))"#
        );
        assert_eq!(
            rule("*.example.com", ""),
            r#"HostRegexp("^[^.]+\\.example\\.com$")"#
        );
    }

    #[test]
    fn special_routes_come_before_general_ones() {
        let order = [
            ("x.example.com", "/shop/cart"),
            ("x.example.com", "/shop"),
            ("x.example.com", ""),
            ("*.example.com", "/shop"),
            ("*.example.com", ""),
        ];
        let priorities = order.map(|(host, path)| priority(host, path));
        assert!(priorities.is_sorted_by(|one, two| one > two), "{priorities:?}");
    }
}
