//! The controller is killed between any two of its writes, and goes on from what it wrote.

use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};

use super::harness::{GOOD, Harness, NEXT, condition, repo, source};
use crate::common::git_repo::GitRepo;
use crate::common::git_server::{Access, GitHttps};

/// The spec of an Application that polls its branch every second, with room for all Releases in its history.
fn polling(source: &Value) -> Value {
    json!({"source": source, "trigger": {"pollInterval": "1s"}, "history": {"succeeded": 100, "failed": 100}})
}

/// Commits, and kills the controller when it has written so many times since, or is done. True if it was killed before.
async fn commit_and_kill(davit: &mut Harness, repo: &GitRepo, writes: i64) -> (String, bool) {
    davit.cut_off_after(writes);
    let file = format!("FROM scratch\nENV COMMIT={}\n", repo.head());
    let head = repo.commit(&format!("After {writes}"), &[("Dockerfile", &file)]);
    davit
        .wait_until("shop", "cut off or done", |app| {
            davit.is_cut_off() || is_done_at(app, &head)
        })
        .await;
    let killed_before = !is_done_at(&davit.application("shop").await, &head);
    davit.kill();
    (head, killed_before)
}

fn is_done_at(app: &Value, commit: &str) -> bool {
    app["status"]["phase"] == "done" && app["status"]["source"]["revision"] == commit
}

/// How many Releases each commit has, in the order in which the commits were first released.
async fn releases_by_commit(davit: &Harness) -> Vec<(String, u32)> {
    let mut counts: Vec<(String, u32)> = Vec::new();
    for release in davit.releases("shop").await {
        let commit = release["status"]["source"]["revision"].as_str().unwrap_or("none");
        match counts.iter_mut().find(|(known, _)| known == commit) {
            Some((_, count)) => *count += 1,
            None => counts.push((commit.to_owned(), 1)),
        }
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn controller_killed_after_any_write_makes_one_release_for_each_commit() {
    let mut davit = Harness::start().await;
    let repo = repo(GOOD);
    davit.apply("shop", polling(&source(&repo))).await;
    davit.wait_until_done("shop").await;
    let mut writes = 1;
    loop {
        let (head, killed_before) = commit_and_kill(&mut davit, &repo, writes).await;
        davit.start_controller();
        davit
            .wait_until("shop", "done at the newest commit", |app| is_done_at(app, &head))
            .await;
        let counts = releases_by_commit(&davit).await;
        assert!(
            counts.iter().all(|(_, count)| *count == 1),
            "after {writes}: {counts:#?}"
        );
        if !killed_before {
            break;
        }
        writes += 1;
    }
    assert!(
        writes > 4,
        "the controller was killed after its first {writes} writes"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn controller_killed_after_any_write_keeps_the_newest_commit_while_git_is_away() {
    for writes in 1..=4 {
        let mut davit = Harness::start().await;
        let mut server = GitHttps::start();
        let repo = repo(GOOD);
        server.publish("shop.git", &repo);
        let ca = std::fs::read_to_string(&server.ca.ca_file).unwrap();
        davit
            .create::<Secret>(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "git"}, "stringData": {"ca.crt": ca}}))
            .await;
        let url = server.url(Access::Anonymous, "shop.git");
        let git = json!({"git": {"url": url, "ref": {"branch": "main"}, "secretRef": {"name": "git"}}});
        davit.apply("shop", polling(&git)).await;
        davit.wait_until_done("shop").await;
        davit.cut_off_after(writes);
        let head = repo.commit("Next", &[("Dockerfile", NEXT)]);
        server.publish("shop.git", &repo);
        davit.until("cut off", || davit.is_cut_off()).await;
        davit.kill();
        server.stop();
        let known = davit.application("shop").await["status"]["source"]["revision"].clone();
        let released = releases_by_commit(&davit).await;
        assert!(
            known == head.as_str() || released.iter().all(|(commit, _)| *commit != head),
            "after {writes}: the Application is older than its newest Release"
        );
        davit.start_controller();
        davit
            .wait_until("shop", "aware that Git is away", |app| {
                condition(app, "SourceReady")["reason"] == "GitUnreachable"
            })
            .await;
        let app = davit.application("shop").await;
        assert_eq!(
            app["status"]["source"]["revision"], known,
            "after {writes}: {app:#}"
        );
        let counts = releases_by_commit(&davit).await;
        assert!(
            counts.iter().all(|(_, count)| *count == 1),
            "after {writes}: {counts:#?}"
        );
    }
}
