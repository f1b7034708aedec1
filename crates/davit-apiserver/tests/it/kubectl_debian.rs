//! Debian 12's kubectl, five years older than the API that we serve: what a person on a fresh machine has at hand. It
//! reads OpenAPI v2 as protobuf only, and knows no `--subresource` and no `--for=jsonpath`.
//! `scripts/build-peer kubectl-debian` unpacks it.

use std::{path::Path, process::Command};

use crate::support::{served, widget_crd};
use davit_test_support::{peers, run, try_run};

const WIDGET: &str = "
apiVersion: example.com/v1
kind: Widget
metadata: {name: shop}
spec: {size: 3}
";

fn kubectl(kubeconfig: &Path) -> Command {
    let mut command = davit_test_support::kube_apiserver::kubectl_at(
        &peers::file("kubectl-debian-1.20/kubectl"),
        kubeconfig,
    );
    command.env("HOME", kubeconfig.parent().unwrap());
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_with_debians_kubectl() {
    let directory = tempfile::tempdir().unwrap();
    let (server, kubeconfig) = served(directory.path()).await;
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let k = |arguments: &[&str]| run(kubectl(&kubeconfig).args(arguments));

    let version = k(&["version"]);
    assert!(version.contains("GitVersion:\"v1.20"), "{version}");
    let crd = file("crd.json", &widget_crd().to_string());
    let widget = file("widget.yaml", WIDGET);
    run(kubectl(&kubeconfig).args(["apply", "--filename"]).arg(&crd));
    k(&[
        "wait",
        "--for=condition=Established",
        "crd/widgets.example.com",
        "--timeout=5s",
    ]);
    let apply = |path: &Path| try_run(kubectl(&kubeconfig).args(["apply", "--filename"]).arg(path));
    let (ok, said, error) = apply(&widget);
    assert!(ok && said.contains("created"), "{said}{error}");
    let (ok, said, error) = apply(&widget);
    assert!(ok && said.contains("unchanged"), "{said}{error}");
    let (ok, _, error) = apply(&file("bad.yaml", &WIDGET.replace("size: 3", "size: 13")));
    assert!(!ok && error.contains("not thirteen"), "{error}");
    let (ok, _, error) = apply(&file("typo.yaml", &WIDGET.replace("size: 3", "sise: 3")));
    assert!(!ok && error.contains("unknown field \"sise\""), "{error}");

    let table = k(&["get", "wd"]);
    assert!(
        table.lines().nth(1).is_some_and(|row| row.starts_with("shop")),
        "{table}"
    );
    let explained = k(&["explain", "widget.spec"]);
    assert!(explained.contains("size"), "{explained}");
    k(&[
        "patch",
        "widget",
        "shop",
        "--type=merge",
        "--patch",
        r#"{"spec":{"size":5}}"#,
    ]);
    assert_eq!(
        k(&["get", "widget", "shop", "--output", "jsonpath={.spec.size}"]),
        "5"
    );
    let described = k(&["describe", "widget", "shop"]);
    assert!(described.contains("Events:"), "{described}");
    k(&["create", "configmap", "conf", "--from-literal=a=b"]);
    k(&["delete", "widget", "shop", "--timeout=10s"]);
    assert!(k(&["get", "widgets", "--ignore-not-found"]).is_empty());
    server.close().await;
}
