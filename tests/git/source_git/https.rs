//! Git over https: authentication, refs and commits, the reason of each failure.

use davit::api::Reason::{
    GitAuthFailed, GitRefNotFound, GitRepositoryNotFound, GitTlsFailed, GitTransportForbidden, GitUnreachable,
};
use davit::error::Class::{Terminal, Transient};
use davit::model::{GitCredential, RefSpec};
use davit::redact::Secret;
use davit::source::GitRemote;

use super::{Harness, branch, commit, expect, file_remote, names, read, remote, tag};
use crate::common::git_repo::GitRepo;
use crate::common::git_server::{Access, GitHttps};

fn at(server: &GitHttps, access: Access, name: &str) -> GitRemote {
    GitRemote {
        ca: Some(server.ca.ca_pem.clone().into_bytes()),
        ..remote(&server.url(access, name))
    }
}

fn basic(username: &str, password: &str) -> GitCredential {
    GitCredential::Basic {
        username: username.to_owned(),
        password: Secret::from(password),
    }
}

#[tokio::test]
async fn ref_of_each_kind_resolves_to_its_commit() {
    let server = GitHttps::start();
    let repo = GitRepo::with(&[("index.html", "one")]);
    let first = repo.head();
    repo.git(["tag", "light"]);
    repo.git(["tag", "--annotate", "--message", "a tag", "v1"]);
    let second = repo.commit("second line\n\nand a body", &[("index.html", "two")]);
    let third = repo.commit("third", &[("index.html", "three")]);
    repo.git(["branch", "feature/x", &second]);
    // Ends like the name of another branch.
    repo.git(["branch", "other/main", &first]);
    server.publish("shop.git", &repo);
    let shop = at(&server, Access::Anonymous, "shop.git");
    let harness = Harness::new();

    for (spec, wanted, content) in [
        (RefSpec::Default, &third, "three"),
        (branch("main"), &third, "three"),
        (branch("feature/x"), &second, "two"),
        (tag("light"), &first, "one"),
        (tag("v1"), &first, "one"),
        (RefSpec::Commit(commit(&second)), &second, "two"),
    ] {
        let checkout = harness.fetch(&shop, &spec).await.unwrap();
        assert_eq!(checkout.commit.as_str(), wanted, "{spec:?}");
        assert_eq!(read(&checkout, "index.html"), content, "{spec:?}");
        assert_eq!(names(&checkout.root()), ["index.html"], "no .git");
        assert_eq!(checkout.author, "Jane Doe <jane@example.com>");
    }
    let checkout = harness.fetch(&shop, &branch("feature/x")).await.unwrap();
    assert_eq!(checkout.message, "second line");
    let root = checkout.root();
    drop(checkout);
    assert!(!root.exists());
    harness.is_clean();

    let missing = "0123456789012345678901234567890123456789";
    for (spec, words) in [
        (
            branch("gone"),
            &[
                "branch \"gone\" not found",
                "spec.source.git.ref.branch",
                "default branch is main",
            ][..],
        ),
        (
            tag("v9"),
            &["tag \"v9\"", "spec.source.git.ref.tag", "default branch is main"],
        ),
        (tag("main"), &["tag \"main\""]),
        (branch("x"), &["branch \"x\""]),
        (
            RefSpec::Commit(commit(missing)),
            &[missing, "spec.source.git.ref.commit"],
        ),
    ] {
        harness
            .refuses(&shop, &spec, GitRefNotFound, Terminal, words)
            .await;
    }
    let (harness, empty) = (Harness::development(), GitRepo::new());
    let empty = file_remote(empty.path());
    harness
        .refuses(
            &empty,
            &RefSpec::Default,
            GitRefNotFound,
            Terminal,
            &[
                "the default branch",
                "because the repository is empty: push a commit",
            ],
        )
        .await;
}

#[tokio::test]
async fn repository_is_fetched_only_with_its_credential() {
    let mut server = GitHttps::start();
    let repo = GitRepo::with(&[("index.html", "one")]);
    server.publish("shop.git", &repo);
    let harness = Harness::new();
    let bearer = |token: &str| GitCredential::Bearer(Secret::from(token));

    let with = |access, credential| GitRemote {
        credential,
        ..at(&server, access, "shop.git")
    };
    for remote in [
        with(Access::Basic, basic(&server.user, &server.password)),
        with(Access::Bearer, bearer(&server.bearer)),
    ] {
        let checkout = harness.fetch(&remote, &branch("main")).await.unwrap();
        assert_eq!(read(&checkout, "index.html"), "one");
    }
    let (wants, refused) = (
        "the server wants a credential",
        "the server refused the credential",
    );
    for (remote, said) in [
        (with(Access::Basic, GitCredential::Anonymous), wants),
        (with(Access::Basic, basic(&server.user, "hunter2")), refused),
        (with(Access::Bearer, GitCredential::Anonymous), wants),
        (with(Access::Bearer, bearer("hunter2")), refused),
    ] {
        let field = &["spec.source.git.secretRef", said];
        harness
            .refuses(&remote, &branch("main"), GitAuthFailed, Terminal, field)
            .await;
        // The commit is in the cache, but under another credential.
        let error = harness
            .checkout(&remote, &commit(&repo.head()), &branch("main"))
            .await
            .unwrap_err();
        expect(&error, GitAuthFailed, Terminal, field);
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }

    let nothing = at(&server, Access::Anonymous, "nothing.git");
    harness
        .refuses(
            &nothing,
            &RefSpec::Default,
            GitRepositoryNotFound,
            Terminal,
            &["spec.source.git.url", "nothing.git"],
        )
        .await;
    let stranger = GitRemote {
        ca: None,
        ..at(&server, Access::Anonymous, "shop.git")
    };
    harness
        .refuses(&stranger, &RefSpec::Default, GitTlsFailed, Terminal, &["ca.crt"])
        .await;
    let shop = at(&server, Access::Anonymous, "shop.git");
    server.stop();
    harness
        .refuses(
            &shop,
            &RefSpec::Default,
            GitUnreachable,
            Transient,
            &["127.0.0.1"],
        )
        .await;
    let nowhere = remote("https://nowhere.invalid/shop.git");
    harness
        .refuses(
            &nowhere,
            &RefSpec::Default,
            GitUnreachable,
            Transient,
            &["nowhere.invalid"],
        )
        .await;
}

#[tokio::test]
async fn url_scheme_other_than_https_and_ssh_needs_a_flag() {
    let repo = GitRepo::with(&[("index.html", "one")]);
    let local = file_remote(repo.path());
    let production = Harness::new();
    for remote in [
        &local,
        &remote("http://127.0.0.1:1/shop.git"),
        &remote("git://127.0.0.1:1/shop.git"),
        &remote("ext::sh%20-c%20id"),
    ] {
        production
            .refuses(
                remote,
                &RefSpec::Default,
                GitTransportForbidden,
                Terminal,
                &["cannot be used", "git.url to an https:// or ssh:// URL"],
            )
            .await;
    }
    let development = Harness::development();
    let checkout = development.fetch(&local, &RefSpec::Default).await.unwrap();
    assert_eq!(read(&checkout, "index.html"), "one");
    drop(checkout);
    development
        .refuses(
            &remote("http://127.0.0.1:1/shop.git"),
            &RefSpec::Default,
            GitUnreachable,
            Transient,
            &[],
        )
        .await;
    let gone = file_remote(&repo.path().join("gone"));
    development
        .refuses(
            &gone,
            &RefSpec::Default,
            GitRepositoryNotFound,
            Terminal,
            &["git.url"],
        )
        .await;
}

#[tokio::test]
async fn hash_of_a_tag_object_is_rejected_as_commit() {
    let repo = GitRepo::with(&[("file", "one")]);
    repo.git(["tag", "--annotate", "--message", "a tag", "v1"]);
    let of_tag = commit(repo.git(["rev-parse", "v1"]).trim());
    let head = repo.head();
    assert_ne!(of_tag.as_str(), head);
    let harness = Harness::development();
    let spec = RefSpec::Commit(of_tag.clone());
    let way_out = format!("set spec.source.git.ref.commit to {head}");
    let says = [of_tag.as_str(), "annotated tag", way_out.as_str()];
    harness
        .refuses(&file_remote(repo.path()), &spec, GitRefNotFound, Terminal, &says)
        .await;
    let asked = harness
        .checkout(&file_remote(repo.path()), &of_tag, &RefSpec::Default)
        .await;
    expect(
        &asked.unwrap_err(),
        GitRefNotFound,
        Terminal,
        &["spec.revision of the Release"],
    );
}
