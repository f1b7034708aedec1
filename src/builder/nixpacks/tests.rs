//! The plans that nixpacks 1.41.0 makes of small projects (tests/conformance/nixpacks.rs compares them with the program), and plans
//! that cannot be built.

use super::dockerfile::{Context, convert};
use super::plan::Plan;

fn dockerfile(plan: &str, variables: &[&str]) -> Result<String, String> {
    let plan: Plan = serde_json::from_str(plan).map_err(|error| error.to_string())?;
    let context = Context {
        cache_key: "key",
        hash: "hash",
        variables,
    };
    convert(&plan, &context)
}

/// `UPDATE=1` writes the Dockerfiles anew.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "Dockerfiles are written anew by request"
)]
fn plan_of_each_project_becomes_its_dockerfile() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/builder/nixpacks/testdata");
    let update = std::env::var_os("UPDATE").is_some();
    let mut count = 0;
    for entry in std::fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        count += 1;
        let text = dockerfile(&std::fs::read_to_string(&path).unwrap(), &["TOKEN"]).unwrap();
        assert!(text.lines().all(|line| line.len() < 60_000), "{}", path.display());
        assert!(!text.contains("ARG "), "{text}");
        let expected = path.with_extension("Dockerfile");
        if update {
            std::fs::write(&expected, &text).unwrap();
        }
        assert_eq!(
            std::fs::read_to_string(&expected).unwrap(),
            text,
            "{}",
            expected.display()
        );
    }
    assert!(count >= 20, "{count} plans");
}

#[test]
fn variables_of_the_user_are_mounts_and_not_part_of_the_image() {
    let plan = r#"{"buildImage": "base:1", "variables": {"CI": "true", "PLAIN": "user's", "NIXPACKS_PKGS": "jq"},
        "phases": {"install": {"cmds": ["npm ci"], "cacheDirectories": ["~/.npm", "obj"], "paths": ["/app/bin"]}},
        "start": {"cmd": "echo \"$PORT\""}}"#;
    let text = dockerfile(plan, &["NIXPACKS_PKGS", "PLAIN", "TOKEN"]).unwrap();
    let expected = r#"FROM base:1 AS image
ENTRYPOINT ["/bin/bash", "-l", "-c"]
WORKDIR /app/
ENV CI="true"
ENV NIXPACKS_PATH="/app/bin:$NIXPACKS_PATH"
COPY [".","/app/"]
RUN --mount=type=secret,id=NIXPACKS_PKGS --mount=type=secret,id=PLAIN --mount=type=secret,id=TOKEN --mount=type=cache,id=key-root-.npm,target=/root/.npm,sharing=shared --mount=type=cache,id=key-app-obj,target=/app/obj,sharing=shared ["/bin/bash","-ol","pipefail","-c",": hash; if "#;
    assert!(text.starts_with(expected), "{text}");
    assert!(text.contains(r"export TOKEN; fi; npm ci"), "{text}");
    assert!(
        text.ends_with("COPY [\".\",\"/app/\"]\nCMD [\"echo \\\"$PORT\\\"\"]\n"),
        "{text}"
    );
    assert!(!text.contains("user's"), "{text}");
}

#[test]
fn phase_comes_after_those_that_it_depends_on() {
    let plan = r#"{"buildImage": "b", "phases": {
        "a": {"dependsOn": ["c"], "cmds": ["run-a"]}, "b": {"cmds": ["run-b"]}, "c": {"dependsOn": ["b", "gone"], "cmds": ["run-c"]}}}"#;
    let text = dockerfile(plan, &[]).unwrap();
    let at = |word: &str| text.find(word).unwrap();
    assert!(at("run-b") < at("run-c") && at("run-c") < at("run-a"), "{text}");
}

#[test]
fn values_of_a_plan_cannot_become_instructions() {
    for (bad, why) in [
        (r#"{"buildImage": "x\nRUN y"}"#, "not the name of an image"),
        (
            r#"{"buildImage": "b", "variables": {"A": "x\nRUN y"}}"#,
            "several lines",
        ),
        (
            r#"{"buildImage": "b", "variables": {"A B": "x"}}"#,
            "no valid name",
        ),
        (
            r#"{"buildImage": "b", "phases": {"a": {"cmds": ["x"], "onlyIncludeFiles": ["a\nRUN y"]}}}"#,
            "several lines",
        ),
        (
            r#"{"buildImage": "b", "phases": {"a": {"cmds": ["x"], "cacheDirectories": ["/a,source=/"]}}}"#,
            "cannot be mounted",
        ),
        (
            r#"{"buildImage": "b", "phases": {"a": {"nixPkgs": ["x"], "nixpkgsArchive": "a\"; b"}}}"#,
            "not a revision",
        ),
        (
            r#"{"buildImage": "b", "phases": {"a": {"nixPkgs": ["x"], "nixOverlays": ["https://a\" b"]}}}"#,
            "not the URL",
        ),
        (
            r#"{"buildImage": "b", "start": {"user": "x\nRUN y"}}"#,
            "not the name of a user",
        ),
        (
            r#"{"buildImage": "b", "phases": {"a": {"dependsOn": ["b"]}, "b": {"dependsOn": ["a"]}}}"#,
            "depend on each other",
        ),
    ] {
        let error = dockerfile(bad, &[]).unwrap_err();
        assert!(error.contains(why), "{bad}: {error}");
    }
}
