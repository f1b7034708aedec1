//! An image from a buildkitd straight to a registry with TLS and a password, without a Docker Engine.

use davit::builder::{Buildpacks, Export};
use davit::image::{Deleted, RegistryAccess};
use davit::model::RegistryLogin;

use super::*;
use crate::common::buildpacks::BuildpackImages;

/// What a builder knows of a registry, with this password.
fn access(registry: &Registry, password: &str) -> RegistryAccess {
    let (user, _) = registry.login.clone().unwrap();
    let login = RegistryLogin::basic(user, password);
    RegistryAccess {
        logins: RegistryLogins::new([(registry.address.clone(), login)].into()),
        ca: registry.ca.clone().map(String::into_bytes),
    }
}

fn password(registry: &Registry) -> String {
    registry.login.clone().unwrap().1
}

/// What an image of the registry prints, in a container of the machine's engine.
async fn prints(harness: &Harness, registry: &Registry, image: &BuiltImage) -> String {
    let client = Docker::connect_with_unix(SOCKET, 120, bollard::API_DEFAULT_VERSION).unwrap();
    let engine = DockerBuilder::new(client, BuilderOptions::new(SOCKET, &harness.options.instance));
    let access = access(registry, &password(registry));
    let (log, none) = (harness.log().0, CancellationToken::new());
    let pulled = engine
        .find_pushed(&image.tag, Export::EngineAndRegistry, &access, &log, &none)
        .await;
    assert_eq!(pulled.unwrap().unwrap().id, image.id);
    let said = run(docker().args(["run", "--rm", "--network", "none", &image.id]));
    engine.remove(&image.tag).await.unwrap();
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn image_goes_from_buildkitd_to_a_registry_without_an_engine() {
    let mut registry = Registry::start_tls();
    let harness = Harness::without_engine("bkpush", &[&registry], |_| {});
    harness.write(
        "Dockerfile",
        "FROM busybox:davit-test\nRUN echo pushed > /said\nCMD [\"cat\", \"/said\"]\n",
    );
    let password = password(&registry);
    let access = access(&registry, &password);
    let repository = unique("acme/shop");
    let mut request = harness.request();
    request.tag = registry.image(&format!("{repository}:c0ffee-1"));
    request.labels = [("org.example.label".to_owned(), "a b".to_owned())].into();
    request.push = Some(access.clone());
    let (builder, none) = (&harness.builder, CancellationToken::new());
    let (log, path) = harness.log();
    let find = async || {
        let found = builder.find_pushed(&request.tag, Export::Registry, &access, &log, &none);
        found.await.unwrap()
    };
    assert_eq!(find().await, None);
    let image = builder.build(&request, &log, &none).await.unwrap();
    let digest = registry.digest(&repository, "c0ffee-1").unwrap();
    assert_eq!(image.id, format!("{}@{digest}", request.tag));
    let pushed = builder
        .push(&image, Export::Registry, &access, &log, &none)
        .await
        .unwrap();
    assert_eq!(pushed, image);
    // Before a build it is looked for, and then not built again.
    assert_eq!(find().await.unwrap().id, image.id);
    assert_eq!(prints(&harness, &registry, &image).await, "pushed");
    let engine = docker_image_ids(&harness);
    assert_eq!(engine, "", "the engine has an image of it");

    // The registry refuses, does not answer, or cannot be trusted.
    let build = async |request: &BuildRequest| harness.build(request).await.unwrap_err();
    let mut refused = request.clone();
    refused.push = Some(self::access(&registry, "wrong-pass-77"));
    refused.tag = registry.image(&format!("{repository}:2"));
    let error = build(&refused).await;
    assert_eq!(error.reason(), Reason::ImagePushDenied, "{error}");
    assert!(
        error.hint().unwrap().contains("spec.image.pushSecretRef"),
        "{error}"
    );
    let stranger = Registry::start_untrusted();
    let mut untrusted = request.clone();
    untrusted.push = Some(self::access(&stranger, &self::password(&stranger)));
    untrusted.tag = stranger.image(&format!("{repository}:2"));
    let error = build(&untrusted).await;
    assert_eq!(error.reason(), Reason::RegistryTlsFailed, "{error}");
    assert!(error.hint().unwrap().contains("buildkitd.toml"), "{error}");
    // Another credential for a base image of the same registry.
    harness.write(
        "Dockerfile",
        &format!("FROM {}\n", registry.image(&format!("{repository}:c0ffee-1"))),
    );
    let mut other = request.clone();
    let login = RegistryLogin::basic("another", "pull-pass-31");
    other.registries = RegistryLogins::new([(registry.address.clone(), login)].into());
    let error = build(&other).await;
    assert_eq!(error.reason(), Reason::NotSupported, "{error}");
    assert!(error.to_string().contains("different credentials"), "{error}");

    let deleted = builder.delete_pushed(&image.id, &access).await.unwrap();
    assert_eq!(deleted, Deleted::Done);
    assert_eq!(find().await, None);
    registry.stop();
    harness.write("Dockerfile", "FROM busybox:davit-test\nRUN echo pushed > /said\n");
    let error = build(&request).await;
    assert_eq!(error.reason(), Reason::RegistryUnreachable, "{error}");
    let away = builder
        .find_pushed(&request.tag, Export::Registry, &access, &log, &none)
        .await;
    assert_eq!(away.unwrap_err().reason(), Reason::RegistryUnreachable);
    let text = std::fs::read_to_string(path).unwrap() + &harness.buildkitd.log();
    for hidden in [&*password, "wrong-pass-77", "pull-pass-31"] {
        assert!(!text.contains(hidden), "{text}");
    }
}

/// The images of the machine's engine that bear the labels of this builder.
fn docker_image_ids(harness: &Harness) -> String {
    let filter = format!("label={}={}", davit::builder::INSTANCE, harness.options.instance);
    run(docker().args(["image", "ls", "--quiet", "--filter", &filter]))
}

#[tokio::test(flavor = "multi_thread")]
async fn image_that_no_registry_gets_is_refused_without_an_engine() {
    let harness = Harness::without_engine("bknoengine", &[], |_| {});
    harness.write("Dockerfile", "FROM busybox:davit-test\n");
    let error = harness.build(&harness.request()).await.unwrap_err();
    assert_eq!(error.reason(), Reason::NotSupported, "{error}");
    assert_eq!(harness.builder.images(&harness.request().app).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn buildpacks_of_a_private_registry_make_an_image_in_it_without_an_engine() {
    let registry = Registry::start_tls();
    // Davit itself reads the labels of the builder.
    let trusted = registry.trust();
    let harness = Harness::without_engine("bkpacks", &[&registry], |_| {});
    let repository = unique("packs");
    let run_image = registry.image(&format!("{repository}/run:1"));
    let images = BuildpackImages::for_run_image(&harness.scope, &run_image);
    let run_digest = registry.push(&images.run, &format!("{repository}/run:1"));
    let builder_digest = registry.push(&images.builder, &format!("{repository}/builder:1"));
    harness.write("words.txt", "some words");
    let access = access(&registry, &password(&registry));
    let mut request = harness.request();
    request.build_type = Some(BuildType::Buildpacks(Buildpacks {
        name: "paketoBuildpacks",
        field: "spec.build.paketoBuildpacks",
        builder: registry.image(&format!("{repository}/builder:1")),
    }));
    request.secrets = [("TOKEN".to_owned(), Secret::from("a token"))].into();
    request.registries = access.logins.clone();
    request.push = Some(access.clone());
    request.tag = registry.image(&format!("{repository}/shop:1"));
    let image = match harness.build(&request).await {
        Ok(image) => image,
        Err(error) => panic!("{error}\n{}", std::fs::read_to_string(harness.log().1).unwrap()),
    };
    let digests = [builder_digest, run_digest];
    assert!(
        image
            .details
            .digests
            .iter()
            .zip(&digests)
            .all(|(image, digest)| image.ends_with(digest)),
        "{:?} {digests:?}",
        image.details
    );
    let said = prints(&harness, &registry, &image).await;
    assert!(said.starts_with("some words") && said.ends_with("1000"), "{said}");
    let log = std::fs::read_to_string(harness.log().1).unwrap();
    assert!(
        !log.contains("can see") && !log.contains(&password(&registry)),
        "{log}"
    );
    // Without a credential the builder cannot be read.
    request.registries = RegistryLogins::default();
    let error = harness.build(&request).await.unwrap_err();
    assert_eq!(error.reason(), Reason::ImagePullDenied, "{error}");
    drop(trusted);
}
