//! The commands that need only the API server: those of daily use.

pub mod args;
mod cancel;
mod changes;
pub mod commands;
mod complete;
mod connect;
mod deploy;
mod follow;
mod history;
mod init;
mod lookup;
mod nearest;
mod output;
mod pick;
mod release_wait;
mod status;
mod terminal;
mod times;

pub use commands::ClientCommand;

use super::failure::Failure;

/// Runs the command. `root` is the definition of the command line.
///
/// # Errors
/// The command failed; the message is for the user.
pub async fn run(command: ClientCommand, root: clap::Command) -> Result<(), Failure> {
    match command {
        ClientCommand::Status(args) => status::status(args).await,
        ClientCommand::History(args) => history::history(args).await,
        ClientCommand::Deploy(args) => deploy::deploy(args).await,
        ClientCommand::Redeploy(args) => deploy::redeploy(args).await,
        ClientCommand::Rollback(args) => deploy::rollback(args).await,
        ClientCommand::Cancel(args) => cancel::cancel(args).await,
        ClientCommand::Stop(args) => changes::stop(args).await,
        ClientCommand::Start(args) => changes::start(args).await,
        ClientCommand::Restart(args) => changes::restart(args).await,
        ClientCommand::Suspend(args) => changes::suspend(args).await,
        ClientCommand::Resume(args) => changes::resume(args).await,
        ClientCommand::Clear(args) => history::clear(args).await,
        ClientCommand::Init(args) => init::init(&args),
        ClientCommand::Complete(args) => complete::complete(root, &args.words).await,
    }
}
