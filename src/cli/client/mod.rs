//! The commands that need only the API server: those of daily use.

pub mod args;
mod connect;
mod deploy;
mod lookup;
mod nearest;
mod output;
mod release_wait;
mod status;
mod terminal;
mod times;

pub use args::ClientCommand;

use super::failure::Failure;

/// Runs the command.
///
/// # Errors
/// The command failed; the message is for the user.
pub async fn run(command: ClientCommand) -> Result<(), Failure> {
    match command {
        ClientCommand::Status(args) => status::status(args).await,
        ClientCommand::Deploy(args) => deploy::deploy(args).await,
    }
}
