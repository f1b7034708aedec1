//! The real nixpacks from the source to a container, on a local stand-in for its base image.

use super::*;
use crate::common::peers;

/// npm of the base image: it records the variables that it gets.
const NPM: &str = r#"
RUN printf '#!/bin/sh\nprintf "%%s" "$NPM_TOKEN" | sha256sum > /app/token.sum\nprintf "%%s" "$ODD" | sha256sum > /app/odd.sum\n\
case "$*" in ci) echo "token: $NPM_TOKEN" ;; "run build") mkdir -p dist; cp index.js dist/index.html ;; "run start") cat index.js ;; esac\n' > /bin/npm && \
    chmod 755 /bin/npm
"#;

fn sum(harness: &Harness, value: &str) -> String {
    let file = harness.dir.path().join("value");
    std::fs::write(&file, value).unwrap();
    let line = run(Command::new("sha256sum").arg(&file));
    line.split(' ').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn project_is_planned_by_nixpacks_built_and_run() {
    let home = tempfile::tempdir().unwrap();
    let harness = Harness::with("bknixpacks", |options| {
        options.nixpacks.program = peers::file("nixpacks-1.41.0/nixpacks").into();
        options.nixpacks.home = home.path().to_owned();
    });
    let base = format!("{}-nix:1", harness.scope.namespace);
    crate::common::nixpacks::base(&harness.scope, &base, NPM);
    let plan = include_str!("../../../src/builder/nixpacks/testdata/node.json");
    let plan: serde_json::Value = serde_json::from_str(plan).unwrap();
    let image = plan["buildImage"].as_str().unwrap();
    harness
        .buildkitd
        .push_ghcr(&base, image.strip_prefix("ghcr.io/").unwrap());

    let package = "{\"name\":\"shop\",\"scripts\":{\"build\":\"node build.js\",\"start\":\"node index.js\"}}";
    harness.write("package.json", package);
    harness.write("package-lock.json", "{\"lockfileVersion\":3,\"packages\":{}}");
    harness.write("index.js", "console.log('shop')");
    harness.write(
        "nixpacks.toml",
        "[phases.build]\ncmds = [\"...\", \"echo built > /app/extra.txt\"]\n",
    );
    let mut request = harness.request();
    request.build_type = Some(BuildType::Nixpacks);
    let odd = format!(
        "a \"b\" 'c' $HOME `id` \\ #d \u{fc} \u{1f600}\n\tnext\n\n{}",
        "x".repeat(100 * 1024)
    );
    let token = "s3cret-npm-token-77";
    request.args = [("NIXPACKS_NODE_VERSION", "20"), ("ODD", &odd)]
        .map(|(name, value)| (name.to_owned(), Secret::from(value)))
        .into();
    request.secrets = [("NPM_TOKEN".to_owned(), Secret::from(token))].into();
    let path = harness.dir.path().join("log");
    let log = JobLog::open(&path, Masker::new(&[Secret::from(token)])).unwrap();
    let built = harness
        .builder
        .build(&request, &log, &CancellationToken::new())
        .await;
    let text = std::fs::read_to_string(&path).unwrap();
    let image = built.unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(image.details.version.as_deref(), Some("nixpacks 1.41.0"));
    assert!(
        image.details.detected.as_deref().unwrap().contains("node"),
        "{image:?}"
    );
    let says = |words: &[&str]| {
        run(docker()
            .args(["run", "--rm", "--network", "none", &image.id])
            .args(words))
    };
    assert_eq!(says(&[]), "console.log('shop')");
    assert_eq!(says(&["cat /app/extra.txt"]), "built");
    assert!(says(&["cat /installed.nix"]).contains("nodejs_20"), "{text}");
    assert!(says(&["cat /app/token.sum"]).starts_with(&sum(&harness, token)));
    assert!(says(&["cat /app/odd.sum"]).starts_with(&sum(&harness, &odd)));
    assert!(text.contains("token: ***") && !text.contains(token), "{text}");
    let saved = harness.dir.path().join("saved.tar");
    run(docker().args(["save", "--output"]).arg(&saved).arg(&image.id));
    for hidden in [token, &odd[..18]] {
        let search = ["--quiet", "--text", "--fixed-strings", "--", hidden];
        assert!(
            !crate::common::try_run(Command::new("grep").args(search).arg(&saved)).0,
            "{hidden}"
        );
    }
}
