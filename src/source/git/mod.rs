//! Git repositories: what a ref names now, and a commit's files as a directory.

mod cache;
mod client;
mod command;
mod compare;
mod error;
mod errors;
mod fetch;
mod gitmodules;
mod job;
mod lfs;
mod lfs_client;
mod lfs_pointer;
mod message;
mod options;
mod remote;
mod resolve;
mod ssh;
mod submodules;
mod tags;
mod url;

pub use client::Git;
pub use compare::Changes;
pub use error::SourceError;
pub use options::{CheckoutRequest, GitOptions};
pub use remote::{Connection, CredentialSource, Fields, GitRemote, ResolvedRef};
pub use ssh::become_ssh_if_called_so;
