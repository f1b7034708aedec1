//! One suite for each trait, run on every implementation of it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "what fails here is a failed test"
)]

#[path = "../common/mod.rs"]
mod common;

mod builder;
mod builder_promises;
mod forge;
mod forge_answers;
mod runtime;
mod runtime_docker;
