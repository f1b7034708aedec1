//! What a repository or a user's configuration would like to make Git do, and what is kept as it is.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use davit::api::Reason::GitFailed;
use davit::error::Class::Terminal;
use davit::model::RefSpec;

use super::{Harness, branch, commit, expect, file_remote, names, read};
use crate::common::git_repo::{GitRepo, git};
use crate::common::run;

#[tokio::test]
async fn checkout_keeps_links_modes_and_names() {
    let repo = GitRepo::with(&[
        ("bin/run", "#!/bin/sh\n"),
        ("dir with space/ü", "x"),
        ("plain", "x"),
    ]);
    std::fs::set_permissions(
        repo.path().join("bin/run"),
        std::fs::Permissions::from_mode(0o755),
    )
    .unwrap();
    std::os::unix::fs::symlink("bin/run", repo.path().join("link")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", repo.path().join("outside")).unwrap();
    repo.commit("links", &[]);
    let harness = Harness::development();
    let checkout = harness
        .fetch(&file_remote(repo.path()), &RefSpec::Default)
        .await
        .unwrap();
    let root = checkout.root();
    assert_eq!(
        names(&root),
        ["bin", "dir with space", "link", "outside", "plain"]
    );
    let mode = |path: &str| std::fs::metadata(root.join(path)).unwrap().permissions().mode() & 0o111;
    assert!(mode("bin/run") != 0 && mode("plain") == 0);
    let target = |path: &str| std::fs::read_link(root.join(path)).unwrap().display().to_string();
    assert_eq!(
        (target("link").as_str(), target("outside").as_str()),
        ("bin/run", "/etc/passwd")
    );
    assert_eq!(read(&checkout, "dir with space/ü"), "x");
}

#[tokio::test]
async fn commit_message_is_shortened_to_plain_text() {
    let repo = GitRepo::with(&[("file", "x")]);
    let tree = repo.git(["rev-parse", "HEAD^{tree}"]);
    let content = format!(
        "tree {tree}\nauthor Eve\u{1b}[2J{} <e@example.com> 1700000000 +0000\ncommitter Eve <e@example.com> 1700000000 +0000\n\n\u{7}\n\u{1b}]0;title\u{7}{}\nbody\n",
        "n".repeat(10_000),
        "é".repeat(300_000)
    );
    let head = object(&repo, "commit", content.as_bytes());
    repo.git(["update-ref", "refs/heads/main", &head]);
    let checkout = Harness::development()
        .fetch(&file_remote(repo.path()), &branch("main"))
        .await
        .unwrap();
    for said in [&checkout.message, &checkout.author] {
        assert!(said.len() <= 200 && said.ends_with('…'), "{said:?}");
        assert!(!said.contains(char::is_control), "{said:?}");
    }
    assert!(checkout.message.starts_with("]0;titleéé"), "{}", checkout.message);
    assert!(checkout.author.starts_with("Eve[2Jnn"), "{}", checkout.author);
}

#[tokio::test]
async fn content_of_a_repository_is_never_executed() {
    let proof = tempfile::tempdir().unwrap();
    let touch = format!("touch {}/run", proof.path().display());
    let repo = GitRepo::with(&[
        (".gitattributes", "* filter=evil diff=evil merge=evil\n"),
        ("file", "x"),
        // As if committed configuration and hooks counted.
        (
            ".gitconfig",
            &format!("[filter \"evil\"]\n\tsmudge = {touch}\n\tprocess = {touch}\n"),
        ),
        ("hooks/post-checkout", &format!("#!/bin/sh\n{touch}\n")),
        (".githooks/post-checkout", &format!("#!/bin/sh\n{touch}\n")),
    ]);
    // The hooks and the configuration of the server's side run nothing on ours either.
    for hook in ["post-checkout", "post-index-change", "reference-transaction"] {
        let path = repo.path().join(".git/hooks").join(hook);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, format!("#!/bin/sh\n{touch}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    repo.git(["config", "core.fsmonitor", &touch]);
    let harness = Harness::development();
    let checkout = harness
        .fetch(&file_remote(repo.path()), &branch("main"))
        .await
        .unwrap();
    assert_eq!(read(&checkout, "file"), "x");
    assert_eq!(names(proof.path()), Vec::<String>::new());
}

#[tokio::test]
async fn git_configuration_of_the_user_is_ignored() {
    let repo = GitRepo::with(&[("file", "x")]);
    let home = tempfile::tempdir().unwrap();
    // Any of these would make the fetch fail or go elsewhere.
    let text = "[url \"https://evil.invalid/\"]\n\tinsteadOf = file://\n[protocol]\n\tallow = never\n[core]\n\tautocrlf = true\n[broken";
    std::fs::write(home.path().join(".gitconfig"), text).unwrap();
    std::fs::create_dir_all(home.path().join(".config/git")).unwrap();
    std::fs::write(home.path().join(".config/git/config"), text).unwrap();
    // It is the environment of davit that would lead there, and none of it is passed on.
    let test = std::env::current_exe().unwrap();
    if std::env::var_os("DAVIT_TEST_INNER").is_none() {
        run(std::process::Command::new(test)
            .args(["--exact", "hostile::git_configuration_of_the_user_is_ignored"])
            .env("DAVIT_TEST_INNER", "1")
            .env("HOME", home.path())
            .env("XDG_CONFIG_HOME", home.path().join(".config"))
            .env("GIT_CONFIG_COUNT", "1")
            .env("GIT_CONFIG_KEY_0", "url.https://evil.invalid/.insteadOf")
            .env("GIT_CONFIG_VALUE_0", "file://")
            .env("GIT_DIR", "/nonexistent")
            .env("GIT_SSH_COMMAND", "false")
            .env("GIT_ALLOW_PROTOCOL", "https"));
        return;
    }
    let harness = Harness::development();
    let checkout = harness
        .fetch(&file_remote(repo.path()), &RefSpec::Default)
        .await
        .unwrap();
    assert_eq!(read(&checkout, "file"), "x");
}

#[tokio::test]
async fn repository_around_the_cache_is_ignored() {
    let repo = GitRepo::with(&[("file", "x")]);
    let around = GitRepo::new();
    around.git(["config", "url.https://evil.invalid/.insteadOf", "file://"]);
    let cache = around.path().join("cache");
    let harness = Harness::with(|options| {
        options.allow_file = true;
        options.cache_dir = cache;
    });
    let local = file_remote(repo.path());
    let tip = harness.resolve(&local, &RefSpec::Default).await.unwrap();
    let checkout = harness.checkout(&local, &tip, &RefSpec::Default).await.unwrap();
    assert_eq!(read(&checkout, "file"), "x");
}

#[tokio::test]
async fn repository_with_sha256_hashes_is_checked_out() {
    let dir = tempfile::tempdir().unwrap();
    run(git(dir.path()).args([
        "init",
        "--quiet",
        "--object-format=sha256",
        "--initial-branch",
        "main",
    ]));
    std::fs::write(dir.path().join("file"), "x").unwrap();
    run(git(dir.path()).args(["add", "file"]));
    run(git(dir.path()).args(["commit", "--quiet", "--message", "first"]));
    let harness = Harness::development();
    let checkout = harness
        .fetch(&file_remote(dir.path()), &branch("main"))
        .await
        .unwrap();
    assert_eq!(checkout.commit.as_str().len(), 64);
    assert_eq!(read(&checkout, "file"), "x");
}

/// Writes an object that git itself would not make, and returns its id.
fn object(repo: &GitRepo, kind: &str, content: &[u8]) -> String {
    let mut command = git(repo.path());
    command.args(["hash-object", "-w", "--literally", "--stdin", "-t", kind]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(content).unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// One entry of a tree object.
fn entry(mode: &str, name: &str, id: &str) -> Vec<u8> {
    let mut bytes = format!("{mode} {name}\0").into_bytes();
    bytes.extend((0..20).map(|at| u8::from_str_radix(&id[2 * at..2 * at + 2], 16).unwrap()));
    bytes
}

#[tokio::test]
async fn tree_that_writes_outside_is_rejected() {
    let harness = Harness::development();
    for name in ["..", ".git", ".GIT", "a/b"] {
        let repo = GitRepo::with(&[("file", "x")]);
        let blob = object(&repo, "blob", b"evil");
        let inner = object(&repo, "tree", &entry("100644", "config", &blob));
        let tree = object(&repo, "tree", &entry("40000", name, &inner));
        let head = repo.git(["commit-tree", "-m", "evil", &tree]);
        repo.git(["update-ref", "refs/heads/evil", &head]);
        let error = harness
            .checkout(&file_remote(repo.path()), &commit(&head), &branch("evil"))
            .await
            .unwrap_err();
        expect(&error, GitFailed, Terminal, &["the content of"]);
        harness.is_clean();
    }
}
