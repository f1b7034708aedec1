//! No request fails while Releases replace each other, some fail, and Davit is killed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Proxy, web};

/// Requests a second, of each of two kinds of clients together.
const RATE: u64 = 500;
/// The Releases, of which every sixth fails.
const RELEASES: usize = 13;
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

fn release(number: usize, good: bool) -> Value {
    let mut spec = web(&format!("release-{number}"), json!([{"host": "web.example.com"}]));
    if !good {
        spec["command"] = json!(["sleep", "1000"]);
    }
    spec["replicas"] = json!(1 + number % 2);
    spec["rollout"] = json!({"progressDeadline": "8s", "minReady": "0s"});
    spec
}

/// A machine with a load of 13 for its two cores failed 28 of 54,646 requests, a quiet one none: the cause is not known yet.
#[test]
#[ignore = "needs a quiet machine; cargo test --features peers --test conformance -- --ignored routes::rollout"]
fn no_request_fails_while_releases_replace_each_other_and_davit_is_killed() {
    let mut proxy = Proxy::up("rolled", &[]);
    proxy.davit.apply("web", release(0, true));
    proxy.wait_ready("web");
    let seen = Arc::new(Seen::default());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let load = runtime.spawn(load(proxy.http.number(), Arc::clone(&seen)));
    for number in 1..=RELEASES {
        let good = number % 6 != 0;
        // A merge patch, which a status that is written meanwhile does not conflict with.
        proxy.davit.patch("web", json!({"spec": release(number, good)}));
        if number % 3 == 0 {
            // In the middle of it.
            proxy.davit.wait_until("web", 60, "under way", |app| {
                app["status"]["release"]["latest"] == format!("web-{}", number + 1)
            });
            proxy.davit.kill();
            proxy.davit.start();
        }
        let name = format!("web-{}", number + 1);
        let phase = if good { "Succeeded" } else { "Failed" };
        proxy
            .davit
            .wait_until("web", 120, &format!("{name} {phase}"), |_| {
                proxy
                    .davit
                    .releases_of("web")
                    .iter()
                    .any(|release| release["metadata"]["name"] == name && release["status"]["phase"] == phase)
            });
    }
    // Until the last old containers are gone.
    proxy.davit.wait_until("web", 60, "settled", |app| {
        app["status"]["replicas"] == app["status"]["readyReplicas"]
            && app["spec"]["replicas"] == proxy.davit.containers("web").len()
    });
    load.abort();
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let failed = seen.failed.lock().clone();
    eprintln!(
        "{} requests, {} good, {} failed",
        count(&seen.begun),
        count(&seen.good),
        failed.len()
    );
    assert!(
        failed.is_empty(),
        "{} of {} failed: {failed:?}",
        failed.len(),
        count(&seen.begun)
    );
    assert!(
        count(&seen.good) > 2_000,
        "only {} requests were answered",
        count(&seen.good)
    );
}
