//! The patterns of a `.dockerignore`: in order, the last one that fits decides, `!` takes an exclusion back, and a
//! pattern that fits a directory fits everything below it. Pure.
//!
//! BuildKit would read the file itself and send its lines back with the request for files. That loses lines: gRPC
//! metadata is ASCII, and a symbolic link that BuildKit cannot follow counts as no file. So Davit reads the file and
//! ignores what BuildKit sends. The rules are those of Docker's reference, "dockerignore file", and of Go's `filepath.Match`.

use regex::Regex;

/// The largest file, in bytes, and the most patterns: each pattern costs memory of Davit, and the repository decides how many
/// there are.
const LARGEST: (usize, usize) = (256 * 1024, 4096);

/// Patterns in their order.
#[derive(Clone, Debug, Default)]
pub struct Patterns(Vec<Pattern>);

#[derive(Clone, Debug)]
struct Pattern {
    regex: Regex,
    exception: bool,
}

/// An invalid pattern.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid pattern {0:?}")]
pub struct BadPattern(String);

/// Why a `.dockerignore` cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFile {
    /// A line is not UTF-8.
    #[error("line {0} is not UTF-8")]
    NotUtf8(usize),
    /// A line holds an invalid pattern.
    #[error("line {0}: {1}")]
    Pattern(usize, BadPattern),
    /// The file is larger than any that a person writes.
    #[error("it has more than {} KiB or {} patterns: shorten it, with patterns for directories", LARGEST.0 / 1024, LARGEST.1)]
    TooLarge,
}

impl Patterns {
    /// Parses a `.dockerignore`: one pattern a line, without comments and a byte order mark.
    ///
    /// # Errors
    /// The file is too large, or a line is not UTF-8 or no valid pattern. Files that the line was to exclude would end up in the
    /// image.
    pub fn parse(file: &[u8]) -> Result<Self, BadFile> {
        let file = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
        let is_pattern = |line: &&[u8]| !line.starts_with(b"#") && !line.trim_ascii().is_empty();
        let patterns = file.split(|byte| *byte == b'\n').filter(is_pattern).count();
        if file.len() > LARGEST.0 || patterns > LARGEST.1 {
            return Err(BadFile::TooLarge);
        }
        let mut all = Self::default();
        for (index, line) in file.split(|byte| *byte == b'\n').enumerate() {
            let number = index + 1;
            let line = std::str::from_utf8(line).map_err(|_| BadFile::NotUtf8(number))?;
            if !line.starts_with('#') {
                let parsed = Self::new([line]).map_err(|bad| BadFile::Pattern(number, bad))?;
                all.0.extend(parsed.0);
            }
        }
        Ok(all)
    }

    /// Reads the patterns; empty ones are left out.
    ///
    /// # Errors
    /// A lone `!`, or a bracket that is not closed.
    pub fn new<'a>(lines: impl IntoIterator<Item = &'a str>) -> Result<Self, BadPattern> {
        let mut patterns = Vec::new();
        for line in lines {
            let line = line.trim();
            if line.is_empty() {
                continue;
            }
            let (exception, glob) = match line.strip_prefix('!') {
                Some(rest) => (true, rest.trim()),
                None => (false, line),
            };
            let bad = || BadPattern(line.to_owned());
            if glob.is_empty() {
                return Err(bad());
            }
            let regex = translate(&clean(glob))
                .and_then(|text| Regex::new(&text).ok())
                .ok_or_else(bad)?;
            patterns.push(Pattern { regex, exception });
        }
        Ok(Self(patterns))
    }

    /// True where nothing below a directory that matches can be taken back.
    pub fn is_plain(&self) -> bool {
        !self.0.iter().any(|pattern| pattern.exception)
    }

    /// Whether the patterns mean the path, relative and with `/` between its parts, where `above` is the answer for the
    /// directory that it is in; nothing for the top. A pattern that fitted the directory fits everything in it. An
    /// exception fits a directory only if that was excluded so far, hence the answers and not just the patterns.
    pub fn matches(&self, path: &str, above: Option<&Match>) -> Match {
        let mut matched = Match {
            meant: false,
            fitted: Vec::with_capacity(self.0.len()),
        };
        for (index, pattern) in self.0.iter().enumerate() {
            let inherited = above
                .and_then(|above| above.fitted.get(index))
                .is_some_and(|fitted| *fitted);
            // An exclusion of what is excluded and an exception of what is not change nothing.
            let fits = inherited || (pattern.exception == matched.meant && pattern.regex.is_match(path));
            matched.fitted.push(fits);
            if fits {
                matched.meant = !pattern.exception;
            }
        }
        matched
    }
}

/// What became of a path.
#[derive(Clone, Debug)]
pub struct Match {
    /// Whether the patterns mean it.
    pub meant: bool,
    fitted: Vec<bool>,
}

/// The path without `.`, empty and, where possible, `..` parts; a leading `/` means the root of the context. What
/// remains of `.` and `/` is `.`, which fits nothing.
fn clean(glob: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in glob.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    if parts.is_empty() {
        ".".to_owned()
    } else {
        parts.join("/")
    }
}

/// The regular expression that fits what the glob fits.
fn translate(glob: &str) -> Option<String> {
    // `**name` without any other special character means every path that ends so, even in the middle of a name.
    if let Some(rest) = glob.strip_prefix("**")
        && !rest.starts_with('/')
        && !rest.contains(['*', '?', '[', ']', '\\'])
    {
        return Some(format!("(?s)^.*{}$", regex::escape(rest)));
    }
    let mut out = String::from("(?s)^");
    let mut chars = glob.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '*' if chars.peek() == Some(&'*') => {
                chars.next();
                if chars.peek() == Some(&'/') {
                    chars.next();
                }
                out.push_str(if chars.peek().is_none() { ".*" } else { "(?:.*/)?" });
            }
            '*' => out.push_str("[^/]*"),
            '?' => out.push_str("[^/]"),
            '[' => class(&mut chars, &mut out)?,
            '\\' => push_escaped(&mut out, chars.next().unwrap_or('\\')),
            other => push_escaped(&mut out, other),
        }
    }
    out.push('$');
    Some(out)
}

/// The rest of a bracket, after its `[`.
fn class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, out: &mut String) -> Option<()> {
    out.push('[');
    if chars.peek() == Some(&'^') {
        chars.next();
        out.push('^');
    }
    let mut empty = true;
    loop {
        match chars.next()? {
            ']' if !empty => break,
            '-' if !empty && chars.peek() != Some(&']') => out.push('-'),
            '\\' => push_escaped(out, chars.next()?),
            other => push_escaped(out, other),
        }
        empty = false;
    }
    out.push(']');
    Some(())
}

fn push_escaped(out: &mut String, char: char) {
    // Every ASCII sign may be escaped, which also keeps `&&`, `~~` and `--` of a class from meaning something.
    if char.is_ascii_punctuation() && char != '_' {
        out.push('\\');
    }
    out.push(char);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meant(patterns: &Patterns, path: &str) -> bool {
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        ends.fold(None, |above: Option<Match>, end| {
            Some(patterns.matches(&path[..end], above.as_ref()))
        })
        .is_some_and(|matched| matched.meant)
    }

    #[test]
    fn file_is_bounded() {
        let comments = "# a\n\n".repeat(LARGEST.1 + 1);
        assert!(Patterns::parse(comments.as_bytes()).is_ok());
        let many = Patterns::parse("*\n".repeat(LARGEST.1 + 1).as_bytes());
        assert_eq!(many.map(|_| ()), Err(BadFile::TooLarge));
        let large = Patterns::parse("#".repeat(LARGEST.0 + 1).as_bytes());
        assert_eq!(large.map(|_| ()), Err(BadFile::TooLarge));
    }

    #[test]
    fn patterns_decide_as_docker_does() {
        for (lines, excluded, kept) in [
            (
                &["node_modules"][..],
                &["node_modules", "node_modules/a/b"][..],
                &["a/node_modules", "node_modules2"][..],
            ),
            (
                &["**/node_modules"],
                &["node_modules/x", "a/b/node_modules/x"],
                &["anode_modules"],
            ),
            (&["*.md", "!README.md"], &["a.md"], &["README.md", "docs/a.md"]),
            (
                &["*.md", "!README*.md", "README-secret.md"],
                &["README-secret.md", "x.md"],
                &["README-a.md"],
            ),
            (
                &["*.md", "README-secret.md", "!README*.md"],
                &["x.md"],
                &["README-secret.md"],
            ),
            (
                &["*/temp*"],
                &["a/temporary.txt", "a/temp/x"],
                &["temp", "a/b/temp"],
            ),
            (&["*/*/temp*"], &["a/b/temp.txt"], &["a/temp"]),
            (&["temp?"], &["tempa", "temp1/x"], &["temp", "tempab"]),
            (&["**"], &["a", "a/b"], &[]),
            (&["**", "!src", "!src/**"], &["a", "srcs"], &["src", "src/a/b"]),
            (&["/abs/dir/"], &["abs/dir/x"], &["x/abs/dir"]),
            (&["./a/../b"], &["b", "b/c"], &["a"]),
            (&["a/**/z"], &["a/z", "a/b/c/z"], &["a/bz"]),
            (&["a/**"], &["a/x", "a/x/y"], &["a", "b"]),
            (&["[a-c].txt"], &["b.txt"], &["d.txt", "-.txt"]),
            (&["[^a-c].txt"], &["d.txt"], &["b.txt"]),
            (&[r"a\*b"], &["a*b"], &["axb"]),
            (&["a+b(c)$^{d}|e"], &["a+b(c)$^{d}|e"], &["aab"]),
            (&["**.log"], &["x.log", "a/y.log"], &["x.logs"]),
            (
                &["dir", "!dir/keep"],
                &["dir", "dir/other"],
                &["dir/keep", "dir/keep/x"],
            ),
            (&["", "  ", ".", "/", "../a"], &[], &["a"]),
        ] {
            let patterns = Patterns::new(lines.iter().copied()).unwrap();
            for path in excluded {
                assert!(meant(&patterns, path), "{lines:?} excludes {path}");
            }
            for path in kept {
                assert!(!meant(&patterns, path), "{lines:?} keeps {path}");
            }
        }
    }

    #[test]
    fn file_is_read_as_docker_reads_it_or_refused() {
        let file = "\u{feff}*.md\r\n# *.txt\n\n  gr\u{fc}n  \n!README.md\n#!x".as_bytes();
        let patterns = Patterns::parse(file).unwrap();
        for (path, excluded) in [
            ("a.md", true),
            ("gr\u{fc}n/x", true),
            ("README.md", false),
            ("a.txt", false),
        ] {
            assert_eq!(meant(&patterns, path), excluded, "{path}");
        }
        assert_eq!(Patterns::parse(b"a\n\xfc").unwrap_err(), BadFile::NotUtf8(2));
        let bad = BadFile::Pattern(2, BadPattern("[a".to_owned()));
        assert_eq!(Patterns::parse(b"a\n[a").unwrap_err(), bad);
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        for line in ["!", "[a", "a["] {
            assert_eq!(Patterns::new([line]).unwrap_err(), BadPattern(line.to_owned()));
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(line in "[a-z*?!\\[\\]/.\\\\&~^-]{0,12}", path in "[a-z./-]{1,12}") {
            if let Ok(patterns) = Patterns::new([line.as_str()]) {
                meant(&patterns, &path);
            }
        }
    }
}
