//! Health checks and metrics at `--health-listen`.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use super::*;

/// Returns status and body of a GET.
fn ask(davit: &Davit, address: &str, path: &str) -> (u16, String) {
    davit.block_on(async {
        let response = reqwest::get(format!("http://{address}{path}")).await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    })
}

#[test]
fn health_and_metrics_of_up_follow_its_state() {
    let davit = Davit::with_flags("monitoring", &["--health-listen", "127.0.0.1:0"]);
    let address = davit.health_address().unwrap();
    assert_eq!(ask(&davit, &address, "/livez"), (200, "ok".to_owned()));
    wait_for("readiness", Duration::from_secs(20), || {
        (ask(&davit, &address, "/readyz") == (200, "ok".to_owned())).then_some(())
    });
    davit.apply(
        "shop",
        json!({"source": {"docker": {"image": BASE_IMAGE}}, "command": ["sleep", "1000"]}),
    );
    davit.wait_until_done("shop");
    davit.apply("bad", json!({"source": {"docker": {"image": BASE_IMAGE}}, "command": ["sleep", "1000"], "healthCheck": {"tcp": {"port": "nope"}}}));
    davit.wait_until("bad", 30, "refused", |app| app["status"]["phase"] == "error");
    let (status, text) = ask(&davit, &address, "/metrics");
    assert_eq!(status, 200);
    for line in [
        r#"davit_applications{phase="done"} 1"#,
        r#"davit_applications{phase="error"} 1"#,
        r#"davit_releases_total{phase="Succeeded",reason="Succeeded"} 1"#,
        r#"davit_release_duration_seconds_count{phase="Succeeded"} 1"#,
        r#"davit_builds{state="waiting"} 0"#,
        "davit_reconcile_errors_total 0",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "{line} is not in\n{text}"
        );
    }
    // Each metric is in the table of the documentation, and the table has no other.
    let documented: BTreeSet<&str> = include_str!("../../../docs/operations.md")
        .lines()
        .filter_map(|line| line.strip_prefix("| `davit_"))
        .filter_map(|line| line.split(['`', '{']).next())
        .collect();
    let served: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# HELP davit_"))
        .filter_map(|line| line.split(' ').next())
        .collect();
    let base = |name: &str| {
        name.trim_end_matches("_total")
            .trim_end_matches("_info")
            .to_owned()
    };
    let documented: BTreeSet<String> = documented.into_iter().map(base).collect();
    for name in served {
        assert!(
            documented.contains(name),
            "davit_{name} is not in docs/operations.md"
        );
    }
    for name in documented {
        assert!(
            // Those have a line for each value of a label that was seen.
            ["gitproviders", "webhook_deliveries"].contains(&name.as_str())
                // Those are served with --metrics-per-application; the test of `davit top` reads them.
                || name.starts_with("application_")
                || text.contains(&format!("davit_{name}")),
            "davit_{name} is not served"
        );
    }
}

#[test]
fn readiness_of_the_controller_fails_while_the_cluster_does_not_answer() {
    let davit = Davit::up("no-cluster");
    let dir = tempfile::tempdir().unwrap();
    let kubeconfig = std::fs::read_to_string(davit.kubeconfig()).unwrap();
    let unreachable = kubeconfig
        .lines()
        .map(|line| match line.split_once("server: ") {
            Some((before, _)) => format!("{before}server: https://127.0.0.1:1\n"),
            None => format!("{line}\n"),
        })
        .collect::<String>();
    std::fs::write(dir.path().join("kubeconfig"), unreachable).unwrap();
    let log = std::fs::File::create(dir.path().join("log")).unwrap();
    #[allow(clippy::disallowed_methods, reason = "the test starts davit controller")]
    let mut child = Command::new(env!("CARGO_BIN_EXE_davit"))
        .args(["controller", "--health-listen", "127.0.0.1:0", "--data-dir"])
        .arg(dir.path().join("data"))
        .env("KUBECONFIG", dir.path().join("kubeconfig"))
        .stdin(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    let address = wait_for("health checks to be served", Duration::from_secs(20), || {
        crate::common::davit::served_at(&std::fs::read_to_string(dir.path().join("log")).unwrap())
    });
    let live = ask(&davit, &address, "/livez");
    let ready = ask(&davit, &address, "/readyz");
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(live, (200, "ok".to_owned()));
    let failed = "[-]cluster failed\n[-]caches failed\n[+]running ok\nreadyz check failed\n";
    assert_eq!(ready, (503, failed.to_owned()));
}
