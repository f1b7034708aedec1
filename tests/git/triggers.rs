//! `spec.trigger` with a real Gitea: checks that a commit waits for, and the status that is reported back.

use std::time::Duration;

use serde_json::{Value, json};

use crate::common::davit::{Davit, condition};
use crate::common::docker::BASE_IMAGE;
use crate::common::git_repo::GitRepo;
use crate::common::gitea::Gitea;
use crate::common::wait_for;
use kube::api::PostParams;

fn set_status(gitea: &Gitea, commit: &str, context: &str, state: &str) {
    let path = format!("/repos/{}/shop/statuses/{commit}", gitea.user);
    let body = json!({"context": context, "state": state, "description": "by the test"});
    gitea
        .api("POST", &path, Some(&gitea.token), Some(&body))
        .expect(201);
}

/// The statuses of a commit with this context, the newest first.
fn statuses(gitea: &Gitea, commit: &str, context: &str) -> Vec<Value> {
    let path = format!("/repos/{}/shop/statuses/{commit}?sort=recentupdate", gitea.user);
    let all = gitea
        .api("GET", &path, Some(&gitea.token), None)
        .expect(200)
        .json();
    let all = all.as_array().unwrap().iter();
    all.filter(|status| status["context"] == context)
        .cloned()
        .collect()
}

fn make_provider(davit: &Davit, gitea: &Gitea, token: &str) {
    davit.create_secret("gt", &[("token", token)]);
    let object = json!({"apiVersion": "davit.dev/v1alpha1", "kind": "GitProvider", "metadata": {"name": "gt"},
        "spec": {"gitea": {"url": gitea.url, "tokenSecretRef": {"name": "gt"}}}});
    let object = serde_json::from_value(object).unwrap();
    davit
        .block_on(davit.providers().create(&PostParams::default(), &object))
        .unwrap();
}

fn repo() -> GitRepo {
    let dockerfile = format!("FROM {BASE_IMAGE}\nCMD [\"sleep\", \"10000\"]\n");
    GitRepo::with(&[("Dockerfile", &dockerfile)])
}

#[test]
fn commit_waits_for_its_checks_and_its_status_is_reported_back() {
    let gitea = Gitea::start();
    let repo = repo();
    gitea.create_repository("shop", &repo);
    let davit = Davit::up("checks");
    make_provider(&davit, &gitea, &gitea.token);
    let source = json!({"gitea": {"provider": {"name": "gt"}, "owner": gitea.user, "repository": "shop"}});
    let trigger = json!({"requireChecks": {"names": ["ci/build"]}});
    davit.apply("shop", json!({"source": source, "trigger": trigger}));
    let reason = |app: &Value| condition(app, "SourceReady")["reason"].clone();
    let waits = davit.wait_until("shop", 60, "waiting for its checks", |app| {
        reason(app) == "ChecksPending"
    });
    assert!(
        condition(&waits, "Ready")["message"]
            .as_str()
            .unwrap()
            .contains("ci/build"),
        "{waits:#}"
    );
    assert_eq!(condition(&waits, "Reconciling")["status"], "True");
    assert!(davit.releases_of("shop").is_empty());

    let first = repo.head();
    set_status(&gitea, &first, "ci/build", "success");
    davit.request_reconcile("shop");
    davit.wait_until_done("shop");
    let reported = wait_for("the status of the commit", Duration::from_secs(20), || {
        let found = statuses(&gitea, &first, "davit/checks/shop");
        (found.first()?["status"] == "success").then_some(found)
    });
    let states: Vec<_> = reported.iter().map(|status| status["status"].clone()).collect();
    assert_eq!(states, ["success", "pending"], "each once: {reported:#?}");
    assert!(reported[0]["description"].as_str().unwrap().contains("shop-1"));
    wait_for("the record of the report", Duration::from_secs(10), || {
        (davit.releases_of("shop")[0]["status"]["commitStatus"] == "Success").then_some(())
    });

    // A commit whose checks fail is not deployed, and what runs stays ready.
    let second = repo.commit("two", &[("a", "2")]);
    gitea.push("shop", &repo);
    set_status(&gitea, &second, "ci/build", "failure");
    davit.request_reconcile("shop");
    let failed = davit.wait_until("shop", 30, "refusing the commit", |app| {
        reason(app) == "ChecksFailed"
    });
    assert_eq!(condition(&failed, "Ready")["status"], "True", "{failed:#}");
    assert_eq!(failed["status"]["source"]["revision"], json!(first));
    assert_eq!(davit.releases_of("shop").len(), 1);
    assert!(statuses(&gitea, &second, "davit/checks/shop").is_empty());

    // Run again, they pass.
    set_status(&gitea, &second, "ci/build", "success");
    davit.request_reconcile("shop");
    davit.wait_until("shop", 60, "deployed", |app| {
        app["status"]["release"]["active"] == "shop-2"
    });
}

#[test]
fn token_that_may_not_report_hinders_no_release() {
    let gitea = Gitea::start();
    let repo = repo();
    gitea.create_repository("shop", &repo);
    let token = gitea.create_token(&gitea.user, &["read:repository", "read:user"]);
    let davit = Davit::up("readonly");
    make_provider(&davit, &gitea, &token);
    let source = json!({"gitea": {"provider": {"name": "gt"}, "owner": gitea.user, "repository": "shop"}});
    davit.apply("shop", json!({"source": source}));
    davit.wait_until_done("shop");
    let events: kube::Api<k8s_openapi::api::core::v1::Event> =
        kube::Api::namespaced(davit.client(), "readonly");
    let message = wait_for("the event", Duration::from_secs(20), || {
        let all = davit
            .block_on(events.list(&kube::api::ListParams::default()))
            .unwrap();
        let found = all
            .items
            .into_iter()
            .find(|event| event.reason.as_deref() == Some("CommitStatusFailed"));
        found.map(|event| event.message.unwrap_or_default())
    });
    assert!(message.contains("write:repository"), "{message}");
    assert!(statuses(&gitea, &repo.head(), "davit/readonly/shop").is_empty());
}

#[test]
fn renamed_repository_is_deployed_under_its_old_name() {
    let gitea = Gitea::start();
    let repo = repo();
    gitea.create_repository("shop", &repo);
    let davit = Davit::up("renamed");
    make_provider(&davit, &gitea, &gitea.token);
    let source = json!({"gitea": {"provider": {"name": "gt"}, "owner": gitea.user, "repository": "shop"}});
    davit.apply(
        "shop",
        json!({"source": source, "trigger": {"pollInterval": "1s"}}),
    );
    davit.wait_until_done("shop");

    let path = format!("/repos/{}/shop", gitea.user);
    let body = json!({"name": "renamed"});
    gitea
        .api("PATCH", &path, Some(&gitea.token), Some(&body))
        .expect(200);
    let commit = repo.commit("After the new name", &[("more", "1")]);
    gitea.push("renamed", &repo);
    davit.wait_until("shop", 60, "done at the commit", |app| {
        app["status"]["phase"] == "done" && app["status"]["source"]["revision"] == commit.as_str()
    });
    // The status of the commit is reported there too.
    let path = format!("/repos/{}/renamed/statuses/{commit}", gitea.user);
    wait_for("the status", Duration::from_secs(30), || {
        let all = gitea
            .api("GET", &path, Some(&gitea.token), None)
            .expect(200)
            .json();
        let mut all = all.as_array().unwrap().iter();
        all.any(|status| status["status"] == "success").then_some(())
    });
}
