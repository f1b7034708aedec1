//! Limits of Linux on the arguments and the environment of a program, measured on Docker Engine. They apply to the values of
//! Secrets and ConfigMaps, so the types of the spec cannot have them.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::ApplicationSpec;
use crate::error::Problem;
use crate::redact::Secret;

use super::value_origin::{Origins, ValueOrigin};

/// The longest argument or `NAME=value` that Linux passes to a program, in bytes (MAX_ARG_STRLEN without its NUL).
pub(super) const LONGEST_STRING: usize = 131_071;
/// The most that arguments and environment take together: a quarter of the usual limit of the stack, 8 MiB, less what the
/// image's own environment may take.
const LARGEST_TOTAL: usize = 2 * 1024 * 1024 - 64 * 1024;
/// What each string takes beside its bytes: its NUL and a pointer.
const OVERHEAD: usize = 1 + size_of::<usize>();

const WAY_OUT: &str = "mount the value as a file with spec.volumes";

/// What a container and the steps of its build are started with.
pub(super) struct Start<'a> {
    pub env: &'a [(String, Secret)],
    pub build_args: &'a BTreeMap<String, Secret>,
    /// The objects that values come from, by the field of the inputs.
    pub origins: &'a Origins,
    pub command: &'a [Secret],
    pub args: &'a [Secret],
}

/// Checks whether programs can be started in this way.
///
/// # Errors
/// A value that no program can be started with, by its field and the object that it comes from.
pub(super) fn check(spec: &ApplicationSpec, start: &Start<'_>) -> Result<(), Problem> {
    for (name, value) in start.env {
        let origin = start.origins.get(&format!("run.env.{name}"));
        let from = from(origin, "spec.env");
        variable("environment variable", name, &from, value)?;
    }
    for (name, value) in start.build_args {
        let origin = start.origins.get(&format!("build.args.{name}"));
        let from = from(origin, "spec.build.args");
        variable("build argument", name, &from, value)?;
    }
    let exec = spec.health_check.iter().filter_map(|check| check.exec.as_ref());
    let exec: Vec<Secret> = exec
        .flat_map(|check| &check.command)
        .map(|text| Secret::from(text.as_str()))
        .collect();
    for (field, texts) in [
        ("spec.command", start.command),
        ("spec.args", start.args),
        ("spec.healthCheck.exec.command", exec.as_slice()),
    ] {
        for (index, text) in texts.iter().enumerate() {
            argument(field, index, text)?;
        }
    }
    let env = start
        .env
        .iter()
        .map(|(name, value)| name.len() + 1 + value.expose().len());
    let lengths = start
        .command
        .iter()
        .chain(start.args)
        .map(|text| text.expose().len())
        .chain(env);
    let total: usize = lengths.map(|length| length + OVERHEAD).sum();
    if total > LARGEST_TOTAL {
        let longest = start.env.iter().max_by_key(|(_, value)| value.expose().len());
        let longest = longest.map_or(String::new(), |(name, _)| {
            format!(" ({name} is the longest variable)")
        });
        return Err(Problem::invalid(format!(
            "spec.command, spec.args and the environment take {total} bytes together, and a program can be started with {LARGEST_TOTAL}{longest}: {WAY_OUT}"
        )));
    }
    Ok(())
}

/// Returns where a value comes from, for messages.
fn from(origins: Option<&BTreeSet<ValueOrigin>>, field: &str) -> String {
    let origins: Vec<String> = origins.into_iter().flatten().map(ToString::to_string).collect();
    if origins.is_empty() {
        format!("in {field}")
    } else {
        format!("from {}", origins.join(" and "))
    }
}

fn variable(what: &str, name: &str, from: &str, value: &Secret) -> Result<(), Problem> {
    let length = name.len() + 1 + value.expose().len();
    if length > LONGEST_STRING {
        return Err(Problem::invalid(format!(
            "{what} {name} {from} is {length} bytes long with its name, and Linux passes at most {LONGEST_STRING} to a program: {WAY_OUT}"
        )));
    }
    if value.expose().contains(&0) || value.expose_str().is_none() {
        return Err(Problem::invalid(format!(
            "{what} {name} {from} is not UTF-8 text without NUL: {WAY_OUT}"
        )));
    }
    Ok(())
}

fn argument(field: &str, index: usize, text: &Secret) -> Result<(), Problem> {
    let length = text.expose().len();
    if length > LONGEST_STRING {
        return Err(Problem::invalid(format!(
            "{field}[{index}] is {length} bytes long, and Linux passes at most {LONGEST_STRING} to a program: {WAY_OUT}"
        )));
    }
    if text.expose().contains(&0) {
        return Err(Problem::invalid(format!(
            "{field}[{index}] contains a NUL character, which no argument can: remove it"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::Reason;

    type Environment = (Vec<(String, Secret)>, Origins);

    fn environment(env: &[(&str, Option<ValueOrigin>, usize)]) -> Environment {
        let mut made = Environment::default();
        for (name, origin, length) in env {
            made.0
                .push(((*name).to_owned(), Secret::from("x".repeat(*length))));
            let origins = origin.iter().cloned().collect();
            made.1.insert(format!("run.env.{name}"), origins);
        }
        made
    }

    fn message(spec: serde_json::Value, (env, origins): &Environment) -> Option<String> {
        let spec: ApplicationSpec = serde_json::from_value(spec).unwrap();
        let secrets = |texts: &[String]| -> Vec<Secret> {
            texts.iter().map(|text| Secret::from(text.as_str())).collect()
        };
        let (command, args) = (secrets(&spec.command), secrets(&spec.args));
        let start = Start {
            env,
            build_args: &BTreeMap::new(),
            origins,
            command: &command,
            args: &args,
        };
        let problem = check(&spec, &start).err()?;
        assert_eq!(problem.reason, Reason::InvalidSpec);
        Some(problem.message)
    }

    #[test]
    fn variable_is_refused_from_the_length_that_linux_refuses() {
        assert_eq!(message(json!({}), &environment(&[("A", None, 131_069)])), None);
        for (origin, from) in [
            (None, "in spec.env"),
            (Some(ValueOrigin::Secret("keys".to_owned())), "from Secret keys"),
            (Some(ValueOrigin::ConfigMap("c".to_owned())), "from ConfigMap c"),
        ] {
            let message = message(json!({}), &environment(&[("A", origin, 131_070)])).unwrap();
            let expected = format!("environment variable A {from} is 131072 bytes long");
            assert!(
                message.starts_with(&expected) && message.ends_with(WAY_OUT),
                "{message}"
            );
        }
    }

    #[test]
    fn argument_that_no_program_takes_is_refused() {
        let long = "x".repeat(131_072);
        for (spec, field) in [
            (
                json!({"command": ["sh", long]}),
                "spec.command[1] is 131072 bytes",
            ),
            (json!({"args": [long]}), "spec.args[0] is 131072 bytes"),
            (json!({"args": ["a\0b"]}), "spec.args[0] contains a NUL"),
            (
                json!({"healthCheck": {"exec": {"command": [long]}}}),
                "spec.healthCheck.exec.command[0] is",
            ),
            (
                json!({"healthCheck": {"exec": {"command": ["a\0"]}}}),
                "spec.healthCheck.exec.command[0] contains",
            ),
        ] {
            let message = message(spec, &Environment::default()).unwrap();
            assert!(message.starts_with(field), "{message}");
        }
        assert_eq!(
            message(json!({"args": ["x".repeat(131_071)]}), &Environment::default()),
            None
        );
    }

    #[test]
    fn environment_is_refused_from_the_total_that_linux_refuses() {
        let names: Vec<String> = (0..16).map(|index| format!("A{index}")).collect();
        let env = |length: usize| -> Vec<(&str, Option<ValueOrigin>, usize)> {
            names.iter().map(|name| (name.as_str(), None, length)).collect()
        };
        assert_eq!(message(json!({}), &environment(&env(126_000))), None);
        let message = message(json!({}), &environment(&env(127_500))).unwrap();
        assert!(
            message.contains("is the longest variable") && message.ends_with(WAY_OUT),
            "{message}"
        );
    }

    #[test]
    fn largest_environment_that_linux_takes_is_accepted() {
        // 2 MiB less 64 KiB. Each of 20 variables takes its name, `=`, its value, a NUL and a pointer; `sh` takes 11 bytes.
        let made = |total: usize| {
            let names: Vec<String> = (0..20).map(|index| format!("V{index:02}")).collect();
            let each = total / 20 - 13;
            let first = each + total - 20 * (each + 13);
            let lengths = std::iter::once(first).chain(std::iter::repeat(each));
            let env: Vec<_> = names.iter().map(String::as_str).zip(lengths).collect();
            let env: Vec<_> = env.iter().map(|(name, length)| (*name, None, *length)).collect();
            environment(&env)
        };
        let most = 2_031_616 - 11;
        assert_eq!(message(json!({"command": ["sh"]}), &made(most)), None);
        let refused = message(json!({"command": ["sh"]}), &made(most + 1)).unwrap();
        assert!(
            refused.contains("2031617 bytes") && refused.contains("2031616"),
            "{refused}"
        );
    }

    #[test]
    fn variable_that_is_not_text_is_refused() {
        for value in [b"a\0b".to_vec(), vec![0xff]] {
            let env = (vec![("A".to_owned(), Secret::new(value))], Origins::new());
            let refused = message(json!({}), &env).unwrap();
            assert!(
                refused.contains("variable A in spec.env is not UTF-8 text without NUL"),
                "{refused}"
            );
        }
    }
}
