//! The table of flags of `davit up` and `davit controller`, from the definition of the command line.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test starts programs, and panics if an expectation fails"
)]

use std::fmt::Write as _;

use clap::CommandFactory as _;
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
