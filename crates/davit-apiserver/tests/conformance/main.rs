//! The API server beside the real kube-apiserver: `make test-peers` builds kube-apiserver, etcd and kubectl and runs
//! this. Behind the feature `peers`, since those builds take minutes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::too_many_lines,
    clippy::disallowed_methods,
    clippy::needless_pass_by_value,
    reason = "tests start programs, list many rows, and panic where something is wrong"
)]

#[allow(dead_code, reason = "only the recorded differences are compared here")]
#[path = "../it/accepted.rs"]
mod accepted;
mod clients;
#[path = "../it/commands/mod.rs"]
mod commands;
#[path = "commands.rs"]
mod commands_live;
#[path = "../it/compare/mod.rs"]
mod compare;
#[path = "compare.rs"]
mod compare_live;
mod e2e;
mod metrics;
mod pure;
#[allow(dead_code, reason = "only a served API server is wanted here")]
#[path = "../it/support.rs"]
mod support;
