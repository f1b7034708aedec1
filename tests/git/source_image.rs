//! Images from a real registry with a password, through the real engine.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what fails here is a failed test"
)]

use bollard::Docker;
use davit::api::Reason;
use davit::error::{Class, Problem};
use davit::image::{Found, ImageError, ResolvedImage, login_for, pull, resolve_image};
use davit::job_log::JobLog;
use davit::model::RegistryLogin;
use davit::redact::{Masker, Secret};
use davit::source::docker_config_json::registry_logins;
use tokio_util::sync::CancellationToken;

use crate::common::docker::{DockerScope, docker};
use crate::common::registry::Registry;
use crate::common::{run, try_run};

/// An image of the test's own, with its namespace's label, under the engine's name `local`.
fn image(scope: &DockerScope, content: &str) -> String {
    let context = tempfile::tempdir().unwrap();
    std::fs::write(context.path().join("content"), content).unwrap();
    std::fs::write(
        context.path().join("Dockerfile"),
        "FROM scratch\nCOPY content /\n",
    )
    .unwrap();
    let name = format!("{}:local", scope.namespace);
    run(docker()
        .args(["build", "--quiet", "--label", &scope.label(), "--tag", &name])
        .arg(context.path()));
    name
}

fn remove(reference: &str) {
    run(docker().args(["rmi", "--force", reference]));
}

fn expect<T: std::fmt::Debug>(result: Result<T, ImageError>, reason: Reason, class: Class, words: &[&str]) {
    let problem = Problem::of(&result.unwrap_err());
    assert_eq!((problem.reason, problem.class), (reason, class), "{problem:?}");
    for word in words {
        assert!(problem.message.contains(word), "{word} in {problem:?}");
    }
}

fn login(user: &str, password: &str) -> RegistryLogin {
    RegistryLogin::basic(user, password)
}

fn engine() -> Docker {
    Docker::connect_with_socket_defaults().unwrap()
}

#[tokio::test]
async fn tag_resolves_to_a_digest_that_is_pulled() {
    let scope = DockerScope::new("source");
    let registry = Registry::start();
    let local = image(&scope, "one");
    let digest = registry.push(&local, "team/shop:1");
    remove(&local);
    let docker = engine();
    let dir = tempfile::tempdir().unwrap();
    let log = JobLog::open(&dir.path().join("log"), Masker::default()).unwrap();
    let cancel = CancellationToken::new();

    let name = registry.image("team/shop:1");
    let data = [(
        ".dockerconfigjson".to_owned(),
        Secret::from(registry.docker_config()),
    )]
    .into();
    let logins = registry_logins("pull", &data).unwrap();
    let good = login_for(&name, &logins).unwrap().unwrap();
    let found = resolve_image(&docker, &name, Some(&good)).await.unwrap();
    let pinned = registry.image(&format!("team/shop@{digest}"));
    let expected = ResolvedImage {
        reference: pinned.clone(),
        digest: digest.clone(),
        found: Found::Registry,
    };
    assert_eq!(found, expected);
    let again = resolve_image(&docker, &pinned, None).await.unwrap();
    assert_eq!((again.reference, again.found), (pinned.clone(), Found::Pinned));

    let field = &["spec.source.docker.pullSecretRef"];
    let wrong = login("puller", "hunter2");
    for login in [None, Some(&wrong)] {
        expect(
            resolve_image(&docker, &name, login).await,
            Reason::ImagePullDenied,
            Class::Terminal,
            field,
        );
        let pulled = pull(&docker, &pinned, login, &log, &cancel).await;
        expect(pulled, Reason::ImagePullDenied, Class::Terminal, field);
    }
    let missing = registry.image("team/shop:2");
    expect(
        resolve_image(&docker, &missing, Some(&good)).await,
        Reason::ImageNotFound,
        Class::Terminal,
        &["spec.source.docker.image", "team/shop:2"],
    );
    let gone = registry.image(&format!("team/shop@sha256:{}", "0".repeat(64)));
    expect(
        pull(&docker, &gone, Some(&good), &log, &cancel).await,
        Reason::ImageNotFound,
        Class::Terminal,
        &[],
    );

    pull(&docker, &pinned, Some(&good), &log, &cancel).await.unwrap();
    assert!(try_run(crate::common::docker::docker().args(["image", "inspect", &pinned])).0);
    let text = std::fs::read_to_string(log.path()).unwrap();
    assert!(
        text.contains("Pull complete") && !text.contains("hunter2"),
        "{text}"
    );
    assert!(!text.contains("is there"), "{text}");
    // What is there needs no registry and no login.
    pull(&docker, &pinned, None, &log, &cancel).await.unwrap();
    assert!(
        std::fs::read_to_string(log.path())
            .unwrap()
            .ends_with("is there\n")
    );
    remove(&pinned);
}

#[tokio::test]
async fn image_that_exists_only_in_the_engine_is_resolved() {
    let scope = DockerScope::new("source");
    let local = image(&scope, "two");
    let id = run(docker().args(["image", "inspect", "--format", "{{.Id}}", &local]));
    let engine = engine();
    for name in [&local, &id] {
        let found = resolve_image(&engine, name, None).await.unwrap();
        assert_eq!((&found.reference, &found.digest), (&id, &id));
        assert!(matches!(found.found, Found::Local(_)), "{found:?}");
    }
    let none = format!("sha256:{}", "0".repeat(64));
    let missing = resolve_image(&engine, &none, None).await;
    expect(
        missing,
        Reason::ImageNotFound,
        Class::Terminal,
        &["container engine"],
    );

    // It came from a registry that is down now: it keeps the name that it has there.
    let mut registry = Registry::start_open();
    let digest = registry.push(&local, "shop:1");
    let name = registry.image("shop:1");
    run(docker().args(["pull", "--quiet", &name]));
    registry.stop();
    let found = resolve_image(&engine, &name, None).await.unwrap();
    assert_eq!(found.reference, registry.image(&format!("shop@{digest}")));
    assert!(
        matches!(&found.found, Found::Local(why) if why.contains("connection refused")),
        "{found:?}"
    );
    remove(&name);
    expect(
        resolve_image(&engine, &name, None).await,
        Reason::RegistryUnreachable,
        Class::Transient,
        &["connection refused"],
    );
}

#[tokio::test]
async fn wrong_registry_login_fails_although_an_old_image_exists() {
    let scope = DockerScope::new("source");
    let registry = Registry::start();
    let local = image(&scope, "three");
    let name = registry.image("shop:1");
    run(docker().args(["tag", &local, &name]));
    let wrong = login("puller", "hunter2");
    expect(
        resolve_image(&engine(), &name, Some(&wrong)).await,
        Reason::ImagePullDenied,
        Class::Terminal,
        &[],
    );
    assert!(resolve_image(&engine(), &name, None).await.is_ok());
    remove(&name);
}

#[tokio::test]
async fn pull_can_be_cancelled_and_reports_a_missing_engine() {
    // A registry that takes connections and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let image = format!("{}/shop@sha256:{}", silent.local_addr().unwrap(), "0".repeat(64));
    let dir = tempfile::tempdir().unwrap();
    let log = JobLog::open(&dir.path().join("log"), Masker::default()).unwrap();
    let log = std::sync::Arc::new(log);
    let cancel = CancellationToken::new();
    let task = tokio::spawn({
        let (cancel, log) = (cancel.clone(), log.clone());
        async move { pull(&engine(), &image, None, &log, &cancel).await }
    });
    let (connection, _) = tokio::task::spawn_blocking(move || silent.accept())
        .await
        .unwrap()
        .unwrap();
    cancel.cancel();
    expect(task.await.unwrap(), Reason::Cancelled, Class::Terminal, &[]);
    drop(connection);

    // A socket without a listener.
    let socket = dir.path().join("docker.sock");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let socket = socket.display().to_string();
    let away = Docker::connect_with_unix(&socket, 5, bollard::API_DEFAULT_VERSION).unwrap();
    let found = resolve_image(&away, "nginx:1.27", None).await;
    expect(
        found,
        Reason::EngineUnavailable,
        Class::Transient,
        &["container engine"],
    );
    let pulled = pull(&away, "nginx:1.27", None, &log, &CancellationToken::new()).await;
    expect(
        pulled,
        Reason::EngineUnavailable,
        Class::Transient,
        &["container engine"],
    );
}
