//! Over ssh: one key, one host key.

use davit::api::Reason::{
    GitAuthFailed, GitHostKeyMissing, GitHostKeyUnknown, GitRepositoryNotFound, GitUnreachable, SecretInvalid,
};
use davit::error::Class::{Terminal, Transient};
use davit::model::{GitCredential, RefSpec};
use davit::redact::Secret;
use davit::source::GitRemote;

use super::{Harness, branch, read, remote};
use crate::common::git_repo::GitRepo;
use crate::common::git_server::GitSsh;

fn at(server: &GitSsh, key: &str, known_hosts: Option<String>) -> GitRemote {
    GitRemote {
        credential: GitCredential::Ssh {
            key: Secret::from(key),
            known_hosts,
            ignore_host_key: false,
        },
        ..remote(&server.url("shop.git"))
    }
}

fn careless(mut remote: GitRemote) -> GitRemote {
    if let GitCredential::Ssh { ignore_host_key, .. } = &mut remote.credential {
        *ignore_host_key = true;
    }
    remote
}

#[tokio::test]
async fn ssh_fetch_requires_the_key_and_a_known_host_key() {
    let mut server = GitSsh::start();
    let repo = GitRepo::with(&[("index.html", "one")]);
    server.publish("shop.git", &repo);
    let harness = Harness::new();
    let known = server.known_hosts();
    let key = server.client_key.clone();

    let good = at(&server, &key, Some(known.clone()));
    let checkout = harness.fetch(&good, &branch("main")).await.unwrap();
    assert_eq!(read(&checkout, "index.html"), "one");
    drop(checkout);
    let open = careless(at(&server, &key, None));
    harness.fetch(&open, &RefSpec::Default).await.unwrap();
    harness.is_clean();

    let secret = &["spec.source.git.secretRef"];
    let stranger = at(&server, &server.stranger_key, Some(known.clone()));
    harness
        .refuses(&stranger, &RefSpec::Default, GitAuthFailed, Terminal, secret)
        .await;
    let broken = at(
        &server,
        "-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2\n-----END OPENSSH PRIVATE KEY-----\n",
        Some(known.clone()),
    );
    harness
        .refuses(&broken, &RefSpec::Default, SecretInvalid, Terminal, secret)
        .await;
    let unnamed = at(&server, &key, None);
    harness
        .refuses(
            &unnamed,
            &RefSpec::Default,
            GitHostKeyMissing,
            Terminal,
            &["known_hosts", "secretRef"],
        )
        .await;
    let other = at(&server, &key, Some(known.replace("127.0.0.1", "127.0.0.2")));
    harness
        .refuses(
            &other,
            &RefSpec::Default,
            GitHostKeyUnknown,
            Terminal,
            &["known_hosts"],
        )
        .await;
    let mut nothing = good.clone();
    nothing.url = remote(&server.url("nothing.git")).url;
    harness
        .refuses(
            &nothing,
            &RefSpec::Default,
            GitRepositoryNotFound,
            Terminal,
            &["nothing.git"],
        )
        .await;
    let anonymous = remote(&server.url("shop.git"));
    harness
        .refuses(
            &anonymous,
            &RefSpec::Default,
            GitAuthFailed,
            Terminal,
            &["ssh-privatekey"],
        )
        .await;

    server.change_host_key();
    harness
        .refuses(
            &good,
            &RefSpec::Default,
            GitHostKeyUnknown,
            Terminal,
            &["known_hosts"],
        )
        .await;
    let changed = harness.resolve(&good, &RefSpec::Default).await.unwrap_err();
    assert!(!changed.to_string().contains("call-"), "{changed}");
    harness.fetch(&open, &RefSpec::Default).await.unwrap();
    drop(server);
    harness
        .refuses(
            &good,
            &RefSpec::Default,
            GitUnreachable,
            Transient,
            &["127.0.0.1"],
        )
        .await;
}
