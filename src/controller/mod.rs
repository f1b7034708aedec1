//! The loop: what wakes an Application or a GitProvider, and what a pass has at hand.

pub mod application;
pub mod build_job;
pub mod dangling_release;
mod deploy;
pub mod dereference;
pub mod execute;
pub mod finalizer;
pub mod gc;
pub mod git_provider;
pub mod job_queue;
pub mod kinds;
pub mod lookup;
pub mod observe;
pub mod origin;
pub mod pull_journal;
pub mod remote;
pub mod report;
pub mod resolve;
pub mod watch;

use std::path::PathBuf;
use std::sync::Arc;

use kube::Client;
use kube::runtime::reflector::Store;

use crate::api::{Application, GitProvider, Reason};
use crate::error::{Class, Problem, chain};
use crate::forge::Forges;
use crate::metrics::Metrics;
use crate::plan::desired::Install;
use crate::runtime::Runtime;

use build_job::Tools;
use gc::Orphans;
use job_queue::Jobs;
use pull_journal::Pulls;
use report::Report;
use resolve::Resolver;

/// What every pass has at hand.
pub struct Ctx {
    /// The API server.
    pub client: Client,
    /// What this installation is.
    pub install: Install,
    /// Finds sources.
    pub resolver: Resolver,
    /// Long work.
    pub jobs: Jobs,
    /// What long work needs.
    pub tools: Tools,
    /// Where containers run.
    pub runtime: Arc<dyn Runtime>,
    /// The only writer of status.
    pub report: Report,
    /// Counters.
    pub metrics: Metrics,
    /// Where the logs of Releases are.
    pub log_dir: PathBuf,
    /// What was left to run without an owner.
    pub orphans: Orphans,
    /// What is being pulled.
    pub pulls: Pulls,
    /// All Applications, for what depends on something that changed.
    pub applications: Store<Application>,
    /// All GitProviders.
    pub providers: Store<GitProvider>,
    /// The connections to forges.
    pub forges: Forges,
}

/// Why a pass could not be finished.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused or did not answer.
    #[error("speak to the API server")]
    Cluster(#[from] kube::Error),
}

/// An error of the API server as a problem of the object that needed it.
pub fn cluster_problem(doing: &str, error: &kube::Error) -> Problem {
    let message = match error {
        kube::Error::Api(status) => format!("{doing}: {}", status.message),
        other => format!("{doing}: {}", chain(other)),
    };
    let class = match error {
        kube::Error::Api(status)
            if (400..500).contains(&status.code) && !matches!(status.code, 409 | 429) =>
        {
            Class::Terminal
        }
        _ => Class::Transient,
    };
    Problem::new(class, Reason::ClusterUnavailable, message)
}

/// An error of the file system as a problem of the object that needed it.
pub fn io_problem(doing: &str, error: &std::io::Error) -> Problem {
    let reason = if error.kind() == std::io::ErrorKind::StorageFull {
        Reason::DiskFull
    } else {
        Reason::Internal
    };
    Problem::new(Class::Transient, reason, format!("{doing}: {error}"))
}
