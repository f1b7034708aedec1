//! Davit against the real Kubernetes: `make test-peers` builds kube-apiserver, etcd and kubectl and runs this.
//! Behind the feature `peers`, since those builds take minutes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::too_many_lines,
    clippy::disallowed_methods,
    reason = "tests start programs, list many rows, and panic where something is wrong"
)]

mod aggregation;
mod buildkitd;
#[path = "../common/mod.rs"]
mod common;
#[path = "../contract/mod.rs"]
mod contract;
mod controller;
mod crds;
#[path = "../checks/crds/rows.rs"]
mod crds_rows;
mod flux;
mod idle;
mod installed;
mod kubernetes;
mod kubernetes_loop;
mod kubernetes_routes;
mod manifests;
mod nixpacks;
mod rights;
mod routes;

use std::time::Duration;

use common::http::request;
use common::kube_apiserver::{KubeApiserver, kubectl};
use common::{run, try_run, wait_for};

#[test]
fn kube_apiserver_without_credential_refuses_a_request() {
    let server = KubeApiserver::start();
    let version = run(server.kubectl().args(["version", "--output", "json"]));
    assert!(version.contains("\"gitVersion\": \"v1.36.3\""), "{version}");
    run(server.kubectl().args(["create", "namespace", "shop"]));
    run(server.kubectl().args([
        "create",
        "configmap",
        "one",
        "--namespace",
        "shop",
        "--from-literal",
        "key=value",
    ]));
    let value = run(server.kubectl().args([
        "get",
        "configmap",
        "one",
        "-n",
        "shop",
        "-o",
        "jsonpath={.data.key}",
    ]));
    assert_eq!(value, "value");

    let (ok, _, said) = try_run(kubectl(&server.kubeconfig_without_rights()).args(["get", "configmaps"]));
    assert!(!ok && said.contains("Forbidden"), "{said}");
    let ca = server.kubeconfig.with_file_name("certs").join("apiserver.crt");
    let reply = request("GET", &format!("{}/api/v1/namespaces", server.url))
        .ca(&ca)
        .header("Authorization: Bearer wrong")
        .send();
    assert_eq!(reply.status, 401, "{reply:?}");
    let unknown = request("GET", &server.url).send();
    assert_eq!(unknown.status, 0, "an unknown authority is refused: {unknown:?}");
}

#[test]
fn deleted_namespace_is_emptied_by_the_controllers() {
    let mut server = KubeApiserver::start();
    run(server.kubectl().args(["create", "namespace", "shop"]));
    run(server
        .kubectl()
        .args(["create", "configmap", "one", "--namespace", "shop"]));
    run(server
        .kubectl()
        .args(["delete", "namespace", "shop", "--wait=false"]));
    let phase = [
        "get",
        "namespace",
        "shop",
        "--ignore-not-found",
        "--output",
        "jsonpath={.status.phase}",
    ];
    assert_eq!(
        run(server.kubectl().args(phase)),
        "Terminating",
        "nobody empties it yet"
    );
    server.start_controllers();
    wait_for("the namespace to go", Duration::from_mins(1), || {
        run(server.kubectl().args(phase)).is_empty().then_some(())
    });
}
