//! The `davit` program; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Git calls davit as its ssh, by a link of that name.
    if let Some(error) = davit::source::ssh::become_ssh_if_called_so() {
        #[expect(
            clippy::print_stderr,
            reason = "it speaks as ssh, whose messages git passes on"
        )]
        {
            eprintln!("cannot run ssh: {error}");
        }
        return ExitCode::from(255);
    }
    ExitCode::SUCCESS
}
