//! Kubernetes' own end-to-end tests, on both servers: those in `e2e.txt`, which need no Pod, node, quota or webhook.

use std::{
    collections::BTreeSet,
    fs::File,
    path::Path,
    process::{Command, Stdio},
};

use davit_test_support::{kube_apiserver::KubeApiserver, peers};

use crate::support::served;

/// How many processes share the tests: most of a test's time is its own pauses.
const SHARDS: usize = 4;
/// What a shard may take before it ends itself.
const LIMIT: &str = "12m";

/// The texts of the wanted tests.
fn wanted() -> Vec<&'static str> {
    let lines = include_str!("e2e.txt").lines();
    let wanted: Vec<_> = lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    let unique: BTreeSet<_> = wanted.iter().collect();
    assert_eq!(unique.len(), wanted.len(), "a test is in the list twice");
    wanted
}

/// Runs all wanted tests and panics with the report of each shard in which one failed or is missing.
fn pass(kubeconfig: &Path) {
    let directory = tempfile::tempdir().unwrap();
    let kubectl = peers::file("kubectl-1.36.3/kubectl");
    let shards: Vec<_> = (0..SHARDS)
        .map(|shard| {
            let tests: Vec<_> = wanted().into_iter().skip(shard).step_by(SHARDS).collect();
            let focus: Vec<_> = tests
                .iter()
                .map(|test| format!("{}$", regex::escape(test)))
                .collect();
            let report = directory.path().join(format!("shard-{shard}"));
            let file = File::create(&report).unwrap();
            let child = Command::new(peers::file("kubernetes-e2e-1.36.3/e2e"))
                .arg(format!("-kubeconfig={}", kubeconfig.display()))
                .arg(format!("-kubectl-path={}", kubectl.display()))
                .args(["-provider=skeleton", "-allowed-not-ready-nodes=-1"])
                .args(["-ginkgo.no-color", "-ginkgo.v"])
                .arg(format!("-ginkgo.timeout={LIMIT}"))
                .arg(format!("-ginkgo.focus={}", focus.join("|")))
                // Some tests start kubectl by its name, and kubectl keeps what it discovers in the home directory.
                .env(
                    "PATH",
                    format!(
                        "{}:/usr/sbin:/usr/bin:/sbin:/bin",
                        kubectl.parent().unwrap().display()
                    ),
                )
                .env("HOME", directory.path())
                .stdout(file.try_clone().unwrap())
                .stderr(file)
                .stdin(Stdio::null())
                .spawn()
                .unwrap();
            (tests.len(), report, child)
        })
        .collect();
    let mut failed = Vec::new();
    for (count, report, mut child) in shards {
        let ended = child.wait().unwrap();
        let text = std::fs::read_to_string(report).unwrap();
        if !ended.success() || !text.contains(&format!("\nRan {count} of ")) {
            failed.push(format!("{ended}, {count} tests wanted:\n{text}"));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn end_to_end_tests_of_kubernetes_pass() {
    let directory = tempfile::tempdir().unwrap();
    let (server, kubeconfig) = served(directory.path()).await;
    tokio::task::spawn_blocking(move || pass(&kubeconfig))
        .await
        .unwrap();
    server.close().await;
}

#[test]
fn end_to_end_tests_of_kubernetes_pass_on_the_real_api_server() {
    let mut server = KubeApiserver::start();
    server.start_controllers();
    pass(&server.kubeconfig);
}
