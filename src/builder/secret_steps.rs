//! Makes the values of secrets an input of the steps of a Dockerfile that mount them: BuildKit counts only their names, and would take the
//! result of such a step from its cache. Pure.

use std::collections::BTreeMap;

use super::buildkit::input_flag;
use super::instructions::instructions;
use super::keyed::keyed;
use crate::redact::Secret;

/// How much of a digest is in the text of a step.
const LENGTH: usize = 24;

/// The same Dockerfile with a digest of the secrets in each `RUN` that mounts some.
pub fn with_values(text: &str, secrets: &BTreeMap<String, Secret>, key: &Secret) -> String {
    let mut out = String::with_capacity(text.len());
    for whole in instructions(text) {
        let line = whole.first().copied().unwrap_or_default();
        match run(line).and_then(|rest| Some((rest, digest(&flags(&whole), secrets, key)?))) {
            Some((rest, digest)) => {
                out.push_str(line.strip_suffix(rest).unwrap_or_default());
                out.push(' ');
                out.push_str(&input_flag(&digest));
                out.push_str(rest);
                out.extend(whole.iter().skip(1).copied());
            }
            None => out.extend(whole.iter().copied()),
        }
    }
    out
}

/// What follows the name of a `RUN` instruction that begins in this line.
fn run(line: &str) -> Option<&str> {
    let trimmed = line.trim_start();
    let (name, rest) = trimmed.split_at_checked(3)?;
    let ends = rest.starts_with(|char: char| char.is_whitespace() || char == '\\');
    (name.eq_ignore_ascii_case("run") && ends).then_some(rest)
}

/// The flags of an instruction.
fn flags(lines: &[&str]) -> Vec<String> {
    let lines = lines.iter().enumerate();
    let lines = lines.filter(|(number, line)| *number == 0 || !line.trim_start().starts_with('#'));
    let text: Vec<&str> = lines
        .map(|(_, line)| line.trim().trim_end_matches(['\\', '`']))
        .collect();
    let text = text.join(" ");
    let words = text
        .split_whitespace()
        .skip(1)
        .take_while(|word| word.starts_with("--"));
    words.map(str::to_owned).collect()
}

/// A digest of the secrets that the flags mount, if they mount some: of all if a variable hides which.
fn digest(flags: &[String], secrets: &BTreeMap<String, Secret>, key: &Secret) -> Option<String> {
    let mounts = flags.iter().filter_map(|flag| flag.strip_prefix("--mount="));
    let mounted: Vec<Option<&str>> = mounts
        .filter(|options| options.split(',').any(|option| option == "type=secret"))
        .map(|options| {
            let value = |names: &[&str]| {
                let mut options = options.split(',').filter_map(|option| option.split_once('='));
                options
                    .find(|(name, _)| names.contains(name))
                    .map(|(_, value)| value)
            };
            let target = || value(&["target", "dst", "destination"])?.rsplit('/').next();
            value(&["id"]).or_else(target)
        })
        .collect();
    if mounted.is_empty() {
        return None;
    }
    let all = mounted
        .iter()
        .any(|name| name.is_none_or(|name| name.contains(['$', '"'])));
    let used = secrets
        .iter()
        .filter(|(name, _)| all || mounted.contains(&Some(name.as_str())));
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
}
