//! What is asked for and cannot mean anything is refused with the field's name; what was given reaches the containers.

use davit::api::{GitProvider, Release};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::rig::{Loop, condition, repo, source};

const GOOD: &str = "FROM scratch\n";

fn message(object: &Value, kind: &str) -> String {
    let condition = condition(object, kind);
    condition["message"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_does_not_fit_the_source_fails_at_once_and_says_how_to_ask() {
    let davit = Loop::start().await;
    let repo = repo(GOOD);
    davit.apply("shop", json!({"source": source(&repo)})).await;
    davit.done("shop").await;
    let image = json!({"docker": {"image": "registry.invalid/shop:1"}});
    davit
        .apply("image", json!({"source": image, "suspend": true}))
        .await;
    let digest = format!("sha256:{}", "a".repeat(64));
    let rows = [
        (
            "of-git",
            json!({"application": "shop", "revision": digest}),
            "spec.revision",
            "full commit hash",
        ),
        (
            "of-image",
            json!({"application": "image", "revision": "a".repeat(40)}),
            "spec.revision",
            "a digest",
        ),
        (
            "clean",
            json!({"application": "image", "cleanCache": true}),
            "spec.cleanCache",
            "without it",
        ),
    ];
    davit.patch("image", json!({"spec": {"suspend": false}})).await;
    for (name, spec, field, way_out) in rows {
        davit.ask(name, spec).await;
        let failed = davit.phase(name, "Failed").await;
        assert_eq!(failed["status"]["failure"]["reason"], "InvalidSpec", "{failed:#}");
        let said = message(&failed, "Succeeded");
        assert!(said.contains(field) && said.contains(way_out), "{said}");
    }
    // A hash of another length than Git's and another than a digest's is none at all.
    let odd = json!({"apiVersion": "davit.dev/v1alpha1", "kind": "Release", "metadata": {"name": "odd"},
        "spec": {"application": "shop", "revision": "a".repeat(50)}});
    let odd: Release = serde_json::from_value(odd).unwrap();
    let refused = davit
        .api::<Release>()
        .create(&kube::api::PostParams::default(), &odd)
        .await;
    let said = refused.unwrap_err().to_string();
    assert!(said.contains("spec.revision"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_provider_says_so_and_lets_nobody_look_anything_up() {
    let davit = Loop::start().await;
    let providers: Api<GitProvider> = davit.api();
    davit
        .create::<GitProvider>(json!({"apiVersion": "davit.dev/v1alpha1", "kind": "GitProvider",
            "metadata": {"name": "gt"}, "spec": {"suspend": true,
            "gitea": {"url": "https://127.0.0.1:1", "tokenSecretRef": {"name": "nope"}}}}))
        .await;
    let gitea = json!({"gitea": {"provider": {"name": "gt"}, "owner": "a", "repository": "b"}});
    davit.apply("shop", json!({"source": gitea})).await;
    let app = davit
        .wait("shop", "told that the provider is suspended", |app| {
            message(app, "Ready").contains("is suspended")
        })
        .await;
    assert_eq!(condition(&app, "Ready")["reason"], "ProviderNotReady", "{app:#}");
    assert_eq!(
        condition(&app, "Reconciling")["status"],
        "True",
        "somebody else must act: {app:#}"
    );
    davit.quiet().await;
    let provider = serde_json::to_value(providers.get("gt").await.unwrap()).unwrap();
    assert_eq!(condition(&provider, "Ready")["status"], "Unknown", "{provider:#}");
    assert_eq!(condition(&provider, "Ready")["reason"], "Suspended");
    assert_eq!(provider["status"]["observedGeneration"], 1);
    let resumed = Patch::Merge(json!({"spec": {"suspend": false}}));
    providers
        .patch("gt", &PatchParams::default(), &resumed)
        .await
        .unwrap();
    davit
        .wait("shop", "told what is wrong with the provider", |app| {
            condition(app, "Stalled")["status"] == "True"
        })
        .await;
}
