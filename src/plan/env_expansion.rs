//! `$(NAME)` in the environment, the command and the arguments, replaced as Kubernetes replaces it: a variable that is
//! known stands for its value, one that is not stays as it is written, and `$$` is one `$`.

use std::collections::BTreeSet;

use crate::error::Problem;
use crate::redact::Secret;

use super::value_origin::{Origins, ValueOrigin};

/// The longest text that Linux passes to a program, in bytes. Texts that refer to others repeatedly could grow without end.
const LONGEST: usize = super::limits::LONGEST_STRING;

/// A text in which variables were replaced.
#[derive(Clone, Debug)]
pub struct Expanded {
    /// What came of it.
    pub text: Secret,
    /// The variables whose values are in it.
    pub used: Vec<String>,
}

/// Replaces the variables in `text`, which `field` names in the message of an error.
///
/// # Errors
/// What comes of it is longer than any program takes.
pub fn expand<'v>(
    text: &str,
    field: &str,
    value_of: impl Fn(&str) -> Option<&'v Secret>,
) -> Result<Expanded, Problem> {
    let mut done: Vec<u8> = Vec::with_capacity(text.len());
    let mut used = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        done.extend_from_slice(before.as_bytes());
        if let Some(after) = after.strip_prefix('$') {
            done.push(b'$');
            rest = after;
            continue;
        }
        let named = after.strip_prefix('(').and_then(|after| after.split_once(')'));
        let known = named.and_then(|(name, after)| Some((name, value_of(name)?, after)));
        rest = match (known, named) {
            (Some((name, value, after)), _) => {
                done.extend_from_slice(value.expose());
                used.push(name.to_owned());
                after
            }
            // As it is written, and what is in it is looked at no more.
            (None, Some((name, after))) => {
                done.extend_from_slice(format!("$({name})").as_bytes());
                after
            }
            (None, None) => {
                done.push(b'$');
                after
            }
        };
        if done.len() > LONGEST {
            break;
        }
    }
    done.extend_from_slice(rest.as_bytes());
    if !used.is_empty() && done.len() > LONGEST {
        let message = format!(
            "{field} is longer than {LONGEST} bytes with the values of its variables, more than a program takes: shorten it"
        );
        return Err(Problem::invalid(message));
    }
    used.sort();
    used.dedup();
    Ok(Expanded {
        text: Secret::new(done),
        used,
    })
}

/// Returns the objects that the values of these variables come from; `origins` has them by field.
pub fn origins<'u>(used: impl IntoIterator<Item = &'u String>, origins: &Origins) -> BTreeSet<ValueOrigin> {
    let fields = used.into_iter().map(|name| format!("run.env.{name}"));
    fields
        .filter_map(|field| origins.get(&field))
        .flatten()
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn known(name: &str) -> Option<Secret> {
        match name {
            "A" => Some(Secret::from("one")),
            "B" => Some(Secret::from("$(A)")),
            "EMPTY" => Some(Secret::from("")),
            "with space" => Some(Secret::from("s")),
            _ => None,
        }
    }

    fn text(given: &str) -> Result<(String, Vec<String>), Problem> {
        let all: Vec<(&str, Secret)> = ["A", "B", "EMPTY", "with space"]
            .into_iter()
            .map(|name| (name, known(name).unwrap()))
            .collect();
        let value_of = |name: &str| {
            all.iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| value)
        };
        let done = expand(given, "spec.args", value_of)?;
        Ok((done.text.expose_str().unwrap().to_owned(), done.used))
    }

    #[test]
    fn variables_are_replaced_as_in_kubernetes() {
        // The rows of upstream's own documentation and of what its syntax leaves open.
        for (given, done) in [
            ("", ""),
            ("plain", "plain"),
            ("$(A)", "one"),
            ("x-$(A)-$(A)$(EMPTY)-y", "x-one-one-y"),
            ("$(B)", "$(A)"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$one"),
            ("$$$$(A)", "$$(A)"),
            ("$(NOPE)", "$(NOPE)"),
            ("$(NOPE$(A))", "$(NOPE$(A))"),
            ("$(with space)", "s"),
            ("$()", "$()"),
            ("$(A", "$(A"),
            ("$A ${A} $", "$A ${A} $"),
            ("a$$b", "a$b"),
            ("$$", "$"),
            ("é$(A)é", "éoneé"),
            ("$(date +%s)", "$(date +%s)"),
        ] {
            assert_eq!(text(given).unwrap().0, done, "{given}");
        }
        assert_eq!(text("$(B) $(A) $(NOPE) $(A)").unwrap().1, ["A", "B"]);
    }

    #[test]
    fn what_no_program_takes_is_refused() {
        let long = Secret::from("x".repeat(LONGEST / 2));
        let twice = expand("$(X)$(X)", "spec.env Y", |_| Some(&long)).unwrap();
        assert_eq!(twice.text.expose().len(), LONGEST / 2 * 2);
        let problem = expand("$(X)$(X)$(X)$(X)", "spec.env Y", |_| Some(&long)).unwrap_err();
        assert!(problem.message.contains("spec.env Y"), "{}", problem.message);
    }

    proptest! {
        #[test]
        fn what_names_no_variable_is_what_it_was(given in "[^$]{0,40}") {
            prop_assert_eq!(text(&given).unwrap(), (given, Vec::new()));
        }

        #[test]
        fn what_is_escaped_is_what_was_meant(meant in r"[$()A-C a]{0,40}") {
            let (done, used) = text(&meant.replace('$', "$$")).unwrap();
            prop_assert_eq!(done, meant);
            prop_assert!(used.is_empty());
        }

        #[test]
        fn nothing_is_replaced_where_nothing_is_known(given in r"([$]?[()A-C a]){0,40}") {
            let done = expand(&given, "spec.args", |_| None).unwrap();
            prop_assert_eq!(done.text.expose_str().unwrap(), given);
        }
    }

    #[test]
    fn longest_text_that_a_program_takes_is_accepted() {
        let value = Secret::from("x");
        let value_of = |name: &str| (name == "A").then_some(&value);
        let expanded =
            |text: &str| expand(text, "spec.args", value_of).map(|found| found.text.expose().len());
        assert_eq!(
            expanded(&format!("{}$(A)", "y".repeat(LONGEST - 1))).unwrap(),
            LONGEST
        );
        let refused = expanded(&format!("{}$(A)", "y".repeat(LONGEST))).unwrap_err();
        assert!(
            refused.message.starts_with("spec.args is longer than"),
            "{refused:?}"
        );
        // The text before the variable is as long as can be.
        expanded(&format!("$${}$(A)", "y".repeat(LONGEST - 1))).unwrap_err();
        // Without variables the length is checked elsewhere.
        assert_eq!(expanded(&"y".repeat(LONGEST + 1)).unwrap(), LONGEST + 1);
    }
}
