//! The series of `/metrics` are upstream's: the real server has each of them, with the same labels.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use davit_test_support::kube_apiserver::KubeApiserver;
use http::Request;

use crate::{compare::client, support::served};

/// The names of all series, each with the names of its labels.
async fn series(kubeconfig: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let client = client(kubeconfig).await;
    let request = |path: &str| Request::get(path).body(Vec::new()).unwrap();
    for path in ["/api/v1/namespaces", "/api/v1/namespaces/default", "/apis"] {
        client.request_text(request(path)).await.unwrap();
    }
    let text = client.request_text(request("/metrics")).await.unwrap();
    let samples = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    samples
        .map(|line| match line.split_once('{') {
            Some((name, rest)) => {
                let labels = rest.rsplit_once('}').unwrap().0.split("\",");
                let labels = labels.filter_map(|label| Some(label.split_once('=')?.0.to_owned()));
                (name.to_owned(), labels.collect())
            }
            None => (
                line.split_whitespace().next().unwrap().to_owned(),
                BTreeSet::new(),
            ),
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn series_of_metrics_are_those_of_the_real_api_server() {
    let directory = tempfile::tempdir().unwrap();
    let (server, kubeconfig) = served(directory.path()).await;
    let ours = series(&kubeconfig).await;
    server.close().await;
    let real = KubeApiserver::start();
    let theirs = series(&real.kubeconfig).await;
    assert!(ours.contains_key("apiserver_request_total"), "{ours:?}");
    for (name, labels) in &ours {
        assert_eq!(Some(labels), theirs.get(name), "{name}");
    }
}
