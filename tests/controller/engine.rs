//! What an engine of builds and one of containers make the loop write, and what not.

use davit::api::Release;
use futures::StreamExt as _;
use kube::runtime::watcher;
use serde_json::{Value, json};

use crate::rig::{Loop, repo, source};

#[tokio::test(flavor = "multi_thread")]
async fn with_a_free_place_no_release_is_ever_written_as_queued() {
    let davit = Loop::start().await;
    let api = davit.api::<Release>();
    let mut seen = std::pin::pin!(watcher(api, watcher::Config::default()));
    let repo = repo("FROM scratch\n");
    davit.apply("shop", json!({"source": source(&repo)})).await;
    let mut phases = Vec::new();
    while let Some(event) = seen.next().await {
        let (watcher::Event::Apply(release) | watcher::Event::InitApply(release)) = event.unwrap() else {
            continue;
        };
        let status = serde_json::to_value(&release).unwrap()["status"].clone();
        assert_eq!(status["queue"], Value::Null, "{status:#}");
        let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
        let queued = conditions.iter().any(|condition| condition["reason"] == "Queued");
        assert!(!queued, "{status:#}");
        phases.push(status["phase"].clone());
        if status["phase"] == "Succeeded" {
            break;
        }
    }
    assert!(phases.iter().any(|phase| phase == "Fetching"), "{phases:?}");
}
