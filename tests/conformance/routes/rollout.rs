//! No request fails while Releases replace each other, some fail, and Davit is killed.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Proxy, web};
use crate::common::docker::{BASE_IMAGE, docker};
use crate::common::{run, wait_for};

/// Requests a second.
const RATE: u64 = 500;
/// The Releases, of which every sixth fails. `DAVIT_TEST_RELEASES` sets another number: with 120, 100 of them succeed, 20 fail, and
/// Davit is killed ten times.
const RELEASES: usize = 13;
/// How often Davit is killed.
const KILLS: usize = 10;
/// The longest that a request may take: a lost packet is sent again after 1 s, and once more after 3 s.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the clients have seen.
#[derive(Default)]
struct Seen {
    begun: AtomicU64,
    good: AtomicU64,
    under_way: AtomicUsize,
    failed: Mutex<Vec<String>>,
}

/// One request over a connection of its own, as most clients of a page send it.
async fn once(port: u16) -> Result<String, String> {
    let said = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.map_err(said)?;
    let request = b"GET / HTTP/1.1\r\nHost: web.example.com\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.map_err(said)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.map_err(said)?;
    Ok(answer)
}

async fn load(port: u16, seen: Arc<Seen>) {
    let mut clock = tokio::time::interval(Duration::from_micros(1_000_000 / RATE));
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        clock.tick().await;
        // A machine that is slower than that is not the subject.
        if seen.under_way.load(Ordering::Relaxed) > 400 {
            continue;
        }
        let seen = Arc::clone(&seen);
        seen.begun.fetch_add(1, Ordering::Relaxed);
        seen.under_way.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(async move {
            let answer = tokio::time::timeout(PATIENCE, once(port)).await;
            match answer {
                Ok(Ok(answer)) if answer.starts_with("HTTP/1.1 200") && answer.contains("release-") => {
                    seen.good.fetch_add(1, Ordering::Relaxed);
                }
                Ok(other) => {
                    let text = other.unwrap_or_else(|error| error);
                    seen.failed
                        .lock()
                        .push(text.lines().next().unwrap_or("nothing").to_owned());
                }
                Err(_) => seen.failed.lock().push("no answer in time".to_owned()),
            }
            seen.under_way.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

/// An image with Davit's own web server, which keeps connections and takes as many as come: busybox' httpd has a queue of nine.
fn server_image() -> String {
    const SERVER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/davit-static-server"));
    let name = "davit-test-routed:1".to_owned();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("server");
    std::fs::write(&file, SERVER).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    let container = run(docker().args(["create", BASE_IMAGE])).trim().to_owned();
    run(docker().arg("cp").arg(&file).arg(format!("{container}:/server")));
    run(docker().args(["commit", &container, &name]));
    run(docker().args(["rm", &container]));
    name
}

fn release(image: &str, number: usize, good: bool) -> Value {
    let mut spec = web("", json!([{"host": "web.example.com"}]));
    let serve = format!(
        "mkdir /w; echo release-{number} >/w/index.html; exec /server --root /w --listen 0.0.0.0:8080"
    );
    spec["source"]["docker"]["image"] = json!(image);
    spec["command"] = if good {
        json!(["sh", "-c", serve])
    } else {
        json!(["sleep", "1000"])
    };
    spec["replicas"] = json!(1 + number % 2);
    // A good one on a loaded machine must not become one that fails.
    let deadline = if good { "5m" } else { "8s" };
    spec["rollout"] = json!({"progressDeadline": deadline, "minReady": "0s"});
    spec
}

/// Reports the requests so far, of which none has failed, and returns how many were answered.
#[expect(clippy::print_stderr, reason = "a run of half an hour tells how far it is")]
fn report(seen: &Seen, releases: usize, proxy: &Proxy) -> u64 {
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let (begun, good) = (count(&seen.begun), count(&seen.good));
    let failed = seen.failed.lock().clone();
    eprintln!(
        "{releases} Releases: {begun} requests, {good} good, {} failed",
        failed.len()
    );
    assert!(
        failed.is_empty(),
        "{} of {begun} failed before Release {releases} had ended: {failed:?}\n{}",
        failed.len(),
        run(docker().arg("logs").args(proxy.traefik()))
    );
    good
}

#[test]
fn no_request_fails_while_releases_replace_each_other_and_davit_is_killed() {
    let releases = std::env::var("DAVIT_TEST_RELEASES").map_or(RELEASES, |number| number.parse().unwrap());
    // Twelve Releases with ten kills would leave none that is not disturbed.
    let every = (releases / KILLS).max(3);
    let mut proxy = Proxy::up(
        "rolled",
        &[
            "--traefik-arg=--accesslog=true",
            "--traefik-arg=--accesslog.format=json",
            "--traefik-arg=--accesslog.filters.statuscodes=400-599",
        ],
    );
    let image = server_image();
    proxy.davit.apply("web", release(&image, 0, true));
    proxy.wait_ready("web");
    let seen = Arc::new(Seen::default());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let load = runtime.spawn(load(proxy.http.number(), Arc::clone(&seen)));
    for number in 1..=releases {
        let good = number % 6 != 0;
        // A merge patch, which a status that is written meanwhile does not conflict with.
        proxy
            .davit
            .patch("web", json!({"spec": release(&image, number, good)}));
        if number % every == 0 {
            // In the middle of it.
            proxy.davit.wait_until("web", 120, "under way", |app| {
                app["status"]["release"]["latest"] == format!("web-{}", number + 1)
            });
            proxy.davit.kill();
            proxy.davit.start();
        }
        let name = format!("web-{}", number + 1);
        let phase = if good { "Succeeded" } else { "Failed" };
        proxy
            .davit
            .wait_until("web", 300, &format!("{name} {phase}"), |_| {
                proxy
                    .davit
                    .releases_of("web")
                    .iter()
                    .any(|release| release["metadata"]["name"] == name && release["status"]["phase"] == phase)
            });
        if number % 10 == 0 || number == releases {
            report(&seen, number, &proxy);
        }
    }
    // Until the last old containers are gone.
    proxy.davit.wait_until("web", 120, "settled", |app| {
        let replicas = &app["status"]["replicas"];
        // After one that failed, those of the Release before serve.
        *replicas == app["status"]["readyReplicas"] && *replicas == proxy.davit.containers("web").len()
    });
    load.abort();
    wait_for("the last answers", PATIENCE * 2, || {
        (seen.under_way.load(Ordering::Relaxed) == 0).then_some(())
    });
    let good = report(&seen, releases, &proxy);
    assert!(good > 2_000, "only {good} requests were answered");
}
