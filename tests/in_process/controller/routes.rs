//! Routes on their way into the file of a reverse proxy.

use serde_json::{Value, json};

use super::harness::{GOOD, Harness, condition, repo, source};
use crate::common::git_repo::GitRepo;

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
