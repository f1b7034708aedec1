//! The CRDs in a real API server: it takes them, its cost limits for rules included, and judges every row as the
//! embedded one does.

use std::path::Path;

use serde_json::{Value, json};

use crate::common::kube_apiserver::KubeApiserver;
use crate::common::{run, try_run};
use crate::crds_rows::{fields, good, rules};

#[test]
fn kube_apiserver_accepts_and_rejects_the_same_objects() {
    let server = KubeApiserver::start();
    let crds = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
    run(server
        .kubectl()
        .args(["apply", "--server-side", "--kustomize"])
        .arg(crds));
    run(server.kubectl().args([
        "wait",
        "--for=condition=Established",
        "--timeout=30s",
        "crd",
        "--all",
    ]));
    let conditions = run(server.kubectl().args([
        "get",
        "crd",
        "-o",
        "jsonpath={.items[*].status.conditions[*].type}",
    ]));
    assert!(!conditions.contains("NonStructuralSchema"), "{conditions}");
    run(server.kubectl().args(["create", "namespace", "acme"]));

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("object.json");
    let mut wrong = Vec::new();
    for (kind, spec, words) in rules().into_iter().chain(fields()) {
        let mut object = good(kind);
        json_patch::merge(&mut object["spec"], &spec);
        std::fs::write(&file, object.to_string()).unwrap();
        let mut create = server.kubectl();
        create
            .args(["create", "--dry-run=server", "--validate=strict", "--filename"])
            .arg(&file);
        let (ok, _, said) = try_run(&mut create);
        // Only the embedded server's own words are checked word for word; upstream words a few otherwise.
        if ok != words.is_none() {
            wrong.push(format!("{kind} {spec}: wanted {words:?}, but {said}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");

    // What was never looked at says so.
    let file = dir.path().join("shop.json");
    std::fs::write(&file, good("Application").to_string()).unwrap();
    run(server.kubectl().args(["create", "--filename"]).arg(&file));
    let shop = run(server
        .kubectl()
        .args(["get", "dapp", "shop", "-n", "acme", "-o", "json"]));
    let shop: Value = serde_json::from_str(&shop).unwrap();
    assert_eq!(shop["status"]["observedGeneration"], json!(-1));
    assert_eq!(shop["spec"]["replicas"], json!(1));
}
