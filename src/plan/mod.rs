//! Decides what to do next: a pure and total function from what was observed to actions, and what those come to.

mod action;
pub mod application_status;
pub mod backoff;
mod capabilities;
mod conditions;
mod containers;
mod create_release;
pub mod deployment;
mod describe;
pub mod desired;
mod end_release;
pub mod endpoint;
pub mod env_expansion;
pub mod fingerprint;
mod health;
mod input;
mod job_spec;
mod limits;
pub mod pin;
mod planner;
mod ports;
mod progress_deadline;
mod quantities;
mod record;
mod redaction;
pub mod release_status;
mod requeue;
pub mod retry;
mod reuse_job;
pub mod source_kind;
pub mod state;
mod step;
pub mod trigger;
mod value_origin;
pub mod values;
pub mod watch_paths;

#[cfg(test)]
mod tests;

pub use action::{Action, CancelReason, CreateReason, Plan, ReleaseOutcome};
pub use containers::{count, hash_of, is_fully_rolled_out, needs_containers};
pub use create_release::{numbers, release_name};
pub use input::{Decision, DesiredState, Inputs, Observed, PlanInput};
pub use job_spec::{BuildSpec, JobSpec, JobWork};
pub use planner::plan;
pub use progress_deadline::remaining_deadline;
pub use record::{ActionResult, Records, created, record};
pub use redaction::redaction_policy;
pub use requeue::requeue;
pub use step::Step;
pub use value_origin::{Origins, ValueOrigin};
