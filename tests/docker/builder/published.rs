//! A site on top of another build type: what that type builds is served.

use davit::builder::Published;

use super::*;

fn on_top(of: BuildType, site: StaticSite) -> BuildType {
    let field = "spec.build.static.publishDirectory";
    BuildType::Published(Box::new(of), Published { field, site })
}

#[tokio::test]
async fn site_of_a_dockerfile_is_served_with_its_fields() {
    let harness = Harness::new("ontop");
    // The stage of the result has no name, and what looks like a stage is none.
    harness.write(
        "Dockerfile",
        "FROM busybox:davit-test AS tools\nFROM busybox:davit-test\nCOPY . /src\nARG WORD\n\
         RUN mkdir -p '/out/a $b' && cp /src/page.txt '/out/a $b/index.html' && echo \"$WORD\" > '/out/a $b/word' && \\\n\
         echo hidden > '/out/a $b/.hidden'\n# FROM scratch\n",
    );
    harness.write("page.txt", "built");
    harness.write(".dockerignore", "Dockerfile\n");
    let mut request = harness.request();
    request.args = secrets(&[("WORD", "argument")]);
    let dockerfile = || BuildType::Dockerfile(Dockerfile::default());
    let site = StaticSite {
        publish_directory: "/out/a $b".to_owned(),
        spa: true,
        ..StaticSite::default()
    };
    request.build_type = Some(on_top(dockerfile(), site.clone()));
    let image = harness.built(&request).await;
    assert_eq!(image.builder, "dockerfile");
    let served = Served::new(&image.id);
    for (path, body) in [
        ("/", "built"),
        ("/word", "argument\n"),
        ("/.hidden", "404 Not Found\n"),
    ] {
        assert_eq!(http::get(&served.url(path)).body, body, "{path}");
    }
    let route = http::request("GET", &served.url("/route"))
        .header("Accept: text/html")
        .send();
    assert_eq!((route.status, route.body.as_str()), (200, "built"));

    // A target stage, and an image of one's own.
    request.build_type = Some(on_top(
        BuildType::Dockerfile(Dockerfile {
            target: Some("tools".to_owned()),
            ..Dockerfile::default()
        }),
        StaticSite {
            publish_directory: "etc".to_owned(),
            image: Some("busybox:davit-test".to_owned()),
            image_path: Some("/srv/etc".to_owned()),
            spa: false,
        },
    ));
    let image = harness.built(&request).await;
    assert!(prints(&image.id, &["cat", "/srv/etc/passwd"]).contains("root"));

    request.build_type = Some(on_top(
        dockerfile(),
        StaticSite {
            publish_directory: "/nope".to_owned(),
            ..site.clone()
        },
    ));
    let error = harness.build(&request).await.unwrap_err();
    assert_eq!(
        error.reason(),
        Reason::PublishDirectoryNotFound,
        "{error}\n{}",
        harness.text()
    );
    request.build_type = Some(on_top(
        dockerfile(),
        StaticSite {
            publish_directory: "/out/../etc".to_owned(),
            ..site
        },
    ));
    assert_eq!(
        harness.build(&request).await.unwrap_err().reason(),
        Reason::NotSupported
    );
}
