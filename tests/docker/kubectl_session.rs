//! An hour of a user's work with the real kubectl on a real `davit up`: what is typed, and what is seen.

#![allow(
    clippy::disallowed_methods,
    clippy::too_many_lines,
    clippy::unwrap_used,
    reason = "a test tells one story from its beginning to its end"
)]

use std::io::Write as _;
use std::process::Stdio;
use std::time::Duration;

use crate::common::davit::Davit;
use crate::common::git_repo::GitRepo;
use crate::common::{run, wait_for};

/// Runs kubectl with this as its standard input, and returns what it prints.
fn kubectl(davit: &Davit, args: &[&str], input: &str) -> String {
    let mut child = davit
        .kubectl()
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "kubectl {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// The words of a table's lines.
fn table(text: &str) -> Vec<Vec<&str>> {
    text.lines()
        .map(|line| line.split_whitespace().collect())
        .collect()
}

#[test]
fn kubectl_session_from_apply_to_delete_works() {
    let davit = Davit::up("session");
    let k = |args: &[&str]| kubectl(&davit, args, "");

    // What there is, and what it means, before anything is written.
    let resources = k(&["api-resources", "--api-group=davit.dev", "--no-headers"]);
    let mut known: Vec<(&str, &str)> = table(&resources).iter().map(|row| (row[0], row[1])).collect();
    known.sort_unstable();
    assert_eq!(
        known,
        [
            ("applications", "dapp"),
            ("gitproviders", "gitprov"),
            ("releases", "rel")
        ]
    );
    for (field, word) in [
        ("application.spec.source.git.url", "https"),
        ("dapp.spec.rollout", "minReady"),
        ("release.status.phase", "Superseded"),
        ("gitprov.spec.gitea", "tokenSecretRef"),
    ] {
        let told = k(&["explain", field]);
        assert!(
            told.contains(word) && told.contains("davit.dev"),
            "{field}: {told}"
        );
    }
    let tree = k(&["explain", "application", "--recursive"]);
    assert!(
        tree.contains("healthCheck") && tree.contains("hostPort"),
        "{tree}"
    );

    let repo = GitRepo::with(&[(
        "Dockerfile",
        &format!(
            "FROM {}\nRUN echo hello > /index.html\nCMD [\"httpd\", \"-f\", \"-p\", \"80\", \"-h\", \"/\"]\n",
            crate::common::docker::BASE_IMAGE
        ),
    )]);
    let manifest = format!(
        "apiVersion: davit.dev/v1alpha1\nkind: Application\nmetadata: {{name: shop}}\nspec:\n  source: {{git: {{url: \"{}\"}}}}\n  healthCheck: {{tcp: {{port: 80}}}}\n",
        repo.url()
    );
    assert_eq!(
        kubectl(&davit, &["apply", "-f", "-"], &manifest).trim(),
        "application.davit.dev/shop created"
    );
    k(&["wait", "dapp/shop", "--for=condition=Ready", "--timeout=90s"]);
    k(&[
        "wait",
        "dapp/shop",
        "--for=jsonpath={.status.phase}=done",
        "--timeout=90s",
    ]);
    assert_eq!(
        kubectl(&davit, &["apply", "-f", "-"], &manifest).trim(),
        "application.davit.dev/shop unchanged"
    );
    assert_eq!(kubectl(&davit, &["diff", "-f", "-"], &manifest), "");

    let commit = repo.git(["rev-parse", "HEAD"]);
    let seen = k(&["get", "dapp"]);
    let rows = table(&seen);
    assert_eq!(
        rows[0],
        [
            "NAME", "STATUS", "READY", "SOURCE", "REVISION", "RELEASE", "URL", "AGE"
        ]
    );
    assert_eq!(
        rows[1][..6],
        ["shop", "done", "True", "git", &commit[..12], "shop-1"],
        "{seen}"
    );
    let wide = k(&["get", "dapp", "-o", "wide"]);
    assert!(
        wide.contains("IMAGE") && wide.contains("MESSAGE") && wide.contains("sha256:"),
        "{wide}"
    );
    let releases = k(&["get", "rel"]);
    let rows = table(&releases);
    assert_eq!(
        rows[0],
        [
            "NAME", "APP", "TYPE", "REVISION", "PHASE", "REASON", "DURATION", "AGE"
        ]
    );
    assert_eq!(
        rows[1][..6],
        [
            "shop-1",
            "shop",
            "Deploy",
            &commit[..12],
            "Succeeded",
            "Succeeded"
        ],
        "{releases}"
    );
    let all = k(&["get", "davit", "-o", "name"]);
    assert!(
        all.contains("application.davit.dev/shop") && all.contains("release.davit.dev/shop-1"),
        "{all}"
    );
    let described = wait_for("the events", Duration::from_secs(10), || {
        let described = k(&["describe", "dapp", "shop"]);
        described.contains("davit").then_some(described)
    });
    assert!(
        described.contains("Events:") && described.contains("every replica is healthy")
            || described.contains("Healthy"),
        "{described}"
    );

    // A Release from a file, which is cancelled; then one by annotation, as in Flux.
    let ask = "apiVersion: davit.dev/v1alpha1\nkind: Release\nmetadata: {generateName: shop-}\nspec: {application: shop, type: Redeploy, title: Once more}\n";
    let made = kubectl(&davit, &["create", "-f", "-", "-o", "name"], ask);
    k(&[
        "wait",
        made.trim(),
        "--for=jsonpath={.status.phase}=Succeeded",
        "--timeout=90s",
    ]);
    let refused = davit
        .kubectl()
        .args([
            "patch",
            made.trim(),
            "--type=merge",
            "-p",
            r#"{"spec":{"title":"another"}}"#,
        ])
        .output()
        .unwrap();
    let why = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && why.contains("spec"), "{why}");
    k(&[
        "patch",
        "dapp",
        "shop",
        "--type=merge",
        "-p",
        r#"{"spec":{"stopped":true}}"#,
    ]);
    k(&[
        "wait",
        "dapp/shop",
        "--for=jsonpath={.status.phase}=idle",
        "--timeout=90s",
    ]);
    assert!(davit.containers("shop").is_empty());

    let deleted = kubectl(&davit, &["delete", "-f", "-", "--timeout=90s"], &manifest);
    assert!(
        deleted.contains("application.davit.dev \"shop\" deleted"),
        "{deleted}"
    );
    wait_for("its releases to go too", Duration::from_secs(10), || {
        k(&["get", "davit", "-o", "name"]).is_empty().then_some(())
    });
    assert!(davit.list_in_engine("images").is_empty() && davit.list_in_engine("networks").is_empty());
}

#[test]
fn davit_crds_prints_valid_definitions() {
    let printed = run(std::process::Command::new(env!("CARGO_BIN_EXE_davit")).arg("crds"));
    let davit = Davit::up("crds");
    // Applied over themselves: nothing is different.
    let applied = kubectl(
        &davit,
        &["apply", "--server-side", "--force-conflicts", "-f", "-"],
        &printed,
    );
    assert_eq!(applied.lines().count(), 3, "{applied}");
    assert!(
        applied.lines().all(|line| line.ends_with("serverside-applied")),
        "{applied}"
    );
}
