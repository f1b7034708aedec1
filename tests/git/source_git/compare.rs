//! Which files differ between two commits, which commit is older, and which tag is the highest.

use davit::api::Reason::{InvalidSpec, NoMatchingTag};
use davit::error::Class::Terminal;
use davit::model::{CommitId, RefSpec};
use davit::source::{Changes, GitRemote};

use super::{Harness, branch, commit, expect, file_remote};
use crate::common::git_repo::GitRepo;
use crate::common::git_server::{Access, GitHttps};

fn highest(pattern: &str) -> RefSpec {
    RefSpec::HighestTag(pattern.to_owned())
}

impl Harness {
    async fn changes(&self, remote: &GitRemote, old: &str, new: &str) -> Changes {
        let (old, new) = (commit(old), commit(new));
        let main = branch("main");
        let changes = self.git.changes(remote, &main, [&old, &new], &self.cancel);
        let mut changes = changes.await.unwrap();
        if let Changes::Paths(paths) = &mut changes {
            paths.sort();
        }
        changes
    }

    async fn is_between(&self, remote: &GitRemote, commits: [&str; 3]) -> bool {
        let commits = commits.map(commit);
        let [old, middle, head] = &commits;
        let between = self.git.is_between(remote, [old, middle, head], &self.cancel);
        between.await.unwrap()
    }

    async fn highest_tag(&self, remote: &GitRemote, pattern: &str) -> (String, CommitId) {
        let pattern = highest(pattern);
        let resolved = self.git.resolve(remote, &pattern, &self.cancel);
        let resolved = resolved.await.unwrap();
        (resolved.tag.unwrap(), resolved.commit)
    }
}

fn paths(paths: &[&str]) -> Changes {
    Changes::Paths(paths.iter().map(|path| (*path).to_owned()).collect())
}

#[tokio::test]
async fn trees_are_compared_and_nothing_is_fetched_twice() {
    let server = GitHttps::start();
    let repo = GitRepo::with(&[("src/a", "1"), ("docs/b", "1"), (".env", "1")]);
    let first = repo.head();
    let second = repo.commit("two", &[("src/a", "2"), ("docs/new ü", "1"), (".env", "2")]);
    // A commit that undoes the one before has no difference to the one before that.
    repo.git(["revert", "--no-edit", &second]);
    let reverted = repo.head();
    server.publish("shop.git", &repo);
    let remote = GitRemote {
        ca: Some(server.ca.ca_pem.clone().into_bytes()),
        ..super::remote(&server.url(Access::Anonymous, "shop.git"))
    };
    let world = Harness::new();
    let fetched = || {
        let is_fetch = |line: &&String| line.contains("git-upload-pack") && line.starts_with("POST");
        server.requests().iter().filter(is_fetch).count()
    };
    assert_eq!(
        world.changes(&remote, &first, &second).await,
        paths(&[".env", "docs/new ü", "src/a"])
    );
    assert_eq!(world.changes(&remote, &first, &reverted).await, paths(&[]));
    // A force push: another history with the same files but one. The server has none of the commits before.
    repo.git(["checkout", "--quiet", "--orphan", "again"]);
    let forced = repo.commit("again", &[("docs/b", "3")]);
    repo.git(["branch", "--force", "main", "again"]);
    server.publish("shop.git", &repo);
    assert_eq!(world.changes(&remote, &first, &forced).await, paths(&["docs/b"]));
    let before = fetched();
    assert!(before > 0);
    world.changes(&remote, &second, &first).await;
    world.changes(&remote, &second, &forced).await;
    assert_eq!(fetched(), before, "all of them are in the cache");
    let gone = "0123456789012345678901234567890123456789";
    assert_eq!(world.changes(&remote, gone, &forced).await, Changes::Unknown);
    world.is_clean();
}

#[tokio::test]
async fn history_tells_a_pushed_commit_from_an_older_and_from_a_foreign_one() {
    let repo = GitRepo::with(&[("a", "1")]);
    let first = repo.head();
    let second = repo.commit("two", &[("a", "2")]);
    repo.git(["checkout", "--quiet", "-b", "topic", &first]);
    let topic = repo.commit("topic", &[("b", "1")]);
    repo.git(["checkout", "--quiet", "main"]);
    let third = repo.commit("three", &[("a", "3")]);
    repo.git(["merge", "--quiet", "--no-edit", "topic"]);
    let merged = repo.head();
    repo.git(["checkout", "--quiet", "-b", "other", &first]);
    let foreign = repo.commit("foreign", &[("c", "1")]);
    repo.git(["checkout", "--quiet", "main"]);
    let remote = file_remote(repo.path());
    let world = Harness::development();
    let gone = "0123456789012345678901234567890123456789";
    for (old, middle, head, between) in [
        (&first, &second, &merged, true),
        (&second, &third, &merged, true),
        (&first, &topic, &merged, true),
        (&first, &third, &third, true),
        // Older than what is deployed.
        (&third, &second, &merged, false),
        // On another branch, or beside what is deployed.
        (&first, &foreign, &merged, false),
        (&second, &topic, &merged, false),
        // Newer than the branch.
        (&first, &merged, &third, false),
        (&first, &gone.to_owned(), &merged, false),
        (&gone.to_owned(), &third, &merged, false),
    ] {
        assert_eq!(
            world.is_between(&remote, [old, middle, head]).await,
            between,
            "{old} {middle} {head}"
        );
    }
    // The branch goes on.
    let fourth = repo.commit("four", &[("a", "4")]);
    assert!(world.is_between(&remote, [&second, &merged, &fourth]).await);
    world.is_clean();
}

#[tokio::test]
async fn highest_tag_is_peeled_to_its_own_commit() {
    let repo = GitRepo::with(&[("a", "1")]);
    let first = repo.head();
    repo.git(["tag", "v1.9.0"]);
    let second = repo.commit("two", &[("a", "2")]);
    repo.git(["tag", "--annotate", "v1.10.0", "--message", "the tenth"]);
    repo.commit("three", &[("a", "3")]);
    repo.git(["tag", "web/v9.0.0"]);
    let remote = file_remote(repo.path());
    let world = Harness::development();
    let tagged = |tag: &str, hash: &str| (tag.to_owned(), commit(hash));
    assert_eq!(world.highest_tag(&remote, "v*").await, tagged("v1.10.0", &second));
    assert_eq!(
        world.highest_tag(&remote, "v1.9.*").await,
        tagged("v1.9.0", &first)
    );
    let checkout = world.fetch(&remote, &highest("v*")).await.unwrap();
    assert_eq!(super::read(&checkout, "a"), "2");
    drop(checkout);

    // The tag is moved, and then deleted.
    repo.git(["tag", "--force", "v1.10.0", &first]);
    assert_eq!(world.highest_tag(&remote, "v*").await, tagged("v1.10.0", &first));
    repo.git(["tag", "--delete", "v1.10.0"]);
    assert_eq!(world.highest_tag(&remote, "v*").await, tagged("v1.9.0", &first));

    let error = world.fetch(&remote, &highest("release-*")).await.unwrap_err();
    let words = [
        "matches \"release-*\"",
        "it has 2 tags",
        "spec.trigger.tagPattern",
    ];
    expect(&error, NoMatchingTag, Terminal, &words);
    let error = world.fetch(&remote, &highest("v[")).await.unwrap_err();
    expect(&error, InvalidSpec, Terminal, &["spec.trigger.tagPattern"]);
    let empty = GitRepo::with(&[("a", "1")]);
    let error = world
        .fetch(&file_remote(empty.path()), &highest("v*"))
        .await
        .unwrap_err();
    expect(&error, NoMatchingTag, Terminal, &["it has no tags"]);
    world.is_clean();
}
