//! `davit completion`: prints what a shell needs to complete command lines.

use super::commands::{Completion, Shell};
use super::output::write;
use crate::cli::failure::Failure;

/// `davit completion`.
///
/// # Errors
/// Standard output is closed.
pub fn completion(args: &Completion) -> Result<(), Failure> {
    write(script(args.shell))
}

fn script(shell: Shell) -> &'static str {
    match shell {
        Shell::Bash => include_str!("../../../packaging/completions/bash/davit"),
        Shell::Zsh => include_str!("../../../packaging/completions/zsh/_davit"),
        Shell::Fish => include_str!("../../../packaging/completions/fish/davit.fish"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_complete_the_program_and_the_plugin() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = script(shell);
            assert!(script.contains("__complete -- "), "{shell:?}");
            assert!(script.contains("kubectl-davit"), "{shell:?}");
        }
    }
}
