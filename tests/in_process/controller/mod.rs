//! The loop in process: our API server in memory, an engine and a builder in memory, Git for real.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::too_many_lines,
    reason = "a test tells one story from its beginning to its end"
)]

mod crashes;
mod drift;
mod failures;
mod harness;
mod lifecycle;
mod redaction;
mod rollouts;
mod suspended;
mod validation;
mod write_budget;
