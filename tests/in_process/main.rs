//! The controller in the test's own process, and the contracts of the traits on their fakes.

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
mod controller;
mod converge;

mod builder_contract {
    crate::contract::builder_contract::builder_contract!(crate::contract::builder_contract::Bench::fake(
        "promise"
    ));
}

mod runtime_contract {
    crate::contract::runtime_contract::runtime_contract!(crate::contract::runtime_contract::Rig::fake());
}
