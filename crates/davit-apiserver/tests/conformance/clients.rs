//! What tests/it/clients.rs asks of ours, the real kube-apiserver gives: its client expects nothing else.

use std::time::Duration;

use davit_test_support::{clientgo, kube_apiserver::KubeApiserver};

#[test]
fn client_go_follows_the_real_api_server() {
    let mut server = KubeApiserver::start();
    server.start_controllers();
    let report = clientgo::writes_and_watches(&server.kubeconfig, Duration::from_secs(10));
    assert!(report["writes"].as_u64() > Some(100), "{report}");
}
