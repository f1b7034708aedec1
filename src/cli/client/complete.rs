//! `davit __complete`: the words that can come next, for completion in shells and in kubectl.

use std::ffi::OsString;
use std::time::Duration;

use clap::{Arg, Command};
use kube::Api;
use kube::ResourceExt;

use super::args::{Color, Connection};
use super::connect::{Cluster, contexts};
use super::lookup::names;
use super::output::say;
use crate::cli::failure::Failure;

/// The longest that the API server may take: the user waits for the key.
const PATIENCE: Duration = Duration::from_secs(2);

/// cobra's directive for kubectl: the shell adds no names of files.
const NO_FILES: &str = ":4";

/// Prints the candidates, one for each line, and a directive for kubectl. The last word is the one that is typed; it may be
/// empty. `root` is the definition of the command line.
///
/// # Errors
/// Standard output is closed.
pub async fn complete(root: Command, words: &[OsString]) -> Result<(), Failure> {
    let words: Vec<String> = words
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let typed = words.last().cloned().unwrap_or_default();
    let before = words.get(..words.len().saturating_sub(1)).unwrap_or_default();
    let wanted = wanted(root, before, &typed);
    let found = tokio::time::timeout(PATIENCE, candidates(&wanted)).await;
    for candidate in found
        .unwrap_or_default()
        .iter()
        .filter(|candidate| candidate.starts_with(&typed))
    {
        say(candidate)?;
    }
    say(NO_FILES)
}

/// What can come next.
#[derive(Debug, PartialEq)]
enum Next {
    /// One of these words.
    Words(Vec<String>),
    Applications,
    /// A Release of this Application.
    Releases(String),
    Namespaces,
    Contexts,
}

/// What can come next, and the API server that the words before name.
struct Wanted {
    next: Next,
    connection: Connection,
}

fn wanted(mut root: Command, before: &[String], typed: &str) -> Wanted {
    root.build();
    let mut command = &root;
    let mut connection = Connection {
        color: Color::Never,
        ..Connection::default()
    };
    let mut positional: Vec<String> = Vec::new();
    let mut words = before.iter();
    let mut open: Option<&Arg> = None;
    while let Some(word) = words.next() {
        if let Some(argument) = flag(command, word) {
            if !argument.get_action().takes_values() {
                continue;
            }
            let value = match word.split_once('=') {
                Some((_, value)) => Some(value.to_owned()),
                None => words.next().cloned(),
            };
            match value {
                Some(value) => remember(&mut connection, argument, value),
                None => open = Some(argument),
            }
        } else if let Some(below) = command.find_subcommand(word) {
            command = below;
        } else {
            positional.push(word.clone());
        }
    }
    let next = match open {
        Some(argument) => of_argument(argument, &positional),
        None if typed.starts_with('-') => {
            let shown = command.get_arguments().filter(|argument| !argument.is_hide_set());
            Next::Words(
                shown
                    .filter_map(|argument| Some(format!("--{}", argument.get_long()?)))
                    .collect(),
            )
        }
        None if command.has_subcommands() => {
            let shown = command.get_subcommands().filter(|below| !below.is_hide_set());
            Next::Words(shown.map(|below| below.get_name().to_owned()).collect())
        }
        None => command
            .get_positionals()
            .nth(positional.len())
            .map_or(Next::Words(Vec::new()), |argument| {
                of_argument(argument, &positional)
            }),
    };
    Wanted { next, connection }
}

/// Returns the argument of a flag such as `-n`, `--namespace` or `--namespace=shop`.
fn flag<'c>(command: &'c Command, word: &str) -> Option<&'c Arg> {
    let mut all = command.get_arguments();
    if let Some(long) = word.strip_prefix("--") {
        let long = long.split('=').next();
        return all.find(|argument| argument.get_long().is_some() && argument.get_long() == long);
    }
    let short = word.strip_prefix('-')?.chars().next()?;
    all.find(|argument| argument.get_short() == Some(short))
}

fn remember(connection: &mut Connection, argument: &Arg, value: String) {
    match argument.get_id().as_str() {
        "namespace" => connection.namespace = Some(value),
        "context" => connection.context = Some(value),
        "kubeconfig" => connection.kubeconfig = Some(value.into()),
        "impersonate" => connection.impersonate = Some(value),
        _ => {}
    }
}

fn of_argument(argument: &Arg, positional: &[String]) -> Next {
    match argument.get_id().as_str() {
        "application" => Next::Applications,
        "release" => Next::Releases(positional.first().cloned().unwrap_or_default()),
        "namespace" => Next::Namespaces,
        "context" => Next::Contexts,
        _ => {
            let values = argument.get_possible_values();
            Next::Words(values.iter().map(|value| value.get_name().to_owned()).collect())
        }
    }
}

/// Returns the candidates; none if the API server does not answer or refuses.
async fn candidates(wanted: &Wanted) -> Vec<String> {
    if let Next::Words(words) = &wanted.next {
        return words.clone();
    }
    if wanted.next == Next::Contexts {
        return contexts(&wanted.connection);
    }
    let Ok(cluster) = Cluster::new(&wanted.connection).await else {
        return Vec::new();
    };
    match &wanted.next {
        Next::Applications => names(&cluster.applications()).await,
        Next::Releases(application) => {
            let releases = cluster.releases_of(application).await.unwrap_or_default();
            releases.iter().rev().map(ResourceExt::name_any).collect()
        }
        Next::Namespaces => {
            names(&Api::<k8s_openapi::api::core::v1::Namespace>::all(
                cluster.client.clone(),
            ))
            .await
        }
        Next::Words(_) | Next::Contexts => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Subcommand as _;

    fn after(line: &str) -> Next {
        let root = crate::cli::client::ClientCommand::augment_subcommands(Command::new("davit"));
        let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let typed = words.pop().unwrap_or_default();
        wanted(root, &words, &typed).next
    }

    #[test]
    fn words_before_decide_what_can_come_next() {
        assert_eq!(after("rollback "), Next::Applications);
        assert_eq!(after("rollback -n prod --wait "), Next::Applications);
        assert_eq!(after("rollback shop "), Next::Releases("shop".to_owned()));
        assert_eq!(
            after("rollback shop --timeout 5m --wait sh"),
            Next::Releases("shop".to_owned())
        );
        assert_eq!(after("status -n "), Next::Namespaces);
        assert_eq!(after("status --context "), Next::Contexts);
        assert_eq!(after("stop shop "), Next::Words(Vec::new()));
        let Next::Words(words) = after("") else {
            panic!("commands")
        };
        assert!(
            words.contains(&"rollback".to_owned()) && !words.contains(&"__complete".to_owned()),
            "{words:?}"
        );
        let Next::Words(words) = after("deploy shop --") else {
            panic!("flags")
        };
        assert!(words.contains(&"--revision".to_owned()), "{words:?}");
        assert_eq!(
            after("status -o "),
            Next::Words(["wide", "name", "json", "yaml"].map(str::to_owned).to_vec())
        );
    }
}
