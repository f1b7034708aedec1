//! 1,000 routes: how long until a change of a replica's health is in the configuration of the real Traefik, how long until Traefik
//! has loaded it, and how much CPU that costs Davit (controller and API server). `APPLICATIONS` in the environment makes a small
//! run.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use davit::runtime::fake::ManualAction;
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

/// The CPU time of a process.
fn cpu(process: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks: u64 = [fields[11], fields[12]]
        .iter()
        .map(|field| field.parse::<u64>().unwrap())
        .sum();
    Duration::from_millis(ticks * 10)
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
            "replicas": 2,
            "ports": [{"name": "http", "containerPort": 8080}],
            "routes": [{"host": format!("app-{number}.example.com")}],
        });
        davit.apply(&format!("app-{number}"), spec).await;
    }
    for number in 0..count {
        davit.wait_until_done(&format!("app-{number}")).await;
    }
    let name = format!("app-{}", count / 2);
    let app = harness::id(&name);
    let router = format!("loop_default_{name}_0");
    let file = davit.routes_directory().join("davit-loop.yml");
    let written = || {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let shown: Value = serde_json::from_str(&text).unwrap_or_default();
        let servers = &shown["http"]["services"][&router]["loadBalancer"]["servers"];
        servers.as_array().map_or(0, Vec::len)
    };
    let client = reqwest::Client::new();
    let url = format!("http://{api}/api/http/services/{router}@file");
    let loaded = || async {
        let answer = client.get(&url).send().await.ok()?.json::<Value>().await.ok()?;
        Some(answer["loadBalancer"]["servers"].as_array()?.len())
    };
    while loaded().await != Some(2) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    davit.wait_until_idle().await;
    let (mut to_file, mut to_traefik, mut used) = (Vec::new(), Vec::new(), Duration::ZERO);
    for _ in 0..CHANGES {
        // The measurement reads the file too: parsing it is left out of Davit's share.
        let modified = || std::fs::metadata(&file).unwrap().modified().unwrap();
        let (before, began) = (modified(), Instant::now());
        let (own, proxy) = (cpu(std::process::id()), cpu(traefik.0.id()));
        assert!(davit.runtime.manually(&app, ManualAction::Pause));
        while modified() == before {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        to_file.push(began.elapsed());
        while loaded().await != Some(1) && written() == 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        to_traefik.push(began.elapsed());
        davit.wait_until_idle().await;
        used += cpu(std::process::id()).saturating_sub(own);
        println!(
            "routes               one change: Traefik itself used {} ms of CPU",
            cpu(traefik.0.id()).saturating_sub(proxy).as_millis()
        );
        while loaded().await != Some(2) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        davit.wait_until_idle().await;
    }
    to_file.sort();
    to_traefik.sort();
    let middle = CHANGES as usize / 2;
    println!(
        "routes               {count} routes: a change is in the file after {:?} (longest {:?}), loaded by Traefik after {:?}; CPU of Davit for the \
         change and the repair {:?}",
        to_file[middle],
        to_file.last().unwrap(),
        to_traefik[middle],
        used / CHANGES
    );
}
