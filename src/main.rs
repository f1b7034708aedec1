//! The `davit` program; everything is in the library.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    // A closed standard error has no reader.
    let say = |text: &str| {
        let _ = writeln!(std::io::stderr(), "{text}");
    };
    // Git calls davit as its ssh, by a link of that name.
    if let Some(error) = davit::source::become_ssh_if_called_so() {
        say(&format!("cannot run ssh: {error}"));
        return ExitCode::from(255);
    }
    match davit::app::run(davit::cli::Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("davit: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
