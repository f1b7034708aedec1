//! Names of entries. Pure.

/// The longest path, as in Linux, and the longest name in it, in bytes.
const LONGEST_PATH: usize = 4095;
const LONGEST_NAME: usize = 255;

/// Returns the path of an entry below the root of its archive, without `.` and empty parts; empty for the root itself.
///
/// # Errors
/// The name cannot be one below the root; the end of a sentence.
pub(super) fn clean(raw: &[u8]) -> Result<String, &'static str> {
    let text = std::str::from_utf8(raw).map_err(|_| "has a name that is not UTF-8")?;
    if text.contains('\0') {
        return Err("has a NUL character in its name");
    }
    if text.starts_with('/') {
        return Err("has an absolute path");
    }
    let mut path = String::with_capacity(text.len());
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => return Err("leaves the directory by .."),
            part if part.len() > LONGEST_NAME => return Err("has a name of more than 255 bytes"),
            part => {
                if !path.is_empty() {
                    path.push('/');
                }
                path.push_str(part);
            }
        }
    }
    if path.len() > LONGEST_PATH {
        return Err("has a path of more than 4095 bytes");
    }
    Ok(path)
}

/// Returns the directories above a path, the outermost first.
pub(super) fn above(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').filter_map(|(at, _)| path.get(..at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_stays_below_the_root() {
        for (raw, expected) in [
            ("app/(group)/page.tsx", "app/(group)/page.tsx"),
            ("@types/x.d.ts", "@types/x.d.ts"),
            ("./a//b/./c/", "a/b/c"),
            ("app/[...slug]/$id & co.tsx", "app/[...slug]/$id & co.tsx"),
            ("..a/b../...", "..a/b../..."),
            ("ä/日本/\u{1f600}", "ä/日本/\u{1f600}"),
            ("C:/x", "C:/x"),
            ("-rf", "-rf"),
            ("./", ""),
            ("", ""),
        ] {
            assert_eq!(clean(raw.as_bytes()).as_deref(), Ok(expected), "{raw}");
        }
        for raw in ["../x", "a/../../x", "a/..", "..", "/etc/passwd", "//x", "a\0b"] {
            assert!(clean(raw.as_bytes()).is_err(), "{raw}");
        }
        assert!(clean(b"caf\xe9").is_err());
        assert!(clean(&vec![b'a'; 256]).is_err());
        assert!(clean("ab/".repeat(1400).as_bytes()).is_err());
        assert_eq!(above("a/b/c").collect::<Vec<_>>(), ["a", "a/b"]);
    }
}
