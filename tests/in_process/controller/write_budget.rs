//! The bounds on a deployment's cost: reconciles of the Application and writes of status.

use davit::api::Release;
use futures::StreamExt as _;
use kube::runtime::watcher;
use serde_json::{Value, json};

use super::harness::{Harness, repo, source};

/// The bounds for one whole deployment, from `kubectl apply` until nothing is left to do.
const PASSES: u64 = 15;
const WRITES: u64 = 12;

#[tokio::test(flavor = "multi_thread")]
async fn deployment_stays_within_its_budget_and_an_idle_application_costs_nothing() {
    let davit = Harness::start().await;
    let repo = repo("FROM scratch\n");
    davit
        .apply("shop", json!({"source": source(&repo), "replicas": 3}))
        .await;
    davit.wait_until_done("shop").await;
    davit.wait_until_idle().await;
    let first = (davit.reconciles(), davit.status_writes());
    assert!(first.0 <= PASSES && first.1 <= WRITES, "{first:?}");

    // A redeploy with something that serves meanwhile.
    repo.commit("Two", &[("Dockerfile", "FROM scratch\nENV A=2\n")]);
    davit.request_reconcile("shop").await;
    davit
        .wait_until("shop", "at its second release", |app| {
            app["status"]["release"]["active"] == "shop-2"
        })
        .await;
    davit.wait_until_done("shop").await;
    davit.wait_until_idle().await;
    let second = (davit.reconciles() - first.0, davit.status_writes() - first.1);
    assert!(second.0 <= PASSES && second.1 <= WRITES, "{second:?}");

    // What looks again without anything new writes only that it has looked.
    let before = (davit.reconciles(), davit.status_writes());
    davit.request_reconcile("shop").await;
    davit.wait_until_idle().await;
    let looked = (davit.reconciles() - before.0, davit.status_writes() - before.1);
    assert!(looked.0 <= 2 && looked.1 <= 1, "{looked:?}");
    // A deployment that fails in its rollout and goes back.
    let bad = "FROM scratch\nENV A=3\n";
    let image = davit::builder::fake::FakeBuilder::id(bad);
    let ends = davit::runtime::fake::Behaviour::Exits {
        code: 3,
        message: "no".to_owned(),
    };
    davit.runtime.script(&image, &ends);
    let before = (davit.reconciles(), davit.status_writes());
    davit
        .patch("shop", json!({"spec": {"restartPolicy": {"condition": "Never"}}}))
        .await;
    davit.wait_until_done("shop").await;
    repo.commit("Three", &[("Dockerfile", bad)]);
    davit.wait_until_idle().await;
    let policy = (davit.reconciles() - before.0, davit.status_writes() - before.1);
    assert!(policy.0 <= PASSES && policy.1 <= WRITES, "{policy:?}");
    let before = (davit.reconciles(), davit.status_writes());
    davit.request_reconcile("shop").await;
    davit
        .wait_until("shop", "in error", |app| app["status"]["phase"] == "error")
        .await;
    davit.wait_until_idle().await;
    let failed = (davit.reconciles() - before.0, davit.status_writes() - before.1);
    assert!(failed.0 <= PASSES && failed.1 <= WRITES, "{failed:?}");

    // A requested reconcile after a failure is another attempt: the cost of one deployment.
    let before = (davit.reconciles(), davit.status_writes());
    davit.request_reconcile("shop").await;
    davit.wait_for_phase("shop-5", "Failed").await;
    davit.wait_until_idle().await;
    let again = (davit.reconciles() - before.0, davit.status_writes() - before.1);
    assert!(again.0 <= PASSES && again.1 <= WRITES, "{again:?}");
    assert_eq!(davit.release_phases("shop").await.len(), 5);
    let before = (davit.reconciles(), davit.status_writes(), davit.runtime.calls());
    davit
        .patch("shop", json!({"metadata": {"labels": {"team": "web"}}}))
        .await;
    davit.wait_until_idle().await;
    assert_eq!(
        (davit.reconciles(), davit.status_writes(), davit.runtime.calls()),
        before,
        "a label is no reason for a pass"
    );
    println!(
        "passes and writes: first {first:?}, redeploy {second:?}, settings {policy:?}, rolled back {failed:?}, looked {looked:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn release_with_a_free_build_slot_is_never_written_as_queued() {
    let davit = Harness::start().await;
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
