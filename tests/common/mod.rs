//! The test servers of `davit-test-support`, and the real `davit up`.
#![allow(
    dead_code,
    unused_imports,
    reason = "every test binary uses some of the helpers"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "the harness starts the program that it tests"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a harness that fails is a failed test"
)]
#![allow(clippy::print_stderr, reason = "the harness reports what it cannot clean up")]

pub mod davit;

pub use davit_test_support::*;

/// Releases as JSON in their order: by number, those that have none yet at the end.
pub fn in_order(releases: Vec<::davit::api::Release>) -> Vec<serde_json::Value> {
    let mut all: Vec<_> = releases
        .into_iter()
        .map(|release| serde_json::to_value(release).unwrap())
        .collect();
    all.sort_by_key(|release| release["status"]["number"].as_i64().unwrap_or(i64::MAX));
    all
}
