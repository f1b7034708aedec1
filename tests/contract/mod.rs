//! One suite for each trait, run on every implementation of it: on the fakes in `in_process`, on the engine in `docker`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]
#![allow(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "each test binary uses one side of the suites"
)]

pub mod builder_contract;
pub mod forge_contract;
pub mod runtime_contract;

/// The socket of the machine's Docker Engine.
pub const SOCKET: &str = "/var/run/docker.sock";
