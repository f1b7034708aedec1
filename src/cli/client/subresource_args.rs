//! The arguments of the commands that read subresources, and of `davit connect`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::args::{
    Connection, Output, UNTIL_HEALTHY, UNTIL_LOGGED, UNTIL_READY, WaitFirst, application, provider, release,
};
use crate::api::Duration;
use crate::forge::onboarding::ForgeName;

/// Forms of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// With the name of the replica and the time before each line.
    Wide,
    /// An object for each line.
    Json,
}

/// `davit logs`.
#[derive(Debug, Args)]
#[command(mut_arg("wait", |wait| wait.help(UNTIL_LOGGED)))]
pub struct Logs {
    /// The Application.
    #[arg(value_name = "APPLICATION", value_parser = application)]
    pub application: String,
    /// Show the log of the newest Release's build.
    #[arg(long, group = "of_release")]
    pub build: bool,
    /// Show the output of hooks.preDeploy of the newest Release.
    #[arg(long, group = "of_release")]
    pub hook: bool,
    /// With --build or --hook: show the log of this Release, by name or number.
    #[arg(long, value_name = "RELEASE", requires = "of_release", value_parser = release)]
    pub release: Option<String>,
    /// Continue with what is written from now on, also by replicas that start later.
    #[arg(short, long)]
    pub follow: bool,
    /// Show at most this many lines of the end of each log. Default: all.
    #[arg(long, value_name = "NUMBER")]
    pub tail: Option<u64>,
    /// Show only lines that are not older, such as 30s or 2h.
    #[arg(long, value_name = "DURATION", value_parser = Duration::parse, conflicts_with = "of_release")]
    pub since: Option<Duration>,
    /// Show the requests to the routes: client, method, address, status, size, time, and the replica that answered.
    #[arg(long, conflicts_with_all = ["of_release", "replica", "previous", "prefix"])]
    pub access: bool,
    /// Begin each line with its time.
    #[arg(long, conflicts_with = "of_release")]
    pub timestamps: bool,
    /// Show one replica: RELEASE.NUMBER as in the prefix of a line, or the name or ID of a container.
    #[arg(long, value_name = "REPLICA", conflicts_with = "of_release")]
    pub replica: Option<String>,
    /// Show the output from before the last start of each container.
    #[arg(short, long, conflicts_with_all = ["of_release", "follow"])]
    pub previous: bool,
    /// Begin each line with the name of its replica. Default: if the Application has several.
    #[arg(long, conflicts_with = "of_release")]
    pub prefix: bool,
    /// The form of the output. Default: the lines as they were written.
    #[arg(short = 'o', long, value_name = "FORMAT")]
    pub output: Option<LogFormat>,
    /// Waiting.
    #[command(flatten)]
    pub wait: WaitFirst,
    /// The API server.
    #[command(flatten)]
    pub connection: Connection,
}

/// `davit exec`.
#[derive(Debug, Args)]
#[command(mut_arg("wait", |wait| wait.help(UNTIL_HEALTHY)))]
pub struct Exec {
    /// The Application.
    #[arg(value_name = "APPLICATION", value_parser = application)]
    pub application: String,
    /// The replica: RELEASE.NUMBER as in the prefix of a log's line, or the name or ID of a container. Default: a healthy one.
    #[arg(long, value_name = "REPLICA")]
    pub replica: Option<String>,
    /// Pass standard input on.
    #[arg(short = 'i', long)]
    pub stdin: bool,
    /// Give the command a terminal.
    #[arg(short, long)]
    pub tty: bool,
    /// Waiting.
    #[command(flatten)]
    pub wait: WaitFirst,
    /// The API server.
    #[command(flatten)]
    pub connection: Connection,
    /// The program and its arguments, after --.
    #[arg(value_name = "COMMAND", last = true, required = true)]
    pub command: Vec<String>,
}

/// What the rows of `davit top` are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rows {
    /// Applications.
    #[default]
    Apps,
    /// Releases.
    Releases,
}

/// The first word of `davit top`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum First {
    /// What the rows are.
    Rows(Rows),
    /// An Application, as in `davit status`.
    Application(String),
}

/// Reads the first word of `davit top`.
fn first(text: &str) -> Result<First, String> {
    match text {
        "apps" => Ok(First::Rows(Rows::Apps)),
        "releases" => Ok(First::Rows(Rows::Releases)),
        other => application(other).map(First::Application),
    }
}

impl Top {
    /// What the rows are.
    pub fn rows(&self) -> Rows {
        match self.rows {
            First::Rows(rows) => rows,
            First::Application(_) => Rows::Apps,
        }
    }

    /// The Application whose replicas are shown.
    pub fn application(&self) -> Option<&str> {
        match &self.rows {
            First::Rows(_) => self.application.as_deref(),
            First::Application(name) => Some(name),
        }
    }
}

/// `davit top`.
#[derive(Debug, Args)]
#[command(mut_arg("wait", |wait| wait.help(UNTIL_HEALTHY)))]
pub struct Top {
    /// What the rows are: apps or releases. Or the name of an Application, to show its replicas.
    #[arg(value_name = "ROWS", default_value = "apps", value_parser = first)]
    pub rows: First,
    /// Show the replicas of this Application.
    #[arg(value_name = "APPLICATION", value_parser = application)]
    pub application: Option<String>,
    /// The Applications of all namespaces.
    #[arg(short = 'A', long, conflicts_with_all = ["application", "namespace"])]
    pub all_namespaces: bool,
    /// Show a row for each replica.
    #[arg(long)]
    pub replicas: bool,
    /// Measure again until Ctrl-C.
    #[arg(short, long)]
    pub watch: bool,
    /// With --watch: the time between two measurements, at most 30s. Default: 1s.
    #[arg(long, value_name = "DURATION", value_parser = Duration::parse, requires = "watch")]
    pub interval: Option<Duration>,
    /// Waiting.
    #[command(flatten)]
    pub wait: WaitFirst,
    /// The form of the output.
    #[command(flatten)]
    pub output: Output,
    /// The API server.
    #[command(flatten)]
    pub connection: Connection,
}

/// `davit connect`.
#[derive(Debug, Args)]
#[command(mut_arg("wait", |wait| wait.help(UNTIL_READY)))]
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
    /// Read a token from standard input. A forge without Apps does so unless --client-id is set.
    #[arg(long)]
    pub token_stdin: bool,
    /// The OAuth application in place of a token.
    #[command(flatten)]
    pub oauth: OAuthArgs,
    /// Let Applications of all namespaces use the connection.
    #[arg(long)]
    pub all_namespaces: bool,
    /// Waiting.
    #[command(flatten)]
    pub wait: WaitFirst,
    /// The form of the output: with yaml or json the objects are printed and not created.
    #[command(flatten)]
    pub output: Output,
    /// The API server.
    #[command(flatten)]
    pub connection: Connection,
}

/// The OAuth application of `davit connect`.
#[derive(Debug, Args)]
pub struct OAuthArgs {
    /// Authorise this OAuth application in a browser, in place of a token: its ID, at Bitbucket the key of the consumer.
    #[arg(long, value_name = "ID", conflicts_with = "token_stdin")]
    pub client_id: Option<String>,
    /// Read the secret of the OAuth application from this file. A public application has none.
    #[arg(long, value_name = "FILE", requires = "client_id")]
    pub client_secret_file: Option<PathBuf>,
    /// Ask for these scopes, separated by spaces. Default: those that reading needs.
    #[arg(long, value_name = "SCOPES", requires = "client_id")]
    pub scopes: Option<String>,
    /// The port of the address that is registered with the OAuth application: `http://127.0.0.1:PORT/callback`.
    #[arg(long, value_name = "PORT", default_value_t = 8914)]
    pub callback_port: u16,
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
#[command(mut_arg("wait", |wait| wait.help(UNTIL_READY)))]
pub struct Listing {
    /// Show only names that contain this text; letter case is ignored.
    #[arg(long, value_name = "TEXT")]
    pub filter: Option<String>,
    /// Waiting.
    #[command(flatten)]
    pub wait: WaitFirst,
    /// The form of the output.
    #[command(flatten)]
    pub output: Output,
    /// The API server.
    #[command(flatten)]
    pub connection: Connection,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_word_of_top_is_what_the_rows_are_or_an_application() {
        for (word, expected) in [
            ("apps", First::Rows(Rows::Apps)),
            ("releases", First::Rows(Rows::Releases)),
            ("shop", First::Application("shop".to_owned())),
            ("dapp/apps", First::Application("apps".to_owned())),
        ] {
            assert_eq!(first(word), Ok(expected), "{word}");
        }
        assert!(first("pod/shop").is_err());
    }
}
