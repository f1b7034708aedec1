//! The values of routes: what the schema of the CRD cannot express about hosts, expressions, networks, sizes and headers.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::run::Port;
use super::validation::invalid;
use super::values::Quantity;

/// The longest host name, in characters of its ASCII form.
const LONGEST_HOST: usize = 253;
/// The longest label of a host name.
const LONGEST_LABEL: usize = 63;
/// The longest regular expression, in bytes.
const LONGEST_EXPRESSION: usize = 512;
/// The largest regular expression, in parts after its repetitions are written out. Every Application's requests pass through one
/// reverse proxy, which writes them out when it loads the expression.
const LARGEST_EXPRESSION: u64 = 1024;
/// How much memory the check of a regular expression may use, in bytes. What has [`LARGEST_EXPRESSION`] needs less.
const EXPRESSION_MEMORY: usize = 512 * 1024;
/// The longest value of a header, in bytes.
const LONGEST_HEADER: usize = 4096;

/// Returns a host in its ASCII form. Its first label may be `*`.
///
/// # Errors
/// What is wrong with it, and the solution.
pub fn ascii_host(host: &str) -> Result<String, &'static str> {
    let (wildcard, name) = match host.strip_prefix("*.") {
        Some(name) => ("*.", name),
        None => ("", host),
    };
    if name.contains('*') {
        return Err("may have * as its first label only: write *.example.com");
    }
    if host.contains([':', '/', '@', '?', '#', '%', '\\', '[', ']']) || host.contains(char::is_whitespace) {
        return Err("is not a host name: leave out scheme, port and path, as in shop.example.com");
    }
    if name.ends_with('.') {
        return Err("is not a host name: leave out the dot at its end, as in shop.example.com");
    }
    let ascii = match url::Host::parse(name) {
        Ok(url::Host::Domain(ascii)) => ascii,
        Ok(_) => return Err("is an IP address: use a host name"),
        Err(_) => return Err("is not a host name: write it as shop.example.com"),
    };
    for label in ascii.split('.') {
        if label.is_empty() {
            return Err("is not a host name: write one dot between two parts, as in shop.example.com");
        }
        if label.len() > LONGEST_LABEL {
            return Err(
                "is not a host name, because one part is longer than 63 characters: shorten that part",
            );
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err("is not a host name, because one part begins or ends with -: remove that -");
        }
        let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !label.bytes().all(good) {
            return Err(
                "is not a host name: each part must be letters, digits and -, as in shop.example.com",
            );
        }
    }
    if !wildcard.is_empty() && !ascii.contains('.') {
        return Err(
            "stands for a whole top-level domain: write two parts or more after *, as in *.example.com",
        );
    }
    if ascii.len() + wildcard.len() > LONGEST_HOST {
        return Err("is longer than 253 characters: shorten it");
    }
    Ok(format!("{wildcard}{ascii}"))
}

/// Reports whether a text is the name of a header.
fn is_header_name(name: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_|~".contains(&byte);
    (1..=128).contains(&name.len()) && name.bytes().all(token)
}

/// Checks a host.
pub(super) fn host_name(host: &str, _: &Vec<Port>) -> garde::Result {
    ascii_host(host).map_or_else(|why| invalid(format!("{host:?} {why}")), |_| Ok(()))
}

/// Checks a regular expression. The reverse proxy and Davit serve all Applications, so what one of them can cost is bounded.
pub(super) fn expression<C>(text: &str, _: &C) -> garde::Result {
    let too_large = || {
        invalid(format!(
            "{text:?} is too large: use at most {LONGEST_EXPRESSION} characters, and repetitions such as x{{9}} of at most \
             {LARGEST_EXPRESSION} parts in all"
        ))
    };
    if text.len() > LONGEST_EXPRESSION || expression_size(text) > LARGEST_EXPRESSION {
        return too_large();
    }
    // URLs are ASCII, and classes of Unicode would be large.
    let compiled = regex::bytes::RegexBuilder::new(text)
        .unicode(false)
        .size_limit(EXPRESSION_MEMORY)
        .build();
    match compiled {
        Ok(_) => Ok(()),
        Err(regex::Error::CompiledTooBig(_)) => too_large(),
        Err(error) => {
            let words = error.to_string();
            let why = words.lines().last().unwrap_or_default();
            let why = why.strip_prefix("error: ").unwrap_or(why);
            invalid(format!(
                "{text:?} is not a regular expression ({why}): write it as ^https://www\\.(.*)"
            ))
        }
    }
}

/// Returns about how many parts an expression has after its repetitions are written out, as Traefik's regular expressions
/// (those of Go) are read. Davit's own library leaves out repetitions of nothing, and would not count them.
fn expression_size(text: &str) -> u64 {
    let mut rest = text;
    // What each open group comes after.
    let mut before: Vec<u64> = Vec::new();
    let (mut done, mut last) = (0_u64, 0_u64);
    loop {
        let mut letters = rest.chars();
        let Some(letter) = letters.next() else { break };
        rest = letters.as_str();
        let repeated = if letter == '{' { repetition(rest) } else { None };
        if let Some((count, after)) = repeated {
            rest = after;
            last = last.saturating_add(1).saturating_mul(count);
            continue;
        }
        match letter {
            '*' | '+' | '?' => last = last.saturating_add(1),
            '(' => {
                before.push(done.saturating_add(last));
                (done, last) = (2, 0);
            }
            ')' => {
                last = done.saturating_add(last);
                done = before.pop().unwrap_or_default();
            }
            _ => {
                match letter {
                    '\\' => {
                        letters.next();
                        rest = letters.as_str();
                    }
                    '[' => rest = after_class(rest),
                    _ => {}
                }
                done = done.saturating_add(last);
                last = 1;
            }
        }
    }
    before
        .into_iter()
        .fold(done.saturating_add(last), u64::saturating_add)
}

/// Reads a repetition after its `{`, and returns how often it repeats at most.
fn repetition(rest: &str) -> Option<(u64, &str)> {
    let (inside, after) = rest.split_once('}')?;
    let (least, most) = inside.split_once(',').unwrap_or((inside, inside));
    let least: u64 = least.parse().ok()?;
    let most = if most.is_empty() {
        least.saturating_add(1)
    } else {
        most.parse().ok()?
    };
    Some((least.max(most), after))
}

/// Returns what comes after a class of characters, of which `[` was read.
fn after_class(rest: &str) -> &str {
    let inside = rest.strip_prefix('^').unwrap_or(rest);
    // A bracket in the first place is one of the characters.
    let mut rest = inside.strip_prefix(']').unwrap_or(inside);
    loop {
        let named = rest.strip_prefix("[:").and_then(|name| name.split_once(":]"));
        if let Some((_, after)) = named {
            rest = after;
            continue;
        }
        let mut letters = rest.chars();
        match letters.next() {
            None => return "",
            Some(']') => return letters.as_str(),
            Some('\\') => {
                letters.next();
            }
            Some(_) => {}
        }
        rest = letters.as_str();
    }
}

/// Checks an address or a network.
pub(super) fn network<C>(text: &str, _: &C) -> garde::Result {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let most = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => Some(32),
        Ok(IpAddr::V6(_)) => Some(128),
        Err(_) => None,
    };
    let length = length.map(|length| length.parse::<u8>().ok().filter(|_| !length.starts_with('+')));
    match (most, length) {
        (Some(_), None) => Ok(()),
        (Some(most), Some(Some(length))) if length <= most => Ok(()),
        _ => invalid(format!(
            "{text:?} is not an address or a network: write it as 192.0.2.7, 10.0.0.0/8 or 2001:db8::/32"
        )),
    }
}

/// Checks the largest body. A part of a byte is the suffix `m` by mistake.
#[expect(clippy::ref_option, reason = "garde passes the field by reference")]
pub(super) fn body_size<C>(size: &Option<Quantity>, _: &C) -> garde::Result {
    let is_whole = |size: &Quantity| size.milli().is_some_and(|milli| milli % 1000 == 0);
    match size {
        Some(size) if size.bytes().is_none() || !is_whole(size) => invalid(format!(
            "{size} is not a size: write whole bytes, from 1 to less than 1Pi, as 10Mi or 1G"
        )),
        _ => Ok(()),
    }
}

/// Checks names and values of headers.
pub(super) fn header_map<C>(headers: &BTreeMap<String, String>, _: &C) -> garde::Result {
    for (name, value) in headers {
        if !is_header_name(name) {
            return invalid(format!(
                "has {name:?}, which is not the name of a header: write it as X-Frame-Options"
            ));
        }
        if value.len() > LONGEST_HEADER || !value.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
            return invalid(format!(
                "has a value for {name} that no header can have: use at most {LONGEST_HEADER} printable ASCII characters"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_becomes_ascii_and_what_is_no_host_is_refused() {
        for (host, ascii) in [
            ("shop.example.com", "shop.example.com"),
            ("SHOP.Example.COM", "shop.example.com"),
            ("*.example.com", "*.example.com"),
            ("localhost", "localhost"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("*.bücher.example", "*.xn--bcher-kva.example"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("例え.jp", "xn--r8jz45g.jp"),
            ("1a.example.com", "1a.example.com"),
        ] {
            assert_eq!(ascii_host(host).as_deref(), Ok(ascii), "{host}");
        }
        for host in [
            "",
            ".",
            "*",
            "*.com.",
            "*.",
            "*.com",
            "a.*.com",
            "shop.*",
            "**.example.com",
            "x*.example.com",
            "http://shop.example.com",
            "shop.example.com:80",
            "shop.example.com/",
            "shop..example.com",
            ".example.com",
            "-shop.example.com",
            "shop-.example.com",
            "sh op.example.com",
            "shop.example.com`) || Host(`other.example.com",
            "shop.example.com\") || Host(\"other.example.com",
            "shop_1.example.com",
            "127.0.0.1",
            "[::1]",
            "0x7f.1",
            "shop.example.com\n",
            "{{env `HOME`}}.example.com",
            "user@example.com",
        ] {
            assert!(
                ascii_host(host).is_err(),
                "{host:?} became {:?}",
                ascii_host(host)
            );
        }
        let long = format!("{}.example.com", "a".repeat(64));
        assert!(ascii_host(&long).is_err());
    }

    #[test]
    fn networks_and_headers_are_checked() {
        for (text, good) in [
            ("10.0.0.0/8", true),
            ("192.0.2.7", true),
            ("2001:db8::/32", true),
            ("10.0.0.0/33", false),
            ("10.0.0/8", false),
            ("10.0.0.0/+8", false),
            ("10.0.0.0/", false),
            ("example.com", false),
            ("", false),
        ] {
            assert_eq!(network(text, &()).is_ok(), good, "{text}");
        }
        for (name, value, good) in [
            ("X-Frame-Options", "DENY", true),
            ("X-Empty", "", true),
            ("X: Y", "DENY", false),
            ("", "DENY", false),
            ("X-A", "a\r\nX-B: b", false),
            ("X-A", "ä", false),
        ] {
            let headers = [(name.to_owned(), value.to_owned())].into();
            assert_eq!(header_map(&headers, &()).is_ok(), good, "{name}: {value}");
        }
    }

    #[test]
    fn host_that_is_refused_says_why() {
        let long = format!("{}.example.com", "a".repeat(64));
        for (host, why) in [
            ("one.test.", "dot at its end"),
            ("*.test", "top-level domain"),
            ("127.0.0.1", "IP address"),
            ("-a.test", "begins or ends with -"),
            (long.as_str(), "longer than 63"),
            ("a..test", "one dot"),
            ("a_b.test", "letters, digits and -"),
            ("a.*.test", "first label only"),
        ] {
            let refused = ascii_host(host).unwrap_err();
            assert!(refused.contains(why), "{host}: {refused}");
        }
    }

    #[test]
    fn expression_is_bounded_before_it_is_compiled() {
        let many = format!("{}xyz$", ".{0,999}".repeat(60));
        let nothing = "(^){999}".repeat(60);
        let (longest, longer) = ("a".repeat(512), "a".repeat(513));
        for (text, size) in [
            ("abc", 3),
            ("a*b+c?", 6),
            ("a{3}", 6),
            ("a{3,}", 8),
            ("a{0,7}b", 15),
            ("(ab){10}", 50),
            ("((a{10}){10}){10}", 2_330),
            ("[a(]{999}", 1_998),
            ("[]{9}]b", 2),
            ("[^]{9}]b", 2),
            ("[[:alpha:]{9}]b", 2),
            (r"[\]{9}]b", 2),
            (r"\(\{9}", 4),
            ("a{b}", 4),
        ] {
            assert_eq!(expression_size(text), size, "{text}");
        }
        assert_eq!(expression_size("a{18446744073709551615}{9}"), u64::MAX);
        for (text, why) in [
            (r"^https://www\.(.*)", ""),
            (r"^https?://www\.example\.com/(.*)", ""),
            ("^(?i)https?://[a-z0-9-]{1,63}/(?P<rest>.*)$", ""),
            (".{0,255}x", ""),
            (longest.as_str(), ""),
            (longer.as_str(), "too large"),
            (many.as_str(), "too large"),
            (nothing.as_str(), "too large"),
            ("(((a{30}){30}){30})", "too large"),
            ("(", "unclosed group"),
            ("a**b[", "is not a regular expression ("),
        ] {
            let message =
                expression(text, &()).map_or_else(|error| error.message().to_owned(), |()| String::new());
            assert_eq!(message.is_empty(), why.is_empty(), "{text}: {message}");
            assert!(message.contains(why), "{text}: {message}");
        }
    }

    #[test]
    fn largest_body_is_a_whole_number_of_bytes() {
        let of = |value: serde_json::Value| -> Option<Quantity> { serde_json::from_value(value).ok() };
        for (value, good) in [
            (serde_json::json!("10Mi"), true),
            (serde_json::json!(1), true),
            (serde_json::json!("1.5Ki"), true),
            (serde_json::json!("1e3"), true),
            (serde_json::json!("10 MB"), false),
            (serde_json::json!("-1"), false),
            (serde_json::json!(-1), false),
            (serde_json::json!(0), false),
            (serde_json::json!("100Ei"), false),
            (serde_json::json!("1m"), false),
            (serde_json::json!("1000m"), true),
            (serde_json::json!("0.5"), false),
        ] {
            let size = of(value.clone());
            assert!(size.is_some(), "{value}");
            assert_eq!(body_size(&size, &()).is_ok(), good, "{value}");
        }
    }
}
