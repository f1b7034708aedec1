//! A commit or an image as something that can be built or run: resolved first, then fetched pinned.

mod checkout;
pub mod credential;
pub mod docker_config_json;
mod git;
pub mod image;
mod image_reference;

pub use checkout::Checkout;
pub use git::{
    Changes, CheckoutRequest, Connection, CredentialSource, Fields, Git, GitOptions, GitRemote, ResolvedRef,
    SourceError, become_ssh_if_called_so,
};
pub use image_reference::ImageName;
