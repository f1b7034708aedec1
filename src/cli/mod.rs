//! The command line: one call for each command.

pub mod args;
mod backup;
mod crds;

use std::io::Write as _;

pub use args::{Cli, Command, RuntimeKind};

use crate::config::Config;
use crate::{app, telemetry};

/// Runs the command.
///
/// # Errors
/// The command failed; the message is for the user.
pub fn run(cli: Cli) -> anyhow::Result<()> {
    // Every TLS stack in the process uses ring; a second provider would leave the choice open.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // Files of a checkout become part of images with their modes, and any user of a container must be able to read them.
    // Private files are created with a mode of their own.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    match cli.command {
        Command::Crds => Ok(std::io::stdout().write_all(crds::yaml()?.as_bytes())?),
        Command::Backup(args) => block_on(backup::backup(args)),
        Command::Restore(args) => backup::restore(&args),
        Command::Up(up) => {
            telemetry::init(&cli.log, cli.log_format == "json").map_err(anyhow::Error::msg)?;
            let (config, _held) = Config::new(up.controller, Some(up.listen))?;
            block_on(app::up(config))
        }
        Command::Controller(controller) => {
            telemetry::init(&cli.log, cli.log_format == "json").map_err(anyhow::Error::msg)?;
            let (config, _held) = Config::new(controller, None)?;
            block_on(app::controller(config))
        }
    }
}

fn block_on(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?
        .block_on(work)
}
