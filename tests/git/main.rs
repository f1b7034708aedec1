//! Sources and forges: real Git servers, a real Gitea, a real image registry.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a failed expectation is a failed test"
)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../contract/forge_contract.rs"]
mod forge_contract;

mod commands;
mod connect;
mod forge;
mod forge_responses;
mod forges;
mod listing;
mod previews;
#[path = "../docker/cli/session.rs"]
mod session;
mod source_git;
mod source_image;
mod sources;
mod triggers;
