//! What hands remove from the engine: images, what has ended, what failed.

use davit::builder::BuildError;
use davit::builder::fake::FakeBuilder;
use davit::runtime::fake::{Behaviour, ManualAction};
use serde_json::{Value, json};

use super::harness::{GOOD, Harness, NEXT, condition, id, repo, source};
use crate::common::git_repo::GitRepo;

#[tokio::test(flavor = "multi_thread")]
async fn manually_removed_image_is_rebuilt() {
    let (davit, _repo) = Harness::with_shop().await;
    davit.wait_until_idle().await;
    let image = FakeBuilder::id(GOOD);
    davit.runtime.lose_image(&image);
    davit.builder.lose(&image);
    davit.builder.hold();
    davit.runtime.manually(&id("shop"), ManualAction::Remove);
    let release = davit.wait_for_phase("shop-2", "Building").await;
    assert_eq!(release["status"]["cause"]["kind"], "Drift", "{release:#}");
    assert_eq!(
        release["status"]["why"],
        json!(["the image was not in the engine any more"])
    );
    davit
        .wait_until("shop", "built again", |_| {
            davit.builder.built() == ["shop-1", "shop-2"]
        })
        .await;
    let app = davit.application("shop").await;
    assert_ne!(condition(&app, "Built")["status"], "True", "{app:#}");
    davit.runtime.gain_image(&image);
    davit.builder.go_on();
    davit.wait_for_phase("shop-2", "Succeeded").await;
    davit.wait_until_done("shop").await;
    davit.wait_until_idle().await;
    assert_eq!(davit.release_phases("shop").await.len(), 2);
    assert_eq!(davit.runtime.containers(&id("shop")).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn image_that_cannot_be_rebuilt_is_attempted_once_and_reported() {
    let (davit, _repo) = Harness::with_shop().await;
    let image = FakeBuilder::id(GOOD);
    davit.runtime.lose_image(&image);
    davit.builder.lose(&image);
    davit
        .builder
        .fail_next(BuildError::Failed("no route to the registry".to_owned()));
    davit.runtime.manually(&id("shop"), ManualAction::Remove);
    davit.wait_for_phase("shop-2", "Failed").await;
    davit.wait_until_idle().await;
    let app = davit.application("shop").await;
    assert_eq!(app["status"]["phase"], "error", "{app:#}");
    assert_eq!(condition(&app, "Built")["status"], "False", "{app:#}");
    assert_eq!(condition(&app, "Healthy")["status"], "False", "{app:#}");
    assert_eq!(davit.release_phases("shop").await.len(), 2);
    let passes = davit.reconciles();
    davit.request_reconcile("shop").await;
    davit
        .wait_for_release("shop-3", "under way", |release| {
            release["status"]["why"].is_array()
        })
        .await;
    assert!(davit.reconciles() < passes + 15);
}

#[tokio::test(flavor = "multi_thread")]
async fn completed_container_is_an_error_until_a_release_runs_it_again() {
    let davit = Harness::start().await;
    let repo = repo(GOOD);
    let spec = json!({"source": source(&repo), "restartPolicy": {"condition": "OnFailure"}});
    davit.apply("shop", spec).await;
    davit.wait_until_done("shop").await;
    let ends = Behaviour::Exits {
        code: 0,
        message: "all done".to_owned(),
    };
    let image = FakeBuilder::id(GOOD);
    davit.runtime.script(&image, &ends);
    let app = davit
        .wait_until("shop", "stalled", |app| {
            condition(app, "Stalled")["status"] == "True"
        })
        .await;
    assert_eq!(app["status"]["phase"], "error");
    let message = condition(&app, "Ready")["message"].as_str().unwrap().to_owned();
    for said in ["code 0", "spec.restartPolicy", "create a Release", "all done"] {
        assert!(message.contains(said), "{message}");
    }
    davit.wait_until_idle().await;
    assert_eq!(davit.runtime.calls().created, 1, "it is not started by itself");
    davit.runtime.script(&image, &Behaviour::Healthy);
    davit
        .create_release("again", json!({"application": "shop"}))
        .await;
    davit.wait_for_phase("again", "Succeeded").await;
    davit.wait_until_done("shop").await;
    assert_eq!(davit.runtime.calls().created, 2);
    assert_eq!(davit.runtime.containers(&id("shop")).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn serving_containers_are_repaired_while_failed_ones_stay() {
    let davit = Harness::start().await;
    let repo = repo(GOOD);
    let bad = "FROM scratch\nENV BAD=1\n";
    let sick = Behaviour::Unhealthy("no".to_owned());
    davit.runtime.script(&FakeBuilder::id(bad), &sick);
    let rollout = json!({"progressDeadline": "1s", "autoRollback": false});
    davit
        .apply("shop", json!({"source": source(&repo), "rollout": rollout}))
        .await;
    davit.wait_until_done("shop").await;
    repo.commit("Bad", &[("Dockerfile", bad)]);
    davit.request_reconcile("shop").await;
    davit.wait_for_phase("shop-2", "Failed").await;
    davit.wait_until_idle().await;
    let images = || {
        let all = davit.runtime.containers(&id("shop")).into_iter();
        let mut all: Vec<_> = all
            .map(|one| (one.deployment.spec.image, one.seen.named))
            .collect();
        all.sort();
        all
    };
    let mut both = vec![(FakeBuilder::id(GOOD), true), (FakeBuilder::id(bad), false)];
    both.sort();
    assert_eq!(images(), both);
    davit.runtime.manually(&id("shop"), ManualAction::Remove);
    davit.wait_until_idle().await;
    assert_eq!(images(), both, "what serves is put right, what failed stays");

    // A Release that ends before it begins to roll out changes nothing of that.
    davit.builder.hold();
    repo.commit("Next", &[("Dockerfile", "FROM scratch\nENV NEXT=1\n")]);
    davit.request_reconcile("shop").await;
    davit.wait_for_phase("shop-3", "Building").await;
    davit.cancel_release("shop-3").await;
    davit.wait_for_phase("shop-3", "Cancelled").await;
    davit.wait_until_idle().await;
    assert_eq!(images(), both);
}

#[tokio::test(flavor = "multi_thread")]
async fn removed_image_of_a_pinned_revision_is_rebuilt_from_that_revision() {
    let (davit, repo) = Harness::with_shop().await;
    let first = repo.head();
    repo.commit("Next", &[("Dockerfile", NEXT)]);
    davit.request_reconcile("shop").await;
    davit.wait_for_phase("shop-2", "Succeeded").await;
    davit
        .create_release("back", json!({"application": "shop", "revision": first}))
        .await;
    davit.wait_for_phase("back", "Succeeded").await;
    davit.wait_until_done("shop").await;
    let image = FakeBuilder::id(GOOD);
    davit.runtime.lose_image(&image);
    davit.builder.lose(&image);
    davit.builder.hold();
    davit.runtime.manually(&id("shop"), ManualAction::Remove);
    let release = davit.wait_for_phase("shop-4", "Building").await;
    assert_eq!(release["spec"]["revision"], first, "{release:#}");
    assert_eq!(release["status"]["source"]["revision"], first, "{release:#}");
    assert_eq!(release["status"]["cause"]["kind"], "Drift", "{release:#}");
    davit.runtime.gain_image(&image);
    davit.builder.go_on();
    davit.wait_for_phase("shop-4", "Succeeded").await;
    davit.wait_until_done("shop").await;
    davit.wait_until_idle().await;
    let seen = davit.runtime.containers(&id("shop"));
    assert_eq!((seen.len(), &seen[0].deployment.spec.image), (1, &image));
    assert_eq!(davit.release_phases("shop").await.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_image_of_the_serving_release_is_reported_after_a_failed_release() {
    let (davit, repo) = Harness::with_shop().await;
    davit
        .builder
        .fail_next(BuildError::Failed("no such target".to_owned()));
    repo.commit("Next", &[("Dockerfile", NEXT)]);
    davit.request_reconcile("shop").await;
    davit.wait_for_phase("shop-2", "Failed").await;
    let image = FakeBuilder::id(GOOD);
    davit.runtime.lose_image(&image);
    davit.builder.lose(&image);
    davit.runtime.manually(&id("shop"), ManualAction::Remove);
    let said = |app: &Value| {
        let healthy = condition(app, "Healthy");
        let said = healthy["message"].as_str().unwrap_or_default();
        said.contains("image of release shop-1") && said.contains("create a Release")
    };
    davit.wait_until("shop", "told what is missing", said).await;
    davit.wait_until_idle().await;
    assert_eq!(
        davit.release_phases("shop").await.len(),
        2,
        "it would only fail again"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn pruned_completed_container_is_not_run_again() {
    let davit = Harness::start().await;
    let repo = repo(GOOD);
    let spec = json!({"source": source(&repo), "restartPolicy": {"condition": "Never"}});
    davit.apply("shop", spec).await;
    davit.wait_until_done("shop").await;
    let image = FakeBuilder::id(GOOD);
    let ends = Behaviour::Exits {
        code: 0,
        message: "migrated".to_owned(),
    };
    davit.runtime.script(&image, &ends);
    let over = |app: &Value| {
        condition(app, "Stalled")["reason"] == "ContainerExited"
            && condition(app, "Ready")["message"]
                .as_str()
                .is_some_and(|said| said.contains("ended with code 0"))
    };
    davit.wait_until("shop", "over", over).await;
    davit.runtime.manually(&id("shop"), ManualAction::Remove);
    davit.wait_until_idle().await;
    davit.request_reconcile("shop").await;
    davit.wait_until_idle().await;
    assert!(davit.runtime.containers(&id("shop")).is_empty());
    assert_eq!(davit.runtime.calls().created, 1);
    let app = davit.application("shop").await;
    assert!(over(&app), "{app:#}");
    // And with its image gone nothing is made either.
    davit.runtime.lose_image(&image);
    davit.request_reconcile("shop").await;
    davit.wait_until_idle().await;
    assert_eq!(davit.release_phases("shop").await.len(), 1);
    davit.runtime.gain_image(&image);
    davit.runtime.script(&image, &Behaviour::Healthy);
    davit
        .create_release("again", json!({"application": "shop"}))
        .await;
    davit.wait_for_phase("again", "Succeeded").await;
    davit.wait_until_done("shop").await;
    assert_eq!(davit.runtime.calls().created, 2);
    // What a hand stops in the middle is drift as ever.
    davit.runtime.manually(&id("shop"), ManualAction::Remove);
    davit
        .wait_until("shop", "put right", |_| davit.runtime.calls().created == 3)
        .await;
    davit.wait_until_done("shop").await;
}

/// An Application that runs once, with so many replicas, after they have run to their end.
async fn after_a_job(replicas: u32) -> (Harness, GitRepo) {
    let (davit, repo) = (Harness::start().await, repo(GOOD));
    let spec = json!({"source": source(&repo), "restartPolicy": {"condition": "Never"}, "replicas": replicas,
        "rollout": {"progressDeadline": "1s"}});
    davit.apply("shop", spec).await;
    davit.wait_until_done("shop").await;
    let ends = Behaviour::Exits {
        code: 0,
        message: "migrated".to_owned(),
    };
    davit.runtime.script(&FakeBuilder::id(GOOD), &ends);
    davit
        .wait_until("shop", "over", |app| {
            condition(app, "Stalled")["reason"] == "ContainerExited"
        })
        .await;
    davit.wait_until_idle().await;
    (davit, repo)
}

#[tokio::test(flavor = "multi_thread")]
async fn completed_container_is_never_run_again_without_a_release() {
    let (mut davit, repo) = after_a_job(1).await;
    let release = davit.wait_for_phase("shop-1", "Succeeded").await;
    assert_eq!(release["status"]["ended"][0]["exitCode"], 0, "{release:#}");
    // A Release that fails takes its container away, and is rolled back.
    let sick = Behaviour::Unhealthy("no".to_owned());
    davit.runtime.script(&FakeBuilder::id(NEXT), &sick);
    repo.commit("Next", &[("Dockerfile", NEXT)]);
    davit.request_reconcile("shop").await;
    davit.wait_for_phase("shop-2", "Failed").await;
    davit.wait_until_idle().await;
    let created = davit.runtime.calls().created;
    assert_eq!(created, 2, "that of the first and that of the second");
    assert!(davit.images("shop").is_empty());
    // Suspended for a while, an engine that goes away, a restart of Davit, a Release that comes to nothing.
    for suspend in [true, false] {
        davit.patch("shop", json!({"spec": {"suspend": suspend}})).await;
        davit.wait_until_idle().await;
    }
    davit.runtime.go_away();
    davit.wait_until_idle().await;
    davit.runtime.come_back();
    davit.stop_controller().await;
    davit.start_controller();
    davit.wait_until_idle().await;
    davit.cancel_redeploy().await;
    davit.wait_until_idle().await;
    assert_eq!(davit.runtime.calls().created, created);
    // Stopping and starting the Application runs the container again.
    davit.runtime.script(&FakeBuilder::id(GOOD), &Behaviour::Healthy);
    for stopped in [true, false] {
        davit.patch("shop", json!({"spec": {"stopped": stopped}})).await;
        davit.wait_until_idle().await;
    }
    assert_eq!(davit.images("shop"), [FakeBuilder::id(GOOD)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_with_restart_never_run_once_each() {
    let (davit, _repo) = after_a_job(2).await;
    assert_eq!(davit.runtime.calls().created, 2);
    davit.runtime.manually(&id("shop"), ManualAction::Remove);
    davit.wait_until_idle().await;
    assert_eq!(davit.images("shop").len(), 1);
    // A change of what is no part of a container makes a Release of the same containers, and that runs what it deploys.
    davit.runtime.script(&FakeBuilder::id(GOOD), &Behaviour::Healthy);
    davit.patch("shop", json!({"spec": {"replicas": 1}})).await;
    davit.wait_for_phase("shop-2", "Succeeded").await;
    davit.wait_until_done("shop").await;
    let ends = Behaviour::Exits {
        code: 0,
        message: String::new(),
    };
    let created = davit.runtime.calls().created;
    davit.runtime.script(&FakeBuilder::id(GOOD), &ends);
    davit
        .wait_until("shop", "over", |app| {
            condition(app, "Stalled")["reason"] == "ContainerExited"
        })
        .await;
    davit.request_reconcile("shop").await;
    davit.wait_until_idle().await;
    assert_eq!(davit.runtime.calls().created, created);
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_redeploy_does_not_stop_repairs() {
    let (davit, _repo) = Harness::with_shop().await;
    davit.cancel_redeploy().await;
    davit.wait_until_done("shop").await;
    let image = FakeBuilder::id(GOOD);
    davit.runtime.lose_image(&image);
    davit.builder.lose(&image);
    davit.builder.hold();
    davit.runtime.manually(&id("shop"), ManualAction::Remove);
    let release = davit.wait_for_phase("shop-3", "Building").await;
    assert_eq!(release["status"]["cause"]["kind"], "Drift", "{release:#}");
    davit.runtime.gain_image(&image);
    davit.builder.go_on();
    davit.wait_for_phase("shop-3", "Succeeded").await;
    davit.wait_until_done("shop").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn removed_failed_container_frees_the_host_port_for_the_previous_one() {
    let davit = Harness::start().await;
    let repo = repo(GOOD);
    let sick = Behaviour::Unhealthy("no".to_owned());
    davit.runtime.script(&FakeBuilder::id(NEXT), &sick);
    let rollout = json!({"progressDeadline": "1s", "autoRollback": false});
    let ports = json!([{"containerPort": 80, "hostPort": 8080}]);
    davit
        .apply(
            "shop",
            json!({"source": source(&repo), "rollout": rollout, "ports": ports}),
        )
        .await;
    davit.wait_until_done("shop").await;
    repo.commit("Next", &[("Dockerfile", NEXT)]);
    davit.request_reconcile("shop").await;
    davit.wait_for_phase("shop-2", "Failed").await;
    davit.wait_until_idle().await;
    let images = || davit.images("shop");
    assert!(
        images().contains(&FakeBuilder::id(NEXT)),
        "it is there to be looked at"
    );
    while !davit.runtime.containers(&id("shop")).is_empty() {
        davit.runtime.manually(&id("shop"), ManualAction::Remove);
    }
    let healthy = |app: &Value| condition(app, "Healthy")["status"] == "True";
    davit.wait_until("shop", "served again", healthy).await;
    assert_eq!(images(), [FakeBuilder::id(GOOD)]);
    assert_eq!(davit.application("shop").await["status"]["phase"], "error");
}
