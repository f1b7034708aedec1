//! The controller in process: the API server, a fake engine and a fake builder in memory, and real Git repositories.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::too_many_lines,
    reason = "a test tells one story from its beginning to its end"
)]

mod build_types;
mod crashes;
mod drift;
mod failures;
mod forges;
pub mod harness;
mod hooks;
mod lifecycle;
mod preview_deliveries;
mod previews;
mod redaction;
mod registries;
mod rollback;
mod rollouts;
mod routes;
mod suspended;
mod triggers;
mod validation;
mod webhooks;
mod write_budget;
