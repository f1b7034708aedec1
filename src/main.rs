//! The `davit` program; everything is in the library.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    // A closed standard error is ignored: there is no other place to report to.
    let report = |text: &str| {
        let _ = writeln!(std::io::stderr(), "{text}");
    };
    // Git runs davit as its ssh, through a link of that name.
    if let Some(error) = davit::source::become_ssh_if_called_so() {
        report(&format!("cannot run ssh: {error}"));
        return ExitCode::from(255);
    }
    match davit::cli::run(davit::cli::Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&format!("davit: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
