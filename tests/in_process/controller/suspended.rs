//! Suspended: nothing is begun, put right or removed, and what is seen is told all the same.

use std::time::Duration;

use davit::api::Release;
use davit::builder::BuildError;
use davit::builder::fake::FakeBuilder;
use davit::runtime::fake::{Behaviour, ManualAction};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::harness::{GOOD, Harness, NEXT, condition, id, repo, source, url_of_db};

#[tokio::test(flavor = "multi_thread")]
async fn stopped_removes_containers_and_suspended_keeps_them() {
    let davit = Harness::start().await;
    let repo = repo("FROM scratch\n");
    davit.apply("shop", json!({"source": source(&repo)})).await;
    davit.wait_until_done("shop").await;
    davit.patch("shop", json!({"spec": {"stopped": true}})).await;
    davit
        .wait_until("shop", "idle", |app| app["status"]["phase"] == "idle")
        .await;
    assert!(davit.runtime.containers(&id("shop")).is_empty());
    davit.patch("shop", json!({"spec": {"stopped": false}})).await;
    davit.wait_until_done("shop").await;
    assert_eq!(davit.builder.built(), ["shop-1"], "its image was still there");

    davit.patch("shop", json!({"spec": {"suspend": true}})).await;
    davit
        .wait_until("shop", "suspended", |app| {
            app["status"]["phase"] == "done" && condition(app, "Ready")["reason"] == "Suspended"
        })
        .await;
    davit.wait_until_idle().await;
    repo.commit("Two", &[("Dockerfile", "FROM scratch\nENV A=2\n")]);
    davit.request_reconcile("shop").await;
    davit.runtime.manually(&id("shop"), ManualAction::Remove);
    davit.wait_until_idle().await;
    let app = davit.application("shop").await;
    assert_eq!(app["status"]["phase"], "error", "what is seen is told: {app:#}");
    assert_eq!(condition(&app, "Healthy")["reason"], "ReplicasMissing");
    assert!(
        davit.runtime.containers(&id("shop")).is_empty(),
        "nothing is put right while it is suspended"
    );
    davit.patch("shop", json!({"spec": {"suspend": false}})).await;
    davit
        .wait_until("shop", "at the newest commit", |app| {
            app["status"]["release"]["active"] == davit_release(app, 2)
        })
        .await;
    davit.wait_until_done("shop").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn release_can_be_cancelled_during_suspension() {
    let (davit, repo) = Harness::with_shop().await;
    davit.build_next(&repo).await;
    davit.patch("shop", json!({"spec": {"suspend": true}})).await;
    davit
        .wait_until("shop", "suspended", |app| {
            app["status"]["phase"] == "running" && condition(app, "Ready")["reason"] == "Suspended"
        })
        .await;
    davit
        .create_release("later", json!({"application": "shop"}))
        .await;
    davit
        .wait_for_release("later", "told why it waits", |release| {
            condition(release, "Ready")["reason"] == "Suspended"
        })
        .await;
    davit.cancel_release("shop-2").await;
    davit.wait_for_phase("shop-2", "Cancelled").await;
    davit.wait_until_idle().await;
    davit.builder.go_on();
    assert_eq!(davit.runtime.containers(&id("shop")).len(), 1);
    davit.patch("shop", json!({"spec": {"suspend": false}})).await;
    davit.wait_for_phase("later", "Succeeded").await;
    davit.wait_until_done("shop").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn build_result_during_suspension_is_recorded_without_a_rollout() {
    let (davit, repo) = Harness::with_shop().await;
    davit.build_next(&repo).await;
    davit.patch("shop", json!({"spec": {"suspend": true}})).await;
    let building =
        |app: &Value| app["status"]["phase"] == "running" && condition(app, "Ready")["reason"] == "Suspended";
    davit
        .wait_until("shop", "suspended while it builds", building)
        .await;
    davit.builder.go_on();
    let release = davit.wait_for_phase("shop-2", "Pending").await;
    assert!(release["status"]["image"].is_string(), "{release:#}");
    assert_eq!(condition(&release, "Ready")["reason"], "Suspended", "{release:#}");
    davit.wait_until_idle().await;
    let app = davit.application("shop").await;
    assert_eq!(app["status"]["phase"], "idle", "nothing is under way: {app:#}");
    let said = condition(&app, "Deployed");
    assert!(
        said["message"]
            .as_str()
            .is_some_and(|said| said.contains("shop-2 continues")),
        "{said}"
    );
    let images = || davit.images("shop");
    assert_eq!(images(), [FakeBuilder::id(GOOD)]);
    davit.patch("shop", json!({"spec": {"suspend": false}})).await;
    davit.wait_for_phase("shop-2", "Succeeded").await;
    davit.wait_until_done("shop").await;
    assert_eq!(images(), [FakeBuilder::id(NEXT)]);
    assert_eq!(
        davit.builder.built(),
        ["shop-1", "shop-2"],
        "nothing is built twice"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn build_that_fails_during_suspension_is_reported() {
    let (davit, repo) = Harness::with_shop().await;
    davit
        .builder
        .fail_next(BuildError::Failed("no such target".to_owned()));
    davit.build_next(&repo).await;
    davit.patch("shop", json!({"spec": {"suspend": true}})).await;
    davit.builder.go_on();
    davit.wait_for_phase("shop-2", "Failed").await;
    let app = davit
        .wait_until("shop", "told to have failed", |app| {
            app["status"]["phase"] == "error"
        })
        .await;
    assert_eq!(condition(&app, "Ready")["reason"], "Suspended", "{app:#}");
    assert_eq!(condition(&app, "Deployed")["reason"], "BuildFailed", "{app:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pending_change_during_suspension_is_reported_by_its_fields() {
    let davit = Harness::start().await;
    let repo = repo(GOOD);
    davit.set_database_secret("one").await;
    davit
        .apply("shop", json!({"source": source(&repo), "env": url_of_db()}))
        .await;
    davit.wait_until_done("shop").await;
    davit.patch("shop", json!({"spec": {"suspend": true}})).await;
    davit
        .wait_until("shop", "suspended", |app| {
            condition(app, "Ready")["reason"] == "Suspended"
        })
        .await;
    let says = async |text: &str| {
        let said = |app: &Value| {
            let deployed = condition(app, "Deployed");
            deployed["message"]
                .as_str()
                .is_some_and(|said| said.contains(text))
        };
        davit.wait_until("shop", text, said).await
    };
    davit.set_database_secret("two").await;
    let app = says("not what is wanted now").await;
    assert_eq!(app["status"]["phase"], "idle", "nothing is under way: {app:#}");
    assert_eq!(condition(&app, "Healthy")["status"], "True", "{app:#}");
    let secrets = davit.api::<Secret>();
    secrets.delete("db", &DeleteParams::default()).await.unwrap();
    let app = says("is not known").await;
    let said = condition(&app, "Deployed");
    assert!(
        said["message"]
            .as_str()
            .is_some_and(|said| said.contains("secretKeyRef")),
        "{said}"
    );
    davit.set_database_secret("one").await;
    says("is what runs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn releases_are_numbered_in_order_of_creation() {
    let (davit, _repo) = Harness::with_shop().await;
    let spec = json!({"spec": {"suspend": true, "concurrencyPolicy": "Queue"}});
    davit.patch("shop", spec).await;
    davit
        .wait_until("shop", "suspended", |app| {
            condition(app, "Ready")["reason"] == "Suspended"
        })
        .await;
    in_their_order(&davit, "shop", [2, 3]).await;
    davit.patch("shop", json!({"spec": {"suspend": false}})).await;
    davit.wait_for_phase("late", "Succeeded").await;
    davit.wait_until_done("shop").await;
    // And where there is no Application yet.
    for name in ["early", "late"] {
        let releases = davit.api::<Release>();
        releases.delete(name, &DeleteParams::default()).await.unwrap();
    }
    in_their_order(&davit, "shop2", [1, 2]).await;
}

/// Asks for two Releases and writes to the older one: its number is the lower one all the same.
async fn in_their_order(davit: &Harness, application: &str, numbers: [i64; 2]) {
    for name in ["early", "late"] {
        davit
            .create_release(name, json!({"application": application}))
            .await;
    }
    let numbered = |number: i64| move |release: &Value| release["status"]["number"] == number;
    davit
        .wait_for_release("early", "numbered", numbered(numbers[0]))
        .await;
    davit
        .wait_for_release("late", "numbered", numbered(numbers[1]))
        .await;
    let label = Patch::Merge(json!({"metadata": {"labels": {"team": "web"}}}));
    let releases = davit.api::<Release>();
    releases
        .patch("early", &PatchParams::default(), &label)
        .await
        .unwrap();
    davit.wait_until_idle().await;
    davit
        .wait_for_release("early", "numbered", numbered(numbers[0]))
        .await;
}

/// The newest Release's name, where it is at least the `least`th.
fn davit_release(app: &Value, least: i64) -> Value {
    let release = &app["status"]["release"];
    if release["count"].as_i64() >= Some(least) {
        release["latest"].clone()
    } else {
        Value::Bool(false)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn release_during_suspension_is_reported_as_suspended() {
    let (mut davit, repo) = Harness::with_shop().await;
    davit.build_next(&repo).await;
    davit.patch("shop", json!({"spec": {"suspend": true}})).await;
    let suspended = |app: &Value| condition(app, "Ready")["reason"] == "Suspended";
    davit.wait_until("shop", "suspended", suspended).await;
    // Its build ends with Davit.
    davit.stop_controller().await;
    davit.builder.go_on();
    davit.start_controller();
    let release = davit.wait_for_phase("shop-2", "Pending").await;
    assert_eq!(condition(&release, "Ready")["reason"], "Suspended", "{release:#}");
    davit
        .wait_until("shop", "idle", |app| app["status"]["phase"] == "idle")
        .await;
    davit.patch("shop", json!({"spec": {"suspend": false}})).await;
    davit.wait_for_phase("shop-2", "Succeeded").await;
    davit.wait_until_done("shop").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queued_build_stays_queued_during_suspension() {
    let (davit, repo) = Harness::with_shop().await;
    davit.builder.hold();
    let others = ["one", "two"].map(|name| (name, super::harness::repo(&format!("{NEXT}ENV A={name}\n"))));
    for (name, repo) in &others {
        davit.apply(name, json!({"source": source(repo)})).await;
        davit.wait_for_phase(&format!("{name}-1"), "Building").await;
    }
    repo.commit("Next", &[("Dockerfile", NEXT)]);
    davit.request_reconcile("shop").await;
    let queued = |release: &Value| release["status"]["queue"]["position"] == 1;
    davit.wait_for_release("shop-2", "queued", queued).await;
    davit.patch("shop", json!({"spec": {"suspend": true}})).await;
    let suspended = |release: &Value| {
        condition(release, "Ready")["reason"] == "Suspended" && release["status"]["queue"].is_null()
    };
    davit
        .wait_for_release("shop-2", "taken from the queue", suspended)
        .await;
    davit.builder.go_on();
    davit.wait_until_done("one").await;
    davit.wait_until_done("two").await;
    davit.wait_until_idle().await;
    assert_eq!(davit.builder.built().len(), 3, "it has not begun");
    davit.patch("shop", json!({"spec": {"suspend": false}})).await;
    davit.wait_for_phase("shop-2", "Succeeded").await;
    davit.wait_until_done("shop").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rollout_deadline_is_paused_during_suspension() {
    let (davit, _repo) = Harness::with_shop().await;
    let image = FakeBuilder::id(GOOD);
    davit
        .runtime
        .script(&image, &Behaviour::Unhealthy("not yet".to_owned()));
    let slow = json!({"spec": {"rollout": {"progressDeadline": "2s"}, "env": [{"name": "A", "value": "1"}]}});
    davit.patch("shop", slow).await;
    davit.wait_for_phase("shop-2", "Verifying").await;
    davit.patch("shop", json!({"spec": {"suspend": true}})).await;
    let suspended = |release: &Value| condition(release, "Ready")["reason"] == "Suspended";
    davit
        .wait_for_release("shop-2", "told why nothing is done", suspended)
        .await;
    let passes = davit.reconciles();
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert!(davit.reconciles() < passes + 5, "nobody waits for its deadline");
    davit.runtime.script(&image, &Behaviour::Healthy);
    davit.patch("shop", json!({"spec": {"suspend": false}})).await;
    davit.wait_for_phase("shop-2", "Succeeded").await;
    davit.wait_until_done("shop").await;
}
