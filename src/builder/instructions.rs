//! The instructions of a Dockerfile, each with its lines: those that continue it and its here-documents. As BuildKit reads them
//! (its package `frontend/dockerfile/parser`). Pure.

/// The character that continues a line, and takes the meaning of the one behind it, where no directive sets another.
const USUAL_ESCAPE: char = '\\';

/// The instructions that may have here-documents.
const WITH_HERE_DOCUMENTS: [&str; 4] = ["run", "copy", "add", "onbuild"];

/// An instruction, a comment or an empty line.
pub struct Instruction<'t> {
    /// All of its lines.
    pub lines: Vec<&'t str>,
    /// How many of the lines are not of here-documents.
    pub own: usize,
    /// Its own lines as one, without comments; empty for what is no instruction.
    pub text: String,
}

impl Instruction<'_> {
    /// Its name, as it is written.
    pub fn name(&self) -> &str {
        self.text.split_whitespace().next().unwrap_or_default()
    }
}

/// The lines of each instruction; comments and empty lines between instructions are by themselves.
pub fn instructions(text: &str) -> Vec<Instruction<'_>> {
    let escape = escape(text);
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let (mut all, mut rest) = (Vec::new(), lines.as_slice());
    while !rest.is_empty() {
        let (own, text) = joined(rest, escape);
        let count = own + here_documents(&text, rest.get(own..).unwrap_or_default());
        let (its, others) = rest.split_at(count.min(rest.len()));
        all.push(Instruction {
            lines: its.to_vec(),
            own,
            text,
        });
        rest = others;
    }
    all
}

/// The character that the directive `# escape=` at the beginning sets, or the usual one.
pub fn escape(text: &str) -> char {
    for line in text.trim_start_matches('\u{feff}').lines() {
        let directive = line
            .trim()
            .strip_prefix('#')
            .and_then(|rest| rest.split_once('='));
        let Some((name, value)) = directive else {
            break;
        };
        let name = name.trim();
        if name.is_empty() || !name.chars().all(|char| char.is_ascii_alphanumeric()) {
            break;
        }
        if name.eq_ignore_ascii_case("escape") && value.trim() == "`" {
            return '`';
        }
    }
    USUAL_ESCAPE
}

/// How many lines the instruction has that begins in the first one, and their text as one line.
fn joined(lines: &[&str], escape: char) -> (usize, String) {
    let (mut count, mut text) = (0, String::new());
    for line in lines {
        count += 1;
        let line = line.trim_end_matches(['\r', '\n']);
        let begins = line.trim_start();
        // A comment or an empty line within an instruction does not end it.
        if begins.is_empty() || begins.starts_with('#') {
            if count == 1 {
                break;
            }
            continue;
        }
        let line = if count == 1 { begins } else { line };
        let continues = continued(line, escape);
        text.push_str(continues.unwrap_or(line));
        if continues.is_none() {
            break;
        }
    }
    (count, text)
}

/// A line that the next one continues, without the character that says so. Two of them are an escaped one.
fn continued(line: &str, escape: char) -> Option<&str> {
    let line = line.trim_end_matches([' ', '\t']).strip_suffix(escape)?;
    (!line.ends_with(escape)).then_some(line)
}

/// How many of the lines behind an instruction are its here-documents.
fn here_documents(text: &str, behind: &[&str]) -> usize {
    let mut words = text.split_whitespace();
    let name = words.next().unwrap_or_default();
    if !WITH_HERE_DOCUMENTS
        .iter()
        .any(|with| with.eq_ignore_ascii_case(name))
    {
        return 0;
    }
    let mut count = 0;
    for (number, word) in words.filter_map(|word| word.split_once("<<")) {
        // The word may begin with the number of a file. `$((1<<n))` is not such a word.
        if !number.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let (tabs, end) = word.strip_prefix('-').map_or((false, word), |end| (true, end));
        let end = end.trim_matches(['"', '\'']);
        if !end.starts_with(|char: char| char.is_ascii_alphabetic() || char == '_') {
            continue;
        }
        let is_end = |line: &&str| {
            let line = line.trim_end_matches(['\r', '\n']);
            let line = if tabs { line.trim_start_matches('\t') } else { line };
            line == end
        };
        let rest = behind.get(count..).unwrap_or_default();
        count += rest.iter().position(is_end).map_or(0, |found| found + 1);
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_end_where_they_end_for_buildkit() {
        for (text, expected) in [
            ("RUN a\nRUN b\n", &["RUN a", "RUN b"][..]),
            ("RUN a \\\n b\nRUN c\n", &["RUN a  b", "RUN c"]),
            ("RUN a \\\r\n b\r\nRUN c\r\n", &["RUN a  b", "RUN c"]),
            ("RUN a,\\  \nb\n", &["RUN a,b"]),
            ("RUN a \\\n\n # why \\\n b\nRUN c\n", &["RUN a  b", "RUN c"]),
            ("# why \\\nRUN a\n", &["", "RUN a"]),
            // Neither a quoted command nor an escaped backslash continues a line.
            ("RUN a=`date`\nRUN c\n", &["RUN a=`date`", "RUN c"]),
            ("RUN a \\\\\nRUN c\n", &["RUN a \\\\", "RUN c"]),
            (
                "# syntax=x\n# escape=`\nRUN a `\n b \\\nRUN c\n",
                &["", "", "RUN a  b \\", "RUN c"],
            ),
            (
                "# no directive\n# escape=`\nRUN a \\\n b\n",
                &["", "", "RUN a  b"],
            ),
            (
                "RUN <<A 3<<-'B' c\nRUN d\nA\nRUN e\n\tB\nRUN f\n",
                &["RUN <<A 3<<-'B' c", "RUN f"],
            ),
            ("RUN <<A\n\tA\nRUN b\nA\n", &["RUN <<A"]),
            ("LABEL a=<<A\nRUN b\nA\n", &["LABEL a=<<A", "RUN b", "A"]),
        ] {
            let found = instructions(text);
            let texts: Vec<&str> = found.iter().map(|found| found.text.as_str()).collect();
            assert_eq!(texts, expected, "{text}");
            let lines: String = found
                .iter()
                .flat_map(|found| found.lines.iter().copied())
                .collect();
            assert_eq!(lines, text);
        }
    }
}
