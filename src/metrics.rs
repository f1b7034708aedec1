//! What the controller counts, for `/metrics` and for tests. Labels come from enums and kinds only, so that their number is
//! bounded.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::api::Reason;

/// A kind of object.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KindLabel {
    kind: String,
}

/// The type and reason of an Event.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct EventLabels {
    r#type: String,
    reason: String,
}

/// The end of a Release.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabels {
    phase: String,
    reason: String,
}

/// The phase that a Release ended in.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PhaseLabel {
    phase: String,
}

/// What became of a delivery of a webhook.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct DeliveryLabel {
    result: &'static str,
}

/// What the controller counts. Clones share the counters.
#[derive(Clone, Debug)]
pub struct Metrics {
    reconciles: Family<KindLabel, Counter>,
    reconciles_running: Family<KindLabel, Gauge>,
    reconcile_errors: Counter,
    status_writes: Family<KindLabel, Counter>,
    events: Family<EventLabels, Counter>,
    releases: Family<OutcomeLabels, Counter>,
    release_duration: Family<PhaseLabel, Histogram>,
    deliveries: Family<DeliveryLabel, Counter>,
    build_cache: Gauge,
    registry: Arc<Mutex<Registry>>,
}

impl Default for Metrics {
    fn default() -> Self {
        let metrics = Self {
            registry: Arc::default(),
            reconciles: Family::default(),
            reconciles_running: Family::default(),
            reconcile_errors: Counter::default(),
            status_writes: Family::default(),
            events: Family::default(),
            releases: Family::default(),
            // From half a second to about half an hour.
            release_duration: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.5, 2.0, 13))
            }),
            deliveries: Family::default(),
            build_cache: Gauge::default(),
        };
        metrics.register(&mut metrics.registry.lock());
        metrics
    }
}

impl Metrics {
    /// Adds gauges to what [`Self::encode`] writes.
    pub fn add_gauges(&self, gauges: Gauges) {
        self.registry.lock().register_collector(Box::new(gauges));
    }

    /// Returns all metrics in the text format of OpenMetrics.
    ///
    /// # Errors
    /// A collector failed.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry.lock())?;
        Ok(text)
    }

    /// The names of counters get the suffix `_total`.
    fn register(&self, registry: &mut Registry) {
        let version = vec![("version", env!("CARGO_PKG_VERSION"))];
        registry.register("davit_build", "Version of Davit", Info::new(version));
        registry.register(
            "davit_reconciles",
            "Reconciles by kind of object",
            self.reconciles.clone(),
        );
        registry.register(
            "davit_reconciles_running",
            "Reconciles that run now, by kind of object",
            self.reconciles_running.clone(),
        );
        registry.register(
            "davit_reconcile_errors",
            "Reconciles that could not be finished and are repeated",
            self.reconcile_errors.clone(),
        );
        registry.register(
            "davit_status_writes",
            "Writes of status by kind of object",
            self.status_writes.clone(),
        );
        registry.register(
            "davit_events",
            "Events sent, by type and reason",
            self.events.clone(),
        );
        registry.register(
            "davit_releases",
            "Releases that ended, by phase and reason",
            self.releases.clone(),
        );
        registry.register(
            "davit_release_duration_seconds",
            "Time from the start to the end of a Release, by the phase that it ended in",
            self.release_duration.clone(),
        );
        registry.register(
            "davit_webhook_deliveries",
            "Deliveries of webhooks that arrived, by result",
            self.deliveries.clone(),
        );
        registry.register(
            "davit_build_cache_bytes",
            "Size of the build cache after the last build; 0 before it",
            self.build_cache.clone(),
        );
    }

    /// Counts a reconcile of an object of this kind, which runs until the value is dropped.
    pub fn pass(&self, kind: &str) -> Pass {
        self.reconciles.get_or_create(&kind_label(kind)).inc();
        let running = self.reconciles_running.get_or_create(&kind_label(kind)).clone();
        running.inc();
        Pass { running }
    }

    /// Counts a reconcile that could not be finished.
    pub fn reconcile_error(&self) {
        self.reconcile_errors.inc();
    }

    /// Counts a write of a status of this kind.
    pub fn status_write(&self, kind: &str) {
        self.status_writes.get_or_create(&kind_label(kind)).inc();
    }

    /// Counts an Event.
    pub fn event(&self, warning: bool, reason: Reason) {
        let labels = EventLabels {
            r#type: if warning { "Warning" } else { "Normal" }.to_owned(),
            reason: reason.to_string(),
        };
        self.events.get_or_create(&labels).inc();
    }

    /// Records the size of the build cache, in bytes.
    pub fn build_cache(&self, bytes: u64) {
        self.build_cache.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Counts a delivery of a webhook.
    pub fn delivery(&self, result: &'static str) {
        self.deliveries.get_or_create(&DeliveryLabel { result }).inc();
    }

    /// Counts a Release that ended, and how long it took if it began.
    pub fn release_ended(&self, phase: crate::api::ReleasePhase, reason: Reason, took: Option<Duration>) {
        let phase = format!("{phase:?}");
        if let Some(took) = took {
            let label = PhaseLabel { phase: phase.clone() };
            self.release_duration
                .get_or_create(&label)
                .observe(took.as_secs_f64());
        }
        let labels = OutcomeLabels {
            phase,
            reason: reason.to_string(),
        };
        self.releases.get_or_create(&labels).inc();
    }

    /// Returns the number of reconciles of a kind.
    pub fn passes(&self, kind: &str) -> u64 {
        self.reconciles.get_or_create(&kind_label(kind)).get()
    }

    /// Returns the number of reconciles of a kind that run now.
    pub fn running(&self, kind: &str) -> i64 {
        self.reconciles_running.get_or_create(&kind_label(kind)).get()
    }

    /// Returns the number of writes of status of a kind.
    pub fn writes(&self, kind: &str) -> u64 {
        self.status_writes.get_or_create(&kind_label(kind)).get()
    }
}

/// A reconcile that runs.
#[derive(Debug)]
#[must_use = "the reconcile counts as ended when this value is dropped"]
pub struct Pass {
    running: Gauge,
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.running.dec();
    }
}

fn kind_label(kind: &str) -> KindLabel {
    KindLabel {
        kind: kind.to_owned(),
    }
}

type Read = dyn Fn() -> Vec<(String, i64)> + Send + Sync;

/// Gauges whose values are read from caches when they are asked for: one for each value of a label.
#[derive(Clone)]
pub struct Gauges {
    name: &'static str,
    help: &'static str,
    label: &'static str,
    read: Arc<Read>,
}

impl Gauges {
    /// Returns gauges that `read` computes as pairs of label value and number.
    pub fn new(
        name: &'static str,
        help: &'static str,
        label: &'static str,
        read: impl Fn() -> Vec<(String, i64)> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name,
            help,
            label,
            read: Arc::new(read),
        }
    }
}

impl fmt::Debug for Gauges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Collector for Gauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let values = (self.read)();
        if values.is_empty() {
            return Ok(());
        }
        let kind = prometheus_client::metrics::MetricType::Gauge;
        let mut metric = encoder.encode_descriptor(self.name, self.help, None, kind)?;
        for (value, number) in values {
            let labels = [(self.label, value)];
            ConstGauge::new(number).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::ReleasePhase;

    #[test]
    fn every_metric_is_encoded_under_its_name() {
        let metrics = Metrics::default();
        drop(metrics.pass("Application"));
        let _running = metrics.pass("Application");
        metrics.reconcile_error();
        metrics.status_write("Release");
        metrics.event(true, Reason::BuildFailed);
        metrics.release_ended(
            ReleasePhase::Failed,
            Reason::BuildFailed,
            Some(Duration::from_secs(3)),
        );
        metrics.release_ended(ReleasePhase::Cancelled, Reason::Cancelled, None);
        let gauges = Gauges::new("davit_applications", "Applications", "phase", || {
            vec![("done".to_owned(), 2)]
        });
        metrics.add_gauges(gauges);
        let text = metrics.encode().unwrap();
        for line in [
            r#"davit_reconciles_total{kind="Application"} 2"#,
            r#"davit_reconciles_running{kind="Application"} 1"#,
            "davit_reconcile_errors_total 1",
            r#"davit_status_writes_total{kind="Release"} 1"#,
            r#"davit_events_total{type="Warning",reason="BuildFailed"} 1"#,
            r#"davit_releases_total{phase="Failed",reason="BuildFailed"} 1"#,
            r#"davit_releases_total{phase="Cancelled",reason="Cancelled"} 1"#,
            r#"davit_release_duration_seconds_bucket{le="4.0",phase="Failed"} 1"#,
            r#"davit_release_duration_seconds_count{phase="Failed"} 1"#,
            r#"davit_applications{phase="done"} 2"#,
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is not in\n{text}"
            );
        }
        assert!(
            text.contains("davit_build_info{version=") && text.ends_with("# EOF\n"),
            "{text}"
        );
    }
}
