//! The commands that need only the API server: those of daily use.

mod app_registration;
pub mod args;
mod connect;
mod connect_forge;
mod deploy;
mod listing;
mod log_lines;
mod logs;
mod lookup;
mod nearest;
mod output;
mod release_wait;
mod status;
mod subresource;
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
        ClientCommand::Connect(args) => connect_forge::connect(args).await,
        ClientCommand::Logs(args) => logs::logs(args).await,
        ClientCommand::Repos(args) => listing::repos(args).await,
        ClientCommand::Branches(args) => listing::branches(args).await,
    }
}
