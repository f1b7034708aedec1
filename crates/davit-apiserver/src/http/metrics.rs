//! `/metrics`, in the text format of OpenMetrics.

use std::fmt;

use axum::body::Body;
use http::{HeaderValue, Response, header};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _, text::encode},
    metrics::{MetricType, gauge::ConstGauge},
    registry::Registry,
};

use super::{request::Target, response::plain};
use crate::{handlers::Verb, metrics::Labels, registry::Resource, state::Server, store::GroupResource};

/// The path of the metrics.
pub const PATH: &str = "/metrics";
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Stored {
    group: String,
    resource: String,
}

/// The labels of a request for a resource that exists.
pub fn labels(resource: &Resource, target: &Target, verb: Verb, applies: bool, dry_run: bool) -> Labels {
    let (named, namespaced) = (target.name.is_some(), target.namespace.is_some());
    Labels {
        component: "apiserver",
        dry_run: if dry_run { "All" } else { "" },
        group: resource.group.clone(),
        resource: resource.names.plural.clone(),
        scope: match (named || verb == Verb::Create, namespaced) {
            (true, _) => "resource",
            (false, true) => "namespace",
            (false, false) => "cluster",
        },
        subresource: target.subresource.clone().unwrap_or_default(),
        verb: match verb {
            Verb::Get => "GET",
            Verb::List => "LIST",
            Verb::Watch => "WATCH",
            Verb::Create => "POST",
            Verb::Update => "PUT",
            Verb::Patch if applies => "APPLY",
            Verb::Patch => "PATCH",
            Verb::Delete => "DELETE",
            Verb::DeleteCollection => "DELETECOLLECTION",
        },
        version: target.version.clone(),
    }
}

/// The answer to `GET /metrics`.
pub fn answer(server: &Server) -> Response<Body> {
    let mut text = String::new();
    let encoded = encode(&mut text, &server.metrics.registry).and_then(|()| {
        let end = "# EOF\n";
        text.truncate(text.len().saturating_sub(end.len()));
        let mut gathered = Registry::default();
        gathered.register_collector(Box::new(Gathered::of(server)));
        encode(&mut text, &gathered)
    });
    if encoded.is_err() {
        return plain(500, "the metrics could not be written\n");
    }
    let mut response = plain(200, text);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    response
}

/// What is read at the time of a scrape.
#[derive(Debug)]
struct Gathered {
    objects: Vec<(Stored, usize)>,
    resident: Option<u64>,
}

impl Gathered {
    fn of(server: &Server) -> Self {
        let view = server.store.view();
        let count = |collection: &GroupResource| {
            let labels = Stored {
                group: collection.group.to_string(),
                resource: collection.resource.to_string(),
            };
            (labels, view.count(collection))
        };
        let mut objects: Vec<_> = view.collections().iter().map(|name| count(name)).collect();
        objects.sort_by(|(a, _), (b, _)| (&a.group, &a.resource).cmp(&(&b.group, &b.resource)));
        let process = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let resident = process.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident = resident.and_then(|size| size.split_whitespace().next()?.parse::<u64>().ok());
        Self {
            objects,
            resident: resident.map(|kibibytes| kibibytes << 10),
        }
    }
}

impl Collector for Gathered {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "Stored objects by resource";
        let mut family =
            encoder.encode_descriptor("apiserver_resource_objects", help, None, MetricType::Gauge)?;
        for (labels, count) in &self.objects {
            let gauge = ConstGauge::new(i64::try_from(*count).unwrap_or(i64::MAX));
            gauge.encode(family.encode_family(labels)?)?;
        }
        if let Some(resident) = self.resident {
            let gauge = ConstGauge::new(i64::try_from(resident).unwrap_or(i64::MAX));
            let help = "Resident memory size in bytes";
            let metric =
                encoder.encode_descriptor("process_resident_memory_bytes", help, None, MetricType::Gauge)?;
            gauge.encode(metric)?;
        }
        Ok(())
    }
}
