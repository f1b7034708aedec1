//! The loop in process: our API server in memory, an engine and a builder in memory, Git for real.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::too_many_lines,
    reason = "a test tells one story from its beginning to its end"
)]

#[path = "../common/mod.rs"]
mod common;

mod bounds;
mod crashes;
mod engine;
mod hands;
mod inputs;
mod mishaps;
mod rig;
mod rollouts;
mod stories;
mod suspended;
mod words;
