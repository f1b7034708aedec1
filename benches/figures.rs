//! The figures that README says: each side by side with what it is compared with, in the same run.
//! `make bench` prints them.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    reason = "a benchmark prints, and one that fails panics"
)]

#[path = "../tests/common/mod.rs"]
mod common;
#[allow(dead_code, reason = "the benches use only some of the harness")]
#[path = "../tests/in_process/controller/harness.rs"]
mod harness;

#[path = "figures/builds.rs"]
mod builds;
#[path = "figures/daily.rs"]
mod daily;
#[path = "figures/deliveries.rs"]
mod deliveries;
#[path = "figures/engine_log.rs"]
mod engine_log;
#[path = "figures/kubernetes.rs"]
mod kubernetes;
#[path = "figures/routes.rs"]
mod routes;

use std::io::{Read as _, Write as _};
use std::process::Command;
use std::time::{Duration, Instant};

use common::davit::Davit;
use common::docker::{BASE_IMAGE, docker};
use common::git_repo::{GitRepo, git};
use common::{run, unique};
use futures::StreamExt as _;
use kube::api::{ListParams, PostParams};
use serde_json::json;

fn main() {
    if std::env::args().any(|argument| argument == "--list") {
        return;
    }
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(deliveries::SENDER) {
        return deliveries::sender(&arguments.next().expect("the address"));
    }
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| !arg.starts_with('-'))
        .collect();
    for (name, bench) in [
        ("deployment", deployment as fn()),
        ("handover", handover),
        ("pass", pass),
        ("idle", idle),
        ("deliveries", deliveries::deliveries),
        ("builds", builds::builds),
        ("routes", routes::routes),
        ("kubernetes", kubernetes::applications),
        ("logs", daily::logs),
        ("upload", daily::upload),
    ] {
        // These need programs of scripts/build-peer.
        let peers = ["routes", "kubernetes"].contains(&name);
        if (wanted.is_empty() && !peers) || wanted.iter().any(|it| it == name) {
            bench();
        }
    }
}

fn median(mut all: Vec<Duration>) -> Duration {
    all.sort();
    all[all.len() / 2]
}

/// From `kubectl apply` to done, against git clone, docker build and docker run of the same source.
fn deployment() {
    const PAIRS: usize = 9;
    let davit = Davit::up("bench");
    let (mut ours, mut raw) = (Vec::new(), Vec::new());
    for round in 0..PAIRS {
        let page = |who: &str| {
            format!(
                "FROM {BASE_IMAGE}\nRUN echo {who}-{}-{round} > /page\nCMD [\"httpd\", \"-f\", \"-p\", \"80\"]\n",
                unique("b")
            )
        };
        let repo = GitRepo::with(&[("Dockerfile", &page("ours"))]);
        let name = format!("web-{round}");
        let began = Instant::now();
        davit.apply(
            &name,
            json!({"source": {"git": {"url": repo.url()}}, "healthCheck": {"tcp": {"port": 80}}}),
        );
        loop {
            if davit.application(&name)["status"]["phase"] == "done" {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        ours.push(began.elapsed());

        let repo = GitRepo::with(&[("Dockerfile", &page("raw"))]);
        let dir = tempfile::tempdir().unwrap();
        let tag = unique("davit-bench");
        let began = Instant::now();
        run(git(dir.path()).args(["clone", "--quiet", "--depth", "1", &repo.url(), "."]));
        // Debian's client builds with BuildKit by itself; newer ones need a plugin.
        let client = if std::path::Path::new("/usr/bin/docker").exists() {
            "/usr/bin/docker"
        } else {
            "docker"
        };
        run(Command::new(client)
            .env("DOCKER_BUILDKIT", "1")
            .args(["build", "--quiet", "--tag", &tag])
            .arg(dir.path()));
        let container = run(docker().args(["run", "--detach", "--init", &tag]));
        let address = run(docker().args([
            "inspect",
            "--format",
            "{{.NetworkSettings.IPAddress}}",
            &container,
        ]));
        while std::net::TcpStream::connect((address.as_str(), 80)).is_err() {
            std::thread::sleep(Duration::from_millis(5));
        }
        raw.push(began.elapsed());
        run(docker().args(["rm", "--force", &container]));
        run(docker().args(["rmi", "--force", &tag]));
    }
    let ratios: Vec<f64> = ours
        .iter()
        .zip(&raw)
        .map(|(ours, raw)| ours.as_secs_f64() / raw.as_secs_f64())
        .collect();
    let (ours, raw) = (median(ours), median(raw));
    println!(
        "apply to done        {:>7.0} ms (median of {PAIRS})",
        ours.as_secs_f64() * 1000.0
    );
    println!(
        "clone, build and run {:>7.0} ms (median of {PAIRS})",
        raw.as_secs_f64() * 1000.0
    );
    println!(
        "difference           {:>7.0} ms, ratios {ratios:.2?}",
        (ours.as_secs_f64() - raw.as_secs_f64()) * 1000.0
    );
}

/// For how long a host port does not answer at a redeploy, against `docker stop` and `docker run` of the same container; and
/// the first Application of a namespace against later ones, from `kubectl apply` to the first answer.
fn handover() {
    const PAIRS: usize = 9;
    const SCRIPT: &str = "mkdir /w; echo $MARK > /w/index.html; exec httpd -f -p 8080 -h /w";
    let davit = Davit::up("handover");
    let (ours_at, raw_at) = (free_port(), free_port());
    let spec = |mark: usize, port: u16| {
        json!({
            "source": {"docker": {"image": BASE_IMAGE}}, "command": ["sh", "-c", SCRIPT], "stopGracePeriod": "1s",
            "env": [{"name": "MARK", "value": mark.to_string()}],
            "ports": [{"containerPort": 8080, "hostPort": port, "hostIp": "127.0.0.1"}],
        })
    };
    let start = |mark: usize| {
        let (name, env) = (format!("davit-bench-{raw_at}-{mark}"), format!("MARK={mark}"));
        let port = format!("127.0.0.1:{raw_at}:8080");
        let mut command = docker();
        command.args([
            "run",
            "--detach",
            "--init",
            "--stop-timeout",
            "1",
            "--name",
            &name,
        ]);
        run(command.args(["--env", &env, "--publish", &port, BASE_IMAGE, "sh", "-c", SCRIPT]));
    };
    let (mut first, mut later) = (Vec::new(), Vec::new());
    for round in 0..5 {
        // A namespace of its own, with a network that is not there yet.
        let davit = Davit::up(&format!("first-{round}"));
        for (mark, times) in [&mut first, &mut later].into_iter().enumerate() {
            let port = free_port();
            let began = Instant::now();
            davit.apply(&format!("web-{mark}"), spec(mark, port));
            wait_for_page(port, mark);
            times.push(began.elapsed());
        }
    }
    davit.apply("web", spec(0, ours_at));
    wait_for_page(ours_at, 0);
    start(0);
    wait_for_page(raw_at, 0);
    let (mut ours, mut raw) = (Vec::new(), Vec::new());
    for mark in 1..=PAIRS {
        ours.push(silence(ours_at, mark, || davit.apply("web", spec(mark, ours_at))));
        raw.push(silence(raw_at, mark, || {
            let before = format!("davit-bench-{raw_at}-{}", mark - 1);
            run(docker().args(["stop", &before]));
            start(mark);
            run(docker().args(["rm", "--force", &before]));
        }));
    }
    run(docker().args(["rm", "--force", &format!("davit-bench-{raw_at}-{PAIRS}")]));
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    let (ours, raw) = (ms(median(ours)), ms(median(raw)));
    println!("host port away       {ours:>7.0} ms (median of {PAIRS})");
    println!(
        "docker stop and run  {raw:>7.0} ms (median of {PAIRS}), difference {:.0} ms",
        ours - raw
    );
    let (first, later) = (ms(median(first)), ms(median(later)));
    println!(
        "first Application    {first:>7.0} ms, the next {later:.0} ms (medians of 5), difference {:.0} ms",
        first - later
    );
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// The page at this port, if there is one.
fn page(port: u16) -> Option<String> {
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer
        .rsplit_once("\r\n\r\n")
        .map(|(_, body)| body.trim().to_owned())
}

fn wait_for_page(port: u16, mark: usize) {
    while page(port) != Some(mark.to_string()) {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The longest time without an answer for a client that asks every 5 ms, until the page is this one.
fn silence(port: u16, mark: usize, change: impl FnOnce() + Send) -> Duration {
    std::thread::scope(|scope| {
        let client = scope.spawn(move || {
            let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
            loop {
                if let Some(page) = page(port).filter(|page| !page.is_empty()) {
                    longest = longest.max(last.elapsed());
                    last = Instant::now();
                    if page == mark.to_string() {
                        return longest;
                    }
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        change();
        client.join().unwrap()
    })
}

/// A pass that finds nothing to do, in process on an engine in memory: what each look at an Application costs.
fn pass() {
    const APPLICATIONS: u64 = 100;
    const ROUNDS: u64 = 50;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let davit = harness::Harness::start().await;
        let repo = harness::repo("FROM scratch\n");
        for number in 0..APPLICATIONS {
            let spec = json!({"source": harness::source(&repo)});
            davit.apply(&format!("app-{number}"), spec).await;
        }
        for number in 0..APPLICATIONS {
            davit.wait_until_done(&format!("app-{number}")).await;
        }
        davit.wait_until_idle().await;
        let (writes, used) = (davit.status_writes(), cpu(std::process::id()));
        let began = Instant::now();
        for _ in 0..ROUNDS {
            let goal = davit.reconciles() + APPLICATIONS;
            davit.runtime.advance(Duration::ZERO); // Every Application is looked at.
            while davit.reconciles() < goal {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        let passes = APPLICATIONS * ROUNDS;
        println!(
            "a no-op pass         {:>7.0} µs of CPU, {:.0} passes a second, {} writes in {passes} passes",
            (cpu(std::process::id()) - used) as f64 * 1000.0 / passes as f64,
            passes as f64 / began.elapsed().as_secs_f64(),
            davit.status_writes() - writes,
        );
    });
}

/// Memory, CPU time and writes of `davit up` with idle Applications.
fn idle() {
    // A registry that refuses at once, so that what is in the engine is found without waiting for a name server.
    let image = "127.0.0.1:1/davit-idle:1";
    run(docker().args(["tag", BASE_IMAGE, image]));
    for count in [0, 100, 1000] {
        let davit = Davit::up("idle");
        davit.block_on(async {
            let api = davit.applications();
            let all = (0..count).map(|number| {
                let app = json!({
                    "apiVersion": "davit.dev/v1alpha1", "kind": "Application",
                    "metadata": {"name": format!("app-{number}"), "namespace": "idle"},
                    "spec": {"stopped": true, "source": {"docker": {"image": image}}},
                });
                let (api, app) = (api.clone(), serde_json::from_value(app).unwrap());
                async move { api.create(&PostParams::default(), &app).await.map(drop) }
            });
            let created: Vec<_> = futures::stream::iter(all).buffer_unordered(8).collect().await;
            for result in created {
                result.unwrap();
            }
        });
        let settled = || {
            let list = davit.block_on(davit.applications().list(&ListParams::default()));
            let idle = |app: &davit::api::Application| {
                let status = app.status.as_ref();
                status
                    .is_some_and(|status| status.phase == davit::api::Phase::Idle && status.source.is_some())
            };
            list.unwrap().items.iter().all(idle)
        };
        while !settled() {
            std::thread::sleep(Duration::from_millis(200));
        }
        std::thread::sleep(Duration::from_secs(5));
        let (cpu, size) = (cpu(davit.pid()), stored(&davit));
        std::thread::sleep(Duration::from_secs(10));
        println!(
            "{count:>4} idle Applications: {:>6.1} MiB resident ({:.1} MiB of its own), {} ms of CPU in 10 s, {} bytes written",
            memory(davit.pid(), "VmRSS"),
            memory(davit.pid(), "RssAnon"),
            self::cpu(davit.pid()) - cpu,
            stored(&davit).abs_diff(size),
        );
    }
    run(docker().args(["rmi", image]));
}

fn memory(pid: u32, field: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

/// CPU time used so far, in milliseconds.
fn cpu(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let ticks: u64 = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|field| field.parse::<u64>().unwrap())
        .sum();
    let per_second: u64 = run(Command::new("getconf").arg("CLK_TCK")).parse().unwrap();
    ticks * 1000 / per_second
}

fn stored(davit: &Davit) -> u64 {
    let dir = davit.data_dir().join("apiserver");
    std::fs::read_dir(dir)
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.metadata().ok())
        .map(|meta| meta.len())
        .sum()
}
