//! Reads what containers use.

use std::time::Duration;

use bollard::models::{ContainerBlkioStats, ContainerMemoryStats, ContainerStatsResponse};
use bollard::query_parameters::{InspectContainerOptions, StatsOptionsBuilder};
use futures::StreamExt as _;
use futures::future::join_all;
use jiff::Timestamp;

use super::{Inner, errors, labels};
use crate::model::AppId;
use crate::runtime::RuntimeError;
use crate::runtime::usage::{CpuUsage, Traffic, Usage};

/// The most containers that are asked about at the same time.
const AT_ONCE: usize = 8;

impl Inner {
    /// Returns what the running containers of an Application use. The engine is asked once for each, and takes no second
    /// measurement.
    pub(super) async fn usage(&self, app: &AppId) -> Result<Vec<Usage>, RuntimeError> {
        let listed = self.list(&self.names.app_labels(app)).await?;
        let ids: Vec<String> = listed.into_iter().filter_map(|container| container.id).collect();
        let mut usages = Vec::new();
        for some in ids.chunks(AT_ONCE) {
            for usage in join_all(some.iter().map(|id| self.measure(id))).await {
                usages.extend(usage?);
            }
        }
        usages.sort_by(|one, two| one.name.cmp(&two.name));
        Ok(usages)
    }

    async fn measure(&self, id: &str) -> Result<Option<Usage>, RuntimeError> {
        let found = self
            .docker
            .inspect_container(id, None::<InspectContainerOptions>)
            .await;
        let Some(found) = errors::unless_gone("inspect a container", found)? else {
            return Ok(None);
        };
        let runs = found.state.as_ref().and_then(|state| state.running) == Some(true);
        let labels = found.config.and_then(|config| config.labels).unwrap_or_default();
        let release = labels.get(labels::RELEASE).cloned().unwrap_or_default();
        if !runs || !labels.contains_key(labels::CONFIG) {
            return Ok(None);
        }
        let options = StatsOptionsBuilder::new().stream(false).one_shot(true).build();
        let mut stats = std::pin::pin!(self.docker.stats(id, Some(options)));
        let stats = match stats.next().await {
            None => return Ok(None),
            Some(stats) => errors::unless_gone("read what a container uses", stats)?,
        };
        let Some(stats) = stats else { return Ok(None) };
        let host = found.host_config.unwrap_or_default();
        let limit = |amount: Option<i64>| {
            amount
                .and_then(|amount| u64::try_from(amount).ok())
                .filter(|amount| *amount > 0)
        };
        Ok(Some(Usage {
            id: id.to_owned(),
            name: found.name.unwrap_or_default().trim_start_matches('/').to_owned(),
            release,
            at: Timestamp::now(),
            cpu: CpuUsage::Total(cpu(&stats)),
            cpu_limit: limit(host.nano_cpus),
            memory: stats.memory_stats.as_ref().map(memory).unwrap_or_default(),
            memory_limit: limit(host.memory),
            network: network(&stats),
            block: stats.blkio_stats.as_ref().and_then(block),
            restarts: u64::try_from(found.restart_count.unwrap_or_default()).unwrap_or_default(),
        }))
    }
}

fn cpu(stats: &ContainerStatsResponse) -> Duration {
    let usage = stats.cpu_stats.as_ref().and_then(|cpu| cpu.cpu_usage.as_ref());
    Duration::from_nanos(usage.and_then(|usage| usage.total_usage).unwrap_or_default())
}

/// As `docker stats`: without the cache of files that were not used lately.
fn memory(memory: &ContainerMemoryStats) -> u64 {
    let usage = memory.usage.unwrap_or_default();
    let stats = memory.stats.as_ref();
    let inactive = |key: &str| stats.and_then(|stats| stats.get(key).copied());
    // The first name is that of cgroup v1.
    let cache = inactive("total_inactive_file").or_else(|| inactive("inactive_file"));
    usage.saturating_sub(cache.filter(|cache| *cache < usage).unwrap_or_default())
}

fn network(stats: &ContainerStatsResponse) -> Option<Traffic> {
    let networks = stats.networks.as_ref()?.values();
    Some(networks.fold(Traffic::default(), |sum, network| Traffic {
        r#in: sum.r#in + network.rx_bytes.unwrap_or_default(),
        out: sum.out + network.tx_bytes.unwrap_or_default(),
    }))
}

fn block(stats: &ContainerBlkioStats) -> Option<Traffic> {
    let entries = stats.io_service_bytes_recursive.as_ref()?;
    let sum = |first: &str| {
        let of = entries.iter().filter(|entry| {
            let operation = entry.op.as_deref().unwrap_or_default();
            operation.to_ascii_lowercase().starts_with(first)
        });
        of.filter_map(|entry| entry.value).sum()
    };
    Some(Traffic {
        r#in: sum("r"),
        out: sum("w"),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn figures_are_those_of_docker_stats() {
        let stats: ContainerStatsResponse = serde_json::from_value(json!({
            "cpu_stats": {"cpu_usage": {"total_usage": 1_500_000_000_u64}},
            "memory_stats": {"usage": 1000, "stats": {"total_inactive_file": 300, "inactive_file": 1}},
            "networks": {"eth0": {"rx_bytes": 1, "tx_bytes": 2}, "eth1": {"rx_bytes": 10, "tx_bytes": 20}},
            "blkio_stats": {"io_service_bytes_recursive": [
                {"major": 8, "minor": 0, "op": "Read", "value": 5}, {"major": 8, "minor": 0, "op": "Write", "value": 7},
                {"major": 8, "minor": 16, "op": "read", "value": 5}, {"major": 8, "minor": 16, "op": "Total", "value": 99}]},
        }))
        .unwrap();
        assert_eq!(cpu(&stats), Duration::from_millis(1500));
        assert_eq!(memory(stats.memory_stats.as_ref().unwrap()), 700);
        assert_eq!(network(&stats), Some(Traffic { r#in: 11, out: 22 }));
        assert_eq!(
            block(stats.blkio_stats.as_ref().unwrap()),
            Some(Traffic { r#in: 10, out: 7 })
        );
        let second: ContainerMemoryStats =
            serde_json::from_value(json!({"usage": 1000, "stats": {"inactive_file": 1200}})).unwrap();
        assert_eq!(memory(&second), 1000, "a cache that is larger is not subtracted");
    }
}
