//! Images in registries: pushed, used by their digests, not built again, deleted with their Releases.

use davit::builder::BuildError;
use davit::builder::fake::FakeBuilder;
use davit::image::PushError;
use davit::runtime::fake::ManualAction;
use serde_json::{Value, json};

use super::harness::{GOOD, Harness, NEXT, id, repo, source};
use crate::common::git_repo::GitRepo;

const REPOSITORY: &str = "registry.example.com/acme/shop";

fn spec(repo: &GitRepo) -> Value {
    json!({"source": source(repo), "image": {"repository": REPOSITORY}, "history": {"succeeded": 1, "failed": 1}})
}

fn step_names(release: &Value) -> Vec<&str> {
    let steps = release["status"]["steps"].as_array().unwrap();
    steps.iter().map(|step| step["name"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn image_is_pushed_run_by_digest_and_deleted_with_its_release() {
    let davit = Harness::start().await;
    let repo = repo(GOOD);
    davit.apply("shop", spec(&repo)).await;
    davit.wait_until_done("shop").await;
    let release = davit.wait_for_phase("shop-1", "Succeeded").await;
    let tag = release["status"]["imageTag"].as_str().unwrap().to_owned();
    assert!(
        tag.starts_with(&format!("{REPOSITORY}:{}-", &repo.head()[..12])),
        "{tag}"
    );
    let image = format!("{tag}@{}", FakeBuilder::id(GOOD));
    assert_eq!(release["status"]["image"], image);
    assert_eq!(davit.images("shop"), [image]);
    assert_eq!(
        step_names(&release),
        ["Fetching", "Building", "Pushing", "Deploying"]
    );
    assert_eq!(release["status"]["steps"][2]["reason"], "Pushed");
    assert_eq!(davit.builder.pushed(), std::slice::from_ref(&tag));

    repo.commit("Next", &[("Dockerfile", NEXT)]);
    davit.request_reconcile("shop").await;
    davit.wait_for_phase("shop-2", "Succeeded").await;
    davit
        .until("the first image to be deleted", || {
            let pushed = davit.builder.pushed();
            pushed.len() == 1 && pushed[0] != tag
        })
        .await;
    davit.delete("shop").await;
    davit
        .until("all images to be deleted", || davit.builder.pushed().is_empty())
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn image_that_another_application_names_stays_in_the_registry() {
    let davit = Harness::start().await;
    let repo = repo(GOOD);
    davit.apply("shop", spec(&repo)).await;
    davit.wait_until_done("shop").await;
    let tag = davit.builder.pushed().remove(0);
    let promoted = format!("{REPOSITORY}@{}", FakeBuilder::id(GOOD));
    davit
        .apply(
            "production",
            json!({"source": {"docker": {"image": promoted}}, "suspend": true}),
        )
        .await;
    davit
        .wait_until("production", "observed", |app| {
            app["status"]["observedGeneration"] == 1
        })
        .await;
    repo.commit("Next", &[("Dockerfile", NEXT)]);
    davit.request_reconcile("shop").await;
    davit.wait_for_phase("shop-2", "Succeeded").await;
    davit.wait_until_idle().await;
    assert_eq!(davit.releases("shop").await.len(), 1, "the history is pruned");
    assert!(davit.builder.pushed().contains(&tag), "production names it");
    davit.delete("shop").await;
    davit
        .until("the other image to be deleted", || {
            davit.builder.pushed() == std::slice::from_ref(&tag)
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn image_that_the_registry_has_is_not_built_again_and_a_redeploy_has_a_tag_of_its_own() {
    let davit = Harness::start().await;
    let repo = repo(GOOD);
    davit.apply("shop", spec(&repo)).await;
    davit.wait_until_done("shop").await;
    let tag = davit.builder.pushed().remove(0);
    let image = format!("{tag}@{}", FakeBuilder::id(GOOD));
    davit.runtime.lose_image(&image);
    davit.builder.lose(&FakeBuilder::id(GOOD));
    davit.builder.hold();
    davit.runtime.manually(&id("shop"), ManualAction::Remove);
    let release = davit
        .wait_for_release("shop-2", "with its image", |release| {
            release["status"]["image"].is_string()
        })
        .await;
    assert_eq!(release["status"]["image"], image.as_str());
    assert_eq!(davit.builder.built(), ["shop-1"]);
    davit.runtime.gain_image(&image);
    davit.builder.go_on();
    davit.wait_for_phase("shop-2", "Succeeded").await;

    davit
        .create_release("again", json!({"application": "shop", "type": "Redeploy"}))
        .await;
    let release = davit.wait_for_phase("again", "Succeeded").await;
    let uid = release["metadata"]["uid"].as_str().unwrap();
    assert_eq!(release["status"]["imageTag"], format!("{tag}-{}", &uid[..8]));
    assert_eq!(davit.builder.built(), ["shop-1", "again"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn push_that_is_denied_fails_the_release_in_its_step() {
    let davit = Harness::start().await;
    let repo = repo(GOOD);
    let denied = || {
        BuildError::Push(PushError::Denied {
            image: format!("{REPOSITORY}:1"),
            said: "no basic auth credentials".to_owned(),
        })
    };
    davit.builder.fail_next_push(denied());
    davit.apply("shop", spec(&repo)).await;
    let release = davit.wait_for_phase("shop-1", "Failed").await;
    let failure = &release["status"]["failure"];
    assert_eq!(
        (&failure["step"], &failure["reason"]),
        (&json!("Pushing"), &json!("ImagePushDenied"))
    );
    let message = failure["message"].as_str().unwrap();
    assert!(message.contains("spec.image.pushSecretRef"), "{message}");
    assert_eq!(step_names(&release), ["Fetching", "Building", "Pushing"]);

    let mut other = spec(&repo);
    other["image"]["pushSecretRef"] = json!({"name": "gone"});
    davit.apply("other", other).await;
    let message = "spec.image.pushSecretRef names the Secret";
    davit
        .wait_until("other", "an error", |app| {
            app["status"].to_string().contains(message)
        })
        .await;
    assert!(davit.builder.pushed().is_empty());
}
