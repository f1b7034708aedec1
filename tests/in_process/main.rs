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

mod orchestrator_contract {
    crate::contract::runtime_contract::runtime_contract! {
        crate::contract::runtime_contract::Rig::orchestrator() =>
        as_many_as_wanted_serve_and_nothing_changes_then
        the_old_one_serves_until_the_new_one_is_well
        replicas_come_and_go_without_touching_the_others
        what_ended_by_its_policy_is_left_and_told
        a_crash_loop_is_not_healthy
        log_tail_of_a_failed_container_keeps_lines_and_hides_secrets
        what_cannot_run_says_why
        removed_means_gone_but_for_volumes
        a_namesake_takes_nothing_over
    }
}

mod runtime_contract {
    crate::contract::runtime_contract::runtime_contract!(crate::contract::runtime_contract::Rig::fake());
}
