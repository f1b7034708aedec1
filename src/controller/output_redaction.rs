//! What containers said, as status and events show it: without secrets, then cut to its length. Pure.

use crate::error::{cut, cut_beginning, one_line, printable};
use crate::redact::{Masker, Secret};
use crate::runtime::ReplicaState;

/// The longest thing that a check said, in bytes.
const LONGEST_SAYING: usize = 256;
/// The longest last words, in bytes.
const LONGEST_LAST_WORDS: usize = 1024;

/// Puts what may be shown in the place of what was said: what a check said on one line, last words on as many as there were.
/// Where the secrets are not known nothing may be.
pub(super) fn show<'s>(state: &mut ReplicaState, secrets: Option<impl IntoIterator<Item = &'s Secret>>) {
    let (words, last) = match state {
        ReplicaState::Unhealthy(said) => (said, false),
        ReplicaState::Exited { message, .. } | ReplicaState::KeepsEnding { message, .. } => (message, true),
        ReplicaState::Created | ReplicaState::Starting | ReplicaState::Healthy | ReplicaState::Kept => return,
    };
    *words = match secrets {
        None => "its words are not shown: the Secret of one of its volumes is another one by now".to_owned(),
        Some(secrets) => {
            let masker = Masker::new(secrets);
            let masked = masker.mask(words);
            let shown = if last {
                printable(&masked)
            } else {
                one_line(&masked)
            };
            // Once more: with spaces for line feeds it may be a secret that it was not before.
            let shown = masker.mask(&shown);
            if last {
                cut_beginning(shown.trim(), LONGEST_LAST_WORDS)
            } else {
                cut(&shown, LONGEST_SAYING)
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "S3cretValue-9f8e7d6c5b4a";

    fn check(said: &str, secrets: &[&str]) -> String {
        let secrets: Vec<Secret> = secrets.iter().map(|secret| Secret::from(*secret)).collect();
        let mut state = ReplicaState::Unhealthy(said.to_owned());
        show(&mut state, Some(&secrets));
        match state {
            ReplicaState::Unhealthy(said) => said,
            other => panic!("{other:?}"),
        }
    }

    fn end(said: &str, secrets: &[&str]) -> String {
        let secrets: Vec<Secret> = secrets.iter().map(|secret| Secret::from(*secret)).collect();
        let (code, oom, message) = (1, false, said.to_owned());
        let mut state = ReplicaState::Exited { code, oom, message };
        show(&mut state, Some(&secrets));
        match state {
            ReplicaState::Exited { message, .. } => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_secret_at_the_cut_is_masked_whole() {
        for before in LONGEST_SAYING - TOKEN.len() - 8..=LONGEST_SAYING + 8 {
            let said = check(&format!("{}{TOKEN}", "x".repeat(before)), &[TOKEN]);
            assert!(!said.contains("S3c") && said.len() <= LONGEST_SAYING, "{said}");
        }
        let phrase = "correct horse battery staple zebra ".repeat(6);
        for behind in 700..1100 {
            let said = end(&format!("{phrase}{}", "x".repeat(behind)), &[&phrase]);
            assert!(said.len() <= LONGEST_LAST_WORDS, "{said}");
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
    fn without_the_secrets_nothing_is_shown() {
        let mut state = ReplicaState::Unhealthy(TOKEN.to_owned());
        show(&mut state, None::<&[Secret]>);
        assert!(!format!("{state:?}").contains("S3c"), "{state:?}");
    }
}
