//! 1,000 routes: how long until a change of a replica's health is in the configuration of the real Traefik, how long until Traefik
//! has loaded it, and how much CPU that costs Davit (controller and API server). `APPLICATIONS` in the environment makes a small
//! run.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::peers;
use crate::common::process::Port;
use crate::harness::{self, Harness};

const CHANGES: u32 = 20;

/// A Traefik that ends with the measurement.
struct Traefik(Child);

impl Traefik {
    fn start(directory: &std::path::Path, [http, api]: [u16; 2]) -> Self {
        let child = Command::new(peers::file("traefik-3.6.7/traefik"))
            .arg(format!("--providers.file.directory={}", directory.display()))
            .args([
                "--providers.providersthrottleduration=20ms",
                "--api.insecure=true",
            ])
            .arg(format!("--entrypoints.web.address=127.0.0.1:{http}"))
            .arg(format!("--entrypoints.traefik.address=127.0.0.1:{api}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Traefik {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The CPU time that the scheduler recorded in such a file, to the nanosecond.
fn recorded(file: &std::path::Path) -> Duration {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let nanoseconds = text.split(' ').next().and_then(|first| first.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or(0))
}

/// The CPU time of Davit, controller and API server: of all threads but the first, which measures.
fn of_davit() -> BTreeMap<String, Duration> {
    let own = std::process::id().to_string();
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let names = threads.map(|thread| thread.unwrap().file_name().into_string().unwrap());
    names
        .filter(|name| *name != own)
        .map(|name| {
            let file = format!("/proc/self/task/{name}/schedstat");
            let time = recorded(std::path::Path::new(&file));
            (name, time)
        })
        .collect()
}

/// The CPU time of Davit since then.
fn since(before: &BTreeMap<String, Duration>) -> Duration {
    let now = of_davit().into_iter();
    now.map(|(name, time)| time.saturating_sub(before.get(&name).copied().unwrap_or_default()))
        .sum()
}

/// The CPU time of another process.
fn of(process: u32) -> Duration {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    threads
        .map(|thread| recorded(&thread.unwrap().path().join("schedstat")))
        .sum()
}

/// How many servers Traefik has for a service, asked by the thread that measures.
fn loaded(api: &str, service: &str) -> Option<usize> {
    let mut stream = std::net::TcpStream::connect(api).ok()?;
    let request = format!("GET /api/http/services/{service}@file HTTP/1.0\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let body: Value = serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()?;
    Some(body["loadBalancer"]["servers"].as_array()?.len())
}

/// The middle and the longest, beside the most that is wanted.
fn line(what: &str, mut times: Vec<Duration>, wanted: Duration) {
    times.sort();
    let (middle, longest) = (times[times.len() / 2], times[times.len() - 1]);
    println!(
        "routes               {what}: {middle:.1?}, longest {longest:.1?}; wanted {wanted:?}, so {:.2} and {:.2} of it",
        middle.as_secs_f64() / wanted.as_secs_f64(),
        longest.as_secs_f64() / wanted.as_secs_f64(),
    );
}

pub fn routes() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(run());
}

async fn run() {
    let count: usize = std::env::var("APPLICATIONS").map_or(1000, |text| text.parse().expect("a number"));
    let ports = [Port::take(), Port::take()];
    let api = format!("127.0.0.1:{}", ports[1].number());
    let davit = Harness::start_with_traefik(Some(api.clone())).await;
    let traefik = Traefik::start(&davit.routes_directory(), [ports[0].number(), ports[1].number()]);
    let repo = harness::repo(harness::GOOD);
    for number in 0..count {
        let spec = json!({
            "source": harness::source(&repo),
            // Polls of a thousand Applications would count too.
            "trigger": {"on": "Manual"},
            "replicas": 2,
            "ports": [{"name": "http", "containerPort": 8080}],
            "routes": [{"host": format!("app-{number}.example.com")}],
        });
        davit.apply(&format!("app-{number}"), spec).await;
        // Some at a time: each gets a deadline from when it is waited for.
        if number % 50 == 49 || number + 1 == count {
            for waiting in number - number % 50..=number {
                davit.wait_until_done(&format!("app-{waiting}")).await;
            }
        }
    }
    let name = format!("app-{}", count / 2);
    let app = harness::id(&name);
    let router = format!("loop_default_{name}_0");
    let file = davit.routes_directory().join("davit-loop.yml");
    while loaded(&api, &router) != Some(2) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    davit.wait_until_idle().await;
    let (mut to_file, mut to_traefik, mut used) = (Vec::new(), Vec::new(), Vec::new());
    let mut of_traefik = Duration::ZERO;
    for _ in 0..CHANGES {
        let modified = || std::fs::metadata(&file).unwrap().modified().unwrap();
        let (before, began) = (modified(), Instant::now());
        let (own, proxy) = (of_davit(), of(traefik.0.id()));
        assert!(davit.runtime.set_healthy(&app, false));
        while modified() == before {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        to_file.push(began.elapsed());
        while loaded(&api, &router) != Some(1) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        to_traefik.push(began.elapsed());
        davit.wait_until_idle().await;
        used.push(since(&own));
        of_traefik += of(traefik.0.id()).saturating_sub(proxy);
        assert!(davit.runtime.set_healthy(&app, true));
        while loaded(&api, &router) != Some(2) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        davit.wait_until_idle().await;
    }
    println!(
        "routes               {count} routes, {CHANGES} changes of the health of one replica; Traefik itself used {:.1?} of CPU for each",
        of_traefik / CHANGES
    );
    let ms = Duration::from_millis;
    line("a change is in the file after", to_file, ms(100));
    line("it is loaded by Traefik after", to_traefik, ms(100));
    line("CPU of Davit for all of it", used, ms(20));
}
