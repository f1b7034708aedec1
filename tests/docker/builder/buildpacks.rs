//! Cloud Native Buildpacks: the real lifecycle with two small buildpacks, in a builder image that the test makes.

use davit::api::PaketoBuildpacks;
use davit::builder::{Buildpacks, Export};
use davit::image::RegistryAccess;

use super::*;
use crate::common::buildpacks::{BuildpackImages, docker_build};

fn settings(images: &BuildpackImages) -> BuildType {
    BuildType::Buildpacks(Buildpacks {
        name: "paketoBuildpacks",
        field: "spec.build.paketoBuildpacks",
        builder: images.builder.clone(),
    })
}

fn sum(text: &str) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let line = run(Command::new("sha256sum").arg(file.path()));
    line.split(' ').next().unwrap().to_owned()
}

#[tokio::test]
async fn buildpacks_make_an_image_with_a_cache_and_no_secret_in_it() {
    let harness = Harness::new("buildpacks");
    let images = BuildpackImages::make(&harness.scope);
    harness.write("words.txt", "some words");
    let odd = format!("a \"b\" 'c' $HOME \\ #d \u{fc}\n\n{}", "x".repeat(100 * 1024));
    let mut request = harness.request();
    request.build_type = Some(settings(&images));
    request.args = secrets(&[("ODD", &odd), ("EMPTY", "")]);
    let marker = unique("secret");
    let token = format!("{HIDDEN}{marker}");
    request.secrets = secrets(&[("TOKEN", &token)]);
    let arguments = Arguments::watch(&marker);
    let image = harness.built(&request).await;
    arguments.assert_free();
    Tool::assert_not_in_cache(&marker);
    let said = run(docker().args(["run", "--rm", "--network", "none", &image.id]));
    assert!(said.starts_with("some words"), "{said}");
    for value in [odd.as_str(), "", &token] {
        assert!(said.contains(&sum(value)), "a value was changed: {said}");
    }
    assert!(said.ends_with("1000"), "the user of the run image: {said}");
    assert_eq!(image.details.version.as_deref(), Some("lifecycle 0.20.5"));
    // Only the engine has the images, so they have no digest of a registry.
    let ids = &image.details.digests;
    assert!(
        ids.len() == 2 && ids.iter().all(|id| id.starts_with("sha256:")),
        "{ids:?}"
    );
    let labels = run(docker().args([
        "image",
        "inspect",
        "--format",
        "{{json .Config.Labels}}",
        &image.id,
    ]));
    for label in [
        "io.buildpacks.lifecycle.metadata",
        "io.buildpacks.project.metadata",
        "test/words",
        INSTANCE,
    ] {
        assert!(labels.contains(label), "{label} in {labels}");
    }
    let log = harness.text();
    for line in [
        "[buildpacks] detect",
        "words: made",
        "app: printed ***",
        "[buildpacks] export",
    ] {
        assert!(log.contains(line), "{line} in {log}");
    }
    assert!(!log.contains("can see") && !log.contains("type=cache"), "{log}");
    let saved = harness.source.path().join("saved.tar");
    run(docker().args(["save", "--output"]).arg(&saved).arg(&image.id));
    let history = run(docker().args(["history", "--no-trunc", &image.id]));
    let inspected = run(docker().args(["image", "inspect", &image.id]));
    for place in [&log, &history, &inspected] {
        assert!(!place.contains(HIDDEN) && !place.contains("TOKEN="), "{place}");
    }
    assert!(!holds(&saved, HIDDEN) && !holds(&saved, &odd[..18]));

    // Again, with other content: the cached layer returns, and the image has the new content.
    harness.write("words.txt", "other words");
    let second = harness.built(&request).await;
    let said = run(docker().args(["run", "--rm", "--network", "none", &second.id]));
    assert!(said.starts_with("other words"), "{said}");
    assert_eq!(
        harness.text().matches("words: from the cache").count(),
        1,
        "{}",
        harness.text()
    );
    assert!(
        harness.text().contains("Reusing layer 'test/words:words'"),
        "{}",
        harness.text()
    );
    // With another run image and nothing else, no phase runs: the result is rebased.
    let made = harness.text().matches("[buildpacks] ").count();
    let context = tempfile::tempdir().unwrap();
    let text = format!(
        "FROM {}\nUSER 0\nRUN echo patched > /patched\nUSER 1000:1000\n",
        images.run
    );
    std::fs::write(context.path().join("Dockerfile"), text).unwrap();
    docker_build(&harness.scope, &images.run, context.path());
    let rebased = harness.built(&request).await;
    let patched = [
        "run",
        "--rm",
        "--network",
        "none",
        "--entrypoint",
        "cat",
        &rebased.id,
        "/patched",
    ];
    assert_eq!(run(docker().args(patched)), "patched");
    let log = harness.text();
    assert_eq!(
        log.matches("Reusing layer 'test/words:words'").count(),
        1,
        "{log}"
    );
    let said = run(docker().args(["run", "--rm", "--network", "none", &rebased.id]));
    assert!(said.starts_with("other words"), "{said}");
    assert!(log.matches("[buildpacks] ").count() > made, "{log}");
    // The cache belongs to the Application.
    let mut other = request.clone();
    other.app.name = "other".to_owned();
    other.tag = format!("davit-test/{}:other", harness.scope.namespace);
    harness.built(&other).await;
    assert_eq!(harness.text().matches("words: made").count(), 2);
    request.no_cache = true;
    harness.built(&request).await;
    assert_eq!(harness.text().matches("words: made").count(), 3);

    // A site on top of it.
    let of = Box::new(request.build_type.clone().unwrap());
    let site = StaticSite {
        publish_directory: ".".to_owned(),
        ..StaticSite::default()
    };
    let field = "spec.build.static.publishDirectory";
    request.build_type = Some(BuildType::Published(
        of,
        davit::builder::Published { field, site },
    ));
    let site = harness.built(&request).await;
    assert_eq!(
        http::get(&Served::new(&site.id).url("/words.txt")).body,
        "other words"
    );
    request.build_type = Some(settings(&images));

    // To a registry with TLS and a password, which no step has seen.
    let registry = Registry::start_tls();
    let (user, password) = registry.login.clone().unwrap();
    let access = RegistryAccess {
        logins: RegistryLogins::new(
            [(
                registry.address.clone(),
                RegistryLogin::basic(user, password.as_str()),
            )]
            .into(),
        ),
        ca: None,
    };
    request.tag = registry.image(&format!("{}:1", unique("packs")));
    request.no_cache = false;
    let built = harness.built(&request).await;
    let none = CancellationToken::new();
    let both = Export::EngineAndRegistry;
    let pushed = harness
        .builder
        .push(&built, both, &access, &harness.log, &none)
        .await
        .unwrap();
    assert!(pushed.id.contains("@sha256:"), "{pushed:?}");
    let said = run(docker().args(["run", "--rm", "--network", "none", &pushed.id]));
    assert!(said.starts_with("other words"), "{said}");
    assert!(!harness.text().contains(&password));
}

#[tokio::test]
async fn buildpacks_that_do_not_fit_or_fail_have_their_reasons() {
    let harness = Harness::new("packsfail");
    let images = BuildpackImages::make(&harness.scope);
    harness.write("other.txt", "");
    let mut request = harness.request();
    request.build_type = Some(settings(&images));
    request.secrets = secrets(&[("TOKEN", HIDDEN)]);
    let error = harness.build(&request).await.unwrap_err();
    assert_eq!(
        error.reason(),
        Reason::BuildTypeNotDetected,
        "{error}\n{}",
        harness.text()
    );
    assert!(
        error.hint().unwrap().contains("spec.build.paketoBuildpacks"),
        "{error:?}"
    );
    harness.write("words.txt", "some words");
    harness.write("fail", "");
    let error = harness.build(&request).await.unwrap_err();
    assert_eq!(error.reason(), Reason::BuildFailed, "{error}\n{}", harness.text());
    assert!(
        error
            .to_string()
            .contains("build: a buildpack failed (exit code 51)"),
        "{error}"
    );
    assert!(harness.text().contains("app: failed on purpose"));

    let with = |builder: &str| {
        BuildType::Buildpacks(Buildpacks {
            name: "herokuBuildpacks",
            field: "spec.build.herokuBuildpacks",
            builder: builder.to_owned(),
        })
    };
    request.build_type = Some(with(&images.run));
    let error = harness.build(&request).await.unwrap_err();
    assert_eq!(error.reason(), Reason::InvalidSpec, "{error}");
    assert!(
        error
            .to_string()
            .contains("is not a builder of Cloud Native Buildpacks"),
        "{error}"
    );
    let registry = Registry::start();
    request.build_type = Some(with(&registry.image("builder:1")));
    let error = harness.build(&request).await.unwrap_err();
    assert_eq!(error.reason(), Reason::ImagePullDenied, "{error}");
    assert_eq!(
        PaketoBuildpacks::default().builder,
        "paketobuildpacks/builder-jammy-base"
    );
}
