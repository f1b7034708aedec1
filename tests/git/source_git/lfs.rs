//! Git LFS and whatever else a checkout does not contain by itself.

use std::os::unix::fs::PermissionsExt;

use base64::Engine as _;
use davit::api::Reason::{GitAuthFailed, GitLfsFailed};
use davit::error::Class::Terminal;
use davit::model::{GitCredential, RefSpec};
use davit::redact::Secret;
use davit::source::GitRemote;
use sha2::{Digest as _, Sha256};

use super::{Harness, commit, expect, file_remote, read, remote};
use crate::common::git_repo::GitRepo;
use crate::common::git_server::GitSsh;
use crate::common::gitea::Gitea;

const ATTRIBUTES: (&str, &str) = (".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n");

fn oid(content: &str) -> String {
    use std::fmt::Write as _;
    let digest = Sha256::digest(content);
    digest.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn pointer(content: &str) -> String {
    format!(
        "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize {}\n",
        oid(content),
        content.len()
    )
}

fn basic(gitea: &Gitea, url: &str) -> GitRemote {
    GitRemote {
        credential: GitCredential::Basic {
            username: gitea.user.clone(),
            password: Secret::from(gitea.token.as_str()),
        },
        ..remote(url)
    }
}

#[tokio::test]
async fn lfs_files_are_fetched_with_the_credential_and_cached() {
    let mut gitea = Gitea::start();
    let (art, tool) = ("a".repeat(100_000), "#!/bin/sh\n");
    let repo = GitRepo::with(&[
        ATTRIBUTES,
        ("art/\u{fc} big.bin", &pointer(&art)),
        ("again.bin", &pointer(&art)),
        ("tool.bin", &pointer(tool)),
        ("real.bin", "stored in git"),
        ("pointer.txt", &pointer("no LFS file")),
    ]);
    let path = repo.path().join("tool.bin");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let head = repo.commit("executable", &[]);
    let url = gitea.create_repository("art", &repo);
    for content in [art.as_str(), tool] {
        gitea.upload_lfs("art", &oid(content), content);
    }
    let harness = Harness::development();
    let remote = basic(&gitea, &url);
    for round in 0..2 {
        let checkout = harness
            .checkout(&remote, &commit(&head), &RefSpec::Default)
            .await
            .unwrap();
        assert_eq!(read(&checkout, "art/\u{fc} big.bin"), art);
        assert_eq!(read(&checkout, "again.bin"), art);
        assert_eq!(read(&checkout, "tool.bin"), tool);
        assert_eq!(read(&checkout, "real.bin"), "stored in git");
        assert_eq!(read(&checkout, "pointer.txt"), pointer("no LFS file"));
        let mode = |file: &str| {
            let path = checkout.root().join(file);
            std::fs::metadata(path).unwrap().permissions().mode() & 0o777
        };
        assert_eq!((mode("tool.bin"), mode("again.bin")), (0o755, 0o644));
        let log = harness.log();
        let count = if round == 0 {
            "downloading 2 objects"
        } else {
            "downloading 0 objects"
        };
        assert!(log.contains(count), "{log}");
        // The second round needs no server.
        gitea.stop();
    }
    harness.is_clean();
}

#[tokio::test]
async fn lfs_content_that_cannot_be_had_fails_with_a_reason() {
    let gitea = Gitea::start();
    let repo = GitRepo::with(&[ATTRIBUTES, ("art/big.bin", &pointer("never pushed"))]);
    let url = gitea.create_repository("missing", &repo);
    let harness = Harness::development();
    let fails = async |remote: &GitRemote, reason, words: &[&str]| {
        let error = harness.fetch(remote, &RefSpec::Default).await.unwrap_err();
        expect(&error, reason, Terminal, words);
        harness.is_clean();
    };
    fails(
        &basic(&gitea, &url),
        GitLfsFailed,
        &["art/big.bin", "not on the server", "git lfs push"],
    )
    .await;

    repo.commit(
        "elsewhere",
        &[(".lfsconfig", "[lfs]\n\turl = http://h.example/lfs\n")],
    );
    gitea.push("missing", &repo);
    fails(&basic(&gitea, &url), GitLfsFailed, &["lfs.url of .lfsconfig"]).await;
    // The credential of the repository is not sent to another origin, even of the same host.
    let other = Gitea::start();
    let theirs = other.create_repository("missing", &repo);
    repo.commit(
        "other",
        &[(".lfsconfig", &format!("[lfs]\n\turl = {theirs}/info/lfs\n"))],
    );
    gitea.push("missing", &repo);
    fails(
        &basic(&gitea, &url),
        GitAuthFailed,
        &["the Git LFS server answered 401"],
    )
    .await;

    for (text, words) in [
        (
            "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
            "big.bin is not a valid pointer",
        ),
        (&pointer("x"), "a file URL has no Git LFS server"),
    ] {
        let local = GitRepo::with(&[ATTRIBUTES, ("big.bin", text)]);
        fails(&file_remote(local.path()), GitLfsFailed, &[words]).await;
    }
}

#[tokio::test]
async fn lfs_over_ssh_uses_what_the_server_names() {
    let gitea = Gitea::start();
    let repo = GitRepo::with(&[ATTRIBUTES, ("big.bin", &pointer("content"))]);
    let url = gitea.create_repository("shop", &repo);
    gitea.upload_lfs("shop", &oid("content"), "content");
    let server = GitSsh::start();
    server.publish("shop.git", &repo);
    let harness = Harness::development();
    let over_ssh = GitRemote {
        credential: GitCredential::Ssh {
            key: Secret::from(server.client_key.as_str()),
            known_hosts: Some(server.known_hosts()),
            ignore_host_key: false,
        },
        ..remote(&server.url("shop.git"))
    };
    let error = harness.fetch(&over_ssh, &RefSpec::Default).await.unwrap_err();
    expect(&error, GitLfsFailed, Terminal, &["git-lfs-authenticate"]);
    let pair = format!("{}:{}", gitea.user, gitea.token);
    let pair = base64::engine::general_purpose::STANDARD.encode(pair);
    let answer = serde_json::json!({
        "href": format!("{url}/info/lfs"),
        "header": {"Authorization": format!("Basic {pair}")},
    });
    server.answer_lfs_authenticate(&answer.to_string());
    let checkout = harness.fetch(&over_ssh, &RefSpec::Default).await.unwrap();
    assert_eq!(read(&checkout, "big.bin"), "content");
}

#[tokio::test]
async fn submodules_and_filters_that_are_left_out_are_logged() {
    let repo = GitRepo::with(&[
        ("file", "x"),
        (
            ".gitattributes",
            "# filter=no\nsecret filter=git-crypt diff=git-crypt\n",
        ),
        (
            ".gitmodules",
            "[submodule \"lib\"]\n\tpath = lib\n\turl = ../lib.git\n",
        ),
    ]);
    repo.git([
        "update-index",
        "--add",
        "--cacheinfo",
        &format!("160000,{},lib", repo.head()),
    ]);
    repo.git(["commit", "--quiet", "--message", "a submodule"]);
    let harness = Harness::development();
    harness
        .fetch(&file_remote(repo.path()), &RefSpec::Default)
        .await
        .unwrap();
    let log = harness.log();
    assert!(
        log.contains("1 submodules are not fetched (lib, …)")
            && log.contains("set spec.source.git.submodules to true"),
        "{log}"
    );
    assert!(
        log.contains("The filter git-crypt of .gitattributes is not run"),
        "{log}"
    );
    assert!(!log.contains("filter no"), "{log}");
}
