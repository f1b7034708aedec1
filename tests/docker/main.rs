//! Everything that needs a Docker Engine: the contracts of the traits on the real one, and `davit up` from the user's side.
//!
//! The tests share the machine's engine and run at the same time. Each has an instance name and a namespace of its own and
//! removes only what bears them. Three kinds of tests need more, and keep it without a lock:
//!
//! - a test that stops an engine or fills its disk (`outage`) starts an engine of its own (`davit_test_support::engine`);
//! - a test of a process-wide value, such as resident memory, runs again as the only test of a new process
//!   (`common::in_own_process`);
//! - environment variables and the umask are set on the program that a test starts, never on the test's process.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../contract/mod.rs"]
mod contract;

mod backup;
mod bad_input;
mod builder;
mod chaos;
mod cli;
mod container_image;
mod docker_rollout;
mod end_to_end;
mod examples;
mod features;
mod kubectl_session;
mod outage;
mod runtime;
mod swarm;
mod webhooks;

mod builder_contract {
    crate::contract::builder_contract::builder_contract!(crate::contract::builder_contract::Harness::docker(
        "promise"
    ));
}

mod runtime_contract {
    crate::contract::runtime_contract::runtime_contract!(crate::contract::runtime_contract::Harness::docker(
        "rt"
    ));
}
