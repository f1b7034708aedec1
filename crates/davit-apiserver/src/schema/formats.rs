//! The string and number formats that upstream checks; any other format is a remark and checks nothing.

use std::net::{Ipv4Addr, Ipv6Addr};

use base64::Engine as _;
use k8s_openapi::jiff::civil::Date;

use super::{duration::parse_duration, json_types::Types};

/// A format that means something to the schema's type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Format {
    #[default]
    None,
    Int32,
    Int64,
    Float,
    Double,
    DateTime,
    Date,
    Duration,
    Byte,
    Uri,
    Email,
    Hostname,
    Ipv4,
    Ipv6,
    Cidr,
    Mac,
    Uuid,
    /// A UUID of version 3, 4 or 5.
    UuidVersion(u8),
    Isbn,
    Isbn10,
    Isbn13,
    CreditCard,
    Ssn,
    HexColor,
    RgbColor,
    BsonObjectId,
    Password,
    ShortName,
    LongName,
}

impl Format {
    /// The format for values of these types, or none where upstream ignores it.
    pub(crate) fn of(types: Types, name: &str) -> Self {
        if types == Types::INTEGER {
            return match name {
                "int32" => Self::Int32,
                "int64" => Self::Int64,
                _ => Self::None,
            };
        }
        if types == Types::NUMBER {
            return match name {
                "float" => Self::Float,
                "double" => Self::Double,
                _ => Self::None,
            };
        }
        if !(types.is_empty() || types.has(Types::STRING)) {
            return Self::None;
        }
        match name.replace('-', "").as_str() {
            "datetime" => Self::DateTime,
            "date" => Self::Date,
            "duration" => Self::Duration,
            "byte" => Self::Byte,
            "uri" => Self::Uri,
            "email" => Self::Email,
            "hostname" => Self::Hostname,
            "ipv4" => Self::Ipv4,
            "ipv6" => Self::Ipv6,
            "cidr" => Self::Cidr,
            "mac" => Self::Mac,
            "uuid" => Self::Uuid,
            "uuid3" => Self::UuidVersion(3),
            "uuid4" => Self::UuidVersion(4),
            "uuid5" => Self::UuidVersion(5),
            "isbn" => Self::Isbn,
            "isbn10" => Self::Isbn10,
            "isbn13" => Self::Isbn13,
            "creditcard" => Self::CreditCard,
            "ssn" => Self::Ssn,
            "hexcolor" => Self::HexColor,
            "rgbcolor" => Self::RgbColor,
            "bsonobjectid" => Self::BsonObjectId,
            "password" => Self::Password,
            "k8sshortname" => Self::ShortName,
            "k8slongname" => Self::LongName,
            _ => Self::None,
        }
    }

    /// The name as messages show it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::Float => "float",
            Self::Double => "double",
            Self::DateTime => "date-time",
            Self::Date => "date",
            Self::Duration => "duration",
            Self::Byte => "byte",
            Self::Uri => "uri",
            Self::Email => "email",
            Self::Hostname => "hostname",
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
            Self::Cidr => "cidr",
            Self::Mac => "mac",
            Self::Uuid => "uuid",
            Self::UuidVersion(3) => "uuid3",
            Self::UuidVersion(4) => "uuid4",
            Self::UuidVersion(_) => "uuid5",
            Self::Isbn => "isbn",
            Self::Isbn10 => "isbn10",
            Self::Isbn13 => "isbn13",
            Self::CreditCard => "creditcard",
            Self::Ssn => "ssn",
            Self::HexColor => "hexcolor",
            Self::RgbColor => "rgbcolor",
            Self::BsonObjectId => "bsonobjectid",
            Self::Password => "password",
            Self::ShortName => "k8s-short-name",
            Self::LongName => "k8s-long-name",
        }
    }

    /// Whether a string is of this format; formats of numbers say yes.
    pub(crate) fn accepts(self, text: &str) -> bool {
        match self {
            Self::None | Self::Int32 | Self::Int64 | Self::Float | Self::Double | Self::Password => true,
            Self::DateTime => is_date_time(text),
            Self::Date => is_date(text),
            Self::Duration => parse_duration(text).is_some(),
            Self::Byte => base64::engine::general_purpose::STANDARD
                .decode(text)
                .is_ok_and(|bytes| !bytes.is_empty()),
            Self::Uri => is_uri(text),
            Self::Email => is_email(text),
            Self::Hostname => is_hostname(text),
            Self::Ipv4 => text.parse::<Ipv4Addr>().is_ok(),
            Self::Ipv6 => text.parse::<Ipv6Addr>().is_ok(),
            Self::Cidr => is_cidr(text),
            Self::Mac => is_mac(text),
            Self::Uuid => is_uuid(text, None),
            Self::UuidVersion(version) => is_uuid(text, Some(version)),
            Self::Isbn => is_isbn10(text) || is_isbn13(text),
            Self::Isbn10 => is_isbn10(text),
            Self::Isbn13 => is_isbn13(text),
            Self::CreditCard => is_credit_card(text),
            Self::Ssn => is_ssn(text),
            Self::HexColor => {
                let digits = text.strip_prefix('#').unwrap_or(text);
                matches!(digits.len(), 3 | 6) && is_hex(digits)
            }
            Self::RgbColor => is_rgb(text),
            Self::BsonObjectId => text.len() == 24 && is_hex(text),
            Self::ShortName => is_short_name(text),
            Self::LongName => text.len() <= 253 && !text.is_empty() && text.split('.').all(is_short_label),
        }
    }
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_short_name(text: &str) -> bool {
    text.len() <= 63 && is_short_label(text)
}

fn is_short_label(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.bytes().all(|byte| plain(byte) || byte == b'-')
        && text.bytes().next().is_some_and(plain)
        && text.bytes().last().is_some_and(plain)
}

fn is_date(text: &str) -> bool {
    text.len() == 10 && text.parse::<Date>().is_ok()
}

/// RFC 3339, with a lower-case `t` or `z` allowed.
fn is_date_time(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let Some((date, time)) = lower.split_once('t') else {
        return false;
    };
    let Some((clock, rest)) = time.split_at_checked(8) else {
        return false;
    };
    let mut parts = clock.split(':');
    let within = |part: Option<&str>, max: u8| {
        part.is_some_and(|part| part.len() == 2 && part.parse::<u8>().is_ok_and(|number| number <= max))
    };
    let clock_fits = within(parts.next(), 23) && within(parts.next(), 59) && within(parts.next(), 59);
    is_date(date) && clock_fits && parts.next().is_none() && is_zone(rest)
}

/// An optional fraction, then `z` or an offset.
fn is_zone(rest: &str) -> bool {
    let zone = match rest.strip_prefix(['.', ',']) {
        Some(fraction) => {
            let zone = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
            if zone.len() == fraction.len() {
                return false;
            }
            zone
        }
        None => rest,
    };
    let digits = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
    zone == "z"
        || zone
            .strip_prefix(['+', '-'])
            .and_then(|offset| offset.split_once(':'))
            .is_some_and(|(h, m)| digits(h) && digits(m))
}

/// What Go's `url.ParseRequestURI` takes: an absolute URI or an absolute path.
fn is_uri(text: &str) -> bool {
    if text.is_empty() || text.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return false;
    }
    if text.starts_with('/') {
        return true;
    }
    let Some((scheme, rest)) = text.split_once(':') else {
        return false;
    };
    let valid_scheme = scheme
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    valid_scheme && !rest.is_empty()
}

fn is_email(text: &str) -> bool {
    let address = match text.split_once('<') {
        Some((_, rest)) => match rest.strip_suffix('>') {
            Some(address) => address,
            None => return false,
        },
        None => text,
    };
    let Some((local, domain)) = address.rsplit_once('@') else {
        return false;
    };
    let atom = |part: &str| {
        !part.is_empty()
            && part
                .chars()
                .all(|c| c.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c))
    };
    local.split('.').all(atom) && domain.split('.').all(atom)
}

fn is_hostname(text: &str) -> bool {
    let label = |label: &str| {
        let plain = |c: char| c.is_alphanumeric();
        !label.is_empty()
            && label.len() <= 63
            && label.chars().all(|c| plain(c) || c == '-')
            && label.chars().next().is_some_and(plain)
            && label.chars().last().is_some_and(plain)
    };
    let labels: Vec<&str> = text.split('.').collect();
    let top_fits = labels.len() == 1
        || labels
            .last()
            .is_some_and(|top| top.len() >= 2 && top.chars().all(char::is_alphabetic));
    text.len() <= 255 && labels.into_iter().all(label) && top_fits
}

fn is_cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else {
        return false;
    };
    let Ok(bits) = bits.parse::<u8>() else {
        return false;
    };
    (address.parse::<Ipv4Addr>().is_ok() && bits <= 32)
        || (address.parse::<Ipv6Addr>().is_ok() && bits <= 128)
}

fn is_mac(text: &str) -> bool {
    let groups = |separator: char, width: usize, counts: &[usize]| {
        let parts: Vec<&str> = text.split(separator).collect();
        counts.contains(&parts.len()) && parts.iter().all(|part| part.len() == width && is_hex(part))
    };
    groups(':', 2, &[6, 8, 20]) || groups('-', 2, &[6, 8, 20]) || groups('.', 4, &[3, 4, 10])
}

fn is_uuid(text: &str, version: Option<u8>) -> bool {
    let mut rest = text;
    for (at, width) in [8, 4, 4, 4, 12].into_iter().enumerate() {
        if at > 0 {
            rest = rest.strip_prefix('-').unwrap_or(rest);
        }
        let Some((group, after)) = rest.split_at_checked(width) else {
            return false;
        };
        let first = group.bytes().next().map(|byte| byte.to_ascii_lowercase());
        let fits = match (at, version) {
            (2, Some(version)) => first == Some(b'0' + version),
            (3, Some(4 | 5)) => first.is_some_and(|byte| b"89ab".contains(&byte)),
            _ => true,
        };
        if !fits || !is_hex(group) {
            return false;
        }
        rest = after;
    }
    rest.is_empty()
}

fn digits_of(text: &str) -> Option<Vec<u32>> {
    text.chars()
        .filter(|c| !matches!(c, ' ' | '-'))
        .map(|c| c.to_digit(10))
        .collect()
}

fn is_isbn10(text: &str) -> bool {
    let compact: String = text.chars().filter(|c| !matches!(c, ' ' | '-')).collect();
    let Some((body, check)) = compact.split_at_checked(9) else {
        return false;
    };
    let Some(body) = digits_of(body) else { return false };
    let check = if check == "X" {
        Some(10)
    } else {
        check.parse::<u32>().ok().filter(|_| check.len() == 1)
    };
    let sum: u32 = (1..).zip(&body).map(|(weight, digit)| weight * digit).sum();
    check.is_some_and(|check| (sum + 10 * check).is_multiple_of(11))
}

fn is_isbn13(text: &str) -> bool {
    digits_of(text).is_some_and(|digits| {
        let sum: u32 = digits
            .iter()
            .enumerate()
            .map(|(at, digit)| if at % 2 == 0 { *digit } else { digit * 3 })
            .sum();
        digits.len() == 13 && sum.is_multiple_of(10)
    })
}

fn is_credit_card(text: &str) -> bool {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(10)).collect();
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| match (at % 2, digit * 2) {
            (0, _) => *digit,
            (_, double) if double > 9 => double - 9,
            (_, double) => double,
        })
        .sum();
    matches!(digits.len(), 13..=16) && sum.is_multiple_of(10)
}

fn is_ssn(text: &str) -> bool {
    let compact: String = text.chars().filter(|c| !matches!(c, ' ' | '-')).collect();
    compact.len() == 9 && compact.bytes().all(|byte| byte.is_ascii_digit()) && matches!(text.len(), 9..=11)
}

fn is_rgb(text: &str) -> bool {
    let inner = text.strip_prefix("rgb(").and_then(|rest| rest.strip_suffix(')'));
    inner.is_some_and(|inner| {
        let parts: Vec<&str> = inner.split(',').map(str::trim).collect();
        parts.len() == 3 && parts.iter().all(|part| part.parse::<u8>().is_ok())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_accept_what_upstream_accepts() {
        let rows: [(&str, &[&str], &[&str]); 13] = [
            (
                "date-time",
                &["2024-05-06T07:08:09Z", "2024-05-06t07:08:09.123+02:00"],
                &["2024-05-06", "2024-13-06T07:08:09Z", "2024-05-06T24:00:00Z", "x"],
            ),
            ("date", &["2024-02-29"], &["2023-02-29", "24-02-01"]),
            (
                "duration",
                &["1h30m", "0", "-1.5s", "2 days", "100ms"],
                &["", "x", "1", "1 parsec"],
            ),
            ("byte", &["aGk="], &["a", "%"]),
            (
                "uri",
                &["https://a/b", "/x", "ssh://git@h/p"],
                &["a b", "", "noscheme"],
            ),
            ("email", &["a@b.c"], &["a", "a@", "@b"]),
            (
                "hostname",
                &["a", "a.example", "4a.example"],
                &["-a", "a.b_", "a.1"],
            ),
            ("ipv4", &["1.2.3.4"], &["1.2.3", "::1"]),
            ("ipv6", &["::1"], &["1.2.3.4"]),
            ("cidr", &["10.0.0.0/8", "::/0"], &["10.0.0.0/33", "10.0.0.0"]),
            (
                "uuid4",
                &["f47ac10b-58cc-4372-a567-0e02b2c3d479"],
                &["f47ac10b-58cc-3372-a567-0e02b2c3d479"],
            ),
            ("isbn", &["0321751043", "978-0321751041"], &["0321751044"]),
            ("k8s-short-name", &["a-b"], &["A", "a.b", "-a"]),
        ];
        for (name, good, bad) in rows {
            let format = Format::of(Types::STRING, name);
            assert_ne!(format, Format::None, "{name}");
            assert_eq!(format.name(), name);
            for text in good {
                assert!(format.accepts(text), "{name} {text}");
            }
            for text in bad {
                assert!(!format.accepts(text), "{name} {text}");
            }
        }
    }

    #[test]
    fn a_format_for_another_type_is_ignored() {
        assert_eq!(Format::of(Types::INTEGER, "date"), Format::None);
        assert_eq!(Format::of(Types::STRING, "int32"), Format::None);
        assert_eq!(Format::of(Types::INTEGER, "int32"), Format::Int32);
        assert_eq!(Format::of(Types::NUMBER, "double"), Format::Double);
    }
}
