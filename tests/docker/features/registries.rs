//! Images in a registry with TLS and a password, from the user's side.

use super::*;
use crate::common::docker::docker;
use crate::common::registry::Registry;
use crate::common::{try_run, unique};

#[test]
fn built_image_runs_from_its_registry_and_is_deleted_there() {
    let registry = Registry::start_tls();
    let config = tempfile::tempdir().unwrap();
    let file = config.path().join("config.json");
    std::fs::write(&file, registry.docker_config()).unwrap();
    let prefix = format!("{}/{}", registry.address, unique("davit"));
    let flags = ["--registry", &prefix, "--registry-config", file.to_str().unwrap()];
    let davit = Davit::with_flags("registry", &flags);
    let repo = GitRepo::with(&[("Dockerfile", &web("one"))]);
    let config = registry.docker_config();
    let ca = registry.ca.clone().unwrap();
    davit.create_secret("registry", &[(".dockerconfigjson", &config), ("ca.crt", &ca)]);
    let repository = registry.image(&unique("acme/shop"));
    let history = json!({"succeeded": 1, "failed": 1});
    davit.apply(
        "shop",
        json!({"source": git(&repo), "history": history, "stopGracePeriod": "1s",
            "image": {"repository": repository, "pushSecretRef": {"name": "registry"}}}),
    );
    davit.apply("other", json!({"source": git(&repo)}));
    for (name, expected) in [
        ("shop", format!("{repository}:")),
        ("other", format!("{prefix}/registry/other:")),
    ] {
        davit.wait_until_done(name);
        let release = davit.releases_of(name).remove(0);
        let image = release["status"]["image"].as_str().unwrap().to_owned();
        assert!(image.starts_with(&expected), "{image}");
        let (tag, digest) = image.split_once('@').unwrap();
        let (path, tag) = tag.rsplit_once(':').unwrap();
        let path = path.strip_prefix(&format!("{}/", registry.address)).unwrap();
        assert_eq!(registry.digest(path, tag).as_deref(), Some(digest));
        assert_eq!(inspect(&davit, name)["Config"]["Image"], image.as_str());
        assert_eq!(exec(&davit, name, &["cat", "/www/index.html"]), "one");
    }
    let shop = davit.releases_of("shop").remove(0);
    let image = shop["status"]["image"].as_str().unwrap();
    let (path, tag) = image.split_once('@').unwrap().0.rsplit_once(':').unwrap();
    let path = path.strip_prefix(&format!("{}/", registry.address)).unwrap();
    repo.commit("Two", &[("Dockerfile", &web("two"))]);
    davit.request_reconcile("shop");
    active(&davit, "shop", 2);
    wait_for("the first image to be deleted", Duration::from_secs(20), || {
        registry.digest(path, tag).is_none().then_some(())
    });
    assert!(!try_run(docker().args(["image", "inspect", image])).0);
    let second = davit.releases_of("shop").pop().unwrap()["status"]["image"].clone();
    let second = second.as_str().unwrap();
    let tag = second.split_once('@').unwrap().0.rsplit_once(':').unwrap().1;
    assert!(registry.digest(path, tag).is_some());
    davit.delete_and_wait("shop");
    assert_eq!(registry.digest(path, tag), None);
    assert!(!try_run(docker().args(["image", "inspect", second])).0);
    davit.delete_and_wait("other");
    let password = &registry.login.as_ref().unwrap().1;
    assert!(!davit.log().contains(password), "{}", davit.log());
}
