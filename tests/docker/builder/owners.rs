//! Two Davits that were given the same name: neither removes the images of the other one.

use davit::builder::image_mark;

use super::*;
use crate::common::docker::import;

impl Harness {
    /// Another builder of the same name.
    fn namesake(&self, installation: &str) -> DockerBuilder {
        let mut options = BuilderOptions::new(SOCKET, &self.instance);
        options.installation = installation.into();
        let docker = Docker::connect_with_unix(SOCKET, 120, bollard::API_DEFAULT_VERSION).unwrap();
        DockerBuilder::new(docker, options)
    }
}

fn is_there(name: &str) -> bool {
    try_run(docker().args(["image", "inspect", name])).0
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_of_one_name_remove_only_their_own_images() {
    let harness = Harness::new("owners");
    let (one, two) = (harness.namesake("one"), harness.namesake("two"));
    harness.dockerfile(&[&format!("ENV MADE={}", unique("made"))]);
    let app = harness.request().app;
    let named = |version: &str| {
        format!(
            "davit.local/{}/{}/shop:{version}",
            harness.instance, app.namespace
        )
    };
    let build = async |builder: &DockerBuilder, tag: &str| {
        let mut request = harness.request();
        request.tag = tag.to_owned();
        let cancel = CancellationToken::new();
        builder.build(&request, &harness.log, &cancel).await.unwrap()
    };

    // Both build, and one of them twice under one tag.
    let lost = build(&two, &named("c0-2")).await;
    harness.dockerfile(&[&format!("ENV MADE={}", unique("made"))]);
    let built = [
        build(&one, &named("c0-1")).await,
        build(&two, &named("c0-2")).await,
    ];
    assert_ne!(lost.id, built[1].id);
    // Both pull the same image; one of them did when there were no marks yet.
    let image = format!("davit-test/{}:pulled", harness.scope.namespace);
    import(
        &image,
        &[&format!("{NAMESPACE_LABEL}={}", harness.scope.namespace)],
    );
    let [by_one, by_two] = ["one", "two"].map(|by| named(&format!("d1-1{}", image_mark(by))));
    let older = named("d0-0");
    for (builder, tag) in [(&one, &older), (&one, &by_one), (&two, &by_two)] {
        assert!(builder.adopt(&image, tag, true).await.unwrap());
    }
    run(docker().args(["rmi", &image]));
    // The second one pulled what the first one built.
    let across = named(&format!("d2-2{}", image_mark("two")));
    assert!(two.adopt(&built[0].id, &across, false).await.unwrap());

    assert_eq!(two.find(&built[0].tag).await.unwrap(), None);
    for theirs in [&built[1].tag, &lost.id, &by_two, &across] {
        one.remove(theirs).await.unwrap();
        assert!(is_there(theirs), "{theirs}");
    }
    let mut found: Vec<_> = one.images(&app).await.unwrap();
    found.sort_unstable_by(|one, other| one.tag.cmp(&other.tag));
    let tags: Vec<_> = found.iter().map(|image| image.tag.as_str()).collect();
    assert_eq!(tags, [&built[0].tag, &older, &by_one]);
    for image in &found {
        one.remove(&image.tag).await.unwrap();
        assert!(!is_there(&image.tag), "{}", image.tag);
    }
    assert_eq!(one.images(&app).await.unwrap(), []);

    let mut tags: Vec<_> = two
        .images(&app)
        .await
        .unwrap()
        .into_iter()
        .map(|it| it.tag)
        .collect();
    tags.sort_unstable();
    let mut expected = [built[1].tag.clone(), lost.id.clone(), by_two, across];
    expected.sort_unstable();
    assert_eq!(tags, expected);
    for tag in tags {
        assert!(is_there(&tag), "{tag}");
        two.remove(&tag).await.unwrap();
        assert!(!is_there(&tag), "{tag}");
    }
    assert_eq!(two.images(&app).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn image_of_another_namespace_is_no_base() {
    let harness = Harness::new("otherbase");
    let named = |namespace: &str| format!("davit.local/{}/{namespace}/shop:1", harness.instance);
    let (own, others) = (named(&harness.scope.namespace), named("others"));
    harness.dockerfile(&[&format!("ENV MADE={}", unique("made"))]);
    for tag in [&own, &others] {
        let mut request = harness.request();
        request.tag.clone_from(tag);
        harness.built(&request).await;
    }
    harness.write("Dockerfile", &format!("FROM {own}\n"));
    harness.built(&harness.request()).await;
    for text in [
        format!("FROM {others}\n"),
        format!("ARG BASE={others}\nFROM ${{BASE}}\n"),
        format!("FROM {own}\nCOPY --from={others} /bin /other\n"),
    ] {
        harness.write("Dockerfile", &text);
        let error = harness.build(&harness.request()).await.unwrap_err();
        assert!(
            matches!(&error, BuildError::ImageOfOthers(image) if *image == others),
            "{error}"
        );
        assert_eq!(error.reason(), Reason::ImagePullDenied);
    }
}
