//! Flags before the command, as kubectl takes them: `davit -n shop status` is `davit status -n shop`.

use std::ffi::{OsStr, OsString};

use clap::{Arg, Args as _, Command};

use super::client::args::Connection;

/// The flags that may stand before a command: those of the API server and the namespace. A command that has none of them, such
/// as `davit up`, refuses them.
pub fn flags() -> Command {
    Connection::augment_args(Command::new("davit").disable_help_flag(true))
}

/// Returns the words of a command line with the flags before the command behind it, where the parser expects them.
pub fn behind_the_command(words: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut words = words.into_iter();
    let mut line: Vec<OsString> = words.next().into_iter().collect();
    let rest: Vec<OsString> = words.collect();
    let known = flags();
    let mut end = 0;
    while let Some(word) = rest.get(end) {
        let Some(has_value) = leads(&known, word) else {
            break;
        };
        end += if has_value { 1 } else { 2 };
    }
    let (leading, rest) = rest.split_at(end.min(rest.len()));
    if let Some((command, more)) = rest.split_first() {
        line.push(command.clone());
        line.extend_from_slice(leading);
        line.extend_from_slice(more);
    }
    line
}

/// Whether a word is one of the flags, and if so, whether it contains its value.
fn leads(known: &Command, word: &OsStr) -> Option<bool> {
    let word = word.to_str()?;
    let is = |argument: &Arg, name: &str| argument.get_long() == Some(name);
    if let Some(long) = word.strip_prefix("--") {
        let (name, has_value) = long
            .split_once('=')
            .map_or((long, false), |(name, _)| (name, true));
        return known
            .get_arguments()
            .any(|argument| is(argument, name))
            .then_some(has_value);
    }
    let mut letters = word.strip_prefix('-')?.chars();
    let short = letters.next()?;
    let has_value = letters.next().is_some();
    known
        .get_arguments()
        .any(|argument| argument.get_short() == Some(short))
        .then_some(has_value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_before_the_command_go_behind_it() {
        for (line, expected) in [
            ("davit -n shop status", "davit status -n shop"),
            (
                "davit --context=x -nshop status web",
                "davit status --context=x -nshop web",
            ),
            (
                "davit --kubeconfig f exec web -- ls -n",
                "davit exec --kubeconfig f web -- ls -n",
            ),
            ("davit status -n shop", "davit status -n shop"),
            ("davit --help", "davit --help"),
            ("davit -o json status", "davit -o json status"),
            ("davit -n shop", "davit"),
            ("davit -n", "davit"),
            ("davit", "davit"),
        ] {
            let words = behind_the_command(line.split(' ').map(OsString::from));
            let words: Vec<&str> = words.iter().filter_map(|word| word.to_str()).collect();
            assert_eq!(words.join(" "), expected, "{line}");
        }
    }
}
