//! What is requested: rates in `davit top` and `/metrics`, and the access log.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::{PATIENCE, Proxy, web};
use crate::common::http::get;
use crate::common::{run, wait_for};

fn davit(proxy: &Proxy, args: &[&str]) -> String {
    run(Command::new(env!("CARGO_BIN_EXE_davit"))
        .args(args)
        .args(["-n", &proxy.davit.namespace])
        .env("KUBECONFIG", proxy.davit.kubeconfig())
        .stdin(Stdio::null()))
}

#[test]
fn requests_are_counted_and_logged_for_each_application() {
    let flags = [
        "--access-log",
        "--metrics-per-application",
        "--health-listen=127.0.0.1:0",
    ];
    let proxy = Proxy::up("counted", &flags);
    proxy
        .davit
        .apply("web", web("hello", json!([{"host": "web.example.com"}])));
    proxy
        .davit
        .apply("other", web("other", json!([{"host": "other.example.com"}])));
    proxy.wait_ready("web");
    proxy.wait_ready("other");
    let requested = || -> Value {
        let list: Value = serde_json::from_str(&davit(&proxy, &["top", "-o", "json"])).unwrap();
        let items = list["items"].as_array().unwrap();
        items
            .iter()
            .find(|item| item["metadata"]["name"] == "web")
            .unwrap()["requests"]
            .clone()
    };
    let before = requested()["total"].as_u64().unwrap();
    for _ in 0..20 {
        assert_eq!(proxy.get("web.example.com", "/?token=secret").status, 200);
    }
    assert_eq!(proxy.get("web.example.com", "/none").status, 404);
    let total = || requested()["total"].as_u64().unwrap();
    wait_for("the requests to be counted", PATIENCE, || {
        (total() == before + 21).then_some(())
    });
    // Rates and latencies of requests during the measurement.
    let seen = wait_for("rates", PATIENCE, || {
        let found = std::thread::scope(|scope| {
            let asked = scope.spawn(requested);
            while !asked.is_finished() {
                assert_eq!(proxy.get("web.example.com", "/").status, 200);
            }
            asked.join().unwrap()
        });
        found["p95Seconds"].is_number().then_some(found)
    });
    assert!(
        seen["perSecond"].as_f64().unwrap() > 0.0 && seen["errorsPerSecond"] == 0.0,
        "{seen}"
    );
    let table = davit(&proxy, &["top"]);
    assert!(
        table.lines().next().unwrap().ends_with("LATENCY / P95"),
        "{table}"
    );

    let address = proxy.davit.health_address().unwrap();
    let text = get(&format!("http://{address}/metrics")).body;
    let series = format!(
        "{{namespace=\"{}\",application=\"web\",code=\"4xx\"}} 1",
        proxy.davit.namespace
    );
    assert!(
        text.contains(&format!("davit_application_requests_total{series}")),
        "{text}"
    );
    assert!(
        text.contains("davit_application_request_duration_seconds_bucket"),
        "{text}"
    );

    let lines = davit(&proxy, &["logs", "web", "--access"]);
    let good = lines
        .lines()
        .filter(|line| line.contains(" GET web.example.com/ 200 "))
        .count();
    assert!(
        good >= 20 && lines.contains(" GET web.example.com/none 404 "),
        "{lines}"
    );
    assert!(
        !lines.contains("secret") && !lines.contains("other.example.com"),
        "{lines}"
    );
    let last = davit(&proxy, &["logs", "web", "--access", "--tail", "3"]);
    assert_eq!(last.lines().count(), 3, "{last}");
}
