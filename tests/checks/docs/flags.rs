//! The tables of flags and commands, from the definition of the command line.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test starts programs, and panics if an expectation fails"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;

use clap::{Arg, CommandFactory as _};
use davit::cli::Cli;

/// The table for docs/operations.md.
pub fn table() -> String {
    let mut root = Cli::command();
    root.build();
    let up = root.find_subcommand("up").expect("davit has the subcommand up");
    let mut table = String::from("| flag | variable | default | meaning |\n|---|---|---|---|\n");
    for argument in up.get_arguments().filter(|argument| argument.get_env().is_some()) {
        let flag = argument.get_long().expect("a variable stands for a long flag");
        let value = if argument.get_action().takes_values() {
            let names = argument.get_value_names().unwrap_or_default();
            names.iter().fold(String::new(), |all, name| all + " " + name)
        } else {
            String::new()
        };
        let variable = argument.get_env().unwrap_or_default().to_string_lossy();
        let default = argument
            .get_default_values()
            .iter()
            .map(|value| format!("`{}`", value.to_string_lossy()))
            .collect::<Vec<_>>()
            .join(" ");
        let help = argument.get_long_help().or(argument.get_help());
        let help = help
            .map(ToString::to_string)
            .unwrap_or_default()
            .replace('\n', " ");
        writeln!(table, "| `--{flag}{value}` | `{variable}` | {default} | {help} |")
            .expect("a text takes everything");
    }
    table
}

/// The commands of daily use for docs/cli.md: purpose, arguments and examples of each.
pub fn commands() -> String {
    let mut root = Cli::command();
    root.build();
    let mut page = String::new();
    let servers = ["up", "controller", "crds", "backup", "restore", "help"];
    let shared: BTreeMap<String, String> = root
        .find_subcommand("status")
        .expect("davit has the subcommand status")
        .get_arguments()
        .filter(|argument| argument.get_help_heading() == Some("Cluster"))
        .map(row)
        .collect();
    for command in root
        .get_subcommands()
        .filter(|command| !servers.contains(&command.get_name()) && !command.is_hide_set())
    {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        let usage = command.clone().render_usage().to_string();
        let usage = usage.trim_start_matches("Usage: ");
        write!(
            page,
            "\n## {}\n\n{about}.\n\n```text\n{usage}\n```\n\n",
            command.get_name()
        )
        .expect("a text takes everything");
        page.push_str("| argument | meaning |\n|---|---|\n");
        for (name, meaning) in command.get_arguments().map(row) {
            if name != "`-h, --help`" && name != "`-V, --version`" && !shared.contains_key(&name) {
                writeln!(page, "| {name} | {meaning} |").expect("a text takes everything");
            }
        }
        if let Some(examples) = command.get_after_help() {
            let examples = examples.to_string();
            page.push_str("\n```console\n");
            for line in examples.lines().skip(1) {
                writeln!(page, "$ {}", line.trim()).expect("a text takes everything");
            }
            page.push_str("```\n");
        }
    }
    page.push_str("\n## Arguments of all commands\n\n| argument | meaning |\n|---|---|\n");
    for (name, meaning) in shared {
        writeln!(page, "| {name} | {meaning} |").expect("a text takes everything");
    }
    page
}

/// An argument and its meaning.
fn row(argument: &Arg) -> (String, String) {
    let values: String = if argument.get_action().takes_values() {
        let names = argument.get_value_names().unwrap_or_default();
        names.iter().flat_map(|name| [" ", name.as_str()]).collect()
    } else {
        String::new()
    };
    let flags: Vec<String> = argument
        .get_short()
        .map(|short| format!("-{short}"))
        .into_iter()
        .chain(argument.get_long().map(|long| format!("--{long}")))
        .collect();
    let name = format!("`{}`", format!("{}{values}", flags.join(", ")).trim());
    let help = argument.get_long_help().or(argument.get_help());
    let help = help
        .map(ToString::to_string)
        .unwrap_or_default()
        .replace('\n', " ");
    let choices: Vec<String> = argument
        .get_possible_values()
        .iter()
        .filter(|_| argument.get_action().takes_values())
        .map(|value| format!("`{}`", value.get_name()))
        .collect();
    let choices = if choices.is_empty() {
        String::new()
    } else {
        format!(": {}", choices.join(", "))
    };
    (name, help + &choices)
}
