//! The command line: one call for each command.

pub mod args;
mod backup;
pub mod buildkit_host;
mod client;
mod crds;
mod failure;
mod leading;
pub mod proxy_args;

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::Path;

use clap::{CommandFactory as _, FromArgMatches as _};

use args::Logging;
pub use args::{Cli, Command, RuntimeKind};
pub use failure::{Code, Failure};

use crate::config::Config;
use crate::{app, telemetry};

/// The name under which kubectl starts the program, as `kubectl davit`.
const PLUGIN: &str = "kubectl-davit";

/// Reads the command line. The program ends here after `--help`, and with code 2 after wrong usage.
pub fn parse() -> Cli {
    let name = std::env::args_os().next();
    let is_plugin = name.as_deref().map(Path::new).and_then(Path::file_name) == Some(OsStr::new(PLUGIN));
    let command = Cli::command();
    let command = if is_plugin {
        command.name(PLUGIN).bin_name("kubectl davit")
    } else {
        command
    };
    let words = leading::behind_the_command(std::env::args_os());
    Cli::from_arg_matches(&command.get_matches_from(words)).unwrap_or_else(|error| error.exit())
}

/// Runs the command.
///
/// # Errors
/// The command failed; the message is for the user.
pub fn run(cli: Cli) -> Result<(), Failure> {
    // Every TLS stack in the process uses ring; a second provider would leave the choice open.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // Files of a checkout become part of images with their modes, and any user of a container must be able to read them.
    // Private files are created with a mode of their own.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    match cli.command {
        Command::Crds => Ok(std::io::stdout().write_all(crds::yaml()?.as_bytes())?),
        Command::Backup(args) => Ok(block_on(backup::backup(args))?),
        Command::Restore(args) => Ok(backup::restore(&args)?),
        Command::Up(up) => {
            start_log(&up.logging)?;
            let (config, _held) = Config::new(up.controller, Some(up.listen)).map_err(anyhow::Error::new)?;
            Ok(block_on(app::up(config))?)
        }
        Command::Controller(args) => {
            start_log(&args.logging)?;
            let (config, _held) = Config::new(args.controller, None).map_err(anyhow::Error::new)?;
            let aggregation = args.api_listen.map(|address| (address, args.api_service));
            Ok(block_on(app::controller(config, aggregation, args.lease))?)
        }
        Command::Client(command) => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(client::run(command, Cli::command())),
    }
}

fn start_log(logging: &Logging) -> anyhow::Result<()> {
    telemetry::init(&logging.log, logging.log_format == "json").map_err(anyhow::Error::msg)
}

fn block_on(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?
        .block_on(work)
}
