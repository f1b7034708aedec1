use super::*;
use crate::source::docker_config_json::registry_logins;

#[test]
fn an_image_has_one_long_name() {
    for (image, whole) in [
        ("nginx", "docker.io/library/nginx:latest"),
        ("nginx:1.27", "docker.io/library/nginx:1.27"),
        ("acme/shop", "docker.io/acme/shop:latest"),
        ("index.docker.io/library/nginx", "docker.io/library/nginx:latest"),
        ("127.0.0.1:5000/shop:v1", "127.0.0.1:5000/shop:v1"),
        ("localhost/shop", "localhost/shop:latest"),
        ("r.example.com/a/b/c:x", "r.example.com/a/b/c:x"),
    ] {
        let Name::At(name) = Name::parse(image).unwrap() else {
            panic!("{image}")
        };
        let written = format!(
            "{}/{}:{}",
            registry_name(name.registry()),
            name.repository(),
            name.tag().unwrap()
        );
        assert_eq!(written, whole, "{image}");
    }
    let id = format!("sha256:{}", "a".repeat(64));
    assert_eq!(Name::parse(&id).unwrap(), Name::Id(id));
    let error = Name::parse("Shop").unwrap_err();
    assert_eq!(error.reason(), Reason::InvalidSpec);
}

#[test]
fn docker_hub_is_found_by_its_old_address() {
    let json = r#"{"auths": {"https://index.docker.io/v1/": {"auth": "dTpw"}}}"#;
    let data = [(".dockerconfigjson".to_owned(), Secret::from(json))].into();
    let logins = registry_logins("s", &data).unwrap();
    assert!(login_for("nginx", &logins).unwrap().is_some());
    assert!(login_for("docker.io/acme/shop:1", &logins).unwrap().is_some());
    assert!(login_for("r.example.com/nginx", &logins).unwrap().is_none());
}

#[test]
fn a_registry_that_repeats_the_login_tells_nobody() {
    let login = RegistryLogin::basic("u", "S3cr3t-Pass-77");
    let error = Error::DockerResponseServerError {
        status_code: 500,
        message: "denied: you sent Basic dTpTM2NyM3QtUGFzcy03Nw== (S3cr3t-Pass-77)".to_owned(),
    };
    let said = explain("x", error, &masker(Some(&login))).to_string();
    assert!(said.contains("you sent Basic ***== (***)"), "{said}");
}

#[test]
fn what_the_engine_says_has_a_reason() {
    for (status, said, reason) in [
        (404, "manifest unknown: manifest unknown", Reason::ImageNotFound),
        (
            404,
            "pull access denied for x, repository does not exist or may require 'docker login': denied: requested access to the resource is denied",
            Reason::ImagePullDenied,
        ),
        (
            500,
            "Head \"http://r/v2/none/manifests/1\": no basic auth credentials",
            Reason::ImagePullDenied,
        ),
        (
            401,
            "unauthorized: authentication required",
            Reason::ImagePullDenied,
        ),
        (
            500,
            "Get \"http://r/v2/\": dial tcp 127.0.0.1:1: connect: connection refused",
            Reason::RegistryUnreachable,
        ),
        (
            500,
            "Get \"https://r/v2/\": dial tcp: lookup r on 1.1.1.1:53: no such host",
            Reason::RegistryUnreachable,
        ),
        (
            500,
            "toomanyrequests: You have reached your pull rate limit",
            Reason::RegistryUnreachable,
        ),
        (
            500,
            "Get \"https://r/v2/\": x509: certificate signed by unknown authority",
            Reason::RegistryTlsFailed,
        ),
        (
            500,
            "Get \"https://r/v2/\": http: server gave HTTP response to HTTPS client",
            Reason::RegistryTlsFailed,
        ),
        (
            0,
            "failed to register layer: write /x: no space left on device",
            Reason::DiskFull,
        ),
        (500, "something else", Reason::ImagePullFailed),
    ] {
        let error = if status == 0 {
            Error::DockerStreamError {
                error: said.to_owned(),
            }
        } else {
            Error::DockerResponseServerError {
                status_code: status,
                message: said.to_owned(),
            }
        };
        let error = explain("x", error, &Masker::default());
        assert_eq!(error.reason(), reason, "{said}");
        if reason == Reason::RegistryUnreachable {
            let told = crate::error::Problem::of(&error).message;
            assert!(told.contains("check spec.source.docker.image"), "{told}");
        }
    }
}
