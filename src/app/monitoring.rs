//! The endpoints of the controller itself: health checks, metrics, subresources, and the receiver of webhooks.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use kube::Client;
use tokio_util::sync::CancellationToken;

use super::usage_series;
use crate::api::{Application, ConditionType, GitProvider, condition};
use crate::config::Config;
use crate::controller::job_queue::Jobs;
use crate::controller::watch::Stores;
use crate::http::health::{Check, Health};
use crate::http::webhook::{self, Door, Index};
use crate::http::{self, Limits, Served};
use crate::metrics::{Gauges, Metrics};
use crate::subresources::Subresources;

/// Counters, the state of health checks, subresources, and the receiver of webhooks. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Monitoring {
    /// For the API group of subresources.
    pub subresources: Subresources,
    /// For `/metrics`.
    pub metrics: Metrics,
    /// For `/livez` and `/readyz`.
    pub health: Health,
    /// Receives deliveries of webhooks once the caches exist.
    pub webhooks: Door,
}

impl From<Metrics> for Monitoring {
    fn from(metrics: Metrics) -> Self {
        Self {
            metrics,
            ..Self::default()
        }
    }
}

impl Monitoring {
    /// Serves what has a flag for its address, until the results are closed.
    pub(super) async fn serve(
        &self,
        config: &Config,
        stop: &CancellationToken,
    ) -> anyhow::Result<Vec<Served>> {
        let mut served = Vec::new();
        if let Some(address) = config.health_listen {
            let further = config.metrics_per_application.then(|| {
                let group = self.subresources.clone();
                http::metrics::Further::new(move || {
                    let group = group.clone();
                    Box::pin(async move { usage_series::text(&group).await })
                })
            });
            served.push(self.serve_health(address, further, stop).await?);
        }
        if let Some(address) = config.webhook_listen {
            let listener = http::bind("--webhook-listen", address).await?;
            tracing::info!(address = %listener.local_addr()?, "receiving webhooks");
            served.push(Served::start(listener, self.webhooks.router(), webhook::limits()));
        }
        Ok(served)
    }

    async fn serve_health(
        &self,
        address: SocketAddr,
        further: Option<http::metrics::Further>,
        stop: &CancellationToken,
    ) -> anyhow::Result<Served> {
        let listener = http::bind("--health-listen", address).await?;
        let router = self
            .health
            .clone()
            .router()
            .merge(http::metrics::router(self.metrics.clone(), further));
        tracing::info!(address = %listener.local_addr()?, "serving health checks and metrics");
        let (stop, health) = (stop.clone(), self.health.clone());
        tokio::spawn(async move {
            stop.cancelled().await;
            health.set(Check::Running, false);
        });
        Ok(Served::start(listener, router, Limits::default()))
    }

    /// Receives deliveries of webhooks from now on.
    pub(super) fn receive(&self, stores: &mut Stores, client: &Client) {
        let index = Index::default();
        let followed = index.clone();
        stores.observe(Box::new(move |event| followed.observe(event)));
        let sources = webhook::Sources {
            client: client.clone(),
            applications: stores.applications.clone(),
            providers: stores.providers.clone(),
            listed: stores.listed.clone(),
            index,
        };
        self.webhooks.open(sources, self.metrics.clone());
    }

    /// Reads gauges from the caches, and is ready once they are filled.
    pub(super) fn observe(&self, stores: &Stores, jobs: &Jobs) {
        let ([applications, providers], health) = (stores.listed.clone(), self.health.clone());
        tokio::spawn(async move {
            futures::join!(applications.cancelled(), providers.cancelled());
            health.set(Check::Caches, true);
        });
        let applications = stores.applications.clone();
        self.metrics.add_gauges(Gauges::new(
            "davit_applications",
            "Applications by phase",
            "phase",
            move || {
                let phase =
                    |app: &Application| app.status.as_ref().map(|status| status.phase).unwrap_or_default();
                count(
                    applications
                        .state()
                        .iter()
                        .map(|app| format!("{:?}", phase(app)).to_lowercase()),
                )
            },
        ));
        let providers = stores.providers.clone();
        self.metrics.add_gauges(Gauges::new(
            "davit_gitproviders",
            "GitProviders by status of Ready",
            "ready",
            move || {
                let ready = |provider: &GitProvider| {
                    let conditions = provider
                        .status
                        .as_ref()
                        .map(|status| status.conditions.as_slice());
                    let ready = conditions.and_then(|all| condition::find(all, ConditionType::Ready));
                    ready.map_or_else(|| "Unknown".to_owned(), |ready| ready.status.clone())
                };
                count(providers.state().iter().map(|provider| ready(provider)))
            },
        ));
        let jobs = jobs.clone();
        self.metrics.add_gauges(Gauges::new(
            "davit_builds",
            "Builds and pulls by state",
            "state",
            move || {
                let (working, waiting) = jobs.counts();
                [("working", working), ("waiting", waiting)]
                    .map(|(state, number)| (state.to_owned(), i64::try_from(number).unwrap_or(i64::MAX)))
                    .into()
            },
        ));
    }
}

fn count(values: impl Iterator<Item = String>) -> Vec<(String, i64)> {
    let mut counts = BTreeMap::new();
    for value in values {
        *counts.entry(value).or_default() += 1;
    }
    counts.into_iter().collect()
}
