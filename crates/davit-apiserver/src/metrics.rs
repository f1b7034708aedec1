//! What the server counts, under upstream's names and with the labels of its stable series.

use std::time::Duration;

use http::Method;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// Upstream's limits of the duration of a request, in seconds.
const DURATIONS: [f64; 23] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0,
    20.0, 30.0, 45.0, 60.0,
];

/// The labels of a request. Only resources that exist are named, so the number of series is bounded.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Labels {
    pub component: &'static str,
    pub dry_run: &'static str,
    pub group: String,
    pub resource: String,
    pub scope: &'static str,
    pub subresource: String,
    pub verb: &'static str,
    pub version: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Answered {
    code: u16,
    #[prometheus(flatten)]
    request: Labels,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Kind {
    request_kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Rejected {
    flow_schema: String,
    priority_level: String,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Leveled {
    priority_level: String,
}

impl Labels {
    /// Those of any other request.
    pub fn other(method: &Method) -> Self {
        let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
        let verb = known.into_iter().find(|known| method.as_str() == *known);
        Self {
            component: "apiserver",
            dry_run: "",
            group: String::new(),
            resource: String::new(),
            scope: "",
            subresource: String::new(),
            verb: verb.unwrap_or("other"),
            version: String::new(),
        }
    }

    /// Whether the answer goes on for as long as the client wants.
    pub fn is_long(&self) -> bool {
        self.verb == "WATCH"
    }

    fn kind(&self) -> Kind {
        let reads = matches!(self.verb, "GET" | "HEAD" | "LIST");
        Kind {
            request_kind: if reads { "readOnly" } else { "mutating" },
        }
    }
}

/// The counters of a server.
pub struct Metrics {
    requests: Family<Answered, Counter>,
    durations: Family<Labels, Histogram>,
    in_flight: Family<Kind, Gauge>,
    long_running: Family<Labels, Gauge>,
    rejected: Family<Rejected, Counter>,
    level_seats: Family<Leveled, Gauge>,
    pub registry: Registry,
}

/// A running request: the gauge shows it until this is dropped.
pub struct Running(Gauge);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            requests: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(DURATIONS)),
            in_flight: Family::default(),
            long_running: Family::default(),
            rejected: Family::default(),
            level_seats: Family::default(),
            registry: Registry::default(),
        };
        let registry = &mut metrics.registry;
        registry.register(
            "apiserver_request",
            "Requests by verb, dry run, group, version, resource, scope and code of the answer",
            metrics.requests.clone(),
        );
        registry.register(
            "apiserver_request_duration_seconds",
            "Time from a request to its answer, without the sending of the answer",
            metrics.durations.clone(),
        );
        registry.register(
            "apiserver_current_inflight_requests",
            "Requests that are worked on, without those that go on for long",
            metrics.in_flight.clone(),
        );
        registry.register(
            "apiserver_longrunning_requests",
            "Requests that go on for long, such as watches",
            metrics.long_running.clone(),
        );
        registry.register(
            "apiserver_flowcontrol_rejected_requests",
            "Requests that priority and fairness refused",
            metrics.rejected.clone(),
        );
        registry.register(
            "apiserver_flowcontrol_nominal_limit_seats",
            "Seats of each priority level in proportion to its shares",
            metrics.level_seats.clone(),
        );
        metrics
    }
}

impl Metrics {
    /// Counts a request as running.
    pub fn started(&self, method: &Method) -> Running {
        let gauge = self.in_flight.get_or_create_owned(&Labels::other(method).kind());
        gauge.inc();
        Running(gauge)
    }

    /// Counts a watch as running.
    pub fn long_running(&self, labels: &Labels) -> Running {
        let gauge = self.long_running.get_or_create_owned(labels);
        gauge.inc();
        Running(gauge)
    }

    /// Counts an answered request.
    pub fn answered(&self, labels: Labels, code: u16, took: Duration) {
        if !labels.is_long() {
            self.durations.get_or_create(&labels).observe(took.as_secs_f64());
        }
        let answered = Answered {
            code,
            request: labels,
        };
        self.requests.get_or_create(&answered).inc();
    }

    /// Counts a request that found no seat.
    pub fn rejected(&self, flow_schema: &str, priority_level: &str, reason: &'static str) {
        let labels = Rejected {
            flow_schema: flow_schema.to_owned(),
            priority_level: priority_level.to_owned(),
            reason,
        };
        self.rejected.get_or_create(&labels).inc();
    }

    /// Shows the seats of these levels, and of no others.
    pub fn set_levels<'a>(&self, levels: impl Iterator<Item = (&'a str, usize)>) {
        self.level_seats.clear();
        for (level, seats) in levels {
            let labels = Leveled {
                priority_level: level.to_owned(),
            };
            let seats = i64::try_from(seats).unwrap_or(i64::MAX);
            self.level_seats.get_or_create(&labels).set(seats);
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn requests_are_counted_by_code_and_shown_while_they_run() {
        let metrics = Metrics::default();
        let text = || {
            let mut text = String::new();
            encode(&mut text, &metrics.registry).unwrap();
            text
        };
        let running = metrics.started(&Method::POST);
        assert!(text().contains("apiserver_current_inflight_requests{request_kind=\"mutating\"} 1\n"));
        drop(running);
        assert!(text().contains("apiserver_current_inflight_requests{request_kind=\"mutating\"} 0\n"));
        let labels = || Labels {
            verb: "PUT",
            resource: "widgets".into(),
            ..Labels::other(&Method::PUT)
        };
        metrics.answered(labels(), 200, Duration::from_millis(30));
        metrics.answered(labels(), 409, Duration::from_millis(3));
        let text = text();
        let counted = |code: u16| {
            format!(
                "apiserver_request_total{{code=\"{code}\",component=\"apiserver\",dry_run=\"\",group=\"\",\
                 resource=\"widgets\",scope=\"\",subresource=\"\",verb=\"PUT\",version=\"\"}} 1\n"
            )
        };
        assert!(
            text.contains(&counted(200)) && text.contains(&counted(409)),
            "{text}"
        );
        let below = text.lines().find(|line| line.contains("le=\"0.025\"")).unwrap();
        assert!(below.ends_with(" 1"), "{below}");
    }
}
