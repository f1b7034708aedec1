//! The `davit` program; everything is in the library.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(version, about)]
struct Program {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serves the files of a static site, inside the image that Davit made of it.
    #[command(hide = true)]
    StaticServer(davit::static_server::Args),
}

#[expect(clippy::print_stderr, reason = "where a program says why it failed")]
fn main() -> ExitCode {
    // Git calls davit as its ssh, by a link of that name.
    if let Some(error) = davit::source::ssh::become_ssh_if_called_so() {
        eprintln!("cannot run ssh: {error}");
        return ExitCode::from(255);
    }
    let done = match Program::parse().command {
        Command::StaticServer(args) => davit::static_server::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("davit: {error}");
            ExitCode::FAILURE
        }
    }
}
