//! What a user learns of a build type besides its result.

use serde_json::json;

use super::forges::wait_for_event;
use super::harness::{GOOD, Harness, repo, source};

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
