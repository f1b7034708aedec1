//! Submodules obey the rules of their parents.

use std::fmt::Write as _;

use davit::api::Reason::SubmoduleFailed;
use davit::error::Class::Terminal;
use davit::model::{GitCredential, RefSpec};
use davit::redact::Secret;
use davit::source::GitRemote;

use super::{Harness, commit, expect, file_remote, names, read, remote};
use crate::common::git_repo::GitRepo;
use crate::common::git_server::{Access, GitHttps};

/// A repository that has `child`'s present commit as a submodule at `path`, at the address `url`.
fn parent(path: &str, url: &str, child: &str) -> GitRepo {
    let repo = GitRepo::with(&[("README", "parent")]);
    add(&repo, path, url, child);
    repo
}

fn add(repo: &GitRepo, path: &str, url: &str, child: &str) {
    let mut text = std::fs::read_to_string(repo.path().join(".gitmodules")).unwrap_or_default();
    write!(text, "[submodule \"{path}\"]\n\tpath = {path}\n\turl = {url}\n").unwrap();
    repo.write(&[(".gitmodules", &text)]);
    repo.git(["add", ".gitmodules"]);
    repo.git([
        "update-index",
        "--add",
        "--cacheinfo",
        &format!("160000,{child},{path}"),
    ]);
    repo.git(["commit", "--quiet", "--message", "add a submodule"]);
}

#[tokio::test]
async fn submodule_is_checked_out_at_its_pinned_commit() {
    let server = GitHttps::start();
    let inner = GitRepo::with(&[("inner", "inner")]);
    server.publish("libs/inner.git", &inner);
    let lib = parent("deep/inner", "../libs/inner.git", &inner.head());
    let pinned = lib.head();
    lib.commit("later", &[("README", "later")]);
    server.publish("lib.git", &lib);
    let shop = parent("vendor/lib", "./../lib.git", &pinned);
    // Another commit of the same repository, beside it.
    add(&shop, "vendor/new", "../lib.git", &lib.head());
    server.publish("shop.git", &shop);

    let credential = GitCredential::Basic {
        username: server.user.clone(),
        password: Secret::from(server.password.as_str()),
    };
    let remote = GitRemote {
        ca: Some(server.ca.ca_pem.clone().into_bytes()),
        credential,
        ..remote(&server.url(Access::Basic, "shop.git"))
    };
    let harness = Harness::new();
    let tip = commit(&shop.head());
    let checkout = harness.with_submodules(&remote, &tip).await.unwrap();
    assert_eq!(read(&checkout, "vendor/lib/README"), "parent");
    assert_eq!(read(&checkout, "vendor/lib/deep/inner/inner"), "inner");
    assert_eq!(read(&checkout, "vendor/new/README"), "later");
    assert_eq!(names(&checkout.root()), [".gitmodules", "README", "vendor"]);
    assert_eq!(
        names(&checkout.root().join("vendor/lib")),
        [".gitmodules", "README", "deep"]
    );

    let without = harness.checkout(&remote, &tip, &RefSpec::Default).await.unwrap();
    assert_eq!(names(&without.root().join("vendor/lib")), Vec::<String>::new());
}

#[tokio::test]
async fn submodule_on_another_host_receives_no_credential() {
    let server = GitHttps::start();
    let lib = GitRepo::with(&[("lib", "lib")]);
    server.publish("lib.git", &lib);
    // The same server by its other name: that is another host.
    let elsewhere = server
        .url(Access::Basic, "lib.git")
        .replace("127.0.0.1", "localhost");
    let shop = parent("lib", &elsewhere, &lib.head());
    server.publish("shop.git", &shop);
    let remote = GitRemote {
        ca: Some(server.ca.ca_pem.clone().into_bytes()),
        credential: GitCredential::Basic {
            username: server.user.clone(),
            password: Secret::from(server.password.as_str()),
        },
        ..remote(&server.url(Access::Basic, "shop.git"))
    };
    let harness = Harness::new();
    let error = harness
        .with_submodules(&remote, &commit(&shop.head()))
        .await
        .unwrap_err();
    expect(
        &error,
        SubmoduleFailed,
        Terminal,
        &[
            "submodule lib cannot be fetched",
            "https://localhost",
            "the credential of spec.source.git.secretRef is for https://127.0.0.1:",
            "relative URL",
        ],
    );
    harness.is_clean();

    let public = server
        .url(Access::Anonymous, "lib.git")
        .replace("127.0.0.1", "localhost");
    let shop = parent("lib", &public, &lib.head());
    server.publish("shop.git", &shop);
    let checkout = harness
        .with_submodules(&remote, &commit(&shop.head()))
        .await
        .unwrap();
    assert_eq!(read(&checkout, "lib/lib"), "lib");
}

#[tokio::test]
async fn submodule_with_a_forbidden_url_is_rejected() {
    let server = GitHttps::start();
    let lib = GitRepo::with(&[("lib", "lib")]);
    server.publish("lib.git", &lib);
    let harness = Harness::new();
    let head = lib.head();
    let local = format!("file://{}", lib.path().display());
    let path = lib.path().display().to_string();
    let missing = "0123456789012345678901234567890123456789";
    for (place, url, child, words) in [
        (
            "lib",
            local.as_str(),
            head.as_str(),
            "to an https:// or ssh:// URL",
        ),
        ("lib", path.as_str(), head.as_str(), "path of this machine"),
        (
            "lib",
            "ext::sh -c id",
            head.as_str(),
            "submodule lib is invalid: its transport is neither https nor ssh",
        ),
        (
            "lib",
            "http://127.0.0.1:1/lib.git",
            head.as_str(),
            "an https:// or ssh:// URL",
        ),
        ("lib", "../../../../lib.git", head.as_str(), "out of the server"),
        (
            "lib",
            "https://reader:hunter2@127.0.0.1/lib.git",
            head.as_str(),
            "it contains a user name or password",
        ),
        ("lib", "../lib.git", missing, missing),
        ("lib", "../lib.git", missing, "push that commit to the submodule"),
        ("lib", "../gone.git", head.as_str(), "gone.git"),
        (
            "lib",
            "../gone.git",
            head.as_str(),
            "correct the submodule's url in .gitmodules",
        ),
        (
            "lib",
            "git@127.0.0.1:lib.git",
            head.as_str(),
            "is for https://127.0.0.1",
        ),
    ] {
        let shop = parent(place, url, child);
        server.publish("shop.git", &shop);
        let remote = GitRemote {
            ca: Some(server.ca.ca_pem.clone().into_bytes()),
            ..remote(&server.url(Access::Anonymous, "shop.git"))
        };
        let error = harness
            .with_submodules(&remote, &commit(&shop.head()))
            .await
            .unwrap_err();
        expect(&error, SubmoduleFailed, Terminal, &[words]);
        let shown = format!("{error:?} {}", davit::error::chain(&error));
        assert!(!shown.contains("hunter2"), "{shown}");
        let told = davit::error::Problem::of(&error).message;
        assert!(!told.contains("spec.source.git.url"), "{told}");
        assert!(!told.contains("spec.source.git.ref"), "{told}");
        harness.is_clean();
    }
}

#[tokio::test]
async fn recursive_submodules_are_limited() {
    // Each contains the one before it, deeper than is allowed.
    let mut child = GitRepo::with(&[("file", "x")]);
    let mut all = Vec::new();
    for _ in 0..12 {
        let next = parent("s", &format!("file://{}", child.path().display()), &child.head());
        all.push(std::mem::replace(&mut child, next));
    }
    let harness = Harness::development();
    let error = harness
        .with_submodules(&file_remote(child.path()), &commit(&child.head()))
        .await
        .unwrap_err();
    expect(&error, SubmoduleFailed, Terminal, &["nested deeper than 8"]);
    harness.is_clean();

    // Few levels, but each has many.
    let leaf = GitRepo::with(&[("file", "x")]);
    let url = format!("file://{}", leaf.path().display());
    let many = GitRepo::new();
    let mut text = String::new();
    for number in 0..101 {
        write!(
            text,
            "[submodule \"s{number}\"]\n\tpath = s{number}\n\turl = {url}\n"
        )
        .unwrap();
    }
    many.commit("many", &[(".gitmodules", &text)]);
    let error = harness
        .with_submodules(&file_remote(many.path()), &commit(&many.head()))
        .await
        .unwrap_err();
    expect(&error, SubmoduleFailed, Terminal, &["more than 100"]);
    harness.is_clean();
}
