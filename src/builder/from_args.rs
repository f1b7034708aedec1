//! The variables in the names of base images: `FROM` knows the `ARG` instructions before it and the arguments of the build. Pure.

use std::collections::BTreeMap;

use super::instructions::Instruction;
use crate::redact::Secret;

/// The values of the variables that the `FROM` instructions of a Dockerfile can use.
pub struct FromArgs(BTreeMap<String, String>);

impl FromArgs {
    /// Those of the `ARG` instructions before the first `FROM`. An argument of the build replaces a default.
    pub fn of(instructions: &[Instruction<'_>], args: &BTreeMap<String, Secret>) -> Self {
        let mut known = Self(BTreeMap::new());
        let first = instructions
            .iter()
            .take_while(|instruction| !instruction.name().eq_ignore_ascii_case("from"));
        for instruction in first.filter(|instruction| instruction.name().eq_ignore_ascii_case("arg")) {
            for word in instruction.text.split_whitespace().skip(1) {
                let (name, default) = word
                    .split_once('=')
                    .map_or((word, None), |(name, default)| (name, Some(default)));
                let given = args.get(name).and_then(Secret::expose_str).map(str::to_owned);
                let default = || known.expanded(default?.trim_matches(['"', '\'']));
                if let Some(value) = given.or_else(default) {
                    known.0.insert(name.to_owned(), value);
                }
            }
        }
        known
    }

    /// A name with the values of its variables; nothing if it has one in a form that only newer frontends know.
    pub fn expanded(&self, text: &str) -> Option<String> {
        let (mut expanded, mut rest) = (String::with_capacity(text.len()), text);
        while let Some((before, behind)) = rest.split_once('$') {
            expanded.push_str(before);
            let (name, modifier, others) = if let Some(braced) = behind.strip_prefix('{') {
                let (inside, others) = braced.split_once('}')?;
                let (name, modifier) = name_of(inside);
                (name, modifier, others)
            } else {
                let (name, others) = name_of(behind);
                (name, "", others)
            };
            expanded.push_str(self.value(name, modifier)?);
            rest = others;
        }
        expanded.push_str(rest);
        Some(expanded)
    }

    /// The value of a variable, for what is behind its name in braces.
    fn value<'a>(&'a self, name: &str, modifier: &'a str) -> Option<&'a str> {
        let value = self.0.get(name).map(String::as_str);
        let filled = value.filter(|value| !value.is_empty());
        if modifier.contains('$') {
            return None;
        }
        if modifier.is_empty() {
            Some(value.unwrap_or_default())
        } else if let Some(word) = modifier.strip_prefix(":-") {
            Some(filled.unwrap_or(word))
        } else if let Some(word) = modifier.strip_prefix('-') {
            Some(value.unwrap_or(word))
        } else if let Some(word) = modifier.strip_prefix(":+") {
            Some(filled.map_or("", |_| word))
        } else {
            modifier.strip_prefix('+').map(|word| value.map_or("", |_| word))
        }
    }
}

/// The name of a variable with which a text begins, and what is behind it.
fn name_of(text: &str) -> (&str, &str) {
    let end = text.find(|char: char| !char.is_ascii_alphanumeric() && char != '_');
    text.split_at(end.unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::super::instructions::instructions;
    use super::*;

    #[test]
    fn name_has_the_values_of_arguments_and_defaults() {
        let text = "ARG A=a B=\"b-$A\" C\nARG D=d\nFROM x\nARG A=late\n";
        let args = [("C", "given"), ("D", "given"), ("E", "undeclared")]
            .map(|(name, value)| (name.to_owned(), Secret::from(value)));
        let known = FromArgs::of(&instructions(text), &args.into());
        for (name, expected) in [
            ("plain:1", Some("plain:1")),
            ("r/$A/${B}:$D", Some("r/a/b-a:given")),
            ("$C", Some("given")),
            ("x$E", Some("x")),
            ("${E:-other}/${A:-other}", Some("other/a")),
            ("${E-other}/${A+set}${E:+set}${A:+too}", Some("other/settoo")),
            ("${A%x}", None),
            ("${A:-${B}}", None),
            ("${A", None),
        ] {
            assert_eq!(known.expanded(name).as_deref(), expected, "{name}");
        }
    }
}
