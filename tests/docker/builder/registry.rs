//! Built images in real registries with TLS and a password.

use davit::api::Reason;
use davit::builder::Export;
use davit::image::{Deleted, RegistryAccess};

use super::*;

fn access(registry: &Registry, password: &str) -> RegistryAccess {
    let (user, _) = registry.login.clone().unwrap();
    let login = RegistryLogin::basic(user, password);
    RegistryAccess {
        logins: RegistryLogins::new([(registry.address.clone(), login)].into()),
        ca: registry.ca.clone().map(String::into_bytes),
    }
}

fn is_in_engine(name: &str) -> bool {
    try_run(docker().args(["image", "inspect", name])).0
}

#[tokio::test]
async fn built_image_is_pushed_found_pulled_and_deleted() {
    let harness = Harness::new("pushed");
    harness.dockerfile(&["RUN echo pushed > /said"]);
    let registry = Registry::start_tls();
    let password = registry.login.clone().unwrap().1;
    let access = access(&registry, &password);
    let repository = unique("acme/shop");
    let mut request = harness.request();
    request.tag = registry.image(&format!("{repository}:c0ffee-1"));
    let none = CancellationToken::new();
    let (builder, log) = (&harness.builder, &harness.log);
    let both = Export::EngineAndRegistry;
    let found = builder.find_pushed(&request.tag, both, &access, log, &none).await;
    assert_eq!(found.unwrap(), None);
    let built = harness.built(&request).await;
    let pushed = builder.push(&built, both, &access, log, &none).await.unwrap();
    let digest = registry.digest(&repository, "c0ffee-1").unwrap();
    assert_eq!(pushed.id, format!("{}@{digest}", request.tag));
    assert_eq!((&pushed.tag, &*pushed.builder), (&request.tag, "dockerfile"));
    assert_eq!(prints(&pushed.id, &["cat", "/said"]), "pushed");

    // Another machine, or this one after its images were removed.
    builder.remove(&request.tag).await.unwrap();
    assert!(!is_in_engine(&request.tag) && !is_in_engine(&pushed.id));
    let elsewhere = builder
        .find_pushed(&request.tag, Export::Registry, &access, log, &none)
        .await;
    assert_eq!(elsewhere.unwrap().unwrap().id, pushed.id);
    assert!(!is_in_engine(&pushed.id), "it is not needed here");
    let again = builder.find_pushed(&request.tag, both, &access, log, &none).await;
    let again = again.unwrap().unwrap();
    assert_eq!(
        (&again.id, &again.tag, &again.builder),
        (&pushed.id, &pushed.tag, &pushed.builder)
    );
    assert_eq!(prints(&pushed.id, &["cat", "/said"]), "pushed");
    let images = builder.images(&request.app).await.unwrap();
    assert!(images.iter().any(|image| image.tag == request.tag), "{images:?}");

    // With `Registry` the engine does not keep it.
    let moved = builder
        .push(&built, Export::Registry, &access, log, &none)
        .await
        .unwrap();
    assert_eq!(moved.id, pushed.id);
    assert!(!is_in_engine(&request.tag) && !is_in_engine(&pushed.id));

    assert_eq!(
        builder.delete_pushed(&pushed.id, &access).await.unwrap(),
        Deleted::Done
    );
    assert_eq!(registry.digest(&repository, "c0ffee-1"), None);
    let gone = builder.delete_pushed(&pushed.id, &access).await;
    assert_eq!(gone.unwrap(), Deleted::Done, "it is gone already");
    let wrong = self::access(&registry, "wrong");
    assert_eq!(
        builder.delete_pushed(&pushed.id, &wrong).await.unwrap(),
        Deleted::NotAllowed
    );
    assert!(!harness.text().contains(&password));
}

#[tokio::test]
async fn registry_that_refuses_is_untrusted_or_away_has_its_reason() {
    let harness = Harness::new("refused");
    harness.dockerfile(&[]);
    let mut registry = Registry::start_untrusted();
    let access_with = |password: &str| access(&registry, password);
    let (good, wrong) = (
        access_with(&registry.login.clone().unwrap().1),
        access_with("wrong-pass-77"),
    );
    let mut request = harness.request();
    request.tag = registry.image(&format!("{}:1", unique("acme/shop")));
    let built = harness.built(&request).await;
    let none = CancellationToken::new();
    let push = async |access: &RegistryAccess| {
        let both = Export::EngineAndRegistry;
        harness
            .builder
            .push(&built, both, access, &harness.log, &none)
            .await
    };
    let reason = |result: Result<_, BuildError>| {
        let error: BuildError = result.map(|_: BuiltImage| ()).unwrap_err();
        (error.reason(), format!("{error}: {:?}", error.hint()))
    };
    let (why, message) = reason(push(&good).await);
    assert_eq!(why, Reason::RegistryTlsFailed, "{message}");
    assert!(
        message.contains(&format!("/etc/docker/certs.d/{}/ca.crt", registry.address)),
        "{message}"
    );
    let image = format!("{}@sha256:{}", request.tag, "0".repeat(64));
    let strangers = RegistryAccess {
        ca: None,
        ..good.clone()
    };
    let untrusted = harness.builder.delete_pushed(&image, &strangers).await;
    assert_eq!(untrusted.unwrap_err().reason(), Reason::RegistryTlsFailed);

    let trusted = registry.trust();
    for access in [&wrong, &RegistryAccess::default()] {
        let (why, message) = reason(push(access).await);
        assert_eq!(why, Reason::ImagePushDenied, "{message}");
        assert!(message.contains("spec.image.pushSecretRef"), "{message}");
    }
    let pushed = push(&good).await.unwrap();
    assert!(pushed.id.contains("@sha256:"), "{pushed:?}");
    let unneeded = harness.builder.delete_pushed(&pushed.id, &strangers).await;
    assert_eq!(unneeded.unwrap(), Deleted::Done, "Docker's CA is trusted too");
    registry.stop();
    let (why, message) = reason(push(&good).await);
    assert_eq!(why, Reason::RegistryUnreachable, "{message}");
    let away = harness.builder.delete_pushed(&pushed.id, &good).await;
    assert_eq!(away.unwrap_err().reason(), Reason::RegistryUnreachable);
    drop(trusted);
    assert!(!harness.text().contains("wrong-pass-77"));
}
