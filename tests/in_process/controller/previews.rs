//! `spec.previews` at a forge in memory: outages, pushes and deletions at the wrong moment, and many pull requests at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use davit::forge::ForgeError;
use davit::forge::fake::{FakeForge, FakePull};
use davit::model::ForgeAccount;
use k8s_openapi::api::core::v1::Event;
use kube::api::ListParams;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::forges::{down, forge, shop, source, wait_for_event, with_provider};
use super::harness::{GOOD, Harness, NEXT, repo};
use crate::common::git_repo::GitRepo;

const PREVIEW: &str = "shop-pr-7";

/// `shop` with previews. Pull requests are listed only when it is asked for.
async fn with_previews(forge: &FakeForge, previews: Value) -> Harness {
    let davit = with_provider(forge).await;
    let spec = json!({"source": source(), "trigger": {"pollInterval": "0s"}, "previews": previews});
    davit.apply("shop", spec).await;
    davit.wait_until_done("shop").await;
    davit
}

/// A commit on a branch of its own, which `main` does not have.
fn branch(repo: &GitRepo) -> String {
    repo.git(["checkout", "--quiet", "-b", "change"]);
    let head = repo.commit("A change", &[("Dockerfile", NEXT)]);
    repo.git(["checkout", "--quiet", "main"]);
    head
}

fn open(forge: &FakeForge, pull: FakePull) {
    forge.change(&shop(), |shop| shop.pulls.push(pull)).unwrap();
}

fn change(forge: &FakeForge, change: impl FnOnce(&mut FakePull)) {
    forge.change(&shop(), |shop| change(&mut shop.pulls[0])).unwrap();
}

/// The comments of the first pull request.
fn comments(forge: &FakeForge) -> Vec<String> {
    let all = forge
        .change(&shop(), |shop| shop.pulls[0].comments.clone())
        .unwrap();
    all.into_iter().map(|comment| comment.body).collect()
}

async fn wait_for_comment(davit: &Harness, forge: &FakeForge, text: &str) {
    davit
        .until(&format!("commented with {text:?}"), || {
            comments(forge).iter().any(|comment| comment.contains(text))
        })
        .await;
    assert_eq!(comments(forge).len(), 1, "{:#?}", comments(forge));
}

async fn wait_for_preview(davit: &Harness, commit: &str) -> Value {
    davit
        .wait_until(PREVIEW, "done at the commit", |app| {
            app["status"]["phase"] == "done" && app["status"]["source"]["revision"] == commit
        })
        .await
}

/// The preview of pull request 7 runs, and its comment says so.
async fn with_running_preview(forge: &FakeForge, repo: &GitRepo) -> Harness {
    let head = branch(repo);
    open(forge, FakePull::open(7, "change", &head));
    let davit = with_previews(forge, json!({})).await;
    wait_for_preview(&davit, &head).await;
    wait_for_comment(&davit, forge, "is ready").await;
    davit
}

#[tokio::test(flavor = "multi_thread")]
async fn pull_request_closed_while_its_forge_is_down_loses_its_preview_afterwards() {
    let repo = repo(GOOD);
    let forge = forge(&repo);
    let davit = with_running_preview(&forge, &repo).await;
    let causes: Vec<_> = davit.releases(PREVIEW).await;
    assert_eq!(causes[0]["status"]["cause"]["kind"], "Preview", "{causes:#?}");

    forge.fail(down(&forge));
    change(&forge, |pull| pull.is_open = false);
    davit.request_reconcile("shop").await;
    let event = wait_for_event(&davit, "PreviewsFailed").await;
    assert!(event.contains("connection refused"), "{event}");
    assert_eq!(
        davit.images(PREVIEW).len(),
        1,
        "it serves until the forge answers"
    );
    forge.recover();
    davit.wait_until(PREVIEW, "gone", Value::is_null).await;
    wait_for_comment(&davit, &forge, "the pull request is closed").await;
    davit
        .until("without its containers", || davit.images(PREVIEW).is_empty())
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn previews_that_are_disabled_go_although_the_forge_is_down() {
    let repo = repo(GOOD);
    let forge = forge(&repo);
    let davit = with_running_preview(&forge, &repo).await;
    forge.fail(down(&forge));
    davit
        .patch("shop", json!({"spec": {"previews": {"enabled": false}}}))
        .await;
    davit.wait_until(PREVIEW, "gone", Value::is_null).await;
    assert!(
        comments(&forge)[0].contains("is ready"),
        "the controller cannot change the comment while the forge is down"
    );
    forge.recover();
    wait_for_comment(&davit, &forge, "previews are disabled").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn head_that_is_force_pushed_during_its_build_is_replaced_and_never_runs() {
    let repo = repo(GOOD);
    let forge = forge(&repo);
    let davit = with_previews(&forge, json!({})).await;
    davit.builder.hold();
    let first = branch(&repo);
    open(&forge, FakePull::open(7, "change", &first));
    davit.request_reconcile("shop").await;
    davit.wait_for_phase("shop-pr-7-1", "Building").await;

    repo.git(["checkout", "--quiet", "change"]);
    repo.write(&[("Dockerfile", "FROM scratch\nENV FORCED=1\n")]);
    repo.git([
        "commit",
        "--quiet",
        "--all",
        "--amend",
        "--message",
        "Another change",
    ]);
    let second = repo.head();
    repo.git(["checkout", "--quiet", "main"]);
    change(&forge, |pull| pull.shown.head.clone_from(&second));
    davit.request_reconcile("shop").await;
    davit
        .wait_until(PREVIEW, "about the new head", |app| {
            app["spec"]["source"]["gitea"]["ref"]["commit"] == second.as_str()
        })
        .await;
    davit
        .wait_for_release("shop-pr-7-2", "about the new head", |release| {
            release["status"]["source"]["revision"] == second.as_str()
        })
        .await;
    davit.builder.go_on();
    wait_for_preview(&davit, &second).await;
    wait_for_comment(&davit, &forge, &second).await;
    let releases = davit.releases(PREVIEW).await;
    let of = |commit: &str| {
        let found = releases
            .iter()
            .filter(|release| release["status"]["source"]["revision"] == commit);
        let phases = found.map(|release| release["status"]["phase"].as_str().unwrap_or_default());
        phases.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(
        (of(&first), of(&second)),
        (vec!["Superseded".to_owned()], vec!["Succeeded".to_owned()])
    );
    assert_eq!(davit.images(PREVIEW).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn comment_that_a_person_changes_or_deletes_is_written_again() {
    let repo = repo(GOOD);
    let forge = forge(&repo);
    let davit = with_running_preview(&forge, &repo).await;
    change(&forge, |pull| pull.comments.clear());
    davit.request_reconcile("shop").await;
    wait_for_comment(&davit, &forge, "is ready").await;
    change(&forge, |pull| {
        let body = pull.comments[0].body.replace("is ready", "is great");
        pull.comments[0].body = body;
    });
    davit.request_reconcile("shop").await;
    wait_for_comment(&davit, &forge, "is ready").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fork_that_is_deleted_keeps_its_preview_until_the_pull_request_is_closed() {
    let repo = repo(GOOD);
    let forge = forge(&repo);
    let head = branch(&repo);
    let mut fork = FakePull::open(7, "change", &head);
    let eve = ForgeAccount {
        id: "2".to_owned(),
        name: "eve".to_owned(),
    };
    let jane = fork.shown.author.clone();
    fork.shown.author = eve;
    fork.shown.is_fork = true;
    fork.shown.repository = Some("eve/shop".to_owned());
    let commit = davit::model::CommitId::parse(&head).unwrap();
    fork.approvals.push((commit, jane));
    open(&forge, fork);
    let davit = with_previews(&forge, json!({"allowForks": true})).await;
    wait_for_preview(&davit, &head).await;
    wait_for_comment(&davit, &forge, "is ready").await;

    change(&forge, |pull| {
        pull.shown.repository = None;
        pull.shown.is_from_author = false;
    });
    davit.request_reconcile("shop").await;
    let asked = davit.application("shop").await["metadata"]["annotations"]["davit.dev/requestedAt"].clone();
    davit
        .wait_until("shop", "looked at", |app| {
            app["status"]["lastHandledReconcileAt"] == asked
        })
        .await;
    davit.wait_until_idle().await;
    wait_for_preview(&davit, &head).await;
    wait_for_comment(&davit, &forge, "is ready").await;
    change(&forge, |pull| pull.is_open = false);
    davit.request_reconcile("shop").await;
    davit.wait_until(PREVIEW, "gone", Value::is_null).await;
    wait_for_comment(&davit, &forge, "was removed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_pull_requests_at_once_cost_few_requests() {
    const OPEN: u64 = 500;
    let repo = repo(GOOD);
    let forge = forge(&repo);
    let davit = with_previews(&forge, json!({"limit": 2})).await;
    davit.wait_until_idle().await;
    let requests: Arc<Mutex<BTreeMap<&str, usize>>> = Arc::default();
    let counted = Arc::clone(&requests);
    forge.fail(move |doing| {
        *counted.lock().entry(doing).or_default() += 1;
        None
    });
    let head = branch(&repo);
    for number in 1..=OPEN {
        open(&forge, FakePull::open(number, &format!("change-{number}"), &head));
    }
    davit.request_reconcile("shop").await;
    let app = davit
        .wait_until("shop", "listing all of them, two ready", |app| {
            let states = app["status"]["previews"].as_array();
            let ready = |all: &Vec<Value>| all.iter().filter(|one| one["state"] == "Ready").count();
            states.is_some_and(|all| all.len() == 500 && ready(all) == 2)
        })
        .await;
    let waits =
        |one: &&Value| one["state"] == "Waiting" && one["message"].as_str().unwrap().contains("limit is 2");
    let previews = app["status"]["previews"].as_array().unwrap();
    assert_eq!(previews.iter().filter(waits).count(), 498);
    let all = davit
        .api::<davit::api::Application>()
        .list(&ListParams::default())
        .await
        .unwrap();
    let mut names: Vec<_> = all
        .items
        .iter()
        .filter_map(|app| app.metadata.name.clone())
        .collect();
    names.sort();
    assert_eq!(names, ["shop", "shop-pr-499", "shop-pr-500"]);
    let asked = requests.lock().clone();
    let total: usize = asked.values().sum();
    assert!(asked["list the pull requests"] <= 2 && total < 150, "{asked:?}");

    // All are closed at once.
    forge
        .change(&shop(), |shop| {
            shop.pulls.iter_mut().for_each(|pull| pull.is_open = false);
        })
        .unwrap();
    davit.request_reconcile("shop").await;
    for name in ["shop-pr-499", "shop-pr-500"] {
        davit.wait_until(name, "gone", Value::is_null).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn comment_that_the_forge_refuses_holds_up_no_preview() {
    let repo = repo(GOOD);
    let forge = forge(&repo);
    let head = branch(&repo);
    open(&forge, FakePull::open(7, "change", &head));
    let url = forge.shown().unwrap();
    forge.fail(move |doing| {
        (doing == "write a comment").then(|| ForgeError::Forbidden {
            doing,
            url: url.clone(),
            message: "the conversation is locked".to_owned(),
        })
    });
    let davit = with_previews(&forge, json!({})).await;
    wait_for_preview(&davit, &head).await;
    let tells = |app: &Value| {
        let row = &app["status"]["previews"][0];
        let message = row["message"].as_str().unwrap_or_default();
        row["state"] == "Ready"
            && message.starts_with("the comment could not be written")
            && message.contains("locked")
    };
    davit
        .wait_until("shop", "ready, and telling that the comment is missing", tells)
        .await;
    open(&forge, FakePull::open(8, "change", &head));
    davit.request_reconcile("shop").await;
    davit
        .wait_until("shop-pr-8", "done", |app| app["status"]["phase"] == "done")
        .await;
    forge.recover();
    // A request does not wait until the refused one is tried again by itself.
    davit.request_reconcile("shop").await;
    wait_for_comment(&davit, &forge, "is ready").await;

    // Each preview has events of its own.
    let events = davit.api::<Event>().list(&ListParams::default()).await.unwrap();
    for name in ["shop-pr-7", "shop-pr-8"] {
        let is_its = |event: &&Event| {
            event.reason.as_deref() == Some("PreviewCreated")
                && event
                    .message
                    .as_deref()
                    .is_some_and(|message| message.contains(name))
        };
        assert_eq!(
            events.items.iter().filter(is_its).count(),
            1,
            "{name}: {events:#?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn preview_expires_without_polling() {
    let repo = repo(GOOD);
    let forge = forge(&repo);
    let head = branch(&repo);
    let mut pull = FakePull::open(7, "change", &head);
    pull.pushed_at = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(35);
    open(&forge, pull);
    let davit = with_previews(&forge, json!({"ttl": "1m"})).await;
    davit.until("commented on", || !comments(&forge).is_empty()).await;
    wait_for_comment(&davit, &forge, "the last push is longer ago than 1m").await;
    davit.wait_until(PREVIEW, "gone", Value::is_null).await;
}
