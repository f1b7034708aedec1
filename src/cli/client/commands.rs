//! The commands that need only the API server, with their arguments.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::args::{
    Connection, Output, UNTIL_SETTLED, Wait, WaitFirst, application, new_application, release,
};
use super::subresource_args::{Branches, Connect, Exec, Logs, Repos, Top};

/// Commands for daily use. They also work as `kubectl davit COMMAND`.
#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// Show what runs, since when, why, and what to do next.
    #[command(after_help = "Examples:
  davit status                 # every Application of the namespace
  davit status shop            # one Application on one screen
  davit status shop --wait     # once nothing is under way; exit code 1 if it failed
  davit status shop -o json    # the object itself")]
    Status(Status),
    /// List the Releases of an Application, the oldest first, or those of all.
    #[command(after_help = "Examples:
  davit history shop
  davit history -A              # of every Application of every namespace
  davit history shop -o wide    # with titles and messages")]
    History(History),
    /// Deploy what the spec asks for now, or another commit.
    #[command(after_help = "Examples:
  davit deploy shop --wait
  davit deploy shop --title 'Version 2.1.0' --description 'The new cart'
  davit deploy shop --revision 3f2c1a90b7d64e5f8a1b2c3d4e5f60718293a4b5")]
    Deploy(Deploy),
    /// Upload a directory or an archive, and deploy it.
    #[command(after_help = "Examples:
  davit drop shop                        # the current directory
  davit drop shop ./dir --wait
  davit drop shop shop-2.1.tar.gz        # also tar, tar.zst and zip
  git archive HEAD | davit drop shop -   # exactly what is committed")]
    Drop(Drop),
    /// Build the newest commit that was deployed again, and deploy it.
    #[command(after_help = "Examples:
  davit redeploy shop --wait
  davit redeploy shop --clean    # without the build cache")]
    Redeploy(Redeploy),
    /// Run the image and the configuration of an earlier Release again, and hold automatic deployments.
    #[command(after_help = "Examples:
  davit rollback shop --wait    # to the Release before the one that runs
  davit rollback shop 11        # by number
  davit rollback shop shop-11   # by name")]
    Rollback(Rollback),
    /// Cancel the Releases that are under way, or one of them.
    #[command(after_help = "Examples:
  davit cancel shop --wait
  davit cancel shop shop-13")]
    Cancel(Cancel),
    /// Stop the containers; everything else stays.
    #[command(after_help = "Examples:
  davit stop shop --wait")]
    Stop(Change),
    /// Start the containers again, as many as before.
    #[command(after_help = "Examples:
  davit start shop --wait --timeout 5m")]
    Start(Change),
    /// Replace the containers by new ones of the same Release, without a gap.
    #[command(after_help = "Examples:
  davit restart shop --wait")]
    Restart(Change),
    /// Leave everything as it is: nothing is deployed, repaired or removed until `davit resume`.
    #[command(after_help = "Examples:
  davit suspend shop")]
    Suspend(Change),
    /// End a suspension, and the hold of a rollback: what was held is deployed.
    #[command(after_help = "Examples:
  davit resume shop --wait")]
    Resume(Change),
    /// Remove Releases that ended, with their logs and images; what runs, and what a rollback refers to, stays.
    #[command(after_help = "Examples:
  davit clear shop
  davit clear shop --dry-run    # only list them")]
    Clear(Clear),
    /// Show the output of an Application's containers, or the log of a build or a hook.
    #[command(after_help = "Examples:
  davit logs shop -f                 # all replicas, also later ones
  davit logs shop -f --wait          # as soon as there is a container
  davit logs shop -o json            # an object for each line
  davit logs shop --tail 20 --since 1h --timestamps
  davit logs shop --previous         # before the last start of each container
  davit logs shop --build -f         # the build of the newest Release
  davit logs shop --hook             # the command that ran before its containers")]
    Logs(Logs),
    /// Run a command in a container of an Application.
    ///
    /// On a terminal the command has one, as with -it. The exit code is that of the command.
    #[command(after_help = "Examples:
  davit exec shop -- sh                       # with a terminal
  davit exec shop -- /bin/shop version
  davit exec shop -i -- psql < dump.sql       # with standard input
  davit exec shop --wait --timeout 2m -- true # once a container is healthy
  davit exec shop --replica shop-12.0 -- ps")]
    Exec(Exec),
    /// Show what Applications, Releases or replicas use: CPU, memory, network, disks and restarts.
    #[command(after_help = "Examples:
  davit top                 # every Application of the namespace
  davit top shop            # the replicas of one
  davit top -A              # of every namespace
  davit top releases        # while one replaces another
  davit top --watch
  davit top --wait --timeout 2m -o json")]
    Top(Top),
    /// Connect a forge: create its Secret and its GitProvider.
    #[command(after_help = "Examples:
  davit connect github --organization acme -n platform        # registers an App in a browser
  davit connect github -o yaml -n platform > provider.yaml    # for a GitOps repository
  davit connect gitlab --token-stdin --group acme < token
  davit connect gitea --url https://git.example.com --wait < token   # until the GitProvider is ready
  davit connect gitlab --client-id ID --client-secret-file secret  # authorises an OAuth application in a browser")]
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
    /// List the previews of an Application: a row for each pull request, also those that wait.
    #[command(after_help = "Examples:
  davit previews shop
  davit previews shop -o wide    # with the reasons")]
    Previews(Previews),
    /// Inspect a directory and write the Application for it.
    #[command(after_help = "Examples:
  davit init                    # writes application.yaml
  davit init ./shop --dry-run   # prints it
  davit init -n production -o json
  davit init --name shop --port 3000")]
    Init(Init),
    /// Print the script that completes command lines in bash, zsh or fish.
    #[command(after_help = "Examples:
  davit completion bash > ~/.local/share/bash-completion/completions/davit
  davit completion zsh > ~/.zfunc/_davit    # a directory of fpath
  davit completion fish > ~/.config/fish/completions/davit.fish")]
    Completion(Completion),
    /// Print what can come next on the command line: for completion.
    #[command(name = "__complete", hide = true, disable_help_flag = true)]
    Complete(Complete),
}

/// `davit completion`.
#[derive(Debug, Args)]
pub struct Completion {
    /// The shell.
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

/// The shells that complete command lines of davit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// The script for bash.
    Bash,
    /// The script for zsh.
    Zsh,
    /// The script for fish.
    Fish,
}

/// `davit __complete`.
#[derive(Debug, Args)]
pub struct Complete {
    /// The words after the program; the last one is being typed.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub words: Vec<OsString>,
}

/// `davit status`.
#[derive(Debug, Args)]
#[command(mut_arg("wait", |wait| wait.help(UNTIL_SETTLED)))]
pub struct Status {
    /// The Application. Default: all of the namespace.
    #[arg(value_name = "APPLICATION", value_parser = application)]
    pub application: Option<String>,
    /// The Applications of all namespaces.
    #[arg(short = 'A', long, conflicts_with_all = ["application", "namespace"])]
    pub all_namespaces: bool,
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

/// `davit previews`.
#[derive(Debug, Args)]
#[command(mut_arg("wait", |wait| wait.help("Wait first, and show the steps meanwhile: until no preview is being built")))]
pub struct Previews {
    /// The Application.
    #[arg(value_name = "APPLICATION", value_parser = application)]
    pub application: String,
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

/// `davit history`.
#[derive(Debug, Args)]
#[command(mut_arg("wait", |wait| wait.help(UNTIL_SETTLED)))]
pub struct History {
    /// The Application. Default: all of the namespace.
    #[arg(value_name = "APPLICATION", value_parser = application)]
    pub application: Option<String>,
    /// The Releases of all namespaces.
    #[arg(short = 'A', long, conflicts_with_all = ["application", "namespace"])]
    pub all_namespaces: bool,
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

/// What the commands that change an object have in common.
#[derive(Debug, Args)]
pub struct ChangeOptions {
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

/// The title and the description of a Release.
#[derive(Debug, Args)]
pub struct About {
    /// The title of the Release. Default: Manual deployment, Rebuild deployment or Rollback to RELEASE.
    #[arg(long, value_name = "TEXT")]
    pub title: Option<String>,
    /// More about the Release.
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
}

/// `davit deploy`.
#[derive(Debug, Args)]
pub struct Deploy {
    /// The Application.
    #[arg(value_name = "APPLICATION", value_parser = application)]
    pub application: String,
    /// A full commit hash or image digest in place of what the ref names now.
    #[arg(long, value_name = "COMMIT")]
    pub revision: Option<String>,
    /// Title and description.
    #[command(flatten)]
    pub about: About,
    /// What every change has.
    #[command(flatten)]
    pub change: ChangeOptions,
}

/// `davit drop`.
#[derive(Debug, Args)]
pub struct Drop {
    /// The Application.
    #[arg(value_name = "APPLICATION", value_parser = application)]
    pub application: String,
    /// The directory or archive; - reads an archive from standard input. A directory is packed without what its .dockerignore
    /// and .gitignore name.
    #[arg(value_name = "SOURCE", default_value = ".")]
    pub source: PathBuf,
    /// The directory of the upload that is built. Default: its root; of an archive with one directory, that one.
    #[arg(long, value_name = "DIRECTORY")]
    pub path: Option<String>,
    /// Also upload files that .gitignore names.
    #[arg(long)]
    pub no_gitignore: bool,
    /// Replace a source of another kind.
    #[arg(long)]
    pub replace: bool,
    /// What every change has.
    #[command(flatten)]
    pub change: ChangeOptions,
}

/// `davit redeploy`.
#[derive(Debug, Args)]
pub struct Redeploy {
    /// The Application.
    #[arg(value_name = "APPLICATION", value_parser = application)]
    pub application: String,
    /// Build without the cache.
    #[arg(long)]
    pub clean: bool,
    /// Title and description.
    #[command(flatten)]
    pub about: About,
    /// What every change has.
    #[command(flatten)]
    pub change: ChangeOptions,
}

/// `davit rollback`.
#[derive(Debug, Args)]
pub struct Rollback {
    /// The Application.
    #[arg(value_name = "APPLICATION", value_parser = application)]
    pub application: String,
    /// The name or number of the Release to go back to. Default: the newest one before what runs that differs from it.
    #[arg(value_name = "RELEASE", value_parser = release)]
    pub release: Option<String>,
    /// Title and description.
    #[command(flatten)]
    pub about: About,
    /// What every change has.
    #[command(flatten)]
    pub change: ChangeOptions,
}

/// `davit cancel`.
#[derive(Debug, Args)]
pub struct Cancel {
    /// The Application.
    #[arg(value_name = "APPLICATION", value_parser = application)]
    pub application: String,
    /// The name or number of the Release. Default: every one that is under way.
    #[arg(value_name = "RELEASE", value_parser = release)]
    pub release: Option<String>,
    /// What every change has.
    #[command(flatten)]
    pub change: ChangeOptions,
}

/// `davit stop`, `start`, `restart`, `suspend` and `resume`.
#[derive(Debug, Args)]
pub struct Change {
    /// The Application.
    #[arg(value_name = "APPLICATION", value_parser = application)]
    pub application: String,
    /// What every change has.
    #[command(flatten)]
    pub change: ChangeOptions,
}

/// `davit clear`.
#[derive(Debug, Args)]
pub struct Clear {
    /// The Application.
    #[arg(value_name = "APPLICATION", value_parser = application)]
    pub application: String,
    /// List what would be removed, and remove nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// What every change has.
    #[command(flatten)]
    pub change: ChangeOptions,
}

/// `davit init`.
#[derive(Debug, Args)]
pub struct Init {
    /// The directory of the source.
    #[arg(value_name = "DIRECTORY", default_value = ".")]
    pub directory: PathBuf,
    /// The name of the Application. Default: the name of the repository or of the directory.
    #[arg(long, value_name = "NAME", value_parser = new_application)]
    pub name: Option<String>,
    /// The port on which the container listens. Default: EXPOSE of the Dockerfile.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// The file to write, in the directory.
    #[arg(short = 'f', long, value_name = "FILE", default_value = "application.yaml")]
    pub file: PathBuf,
    /// Replace the file if it exists.
    #[arg(long)]
    pub force: bool,
    /// Print the YAML, and write nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// The namespace to write into the file. Default: none, so that of the context is used when it is applied.
    #[arg(short, long, value_name = "NAME")]
    pub namespace: Option<String>,
    /// The form of the output: with yaml or json the Application is printed and no file is written.
    #[command(flatten)]
    pub output: Output,
}
