//! Base images of a private registry, in every build type that has some beside a Dockerfile (see `builder.rs`) and buildpacks (see
//! `tests/conformance/buildkitd/registry.rs`).

use super::*;

/// A private registry with an image under a name of the test's own, and the credential.
fn private(image: &str) -> (Registry, String, RegistryLogins) {
    let registry = Registry::start();
    let name = format!("{}:1", unique("private"));
    registry.push(image, &name);
    let (user, password) = registry.login.clone().unwrap();
    let login = RegistryLogin::basic(user, password.as_str());
    let logins = RegistryLogins::new([(registry.address.clone(), login)].into());
    let image = registry.image(&name);
    (registry, image, logins)
}

/// Asserts that a build fails without the credential, and succeeds with it.
async fn assert_pulls_with_credential(harness: &Harness, request: &BuildRequest, logins: RegistryLogins) {
    let error = harness.build(request).await.unwrap_err();
    assert_eq!(error.reason(), Reason::ImagePullDenied, "{error}");
    assert!(
        error.hint().unwrap().contains("spec.build.pullSecretRef"),
        "{error}"
    );
    let mut allowed = request.clone();
    allowed.registries = logins;
    harness.built(&allowed).await;
}

#[tokio::test]
async fn nixpacks_pulls_a_private_base_image_with_the_credential() {
    let (tool, base) = nixpacks::tool("privatenix");
    let (_registry, image, logins) = private(&base);
    tool.write("plan.json", &nixpacks::plan(&image).to_string());
    let mut request = nixpacks::request_of(&tool);
    // The plan has this variable with several lines; as an argument it reaches the commands in another way.
    request.args = secrets(&[("PLAIN", "plain")]);
    assert_pulls_with_credential(&tool.harness, &request, logins).await;
}

#[tokio::test]
async fn railpack_pulls_a_private_base_image_with_the_credential() {
    let tool = railpack::tool("privaterail");
    let (_registry, image, logins) = private("busybox:davit-test");
    tool.write("plan.json", &railpack::PLAN.replace("busybox:davit-test", &image));
    tool.harness.write("main.txt", "source");
    assert_pulls_with_credential(&tool.harness, &railpack::request_of(&tool), logins).await;
}

#[tokio::test]
async fn site_pulls_a_private_server_with_the_credential() {
    let harness = Harness::new("privatesite");
    let (_registry, image, logins) = private("busybox:davit-test");
    harness.write("index.html", "home");
    let mut request = harness.request();
    request.build_type = Some(BuildType::Static(StaticSite {
        image: Some(image),
        image_path: Some("/srv".to_owned()),
        ..StaticSite::default()
    }));
    assert_pulls_with_credential(&harness, &request, logins).await;
}
