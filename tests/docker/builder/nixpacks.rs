//! nixpacks: a plan becomes an image on the real engine, on local stand-ins for nixpacks' base images. The program is a stand-in too;
//! tests/conformance/ has the real one.

use davit::api::StaticSite;
use davit::builder::Published;

use super::planner::{ODD, Tool};
use super::*;

const PROGRAM: &str = r#"#!/bin/sh
dir=$(dirname "$0")
if [ "$1" = --version ]; then echo "nixpacks 1.41.0"; exit 0; fi
printf '%s\n' "$@" > "$dir/args"
env > "$dir/env"
cat "$dir/plan.json"
cat "$dir/err" >&2
exit "$(cat "$dir/code")"
"#;

pub fn plan(base: &str) -> serde_json::Value {
    serde_json::json!({
        "buildImage": base,
        "variables": {"MODE": "production $x \"y\"", "NIXPACKS_METADATA": "node", "PLAIN": ODD},
        "phases": {
            "setup": {"nixPkgs": ["nodejs_22"], "nixpkgsArchive": "0123abc"},
            "install": {"dependsOn": ["setup"], "paths": ["/app/bin"], "cacheDirectories": ["/root/.cache/x"], "cmds": [
                "echo one >> /root/.cache/x/runs; wc -l < /root/.cache/x/runs > /app/runs",
                "printf '%s' \"$TOKEN\" | sha256sum > token.sum; printf '%s' \"$PLAIN\" | sha256sum > plain.sum; echo \"token: $TOKEN\""
            ]},
            "build": {"dependsOn": ["install"], "cmds": ["mkdir -p dist bin && cp main.txt dist/index.html && echo '#!/bin/sh' > bin/tool && chmod 755 bin/tool", "tool"]}
        },
        "start": {"cmd": "echo \"$MODE\"; cat main.txt"}
    })
}

pub fn tool(test: &str) -> (Tool, String) {
    let tool = Tool::new(test, "nixpacks", PROGRAM);
    let base = format!("{}-nix:1", tool.harness.scope.namespace);
    crate::common::nixpacks::base(&tool.harness.scope, &base, "");
    tool.write("plan.json", &plan(&base).to_string());
    tool.write("err", "");
    tool.harness.write("main.txt", "source");
    (tool, base)
}

pub fn request_of(tool: &Tool) -> BuildRequest {
    let mut request = tool.harness.request();
    request.build_type = Some(BuildType::Nixpacks);
    request
}

#[tokio::test]
async fn nixpacks_plan_becomes_an_image_and_variables_stay_out_of_it() {
    let (tool, _) = tool("nixpacks");
    let harness = &tool.harness;
    let mut request = request_of(&tool);
    let marker = unique("secret");
    let token = format!("{HIDDEN}-{marker}-{ODD}");
    let long = format!("{ODD}{}", "x".repeat(100 * 1024));
    request.secrets = secrets(&[("TOKEN", &token)]);
    request.args = secrets(&[("PLAIN", &long)]);
    let arguments = Arguments::watch(&marker);
    let image = harness.built(&request).await;
    arguments.assert_free();
    assert_eq!(image.builder, "nixpacks");
    assert_eq!(image.details.version.as_deref(), Some("nixpacks 1.41.0"));
    assert_eq!(image.details.detected.as_deref(), Some("node (nodejs_22)"));
    let log = harness.text();
    assert!(
        log.contains("maintenance mode") && log.contains("token: ***"),
        "{log}"
    );
    assert_eq!(Tool::says(&image, &[]), "production $x \"y\"\nsource");
    assert!(Tool::says(&image, &["cat /installed.nix"]).contains("archive/0123abc.tar.gz"));
    for (file, value) in [("token.sum", &token), ("plain.sum", &long)] {
        let path = harness.source.path().join("value");
        std::fs::write(&path, value).unwrap();
        let sum = run(Command::new("sha256sum").arg(&path));
        let found = Tool::says(&image, &[&format!("cat {file}")]);
        assert_eq!(sum.split(' ').next(), found.split(' ').next(), "{file}");
    }
    // The planner gets the arguments by its environment, and no secret at all.
    assert!(tool.read("args").contains("--env\nPLAIN\n") && tool.read("env").contains("PLAIN=a \"b\""));
    assert!(!tool.read("env").contains(HIDDEN) && !tool.read("args").contains("TOKEN"));
    tool.assert_hidden(&image, HIDDEN);
    Tool::assert_not_in_cache(&marker);
    tool.assert_hidden(&image, &"x".repeat(200));

    // The cache directory outlives the build; a changed secret runs the commands again.
    request.secrets = secrets(&[("TOKEN", "another")]);
    let changed = harness.built(&request).await;
    assert_eq!(Tool::says(&changed, &["cat runs"]), "2");
    request.no_cache = true;
    let clean = harness.built(&request).await;
    assert_eq!(Tool::says(&clean, &["cat runs"]), "1");
}

#[tokio::test]
async fn nixpacks_site_is_served_and_a_missing_directory_is_named() {
    let (tool, base) = tool("nixsite");
    let harness = &tool.harness;
    // A site needs no start command, and a .dockerignore of the source leaves out nothing that Davit adds.
    harness.write(".dockerignore", "*\n!main.txt\n");
    let mut without_start = plan(&base);
    without_start["start"] = serde_json::json!({});
    tool.write("plan.json", &without_start.to_string());
    let mut request = request_of(&tool);
    let error = harness.build(&request).await.unwrap_err();
    assert!(error.to_string().contains("NIXPACKS_START_CMD"), "{error}");
    let site = |directory: &str| {
        let site = StaticSite {
            publish_directory: directory.to_owned(),
            ..StaticSite::default()
        };
        let published = Published {
            field: "spec.build.nixpacks.publishDirectory",
            site,
        };
        Some(BuildType::Published(Box::new(BuildType::Nixpacks), published))
    };
    request.args = secrets(&[("PLAIN", "plain")]);
    request.build_type = site("dist");
    let image = harness.built(&request).await;
    assert_eq!(image.builder, "nixpacks");
    assert_eq!(http::get(&Served::new(&image.id).url("/")).body, "source");
    request.build_type = site("nope");
    let error = harness.build(&request).await.unwrap_err();
    assert_eq!(
        error.reason(),
        Reason::PublishDirectoryNotFound,
        "{error}\n{}",
        harness.text()
    );
    let message = Problem::of(&error).message;
    assert!(
        message.contains("nope") && message.contains("spec.build.nixpacks.publishDirectory"),
        "{message}"
    );
}

#[tokio::test]
async fn nixpacks_that_cannot_plan_names_the_reason() {
    let (tool, _) = tool("nixfails");
    let harness = &tool.harness;
    tool.write(
        "plan.json",
        r#"{"providers": [], "buildImage": "x", "phases": {}}"#,
    );
    let error = harness.build(&request_of(&tool)).await.unwrap_err();
    assert_eq!(error.reason(), Reason::BuildTypeNotDetected, "{error}");
    tool.write("code", "1");
    tool.write(
        "err",
        "Error: Failed to parse Nixpacks config file `nixpacks.toml`\n\nCaused by:\n    expected a right bracket\n\nStack backtrace:\n   0: x\n",
    );
    let error = harness.build(&request_of(&tool)).await.unwrap_err();
    assert!(
        matches!(error, BuildError::Failed(_)) && error.to_string().contains("expected a right bracket"),
        "{error}"
    );
    assert!(!error.to_string().contains("backtrace"), "{error}");
    let mut steering = request_of(&tool);
    steering.secrets = secrets(&[("NIXPACKS_PKGS", "jq")]);
    let problem = Problem::of(&harness.build(&steering).await.unwrap_err());
    assert!(
        problem.message.contains("move NIXPACKS_PKGS to spec.build.args"),
        "{}",
        problem.message
    );
    std::fs::remove_file(tool.dir.path().join("nixpacks")).unwrap();
    let problem = Problem::of(&harness.build(&request_of(&tool)).await.unwrap_err());
    assert!(
        problem.message.contains("nixpacks is not installed") && problem.message.contains("--nixpacks"),
        "{}",
        problem.message
    );
}
