//! Paths, names and values of a plan as words of a Dockerfile. Pure.

use crate::builder::planned::APP;

/// Where an included path is copied from and to.
pub fn places(include: &str, local: bool) -> (String, String) {
    if local {
        let base = include
            .trim_end_matches('/')
            .rsplit('/')
            .next()
            .unwrap_or_default();
        let to = if matches!(base, "" | ".") {
            APP.to_owned()
        } else {
            format!("{APP}/{base}")
        };
        return (include.to_owned(), to);
    }
    let path = match include {
        "." | "/app" | "/app/" => APP.to_owned(),
        absolute if absolute.starts_with('/') => absolute.to_owned(),
        relative => format!("{APP}/{}", relative.trim_start_matches("./")),
    };
    (path.clone(), path)
}

/// The path as a pattern that matches only itself: a pattern without a match is no error.
pub fn optional(path: &str) -> String {
    if path.contains(['*', '?', '[', '\\']) {
        return path.to_owned();
    }
    let trimmed = path.trim_end_matches('/');
    match trimmed.char_indices().next_back() {
        Some((at, last)) if last.is_ascii_alphanumeric() => {
            format!("{}[{last}]", trimmed.get(..at).unwrap_or_default())
        }
        _ => path.to_owned(),
    }
}

/// The shell command that removes what the pattern matches beneath `root`.
pub fn removal(root: &str, pattern: &str) -> Result<String, String> {
    let root = root.trim_end_matches('/');
    let trimmed = pattern.trim_matches('/');
    if trimmed.starts_with('!') || trimmed.is_empty() || trimmed.split('/').any(|part| part == "..") {
        return Err(format!("the exclusion {pattern:?} is not supported"));
    }
    if let Some(name) = trimmed.strip_prefix("**/") {
        if name.contains('/') || name.contains("**") {
            return Err(format!("the exclusion {pattern:?} is not supported"));
        }
        let (root, name) = (shell_word(root, false), shell_word(name, false));
        return Ok(format!("find {root}/ -name {name} -prune -exec rm -rf -- {{}} +"));
    }
    if trimmed.contains("**") {
        return Err(format!("the exclusion {pattern:?} is not supported"));
    }
    Ok(format!(
        "rm -rf -- {}/{}",
        shell_word(root, false),
        shell_word(trimmed, true)
    ))
}

/// A word for `sh`; with `glob`, its patterns stay patterns.
fn shell_word(text: &str, glob: bool) -> String {
    let mut out = String::new();
    for char in text.chars() {
        let plain = char.is_ascii_alphanumeric() || "/._-".contains(char) || (glob && "*?[]".contains(char));
        if !plain && char.is_ascii() {
            out.push('\\');
        }
        out.push(char);
    }
    if out.is_empty() { String::new() } else { out }
}
