//! The API server beside the real kube-apiserver with etcd, in the same run: the same client, the same objects, both
//! with fsync. `make bench-peers` prints the table.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    reason = "a benchmark prints, and one that fails panics"
)]

#[path = "apiserver/wire.rs"]
mod wire;

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use davit_apiserver::{ApiServer, Options};
use davit_test_support::kube_apiserver::KubeApiserver;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use wire::{Target, Wire};

const THINGS: &str = "/apis/bench.example.com/v1/namespaces/default/things";
const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
/// How many requests one figure is made of.
const REQUESTS: usize = 2000;
/// How many objects a large store has.
const MANY: usize = 10_000;
/// What the benchmark calls itself as when it is the server.
const SERVE: &str = "--serve";

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.iter().any(|argument| argument == "--list") {
        return;
    }
    let _ = rustls::crypto::ring::default_provider().install_default();
    if let Some(at) = arguments.iter().position(|argument| argument == SERVE) {
        return serve(Path::new(&arguments[at + 1]));
    }
    let ours_only = arguments.iter().any(|argument| argument == "--ours");
    let ours = measure_ours();
    let real = if ours_only { Vec::new() } else { measure_real() };
    println!("{:<44} {:>12} {:>12} {:>7}", "", "ours", "upstream", "ratio");
    for (index, (name, value, unit)) in ours.iter().enumerate() {
        let Some((_, other, _)) = real.get(index) else {
            println!("{name:<44} {value:>9.1} {unit}");
            continue;
        };
        let ratio = if unit == "/s" {
            value / other
        } else {
            other / value
        };
        println!("{name:<44} {value:>9.1} {unit:<2} {other:>9.1} {unit:<2} {ratio:>6.1}x");
    }
}

/// Name, value and unit; the same names in the same order for both.
type Figures = Vec<(String, f64, String)>;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

/// The server as a process of its own.
fn serve(directory: &Path) {
    runtime().block_on(async {
        let options = Options {
            data_dir: Some(directory.to_owned()),
            ..Options::default()
        };
        let server = ApiServer::open(options).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let kubeconfig = server.kubeconfig(listener.local_addr().unwrap());
        std::fs::write(directory.join("kubeconfig"), kubeconfig).unwrap();
        server.serve(listener).unwrap();
        println!("ready");
        std::future::pending::<()>().await;
    });
}

struct Ours {
    child: Child,
    took: Duration,
}

impl Ours {
    fn start(directory: &Path) -> Self {
        let began = Instant::now();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg(SERVE)
            .arg(directory)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "ready\n");
        Self {
            child,
            took: began.elapsed(),
        }
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn measure_ours() -> Figures {
    let directory = tempfile::tempdir().unwrap();
    drop(Ours::start(directory.path()));
    let mut starts: Vec<Duration> = (0..5).map(|_| Ours::start(directory.path()).took).collect();
    starts.sort();
    let server = Ours::start(directory.path());
    let target = Target::read(&directory.path().join("kubeconfig"));
    let mut figures = vec![figure("start to ready", starts[2].as_secs_f64() * 1000.0, "ms")];
    let pid = server.child.id();
    figures.extend(runtime().block_on(work(&target, &[pid])));
    drop(server);
    let again = Ours::start(directory.path());
    figures.push(figure(
        "start to ready with 10,000 objects",
        again.took.as_secs_f64() * 1000.0,
        "ms",
    ));
    figures
}

fn measure_real() -> Figures {
    let began = Instant::now();
    let server = KubeApiserver::start_durable();
    let took = began.elapsed().as_secs_f64() * 1000.0;
    let target = Target::read(&server.kubeconfig);
    let mut figures = vec![figure("start to ready", took, "ms")];
    figures.extend(runtime().block_on(work(&target, &server.pids())));
    // One start is enough to see how it compares, and its etcd would have to be kept.
    figures.push(figure("start to ready with 10,000 objects", took, "ms"));
    figures
}

fn figure(name: &str, value: f64, unit: &str) -> (String, f64, String) {
    (name.to_owned(), value, unit.to_owned())
}

/// Resident memory of all of them, in MiB.
fn memory(pids: &[u32]) -> f64 {
    let of = |pid: &u32| {
        let path = PathBuf::from(format!("/proc/{pid}/status"));
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
    };
    pids.iter().map(of).sum()
}

fn crd() -> Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.bench.example.com"},
        "spec": {"group": "bench.example.com", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
            "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "properties": {
                        "replicas": {"type": "integer", "minimum": 0},
                        "image": {"type": "string"},
                        "env": {"type": "array", "items": {"type": "object", "properties": {
                            "name": {"type": "string"}, "value": {"type": "string"}}}}}},
                    "status": {"type": "object", "properties": {
                        "phase": {"type": "string"}, "observedGeneration": {"type": "integer"},
                        "conditions": {"type": "array", "items": {"type": "object", "properties": {
                            "type": {"type": "string"}, "status": {"type": "string"},
                            "reason": {"type": "string"}, "message": {"type": "string"}}}}}}}}}}]}})
}

/// An object of nearly 1 KiB.
fn thing(name: &str) -> String {
    let env: Vec<Value> = (0..10)
        .map(|index| json!({"name": format!("VARIABLE_{index}"), "value": "some value of a usual length"}))
        .collect();
    json!({"apiVersion": "bench.example.com/v1", "kind": "Thing", "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"replicas": 3, "image": "registry.example.com/team/image:1.2.3", "env": env}})
    .to_string()
}

fn status(round: usize) -> Value {
    json!({"phase": if round.is_multiple_of(2) { "running" } else { "done" }, "observedGeneration": round,
        "conditions": [{"type": "Ready", "status": "True", "reason": "Done", "message": format!("round {round}")}]})
}

/// Requests a second: `REQUESTS` of them over so many connections.
async fn rate(
    target: &Target,
    connections: usize,
    request: impl Fn(usize, usize) -> Vec<u8> + Clone + Send + Sync + 'static,
) -> f64 {
    let mut wires = Vec::new();
    for _ in 0..connections {
        wires.push(Wire::connect(target).await);
    }
    let each = REQUESTS / connections;
    let began = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for (connection, mut wire) in wires.into_iter().enumerate() {
        let request = request.clone();
        tasks.spawn(async move {
            for round in 0..each {
                wire.ask(&request(connection, round)).await;
            }
        });
    }
    tasks.join_all().await;
    (each * connections) as f64 / began.elapsed().as_secs_f64()
}

async fn work(target: &Target, pids: &[u32]) -> Figures {
    let mut figures = Vec::new();
    let mut wire = Wire::connect(target).await;
    figures.push(figure("memory at rest", memory(pids), "Mi"));
    wire.ask(&target.request("POST", CRDS, "application/json", &crd().to_string()))
        .await;
    while wire.code(&target.request("GET", THINGS, "", "")).await != 200 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let merge = "application/merge-patch+json";
    for connections in [1, 8] {
        let mut push = |name: &str, rate: f64| {
            figures.push(figure(
                &format!("{name}, {connections} connection(s)"),
                rate,
                "/s",
            ));
        };
        let at = target.clone();
        let name = move |connection: usize| format!("t{connections}-{connection}");
        let create = move |connection: usize, round: usize| {
            let body = thing(&format!("{}-{round}", name(connection)));
            at.request("POST", THINGS, "application/json", &body)
        };
        push("create", rate(target, connections, create).await);
        let at = target.clone();
        let path = move |connection: usize| format!("{THINGS}/t{connections}-{connection}-0");
        let get = move |connection: usize, _: usize| at.request("GET", &path(connection), "", "");
        push("get", rate(target, connections, get).await);
        let at = target.clone();
        let patch = move |connection: usize, round: usize| {
            let body = json!({"status": status(round)}).to_string();
            at.request("PATCH", &format!("{}/status", path(connection)), merge, &body)
        };
        push("status merge patch", rate(target, connections, patch).await);
        let at = target.clone();
        let apply = move |connection: usize, round: usize| {
            let body = json!({"apiVersion": "bench.example.com/v1", "kind": "Thing",
                "metadata": {"name": format!("t{connections}-{connection}-0")}, "status": status(round)});
            let path = format!("{}/status?fieldManager=bench&force=true", path(connection));
            at.request("PATCH", &path, "application/apply-patch+yaml", &body.to_string())
        };
        push(
            "server-side apply of status",
            rate(target, connections, apply).await,
        );
    }
    figures.push(figure("watch latency, median", latency(target).await, "ms"));
    let there = 2 * REQUESTS;
    let mut filling = tokio::task::JoinSet::new();
    for part in 0..8 {
        let at = target.clone();
        filling.spawn(async move {
            let mut wire = Wire::connect(&at).await;
            for index in 0..(MANY - there) / 8 {
                let body = thing(&format!("fill-{part}-{index}"));
                wire.ask(&at.request("POST", THINGS, "application/json", &body))
                    .await;
            }
        });
    }
    filling.join_all().await;
    figures.push(figure("memory at 10,000 objects", memory(pids), "Mi"));
    let mut wire = Wire::connect(target).await;
    let mut times = Vec::new();
    for _ in 0..7 {
        let began = Instant::now();
        let length = wire.ask(&target.request("GET", THINGS, "", "")).await;
        assert!(length > 5_000_000, "{length}");
        times.push(began.elapsed());
    }
    times.sort();
    figures.push(figure("list of 10,000", times[3].as_secs_f64() * 1000.0, "ms"));
    figures.push(figure("memory after lists", memory(pids), "Mi"));
    figures
}

/// From the sending of a write to the arrival of its event, in milliseconds.
async fn latency(target: &Target) -> f64 {
    let mut watch = Wire::connect(target).await;
    let name = "t1-0-0";
    watch
        .send(&target.request(
            "GET",
            &format!("{THINGS}?watch=1&fieldSelector=metadata.name%3D{name}"),
            "",
            "",
        ))
        .await;
    watch.until(name).await;
    let mut wire = Wire::connect(target).await;
    let mut times = Vec::new();
    for round in 0..200 {
        let mark = format!("mark-{round}-");
        let body = json!({"metadata": {"annotations": {"mark": mark}}}).to_string();
        let request = target.request(
            "PATCH",
            &format!("{THINGS}/{name}"),
            "application/merge-patch+json",
            &body,
        );
        let began = Instant::now();
        wire.send(&request).await;
        watch.until(&mark).await;
        times.push(began.elapsed());
        wire.answer().await;
    }
    times.sort();
    times[100].as_secs_f64() * 1000.0
}
