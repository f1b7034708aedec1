//! railpack: a plan becomes an image on the real engine. The program that writes the plan is a stand-in, because the
//! real one downloads what it plans with.

use davit::api::Railpack as Settings;
use davit::builder::Published;

use super::planner::{ODD, Tool};
use super::*;

pub const PLAN: &str = include_str!("railpack_plan.json");

const PROGRAM: &str = r#"#!/bin/sh
dir=$(dirname "$0")
if [ "$1" = --version ]; then echo "railpack version $(cat "$dir/version")"; exit 0; fi
printf '%s\n' "$@" > "$dir/args"
while [ $# -gt 0 ]; do
  case "$1" in --plan-out) plan=$2 ;; --info-out) info=$2 ;; esac
  shift
done
cp "$dir/plan.json" "$plan"
cp "$dir/info.json" "$info"
if [ -f "$dir/said" ]; then cat "$dir/said"; fi
exit "$(cat "$dir/code")"
"#;

pub fn tool(test: &str) -> Tool {
    let tool = Tool::new(test, "railpack", PROGRAM);
    tool.write("plan.json", PLAN);
    tool.write("version", "0.9.0");
    tool.write(
        "info.json",
        r#"{"detectedProviders":["node"],"resolvedPackages":{"node":{"resolvedVersion":"22.1.0"}}}"#,
    );
    tool
}

pub fn request_of(tool: &Tool) -> BuildRequest {
    let mut request = tool.harness.request();
    request.build_type = Some(BuildType::Railpack(Settings::default()));
    request
}

#[tokio::test]
async fn railpack_plan_becomes_an_image_and_secrets_stay_out_of_it() {
    let tool = tool("railpack");
    let harness = &tool.harness;
    harness.write("main.txt", "source");
    harness.write("node_modules/old", "x");
    harness.write("deep/a.tmp", "x");
    harness.write("ignored/secret", HIDDEN);
    harness.write(".dockerignore", "ignored\n");
    let marker = unique("secret");
    let token = format!("{HIDDEN}-{marker}-{ODD}");
    let mut request = request_of(&tool);
    request.secrets = secrets(&[("TOKEN", &token)]);
    let long = format!("{ODD}{}", "x".repeat(100 * 1024));
    request.args = secrets(&[("PLAIN", &long)]);
    let arguments = Arguments::watch(&marker);
    let image = harness.built(&request).await;
    arguments.assert_free();
    assert_eq!(image.builder, "railpack");
    let text = harness.text();
    assert!(text.contains("railpack detected node (node 22.1.0)"), "{text}");

    let run_image = |command: &[&str]| run(docker().args(["run", "--rm", &image.id]).args(command));
    assert_eq!(run_image(&[]), "greet a \"b\" $HOME \\ #c");
    assert_eq!(run_image(&["cat main.txt"]), "source");
    assert_eq!(
        run_image(&["ls -A /app"]),
        "built\ncached\ndeep\nmain.txt\nplain\ntoken.sum"
    );
    assert_eq!(run_image(&["ls deep; echo $MODE"]), "production");
    // Every value arrives byte by byte.
    std::fs::write(harness.source.path().join("token"), &token).unwrap();
    std::fs::write(harness.source.path().join("plain"), &long).unwrap();
    for (file, sum_file) in [("token", "token.sum"), ("plain", "plain")] {
        let sum = run(Command::new("sha256sum").arg(harness.source.path().join(file)));
        let theirs = run_image(&[&format!("cat {sum_file}")]);
        assert_eq!(sum.split(' ').next(), theirs.split(' ').next(), "{file}");
    }

    tool.assert_hidden(&image, HIDDEN);
    Tool::assert_not_in_cache(&marker);
    assert_eq!(image.details.version.as_deref(), Some("railpack 0.9.0"));
    assert_eq!(image.details.detected.as_deref(), Some("node (node 22.1.0)"));

    // The cache directory outlives the build; a changed secret runs the step again, an unchanged one does not.
    assert_eq!(run_image(&["cat cached"]), "1");
    harness.built(&request).await;
    let again = harness.built(&request).await;
    assert_eq!(prints(&again.id, &["cat /app/cached"]), "1");
    request.secrets = secrets(&[("TOKEN", "another")]);
    let changed = harness.built(&request).await;
    assert_eq!(prints(&changed.id, &["cat /app/cached"]), "2");

    // A site on top of it.
    let of = request.build_type.take().unwrap();
    let site = StaticSite {
        publish_directory: "deep".to_owned(),
        image: Some("busybox:davit-test".to_owned()),
        image_path: Some("/srv".to_owned()),
        spa: false,
    };
    let field = "spec.build.static.publishDirectory";
    request.build_type = Some(BuildType::Published(Box::new(of), Published { field, site }));
    harness.write("deep/b.txt", "published");
    let site = harness.built(&request).await;
    assert_eq!(prints(&site.id, &["cat", "/srv/b.txt"]), "published");
}

#[tokio::test]
async fn railpack_that_cannot_prepare_names_the_reason() {
    let tool = tool("railpackfails");
    let harness = &tool.harness;
    harness.write("main.txt", "source");
    let fails = async |request: &BuildRequest| harness.build(request).await.unwrap_err();
    // A link to a file of the machine is refused before railpack can follow it.
    let link = harness.root().join(".ruby-version");
    std::os::unix::fs::symlink("/etc/hostname", &link).unwrap();
    let error = fails(&request_of(&tool)).await;
    assert_eq!(error.reason(), Reason::PathEscapes, "{error}");
    assert!(error.to_string().contains(".ruby-version"), "{error}");
    std::fs::remove_file(&link).unwrap();
    let mut configured = request_of(&tool);
    configured.args = secrets(&[("RAILPACK_CONFIG_FILE", "../../../../../etc/hostname")]);
    let error = fails(&configured).await;
    assert_eq!(error.reason(), Reason::PathEscapes, "{error}");
    tool.write(
        "info.json",
        r#"{"success":false,"logs":[{"msg":"no provider matched"}]}"#,
    );
    tool.write("code", "1");
    let error = fails(&request_of(&tool)).await;
    assert!(
        matches!(error, BuildError::Failed(_)) && error.to_string().contains("no provider matched"),
        "{error}"
    );
    // Without a build type, railpack is the last that is tried.
    let error = fails(&harness.request()).await;
    assert!(error.to_string().contains("no provider matched"), "{error}");
    tool.write("code", "75");
    let error = fails(&request_of(&tool)).await;
    assert!(matches!(error, BuildError::Temporary(_)), "{error}");
    // railpack 0.9 has one exit code for all failures.
    tool.write("code", "1");
    tool.write(
        "said",
        "failed to download mise: dial tcp: lookup github.com: no such host",
    );
    let error = fails(&request_of(&tool)).await;
    assert!(matches!(error, BuildError::Temporary(_)), "{error}");
    tool.write("said", "");
    tool.write("code", "0");
    tool.write(
        "plan.json",
        "{\"deploy\":{\"inputs\":[{\"step\":\"gone\",\"include\":[\".\"]}]}}",
    );
    let error = fails(&request_of(&tool)).await;
    assert!(error.to_string().contains("no step gone"), "{error}");
    let mut request = request_of(&tool);
    request.build_type = Some(BuildType::Railpack(Settings {
        version: Some("0.37.0".to_owned()),
    }));
    let error = fails(&request).await;
    assert!(
        error.to_string().contains("railpack 0.37.0 is not installed")
            && error.to_string().contains("only 0.9.0"),
        "{error}"
    );
    assert_eq!(error.reason(), Reason::NotSupported);
    assert!(
        error
            .hint()
            .unwrap()
            .contains("set spec.build.railpack.version to 0.9.0")
    );
    // Without a version in the spec, the installed one must be that of this Davit.
    tool.write("version", "0.8.0");
    let error = fails(&request_of(&tool)).await;
    assert!(
        error.to_string().contains("railpack 0.9.0 is not installed"),
        "{error}"
    );
    // Two versions beside each other.
    let named = tool.dir.path().join("railpack-0.37.0");
    std::fs::write(
        &named,
        "#!/bin/sh\nif [ \"$1\" = --version ]; then echo 0.37.0; exit 0; fi\necho 'the other one'; exit 1\n",
    )
    .unwrap();
    std::fs::set_permissions(&named, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let error = fails(&request).await;
    assert!(error.to_string().contains("the other one"), "{error}");
    std::fs::remove_file(tool.dir.path().join("railpack")).unwrap();
    let error = fails(&request_of(&tool)).await.to_string();
    assert!(error.contains("railpack is not installed"), "{error}");
    assert!(matches!(
        fails(&harness.request()).await,
        BuildError::NotDetected(_)
    ));
}
