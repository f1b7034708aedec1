//! What becomes of containers that do not do what was hoped.

use std::time::Duration;

use davit::builder::fake::FakeBuilder;
use davit::runtime::fake::Behaviour;
use serde_json::json;

use super::harness::{GOOD, Harness, condition, id, repo, source};
use crate::common::git_repo::GitRepo;

const BAD: &str = "FROM scratch\nENV BAD=1\n";

/// A loop with an Application that serves, and a next commit whose containers do `behaviour`.
async fn with_a_bad_commit(behaviour: &Behaviour, rollout: serde_json::Value) -> (Harness, GitRepo) {
    let davit = Harness::start().await;
    davit.runtime.script(&FakeBuilder::id(BAD), behaviour);
    let repo = repo(GOOD);
    let spec = json!({"source": source(&repo), "rollout": rollout});
    davit.apply("shop", spec).await;
    davit.wait_until_done("shop").await;
    repo.commit("Bad", &[("Dockerfile", BAD)]);
    davit.request_reconcile("shop").await;
    davit.wait_for_phase("shop-2", "Verifying").await;
    (davit, repo)
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_loop_is_rolled_back() {
    let ends = Behaviour::Exits {
        code: 3,
        message: "no database".to_owned(),
    };
    let (davit, _repo) = with_a_bad_commit(&ends, json!({})).await;
    while davit.release_phases("shop").await.last().map(String::as_str) != Some("shop-2: Failed") {
        davit.runtime.advance(Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    davit.wait_until_idle().await;
    let app = davit.application("shop").await;
    let ready = condition(&app, "Ready");
    assert_eq!(ready["reason"], "ContainerExited", "{app:#}");
    let message = ready["message"].as_str().unwrap();
    assert!(
        message.contains("code 3") && message.contains("no database"),
        "{message}"
    );
    assert_eq!(app["status"]["phase"], "error");
    assert_eq!(app["status"]["release"]["active"], "shop-1");
    assert_eq!(condition(&app, "Healthy")["status"], "True", "{app:#}");
    let failed = davit.wait_for_phase("shop-2", "Failed").await;
    assert_eq!(
        failed["status"]["failure"]["logTail"], "no database",
        "{failed:#}"
    );
    assert_eq!(davit.images("shop"), [FakeBuilder::id(GOOD)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn unhealthy_containers_fail_the_release_at_the_deadline() {
    let sick = Behaviour::Unhealthy("connection refused".to_owned());
    let (davit, _repo) = with_a_bad_commit(&sick, json!({"progressDeadline": "2s"})).await;
    davit
        .runtime
        .write_log(&FakeBuilder::id(BAD), "starting\n  no database\n");
    assert_eq!(davit.images("shop").len(), 2, "the old one serves meanwhile");
    let app = davit
        .wait_until("shop", "in error", |app| app["status"]["phase"] == "error")
        .await;
    let message = condition(&app, "Ready")["message"].as_str().unwrap().to_owned();
    assert!(
        message.contains("connection refused") && message.contains("spec.healthCheck"),
        "{message}"
    );
    let failed = davit.wait_for_phase("shop-2", "Failed").await;
    assert_eq!(
        failed["status"]["failure"]["logTail"], "starting\n  no database",
        "{failed:#}"
    );
    davit.wait_until_idle().await;
    assert_eq!(davit.images("shop"), [FakeBuilder::id(GOOD)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_containers_stay_without_auto_rollback() {
    let sick = Behaviour::Unhealthy("connection refused".to_owned());
    let rollout = json!({"progressDeadline": "1s", "autoRollback": false});
    let (davit, _repo) = with_a_bad_commit(&sick, rollout).await;
    davit
        .wait_until("shop", "in error", |app| app["status"]["phase"] == "error")
        .await;
    davit.wait_until_idle().await;
    let mut both = [FakeBuilder::id(GOOD), FakeBuilder::id(BAD)];
    both.sort();
    assert_eq!(
        davit.images("shop"),
        both,
        "the old one serves, the new one can be looked at"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn new_containers_serve_after_min_ready() {
    let davit = Harness::start().await;
    let repo = repo(GOOD);
    let spec = json!({"source": source(&repo), "replicas": 2, "rollout": {"minReady": "1h", "progressDeadline": "2h"}});
    davit.apply("shop", spec).await;
    davit.wait_for_phase("shop-1", "Verifying").await;
    davit.wait_until_idle().await;
    assert_eq!(davit.application("shop").await["status"]["phase"], "running");
    davit.runtime.advance(Duration::from_secs(3601));
    davit.wait_until_done("shop").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unhealthy_application_is_an_error_until_it_is_healthy() {
    let (davit, _repo) = Harness::with_shop().await;
    let image = FakeBuilder::id(GOOD);
    davit
        .runtime
        .script(&image, &Behaviour::Unhealthy("500".to_owned()));
    let app = davit
        .wait_until("shop", "ill", |app| app["status"]["phase"] == "error")
        .await;
    assert_eq!(condition(&app, "Healthy")["status"], "False");
    assert_eq!(app["status"]["readyReplicas"], 0);
    davit.runtime.script(&image, &Behaviour::Healthy);
    davit.wait_until_done("shop").await;
    assert_eq!(davit.release_phases("shop").await, ["shop-1: Succeeded"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_first_release_leaves_no_container() {
    let davit = Harness::start().await;
    davit.runtime.script(
        &FakeBuilder::id(BAD),
        &Behaviour::RefusesToStart("exec /bin/shop: no such file".to_owned()),
    );
    let repo = repo(BAD);
    davit.apply("shop", json!({"source": source(&repo)})).await;
    let app = davit
        .wait_until("shop", "in error", |app| app["status"]["phase"] == "error")
        .await;
    let message = condition(&app, "Ready")["message"].as_str().unwrap().to_owned();
    assert!(message.contains("no such file"), "{message}");
    davit.wait_until_idle().await;
    assert!(davit.images("shop").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_containers_are_removed_although_the_previous_ones_completed() {
    let davit = Harness::start().await;
    let sick = Behaviour::Unhealthy("connection refused".to_owned());
    davit.runtime.script(&FakeBuilder::id(BAD), &sick);
    let repo = repo(GOOD);
    davit
        .apply(
            "shop",
            json!({"source": source(&repo), "restartPolicy": {"condition": "Never"},
                "rollout": {"strategy": "StopFirst", "progressDeadline": "1s"}}),
        )
        .await;
    davit.wait_until_done("shop").await;
    let ends = Behaviour::Exits {
        code: 0,
        message: "all done".to_owned(),
    };
    davit.runtime.script(&FakeBuilder::id(GOOD), &ends);
    davit
        .wait_until("shop", "over", |app| {
            condition(app, "Stalled")["status"] == "True"
        })
        .await;
    repo.commit("Bad", &[("Dockerfile", BAD)]);
    davit.request_reconcile("shop").await;
    davit.wait_for_phase("shop-2", "Failed").await;
    davit.wait_until_idle().await;
    assert_eq!(davit.images("shop"), [FakeBuilder::id(GOOD)]);

    let again = json!({"rollout": {"progressDeadline": "1h"}, "env": [{"name": "A", "value": "1"}]});
    davit.patch("shop", json!({"spec": again})).await;
    davit.wait_for_phase("shop-3", "Verifying").await;
    davit.cancel_release("shop-3").await;
    davit.wait_for_phase("shop-3", "Cancelled").await;
    davit.wait_until_idle().await;
    assert_eq!(davit.images("shop"), [FakeBuilder::id(GOOD)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rollback_target_stays_after_a_failed_release_of_the_same_containers() {
    let davit = Harness::start().await;
    let sick = Behaviour::Unhealthy("connection refused".to_owned());
    davit.runtime.script(&FakeBuilder::id(BAD), &sick);
    let repo = repo(GOOD);
    let rollout = json!({"strategy": "StopFirst", "progressDeadline": "1s"});
    davit
        .apply("shop", json!({"source": source(&repo), "rollout": rollout}))
        .await;
    davit.wait_until_done("shop").await;
    let served = davit.runtime.containers(&id("shop"))[0].seen.id.clone();
    davit.runtime.script(&FakeBuilder::id(GOOD), &sick);
    davit
        .create_release("again", json!({"application": "shop"}))
        .await;
    davit.wait_for_phase("again", "Failed").await;
    davit.runtime.script(&FakeBuilder::id(GOOD), &Behaviour::Healthy);
    davit.wait_until_idle().await;

    repo.commit("Bad", &[("Dockerfile", BAD)]);
    davit.request_reconcile("shop").await;
    let app = davit
        .wait_until("shop", "stopped for the new one", |app| {
            condition(app, "Healthy")["reason"] == "ReplicasMissing"
        })
        .await;
    let said = condition(&app, "Healthy")["message"].as_str().unwrap().to_owned();
    assert!(
        said.contains("stopped to make room for release shop-3") && !said.contains("ended"),
        "{said}"
    );
    davit.wait_for_phase("shop-3", "Failed").await;
    davit
        .wait_until("shop", "served again", |app| {
            condition(app, "Healthy")["status"] == "True"
        })
        .await;
    davit.wait_until_idle().await;
    let left = davit.runtime.containers(&id("shop"));
    assert_eq!(left.len(), 1, "{left:#?}");
    assert_eq!(left[0].seen.id, served, "it was kept and started again");
}
