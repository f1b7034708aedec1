//! `hooks.preDeploy`: it runs once for each Release, and what runs before is unaffected by its failure.

use davit::builder::fake::FakeBuilder;
use davit::model::AppId;
use davit::runtime::fake::Behaviour;
use serde_json::{Value, json};

use super::harness::{GOOD, Harness, NEXT, condition, id};

fn hook(more: &Value) -> Value {
    let mut hook = json!({"command": ["migrate", "--to=latest"]});
    for (field, value) in more.as_object().unwrap() {
        hook[field] = value.clone();
    }
    // The commit before it is looked for in the same reconcile.
    let now = json!({"annotations": {"davit.dev/requestedAt": "now"}});
    json!({"metadata": now, "spec": {"hooks": {"preDeploy": hook}}})
}

fn hook_id() -> AppId {
    id("shop").hook()
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_hook_fails_the_release_and_the_earlier_one_serves() {
    let (davit, repo) = Harness::with_shop().await;
    let next = FakeBuilder::id(NEXT);
    davit.runtime.script(
        &next,
        &Behaviour::Exits {
            code: 3,
            message: "no such table".to_owned(),
        },
    );
    davit.runtime.write_log(&next, "migrating\nno such table\n");
    repo.commit("Next", &[("Dockerfile", NEXT)]);
    davit.patch("shop", hook(&json!({}))).await;
    let failed = davit.wait_for_phase("shop-2", "Failed").await;
    let failure = &failed["status"]["failure"];
    assert_eq!(failure["step"], "PreDeploy", "{failure}");
    assert_eq!(failure["reason"], "PreDeployFailed");
    assert!(
        failure["logTail"].as_str().unwrap().contains("no such table"),
        "{failure}"
    );
    let step = failed["status"]["steps"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (&step["name"], &step["exitCode"]),
        (&json!("PreDeploy"), &json!(3))
    );
    assert!(davit.log("shop-2.preDeploy").contains("no such table"));
    let app = davit
        .wait_until("shop", "stalled", |app| {
            condition(app, "Stalled")["status"] == "True"
        })
        .await;
    assert_eq!(condition(&app, "Healthy")["status"], "True");
    assert_eq!(davit.images("shop"), [FakeBuilder::id(GOOD)]);
    davit
        .until("without a container of the hook", || {
            davit.runtime.containers(&hook_id()).is_empty()
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hook_runs_in_the_new_image_until_its_time_is_over() {
    let (davit, repo) = Harness::with_shop().await;
    repo.commit("Next", &[("Dockerfile", NEXT)]);
    davit.patch("shop", hook(&json!({"timeout": "1s"}))).await;
    davit
        .until("running the hook", || {
            !davit.runtime.containers(&hook_id()).is_empty()
        })
        .await;
    let containers = davit.runtime.containers(&hook_id());
    let spec = &containers[0].deployment.spec;
    assert_eq!(spec.image, FakeBuilder::id(NEXT));
    let command: Vec<_> = spec
        .command
        .iter()
        .map(|word| word.expose_str().unwrap())
        .collect();
    assert_eq!(command, ["migrate", "--to=latest"]);
    assert!(spec.ports.is_empty() && spec.health.is_none());
    assert_eq!(
        davit.images("shop"),
        [FakeBuilder::id(GOOD)],
        "nothing of the new Release runs before"
    );
    let failed = davit.wait_for_phase("shop-2", "Failed").await;
    assert_eq!(failed["status"]["failure"]["reason"], "PreDeployTimeout");
    assert_eq!(davit.images("shop"), [FakeBuilder::id(GOOD)]);
    davit
        .until("without a container of the hook", || {
            davit.runtime.containers(&hook_id()).is_empty()
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_application_takes_its_running_hook_along() {
    let (davit, repo) = Harness::with_shop().await;
    repo.commit("Next", &[("Dockerfile", NEXT)]);
    davit.patch("shop", hook(&json!({}))).await;
    davit
        .until("running the hook", || {
            !davit.runtime.containers(&hook_id()).is_empty()
        })
        .await;
    davit.delete("shop").await;
    davit.wait_until("shop", "gone", Value::is_null).await;
    assert!(davit.runtime.containers(&hook_id()).is_empty());
}
