//! Reads what Pods use: from the API `metrics.k8s.io`, which metrics-server serves.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use kube::api::ListParams;
use serde::Deserialize;

use super::{Inner, errors, names, quantity};
use crate::model::AppId;
use crate::runtime::RuntimeError;
use crate::runtime::error::READ_USAGE as DOING;
use crate::runtime::usage::{CpuUsage, Usage};

#[derive(Debug, Default, Deserialize)]
struct List {
    items: Vec<PodMetrics>,
}

#[derive(Debug, Deserialize)]
struct PodMetrics {
    metadata: Metadata,
    timestamp: Timestamp,
    #[serde(default)]
    containers: Vec<ContainerMetrics>,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    name: String,
}

#[derive(Debug, Deserialize)]
struct ContainerMetrics {
    name: String,
    /// Amounts of `cpu` and `memory`.
    #[serde(default)]
    usage: BTreeMap<String, String>,
}

impl Inner {
    /// Returns what the Pods of an Application use. A Pod that was not measured yet is left out.
    pub(super) async fn usage(&self, app: &AppId) -> Result<Vec<Usage>, RuntimeError> {
        let selector = names::of_app(app);
        let pods = self
            .pods(app)
            .list(&ListParams::default().labels(&selector))
            .await;
        let pods = pods.map_err(|error| errors::error("list Pods", &error))?.items;
        if pods.is_empty() {
            return Ok(Vec::new());
        }
        let selector: String = url::form_urlencoded::byte_serialize(selector.as_bytes()).collect();
        let path = format!(
            "/apis/metrics.k8s.io/v1beta1/namespaces/{}/pods?labelSelector={selector}",
            app.namespace
        );
        let request = http::Request::get(path).body(Vec::new());
        let request = request.map_err(|error| RuntimeError::Engine {
            doing: DOING,
            message: error.to_string(),
        })?;
        let measured: Result<List, kube::Error> = self.client.request(request).await;
        let measured = errors::unless_gone(DOING, measured)?.ok_or(RuntimeError::NoMetrics)?;
        Ok(usages(&pods, &measured))
    }
}

fn usages(pods: &[Pod], measured: &List) -> Vec<Usage> {
    let mut usages: Vec<Usage> = measured
        .items
        .iter()
        .filter_map(|metrics| {
            let name = &metrics.metadata.name;
            let pod = pods.iter().find(|pod| pod.metadata.name.as_ref() == Some(name))?;
            let own = metrics.containers.iter().find(|it| it.name == names::CONTAINER)?;
            usage(pod, metrics, own)
        })
        .collect();
    usages.sort_by(|one, two| one.name.cmp(&two.name));
    usages
}

fn usage(pod: &Pod, metrics: &PodMetrics, own: &ContainerMetrics) -> Option<Usage> {
    let spec = pod.spec.as_ref()?;
    let container = spec.containers.iter().find(|it| it.name == names::CONTAINER)?;
    let statuses = pod.status.as_ref()?.container_statuses.iter().flatten();
    let restarts = statuses
        .filter(|status| status.name == names::CONTAINER)
        .map(|status| u64::try_from(status.restart_count).unwrap_or_default());
    let annotations = pod.metadata.annotations.as_ref();
    Some(Usage {
        id: metrics.metadata.name.clone(),
        name: metrics.metadata.name.clone(),
        release: annotations
            .and_then(|all| all.get(names::RELEASE).cloned())
            .unwrap_or_default(),
        at: metrics.timestamp,
        cpu: CpuUsage::Rate(quantity::nano_cores(own.usage.get("cpu")?)?),
        cpu_limit: limit(container, "cpu").and_then(|limit| quantity::nano_cores(&limit)),
        memory: quantity::used_bytes(own.usage.get("memory")?)?,
        memory_limit: limit(container, "memory").and_then(|limit| quantity::bytes(&limit)),
        // The API has no more.
        network: None,
        block: None,
        restarts: restarts.sum(),
    })
}

fn limit(container: &Container, resource: &str) -> Option<String> {
    let limits = container.resources.as_ref()?.limits.as_ref()?;
    limits.get(resource).map(|limit| limit.0.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn metrics_of_the_container_are_joined_with_its_pod() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "shop-1-x", "annotations": {"davit.dev/release": "shop-1"}},
            "spec": {"containers": [{"name": "sidecar"},
                {"name": "app", "resources": {"limits": {"cpu": "500m", "memory": "64Mi"}}}]},
            "status": {"containerStatuses": [
                {"name": "app", "restartCount": 2, "image": "", "imageID": "", "ready": true},
                {"name": "sidecar", "restartCount": 9, "image": "", "imageID": "", "ready": true}]},
        }))
        .unwrap();
        // As metrics-server answers; the other Pod is gone already.
        let list: List = serde_json::from_value(json!({"kind": "PodMetricsList", "items": [
            {"metadata": {"name": "shop-1-x"}, "timestamp": "2026-11-29T15:00:00Z", "window": "15.02s", "containers": [
                {"name": "sidecar", "usage": {"cpu": "1", "memory": "1Gi"}},
                {"name": "app", "usage": {"cpu": "12345678n", "memory": "3072Ki"}}]},
            {"metadata": {"name": "gone"}, "timestamp": "2026-11-29T15:00:00Z", "containers": [
                {"name": "app", "usage": {"cpu": "0", "memory": "1Ki"}}]}]}))
        .unwrap();
        let found = usages(&[pod], &list);
        assert_eq!(
            found,
            [Usage {
                id: "shop-1-x".to_owned(),
                name: "shop-1-x".to_owned(),
                release: "shop-1".to_owned(),
                at: "2026-11-29T15:00:00Z".parse().unwrap(),
                cpu: CpuUsage::Rate(12_345_678),
                cpu_limit: Some(500_000_000),
                memory: 3 << 20,
                memory_limit: Some(64 << 20),
                network: None,
                block: None,
                restarts: 2,
            }]
        );
    }
}
