//! The `davit` program; everything is in the library.

use std::io::Write as _;
use std::process::ExitCode;

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
    match davit::cli::run(davit::cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.message().is_empty() {
                report(failure.message());
            }
            failure.exit_code()
        }
    }
}
