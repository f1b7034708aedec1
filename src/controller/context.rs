//! What every reconcile needs.

use std::path::PathBuf;
use std::sync::Arc;

use kube::Client;
use kube::runtime::reflector::Store;

use crate::api::{Application, GitProvider};
use crate::forge::Forges;
use crate::metrics::Metrics;
use crate::plan::desired::Install;
use crate::runtime::Runtime;

use super::commit_statuses::CommitStatuses;
use super::hooks::Hooks;
use super::job_queue::Jobs;
use super::orphans::Orphans;
use super::preview::state::Previews;
use super::pull_journal::Pulls;
use super::registries::Registries;
use super::report::Report;
use super::resolve::Resolver;
use super::routes::Routes;
use super::suspects::Suspects;
use super::tools::Tools;

/// What every reconcile needs.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// What this installation is.
    pub install: Install,
    /// Resolves sources.
    pub resolver: Resolver,
    /// Reports the statuses of commits.
    pub commit_statuses: CommitStatuses,
    /// Previews of pull requests.
    pub previews: Previews,
    /// Builds and pulls.
    pub jobs: Jobs,
    /// What jobs need.
    pub tools: Tools,
    /// The runtime of the containers.
    pub runtime: Arc<dyn Runtime>,
    /// The only writer of status.
    pub report: Report,
    /// Counters.
    pub metrics: Metrics,
    /// The directory of the logs of Releases.
    pub log_dir: PathBuf,
    /// The Applications whose containers were left without an owner.
    pub orphans: Orphans,
    /// The pulls under way.
    pub pulls: Pulls,
    /// All Applications.
    pub applications: Store<Application>,
    /// All GitProviders.
    pub providers: Store<GitProvider>,
    /// The GitProviders whose credential a server has refused.
    pub suspects: Suspects,
    /// The connections to forges.
    pub forges: Forges,
    /// The hooks that are registered at forges.
    pub hooks: Hooks,
    /// The registries of built images.
    pub registries: Registries,
    /// The routes, if this Davit has a reverse proxy.
    pub routes: Option<Arc<Routes>>,
}
