//! What Applications use, as series of `/metrics`: measured when they are read, and only with `--metrics-per-application`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use kube::ResourceExt as _;

use crate::controller::context::Context;
use crate::model::AppId;
use crate::model::requests::Requests;
use crate::runtime::{CpuUsage, Traffic, Usage};
use crate::subresources::Subresources;

/// The most Applications with series.
const MOST: usize = 500;
/// How many Applications are measured at the same time.
const AT_ONCE: usize = 8;
/// The longest that one read may take: Prometheus waits for 10 seconds by default.
const PATIENCE: Duration = Duration::from_secs(8);

/// A series: its name, its type, its description, and its value for one Application.
type Series = (
    &'static str,
    &'static str,
    &'static str,
    fn(&[Usage]) -> Option<f64>,
);

const SERIES: [Series; 9] = [
    (
        "davit_application_cpu_seconds",
        "counter",
        "CPU time of the running containers",
        |usages| {
            let times = usages.iter().map(|usage| match usage.cpu {
                CpuUsage::Total(time) => Some(time.as_secs_f64()),
                CpuUsage::Rate(_) => None,
            });
            times.sum()
        },
    ),
    (
        "davit_application_memory_bytes",
        "gauge",
        "Memory of the running containers, without the cache of files",
        |usages| Some(sum(usages.iter().map(|usage| usage.memory))),
    ),
    (
        "davit_application_memory_limit_bytes",
        "gauge",
        "Limit of that memory, if every container has one",
        |usages| {
            let limits: Option<Vec<u64>> = usages.iter().map(|usage| usage.memory_limit).collect();
            limits
                .filter(|limits| !limits.is_empty())
                .map(|limits| sum(limits.into_iter()))
        },
    ),
    (
        "davit_application_network_receive_bytes",
        "counter",
        "Bytes that the running containers received",
        |usages| traffic(usages, |usage| usage.network, |traffic| traffic.r#in),
    ),
    (
        "davit_application_network_transmit_bytes",
        "counter",
        "Bytes that the running containers sent",
        |usages| traffic(usages, |usage| usage.network, |traffic| traffic.out),
    ),
    (
        "davit_application_block_read_bytes",
        "counter",
        "Bytes that the running containers read from disks",
        |usages| traffic(usages, |usage| usage.block, |traffic| traffic.r#in),
    ),
    (
        "davit_application_block_written_bytes",
        "counter",
        "Bytes that the running containers wrote to disks",
        |usages| traffic(usages, |usage| usage.block, |traffic| traffic.out),
    ),
    (
        "davit_application_replicas_running",
        "gauge",
        "Running containers",
        |usages| Some(sum(std::iter::once(usages.len() as u64))),
    ),
    (
        "davit_application_restarts",
        "gauge",
        "Restarts of the running containers",
        |usages| Some(sum(usages.iter().map(|usage| usage.restarts))),
    ),
];

/// Returns the series as text, without the end of the document; empty while no controller runs.
pub async fn text(group: &Subresources) -> String {
    let Some(controller) = group.controller() else {
        return String::new();
    };
    let measured = tokio::time::timeout(PATIENCE, measure(&controller)).await;
    let Ok((measured, omitted)) = measured else {
        tracing::warn!("what Applications use could not be measured in {PATIENCE:?}");
        return String::new();
    };
    let mut text = String::new();
    if let Some(routes) = controller.routes.as_ref()
        && let Ok(Ok(requests)) = tokio::time::timeout(PATIENCE, routes.requests()).await
    {
        requested(&measured, &requests, &mut text);
    }
    text.push_str(&written(&measured, omitted));
    text
}

/// The requests to the routes of the same Applications.
fn requested(measured: &[(AppId, Vec<Usage>)], requests: &BTreeMap<AppId, Requests>, text: &mut String) {
    let known = || {
        measured
            .iter()
            .filter_map(|(id, _)| Some((id, requests.get(id)?)))
    };
    let name = "davit_application_requests";
    let _ = writeln!(
        text,
        "# HELP {name} Requests to the routes, by class of status.\n# TYPE {name} counter"
    );
    for (id, requests) in known() {
        for (class, count) in (1..).zip(requests.answers) {
            let (namespace, name_) = (&id.namespace, &id.name);
            let _ = writeln!(
                text,
                "{name}_total{{namespace=\"{namespace}\",application=\"{name_}\",code=\"{class}xx\"}} {count}"
            );
        }
    }
    let name = "davit_application_request_duration_seconds";
    let _ = writeln!(
        text,
        "# HELP {name} Time until the answer of requests to the routes.\n# TYPE {name} histogram"
    );
    for (id, requests) in known() {
        let labels = format!("namespace=\"{}\",application=\"{}\"", id.namespace, id.name);
        for (bound, count) in &requests.within {
            let bound = match *bound {
                u64::MAX => "+Inf".to_owned(),
                micros => Duration::from_micros(micros).as_secs_f64().to_string(),
            };
            let _ = writeln!(text, "{name}_bucket{{{labels},le=\"{bound}\"}} {count}");
        }
        let _ = writeln!(text, "{name}_sum{{{labels}}} {}", requests.seconds);
        let count = requests.within.get(&u64::MAX).copied().unwrap_or_default();
        let _ = writeln!(text, "{name}_count{{{labels}}} {count}");
    }
}

async fn measure(controller: &Arc<Context>) -> (Vec<(AppId, Vec<Usage>)>, usize) {
    let known = controller.applications.state();
    let mut all: Vec<AppId> = known
        .iter()
        .map(|app| AppId::new(app.namespace().unwrap_or_default(), app.name_any()))
        .collect();
    all.sort();
    let omitted = all.len().saturating_sub(MOST);
    all.truncate(MOST);
    let asked = all.into_iter().map(|id| {
        let controller = Arc::clone(controller);
        async move {
            let usages = controller.runtime.usage(&id).await;
            let usages =
                usages.map_err(|error| tracing::debug!(app = %id, %error, "its use could not be measured"));
            (id, usages.unwrap_or_default())
        }
    });
    (
        futures::stream::iter(asked).buffered(AT_ONCE).collect().await,
        omitted,
    )
}

fn written(measured: &[(AppId, Vec<Usage>)], omitted: usize) -> String {
    let mut text = String::new();
    for (name, kind, help, value) in SERIES {
        let _ = writeln!(text, "# HELP {name} {help}.\n# TYPE {name} {kind}");
        let suffix = if kind == "counter" { "_total" } else { "" };
        for (id, usages) in measured {
            if let Some(value) = value(usages) {
                let _ = writeln!(
                    text,
                    "{name}{suffix}{{namespace=\"{}\",application=\"{}\"}} {value}",
                    id.namespace, id.name
                );
            }
        }
    }
    let name = "davit_application_series_omitted";
    let _ = writeln!(
        text,
        "# HELP {name} Applications without series, because there are more than {MOST}.\n# TYPE {name} gauge\n{name} {omitted}"
    );
    text
}

fn traffic(
    usages: &[Usage],
    of: fn(&Usage) -> Option<Traffic>,
    direction: fn(Traffic) -> u64,
) -> Option<f64> {
    let known: Vec<Traffic> = usages.iter().filter_map(of).collect();
    (!known.is_empty()).then(|| sum(known.into_iter().map(direction)))
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus has no other numbers")]
fn sum(values: impl Iterator<Item = u64>) -> f64 {
    values.sum::<u64>() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    #[test]
    fn requests_are_series_of_applications_that_are_measured() {
        let requests = Requests {
            answers: [0, 5, 0, 0, 1],
            seconds: 1.5,
            within: [(25_000, 4), (u64::MAX, 6)].into(),
        };
        let all = ["shop", "omitted"]
            .map(|name| (AppId::new("ns", name), requests.clone()))
            .into();
        let mut text = String::new();
        requested(&[(AppId::new("ns", "shop"), Vec::new())], &all, &mut text);
        for line in [
            "davit_application_requests_total{namespace=\"ns\",application=\"shop\",code=\"5xx\"} 1",
            "davit_application_request_duration_seconds_bucket{namespace=\"ns\",application=\"shop\",le=\"0.025\"} 4",
            "davit_application_request_duration_seconds_bucket{namespace=\"ns\",application=\"shop\",le=\"+Inf\"} 6",
            "davit_application_request_duration_seconds_sum{namespace=\"ns\",application=\"shop\"} 1.5",
            "davit_application_request_duration_seconds_count{namespace=\"ns\",application=\"shop\"} 6",
        ] {
            assert!(text.lines().any(|known| known == line), "{line}\n{text}");
        }
        assert!(!text.contains("omitted"));
    }

    #[test]
    fn series_are_sums_with_bounded_labels() {
        let usage = |limit| Usage {
            id: String::new(),
            name: String::new(),
            release: String::new(),
            at: Timestamp::UNIX_EPOCH,
            cpu: CpuUsage::Total(Duration::from_millis(1500)),
            cpu_limit: None,
            memory: 10,
            memory_limit: limit,
            network: Some(Traffic { r#in: 3, out: 4 }),
            block: None,
            restarts: 1,
        };
        let measured = [
            (AppId::new("ns", "shop"), vec![usage(Some(20)), usage(Some(20))]),
            (AppId::new("ns", "blog"), vec![usage(None)]),
        ];
        let text = written(&measured, 2);
        for line in [
            "davit_application_cpu_seconds_total{namespace=\"ns\",application=\"shop\"} 3",
            "davit_application_memory_limit_bytes{namespace=\"ns\",application=\"shop\"} 40",
            "davit_application_network_transmit_bytes_total{namespace=\"ns\",application=\"blog\"} 4",
            "davit_application_replicas_running{namespace=\"ns\",application=\"shop\"} 2",
            "davit_application_series_omitted 2",
        ] {
            assert!(text.lines().any(|known| known == line), "{line}\n{text}");
        }
        assert!(!text.contains("memory_limit_bytes{namespace=\"ns\",application=\"blog\"}"));
        assert!(!text.contains("block_read_bytes_total{"));
    }
}
