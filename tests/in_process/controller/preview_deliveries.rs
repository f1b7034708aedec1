//! Deliveries that forges sent bring a preview and remove it: each forge, with its own headers and signature. Nothing is polled.

use davit::api::GitProvider;
use davit::forge::RepositoryPath;
use davit::forge::fake::{FakeForge, FakePull, FakeRepository};
use davit::redact::SafeUrl;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::forges::put_secret;
use super::harness::{GOOD, Harness, condition, repo};
use crate::common::recorded::{Recorded, recorded};

const SECRET: &str = "correct horse battery staple";
const BASE: &str = "https://forge.example.com";

async fn deliver(davit: &Harness, delivery: &Recorded) {
    let mut request = http::Request::post("/webhooks/gitproviders/default/forge");
    for (name, value) in &delivery.headers {
        request = request.header(*name, value);
    }
    let request = request.body(axum::body::Body::from(delivery.body())).unwrap();
    let response = davit.webhooks.router().oneshot(request).await.unwrap();
    assert_eq!(response.status().as_u16(), 202, "{delivery:?}");
}

/// The spec of a GitProvider and the source of an Application at it.
fn specs(forge: &str, repository: &str) -> (Value, Value) {
    let (owner, name) = repository.split_once('/').unwrap();
    let token = json!({"name": "token"});
    let provider = json!({"name": "forge"});
    let main = json!({"branch": "main"});
    match forge {
        "github" => (
            json!({"github": {"url": BASE, "tokenSecretRef": token}}),
            json!({"github": {"provider": provider, "owner": owner, "repository": name, "ref": main}}),
        ),
        "gitlab" => (
            json!({"gitlab": {"url": BASE, "tokenSecretRef": token}}),
            json!({"gitlab": {"provider": provider, "project": repository, "ref": main}}),
        ),
        "bitbucket" => (
            json!({"bitbucket": {"workspace": owner, "accessTokenSecretRef": token}}),
            json!({"bitbucket": {"provider": provider, "workspace": owner, "repository": name, "ref": main}}),
        ),
        _ => (
            json!({"gitea": {"url": BASE, "tokenSecretRef": token}}),
            json!({"gitea": {"provider": provider, "owner": owner, "repository": name, "ref": main}}),
        ),
    }
}

/// From the delivery `opened` to a preview, and from `closed` back to nothing.
async fn brings_and_removes(forge: &'static str, opened: &str, closed: &str) {
    let all = recorded(forge, SECRET);
    let find = |name: &str| all.iter().find(|delivery| delivery.name == name).unwrap();
    let (opened, closed) = (find(opened), find(closed));
    assert!(opened.is_pull_request() && closed.is_pull_request());
    let repo = repo(GOOD);
    let path = RepositoryPath::parse(opened.repository()).unwrap();
    let fake = FakeForge::at(BASE).unwrap();
    let repository = FakeRepository {
        branches: vec!["main".to_owned()],
        clone_url: Some(SafeUrl::parse_git(&repo.url()).unwrap()),
        ..FakeRepository::default()
    };
    fake.add(&path, repository);
    let davit = Harness::with_forge(&fake).await;
    put_secret(&davit, "token", "token", "one").await;
    put_secret(&davit, "hook", "webhookSecret", SECRET).await;
    let (mut provider, source) = specs(forge, opened.repository());
    provider["webhook"] = json!({"secretRef": {"name": "hook"}});
    let provider = json!({"apiVersion": "davit.dev/v1alpha1", "kind": "GitProvider", "metadata": {"name": "forge"}, "spec": provider});
    davit.create::<GitProvider>(provider).await;
    let spec = json!({"source": source, "trigger": {"pollInterval": "0s"}, "previews": {}});
    davit.apply("shop", spec).await;
    let app = davit.wait_until_done("shop").await;
    assert_eq!(condition(&app, "SourceReady")["status"], "True");
    davit.wait_until_idle().await;

    fake.change(&path, |found| {
        found.pulls.push(FakePull::open(7, "main", &repo.head()));
    })
    .unwrap();
    davit.wait_until_idle().await;
    assert_eq!(
        davit.application("shop-pr-7").await,
        Value::Null,
        "nothing is polled"
    );
    deliver(&davit, opened).await;
    davit.wait_until_done("shop-pr-7").await;
    fake.change(&path, |found| found.pulls[0].is_open = false)
        .unwrap();
    deliver(&davit, closed).await;
    davit.wait_until("shop-pr-7", "gone", Value::is_null).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_of_github_bring_and_remove_a_preview() {
    brings_and_removes("github", "pr_opened", "pr_closed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_of_gitlab_bring_and_remove_a_preview() {
    brings_and_removes("gitlab", "pull_request_create", "pull_request_merge").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_of_bitbucket_bring_and_remove_a_preview() {
    brings_and_removes("bitbucket", "pr_created", "pr_declined").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_of_gitea_bring_and_remove_a_preview() {
    brings_and_removes("gitea", "pull_request_opened", "pull_request_closed").await;
}
