//! Unusual values arrive in a Dockerfile unchanged: as argument, as secret, and in `.env`.

use davit::builder::env_file;

use super::*;

#[tokio::test]
async fn unusual_values_arrive_unchanged_in_a_dockerfile() {
    let harness = Harness::new("values");
    let digest = |text: &str| format!("printf '%s' \"{text}\" | sha256sum");
    harness.dockerfile(&[
        "ARG ODD",
        &format!("RUN {} > /argument", digest("$ODD")),
        "RUN --mount=type=secret,id=ODD,required=true sha256sum < /run/secrets/ODD > /secret",
        "COPY .env /context/",
        &format!("RUN . /context/.env; {} > /variable", digest("$ODD")),
    ]);
    let odd = format!(
        "a \"b\" it's 'c' $HOME `id` \\ #d \u{fc} \u{1f600}\n\tnext line\n{}",
        "x".repeat(100 * 1024)
    );
    let mut request = harness.request();
    request.args = secrets(&[("ODD", &odd)]);
    request.secrets = secrets(&[("ODD", &odd)]);
    request.env_file = Some(env_file::text(
        request.secrets.iter().map(|(name, value)| (name.as_str(), value)),
    ));
    let image = harness.built(&request).await;
    let file = harness.source.path().join("odd");
    std::fs::write(&file, &odd).unwrap();
    let expected = run(Command::new("sha256sum").arg(&file));
    let expected = expected.split(' ').next().unwrap();
    for place in ["/argument", "/secret", "/variable"] {
        let found = prints(&image.id, &["cat", place]);
        assert!(found.starts_with(expected), "{place}: {found}");
    }
}

#[tokio::test]
async fn syntax_line_names_a_frontend_that_is_pulled_with_credentials() {
    let harness = Harness::new("syntax");
    let registry = Registry::start();
    let (user, password) = registry.login.clone().unwrap();
    let repository = unique("frontend");
    // Not a frontend: it ends without a result.
    registry.push("busybox:davit-test", &format!("{repository}:1"));
    let frontend = registry.image(&format!("{repository}:1"));
    harness.write(
        "Dockerfile",
        &format!("# syntax={frontend}\nFROM busybox:davit-test\n"),
    );
    let mut request = harness.request();
    let error = harness.build(&request).await.unwrap_err();
    assert_eq!(error.reason(), Reason::ImagePullDenied, "{error}");
    assert!(error.to_string().contains(&frontend), "{error}");
    let login = RegistryLogin::basic(user, password.as_str());
    request.registries = RegistryLogins::new([(registry.address.clone(), login)].into());
    let error = harness.build(&request).await.unwrap_err();
    assert_eq!(error.reason(), Reason::BuildFailed, "{error}");
    assert!(!harness.text().contains(&password));
}
