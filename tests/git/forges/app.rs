//! A GitHub App: its key and clock, its installations, and tokens that are restricted to one repository.

use std::process::Command;
use std::sync::OnceLock;

use davit::api::Reason;
use davit::error::{Class, Explain as _};
use davit::forge::Forge;
use davit::model::{CommitId, CommitState, CommitStatus, GitCredential};
use ring::signature::{KeyPair as _, RsaKeyPair};
use serde_json::{Value, json};

use crate::forges::servers::github::{self, GitHub};
use crate::forges::servers::{COMMIT, MANY, Server};
use crate::forges::{connected, path, problem};

/// A private key in PEM form, and its public key in DER form.
pub fn key() -> (String, Vec<u8>) {
    static KEY: OnceLock<(String, Vec<u8>)> = OnceLock::new();
    KEY.get_or_init(new_key).clone()
}

#[expect(clippy::disallowed_methods, reason = "openssl generates the keys of the test")]
fn new_key() -> (String, Vec<u8>) {
    use rustls::pki_types::PrivatePkcs8KeyDer;
    use rustls::pki_types::pem::PemObject as _;
    let args = ["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];
    let output = Command::new("openssl").args(args).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let der = PrivatePkcs8KeyDer::from_pem_slice(&output.stdout).unwrap();
    let pair = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).unwrap();
    let public = pair.public_key().as_ref().to_vec();
    (String::from_utf8(output.stdout).unwrap(), public)
}

async fn start(change: impl FnOnce(&mut GitHub)) -> Server<GitHub> {
    let mut service = GitHub::with_app(key().1);
    change(&mut service);
    github::start(service).await
}

fn spec(server: &Server<GitHub>) -> Value {
    json!({"github": {"url": server.url, "appId": "1234", "privateKeySecretRef": {"name": "gh"}}})
}

fn created(server: &Server<GitHub>) -> usize {
    let is_created = |line: &&String| line.ends_with("/access_tokens");
    server.requests().iter().filter(is_created).count()
}

async fn password(forge: &dyn Forge, repository: &str) -> String {
    match forge.clone_credential(&path(repository)).await.unwrap().value {
        GitCredential::Basic { password, .. } => password.expose_str().unwrap().to_owned(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn app_token_is_shared_until_shortly_before_it_expires() {
    let server = start(|_| {}).await;
    let forge = connected(&spec(&server), &key().0);
    let many = (0..8).map(|_| password(forge.as_ref(), "acme/shop"));
    let all = futures::future::join_all(many).await;
    assert!(all.iter().all(|token| *token == all[0]), "{all:?}");
    assert_eq!(created(&server), 1);
    assert_ne!(
        password(forge.as_ref(), "acme/repo-001").await,
        all[0],
        "another repository, another token"
    );
    assert_eq!(created(&server), 2);
    assert!(forge.forget_credential(&path("acme/shop")), "a token was kept");
    assert_ne!(
        password(forge.as_ref(), "acme/shop").await,
        all[0],
        "a refused token is replaced"
    );
    server.assert_legal();

    // A token with less than five minutes left is not handed out again.
    let server = start(|github| github.lifetime = 200).await;
    let forge = connected(&spec(&server), &key().0);
    let first = password(forge.as_ref(), "acme/shop").await;
    assert_ne!(password(forge.as_ref(), "acme/shop").await, first);
}

#[tokio::test]
async fn app_finds_the_installation_of_each_owner() {
    let server = start(|github| github.accounts = vec!["acme", "jane"]).await;
    let forge = connected(&spec(&server), &key().0);
    let account = forge.check().await.unwrap();
    assert_eq!(
        (account.name.as_str(), account.repositories),
        ("acme, jane", MANY as u64 + 1)
    );
    let all = forge.all_repositories().await.unwrap();
    assert_eq!(all.len(), MANY + 1, "those of both installations");
    assert!(password(forge.as_ref(), "jane/only").await.starts_with("ghs_2."));
    assert!(password(forge.as_ref(), "acme/shop").await.starts_with("ghs_1."));
    let error = forge.clone_credential(&path("other/shop")).await.unwrap_err();
    assert_eq!(
        (error.reason(), error.class()),
        (Reason::GitRepositoryNotFound, Class::Terminal)
    );
    assert!(
        error
            .to_string()
            .contains("installation of the App that includes other/shop"),
        "{error}"
    );
    let error = forge.clone_credential(&path("acme/hidden")).await.unwrap_err();
    assert_eq!(error.reason(), Reason::GitRepositoryNotFound, "{error}");
    server.assert_legal();
}

#[tokio::test]
async fn app_without_the_permission_cannot_report_and_says_which() {
    let server = start(|github| github.statuses = None).await;
    let forge = connected(&spec(&server), &key().0);
    let commit = CommitId::parse(COMMIT).unwrap();
    let error = forge.checks(&path("acme/shop"), &commit).await.unwrap_err();
    assert_eq!(error.reason(), Reason::ForgeScopeMissing);
    assert!(
        error
            .to_string()
            .contains("Checks: read and Commit statuses: read"),
        "{error}"
    );
    let status = CommitStatus {
        context: "davit/ns/shop".to_owned(),
        state: CommitState::Pending,
        description: String::new(),
        url: None,
    };
    let reported = forge.report_status(&path("acme/shop"), &commit, &status).await;
    let error = reported.unwrap_err();
    assert_eq!(
        (error.reason(), error.class()),
        (Reason::ForgeScopeMissing, Class::Terminal)
    );
    assert!(error.to_string().contains("Commit statuses: write"), "{error}");
    server.assert_legal();
}

#[tokio::test]
async fn app_that_cannot_be_used_is_explained() {
    for (name, reason, class, words, change) in [
        (
            "not installed",
            Reason::ForgeAppNotInstalled,
            Class::Terminal,
            "/apps/davit/installations/new",
            (|github| github.accounts.clear()) as fn(&mut GitHub),
        ),
        (
            "suspended",
            Reason::ForgeScopeMissing,
            Class::Terminal,
            "its installation on acme is suspended",
            |github| github.suspended = true,
        ),
        (
            "no contents",
            Reason::ForgeScopeMissing,
            Class::Terminal,
            "Contents: read",
            |github| github.contents = None,
        ),
        (
            "another key",
            Reason::ForgeAuthFailed,
            Class::Terminal,
            "could not be decoded",
            |github| github.key = new_key().1,
        ),
        (
            "a clock behind",
            Reason::ForgeClockSkewed,
            Class::Transient,
            "900 s behind the clock of the forge",
            |github| github.clock_ahead = 900,
        ),
        (
            "a clock ahead",
            Reason::ForgeClockSkewed,
            Class::Transient,
            "900 s ahead of the clock of the forge",
            |github| github.clock_ahead = -900,
        ),
    ] {
        let server = start(change).await;
        let forge = connected(&spec(&server), &key().0);
        let found = problem(forge.as_ref(), &key().0).await;
        assert_eq!((found.reason, found.class), (reason, class), "{name}: {found:?}");
        // Seconds may pass between the two clocks.
        let message = found.message.replace("899 s", "900 s").replace("901 s", "900 s");
        assert!(message.contains(words), "{name}: {found:?}");
        server.assert_legal();
    }
}

#[tokio::test]
async fn installation_that_the_app_does_not_have_is_named_with_its_field() {
    let server = start(|_| {}).await;
    let mut spec = spec(&server);
    spec["github"]["installationId"] = json!(99);
    let found = problem(connected(&spec, &key().0).as_ref(), &key().0).await;
    assert_eq!(
        (found.reason, found.class),
        (Reason::InvalidSpec, Class::Terminal)
    );
    assert!(
        found
            .message
            .contains("spec.github.installationId 99 is no installation"),
        "{found:?}"
    );
}
