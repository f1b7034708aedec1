//! The API server, driven in process, by kube as a client, and by the real kubectl over TLS.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::too_many_lines,
    clippy::needless_pass_by_value,
    reason = "helpers of tests panic as tests do, and a case is as long as its story"
)]

mod accepted;
mod access;
mod apply;
mod backup;
mod basics;
mod burst;
mod clients;
mod commands;
mod commands_recorded;
mod compare;
mod compare_recorded;
mod crash;
mod custom;
mod flow_schemas;
mod fuzz;
mod fuzzed;
mod gc;
mod kill;
mod kubectl;
mod kubectl_debian;
mod large_lists;
mod layering;
mod limits;
mod metrics;
mod mounted;
mod services;
mod support;
mod truth;
mod watch;
