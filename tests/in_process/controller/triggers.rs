//! `spec.trigger`: which commits become Releases, in which order, and why.

use serde_json::{Value, json};

use super::forges::{down, forge, with_provider};
use super::harness::{GOOD, Harness, condition, repo, source};
use crate::common::git_repo::GitRepo;
use crate::common::unique;

impl Harness {
    /// Records a delivery on an Application, as the webhook receiver does.
    async fn deliver(&self, name: &str, delivery: &Value) {
        let annotations =
            json!({"davit.dev/requestedAt": unique("at"), "davit.dev/delivery": delivery.to_string()});
        self.patch(name, json!({"metadata": {"annotations": annotations}}))
            .await;
    }

    /// The revisions of the Releases of `shop`, in order.
    async fn revisions(&self) -> Vec<String> {
        let all = self.releases("shop").await;
        let revision = |release: &Value| {
            release["status"]["source"]["revision"]
                .as_str()
                .map(str::to_owned)
        };
        all.iter().filter_map(revision).collect()
    }

    /// Requests a reconcile and waits until it is answered.
    async fn request_and_wait(&self, name: &str) -> Value {
        self.request_reconcile(name).await;
        self.wait_until_answered(name).await
    }

    async fn wait_until_answered(&self, name: &str) -> Value {
        self.wait_until(name, "answered", |app| {
            app["status"]["lastHandledReconcileAt"] == app["metadata"]["annotations"]["davit.dev/requestedAt"]
        })
        .await
    }
}

fn push(revision: &str, id: &str) -> Value {
    json!({"ref": "refs/heads/main", "revision": revision, "delivery": id, "actor": "jane"})
}

async fn shop_with_trigger(repo: &GitRepo, trigger: Value) -> Harness {
    let davit = Harness::start().await;
    let spec = json!({"source": {"git": {"url": repo.url()}}, "trigger": trigger});
    davit.apply("shop", spec).await;
    davit
}

#[tokio::test(flavor = "multi_thread")]
async fn commit_without_watched_changes_creates_no_release_but_a_changed_spec_deploys_it() {
    let repo = repo(GOOD);
    let first = repo.commit("One", &[("src/a", "1")]);
    let trigger = json!({"watchPaths": ["src", "!src/docs"]});
    let mut davit = shop_with_trigger(&repo, trigger).await;
    davit.wait_until_done("shop").await;

    let unwatched = repo.commit("Two", &[("src/docs/a", "2"), ("README", "2")]);
    let app = davit.request_and_wait("shop").await;
    let source = condition(&app, "SourceReady");
    assert_eq!(
        (&source["status"], &source["reason"]),
        (&json!("True"), &json!("NoWatchedChange")),
        "{app:#}"
    );
    assert!(
        source["message"].as_str().unwrap().contains(&unwatched[..12]),
        "{source}"
    );
    assert_eq!(app["status"]["source"]["revision"], json!(first));
    assert_eq!(app["status"]["source"]["unwatchedRevision"], json!(unwatched));
    assert_eq!(condition(&app, "Ready")["status"], "True");
    assert_eq!(davit.revisions().await, [first.as_str()]);

    // A restart changes nothing.
    davit.stop_controller().await;
    davit.start_controller();
    let app = davit.request_and_wait("shop").await;
    assert_eq!(
        condition(&app, "SourceReady")["reason"],
        "NoWatchedChange",
        "{app:#}"
    );
    assert_eq!(davit.revisions().await, [first.as_str()]);

    davit
        .patch("shop", json!({"spec": {"env": [{"name": "A", "value": "1"}]}}))
        .await;
    davit.wait_for_phase("shop-2", "Succeeded").await;
    let app = davit.wait_until_done("shop").await;
    assert_eq!(davit.revisions().await, [first.as_str(), unwatched.as_str()]);
    assert_eq!(condition(&app, "SourceReady")["reason"], "Resolved", "{app:#}");
    assert_eq!(app["status"]["source"]["revision"], json!(unwatched));

    let watched = repo.commit("Three", &[("src/.env", "3")]);
    davit.request_and_wait("shop").await;
    davit.wait_for_phase("shop-3", "Succeeded").await;
    // A force push to other files, and one back to the same content.
    repo.git(["reset", "--quiet", "--hard", &first]);
    let forced = repo.commit("Four", &[("src/b", "4")]);
    davit.request_and_wait("shop").await;
    davit.wait_for_phase("shop-4", "Succeeded").await;
    repo.git(["commit", "--quiet", "--amend", "--message", "Five"]);
    let app = davit.request_and_wait("shop").await;
    assert_eq!(
        condition(&app, "SourceReady")["reason"],
        "NoWatchedChange",
        "{app:#}"
    );
    davit.wait_until_idle().await;
    let all = [&first, &unwatched, &watched, &forced].map(String::as_str);
    assert_eq!(davit.revisions().await, all);
}

#[tokio::test(flavor = "multi_thread")]
async fn release_of_a_user_deploys_the_newest_commit_whatever_it_changes() {
    let repo = repo(GOOD);
    let davit = shop_with_trigger(&repo, json!({"watchPaths": ["src"]})).await;
    davit.wait_until_done("shop").await;
    let newest = repo.commit("Two", &[("README", "2")]);
    davit.request_and_wait("shop").await;
    davit
        .create_release("asked", json!({"application": "shop"}))
        .await;
    davit.wait_for_phase("asked", "Succeeded").await;
    davit.wait_until_idle().await;
    assert_eq!(davit.revisions().await.last(), Some(&newest));
    assert_eq!(davit.revisions().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn highest_matching_tag_is_deployed_at_its_own_commit() {
    let repo = repo(GOOD);
    let davit = shop_with_trigger(&repo, json!({"on": "Tag", "tagPattern": "v*"})).await;
    let app = davit
        .wait_until("shop", "stalled", |app| {
            condition(app, "Stalled")["status"] == "True"
        })
        .await;
    assert_eq!(
        condition(&app, "SourceReady")["reason"],
        "NoMatchingTag",
        "{app:#}"
    );

    let first = repo.head();
    repo.git(["tag", "v1.9.0"]);
    davit.request_reconcile("shop").await;
    davit.wait_for_phase("shop-1", "Succeeded").await;
    let second = repo.commit("Two", &[("a", "2")]);
    repo.git(["tag", "--annotate", "v1.10.0", "--message", "Ten"]);
    repo.commit("Three", &[("a", "3")]);
    repo.git(["tag", "other-2"]);
    let tag = json!({"ref": "refs/tags/v1.10.0", "revision": repo.git(["rev-parse", "v1.10.0"]), "delivery": "7", "actor": "jane"});
    davit.deliver("shop", &tag).await;
    let release = davit.wait_for_phase("shop-2", "Succeeded").await;
    assert_eq!(
        release["status"]["cause"],
        json!({"kind": "Tag", "actor": "jane", "delivery": "7"})
    );
    let app = davit.wait_until_done("shop").await;
    assert_eq!(app["status"]["source"]["tag"], "v1.10.0");
    let message = condition(&app, "SourceReady")["message"].to_string();
    assert!(message.contains("tag v1.10.0"), "{message}");
    assert_eq!(davit.revisions().await, [first.as_str(), second.as_str()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn delivery_deploys_the_pushed_commit_and_never_leads_back() {
    let (davit, repo) = (Harness::start().await, repo(GOOD));
    davit.apply("shop", json!({"source": source(&repo)})).await;
    davit.wait_until_done("shop").await;
    let first = repo.head();
    let second = repo.commit("Two", &[("a", "2")]);
    let third = repo.commit("Three", &[("a", "3")]);
    let fourth = repo.commit("Four", &[("a", "4")]);

    // The branch is further already.
    davit.deliver("shop", &push(&second, "1")).await;
    let release = davit.wait_for_phase("shop-2", "Succeeded").await;
    assert_eq!(
        release["status"]["cause"],
        json!({"kind": "Push", "actor": "jane", "delivery": "1"})
    );
    davit.deliver("shop", &push(&fourth, "3")).await;
    davit.wait_for_phase("shop-3", "Succeeded").await;
    // Late, repeated, of an older commit, and of a commit that does not exist.
    for (revision, id) in [
        (&third, "2"),
        (&second, "1"),
        (&first, "0"),
        (&"1".repeat(40), "9"),
        (&fourth, "3"),
    ] {
        davit.deliver("shop", &push(revision, id)).await;
        davit.wait_until_answered("shop").await;
    }
    davit.wait_until_idle().await;
    assert_eq!(
        davit.revisions().await,
        [first.as_str(), second.as_str(), fourth.as_str()]
    );

    // Every delivery is lost, and a force push is found by looking.
    repo.git(["reset", "--quiet", "--hard", &second]);
    let forced = repo.commit("Forced", &[("a", "5")]);
    davit.request_and_wait("shop").await;
    let release = davit.wait_for_phase("shop-4", "Succeeded").await;
    assert_eq!(
        release["status"]["cause"]["kind"], "Poll",
        "the delivery is of another commit"
    );
    davit.deliver("shop", &push(&fourth, "3")).await;
    davit.wait_until_answered("shop").await;
    davit.wait_until_idle().await;
    assert_eq!(davit.revisions().await.last(), Some(&forced));
    assert_eq!(davit.revisions().await.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn branches_with_difficult_names_and_a_changed_default_branch_are_followed() {
    let repo = repo(GOOD);
    let first = repo.git(["rev-parse", "HEAD"]).trim().to_owned();
    let second = repo.commit("Next", &[("more", "1")]);
    let davit = Harness::start().await;
    for (number, branch) in ["feature/a/b", "grün", "fix#7", "-dash"].iter().enumerate() {
        repo.git(["update-ref", &format!("refs/heads/{branch}"), &first]);
        let name = format!("branch-{number}");
        let source = json!({"git": {"url": repo.url(), "ref": {"branch": branch}}});
        davit.apply(&name, json!({"source": source})).await;
        let app = davit.wait_until_done(&name).await;
        assert_eq!(app["status"]["source"]["revision"], json!(first), "{branch}");
        // Moved on.
        repo.git(["update-ref", &format!("refs/heads/{branch}"), &second]);
        davit.request_and_wait(&name).await;
        davit.wait_for_phase(&format!("{name}-2"), "Succeeded").await;
    }

    davit
        .apply("shop", json!({"source": {"git": {"url": repo.url()}}}))
        .await;
    let app = davit.wait_until_done("shop").await;
    assert_eq!(app["status"]["source"]["revision"], json!(second));
    repo.git(["update-ref", "refs/heads/trunk", &first]);
    repo.git(["symbolic-ref", "HEAD", "refs/heads/trunk"]);
    davit.request_and_wait("shop").await;
    davit.wait_for_phase("shop-2", "Succeeded").await;
    assert_eq!(davit.revisions().await, [second.as_str(), first.as_str()]);
}

fn push_after(before: &str, revision: &str, id: &str) -> Value {
    let mut push = push(revision, id);
    push["before"] = json!(before);
    push
}

#[tokio::test(flavor = "multi_thread")]
async fn announced_commit_that_the_branch_no_longer_has_is_never_fetched() {
    let (davit, repo) = (Harness::start().await, repo(GOOD));
    davit.apply("shop", json!({"source": source(&repo)})).await;
    davit.wait_until_done("shop").await;
    let first = repo.head();
    let second = repo.commit("Two", &[("a", "2")]);
    repo.git(["reset", "--quiet", "--hard", &first]);

    davit.deliver("shop", &push_after(&first, &second, "1")).await;
    let release = davit.wait_for_phase("shop-2", "Cancelled").await;
    let succeeded = condition(&release, "Succeeded");
    assert_eq!(succeeded["reason"], "NotOnBranch", "{release:#}");
    let steps = release["status"]["steps"].to_string();
    assert!(!steps.contains("Fetching"), "{steps}");
    let app = davit.wait_until_answered("shop").await;
    assert_eq!(app["status"]["phase"], "done", "{app:#}");
    assert_eq!(app["status"]["source"]["revision"], json!(first));
    davit.wait_until_idle().await;
    let active = davit.application("shop").await["status"]["release"]["active"].clone();
    assert_eq!(active, "shop-1");
    assert_eq!(davit.releases("shop").await.len(), 2, "no other one was needed");

    // It comes back with the branch.
    repo.git(["reset", "--quiet", "--hard", &second]);
    davit.deliver("shop", &push_after(&first, &second, "2")).await;
    let release = davit.wait_for_phase("shop-3", "Succeeded").await;
    assert_eq!(release["status"]["source"]["revision"], json!(second));
    assert_eq!(release["status"]["cause"]["delivery"], "2", "{release:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn announced_commit_has_its_release_while_the_forge_is_down_and_is_deployed_afterwards() {
    let repo = repo(GOOD);
    let forge = forge(&repo);
    let davit = with_provider(&forge).await;
    davit
        .apply(
            "shop",
            json!({"source": super::forges::source(), "trigger": {"pollInterval": "0s"}}),
        )
        .await;
    davit.wait_until_done("shop").await;
    let first = repo.head();
    let second = repo.commit("Two", &[("a", "2")]);
    forge.fail(down(&forge));

    davit.deliver("shop", &push_after(&first, &second, "1")).await;
    let release = davit
        .wait_for_release("shop-2", "there", |release| {
            release["status"]["source"]["revision"] == json!(second)
        })
        .await;
    assert_eq!(release["status"]["cause"]["delivery"], "1", "{release:#}");
    let app = davit
        .wait_until("shop", "reporting the outage", |app| {
            condition(app, "SourceReady")["reason"] == "ForgeUnreachable"
        })
        .await;
    assert_eq!(app["status"]["release"]["active"], "shop-1", "{app:#}");
    forge.recover();
    davit.wait_for_phase("shop-2", "Succeeded").await;
    let app = davit.wait_until_done("shop").await;
    assert_eq!(app["status"]["source"]["revision"], json!(second), "{app:#}");
    assert_eq!(davit.releases("shop").await.len(), 2, "no other one was needed");
}
