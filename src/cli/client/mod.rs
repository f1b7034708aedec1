//! The commands that need only the API server: those of daily use.

mod app_registration;
pub mod args;
mod browser;
mod cancel;
mod changes;
pub mod commands;
mod complete;
mod completion;
mod connect;
mod connect_forge;
mod deploy;
mod drop;
mod exec;
mod follow;
mod history;
mod init;
mod init_file;
mod listing;
mod log_lines;
mod logs;
mod lookup;
mod lost;
mod oauth_sign_in;
mod output;
mod pack;
mod pick;
mod previews;
mod release_wait;
mod repair;
mod settle;
mod status;
mod subresource;
pub mod subresource_args;
mod terminal;
mod times;
mod top;
mod until;
mod upload;

pub use commands::ClientCommand;

use super::failure::Failure;

/// Runs the command. `root` is the definition of the command line.
///
/// # Errors
/// The command failed; the message is for the user.
pub async fn run(command: ClientCommand, root: clap::Command) -> Result<(), Failure> {
    match command {
        ClientCommand::Status(args) => Box::pin(status::status(args)).await,
        ClientCommand::History(args) => Box::pin(history::history(args)).await,
        ClientCommand::Deploy(args) => Box::pin(deploy::deploy(args)).await,
        ClientCommand::Redeploy(args) => Box::pin(deploy::redeploy(args)).await,
        ClientCommand::Rollback(args) => Box::pin(deploy::rollback(args)).await,
        ClientCommand::Cancel(args) => Box::pin(cancel::cancel(args)).await,
        ClientCommand::Stop(args) => Box::pin(changes::stop(args)).await,
        ClientCommand::Start(args) => Box::pin(changes::start(args)).await,
        ClientCommand::Restart(args) => Box::pin(changes::restart(args)).await,
        ClientCommand::Suspend(args) => Box::pin(changes::suspend(args)).await,
        ClientCommand::Resume(args) => Box::pin(changes::resume(args)).await,
        ClientCommand::Clear(args) => Box::pin(history::clear(args)).await,
        ClientCommand::Connect(args) => Box::pin(connect_forge::connect(args)).await,
        ClientCommand::Drop(args) => Box::pin(drop::drop(args)).await,
        ClientCommand::Exec(args) => Box::pin(exec::exec(args)).await,
        ClientCommand::Top(args) => Box::pin(top::top(args)).await,
        ClientCommand::Logs(args) => Box::pin(logs::logs(args)).await,
        ClientCommand::Repos(args) => Box::pin(listing::repos(args)).await,
        ClientCommand::Branches(args) => Box::pin(listing::branches(args)).await,
        ClientCommand::Previews(args) => Box::pin(previews::previews(args)).await,
        ClientCommand::Init(args) => init::init(&args),
        ClientCommand::Completion(args) => completion::completion(&args),
        ClientCommand::Complete(args) => Box::pin(complete::complete(root, &args.words)).await,
    }
}
