//! `davit top`: what Applications and their replicas use.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::Duration;

use futures::StreamExt as _;
use kube::api::ListParams;
use kube::core::PartialObjectMeta;
use kube::{Api, ResourceExt};
use serde::Deserialize;
use serde_json::{Value, json};

use super::args::Format;
use super::connect::{Access, Cluster};
use super::output::{columns, note, say, serialized, write};
use super::pack::amount;
use super::subresource;
use super::subresource_args::{First, Rows, Top};
use super::until::runs;
use crate::api::Application;
use crate::cli::failure::Failure;
use crate::subresources::{GROUP, VERSION};

/// How many Applications are asked about at the same time.
const AT_ONCE: usize = 8;
/// The time between two measurements for the use of CPU, and between two tables.
const INTERVAL: Duration = Duration::from_secs(1);

/// What one Application uses, as the subresource reports it.
#[derive(Clone, Debug, Deserialize)]
struct Metrics {
    replicas: Vec<Replica>,
    requests: Option<Requests>,
}

/// What is requested of an Application with routes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Requests {
    /// Why it is not known.
    problem: Option<String>,
    per_second: Option<f64>,
    errors_per_second: Option<f64>,
    average_seconds: Option<f64>,
    p95_seconds: Option<f64>,
}

impl Requests {
    const HEAD: [&str; 3] = ["REQUESTS", "ERRORS", "LATENCY / P95"];

    fn cells(requests: Option<&Self>) -> Vec<String> {
        let known = requests.filter(|requests| requests.problem.is_none());
        let rate = |rate: Option<f64>| rate.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}/s"));
        let time = |seconds: Option<f64>| {
            seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{:.0}ms", seconds * 1e3))
        };
        let latency = known.filter(|it| it.average_seconds.is_some());
        vec![
            rate(known.and_then(|it| it.per_second)),
            rate(known.and_then(|it| it.errors_per_second)),
            latency.map_or_else(
                || "-".to_owned(),
                |it| format!("{} / {}", time(it.average_seconds), time(it.p95_seconds)),
            ),
        ]
    }
}

#[derive(Clone, Debug, Deserialize)]
struct Replica {
    name: String,
    release: String,
    cpu: Cpu,
    memory: Memory,
    network: Option<Network>,
    block: Option<Block>,
    restarts: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Cpu {
    usage_nano_cores: Option<u64>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Memory {
    usage_bytes: u64,
    limit_bytes: Option<u64>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Network {
    received_bytes: u64,
    sent_bytes: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Block {
    read_bytes: u64,
    written_bytes: u64,
}

/// The sum of several replicas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Sum {
    replicas: usize,
    cpu: Option<u64>,
    memory: u64,
    /// `None` if one of the replicas has no limit.
    limit: Option<u64>,
    network: Option<(u64, u64)>,
    block: Option<(u64, u64)>,
    restarts: u64,
}

impl Sum {
    fn of<'a>(replicas: impl Iterator<Item = &'a Replica>) -> Self {
        let mut sum = Self {
            limit: Some(0),
            ..Self::default()
        };
        let both = |sum: Option<(u64, u64)>, more: Option<(u64, u64)>| match (sum, more) {
            (Some(sum), Some(more)) => Some((sum.0 + more.0, sum.1 + more.1)),
            (sum, more) => sum.or(more),
        };
        for replica in replicas {
            sum.replicas += 1;
            if let Some(used) = replica.cpu.usage_nano_cores {
                *sum.cpu.get_or_insert_default() += used;
            }
            sum.memory += replica.memory.usage_bytes;
            sum.limit = sum
                .limit
                .zip(replica.memory.limit_bytes)
                .map(|(sum, limit)| sum + limit);
            let network = replica.network.as_ref();
            sum.network = both(sum.network, network.map(|it| (it.received_bytes, it.sent_bytes)));
            let block = replica.block.as_ref();
            sum.block = both(sum.block, block.map(|it| (it.read_bytes, it.written_bytes)));
            sum.restarts += replica.restarts;
        }
        sum.limit = sum.limit.filter(|limit| *limit > 0);
        sum
    }

    fn cells(&self) -> Vec<String> {
        let pair = |pair: Option<(u64, u64)>| {
            pair.map_or_else(
                || "-".to_owned(),
                |(one, two)| format!("{} / {}", amount(one), amount(two)),
            )
        };
        let of_limit = self.limit.map_or_else(
            || "-".to_owned(),
            |limit| {
                format!(
                    "{}% of {}",
                    self.memory.saturating_mul(100) / limit,
                    amount(limit)
                )
            },
        );
        vec![
            self.cpu
                .map_or_else(|| "-".to_owned(), |cpu| format!("{}m", cpu / 1_000_000)),
            amount(self.memory),
            of_limit,
            pair(self.network),
            pair(self.block),
            self.restarts.to_string(),
        ]
    }
}

/// `davit top`.
///
/// # Errors
/// The Application does not exist, or the API server or the runtime does not answer.
pub async fn top(args: Top) -> Result<(), Failure> {
    if matches!(args.rows, First::Application(_)) && (args.all_namespaces || args.application.is_some()) {
        return Err(Failure::new(
            "the first word names an Application: leave out the second one and -A, or begin with apps or releases",
        ));
    }
    let cluster = Cluster::new(&args.connection).await?;
    let interval = args.interval.as_ref().map_or(INTERVAL, crate::api::Duration::get);
    if let Some(deadline) = args.wait.begin() {
        for (namespace, name) in names(&cluster, &args).await? {
            runs(&cluster.in_namespace(&namespace), &name, &deadline).await?;
        }
    }
    if !args.watch {
        return show(&cluster, &args, INTERVAL).await;
    }
    let is_terminal = cluster.terminal.width.is_some();
    loop {
        if is_terminal {
            // The table is drawn in place of the one before.
            write("\u{1b}[H\u{1b}[2J")?;
        }
        show(&cluster, &args, interval).await?;
        if !is_terminal {
            say("")?;
        }
        std::io::stdout().flush()?;
    }
}

async fn show(cluster: &Cluster, args: &Top, window: Duration) -> Result<(), Failure> {
    let names = names(cluster, args).await?;
    if names.is_empty() {
        let place = if args.all_namespaces {
            "any namespace".to_owned()
        } else {
            format!("{} namespace", cluster.namespace)
        };
        note(&format!("No resources found in {place}."));
        if args.watch {
            tokio::time::sleep(window).await;
        }
        return Ok(());
    }
    let asked = names
        .iter()
        .map(|(namespace, name)| measure(cluster, namespace, name, window));
    let answers: Vec<_> = futures::stream::iter(asked).buffered(AT_ONCE).collect().await;
    let mut found = Vec::new();
    for (place, answer) in names.into_iter().zip(answers) {
        found.push((place, answer?));
    }
    if let Some(format @ (Format::Json | Format::Yaml)) = args.output.format {
        let items: Vec<Value> = found.into_iter().map(|(_, metrics)| metrics).collect();
        let list = json!({"kind": "ApplicationMetricsList", "apiVersion": format!("{GROUP}/{VERSION}"), "metadata": {},
            "items": items});
        return serialized(format, list);
    }
    let mut all: Vec<((String, String), Metrics)> = Vec::new();
    for (place, metrics) in found {
        let metrics = serde_json::from_value(metrics)
            .map_err(|error| Failure::new(format!("the answer of the API server cannot be read: {error}")))?;
        all.push((place, metrics));
    }
    let mut requests = all.iter().filter_map(|(_, metrics)| metrics.requests.as_ref());
    if let Some(why) = requests.clone().find_map(|requests| requests.problem.as_ref()) {
        note(why);
    }
    // They are counted for all replicas of an Application together.
    let by_replica = args.replicas || args.application().is_some();
    let by_application = !by_replica && args.rows() == Rows::Apps;
    let has_requests = by_application && requests.any(|requests| requests.problem.is_none());
    let is_name = args.output.format == Some(Format::Name);
    let mut rows = Vec::new();
    for ((namespace, name), metrics) in all {
        let mut own = table(&name, &metrics.replicas, args);
        if args.all_namespaces && !is_name {
            for row in &mut own {
                row.insert(0, namespace.clone());
            }
        }
        if has_requests {
            for row in &mut own {
                row.extend(Requests::cells(metrics.requests.as_ref()));
            }
        }
        rows.extend(own);
    }
    if is_name {
        // A replica is no object of the API server.
        let kind = match (by_replica, args.rows()) {
            (true, _) => String::new(),
            (false, Rows::Apps) => format!("application.{}/", crate::api::GROUP),
            (false, Rows::Releases) => format!("release.{}/", crate::api::GROUP),
        };
        let names = rows.iter().filter_map(|row| row.first());
        return names.map(|name| format!("{kind}{name}")).try_for_each(say);
    }
    let head = [
        "CPU",
        "MEMORY",
        "LIMIT",
        "NETWORK IN / OUT",
        "BLOCK READ / WRITTEN",
        "RESTARTS",
    ];
    let place: &[&str] = if args.all_namespaces { &["NAMESPACE"] } else { &[] };
    let first: &[&str] = match (by_replica, args.rows()) {
        (true, _) => &["REPLICA"],
        (false, Rows::Apps) => &["APPLICATION", "REPLICAS"],
        (false, Rows::Releases) => &["RELEASE", "REPLICAS"],
    };
    let more: &[&str] = if has_requests { &Requests::HEAD } else { &[] };
    let head: Vec<String> = place
        .iter()
        .chain(first)
        .chain(&head)
        .chain(more)
        .map(|text| (*text).to_owned())
        .collect();
    write(&columns(&cluster.terminal, &head, &rows))
}

/// The namespaces and names of the Applications that are shown.
async fn names(cluster: &Cluster, args: &Top) -> Result<Vec<(String, String)>, Failure> {
    if let Some(name) = args.application() {
        cluster.application(name).await?;
        return Ok(vec![(cluster.namespace.clone(), name.to_owned())]);
    }
    let api: Api<Application> = if args.all_namespaces {
        Api::all(cluster.client.clone())
    } else {
        cluster.applications()
    };
    let found = api.list_metadata(&ListParams::default()).await;
    let found = found.map_err(|error| cluster.refused(&error, Access::View))?;
    let place =
        |object: &PartialObjectMeta<Application>| (object.namespace().unwrap_or_default(), object.name_any());
    Ok(found.iter().map(place).collect())
}

async fn measure(cluster: &Cluster, namespace: &str, name: &str, window: Duration) -> Result<Value, Failure> {
    let path = subresource::path(namespace, "applications", name, "metrics");
    let window = window.min(Duration::from_secs(30)).as_millis();
    cluster
        .get(&format!("{path}?window={window}ms"), "application/json")
        .await
}

/// The rows of one Application.
fn table(name: &str, replicas: &[Replica], args: &Top) -> Vec<Vec<String>> {
    let row = |first: Vec<String>, sum: &Sum| first.into_iter().chain(sum.cells()).collect();
    if args.replicas || args.application().is_some() {
        let each = replicas.iter();
        return each
            .map(|replica| row(vec![replica.name.clone()], &Sum::of([replica].into_iter())))
            .collect();
    }
    let mut groups: BTreeMap<&str, Vec<&Replica>> = BTreeMap::new();
    match args.rows() {
        Rows::Apps => {
            groups.insert(name, replicas.iter().collect());
        }
        Rows::Releases => {
            for replica in replicas {
                groups.entry(&replica.release).or_default().push(replica);
            }
        }
    }
    let sums = groups
        .into_iter()
        .map(|(name, replicas)| (name, Sum::of(replicas.into_iter())));
    sums.map(|(name, sum)| row(vec![name.to_owned(), sum.replicas.to_string()], &sum))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(limit: Option<u64>) -> Replica {
        let memory = limit.map_or_else(
            || json!({"usageBytes": 3 << 20}),
            |limit| json!({"usageBytes": 3 << 20, "limitBytes": limit}),
        );
        let document = json!({"name": "shop-1.0", "release": "shop-1", "cpu": {"usageNanoCores": 250_000_000}, "memory": memory,
            "network": {"receivedBytes": 1024, "sentBytes": 5}, "restarts": 1});
        serde_json::from_value(document).unwrap()
    }

    #[test]
    fn requests_have_rates_and_latencies() {
        let cells = |document: Value| Requests::cells(Some(&serde_json::from_value(document).unwrap()));
        assert_eq!(
            cells(
                json!({"perSecond": 12.34, "errorsPerSecond": 0.0, "averageSeconds": 0.0123, "p95Seconds": 0.1})
            ),
            ["12.3/s", "0.0/s", "12ms / 100ms"]
        );
        assert_eq!(
            cells(json!({"perSecond": 0.0, "errorsPerSecond": 0.0})),
            ["0.0/s", "0.0/s", "-"]
        );
        assert_eq!(
            cells(json!({"problem": "Traefik has no metrics"})),
            ["-", "-", "-"]
        );
        assert_eq!(Requests::cells(None), ["-", "-", "-"]);
    }

    #[test]
    fn replicas_are_added_up() {
        let limited = replica(Some(12 << 20));
        let sum = Sum::of([&limited, &limited].into_iter());
        assert_eq!(
            sum.cells(),
            [
                "500m",
                "6.0 MiB",
                "25% of 24.0 MiB",
                "2.0 KiB / 10 bytes",
                "-",
                "2"
            ]
        );
        let sum = Sum::of([&limited, &replica(None)].into_iter());
        assert_eq!(sum.limit, None, "a sum with a replica without a limit has none");
        assert_eq!(
            Sum::of([].into_iter()).cells(),
            ["-", "0 bytes", "-", "-", "-", "0"]
        );
    }
}
