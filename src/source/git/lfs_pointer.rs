//! Git LFS pointer files. Pure.

/// The first line of every pointer, up to the version.
pub(super) const START: &[u8] = b"version https://git-lfs.github.com/spec/";
/// The largest that a pointer may be, in bytes; the specification's own limit.
pub(super) const LARGEST: u64 = 1024;

/// The object that a pointer stands for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Pointer {
    /// The SHA-256 of the content: 64 lower-case hexadecimal digits.
    pub(super) oid: String,
    /// The length of the content, in bytes.
    pub(super) size: u64,
}

impl Pointer {
    /// Parses a file that begins with [`START`].
    pub(super) fn parse(file: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(file).ok()?;
        let value = |key: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))
        };
        let oid = value("oid")?.strip_prefix("sha256:")?;
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        (oid.len() == 64 && oid.bytes().all(is_hex)).then_some(())?;
        Some(Self {
            oid: oid.to_owned(),
            size: value("size")?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointer_is_parsed_only_if_it_names_an_object() {
        let oid = "0123456789abcdef".repeat(4);
        let start = "version https://git-lfs.github.com/spec/v1\n";
        let parse = |rest: &str| Pointer::parse(format!("{start}{rest}").as_bytes());
        let expected = Pointer {
            oid: oid.clone(),
            size: 12,
        };
        assert_eq!(
            parse(&format!("oid sha256:{oid}\nsize 12\n")),
            Some(expected.clone())
        );
        let extended = format!("ext-0-foo sha256:1\noid sha256:{oid}\nsize 12\n");
        assert_eq!(parse(&extended), Some(expected));
        for bad in [
            String::new(),
            format!("oid sha256:{oid}\n"),
            "oid sha256:0\nsize 1\n".to_owned(),
            format!("oid sha256:{}\nsize 1\n", oid.to_uppercase()),
            format!("oid sha256:../{}\nsize 1\n", &oid[3..]),
            format!("oid md5:{oid}\nsize 1\n"),
            format!("oid sha256:{oid}\nsize -1\n"),
        ] {
            assert_eq!(parse(&bad), None, "{bad}");
        }
    }
}
