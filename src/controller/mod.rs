//! The controller: reconciles Applications and GitProviders.

pub mod application;
pub mod build_job;
pub mod commit_statuses;
pub mod context;
pub mod dangling_release;
pub mod dereference;
pub mod execute;
pub mod finalizer;
pub mod gc;
pub mod git_provider;
pub mod hooks;
mod job_failure;
pub mod job_queue;
pub mod logs;
pub mod observe;
pub mod orphans;
pub mod problem;
pub mod provider_use;
pub mod provider_webhook;
pub mod pull_journal;
pub mod registries;
pub mod report;
pub mod resolve;
mod token_secret;
pub mod tools;
pub mod uploads;
pub mod watch;
