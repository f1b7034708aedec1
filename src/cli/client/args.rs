//! The arguments of the commands that need only the API server.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::api::Duration;
use crate::forge::onboarding::ForgeName;

/// Commands for daily use. They also work as `kubectl davit COMMAND`.
#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// Show what runs, since when, why, and what to do next.
    #[command(after_help = "Examples:
  davit status                 # every Application of the namespace
  davit status shop            # one Application on one screen
  davit status shop -o json    # the object itself")]
    Status(Status),
    /// Deploy what the spec asks for now, or another commit.
    #[command(after_help = "Examples:
  davit deploy shop --wait
  davit deploy shop --title 'Version 2.1.0' --description 'The new cart'
  davit deploy shop --revision 3f2c1a90b7d64e5f8a1b2c3d4e5f60718293a4b5")]
    Deploy(Deploy),
    /// Show the output of an Application's containers, or the log of a build.
    #[command(after_help = "Examples:
  davit logs shop -f                 # all replicas, also later ones
  davit logs shop --tail 20 --since 1h --timestamps
  davit logs shop --previous         # before the last start of each container
  davit logs shop --build -f         # the build of the newest Release")]
    Logs(Logs),
    /// Connect a forge: create its Secret and its GitProvider.
    #[command(after_help = "Examples:
  davit connect github --organization acme -n platform        # registers an App in a browser
  davit connect github -o yaml -n platform > provider.yaml    # for a GitOps repository
  davit connect gitlab --token-stdin --group acme < token
  davit connect gitea --url https://git.example.com < token")]
    Connect(Connect),
    /// List the repositories that a GitProvider reaches.
    #[command(after_help = "Examples:
  davit repos acme -n platform
  davit repos acme --filter shop -o name")]
    Repos(Repos),
    /// List the branches of a repository that a GitProvider reaches.
    #[command(after_help = "Examples:
  davit branches acme acme/shop -n platform")]
    Branches(Branches),
}

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

/// `davit status`.
#[derive(Debug, Args)]
pub struct Status {
    /// The Application. Default: all of the namespace.
    #[arg(value_name = "APPLICATION", value_parser = application)]
    pub application: Option<String>,
    /// The Applications of all namespaces.
    #[arg(short = 'A', long, conflicts_with_all = ["application", "namespace"])]
    pub all_namespaces: bool,
    /// The form of the output.
    #[command(flatten)]
    pub output: Output,
    /// The API server.
    #[command(flatten)]
    pub connection: Connection,
}

/// `davit deploy`.
#[derive(Debug, Args)]
pub struct Deploy {
    /// The Application.
    #[arg(value_name = "APPLICATION", value_parser = application)]
    pub application: String,
    /// The title of the Release. Default: Manual deployment.
    #[arg(long, value_name = "TEXT")]
    pub title: Option<String>,
    /// More about the Release.
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
    /// A full commit hash or image digest in place of what the ref names now.
    #[arg(long, value_name = "COMMIT")]
    pub revision: Option<String>,
    /// Waiting.
    #[command(flatten)]
    pub wait: Wait,
    /// The form of the output.
    #[command(flatten)]
    pub output: Output,
    /// The API server.
    #[command(flatten)]
    pub connection: Connection,
}

/// `davit logs`.
#[derive(Debug, Args)]
pub struct Logs {
    /// The Application.
    #[arg(value_name = "APPLICATION", value_parser = application)]
    pub application: String,
    /// Show the log of the newest Release's build.
    #[arg(long)]
    pub build: bool,
    /// With --build: show the log of this Release.
    #[arg(long, value_name = "RELEASE", requires = "build")]
    pub release: Option<String>,
    /// Continue with what is written from now on, also by replicas that start later.
    #[arg(short, long)]
    pub follow: bool,
    /// Show at most this many lines of the end of each log. Default: all.
    #[arg(long, value_name = "NUMBER")]
    pub tail: Option<u64>,
    /// Show only lines that are not older, such as 30s or 2h.
    #[arg(long, value_name = "DURATION", value_parser = Duration::parse, conflicts_with = "build")]
    pub since: Option<Duration>,
    /// Begin each line with its time.
    #[arg(long, conflicts_with = "build")]
    pub timestamps: bool,
    /// Show one replica: RELEASE.NUMBER as in the prefix of a line, or the name or ID of a container.
    #[arg(long, value_name = "REPLICA", conflicts_with = "build")]
    pub replica: Option<String>,
    /// Show the output from before the last start of each container.
    #[arg(short, long, conflicts_with_all = ["build", "follow"])]
    pub previous: bool,
    /// Begin each line with the name of its replica. Default: if the Application has several.
    #[arg(long, conflicts_with = "build")]
    pub prefix: bool,
    /// The API server.
    #[command(flatten)]
    pub connection: Connection,
}

/// `davit connect`.
#[derive(Debug, Args)]
pub struct Connect {
    /// The forge.
    #[arg(value_name = "FORGE")]
    pub forge: ForgeName,
    /// The name of the GitProvider and of its Secret. Default: that of the forge.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// The address of the forge as in a browser. Default: the hosted one, if there is one.
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// The organization that shall own the App. Default: the account of the browser.
    #[arg(long, value_name = "NAME")]
    pub organization: Option<String>,
    /// List only the projects of this group.
    #[arg(long, value_name = "GROUP")]
    pub group: Option<String>,
    /// The workspace of the repositories.
    #[arg(long, value_name = "WORKSPACE")]
    pub workspace: Option<String>,
    /// The e-mail address of the account, if the token is an API token.
    #[arg(long, value_name = "ADDRESS")]
    pub email: Option<String>,
    /// Read a token from standard input. A forge without Apps always does.
    #[arg(long)]
    pub token_stdin: bool,
    /// Let Applications of all namespaces use the connection.
    #[arg(long)]
    pub all_namespaces: bool,
    /// The form of the output: with yaml or json the objects are printed and not created.
    #[command(flatten)]
    pub output: Output,
    /// The API server.
    #[command(flatten)]
    pub connection: Connection,
}

/// `davit repos`.
#[derive(Debug, Args)]
pub struct Repos {
    /// The GitProvider.
    #[arg(value_name = "PROVIDER", value_parser = provider)]
    pub provider: String,
    /// What is shown.
    #[command(flatten)]
    pub listing: Listing,
}

/// `davit branches`.
#[derive(Debug, Args)]
pub struct Branches {
    /// The GitProvider.
    #[arg(value_name = "PROVIDER", value_parser = provider)]
    pub provider: String,
    /// The repository, as `davit repos` prints it: OWNER/NAME, at a GitLab with all groups.
    #[arg(value_name = "REPOSITORY")]
    pub repository: String,
    /// What is shown.
    #[command(flatten)]
    pub listing: Listing,
}

/// What both lists have in common.
#[derive(Debug, Args)]
pub struct Listing {
    /// Show only names that contain this text; letter case is ignored.
    #[arg(long, value_name = "TEXT")]
    pub filter: Option<String>,
    /// The form of the output.
    #[command(flatten)]
    pub output: Output,
    /// The API server.
    #[command(flatten)]
    pub connection: Connection,
}

/// Reads the name of an Application: `shop`, `application/shop`, `applications.davit.dev/shop` or `dapp/shop`.
fn application(text: &str) -> Result<String, String> {
    name(text, "Application", &["application", "applications", "dapp"])
}

/// Reads the name of a GitProvider.
fn provider(text: &str) -> Result<String, String> {
    name(text, "GitProvider", &["gitprovider", "gitproviders", "gitprov"])
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
        "the command needs the name of {kind}: write NAME or {}/NAME",
        words[0]
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

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
