//! A commit or an upload as something that can be built: resolved first, then fetched pinned; and what the credentials in
//! Secrets mean.

pub mod archive;
mod block_writer;
mod checkout;
pub mod credential;
mod dir_files;
mod disk_room;
pub mod docker_config_json;
mod git;
mod outcomes;
mod sent;
pub mod uploads;

pub use checkout::Checkout;
pub use git::{
    Changes, CheckoutRequest, Connection, CredentialSource, Fields, Git, GitOptions, GitRemote, ResolvedRef,
    SourceError, become_ssh_if_called_so,
};
