//! Routes on their way into the file of a reverse proxy.

use serde_json::{Value, json};

use super::harness::{GOOD, Harness, condition, repo, source};
use crate::common::git_repo::GitRepo;
use crate::common::is_of_the_past;

async fn apply(davit: &Harness, repo: &GitRepo, name: &str, routes: Value) {
    let spec =
        json!({"source": source(repo), "ports": [{"name": "http", "containerPort": 8080}], "routes": routes});
    davit.apply(name, spec).await;
    davit.wait_until_done(name).await;
}

async fn wait_for_reason(davit: &Harness, name: &str, reason: &str) -> String {
    let app = davit
        .wait_until(name, reason, |app| {
            condition(app, "RoutesReady")["reason"] == reason
        })
        .await;
    condition(&app, "RoutesReady")["message"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// The servers of a route in the file.
fn servers(davit: &Harness, router: &str) -> Vec<String> {
    let file = davit.routes_directory().join("davit-loop.yml");
    let Ok(text) = std::fs::read_to_string(file) else {
        return Vec::new();
    };
    let shown: Value = serde_json::from_str(&text).expect("the file is never a part");
    let servers = shown["http"]["services"][router]["loadBalancer"]["servers"]
        .as_array()
        .cloned();
    let servers = servers.unwrap_or_default();
    servers
        .iter()
        .map(|server| server["url"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_without_a_proxy_are_reported() {
    let (davit, repo) = (Harness::start().await, repo(GOOD));
    apply(&davit, &repo, "shop", json!([{"host": "shop.example.com"}])).await;
    let message = wait_for_reason(&davit, "shop", "ProxyMissing").await;
    assert!(message.contains("--traefik-config"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn healthy_replicas_are_in_the_file_and_a_freed_host_is_taken_over() {
    let (mut davit, repo) = (Harness::start_with_routes().await, repo(GOOD));
    apply(&davit, &repo, "old", json!([{"host": "shop.example.com"}])).await;
    wait_for_reason(&davit, "old", "RouteUnobserved").await;
    let of_old = servers(&davit, "loop_default_old_0");
    assert!(of_old.len() == 1 && of_old[0].ends_with(":8080"), "{of_old:?}");

    let old = davit.application("old").await;
    davit.until("in the next second", || is_of_the_past(&old)).await;
    apply(&davit, &repo, "young", json!([{"host": "shop.example.com"}])).await;
    let message = wait_for_reason(&davit, "young", "RouteConflict").await;
    assert!(message.contains("the older Application old has it"), "{message}");
    assert!(servers(&davit, "loop_default_young_0").is_empty());

    // A new process writes nothing before it has seen both.
    davit.kill();
    davit.start_controller();
    davit.patch("old", json!({"spec": {"routes": []}})).await;
    wait_for_reason(&davit, "young", "RouteUnobserved").await;
    assert_eq!(servers(&davit, "loop_default_young_0").len(), 1);
    assert!(servers(&davit, "loop_default_old_0").is_empty());
    davit
        .wait_until("old", "without routes", |app| {
            condition(app, "RoutesReady").is_null()
        })
        .await;
    assert_eq!(davit.releases("old").await.len(), 1, "routes are no release");
}

/// The examples of docs/routes.md that begin with `routes:`.
fn examples() -> Vec<Value> {
    let page = include_str!("../../../docs/routes.md");
    let blocks = page
        .split("```yaml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap());
    let routes = blocks.filter(|block| block.starts_with("routes:"));
    routes
        .map(|block| serde_yaml::from_str::<Value>(block).unwrap()["routes"].take())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_of_the_page_is_accepted() {
    let (davit, repo) = (Harness::start_with_routes().await, repo(GOOD));
    let examples = examples();
    assert!(examples.len() >= 10, "{}", examples.len());
    let count = examples.len();
    for (number, routes) in examples.into_iter().enumerate() {
        let ports = json!([{"name": "http", "containerPort": 8080}]);
        // An example that names a port needs it.
        let named: Vec<Value> = routes
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|route| route["port"].as_str())
            .map(|name| json!({"name": name, "containerPort": 9090}))
            .collect();
        let ports = if named.is_empty() {
            ports
        } else {
            Value::Array(named)
        };
        let spec = json!({"source": source(&repo), "ports": ports, "routes": routes});
        davit.apply(&format!("example-{number}"), spec).await;
    }
    for number in 0..count {
        let app = davit
            .wait_until(&format!("example-{number}"), "judged", |app| {
                let reason = condition(app, "RoutesReady")["reason"].clone();
                reason.is_string() && reason != "RoutePending"
            })
            .await;
        let found = condition(&app, "RoutesReady");
        // Several examples have the same host, and no Secret exists here.
        let expected = match found["reason"].as_str().unwrap() {
            "RouteUnobserved" | "RouteConflict" | "RouteHasNoReplica" => true,
            "RouteInvalid" => found["message"].as_str().unwrap().contains("Secret"),
            _ => false,
        };
        assert!(expected, "{number}: {found}");
    }
}
