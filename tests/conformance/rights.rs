//! The rights of the controller in a cluster: what the roles of the manifests grant, and what the controller requests.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::common::kube_apiserver::KubeApiserver;
use crate::common::run;

/// The account of the controller.
pub const ACCOUNT: &str = "system:serviceaccount:davit-system:davit";

/// The rules of a role in the cluster, one for each verb, as `verb group resource`.
pub fn granted(server: &KubeApiserver, kind: &str, name: &str) -> BTreeSet<String> {
    let get = ["get", kind, name, "--namespace=davit-system", "--output=json"];
    let role: Value = serde_json::from_str(&run(server.kubectl().args(get))).unwrap();
    let texts = |value: &Value| -> Vec<String> { serde_json::from_value(value.clone()).unwrap() };
    let mut all = BTreeSet::new();
    for rule in role["rules"].as_array().unwrap() {
        for verb in texts(&rule["verbs"]) {
            for group in texts(&rule["apiGroups"]) {
                all.extend(
                    texts(&rule["resources"])
                        .iter()
                        .map(|resource| format!("{verb} {group} {resource}")),
                );
            }
        }
    }
    all
}

/// What the controller has requested after its first `first` requests, in the same form. None of the requests was refused.
pub fn used(server: &KubeApiserver, first: usize) -> BTreeSet<String> {
    let requests = server.requests_of(ACCOUNT).split_off(first);
    let refused: Vec<_> = requests.iter().filter(|(.., code)| *code == 403).collect();
    assert!(refused.is_empty(), "refused: {refused:?}");
    requests
        .iter()
        .map(|(verb, group, resource, _)| format!("{verb} {group} {resource}"))
        .collect()
}
