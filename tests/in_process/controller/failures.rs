//! What hands and servers do at the wrong moment: the status stays true, and what serves goes on.

use std::time::Duration;

use davit::api::{GitProvider, Release};
use davit::builder::fake::FakeBuilder;
use davit::runtime::RuntimeError;
use davit::runtime::fake::{Behaviour, ManualAction};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, Patch, PatchParams, PropagationPolicy};
use serde_json::{Value, json};

use super::harness::{GOOD, Harness, condition, id, repo, source, url_of_db};
use crate::common::git_server::{Access, GitHttps};

/// Deletes the record of a Release.
async fn forget(davit: &Harness, release: &str) {
    let releases = davit.api::<Release>();
    releases.delete(release, &DeleteParams::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_release_records_keeps_containers_running() {
    let (davit, _repo) = Harness::with_shop().await;
    let created = davit.runtime.calls().created;
    let serving = davit.runtime.containers(&id("shop"));
    forget(&davit, "shop-1").await;
    davit.wait_for_phase("shop-2", "Succeeded").await;
    davit.wait_until_done("shop").await;
    davit.wait_until_idle().await;
    assert_eq!(
        davit.runtime.calls().created,
        created,
        "no container is made anew"
    );
    assert_eq!(
        davit.runtime.containers(&id("shop"))[0].seen.id,
        serving[0].seen.id
    );

    // The active one of two.
    davit
        .patch("shop", json!({"spec": {"env": [{"name": "A", "value": "1"}]}}))
        .await;
    davit.wait_for_phase("shop-3", "Succeeded").await;
    davit.wait_until_done("shop").await;
    let serving = davit.runtime.containers(&id("shop"));
    forget(&davit, "shop-3").await;
    davit.wait_for_phase("shop-4", "Succeeded").await;
    davit.wait_until_done("shop").await;
    davit.wait_until_idle().await;
    let now = davit.runtime.containers(&id("shop"));
    assert_eq!(now.len(), 1);
    assert_eq!(now[0].seen.id, serving[0].seen.id);
    assert_eq!(davit.builder.built(), ["shop-1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn release_name_that_is_taken_is_skipped() {
    let davit = Harness::start().await;
    let repo = repo(GOOD);
    // Of an Application that is not there, and never gets a number.
    davit
        .create::<Release>(json!({"apiVersion": "davit.dev/v1alpha1", "kind": "Release",
            "metadata": {"name": "shop-2"}, "spec": {"application": "later"}}))
        .await;
    davit.apply("shop", json!({"source": source(&repo)})).await;
    davit.wait_until_done("shop").await;
    // A user creates a Release with the name of the next one.
    davit
        .create_release("shop-3", json!({"application": "shop"}))
        .await;
    davit.wait_for_phase("shop-3", "Succeeded").await;
    davit
        .patch("shop", json!({"spec": {"env": [{"name": "A", "value": "1"}]}}))
        .await;
    davit
        .wait_until("shop", "with the new environment", |app| {
            app["status"]["phase"] == "done" && app["status"]["observedGeneration"] == 2
        })
        .await;
    davit.wait_until_idle().await;
    let seen = davit.runtime.containers(&id("shop"));
    assert_eq!(seen[0].deployment.spec.env[0].value.expose_str(), Some("1"));
    assert_eq!(
        davit.release_phases("shop").await,
        ["shop-1: Succeeded", "shop-3: Succeeded", "shop-4: Succeeded"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn application_stopped_during_a_release_is_released_after_its_start() {
    let davit = Harness::start().await;
    let sick = Behaviour::Unhealthy("not yet".to_owned());
    let repo = repo(GOOD);
    davit.apply("shop", json!({"source": source(&repo)})).await;
    davit.wait_until_done("shop").await;
    davit.runtime.script(&FakeBuilder::id(GOOD), &sick);
    davit
        .patch("shop", json!({"spec": {"env": [{"name": "A", "value": "1"}]}}))
        .await;
    davit.wait_for_phase("shop-2", "Verifying").await;
    davit.patch("shop", json!({"spec": {"stopped": true}})).await;
    let ended = davit.wait_for_phase("shop-2", "Cancelled").await;
    let said = condition(&ended, "Succeeded");
    assert_eq!(said["reason"], "Stopped", "{said}");
    let app = davit
        .wait_until("shop", "idle", |app| app["status"]["phase"] == "idle")
        .await;
    assert_eq!(condition(&app, "Deployed")["reason"], "Stopped", "{app:#}");
    assert_eq!(condition(&app, "Healthy")["reason"], "Stopped", "{app:#}");
    davit.runtime.script(&FakeBuilder::id(GOOD), &Behaviour::Healthy);
    davit.patch("shop", json!({"spec": {"stopped": false}})).await;
    let release = davit.wait_for_phase("shop-3", "Succeeded").await;
    assert_eq!(release["status"]["cause"]["kind"], "Spec", "{release:#}");
    assert_eq!(
        release["status"]["why"],
        json!(["env A added", "release shop-2 ended without being deployed"])
    );
    davit.wait_until_done("shop").await;
    let seen = davit.runtime.containers(&id("shop"));
    assert_eq!(seen[0].deployment.spec.env[0].value.expose_str(), Some("1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn slowly_stopping_containers_fail_no_release() {
    let davit = Harness::start().await;
    let repo = repo(GOOD);
    let spec = json!({"source": source(&repo), "rollout": {"progressDeadline": "1s"}});
    davit.apply("shop", spec).await;
    davit.wait_until_done("shop").await;
    davit.runtime.hold_stops();
    davit
        .patch("shop", json!({"spec": {"env": [{"name": "A", "value": "1"}]}}))
        .await;
    // The new ones serve, and the old one stops as long as it likes.
    davit
        .wait_until("shop", "told to serve", |app| {
            app["status"]["release"]["latest"] == "shop-2"
                && condition(app, "Healthy")["status"] == "True"
                && app["status"]["readyReplicas"] == 1
        })
        .await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    davit.request_reconcile("shop").await;
    davit.wait_until_idle().await;
    assert_eq!(davit.release_phases("shop").await[1], "shop-2: Verifying");
    davit.runtime.finish_stops();
    davit.wait_for_phase("shop-2", "Succeeded").await;
    davit.wait_until_done("shop").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn restored_secret_value_gets_new_containers() {
    let davit = Harness::start().await;
    let repo = repo(GOOD);
    davit.set_database_secret("good").await;
    davit
        .apply("shop", json!({"source": source(&repo), "env": url_of_db()}))
        .await;
    davit.wait_until_done("shop").await;
    // The Release with the bad value is cancelled, and the container of the one before must be made again meanwhile.
    let held = json!({"spec": {"rollout": {"minReady": "1h", "progressDeadline": "2h"}}});
    davit.patch("shop", held).await;
    davit.set_database_secret("bad").await;
    davit.wait_for_phase("shop-2", "Verifying").await;
    davit.cancel_release("shop-2").await;
    davit.wait_for_phase("shop-2", "Cancelled").await;
    davit.runtime.manually(&id("shop"), ManualAction::Remove);
    davit.patch("shop", json!({"spec": {"rollout": null}})).await;
    davit.wait_until_idle().await;
    let seen = davit.runtime.containers(&id("shop"));
    assert_eq!(seen[0].deployment.spec.env[0].value.expose_str(), Some("bad"));
    davit.set_database_secret("good").await;
    davit.wait_for_phase("shop-3", "Succeeded").await;
    davit.wait_until_done("shop").await;
    let seen = davit.runtime.containers(&id("shop"));
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].deployment.spec.env[0].value.expose_str(), Some("good"));
}

#[tokio::test(flavor = "multi_thread")]
async fn git_outage_does_not_delay_environment_changes_and_hides_no_source_change() {
    let (davit, repo) = Harness::with_shop().await;
    let git = repo.path().to_owned();
    let away = git.with_extension("away");
    std::fs::rename(&git, &away).unwrap();
    davit
        .patch("shop", json!({"spec": {"env": [{"name": "A", "value": "1"}]}}))
        .await;
    let release = davit.wait_for_phase("shop-2", "Succeeded").await;
    assert_eq!(
        release["status"]["source"]["message"], "first",
        "what is known of a commit is told also where nothing was fetched"
    );
    let seen = davit.runtime.containers(&id("shop"));
    assert_eq!(seen[0].deployment.spec.env[0].value.expose_str(), Some("1"));

    let other = json!({"git": {"url": "https://127.0.0.1:1/other.git"}});
    davit.patch("shop", json!({"spec": {"source": other}})).await;
    let app = davit
        .wait_until("shop", "told to be unreachable", |app| {
            condition(app, "Ready")["reason"] == "GitUnreachable"
        })
        .await;
    assert_eq!(condition(&app, "Ready")["status"], "False", "{app:#}");
    assert_ne!(app["status"]["phase"], "done");
    assert_ne!(app["status"]["observedGeneration"], app["metadata"]["generation"]);
    std::fs::rename(&away, &git).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn requested_reconcile_after_a_failure_tries_again() {
    let davit = Harness::start().await;
    let repo = repo(GOOD);
    davit.runtime.occupy(8080, "a program on this machine");
    let spec = json!({"source": source(&repo), "ports": [{"containerPort": 80, "hostPort": 8080}]});
    davit.apply("shop", spec).await;
    davit.wait_for_phase("shop-1", "Failed").await;
    davit.wait_until_idle().await;
    davit.runtime.vacate(8080);
    davit.request_reconcile("shop").await;
    let release = davit.wait_for_phase("shop-2", "Succeeded").await;
    assert_eq!(release["status"]["cause"]["kind"], "Manual");
    davit.wait_until_done("shop").await;
    // Of what is done it is only a look.
    davit.request_reconcile("shop").await;
    davit.wait_until_idle().await;
    assert_eq!(
        davit.release_phases("shop").await,
        ["shop-1: Failed", "shop-2: Succeeded"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_release_ends_although_all_containers_are_unhealthy() {
    let davit = Harness::start().await;
    let repo = repo(GOOD);
    let rollout = json!({"progressDeadline": "1h", "minReady": "0s"});
    davit
        .apply("shop", json!({"source": source(&repo), "rollout": rollout}))
        .await;
    davit.wait_until_done("shop").await;
    // The new one has the name already, when both fall ill.
    davit.runtime.hold_stops();
    davit
        .patch("shop", json!({"spec": {"env": [{"name": "A", "value": "1"}]}}))
        .await;
    davit
        .wait_until("shop", "served by the new one", |app| {
            app["status"]["readyReplicas"] == 1 && app["status"]["release"]["latest"] == "shop-2"
        })
        .await;
    davit.wait_until_idle().await;
    let sick = Behaviour::Unhealthy("no database".to_owned());
    davit.runtime.script(&FakeBuilder::id(GOOD), &sick);
    davit.cancel_release("shop-2").await;
    davit.wait_until_idle().await;
    davit.runtime.let_stop();
    davit.wait_for_phase("shop-2", "Cancelled").await;
    davit.wait_until_idle().await;
    let left = davit.runtime.containers(&id("shop"));
    assert_eq!(left.len(), 1, "{left:#?}");
    assert_eq!(left[0].deployment.identity.release, "shop-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn releases_of_an_earlier_application_of_the_name_are_adopted() {
    let (davit, _repo) = Harness::with_shop().await;
    let orphan = Patch::Merge(json!({"metadata": {"ownerReferences": null}}));
    davit
        .api::<Release>()
        .patch("shop-1", &PatchParams::default(), &orphan)
        .await
        .unwrap();
    davit.request_reconcile("shop").await;
    let adopted = |release: &Value| release["metadata"]["ownerReferences"][0]["name"] == "shop";
    davit.wait_for_release("shop-1", "adopted", adopted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn container_output_with_a_changed_or_deleted_secret_is_redacted() {
    let davit = Harness::start().await;
    let repo = repo(GOOD);
    davit.set_database_secret("hush-hush-one").await;
    davit
        .apply("shop", json!({"source": source(&repo), "env": url_of_db()}))
        .await;
    davit.wait_until_done("shop").await;
    davit.patch("shop", json!({"spec": {"suspend": true}})).await;
    davit.set_database_secret("hush-hush-two").await;
    let says = Behaviour::Unhealthy("cannot log in with hush-hush-one".to_owned());
    davit.runtime.script(&FakeBuilder::id(GOOD), &says);
    let told = async |what: &str| {
        let app = davit
            .wait_until("shop", what, |app| {
                let healthy = condition(app, "Healthy");
                healthy["message"]
                    .as_str()
                    .is_some_and(|said| said.contains("cannot log in with ***"))
            })
            .await;
        assert!(!app.to_string().contains("hush-hush"), "{app:#}");
    };
    told("told although the Secret was changed").await;
    davit.runtime.script(&FakeBuilder::id(GOOD), &Behaviour::Healthy);
    davit
        .wait_until("shop", "well", |app| {
            condition(app, "Healthy")["status"] == "True"
        })
        .await;
    let secrets = davit.api::<Secret>();
    secrets.delete("db", &DeleteParams::default()).await.unwrap();
    davit.runtime.script(&FakeBuilder::id(GOOD), &says);
    told("told although the Secret is gone").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn restarts_under_an_earlier_release_fail_no_later_one() {
    let (davit, _repo) = Harness::with_shop().await;
    let image = FakeBuilder::id(GOOD);
    let ends = Behaviour::Exits {
        code: 1,
        message: "no".to_owned(),
    };
    davit.runtime.script(&image, &ends);
    for _ in 0..6 {
        davit.runtime.advance(Duration::from_secs(1));
    }
    davit.runtime.script(&image, &Behaviour::Healthy);
    davit.runtime.advance(Duration::from_mins(1));
    davit.wait_until_done("shop").await;
    assert!(davit.runtime.containers(&id("shop"))[0].seen.restarts > 3);
    davit.patch("shop", json!({"spec": {"replicas": 2}})).await;
    davit.wait_for_phase("shop-2", "Succeeded").await;
    davit.wait_until_done("shop").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rollout_obstacle_is_reported_until_the_deadline() {
    let davit = Harness::start().await;
    let repo = repo(GOOD);
    let broken = || RuntimeError::Engine {
        doing: "make the namespace's network",
        message: "all address pools are used".to_owned(),
    };
    davit.runtime.fail_deploys(Some(broken()));
    let spec = json!({"source": source(&repo), "rollout": {"progressDeadline": "2s"}});
    davit.apply("shop", spec).await;
    davit
        .wait_until("shop", "told why", |app| {
            condition(app, "Ready")["message"]
                .as_str()
                .is_some_and(|said| said.contains("address pools"))
        })
        .await;
    let failed = davit.wait_for_phase("shop-1", "Failed").await;
    let said = condition(&failed, "Succeeded");
    assert_eq!(said["reason"], "EngineFailed", "{failed:#}");
    assert!(
        said["message"].as_str().unwrap().contains("address pools"),
        "{failed:#}"
    );
    davit.runtime.fail_deploys(None);
    davit.request_reconcile("shop").await;
    davit.wait_for_phase("shop-2", "Succeeded").await;
    davit.wait_until_done("shop").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_redeploy_leaves_the_application_done() {
    let (davit, _repo) = Harness::with_shop().await;
    davit.cancel_redeploy().await;
    let app = davit.wait_until_done("shop").await;
    assert_eq!(condition(&app, "Deployed")["status"], "True", "{app:#}");
    davit.request_reconcile("shop").await;
    davit.wait_until_idle().await;
    assert_eq!(
        davit.release_phases("shop").await,
        ["shop-1: Succeeded", "again: Cancelled"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn release_kept_after_its_application_has_ended() {
    let (davit, repo) = Harness::with_shop().await;
    davit.build_next(&repo).await;
    let orphan = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Orphan),
        ..DeleteParams::default()
    };
    let apps = davit.api::<davit::api::Application>();
    apps.delete("shop", &orphan).await.unwrap();
    let left = davit.wait_for_phase("shop-2", "Cancelled").await;
    assert_eq!(condition(&left, "Succeeded")["reason"], "Deleting", "{left:#}");
    davit.wait_until("shop", "gone", Value::is_null).await;
    assert_eq!(
        davit.release_phases("shop").await,
        ["shop-1: Succeeded", "shop-2: Cancelled"]
    );
    assert!(davit.runtime.containers(&id("shop")).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn git_outage_has_the_same_effect_after_a_restart() {
    let mut davit = Harness::start().await;
    let mut server = GitHttps::start();
    server.publish("shop.git", &repo(GOOD));
    let ca = std::fs::read_to_string(&server.ca.ca_file).unwrap();
    davit
        .create::<Secret>(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "git"}, "stringData": {"ca.crt": ca}}))
        .await;
    let url = server.url(Access::Anonymous, "shop.git");
    let git =
        |branch: &str| json!({"git": {"url": url, "ref": {"branch": branch}, "secretRef": {"name": "git"}}});
    davit.apply("shop", json!({"source": git("main")})).await;
    davit.wait_until_done("shop").await;
    server.stop();
    davit.request_reconcile("shop").await;
    let unreachable = |app: &Value| condition(app, "SourceReady")["reason"] == "GitUnreachable";
    let calm = |app: &Value| unreachable(app) && app["status"]["phase"] == "done";
    davit.wait_until("shop", "told of the outage", calm).await;
    for (release, value) in [("shop-2", "1"), ("shop-3", "2")] {
        davit.stop_controller().await;
        davit.start_controller();
        davit.request_reconcile("shop").await;
        davit.wait_until_idle().await;
        davit.wait_until("shop", "as it was", calm).await;
        let env = json!({"spec": {"env": [{"name": "A", "value": value}]}});
        davit.patch("shop", env).await;
        davit.wait_for_phase(release, "Succeeded").await;
        davit.wait_until_done("shop").await;
    }
    // Of another source nothing is known, before a restart as after it.
    davit
        .patch("shop", json!({"spec": {"source": git("next")}}))
        .await;
    for _ in 0..2 {
        let not_done = |app: &Value| app["status"]["phase"] != "done" && unreachable(app);
        davit.wait_until("shop", "not done any more", not_done).await;
        davit.wait_until_idle().await;
        assert!(not_done(&davit.application("shop").await));
        davit.stop_controller().await;
        davit.start_controller();
    }
    assert_eq!(davit.release_phases("shop").await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn variable_added_and_removed_changes_no_container() {
    let davit = Harness::start().await;
    let repo = repo(GOOD);
    let env = |names: &[&str]| {
        names
            .iter()
            .map(|name| json!({"name": name, "value": "1"}))
            .collect::<Vec<_>>()
    };
    davit
        .apply("shop", json!({"source": source(&repo), "env": env(&["A"])}))
        .await;
    davit.wait_until_done("shop").await;
    let held =
        json!({"spec": {"env": env(&["A", "B"]), "rollout": {"minReady": "1h", "progressDeadline": "2h"}}});
    davit.patch("shop", held).await;
    davit.wait_for_phase("shop-2", "Verifying").await;
    davit.cancel_release("shop-2").await;
    davit.wait_for_phase("shop-2", "Cancelled").await;
    davit.wait_until_idle().await;
    let before = davit.runtime.calls().created;
    davit
        .patch("shop", json!({"spec": {"env": env(&["A"]), "rollout": null}}))
        .await;
    davit.wait_for_phase("shop-3", "Succeeded").await;
    davit.wait_until_done("shop").await;
    assert_eq!(davit.runtime.calls().created, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn redeploy_without_the_secret_of_its_source_fails_with_the_reason() {
    let (davit, _repo) = Harness::with_shop().await;
    let git = json!({"url": "https://git.example/shop.git", "secretRef": {"name": "gone"}});
    davit
        .patch("shop", json!({"spec": {"source": {"git": git}}}))
        .await;
    davit
        .create_release("again", json!({"application": "shop", "type": "Redeploy"}))
        .await;
    let failed = davit.wait_for_phase("again", "Failed").await;
    assert_eq!(
        failed["status"]["failure"]["reason"], "SecretNotFound",
        "{failed:#}"
    );
    let app = davit
        .wait_until("shop", "in error", |app| app["status"]["phase"] == "error")
        .await;
    assert_eq!(condition(&app, "Stalled")["reason"], "SecretNotFound", "{app:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn redeploy_while_its_provider_is_not_ready_shows_the_reason() {
    let (davit, _repo) = Harness::with_shop().await;
    davit
        .create::<GitProvider>(json!({"apiVersion": "davit.dev/v1alpha1", "kind": "GitProvider",
            "metadata": {"name": "gt"}, "spec": {"suspend": true,
            "gitea": {"url": "https://127.0.0.1:1", "tokenSecretRef": {"name": "nope"}}}}))
        .await;
    let gitea = json!({"git": null, "gitea": {"provider": {"name": "gt"}, "owner": "a", "repository": "b"}});
    davit.patch("shop", json!({"spec": {"source": gitea}})).await;
    davit
        .create_release("again", json!({"application": "shop", "type": "Redeploy"}))
        .await;
    davit
        .wait_for_release("again", "told what it waits for", |release| {
            condition(release, "Ready")["reason"] == "ProviderNotReady"
        })
        .await;
    davit
        .wait_until("shop", "told what it waits for", |app| {
            condition(app, "Ready")["reason"] == "ProviderNotReady"
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn release_whose_recorded_configuration_is_unreadable_is_never_run_with_the_present_spec() {
    let (davit, _repo) = Harness::with_shop().await;
    let broken = json!({"status": {"config": {"replicas": "many"}}});
    davit
        .api::<Release>()
        .patch_status("shop-1", &PatchParams::default(), &Patch::Merge(broken))
        .await
        .unwrap();
    // A reconcile that has read the configuration before this would still run it.
    davit.wait_until_idle().await;
    davit.runtime.manually(&id("shop"), ManualAction::Remove);
    let app = davit
        .wait_until("shop", "told that the record cannot be read", |app| {
            condition(app, "Ready")["message"]
                .as_str()
                .is_some_and(|message| message.contains("status.config"))
        })
        .await;
    assert_eq!(app["status"]["phase"], "error", "{app:#}");
    assert!(davit.runtime.containers(&id("shop")).is_empty());
}
