//! `davit __complete`: the words that can come next, for completion in shells and in kubectl.

use std::ffi::OsString;
use std::time::Duration;

use clap::{Arg, Command};
use kube::Api;
use kube::ResourceExt;

use super::args::{Color, Connection, application};
use super::connect::{Cluster, contexts};
use super::lookup::names;
use super::output::say;
use super::pick::{has_served, is_image_gone};
use crate::api::Release;
use crate::cli::failure::Failure;
use crate::cli::leading::flags;

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
    let words = joined(&words);
    let typed = words.last().cloned().unwrap_or_default();
    let before = words.get(..words.len().saturating_sub(1)).unwrap_or_default();
    let wanted = wanted(root, before, &typed);
    let found = tokio::time::timeout(PATIENCE, candidates(&wanted)).await;
    for candidate in offered(&wanted, &typed, found.unwrap_or_default()) {
        say(candidate)?;
    }
    say(NO_FILES)
}

/// Joins what bash separates at the sign of equality: `--namespace`, `=`, `shop`.
fn joined(words: &[String]) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let mut is_open = false;
    for word in words {
        match all.last_mut() {
            Some(last) if is_open || word == "=" && last.starts_with('-') && !last.contains('=') => {
                last.push_str(word);
                is_open = !is_open && word == "=";
            }
            _ => all.push(word.clone()),
        }
    }
    all
}

/// The candidates that begin as what is typed; those for the value of a flag without the flag. A kind before a name stays.
fn offered(wanted: &Wanted, typed: &str, found: Vec<String>) -> Vec<String> {
    let names = matches!(
        wanted.next,
        Next::Applications | Next::Rows | Next::Releases { .. }
    );
    let (kind, beginning) = match typed.split_once('=') {
        Some((_, value)) if typed.starts_with('-') => ("", value),
        _ => match typed.rsplit_once('/') {
            Some((kind, _)) if names => typed.split_at(kind.len() + 1),
            _ => ("", typed),
        },
    };
    found
        .into_iter()
        .filter(|candidate| candidate.starts_with(beginning))
        .map(|candidate| format!("{kind}{candidate}"))
        .collect()
}

/// What can come next.
#[derive(Debug, PartialEq)]
enum Next {
    /// One of these words.
    Words(Vec<String>),
    Applications,
    /// A Release of this Application, for this command.
    Releases {
        application: String,
        command: String,
    },
    /// What `davit top` shows.
    Rows,
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
    // Before the command only these flags are known.
    let leading = flags();
    let mut command = &root;
    let mut connection = Connection {
        color: Color::Never,
        ..Connection::default()
    };
    let mut positional: Vec<String> = Vec::new();
    let mut words = before.iter();
    let mut open: Option<&Arg> = None;
    while let Some(word) = words.next() {
        let shared = flag(&leading, word).filter(|_| command.has_subcommands());
        if let Some(argument) = flag(command, word).or(shared) {
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
    let shared: Option<&Command> = command.has_subcommands().then_some(&leading);
    if open.is_none() && typed.starts_with('-') && typed.contains('=') {
        open = flag(command, typed).or(shared.and_then(|shared| flag(shared, typed)));
    }
    let next = match open {
        Some(argument) => of_argument(argument, command, &positional),
        None if typed.starts_with('-') => {
            let all = command
                .get_arguments()
                .chain(shared.into_iter().flat_map(Command::get_arguments));
            let shown = all.filter(|argument| !argument.is_hide_set());
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
                of_argument(argument, command, &positional)
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

fn of_argument(argument: &Arg, command: &Command, positional: &[String]) -> Next {
    match argument.get_id().as_str() {
        "application" => Next::Applications,
        "release" => {
            let given = positional.first().map(String::as_str).unwrap_or_default();
            Next::Releases {
                application: application(given).unwrap_or_default(),
                command: command.get_name().to_owned(),
            }
        }
        "rows" => Next::Rows,
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
        Next::Rows => {
            let rows = ["apps", "releases"].map(str::to_owned);
            [rows.to_vec(), names(&cluster.applications()).await].concat()
        }
        Next::Releases { application, command } => {
            let releases = cluster.releases_of(application).await.unwrap_or_default();
            fitting(command, &releases)
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

/// The Releases that a command accepts, the newest first.
fn fitting(command: &str, releases: &[Release]) -> Vec<String> {
    let fits = |release: &&Release| match command {
        "rollback" => has_served(release) && !is_image_gone(release, releases),
        "cancel" => !release
            .status
            .as_ref()
            .is_some_and(|status| status.phase.has_ended()),
        _ => true,
    };
    releases
        .iter()
        .rev()
        .filter(fits)
        .map(ResourceExt::name_any)
        .collect()
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

    fn releases(application: &str, command: &str) -> Next {
        Next::Releases {
            application: application.to_owned(),
            command: command.to_owned(),
        }
    }

    #[test]
    fn words_before_decide_what_can_come_next() {
        assert_eq!(after("rollback "), Next::Applications);
        assert_eq!(after("rollback -n prod --wait "), Next::Applications);
        assert_eq!(after("rollback shop "), releases("shop", "rollback"));
        assert_eq!(after("rollback dapp/shop "), releases("shop", "rollback"));
        assert_eq!(
            after("cancel shop --timeout 5m --wait sh"),
            releases("shop", "cancel")
        );
        for line in [
            "-n ",
            "status --namespace=",
            "-n a --namespace=sh",
            "--context x -n ",
        ] {
            assert_eq!(after(line), Next::Namespaces, "{line}");
        }
        assert_eq!(after("-n prod status "), Next::Applications);
        assert_eq!(
            after("status --output=j"),
            Next::Words(["wide", "name", "json", "yaml"].map(str::to_owned).to_vec())
        );
        assert_eq!(after("status -n "), Next::Namespaces);
        assert_eq!(after("status --context "), Next::Contexts);
        assert_eq!(after("stop shop "), Next::Words(Vec::new()));
        assert_eq!(after("top "), Next::Rows);
        assert_eq!(after("top apps "), Next::Applications);
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

    #[test]
    fn candidates_continue_what_is_typed() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(
            joined(&words("status --namespace = sh")),
            ["status", "--namespace=sh"]
        );
        assert_eq!(
            joined(&words("status --namespace = a b")),
            ["status", "--namespace=a", "b"]
        );
        assert_eq!(joined(&words("a = b")), ["a", "=", "b"]);
        for (next, typed, expected) in [
            (Next::Applications, "sh", "shop"),
            (Next::Applications, "dapp/sh", "dapp/shop"),
            (Next::Namespaces, "--namespace=sh", "shop"),
            (releases("shop", "rollback"), "release/shop", "release/shop"),
        ] {
            let wanted = Wanted {
                next,
                connection: Connection::default(),
            };
            let found = ["blog", "shop"].map(str::to_owned).to_vec();
            assert_eq!(offered(&wanted, typed, found), [expected], "{typed}");
        }
    }

    #[test]
    fn only_releases_that_fit_the_command_are_offered() {
        let release = |name: &str, phase: &str| -> Release {
            serde_json::from_value(
                serde_json::json!({"apiVersion": "davit.dev/v1alpha1", "kind": "Release",
                "metadata": {"name": name}, "spec": {"application": "shop"},
                "status": {"phase": phase, "image": "sha256:a"}}),
            )
            .unwrap()
        };
        let all = [
            release("shop-1", "Succeeded"),
            release("shop-2", "Cancelled"),
            release("shop-3", "Building"),
        ];
        assert_eq!(fitting("rollback", &all), ["shop-1"]);
        assert_eq!(fitting("cancel", &all), ["shop-3"]);
        assert_eq!(fitting("logs", &all), ["shop-3", "shop-2", "shop-1"]);
    }
}
