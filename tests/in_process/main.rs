//! The controller in the test's own process, and the contracts of the traits on their fakes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

mod archives;
#[path = "../common/mod.rs"]
mod common;
#[path = "../contract/mod.rs"]
mod contract;
mod controller;
mod converge;
mod deliveries;
mod forge_contract;
mod subresources;
mod uploads;

mod builder_contract {
    crate::contract::builder_contract::builder_contract!(crate::contract::builder_contract::Harness::fake(
        "promise"
    ));
}

mod orchestrator_contract {
    crate::contract::runtime_contract::runtime_contract! {
        crate::contract::runtime_contract::Harness::orchestrator() =>
        replicas_serve_and_a_second_deploy_changes_nothing
        previous_container_serves_until_the_new_one_is_healthy
        scaling_does_not_touch_other_replicas
        completed_container_is_kept_and_reported
        crash_loop_is_not_healthy
        log_tail_of_a_failed_container_keeps_lines_and_hides_secrets
        container_that_cannot_start_reports_the_cause
        removed_application_leaves_only_volumes
        application_of_the_same_name_adopts_nothing
    }
}

mod runtime_contract {
    crate::contract::runtime_contract::runtime_contract!(crate::contract::runtime_contract::Harness::fake());
}
