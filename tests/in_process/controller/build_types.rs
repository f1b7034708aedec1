//! What a user learns of a build besides its result.

use k8s_openapi::api::core::v1::Secret;
use kube::api::DeleteParams;
use serde_json::json;

use super::forges::wait_for_event;
use super::harness::{GOOD, Harness, repo, source, url_of_db};

#[tokio::test(flavor = "multi_thread")]
async fn nixpacks_is_reported_to_be_in_maintenance_mode() {
    let davit = Harness::start().await;
    let repo = repo(GOOD);
    davit
        .apply(
            "shop",
            json!({"source": source(&repo), "build": {"nixpacks": {}}}),
        )
        .await;
    let event = wait_for_event(&davit, "Deprecated").await;
    assert!(
        event.contains("maintenance mode") && event.contains("spec.build.railpack"),
        "{event}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn release_that_lost_its_secret_during_the_build_is_tried_again_with_it() {
    let davit = Harness::start().await;
    let repo = repo(GOOD);
    davit.set_database_secret("value").await;
    davit.builder.hold();
    let build = json!({"secrets": url_of_db()});
    davit
        .apply("shop", json!({"source": source(&repo), "build": build}))
        .await;
    davit.wait_for_phase("shop-1", "Building").await;
    let secrets = davit.api::<Secret>();
    secrets.delete("db", &DeleteParams::default()).await.unwrap();
    let failed = davit.wait_for_phase("shop-1", "Failed").await;
    assert_eq!(
        failed["status"]["failure"]["reason"], "SecretNotFound",
        "{failed:#}"
    );
    davit.builder.go_on();
    davit.set_database_secret("value").await;
    davit.wait_for_phase("shop-2", "Succeeded").await;
    davit.wait_until_done("shop").await;
    assert_eq!(davit.releases("shop").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn release_whose_build_failed_names_its_build_type() {
    let davit = Harness::start().await;
    let repo = repo("FROM scratch\nRUN false\n");
    davit.apply("shop", json!({"source": source(&repo)})).await;
    let failed = davit.wait_for_phase("shop-1", "Failed").await;
    assert_eq!(failed["status"]["builder"]["type"], "dockerfile", "{failed:#}");
}
