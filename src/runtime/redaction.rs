//! Redaction of container output: secrets are masked first, then the text is cut to the length that status shows. Pure.

use std::collections::BTreeSet;

use super::log::HIDDEN;
use super::status::ReplicaState;
use crate::error::{cut, cut_beginning, one_line, printable};
use crate::redact::{Masker, Secret};

/// The longest output of a health check, in bytes.
const MAX_CHECK_OUTPUT: usize = 256;
/// The longest output of an ended container that a condition shows, in bytes.
const MAX_EXIT_OUTPUT: usize = 1024;
/// The longest log tail of a failed Release, in bytes.
pub const MAX_LOG_TAIL: usize = 2048;

/// Values that must not appear in container output that leaves a runtime. A runtime adds the values that it gave to the
/// container itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RedactionPolicy {
    /// Values of the Secrets that the Application refers to now; `None` if they could not be read.
    pub confidential: Option<Vec<Secret>>,
    /// [`Identity::hash`](super::Identity::hash) of containers whose mounted Secrets have the values in `confidential`.
    pub current_files: BTreeSet<String>,
}

/// Values that a runtime gave to one container.
#[derive(Clone, Debug, Default)]
pub(super) struct GivenSecrets {
    /// Values in its environment.
    pub env: Vec<Secret>,
    /// The container has mounts with the content of Secrets, which a runtime cannot read back.
    pub files: bool,
}

impl RedactionPolicy {
    /// A masker for the output of one container; `None` if a secret in its files is unknown, so nothing may be shown.
    pub(super) fn masker(&self, hash: &str, given: &GivenSecrets) -> Option<Masker> {
        let files_are_known = self.confidential.is_some() && self.current_files.contains(hash);
        if given.files && !files_are_known {
            return None;
        }
        Some(Masker::new(self.confidential.iter().flatten().chain(&given.env)))
    }

    /// Replaces the output in `state` by what may be shown of it: one line of a health check, several lines of an ended
    /// container.
    pub(super) fn redact(&self, state: &mut ReplicaState, hash: &str, given: &GivenSecrets) {
        let (output, limit) = match state {
            ReplicaState::Unhealthy(output) => (output, None),
            ReplicaState::Exited { message, .. } | ReplicaState::KeepsEnding { message, .. } => {
                (message, Some(MAX_EXIT_OUTPUT))
            }
            ReplicaState::Created | ReplicaState::Starting | ReplicaState::Healthy | ReplicaState::Kept => {
                return;
            }
        };
        *output = redact(output, self.masker(hash, given).as_ref(), limit);
    }

    /// What may be shown of the end of a container's log, with its line breaks.
    pub(super) fn redact_log_tail(&self, output: &str, hash: &str, given: &GivenSecrets) -> String {
        if output.trim().is_empty() {
            return String::new();
        }
        redact(output, self.masker(hash, given).as_ref(), Some(MAX_LOG_TAIL))
    }
}

/// Masks `output`, then cuts it: to the last `lines` bytes with line breaks, else to one line.
fn redact(output: &str, masker: Option<&Masker>, lines: Option<usize>) -> String {
    let Some(masker) = masker else {
        return HIDDEN.to_owned();
    };
    let masked = masker.mask(output);
    let shown = match lines {
        Some(_) => printable(&masked),
        None => one_line(&masked),
    };
    // Again: joining lines may produce a secret that the output itself did not contain.
    let shown = masker.mask(&shown);
    match lines {
        Some(limit) => cut_beginning(shown.trim(), limit),
        None => cut(&shown, MAX_CHECK_OUTPUT),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "S3cretValue-9f8e7d6c5b4a";

    fn policy(secrets: &[&str]) -> RedactionPolicy {
        RedactionPolicy {
            confidential: Some(secrets.iter().map(|secret| Secret::from(*secret)).collect()),
            current_files: BTreeSet::new(),
        }
    }

    fn check(said: &str, secrets: &[&str]) -> String {
        let mut state = ReplicaState::Unhealthy(said.to_owned());
        policy(secrets).redact(&mut state, "h", &GivenSecrets::default());
        match state {
            ReplicaState::Unhealthy(said) => said,
            other => panic!("{other:?}"),
        }
    }

    fn end(said: &str, secrets: &[&str]) -> String {
        let (code, oom, message) = (1, false, said.to_owned());
        let mut state = ReplicaState::Exited { code, oom, message };
        policy(secrets).redact(&mut state, "h", &GivenSecrets::default());
        match state {
            ReplicaState::Exited { message, .. } => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_secret_at_the_cut_is_masked_whole() {
        for before in MAX_CHECK_OUTPUT - TOKEN.len() - 8..=MAX_CHECK_OUTPUT + 8 {
            let said = check(&format!("{}{TOKEN}", "x".repeat(before)), &[TOKEN]);
            assert!(!said.contains("S3c") && said.len() <= MAX_CHECK_OUTPUT, "{said}");
        }
        let phrase = "correct horse battery staple zebra ".repeat(6);
        for behind in 700..1100 {
            let said = end(&format!("{phrase}{}", "x".repeat(behind)), &[&phrase]);
            assert!(said.len() <= MAX_EXIT_OUTPUT, "{said}");
            assert!(said.ends_with('x'), "{said}");
            let shown: String = said.chars().filter(|char| !"x*… ".contains(*char)).collect();
            assert_eq!(shown, "", "{said}");
        }
    }

    #[test]
    fn nothing_that_a_terminal_obeys_is_shown_and_a_check_speaks_on_one_line() {
        assert_eq!(
            check("\u{1b}[31mno\n\tdatabase\0\u{7}\r\n", &[]),
            "\u{fffd}[31mno database\u{fffd}\u{fffd}"
        );
        assert_eq!(
            end("\u{1b}[1mone\r\ntwo\u{7}\n", &[]),
            "\u{fffd}[1mone\ntwo\u{fffd}"
        );
        assert_eq!(check("correct\n  horse", &["correct horse"]), "***");
    }

    #[test]
    fn output_of_a_container_whose_mounted_secrets_are_unknown_is_hidden() {
        let given = GivenSecrets {
            files: true,
            ..GivenSecrets::default()
        };
        let mut known = policy(&[TOKEN]);
        for (current, shown) in [("another", false), ("h", true)] {
            known.current_files = BTreeSet::from([current.to_owned()]);
            let mut state = ReplicaState::Unhealthy(format!("down {TOKEN}"));
            known.redact(&mut state, "h", &given);
            let text = format!("{state:?}");
            assert_eq!(text.contains("down ***"), shown, "{text}");
            assert!(!text.contains("S3c"), "{text}");
        }
        known.confidential = None;
        let tail = known.redact_log_tail(TOKEN, "h", &given);
        assert!(tail.starts_with("output hidden"), "{tail}");
    }

    #[test]
    fn log_tail_keeps_line_breaks_and_the_last_lines() {
        let given = GivenSecrets {
            env: vec![Secret::from(TOKEN)],
            files: false,
        };
        let tail = |output: &str| RedactionPolicy::default().redact_log_tail(output, "h", &given);
        assert_eq!(tail(&format!("one\r\ntwo {TOKEN}\n")), "one\ntwo ***");
        assert_eq!(tail(" \n"), "");
        let long = tail(&format!("{}the end", "x\n".repeat(MAX_LOG_TAIL)));
        assert!(
            long.len() <= MAX_LOG_TAIL && long.ends_with("x\nthe end"),
            "{long}"
        );
    }
}
