//! The whole line on the real thing: `davit up`, a real Git repository, the real Docker Engine.

#![allow(
    clippy::too_many_lines,
    clippy::unwrap_used,
    reason = "a test tells one story from its beginning to its end"
)]

use std::time::Duration;

use crate::common::davit::{Davit, condition, fetch_from_network};
use crate::common::docker::docker;
use crate::common::git_repo::GitRepo;
use crate::common::{run, wait_for};
use kube::api::PostParams;
use serde_json::{Value, json};

/// A web server of one file, as a Dockerfile.
fn page(text: &str) -> String {
    format!(
        "FROM {}\nRUN mkdir -p /www && echo '{text}' > /www/index.html\nEXPOSE 80\nCMD [\"httpd\", \"-f\", \"-p\", \"80\", \"-h\", \"/www\"]\n",
        crate::common::docker::BASE_IMAGE
    )
}

fn source(repo: &GitRepo) -> Value {
    json!({"git": {"url": repo.url(), "ref": {"branch": "main"}}})
}

#[test]
fn deployment_on_the_engine_stays_within_its_budget_of_reconciles_and_writes() {
    let davit = Davit::with_flags("bounds", &["--log", "davit=debug"]);
    let count = |what: &str| davit.log().matches(what).count();
    let mut before = (0, 0);
    let repo = GitRepo::with(&[("Dockerfile", &page("one"))]);
    let probed = json!({"source": source(&repo), "replicas": 2, "ports": [{"name": "http", "containerPort": 80}], "healthCheck": {"http": {"port": "http"}}});
    for round in 1..=3 {
        if round == 1 {
            davit.apply("web", probed.clone());
        } else {
            repo.commit("Next", &[("Dockerfile", &page(&format!("page {round}")))]);
            davit.request_reconcile("web");
        }
        davit.wait_until("web", 60, "at its next release", |app| {
            app["status"]["release"]["active"] == format!("web-{round}")
        });
        davit.wait_until_done("web");
        // The old containers go a while after the new ones have come: that is part of it.
        wait_for("the old containers to be gone", Duration::from_mins(1), || {
            (davit.containers("web").len() == 2).then_some(())
        });
        let quiet = davit.wait_until_log_idle();
        assert!(quiet, "it goes on and on");
        let now = (count(" reconcile app="), count("status write"));
        let cost = (now.0 - before.0, now.1 - before.1);
        before = now;
        assert!(cost.0 > 0 && cost.0 <= 15, "{} passes in round {round}", cost.0);
        assert!(
            cost.1 > 0 && cost.1 <= 12,
            "{} writes of status in round {round}",
            cost.1
        );
    }
}

#[test]
fn repository_becomes_a_healthy_container_and_deletion_leaves_nothing() {
    let davit = Davit::up("line");
    let repo = GitRepo::with(&[("Dockerfile", &page("one"))]);
    davit.apply("web", json!({"source": source(&repo), "ports": [{"name": "http", "containerPort": 80}], "healthCheck": {"http": {"port": "http"}}}));
    let app = davit.wait_until_done("web");
    assert_eq!(condition(&app, "Ready")["status"], "True");
    assert_eq!(app["status"]["readyReplicas"], 1);
    assert_eq!(fetch_from_network(&davit, "line", "web").unwrap(), "one");

    // A new commit is a new release, with its cause.
    repo.commit("Two", &[("Dockerfile", &page("two"))]);
    davit.request_reconcile("web");
    davit.wait_until("web", 60, "at the second release", |app| {
        app["status"]["release"]["active"] == "web-2"
    });
    davit.wait_until_done("web");
    assert_eq!(fetch_from_network(&davit, "line", "web").unwrap(), "two");
    let second = &davit.releases_of("web")[1];
    assert!(
        second["status"]["why"][0]
            .as_str()
            .unwrap()
            .starts_with("revision "),
        "{second}"
    );
    assert_eq!(second["status"]["source"]["message"], "Two");

    // A change of environment or replicas runs without a build.
    davit.patch(
        "web",
        json!({"spec": {"env": [{"name": "COLOR", "value": "red"}], "replicas": 2}}),
    );
    let app = davit.wait_until_done("web");
    assert_eq!(app["status"]["readyReplicas"], 2);
    let third = &davit.releases_of("web")[2];
    assert_eq!(third["status"]["builder"]["reused"], true, "{third}");
    assert_eq!(
        third["status"]["why"],
        json!(["env COLOR added", "replicas changed"])
    );
    assert_eq!(condition(&app, "Built")["reason"], "ImageReused");
    assert_eq!(
        davit.releases_of("web").len(),
        3,
        "every change that matters makes exactly one Release"
    );

    davit.delete_and_wait("web");
    assert!(
        davit.releases_of("web").is_empty() || {
            std::thread::sleep(Duration::from_secs(1));
            davit.releases_of("web").is_empty()
        }
    );
    for kind in ["containers", "networks", "volumes"] {
        assert!(
            davit.list_in_engine(kind).is_empty(),
            "{kind} are left behind: {:?}",
            davit.list_in_engine(kind)
        );
    }
    let logs = davit.data_dir().join("logs/line");
    let left = std::fs::read_dir(&logs).map(Iterator::count).unwrap_or_default();
    assert_eq!(left, 0, "logs are left behind");
}

#[test]
fn application_name_resolves_only_within_its_namespace() {
    let davit = Davit::up("near");
    let repo = GitRepo::with(&[("Dockerfile", &page("near"))]);
    davit.apply("web", json!({"source": source(&repo), "replicas": 2}));
    davit.wait_until_done("web");
    assert_eq!(fetch_from_network(&davit, "near", "web").unwrap(), "near");
    let far = k8s_openapi::api::core::v1::Namespace {
        metadata: kube::api::ObjectMeta {
            name: Some("far".into()),
            ..Default::default()
        },
        ..Default::default()
    };
    davit
        .block_on(kube::Api::all(davit.client()).create(&PostParams::default(), &far))
        .unwrap();
    let other: davit::api::Application = serde_json::from_value(json!({
        "apiVersion": "davit.dev/v1alpha1", "kind": "Application", "metadata": {"name": "other", "namespace": "far"}, "spec": {"source": source(&repo)},
    }))
    .unwrap();
    let api: kube::Api<davit::api::Application> = kube::Api::namespaced(davit.client(), "far");
    davit
        .block_on(api.create(&PostParams::default(), &other))
        .unwrap();
    wait_for("the other one to be done", Duration::from_mins(1), || {
        let app = davit.block_on(api.get("other")).unwrap();
        (app.status.unwrap_or_default().phase == davit::api::Phase::Done).then_some(())
    });
    assert_eq!(fetch_from_network(&davit, "far", "other").unwrap(), "near");
    assert!(
        fetch_from_network(&davit, "far", "web").is_err(),
        "another namespace's Application answers"
    );
}

#[test]
fn manually_changed_container_is_repaired_without_a_build() {
    let davit = Davit::up("drift");
    let repo = GitRepo::with(&[("Dockerfile", &page("here"))]);
    davit.apply(
        "web",
        json!({"source": source(&repo), "healthCheck": {"tcp": {"port": 80}}}),
    );
    davit.wait_until_done("web");
    for command in [
        &["rm", "--force"][..],
        &["stop", "--time", "1"][..],
        &["kill"][..],
        &["pause"][..],
    ] {
        let container = davit.containers("web").remove(0);
        run(docker().args(command).arg(&container));
        wait_for("the container to be put right", Duration::from_secs(15), || {
            fetch_from_network(&davit, "drift", "web")
                .is_ok_and(|text| text == "here")
                .then_some(())
        });
        davit.wait_until_done("web");
    }
    assert_eq!(davit.releases_of("web").len(), 1, "drift makes no Release");

    // With its image gone it has to be built again, and that is one.
    let image = davit.application("web")["status"]["release"]["image"]
        .as_str()
        .unwrap()
        .to_owned();
    davit.patch("web", json!({"spec": {"suspend": true}}));
    davit.wait_until("web", 10, "suspended", |app| {
        condition(app, "Ready")["reason"] == "Suspended"
    });
    run(docker().args(["rm", "--force", &davit.containers("web").remove(0)]));
    run(docker().args(["rmi", "--force", &image]));
    davit.patch("web", json!({"spec": {"suspend": false}}));
    davit.wait_until("web", 60, "built again", |app| {
        app["status"]["release"]["active"] == "web-2" && app["status"]["phase"] == "done"
    });
    assert_eq!(davit.releases_of("web")[1]["status"]["cause"]["kind"], "Drift");
    assert_eq!(fetch_from_network(&davit, "drift", "web").unwrap(), "here");
}

#[test]
fn failed_release_leaves_the_previous_one_in_service() {
    let davit = Davit::up("keep");
    let repo = GitRepo::with(&[("Dockerfile", &page("good"))]);
    let check = json!({"http": {"port": 80}, "interval": "1s", "retries": 2});
    davit.apply(
        "web",
        json!({"source": source(&repo), "healthCheck": check, "rollout": {"progressDeadline": "15s"}}),
    );
    davit.wait_until_done("web");

    repo.commit(
        "Break the build",
        &[(
            "Dockerfile",
            &format!(
                "FROM {}\nRUN echo a-clue && false\n",
                crate::common::docker::BASE_IMAGE
            ),
        )],
    );
    davit.request_reconcile("web");
    let message = davit.wait_for_error("web", "BuildFailed");
    assert!(message.contains("the previous release serves"), "{message}");
    let failed = davit.releases_of("web").pop().unwrap();
    assert!(
        failed["status"]["failure"]["logTail"]
            .as_str()
            .unwrap()
            .contains("a-clue"),
        "{failed}"
    );
    assert_eq!(fetch_from_network(&davit, "keep", "web").unwrap(), "good");

    repo.commit(
        "End at once",
        &[(
            "Dockerfile",
            &format!(
                "FROM {}\nCMD [\"sh\", \"-c\", \"echo last-words; exit 3\"]\n",
                crate::common::docker::BASE_IMAGE
            ),
        )],
    );
    davit.request_reconcile("web");
    let message = davit.wait_for_error("web", "ContainerExited");
    assert!(
        message.contains("code 3") && message.contains("last-words"),
        "{message}"
    );
    assert_eq!(fetch_from_network(&davit, "keep", "web").unwrap(), "good");

    repo.commit(
        "Never healthy",
        &[(
            "Dockerfile",
            &format!(
                "FROM {}\nCMD [\"sleep\", \"1000\"]\n",
                crate::common::docker::BASE_IMAGE
            ),
        )],
    );
    davit.request_reconcile("web");
    davit.wait_for_error("web", "Unhealthy");
    let app = davit.application("web");
    assert_eq!(app["status"]["release"]["active"], "web-1");
    assert_eq!(condition(&app, "Healthy")["status"], "True");
    wait_for("the failed containers to go", Duration::from_secs(20), || {
        (davit.containers("web").len() == 1).then_some(())
    });
    assert_eq!(fetch_from_network(&davit, "keep", "web").unwrap(), "good");

    repo.commit("Good again", &[("Dockerfile", &page("better"))]);
    davit.request_reconcile("web");
    davit.wait_until("web", 60, "at the fifth release", |app| {
        app["status"]["release"]["active"] == "web-5"
    });
    assert_eq!(fetch_from_network(&davit, "keep", "web").unwrap(), "better");
}

#[test]
fn build_can_be_cancelled_superseded_and_queued() {
    let davit = Davit::with_flags("jobs", &["--max-builds", "1"]);
    let slow = |name: &str| {
        format!(
            "FROM {}\nRUN echo {name} && sleep 300\n",
            crate::common::docker::BASE_IMAGE
        )
    };
    let repo = GitRepo::with(&[("Dockerfile", &slow("first"))]);
    davit.apply("slow", json!({"source": source(&repo)}));
    davit.wait_until("slow", 30, "building", |_| {
        davit
            .releases_of("slow")
            .first()
            .is_some_and(|release| release["status"]["phase"] == "Building")
    });

    // The second Application waits, and says where.
    let quick = GitRepo::with(&[("Dockerfile", &page("quick"))]);
    davit.apply("quick", json!({"source": source(&quick)}));
    davit.wait_until("quick", 30, "queued", |_| {
        davit
            .releases_of("quick")
            .first()
            .is_some_and(|release| release["status"]["queue"]["position"] == 1)
    });

    // Newer supersedes older.
    repo.commit("Second", &[("Dockerfile", &slow("second"))]);
    davit.request_reconcile("slow");
    davit.wait_until("slow", 30, "at its second release", |_| {
        let all = davit.releases_of("slow");
        all.len() == 2 && all[0]["status"]["phase"] == "Superseded"
    });
    // The queue moved up meanwhile.
    davit.wait_until_done("quick");
    davit.wait_until("slow", 30, "building again", |_| {
        davit.releases_of("slow")[1]["status"]["phase"] == "Building"
    });

    // Cancel ends the work in the engine.
    let name = davit.releases_of("slow")[1]["metadata"]["name"]
        .as_str()
        .unwrap()
        .to_owned();
    let cancel = kube::api::Patch::Merge(json!({"spec": {"cancel": true}}));
    davit
        .block_on(
            davit
                .releases()
                .patch(&name, &kube::api::PatchParams::default(), &cancel),
        )
        .unwrap();
    davit.wait_until("slow", 30, "cancelled", |_| {
        davit.releases_of("slow")[1]["status"]["phase"] == "Cancelled"
    });
    let asleep = std::fs::read_dir("/proc").unwrap().flatten().filter(|entry| {
        std::fs::read(entry.path().join("cmdline"))
            .is_ok_and(|line| String::from_utf8_lossy(&line).contains("echo second && sleep 300"))
    });
    assert_eq!(asleep.count(), 0, "the build goes on in the engine");
}

#[test]
fn davit_after_restart_continues_the_deployment() {
    let mut davit = Davit::up("again");
    let repo = GitRepo::with(&[("Dockerfile", &page("still"))]);
    davit.apply("web", json!({"source": source(&repo)}));
    davit.wait_until_done("web");
    let before = davit.containers("web");
    assert!(davit.stop(), "it ends well on SIGTERM");
    assert_eq!(
        fetch_from_network(&davit, "again", "web").unwrap(),
        "still",
        "containers do not need Davit"
    );
    davit.start();
    let app = davit.wait_until_done("web");
    assert_eq!(app["status"]["release"]["count"], 1, "{app}");
    assert_eq!(davit.containers("web"), before, "a restart touches nothing");

    // Killed in the middle of a build.
    repo.commit(
        "Slow",
        &[(
            "Dockerfile",
            &format!(
                "FROM {}\nRUN sleep 3\nCMD [\"httpd\", \"-f\"]\n",
                crate::common::docker::BASE_IMAGE
            ),
        )],
    );
    davit.request_reconcile("web");
    davit.wait_until("web", 30, "building", |_| {
        davit
            .releases_of("web")
            .get(1)
            .is_some_and(|release| release["status"]["phase"] == "Building")
    });
    davit.kill();
    davit.start();
    davit.wait_until("web", 60, "at its second release", |app| {
        app["status"]["release"]["active"] == "web-2"
    });
    assert_eq!(davit.releases_of("web").len(), 2);
}

#[test]
fn one_deployment_needs_few_writes_and_an_idle_application_none() {
    let davit = Davit::up("calm");
    let repo = GitRepo::with(&[("Dockerfile", &page("calm"))]);
    let version = |object: &Value| object["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    davit.apply("web", json!({"source": source(&repo)}));
    davit.wait_until_done("web");
    std::thread::sleep(Duration::from_secs(1));
    let (app, release) = (davit.application("web"), davit.releases_of("web").remove(0));
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(
        version(&davit.application("web")),
        version(&app),
        "an idle Application is written to"
    );
    assert_eq!(
        version(&davit.releases_of("web")[0]),
        version(&release),
        "an ended Release is written to"
    );
}
