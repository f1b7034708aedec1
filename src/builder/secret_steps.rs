//! Makes the values of secrets an input of the steps of a Dockerfile that mount them: BuildKit counts only their names, and would take the
//! result of such a step from its cache. Pure.

use std::collections::BTreeMap;

use super::buildkit::input_flag;
use super::instructions::{escape, instructions};
use super::keyed::keyed;
use super::run_flags::{Mounted, flags, secret};
use crate::redact::Secret;

/// How much of a digest is in the text of a step.
const LENGTH: usize = 24;

/// The same Dockerfile with a digest of the secrets in each `RUN` that mounts some.
pub fn with_values(text: &str, secrets: &BTreeMap<String, Secret>, key: &Secret) -> String {
    let escape = escape(text);
    let mut out = String::with_capacity(text.len());
    for instruction in instructions(text) {
        let input = run(&instruction.text, None)
            .and_then(|rest| Some((rest, digest(&flags(rest, escape), secrets, key)?)));
        let Some((rest, digest)) = input else {
            out.extend(instruction.lines);
            continue;
        };
        let flag = input_flag(&digest);
        let lines = instruction.lines.as_slice();
        let first = lines.first().copied().unwrap_or_default();
        // The lines stay, so that the numbers of lines in messages are those of the source.
        let (before, behind, used) = match run(first, Some(escape)) {
            Some(behind) => (first.strip_suffix(behind), behind, 1),
            // The name continues in another line.
            None => (instruction.text.strip_suffix(rest), rest, instruction.own),
        };
        out.push_str(before.unwrap_or_default());
        out.push(' ');
        out.push_str(&flag);
        out.push_str(behind);
        if used > 1 {
            out.push('\n');
        }
        out.extend(lines.iter().skip(used).copied());
    }
    out
}

/// What follows the name of a `RUN` instruction, also of one that the images on top of this one run. A line may end in `escape` after
/// the name.
fn run(text: &str, escape: Option<char>) -> Option<&str> {
    let behind = |text: &str, name: &str| {
        let begin = text.len() - text.trim_start().len();
        let end = begin + name.len();
        let is_named = text.get(begin..end)?.eq_ignore_ascii_case(name);
        let next = text.get(end..)?.chars().next()?;
        (is_named && (next.is_whitespace() || Some(next) == escape)).then_some(end)
    };
    let text = behind(text, "onbuild").map_or(Some(text), |end| text.get(end..))?;
    behind(text, "run").and_then(|end| text.get(end..))
}

/// A digest of the secrets that the flags mount, if they mount some: of all if it is not clear which.
fn digest(flags: &[String], secrets: &BTreeMap<String, Secret>, key: &Secret) -> Option<String> {
    let mounted: Vec<Mounted> = flags.iter().filter_map(|flag| secret(flag)).collect();
    if mounted.is_empty() {
        return None;
    }
    let is_used = |name: &str| {
        mounted.iter().any(|mounted| match mounted {
            Mounted::Secret(id) => id == name,
            Mounted::Any => true,
        })
    };
    let used = secrets.iter().filter(|(name, _)| is_used(name));
    let parts: Vec<&[u8]> = used
        .flat_map(|(name, value)| [name.as_bytes(), value.expose()])
        .collect();
    keyed(key, "secrets of a step", &parts)
        .get(..LENGTH)
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(text: &str, a: &str) -> String {
        let secrets = [("A", a), ("B", "b")].map(|(name, value)| (name.to_owned(), Secret::from(value)));
        with_values(text, &secrets.into(), &Secret::from("key"))
    }

    #[test]
    fn only_a_step_that_mounts_a_changed_secret_has_another_text() {
        for (line, depends) in [
            ("RUN --mount=type=secret,id=A make", true),
            ("run --network=none --mount=id=A,type=secret make", true),
            ("RUN --mount=type=secret,target=/run/secrets/A make", true),
            ("RUN --mount=type=secret,id=$NAME make", true),
            ("RUN \\\n # why\n  --mount=type=secret,id=A \\\n  make", true),
            (
                "RUN --mount=type=secret,id=A <<END\nRUN --mount=type=secret,id=A x\nEND",
                true,
            ),
            ("RUN --mount=type=secret,src=A,target=/x make", true),
            ("RUN --mount=\"type=secret,id=A\" make", true),
            ("RUN --mount=Type=Secret,ID=A make", true),
            ("RUN --mount=type=secret,\\\nid=A make", true),
            ("RUN \\\n\n  --mount=type=secret,id=A make", true),
            ("RUN echo `date`\nRUN --mount=type=secret,id=A make", true),
            ("RUN echo a\\\\\nRUN --mount=type=secret,id=A make", true),
            ("ONBUILD RUN --mount=type=secret,id=A make", true),
            ("RUN --mount=type=secret,id=B,target=/A make", false),
            ("RUN --mount=type=secret,id=B make", false),
            ("RUN --mount=type=cache,id=A,target=/a make", false),
            ("RUN make --mount=type=secret,id=A", false),
            ("RUN <<-'END'\nRUN --mount=type=secret,id=A x\n\tEND", false),
            ("RUN echo \\\nRUN --mount=type=secret,id=A", false),
            ("# a comment \\\nRUN --mount=type=secret,id=A make", true),
            ("RUN echo $((1<<n))\nRUN --mount=type=secret,id=A make", true),
            ("# RUN --mount=type=secret,id=A make", false),
            ("COPY run /run", false),
        ] {
            let text = format!("FROM a\n{line}\nRUN true\n");
            let (one, two) = (changed(&text, "1"), changed(&text, "2"));
            assert_eq!(one != two, depends, "{one}");
            assert_eq!(one, changed(&text, "1"), "it is the same for the same values");
            let flag = one.find(&input_flag(""));
            let shown = flag.map_or(one.clone(), |at| {
                let end = at + input_flag("").len() + LENGTH + 1;
                format!("{}{}", &one[..at], &one[end..])
            });
            assert_eq!(shown.replace("RUN  ", "RUN "), text, "the rest is unchanged");
            assert_eq!(
                one.matches("davit-input-").count(),
                usize::from(flag.is_some()),
                "{one}"
            );
        }
    }

    #[test]
    fn step_whose_name_is_in_several_lines_depends_on_its_secrets_too() {
        let text = "FROM a\nRU\\\nN --mount=type=secret,id=A \\\n <<X\ny\nX\nRUN z\n";
        let (one, two) = (changed(text, "1"), changed(text, "2"));
        assert_ne!(one, two);
        assert!(
            one.starts_with(&format!("FROM a\nRUN {}", input_flag(""))),
            "{one}"
        );
        assert!(
            one.ends_with(" --mount=type=secret,id=A  <<X\ny\nX\nRUN z\n"),
            "{one}"
        );
        let text = "FROM a\nRUN\\\n --mount=type=secret,id=A make\n";
        assert_ne!(changed(text, "1"), changed(text, "2"));
        let text = "# escape=`\nFROM a\nRUN `\n --mount=type=secret,id=A C:\\\nRUN true\n";
        assert_ne!(changed(text, "1"), changed(text, "2"));
        assert_eq!(changed(text, "1").lines().count(), text.lines().count());
    }
}
