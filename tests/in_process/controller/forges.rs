//! What depends on a forge: hooks, statuses of commits, credentials that end. The forge is in memory.

use davit::api::GitProvider;
use davit::forge::ForgeError;
use davit::forge::RepositoryPath;
use davit::forge::fake::{FakeForge, FakeHook, FakeRepository};
use davit::model::CommitId;
use davit::redact::SafeUrl;
use k8s_openapi::api::core::v1::{Event, Secret};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::harness::{GOOD, Harness, NEXT, condition, repo};
use crate::common::git_repo::GitRepo;

const BASE: &str = "https://forge.example.com";
const URL: &str = "https://davit.example.com/webhooks/gitproviders/default/gt";

pub fn shop() -> RepositoryPath {
    RepositoryPath::parse("acme/shop").unwrap()
}

/// A forge with the repository `acme/shop`, which Git clones from this one.
pub fn forge(repo: &GitRepo) -> FakeForge {
    let forge = FakeForge::at(BASE).unwrap();
    let repository = FakeRepository {
        branches: vec!["main".to_owned()],
        clone_url: Some(SafeUrl::parse_git(&repo.url()).unwrap()),
        ..FakeRepository::default()
    };
    forge.add(&shop(), repository);
    forge
}

pub fn down(forge: &FakeForge) -> impl Fn(&'static str) -> Option<ForgeError> + use<> {
    let url = forge.shown().unwrap();
    move |_| {
        let message = "connection refused".to_owned();
        Some(ForgeError::Unreachable {
            url: url.clone(),
            message,
        })
    }
}

fn refused(forge: &FakeForge) -> impl Fn(&'static str) -> Option<ForgeError> + use<> {
    let url = forge.shown().unwrap();
    move |_| {
        let message = Some("Bad credentials".to_owned());
        Some(ForgeError::Auth {
            url: url.clone(),
            message,
        })
    }
}

fn hooks(forge: &FakeForge) -> Vec<FakeHook> {
    forge.change(&shop(), |shop| shop.hooks.clone()).unwrap()
}

pub fn source() -> Value {
    json!({"gitea": {"provider": {"name": "gt"}, "owner": "acme", "repository": "shop", "ref": {"branch": "main"}}})
}

pub async fn put_secret(davit: &Harness, name: &str, key: &str, value: &str) {
    let secret =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {key: value}});
    let params = PatchParams::apply("tests").force();
    let secrets = davit.api::<Secret>();
    secrets.patch(name, &params, &Patch::Apply(secret)).await.unwrap();
}

/// A GitProvider `gt` that manages its hooks, and is ready.
pub async fn with_provider(forge: &FakeForge) -> Harness {
    let davit = Harness::with_forge(forge).await;
    put_secret(&davit, "gt", "token", "one").await;
    put_secret(&davit, "hook", "webhookSecret", "correct horse").await;
    let provider = json!({"apiVersion": "davit.dev/v1alpha1", "kind": "GitProvider", "metadata": {"name": "gt"},
        "spec": {"gitea": {"url": BASE, "tokenSecretRef": {"name": "gt"}},
            "webhook": {"secretRef": {"name": "hook"}, "manage": true}}});
    davit.create::<GitProvider>(provider).await;
    wait_for_provider(&davit, "ready", |provider| {
        condition(provider, "Ready")["status"] == "True"
    })
    .await;
    davit
}

/// Waits until `wanted` holds for the GitProvider; null if it does not exist.
async fn wait_for_provider(davit: &Harness, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        let found = davit.api::<GitProvider>().get_opt("gt").await.unwrap();
        let found = found.map_or(Value::Null, |found| serde_json::to_value(found).unwrap());
        if wanted(&found) {
            return found;
        }
        assert!(std::time::Instant::now() < end, "{what}: {found:#}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

pub async fn wait_for_event(davit: &Harness, reason: &str) -> String {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        let all = davit.api::<Event>().list(&ListParams::default()).await.unwrap();
        let found = all
            .items
            .into_iter()
            .find(|event| event.reason.as_deref() == Some(reason));
        if let Some(message) = found.and_then(|event| event.message) {
            return message;
        }
        assert!(std::time::Instant::now() < end, "no event {reason}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

async fn delete_provider(davit: &Harness) {
    let params = DeleteParams::default();
    davit.api::<GitProvider>().delete("gt", &params).await.unwrap();
}

/// An Application `shop` that is deployed from the forge, and its hook.
async fn deployed(forge: &FakeForge, trigger: Value) -> Harness {
    let davit = with_provider(forge).await;
    davit
        .apply("shop", json!({"source": source(), "trigger": trigger}))
        .await;
    davit.wait_until_done("shop").await;
    wait_for_provider(&davit, "a hook", |provider| {
        provider["status"]["hooks"]
            .as_array()
            .is_some_and(|hooks| hooks.len() == 1)
    })
    .await;
    davit
}

#[tokio::test(flavor = "multi_thread")]
async fn hook_is_registered_while_a_repository_is_used() {
    let repo = repo(GOOD);
    let forge = forge(&repo);
    let davit = deployed(&forge, Value::Null).await;
    let found = hooks(&forge);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].shown.url, URL);
    assert_eq!(found[0].secret.expose_str(), Some("correct horse"));
    davit.delete("shop").await;
    wait_for_provider(&davit, "no hooks", |provider| {
        provider["status"]["hooks"].as_array().is_none_or(Vec::is_empty)
    })
    .await;
    assert_eq!(hooks(&forge), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn provider_deleted_while_its_forge_is_unreachable_names_the_hooks_that_remain() {
    let repo = repo(GOOD);
    let forge = forge(&repo);
    let davit = deployed(&forge, Value::Null).await;
    forge.fail(down(&forge));
    davit.delete("shop").await;
    davit.wait_until("shop", "gone", Value::is_null).await;
    delete_provider(&davit).await;
    let waiting = wait_for_provider(&davit, "waiting for the forge", |provider| {
        condition(provider, "WebhookReady")["reason"] == "HookNotRemoved"
            && provider["metadata"]["deletionTimestamp"].is_string()
    })
    .await;
    let message = &condition(&waiting, "WebhookReady")["message"];
    assert!(
        message
            .as_str()
            .unwrap()
            .contains("acme/shop: https://forge.example.com/ cannot be reached"),
        "{message}"
    );
    // Some minutes later. An attempt that is under way may count from before.
    let late = json!({"status": {"retry": {"attempts": 8, "notBefore": "2026-01-01T00:00:00Z"}}});
    let providers = davit.api::<GitProvider>();
    let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while providers.get_opt("gt").await.unwrap().is_some() {
        assert!(std::time::Instant::now() < end, "it waits for ever");
        let (params, patch) = (PatchParams::default(), Patch::Merge(&late));
        providers.patch_status("gt", &params, &patch).await.ok(); // It is gone otherwise.
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
    let event = wait_for_event(&davit, "HooksRemain").await;
    assert!(
        event.starts_with("webhooks remain at the forge, in acme/shop:") && event.contains(URL),
        "{event}"
    );
    assert_eq!(hooks(&forge).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn provider_deleted_with_a_revoked_credential_is_released_at_once() {
    let repo = repo(GOOD);
    let forge = forge(&repo);
    let davit = deployed(&forge, Value::Null).await;
    forge.fail(refused(&forge));
    davit.delete("shop").await;
    davit.wait_until("shop", "gone", Value::is_null).await;
    delete_provider(&davit).await;
    wait_for_provider(&davit, "gone", Value::is_null).await;
    let event = wait_for_event(&davit, "HooksRemain").await;
    assert!(
        event.contains("acme/shop: ") && event.contains("Bad credentials"),
        "{event}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_are_removed_with_the_connection_from_before_if_the_secret_goes_first() {
    let repo = repo(GOOD);
    let forge = forge(&repo);
    let davit = deployed(&forge, Value::Null).await;
    // As when a namespace is deleted: the Secret goes first, and then what uses the GitProvider.
    let secrets = davit.api::<Secret>();
    secrets.delete("gt", &DeleteParams::default()).await.unwrap();
    delete_provider(&davit).await;
    davit.delete("shop").await;
    wait_for_provider(&davit, "gone", Value::is_null).await;
    assert_eq!(hooks(&forge), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn hook_of_a_renamed_repository_is_removed_under_its_present_path() {
    let repo = repo(GOOD);
    let forge = forge(&repo);
    let davit = deployed(&forge, Value::Null).await;
    let renamed = RepositoryPath::parse("acme/renamed").unwrap();
    forge.rename(&shop(), &renamed);
    davit.delete("shop").await;
    wait_for_provider(&davit, "no hooks", |provider| {
        provider["status"]["hooks"].as_array().is_none_or(Vec::is_empty)
    })
    .await;
    assert_eq!(forge.change(&renamed, |found| found.hooks.len()), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn forges_of_one_namespace_that_do_not_answer_hold_up_no_other() {
    use k8s_openapi::api::core::v1::Namespace;
    use kube::Api;
    use kube::api::PostParams;
    let davit = Harness::start().await;
    // It takes every connection, and says nothing.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let deaf = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            open.push(stream);
        }
    });
    let router = axum::Router::new().fallback(|request: axum::extract::Request| async move {
        axum::Json(match request.uri().path() {
            "/api/v1/version" => json!({"version": "1.27.0"}),
            "/api/v1/user" => json!({"login": "jane"}),
            _ => json!([]),
        })
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let good = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });

    let params = PostParams::default();
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "evil"}});
    let namespace: Namespace = serde_json::from_value(namespace).unwrap();
    Api::all(davit.client.clone())
        .create(&params, &namespace)
        .await
        .unwrap();
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "gt"}, "stringData": {"token": "one"}});
    let secret: Secret = serde_json::from_value(secret).unwrap();
    let secrets = Api::namespaced(davit.client.clone(), "evil");
    secrets.create(&params, &secret).await.unwrap();
    let provider = |name: &str, url: &str| -> GitProvider {
        let provider = json!({"apiVersion": "davit.dev/v1alpha1", "kind": "GitProvider", "metadata": {"name": name},
            "spec": {"gitea": {"url": url, "tokenSecretRef": {"name": "gt"}}}});
        serde_json::from_value(provider).unwrap()
    };
    let providers = Api::namespaced(davit.client.clone(), "evil");
    for number in 0..40 {
        let deaf = provider(&format!("deaf-{number}"), &deaf);
        providers.create(&params, &deaf).await.unwrap();
    }
    put_secret(&davit, "gt", "token", "one").await;
    let providers = davit.api::<GitProvider>();
    providers.create(&params, &provider("gt", &good)).await.unwrap();
    let began = std::time::Instant::now();
    wait_for_provider(&davit, "ready", |provider| {
        condition(provider, "Ready")["status"] == "True"
    })
    .await;
    let took = began.elapsed();
    assert!(
        took < std::time::Duration::from_secs(25),
        "it waited for the others: {took:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn status_that_a_credential_may_not_report_is_reported_with_the_next_one() {
    let repo = repo(GOOD);
    let forge = forge(&repo);
    let url = forge.shown().unwrap();
    forge.fail(move |doing| {
        (doing == "report a status").then(|| ForgeError::Scope {
            doing,
            url: url.clone(),
            scope: "write:repository".to_owned(),
        })
    });
    let davit = deployed(&forge, Value::Null).await;
    let event = wait_for_event(&davit, "CommitStatusFailed").await;
    assert!(event.contains("lacks the scope write:repository"), "{event}");
    assert_eq!(davit.release_phases("shop").await, ["shop-1: Succeeded"]);
    davit.wait_until_idle().await;

    // The same credential is not tried again; the next one is.
    forge.recover();
    davit.request_reconcile("shop").await;
    davit.wait_until_done("shop").await;
    davit.wait_until_idle().await;
    let reported = || forge.change(&shop(), |shop| shop.reported.clone()).unwrap();
    assert_eq!(reported(), []);
    put_secret(&davit, "gt", "token", "two").await;
    davit
        .wait_until("shop", "reported", |_| !reported().is_empty())
        .await;
    let found = reported();
    assert_eq!(found[0].1.context, "davit/default/shop");
}

#[tokio::test(flavor = "multi_thread")]
async fn repository_that_refuses_a_status_does_not_silence_the_others() {
    let repo = repo(GOOD);
    let forge = forge(&repo);
    let other = RepositoryPath::parse("acme/other").unwrap();
    let copy = forge.change(&shop(), |shop| shop.clone()).unwrap();
    forge.add(&other, copy);
    forge.change(&shop(), |shop| shop.refuses_statuses = true);
    let davit = deployed(&forge, Value::Null).await;
    let event = wait_for_event(&davit, "CommitStatusFailed").await;
    assert!(event.contains("may only read acme/shop"), "{event}");

    let mut source = source();
    source["gitea"]["repository"] = json!("other");
    davit.apply("other", json!({"source": source})).await;
    let last = || {
        forge
            .change(&other, |other| other.reported.last().cloned())
            .unwrap()
    };
    davit
        .wait_until("other", "reported", |_| {
            last().is_some_and(|(_, status)| status.state == davit::model::CommitState::Success)
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn status_that_could_not_be_reported_holds_up_no_later_one() {
    let repo = repo(GOOD);
    let forge = forge(&repo);
    let first = CommitId::parse(&repo.head()).unwrap();
    forge.change(&shop(), |shop| shop.deaf_to_status_of = Some(first.clone()));
    let davit = deployed(&forge, Value::Null).await;
    wait_for_event(&davit, "CommitStatusFailed").await;

    let next = repo.commit("Next", &[("Dockerfile", NEXT)]);
    davit.request_reconcile("shop").await;
    davit
        .wait_until("shop", "reported", |_| {
            let last = forge
                .change(&shop(), |shop| shop.reported.last().cloned())
                .unwrap();
            last.is_some_and(|(commit, status)| {
                commit.as_str() == next && status.state == davit::model::CommitState::Success
            })
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn token_revoked_during_a_deployment_is_reported_and_what_runs_goes_on() {
    let repo = repo(GOOD);
    let forge = forge(&repo);
    let davit = deployed(&forge, Value::Null).await;

    // The commit is fetched already: the deployment ends well.
    davit.build_next(&repo).await;
    forge.fail(refused(&forge));
    davit.builder.go_on();
    davit.wait_for_phase("shop-2", "Succeeded").await;

    // The next one cannot be fetched, and the containers stay.
    repo.commit("Third", &[("Dockerfile", GOOD)]);
    davit.request_reconcile("shop").await;
    // The connection is checked at once, and then is what is not ready.
    wait_for_provider(&davit, "refused", |provider| {
        condition(provider, "Ready")["reason"] == "ForgeAuthFailed"
    })
    .await;
    let app = davit
        .wait_until("shop", "refused", |app| {
            let reason = &condition(app, "SourceReady")["reason"];
            reason == "ForgeAuthFailed" || reason == "ProviderNotReady"
        })
        .await;
    let message = condition(&app, "SourceReady")["message"].to_string();
    assert!(
        message.contains("Bad credentials: put a valid credential into the Secret"),
        "{message}"
    );
    assert_eq!(condition(&app, "Ready")["status"], "False");
    davit.wait_until_idle().await;
    let all = davit.release_phases("shop").await;
    assert_eq!(all, ["shop-1: Succeeded", "shop-2: Succeeded"]);

    forge.recover();
    put_secret(&davit, "gt", "token", "two").await;
    davit.wait_for_phase("shop-3", "Succeeded").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_of_the_commit_are_waited_for() {
    use davit::model::{Check, CheckState, CommitId};
    let repo = repo(GOOD);
    let forge = forge(&repo);
    let set = |state| {
        let commit = CommitId::parse(repo.git(["rev-parse", "HEAD"]).trim()).unwrap();
        let check = Check {
            name: "build".to_owned(),
            state,
        };
        forge.change(&shop(), |shop| shop.checks.insert(commit, vec![check]));
    };
    set(CheckState::Passed);
    let davit = deployed(&forge, json!({"requireChecks": {"names": ["build"]}})).await;
    repo.commit("Next", &[("Dockerfile", NEXT)]);
    set(CheckState::Pending);
    davit.request_reconcile("shop").await;
    let app = davit
        .wait_until("shop", "waiting", |app| {
            condition(app, "SourceReady")["reason"] == "ChecksPending"
        })
        .await;
    let message = condition(&app, "SourceReady")["message"].to_string();
    assert!(message.contains("build"), "{message}");
    set(CheckState::Passed);
    davit.request_reconcile("shop").await;
    davit.wait_for_phase("shop-2", "Succeeded").await;
}
