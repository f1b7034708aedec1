//! Rollback: an earlier Release runs again, and automatic deployments are held until the spec changes or the user resumes.

use davit::api::Release;
use davit::builder::fake::FakeBuilder;
use kube::api::PostParams;
use serde_json::{Value, json};

use super::harness::{GOOD, Harness, NEXT, condition, id, repo, source, url_of_db};
use crate::common::git_repo::GitRepo;

/// Asks for a rollback, as a user does.
async fn roll_back(davit: &Harness, name: &str, to: &str) {
    davit
        .create_release(
            name,
            json!({"application": "shop", "type": "Rollback", "rollbackTo": to}),
        )
        .await;
}

/// An Application of two commits, whose second Release runs.
async fn with_two_releases() -> (Harness, GitRepo) {
    let (davit, repo) = Harness::with_shop().await;
    repo.commit("Next", &[("Dockerfile", NEXT)]);
    davit.request_reconcile("shop").await;
    davit.wait_for_phase("shop-2", "Succeeded").await;
    (davit, repo)
}

fn held(app: &Value) -> bool {
    condition(app, "AutoDeployHeld")["status"] == "True"
}

#[tokio::test(flavor = "multi_thread")]
async fn rollback_runs_image_and_configuration_of_the_earlier_release_without_a_build() {
    let (davit, _repo) = with_two_releases().await;
    davit
        .patch(
            "shop",
            json!({"spec": {"replicas": 2, "env": [{"name": "A", "value": "1"}]}}),
        )
        .await;
    davit.wait_for_phase("shop-3", "Succeeded").await;
    assert_eq!(davit.builder.built(), ["shop-1", "shop-2"]);

    roll_back(&davit, "back", "shop-1").await;
    let back = davit.wait_for_phase("back", "Succeeded").await;
    assert_eq!(davit.builder.built(), ["shop-1", "shop-2"], "nothing was built");
    assert_eq!(back["status"]["title"], "Rollback to shop-1");
    assert_eq!(back["status"]["cause"]["kind"], "Rollback");
    assert_eq!(back["status"]["rollback"]["release"], "shop-1");
    let first = davit.wait_for_phase("shop-1", "Succeeded").await;
    for field in ["source", "image", "imageTag", "config"] {
        assert_eq!(back["status"][field], first["status"][field], "{field}");
    }
    let steps: Vec<&Value> = back["status"]["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| &step["name"])
        .collect();
    assert_eq!(steps[0], "Deploying", "nothing was fetched or built");
    let app = davit
        .wait_until("shop", "held", |app| {
            app["status"]["phase"] == "done" && held(app)
        })
        .await;
    assert_eq!(davit.images("shop"), [FakeBuilder::id(GOOD)]);
    assert!(
        davit.runtime.containers(&id("shop"))[0]
            .deployment
            .spec
            .env
            .is_empty()
    );
    assert_eq!(app["status"]["release"]["active"], "back");
    assert_eq!(app["status"]["release"]["heldBy"], "back");
    let message = condition(&app, "AutoDeployHeld")["message"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        message.contains("release back went back to shop-1") && message.contains("davit resume"),
        "{message}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn hold_ends_when_the_spec_changes_or_the_user_resumes() {
    let (davit, repo) = with_two_releases().await;
    roll_back(&davit, "back", "shop-1").await;
    davit.wait_for_phase("back", "Succeeded").await;
    repo.commit("Third", &[("Dockerfile", "FROM scratch\nENV THIRD=1\n")]);
    davit.request_reconcile("shop").await;
    let head = repo.head();
    davit
        .wait_until("shop", "aware of the commit", |app| {
            app["status"]["source"]["revision"] == head
        })
        .await;
    davit.wait_until_idle().await;
    let count = davit.releases("shop").await.len();
    assert_eq!(count, 3, "the new commit is not deployed");

    // Neither what does not deploy anything, nor the name of another Release, ends it.
    davit
        .patch(
            "shop",
            json!({"spec": {"history": {"succeeded": 9, "failed": 9}, "trigger": {"pollInterval": "1h"}}}),
        )
        .await;
    davit
        .patch(
            "shop",
            json!({"metadata": {"annotations": {"davit.dev/resume": "shop-2"}}}),
        )
        .await;
    davit.request_reconcile("shop").await;
    davit.wait_until_idle().await;
    assert!(held(&davit.application("shop").await));
    assert_eq!(davit.releases("shop").await.len(), 3);

    davit
        .patch(
            "shop",
            json!({"metadata": {"annotations": {"davit.dev/resume": "back"}}}),
        )
        .await;
    let fourth = davit.wait_for_phase("shop-4", "Succeeded").await;
    assert_eq!(fourth["status"]["source"]["revision"], head);
    assert!(!held(&davit.wait_until_done("shop").await));

    roll_back(&davit, "again", "shop-1").await;
    davit.wait_for_phase("again", "Succeeded").await;
    davit
        .patch("shop", json!({"spec": {"env": [{"name": "A", "value": "1"}]}}))
        .await;
    let sixth = davit.wait_for_phase("shop-6", "Succeeded").await;
    assert_eq!(sixth["status"]["source"]["revision"], head);
    assert!(!held(&davit.wait_until_done("shop").await));
}

#[tokio::test(flavor = "multi_thread")]
async fn resume_deploys_what_the_spec_asks_for_although_there_is_no_new_commit() {
    let (davit, _repo) = with_two_releases().await;
    roll_back(&davit, "back", "shop-1").await;
    davit.wait_for_phase("back", "Succeeded").await;
    davit
        .patch(
            "shop",
            json!({"metadata": {"annotations": {"davit.dev/resume": "back"}}}),
        )
        .await;
    davit.wait_for_phase("shop-4", "Succeeded").await;
    assert!(!held(&davit.wait_until_done("shop").await));
    davit.wait_until_idle().await;
    assert_eq!(davit.releases("shop").await.len(), 4, "it is deployed once");
    assert_eq!(davit.images("shop"), [FakeBuilder::id(NEXT)]);
    assert_eq!(
        davit.builder.built(),
        ["shop-1", "shop-2"],
        "nothing was built again"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn release_that_a_user_asked_for_and_did_not_get_ends_no_hold() {
    let (davit, repo) = with_two_releases().await;
    roll_back(&davit, "back", "shop-1").await;
    davit.wait_for_phase("back", "Succeeded").await;
    roll_back(&davit, "unknown", "shop-9").await;
    davit.wait_for_phase("unknown", "Failed").await;
    let app = davit
        .wait_until("shop", "with the refused Release", |app| {
            app["status"]["release"]["latest"] == "unknown"
        })
        .await;
    assert_eq!(app["status"]["release"]["heldBy"], "back");
    assert_eq!(app["status"]["phase"], "done", "{app:#}");
    davit
        .create_release(
            "pinned",
            json!({"application": "shop", "revision": "b".repeat(40)}),
        )
        .await;
    davit.wait_for_phase("pinned", "Failed").await;
    repo.commit("Third", &[("Dockerfile", "FROM scratch\nENV THIRD=1\n")]);
    let head = repo.head();
    davit.request_reconcile("shop").await;
    davit
        .wait_until("shop", "aware of the commit", |app| {
            app["status"]["source"]["revision"] == head
        })
        .await;
    davit.wait_until_idle().await;
    assert!(held(&davit.application("shop").await));
    assert_eq!(
        davit.releases("shop").await.len(),
        5,
        "the new commit is not deployed"
    );
    assert_eq!(davit.images("shop"), [FakeBuilder::id(GOOD)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rollback_uses_the_present_values_of_secrets() {
    let davit = Harness::start().await;
    let repo = repo(GOOD);
    davit.set_database_secret("old").await;
    davit
        .apply("shop", json!({"source": source(&repo), "env": url_of_db()}))
        .await;
    davit.wait_until_done("shop").await;
    davit.patch("shop", json!({"spec": {"env": null}})).await;
    davit.wait_for_phase("shop-2", "Succeeded").await;
    davit.set_database_secret("new").await;
    roll_back(&davit, "back", "shop-1").await;
    davit.wait_for_phase("back", "Succeeded").await;
    let containers = davit.runtime.containers(&id("shop"));
    let url = containers[0]
        .deployment
        .spec
        .env
        .iter()
        .find(|variable| variable.name == "URL")
        .unwrap();
    assert_eq!(url.value.expose_str(), Some("new"));
}

#[tokio::test(flavor = "multi_thread")]
async fn rollback_that_cannot_work_is_refused_with_a_solution() {
    let (davit, repo) = with_two_releases().await;
    repo.commit("Broken", &[("Dockerfile", "FROM scratch\nRUN false\n")]);
    davit.request_reconcile("shop").await;
    davit.wait_for_phase("shop-3", "Failed").await;
    davit.runtime.lose_image(&FakeBuilder::id(GOOD));
    for (name, to, reason, words) in [
        (
            "unknown",
            "shop-9",
            "ReleaseNotFound",
            "set to one of shop-2, shop-1",
        ),
        ("failed", "shop-3", "ReleaseNeverServed", "its phase is Failed"),
        ("gone", "shop-1", "ImageNotFound", "type Deploy with revision"),
    ] {
        roll_back(&davit, name, to).await;
        let release = davit.wait_for_phase(name, "Failed").await;
        let failure = &release["status"]["failure"];
        assert_eq!(failure["reason"], reason, "{failure}");
        let message = failure["message"].as_str().unwrap();
        assert!(message.contains(words) && message.contains(to), "{message}");
        assert_eq!(
            davit.images("shop"),
            [FakeBuilder::id(NEXT)],
            "the running Release is unaffected"
        );
        let app = davit.application("shop").await;
        assert!(!held(&app));
        // The status is that of what runs before and after: the newest Release that began has failed.
        assert_eq!(condition(&app, "Ready")["reason"], "BuildFailed", "{app}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rollback_that_is_refused_lets_what_is_under_way_go_on() {
    let (davit, repo) = with_two_releases().await;
    davit.builder.hold();
    repo.commit("Third", &[("Dockerfile", "FROM scratch\nENV THIRD=1\n")]);
    davit.request_reconcile("shop").await;
    davit.wait_for_phase("shop-3", "Building").await;
    for (name, to, reason) in [
        ("unknown", "shop-9", "ReleaseNotFound"),
        ("early", "shop-3", "ReleaseNeverServed"),
    ] {
        roll_back(&davit, name, to).await;
        let refused = davit.wait_for_phase(name, "Failed").await;
        assert_eq!(refused["status"]["failure"]["reason"], reason);
    }
    davit.builder.go_on();
    davit.wait_for_phase("shop-3", "Succeeded").await;
    davit.wait_until_done("shop").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn release_that_a_kept_rollback_refers_to_is_not_pruned() {
    let (davit, _repo) = with_two_releases().await;
    roll_back(&davit, "back", "shop-1").await;
    davit.wait_for_phase("back", "Succeeded").await;
    davit
        .patch(
            "shop",
            json!({"spec": {"history": {"succeeded": 1, "failed": 1}}}),
        )
        .await;
    let names = async || {
        let releases = davit.releases("shop").await;
        releases
            .iter()
            .map(|release| release["metadata"]["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while names().await != ["shop-1", "back"] {
        assert!(std::time::Instant::now() < end, "{:?}", names().await);
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    davit.wait_until_idle().await;
    assert_eq!(names().await, ["shop-1", "back"]);
    assert_eq!(davit.builder.tags().len(), 1, "the image that runs is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn controller_killed_after_any_write_of_a_rollback_completes_it_once() {
    for writes in 1..=5 {
        let (mut davit, _repo) = with_two_releases().await;
        davit.wait_until_idle().await;
        davit.cut_off_after(writes);
        roll_back(&davit, "back", "shop-1").await;
        davit
            .wait_until("shop", "cut off or held", |app| {
                davit.is_cut_off() || held(app) && app["status"]["phase"] == "done"
            })
            .await;
        davit.kill();
        davit.start_controller();
        davit.wait_for_phase("back", "Succeeded").await;
        davit
            .wait_until("shop", "held", |app| {
                held(app) && app["status"]["phase"] == "done"
            })
            .await;
        davit.wait_until_idle().await;
        assert_eq!(
            davit.release_phases("shop").await.len(),
            3,
            "after {writes} writes"
        );
        assert_eq!(
            davit.images("shop"),
            [FakeBuilder::id(GOOD)],
            "after {writes} writes"
        );
        assert_eq!(davit.builder.built(), ["shop-1", "shop-2"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rollback_with_impossible_fields_is_refused_at_admission() {
    let davit = Harness::start().await;
    for (spec, words) in [
        (json!({"type": "Rollback"}), "rollbackTo is required"),
        (json!({"rollbackTo": "shop-1"}), "set type to Rollback"),
        (
            json!({"type": "Rollback", "rollbackTo": "shop-1", "cleanCache": true}),
            "cleanCache has no effect",
        ),
        (
            json!({"type": "Rollback", "rollbackTo": "shop-1", "revision": "a".repeat(40)}),
            "revision has no effect",
        ),
    ] {
        let mut spec = spec;
        spec["application"] = json!("shop");
        let release: Release =
            serde_json::from_value(json!({"apiVersion": "davit.dev/v1alpha1", "kind": "Release",
            "metadata": {"name": "back"}, "spec": spec}))
            .unwrap();
        let refused = davit
            .api::<Release>()
            .create(&PostParams::default(), &release)
            .await
            .unwrap_err();
        assert!(refused.to_string().contains(words), "{refused}");
    }
}
