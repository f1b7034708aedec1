//! What users do: ask, cancel, change their mind, stop, suspend, delete; and what breaks meanwhile.

use std::time::Duration;

use davit::api::{Application, GitProvider, Release};
use davit::builder::BuildError;
use davit::builder::fake::FakeBuilder;
use davit::runtime::fake::ManualAction;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::harness::{Harness, condition, id, repo, source, url_of_db};

const FOREVER: &str = "FROM scratch\nRUN sleep 3600\n";

#[tokio::test(flavor = "multi_thread")]
async fn application_is_created_changed_and_deleted_completely() {
    let davit = Harness::start().await;
    let first = "FROM scratch\n";
    let repo = repo(first);
    davit
        .apply("shop", json!({"source": source(&repo), "replicas": 2}))
        .await;
    let app = davit.wait_until_done("shop").await;
    assert_eq!(condition(&app, "Ready")["status"], "True");
    assert_eq!(app["status"]["readyReplicas"], 2);
    let containers = davit.runtime.containers(&id("shop"));
    assert_eq!(containers.len(), 2);
    assert!(
        containers
            .iter()
            .all(|one| one.deployment.spec.image == FakeBuilder::id(first) && one.seen.named),
        "{containers:?}"
    );

    // A changed environment needs no build; a manual Redeploy builds again.
    davit
        .patch("shop", json!({"spec": {"env": [{"name": "A", "value": "1"}]}}))
        .await;
    davit.wait_until_done("shop").await;
    assert_eq!(davit.builder.built(), ["shop-1"]);
    davit
        .create_release(
            "again",
            json!({"application": "shop", "type": "Redeploy", "title": "Once more"}),
        )
        .await;
    davit.wait_for_phase("again", "Succeeded").await;
    assert_eq!(davit.builder.built(), ["shop-1", "again"]);
    let asked = davit.releases("shop").await.pop().unwrap();
    assert_eq!(asked["status"]["number"], 3);
    assert_eq!(asked["status"]["cause"]["kind"], "Manual");

    assert!(davit.builder.freed().is_empty());
    davit.delete("shop").await;
    davit.wait_until("shop", "gone", Value::is_null).await;
    assert!(davit.runtime.containers(&id("shop")).is_empty());
    assert!(davit.builder.tags().is_empty());
    assert!(!davit.builder.trimmed().is_empty());
    let mut left = davit.releases("shop").await;
    for _ in 0..200 {
        // The deletion does not wait for the cache.
        if left.is_empty() && davit.builder.freed() == [id("shop")] {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await; // The server collects them in its own time.
        left = davit.releases("shop").await;
    }
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(davit.builder.freed(), [id("shop")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn newer_release_supersedes_the_older_and_ends_its_build() {
    let davit = Harness::start().await;
    let repo = repo(FOREVER);
    davit.apply("shop", json!({"source": source(&repo)})).await;
    davit.wait_for_phase("shop-1", "Building").await;
    repo.commit("Two", &[("Dockerfile", "FROM scratch\n")]);
    davit.request_reconcile("shop").await;
    davit.wait_until_done("shop").await;
    assert_eq!(
        davit.release_phases("shop").await,
        ["shop-1: Superseded", "shop-2: Succeeded"]
    );

    repo.commit("Three", &[("Dockerfile", FOREVER)]);
    davit.request_reconcile("shop").await;
    davit.wait_for_phase("shop-3", "Building").await;
    assert_eq!(davit.builder.active(), 1);
    davit.cancel_release("shop-3").await;
    davit.wait_for_phase("shop-3", "Cancelled").await;
    assert_eq!(
        davit.builder.active(),
        0,
        "it is Cancelled only when it has ended"
    );
    davit.wait_until_idle().await;
    let app = davit.application("shop").await;
    assert_eq!(app["status"]["release"]["active"], "shop-2", "{app:#}");
    assert_eq!(davit.runtime.containers(&id("shop")).len(), 1);
    assert_eq!(
        davit.release_phases("shop").await.len(),
        3,
        "a cancelled one is not begun anew"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn new_release_of_a_deleted_name_takes_over_no_build() {
    let davit = Harness::start().await;
    let repo = repo("FROM scratch\n");
    davit.apply("shop", json!({"source": source(&repo)})).await;
    davit.wait_until_done("shop").await;
    let slow = repo.commit("Slow", &[("Dockerfile", FOREVER)]);
    let quick = repo.commit("Quick", &[("Dockerfile", "FROM scratch\nLABEL quick=yes\n")]);
    // No Release is created for the new commits, only for requests.
    davit.wait_until_done("shop").await;
    davit
        .create_release("go", json!({"application": "shop", "revision": slow}))
        .await;
    davit.wait_for_phase("go", "Building").await;
    let params = DeleteParams::default();
    davit.api::<Release>().delete("go", &params).await.unwrap();
    davit
        .create_release("go", json!({"application": "shop", "revision": quick}))
        .await;
    let release = davit
        .wait_for_release("go", "at its end", |release| {
            ["Succeeded", "Failed", "Cancelled", "Superseded"]
                .iter()
                .any(|end| release["status"]["phase"] == *end)
        })
        .await;
    assert_eq!(release["status"]["phase"], "Succeeded", "{:#}", release["status"]);
    assert_eq!(
        release["status"]["image"],
        FakeBuilder::id("FROM scratch\nLABEL quick=yes\n")
    );
    assert_eq!(
        davit.builder.active(),
        0,
        "nothing of the deleted one runs any more"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn application_orphaned_during_a_build_leaves_no_job() {
    let davit = Harness::start().await;
    let (slow, quick) = (repo(FOREVER), repo("FROM scratch\n"));
    davit
        .apply(
            "shop",
            json!({"source": source(&slow), "deletionPolicy": "Orphan"}),
        )
        .await;
    davit.wait_for_phase("shop-1", "Building").await;
    davit.delete("shop").await;
    davit.wait_until("shop", "gone", Value::is_null).await;
    assert_eq!(davit.builder.active(), 0, "nobody waits for it any more");
    davit.apply("shop", json!({"source": source(&quick)})).await;
    davit.wait_until_done("shop").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrency_policy_queue_waits_and_forbid_rejects() {
    let davit = Harness::start().await;
    let repo = repo(FOREVER);
    for (name, policy, second) in [("queues", "Queue", "Pending"), ("forbids", "Forbid", "Failed")] {
        davit
            .apply(
                name,
                json!({"source": source(&repo), "concurrencyPolicy": policy}),
            )
            .await;
        davit.wait_for_phase(&format!("{name}-1"), "Building").await;
        let ask = format!("{name}-asked");
        davit.create_release(&ask, json!({"application": name})).await;
        davit.wait_until_idle().await;
        davit.wait_for_phase(&ask, second).await;
        davit.wait_for_phase(&format!("{name}-1"), "Building").await;
    }
    let refused = davit.releases("forbids").await.pop().unwrap();
    assert_eq!(
        refused["status"]["failure"]["reason"], "Concurrent",
        "{refused:#}"
    );
    let message = refused["status"]["failure"]["message"].as_str().unwrap();
    assert!(
        message.contains("forbids-1") && message.contains("Forbid"),
        "{message}"
    );
    // One that was refused before it began handled nothing: what the one before it handled is not made once more.
    davit.cancel_release("forbids-1").await;
    davit.wait_for_phase("forbids-1", "Cancelled").await;
    davit.wait_until_idle().await;
    assert_eq!(davit.releases("forbids").await.len(), 2);
    // The one that waits begins when the one before it has ended.
    davit.cancel_release("queues-1").await;
    davit.wait_for_phase("queues-1", "Cancelled").await;
    davit.wait_for_phase("queues-asked", "Building").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_builds_are_limited_and_queued_ones_show_their_position() {
    let davit = Harness::start().await;
    let (forever, quick) = (repo(FOREVER), repo("FROM scratch\n"));
    for name in ["a", "b"] {
        davit.apply(name, json!({"source": source(&forever)})).await;
        davit.wait_for_phase(&format!("{name}-1"), "Building").await;
    }
    for (name, place) in [("c", 1), ("d", 2)] {
        davit.apply(name, json!({"source": source(&quick)})).await;
        davit
            .wait_for_release(&format!("{name}-1"), "waiting", |release| {
                release["status"]["queue"]["position"] == place
                    && condition(release, "Ready")["reason"] == "Queued"
            })
            .await;
    }
    davit.delete("a").await;
    for name in ["c", "d"] {
        davit.wait_until_done(name).await;
    }
    davit.wait_until("a", "gone", Value::is_null).await;
    assert_eq!(davit.builder.most(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_build_is_an_error_and_an_interrupted_build_is_retried() {
    let davit = Harness::start().await;
    let repo = repo("FROM scratch\n");
    davit.apply("shop", json!({"source": source(&repo)})).await;
    davit.wait_until_done("shop").await;
    repo.commit("Two", &[("Dockerfile", "FROM scratch\nRUN false\n")]);
    davit.request_reconcile("shop").await;
    let app = davit
        .wait_until("shop", "in error", |app| app["status"]["phase"] == "error")
        .await;
    let stalled = condition(&app, "Stalled");
    assert_eq!(stalled["reason"], "BuildFailed", "{app:#}");
    assert_eq!(
        condition(&app, "Healthy")["status"],
        "True",
        "what served still serves"
    );
    assert_eq!(app["status"]["release"]["active"], "shop-1");
    let failed = davit.releases("shop").await.pop().unwrap();
    let tail = failed["status"]["failure"]["logTail"].as_str().unwrap();
    assert!(tail.contains("RUN false"), "{tail}");
    davit.wait_until_idle().await;
    let (passes, writes) = (davit.reconciles(), davit.status_writes());
    davit.wait_until_idle().await;
    assert_eq!(
        (davit.reconciles(), davit.status_writes()),
        (passes, writes),
        "nothing is tried again"
    );

    let away = || BuildError::EngineUnavailable("connection refused".to_owned());
    davit.builder.fail_next(away());
    davit.builder.fail_next(away());
    let begun = std::time::Instant::now();
    repo.commit("Three", &[("Dockerfile", "FROM scratch\nENV B=3\n")]);
    davit.request_reconcile("shop").await;
    let waits = davit
        .wait_until("shop", "waiting to try again", |app| {
            condition(app, "Reconciling")["reason"] == "ProgressingWithRetry"
        })
        .await;
    let message = condition(&waits, "Reconciling")["message"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(message.contains("connection refused"), "{message}");
    davit.wait_until_done("shop").await;
    // The pauses are a second and two, each a tenth shorter at the most.
    assert!(
        begun.elapsed() > Duration::from_millis(2700),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(davit.builder.built()[2..], ["shop-3", "shop-3", "shop-3"]);
    assert_eq!(
        davit.release_phases("shop").await,
        ["shop-1: Succeeded", "shop-2: Failed", "shop-3: Succeeded"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_is_repaired_without_a_release() {
    let davit = Harness::start().await;
    let repo = repo("FROM scratch\n");
    davit
        .apply("shop", json!({"source": source(&repo), "replicas": 2}))
        .await;
    davit.wait_until_done("shop").await;
    for hand in [
        ManualAction::Stop,
        ManualAction::Remove,
        ManualAction::Pause,
        ManualAction::Rename,
        ManualAction::Update,
        ManualAction::Disconnect,
        ManualAction::Connect,
    ] {
        assert!(davit.runtime.manually(&id("shop"), hand));
        davit.wait_until_idle().await;
        let containers = davit.runtime.containers(&id("shop"));
        let good = containers.iter().all(|one| {
            one.seen.named
                && one.seen.index.is_some()
                && one.seen.drift == davit::runtime::rolling::Drift::default()
        });
        assert!(good && containers.len() == 2, "{hand:?}: {containers:#?}");
        davit.wait_until_done("shop").await;
    }
    assert_eq!(davit.release_phases("shop").await, ["shop-1: Succeeded"]);
    assert_eq!(davit.builder.built(), ["shop-1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn engine_outage_is_reported_and_changes_are_applied_afterwards() {
    let davit = Harness::start().await;
    let repo = repo("FROM scratch\n");
    davit.apply("shop", json!({"source": source(&repo)})).await;
    davit.wait_until_done("shop").await;
    davit.runtime.go_away();
    let app = davit
        .wait_until("shop", "without its engine", |app| {
            condition(app, "Ready")["reason"] == "EngineUnavailable"
        })
        .await;
    assert_eq!(
        app["status"]["phase"], "error",
        "nobody knows whether it is healthy: {app:#}"
    );
    assert_ne!(condition(&app, "Healthy")["status"], "True", "{app:#}");
    let writes = davit.status_writes();
    davit
        .patch("shop", json!({"spec": {"env": [{"name": "A", "value": "1"}]}}))
        .await;
    let deploys = |release: &Value| release["status"]["image"].is_string();
    davit
        .wait_for_release("shop-2", "ready to be deployed", deploys)
        .await;
    tokio::time::sleep(Duration::from_secs(1)).await; // A storm of retries would show in this time.
    assert!(
        davit.status_writes() - writes <= 12,
        "{}",
        davit.status_writes() - writes
    );
    davit.runtime.come_back();
    davit.wait_until_done("shop").await;
    assert_eq!(
        davit.release_phases("shop").await,
        ["shop-1: Succeeded", "shop-2: Succeeded"]
    );
    assert_eq!(davit.runtime.containers(&id("shop")).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn unresponsive_server_delays_neither_other_applications_nor_repairs() {
    let davit = Harness::start().await;
    let repo = repo("FROM scratch\n");
    // It takes connections and says nothing.
    let deaf = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/r.git", deaf.local_addr().unwrap());
    let source_of_deaf = json!({"git": {"url": url}});
    davit.apply("shop", json!({"source": source(&repo)})).await;
    davit.wait_until_done("shop").await;
    for number in 0..80 {
        let name = format!("deaf-{number}");
        davit.apply(&name, json!({"source": source_of_deaf})).await;
    }
    let began = std::time::Instant::now();
    davit.apply("late", json!({"source": source(&repo)})).await;
    davit.wait_until_done("late").await;
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    let told = davit
        .wait_until("deaf-0", "told that nothing is known yet", |app| {
            condition(app, "SourceReady")["reason"] == "Resolving"
        })
        .await;
    let message = condition(&told, "Ready")["message"].clone();
    assert!(message.as_str().unwrap().contains("spec.source"), "{told:#}");
    assert_eq!(told["status"]["phase"], "running");

    // What runs is looked after while a new source does not answer.
    davit
        .patch("shop", json!({"spec": {"source": source_of_deaf}}))
        .await;
    davit
        .wait_until("shop", "waiting for its new source", |app| {
            condition(app, "SourceReady")["reason"] == "Resolving"
        })
        .await;
    davit.runtime.manually(&id("shop"), ManualAction::Remove);
    davit
        .wait_until("shop", "put right", |_| {
            davit.runtime.containers(&id("shop")).len() == 1
        })
        .await;
    assert_eq!(davit.releases("shop").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn terminal_git_provider_problem_is_an_error_until_it_is_solved() {
    let davit = Harness::start().await;
    let spec = json!({"source": {"gitea": {"provider": {"name": "gt", "namespace": "forge"}, "owner": "a", "repository": "b"}}});
    davit.apply("shop", spec).await;
    let stalled = async |reason: &str| {
        let app = davit
            .wait_until("shop", &format!("stalled by {reason}"), |app| {
                condition(app, "Stalled")["reason"] == reason && app["status"]["phase"] == "error"
            })
            .await;
        assert_eq!(condition(&app, "Ready")["reason"], reason, "{app:#}");
    };
    stalled("ProviderNotFound").await;

    // It goes on by itself each time that the provider comes or changes: its watch wakes it.
    let namespaces: kube::Api<k8s_openapi::api::core::v1::Namespace> = kube::Api::all(davit.client.clone());
    let forge = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "forge"}});
    namespaces
        .create(&PostParams::default(), &serde_json::from_value(forge).unwrap())
        .await
        .unwrap();
    let providers: kube::Api<GitProvider> = kube::Api::namespaced(davit.client.clone(), "forge");
    let provider = json!({"apiVersion": "davit.dev/v1alpha1", "kind": "GitProvider", "metadata": {"name": "gt"},
        "spec": {"gitea": {"url": "http://127.0.0.1:1", "tokenSecretRef": {"name": "none", "key": "token"}}}});
    providers
        .create(&PostParams::default(), &serde_json::from_value(provider).unwrap())
        .await
        .unwrap();
    stalled("AccessDenied").await;
    let allow = Patch::Merge(json!({"spec": {"allowedNamespaces": {"from": "All"}}}));
    providers
        .patch("gt", &PatchParams::default(), &allow)
        .await
        .unwrap();
    // Its Secret is missing: that too is for the user to mend.
    stalled("ProviderNotReady").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_trigger_applies_at_once() {
    let davit = Harness::start().await;
    let repo = repo("FROM scratch\n");
    for (number, before, after) in [
        (
            0,
            json!({"on": "Manual"}),
            json!({"on": "Push", "pollInterval": "1s"}),
        ),
        (1, json!({"pollInterval": "0s"}), json!({"pollInterval": "1s"})),
        (2, json!({"pollInterval": "1h"}), json!({"pollInterval": "1s"})),
    ] {
        let name = format!("shop-{number}");
        davit
            .apply(&name, json!({"source": source(&repo), "trigger": before}))
            .await;
        davit.wait_until_done(&name).await;
        davit.patch(&name, json!({"spec": {"trigger": after}})).await;
        davit.wait_until_done(&name).await;
        repo.commit(
            &format!("Push {number}"),
            &[("Dockerfile", "FROM scratch\nUSER 1\n"), ("count", &name)],
        );
        let head = repo.head();
        davit
            .wait_until(&name, "at what was pushed", |app| {
                app["status"]["source"]["revision"] == head.as_str()
            })
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn release_of_a_missing_application_starts_when_it_is_created() {
    let davit = Harness::start().await;
    let repo = repo("FROM scratch\n");
    davit
        .create_release("early", json!({"application": "shop"}))
        .await;
    let told = davit
        .wait_for_release("early", "told that it waits", |release| {
            condition(release, "Ready")["reason"] == "ApplicationNotFound"
        })
        .await;
    let told = condition(&told, "Ready");
    let message = told["message"].as_str().unwrap();
    assert!(
        message.contains("spec.application") && message.contains("shop"),
        "{told}"
    );
    davit.apply("shop", json!({"source": source(&repo)})).await;
    davit.wait_until_done("shop").await;
    davit.wait_for_phase("early", "Succeeded").await;
    assert_eq!(davit.releases("shop").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn release_of_a_missing_application_can_be_cancelled() {
    let davit = Harness::start().await;
    davit
        .create_release("early", json!({"application": "shop"}))
        .await;
    davit
        .wait_for_release("early", "told that it waits", |release| {
            condition(release, "Ready")["reason"] == "ApplicationNotFound"
        })
        .await;
    davit.cancel_release("early").await;
    let release = davit.wait_for_phase("early", "Cancelled").await;
    assert_eq!(condition(&release, "Ready")["reason"], "Cancelled");
    // One that is no longer wanted when it comes does not wait at all.
    davit
        .create_release("never", json!({"application": "shop", "cancel": true}))
        .await;
    davit.wait_for_phase("never", "Cancelled").await;
    let repo = repo("FROM scratch\n");
    davit.apply("shop", json!({"source": source(&repo)})).await;
    davit.wait_until_done("shop").await;
    davit.wait_for_phase("early", "Cancelled").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn taken_host_port_is_used_after_it_is_freed() {
    let davit = Harness::start().await;
    let repo = repo("FROM scratch\n");
    let spec = json!({"source": source(&repo), "ports": [{"containerPort": 80, "hostPort": 8080}]});
    let taken = |app: &Value| condition(app, "Ready")["reason"] == "PortTaken";
    davit.apply("first", spec.clone()).await;
    davit.wait_until_done("first").await;
    davit.patch("first", json!({"spec": {"stopped": true}})).await;
    davit
        .wait_until("first", "idle", |app| app["status"]["phase"] == "idle")
        .await;
    davit.apply("second", spec.clone()).await;
    davit.wait_until_done("second").await;
    davit.patch("first", json!({"spec": {"stopped": false}})).await;
    davit.wait_until("first", "told who has its port", taken).await;
    // A release that could not have the port has failed, and says what to do.
    davit.apply("third", spec).await;
    let third = davit.wait_until("third", "told who has its port", taken).await;
    let message = condition(&third, "Ready")["message"].as_str().unwrap().to_owned();
    assert!(
        message.contains("free the port") && message.contains("create a Release"),
        "{message}"
    );
    davit.delete("second").await;
    davit.wait_until_done("first").await;
    davit.patch("first", json!({"spec": {"stopped": true}})).await;
    davit
        .wait_until("first", "idle", |app| app["status"]["phase"] == "idle")
        .await;
    davit
        .create_release("once-more", json!({"application": "third"}))
        .await;
    davit.wait_for_phase("once-more", "Succeeded").await;
    davit.wait_until_done("third").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_without_application_are_removed() {
    let mut davit = Harness::start().await;
    let repo = repo("FROM scratch\n");
    davit.apply("shop", json!({"source": source(&repo)})).await;
    davit.wait_until_done("shop").await;
    // It goes while Davit is not there to see it.
    davit.stop_controller().await;
    davit
        .patch("shop", json!({"metadata": {"finalizers": null}}))
        .await;
    davit.delete("shop").await;
    davit.wait_until("shop", "gone", Value::is_null).await;
    davit.runtime.hold_stops();
    let before = davit.runtime.calls().remove;
    davit.start_controller();
    let asked = async |least: usize| {
        let end = std::time::Instant::now() + Duration::from_secs(20);
        while davit.runtime.calls().remove < least {
            assert!(std::time::Instant::now() < end, "it was asked for too seldom");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    asked(before + 1).await;
    assert_eq!(davit.runtime.containers(&id("shop")).len(), 1, "it is stopping");
    davit.runtime.finish_stops();
    asked(davit.runtime.calls().remove + 1).await;
    assert!(davit.runtime.containers(&id("shop")).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_secret_creates_one_release_that_names_it_without_its_value() {
    let davit = Harness::start().await;
    let repo = repo("FROM scratch\n");
    davit
        .apply("shop", json!({"source": source(&repo), "env": url_of_db()}))
        .await;
    let app = davit
        .wait_until("shop", "waiting for the Secret", |app| {
            condition(app, "Ready")["reason"] == "SecretNotFound"
        })
        .await;
    let said = condition(&app, "Ready")["message"].as_str().unwrap().to_owned();
    assert!(said.contains("db") && said.contains("spec.env"), "{said}");
    davit.set_database_secret("first-value").await;
    davit.wait_until_done("shop").await;
    let seen = davit.runtime.containers(&id("shop"));
    assert_eq!(
        seen[0].deployment.spec.env[0].value.expose_str(),
        Some("first-value")
    );

    davit.set_database_secret("second-value").await;
    davit.wait_for_phase("shop-2", "Succeeded").await;
    davit.wait_until_done("shop").await;
    let seen = davit.runtime.containers(&id("shop"));
    assert_eq!(
        seen[0].deployment.spec.env[0].value.expose_str(),
        Some("second-value")
    );
    let all = davit.releases("shop").await;
    assert_eq!(all.len(), 2);
    let told = format!("{all:?}{}", davit.application("shop").await);
    assert!(
        !told.contains("second-value") && !told.contains("first-value"),
        "{told}"
    );
    assert_eq!(davit.builder.built(), ["shop-1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn history_beyond_its_limit_is_pruned_except_the_active_release() {
    let davit = Harness::start().await;
    let repo = repo("FROM scratch\n");
    davit
        .apply(
            "shop",
            json!({"source": source(&repo), "history": {"succeeded": 2, "failed": 1}}),
        )
        .await;
    davit.wait_until_done("shop").await;
    for number in 2..=5 {
        let dockerfile = format!("FROM scratch\nENV N={number}\n");
        repo.commit("Next", &[("Dockerfile", &dockerfile)]);
        davit.request_reconcile("shop").await;
        davit.wait_for_phase(&format!("shop-{number}"), "Succeeded").await;
    }
    for number in 6..=8 {
        let dockerfile = format!("FROM scratch\nENV N={number}\nRUN false\n");
        repo.commit("Next", &[("Dockerfile", &dockerfile)]);
        davit.request_reconcile("shop").await;
        davit.wait_for_phase(&format!("shop-{number}"), "Failed").await;
    }
    davit.wait_until_idle().await;
    assert_eq!(
        davit.release_phases("shop").await,
        ["shop-4: Succeeded", "shop-5: Succeeded", "shop-8: Failed"]
    );
    assert_eq!(davit.builder.tags().len(), 2, "{:?}", davit.builder.tags());
    assert_eq!(davit.application("shop").await["status"]["release"]["count"], 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn orphaned_container_is_kept_by_the_next_controller() {
    let mut davit = Harness::start().await;
    let repo = repo("FROM scratch\n");
    davit
        .apply(
            "shop",
            json!({"source": source(&repo), "deletionPolicy": "Orphan"}),
        )
        .await;
    davit.wait_until_done("shop").await;
    davit.delete("shop").await;
    davit.wait_until("shop", "gone", Value::is_null).await;
    assert_eq!(davit.runtime.containers(&id("shop")).len(), 1);
    davit.stop_controller().await;
    davit.start_controller();
    davit.apply("other", json!({"source": source(&repo)})).await;
    davit.wait_until_done("other").await;
    davit.wait_until_idle().await;
    assert_eq!(davit.runtime.containers(&id("shop")).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn application_deleted_during_a_build_is_removed_after_the_build() {
    let davit = Harness::start().await;
    let repo = repo(FOREVER);
    davit.apply("shop", json!({"source": source(&repo)})).await;
    davit.wait_for_phase("shop-1", "Building").await;
    let params = DeleteParams::default();
    davit.api::<Application>().delete("shop", &params).await.unwrap();
    davit.wait_until("shop", "gone", Value::is_null).await;
    assert_eq!(davit.builder.active(), 0);
    assert!(davit.builder.tags().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn controller_after_restart_continues_its_work() {
    let mut davit = Harness::start().await;
    let repo = repo(FOREVER);
    davit.apply("shop", json!({"source": source(&repo)})).await;
    davit.wait_for_phase("shop-1", "Building").await;
    davit.stop_controller().await;
    assert_eq!(davit.builder.active(), 0, "nothing runs on without it");
    let open: Release = davit.api().get("shop-1").await.unwrap();
    assert!(open.status.is_some_and(|status| !status.phase.has_ended()));
    davit.start_controller();
    davit.wait_for_phase("shop-1", "Building").await;
    while davit.builder.active() == 0 {
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    assert_eq!(
        davit.builder.built(),
        ["shop-1", "shop-1"],
        "the same Release goes on"
    );
    repo.commit("Two", &[("Dockerfile", "FROM scratch\n")]);
    davit.request_reconcile("shop").await;
    davit.wait_until_done("shop").await;
    // What is done stays done, without a write.
    davit.stop_controller().await;
    let writes = davit.status_writes();
    davit.start_controller();
    davit.wait_until_idle().await;
    assert_eq!(davit.status_writes(), writes, "a restart is no reason to write");
    davit.wait_until_done("shop").await;
}
