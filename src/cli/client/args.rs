//! The arguments that the commands that need only the API server share.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::api::Duration;

/// The most characters that the name of an Application has.
pub const LONGEST_NAME: usize = 52;

/// The API server and the namespace.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Cluster")]
pub struct Connection {
    /// The namespace. Default: the one of the context.
    #[arg(short, long, value_name = "NAME")]
    pub namespace: Option<String>,
    /// The context of the kubeconfig. Default: the current one.
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// The kubeconfig. Default: the files in KUBECONFIG, else ~/.kube/config, else that of `davit up` on this machine.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The user to impersonate.
    #[arg(long = "as", value_name = "USER")]
    pub impersonate: Option<String>,
    /// When to use colours.
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
}

/// When output has colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set or TERM is dumb.
    #[default]
    Auto,
    /// Also in a pipe.
    Always,
    /// Without colours.
    Never,
}

/// The form of the output.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct Output {
    /// The form of the output.
    #[arg(short = 'o', long = "output", value_name = "FORMAT")]
    pub format: Option<Format>,
}

/// Forms of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A table with more columns.
    Wide,
    /// Kind and name only, for scripts.
    Name,
    /// The object as JSON.
    Json,
    /// The object as YAML.
    Yaml,
}

/// Whether a command waits for the end of what it asked for.
#[derive(Clone, Debug, Default, Args)]
pub struct Wait {
    /// Wait for the end, and show the steps meanwhile.
    #[arg(short, long)]
    pub wait: bool,
    /// With --wait: the longest to wait, such as 90s or 5m. Default: without a limit.
    #[arg(long, value_name = "DURATION", value_parser = Duration::parse, requires = "wait")]
    pub timeout: Option<Duration>,
}

/// What `--wait` means where the end of a Release is shown.
pub const UNTIL_SETTLED: &str =
    "Wait first, and show the steps meanwhile: until nothing is under way for the Application";

/// What `--wait` means where containers are needed.
pub const UNTIL_HEALTHY: &str = "Wait first, and show the steps meanwhile: until a container is healthy";

/// What `--wait` means where a log is shown.
pub const UNTIL_LOGGED: &str = "Wait first, and show the steps meanwhile: until there is a container, or with --build or --hook a \
                                Release";

/// What `--wait` means where a forge is asked.
pub const UNTIL_READY: &str = "Wait until the GitProvider is ready, and show how it stands meanwhile";

/// Whether a command that only reads waits before it does. Each command says in its help for what.
#[derive(Clone, Debug, Default, Args)]
pub struct WaitFirst {
    /// Wait first, and show the steps meanwhile.
    #[arg(long)]
    pub wait: bool,
    /// With --wait: the longest to wait, such as 90s or 5m. Default: without a limit.
    #[arg(long, value_name = "DURATION", value_parser = Duration::parse, requires = "wait")]
    pub timeout: Option<Duration>,
}

/// Reads the name of an Application: `shop`, `application/shop`, `applications.davit.dev/shop` or `dapp/shop`.
///
/// # Errors
/// The text names an object of another kind.
pub fn application(text: &str) -> Result<String, String> {
    name(text, "Application", &["application", "applications", "dapp"])
}

/// Reads the name that a new Application gets.
///
/// # Errors
/// An Application cannot have it.
pub fn new_application(text: &str) -> Result<String, String> {
    let fits = text
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    let begins = text.starts_with(|first: char| first.is_ascii_lowercase());
    if fits && begins && !text.ends_with('-') && text.len() <= LONGEST_NAME {
        return Ok(text.to_owned());
    }
    Err(format!(
        "the name of an Application has at most {LONGEST_NAME} lower-case letters, digits and -, begins with a letter and does not \
         end with -"
    ))
}

/// Reads the name of a GitProvider.
///
/// # Errors
/// The text names an object of another kind.
pub fn provider(text: &str) -> Result<String, String> {
    name(text, "GitProvider", &["gitprovider", "gitproviders", "gitprov"])
}

/// Reads the name or the number of a Release: `shop-11`, `11` or `release/shop-11`.
///
/// # Errors
/// The text names an object of another kind.
pub fn release(text: &str) -> Result<String, String> {
    name(text, "Release", &["release", "releases", "rel"])
}

/// Reads a name that may have a kind, as in kubectl.
fn name(text: &str, kind: &str, words: &[&str]) -> Result<String, String> {
    let Some((given, name)) = text.split_once('/') else {
        return Ok(text.to_owned());
    };
    let word = given.strip_suffix(".davit.dev").unwrap_or(given);
    if words.contains(&word) && !name.is_empty() {
        return Ok(name.to_owned());
    }
    Err(format!(
        "the command needs the name of a {kind}: write NAME or {}/NAME",
        words[0]
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_of_a_new_application_follows_the_rule() {
        for text in ["shop", "a1-b", &"a".repeat(52)] {
            assert!(new_application(text).is_ok(), "{text}");
        }
        for text in ["Bad Name", "", "1a", "a-", "a_b", &"a".repeat(53)] {
            assert!(
                new_application(text)
                    .unwrap_err()
                    .contains("begins with a letter"),
                "{text}"
            );
        }
    }

    #[test]
    fn name_may_have_its_kind() {
        for text in [
            "shop",
            "application/shop",
            "applications.davit.dev/shop",
            "dapp/shop",
        ] {
            assert_eq!(application(text).as_deref(), Ok("shop"), "{text}");
        }
        for text in ["deployment/shop", "dapp/", "release/shop"] {
            assert!(
                application(text).unwrap_err().contains("application/NAME"),
                "{text}"
            );
        }
    }
}
