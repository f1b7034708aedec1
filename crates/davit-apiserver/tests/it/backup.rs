//! A backup is one moment of the store, whatever is being written meanwhile, and a store again elsewhere.

use std::{os::unix::fs::PermissionsExt as _, path::Path};

use axum::body::Body;
use davit_apiserver::{Identity, restore_backup, verify_backup};
use http::Request;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::support::{WIDGETS, api, get, send, server, server_in, widget, widget_crd};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const SECRETS: &str = "/api/v1/namespaces/default/secrets";

async fn take(router: &axum::Router) -> Vec<u8> {
    let request = Request::get("/backup").body(Body::empty()).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    response.into_body().collect().await.unwrap().to_bytes().to_vec()
}

async fn keyed(router: &axum::Router, path: &str) -> Vec<Value> {
    get(router, path).await.body["items"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_is_one_moment_and_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let server = server_in(directory.path()).await;
    server.install_crds(&[widget_crd()]).await.unwrap();
    let router = api(&server);
    for index in 0..300 {
        let made = send(
            &router,
            "POST",
            WIDGETS,
            widget(&format!("w{index}"), json!({"size": index + 20})),
        )
        .await;
        assert_eq!(made.code, 201);
    }
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"},
        "stringData": {"k": "plain-text-of-the-secret"}});
    assert_eq!(send(&router, "POST", SECRETS, secret).await.code, 201);
    for name in ["first", "second"] {
        let map =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"n": "0"}});
        assert_eq!(send(&router, "POST", MAPS, map).await.code, 201);
    }
    let writer = tokio::spawn({
        let router = router.clone();
        async move {
            for round in 1.. {
                for name in ["first", "second"] {
                    let patch = json!({"data": {"n": round.to_string()}});
                    let done = send(&router, "PATCH", &format!("{MAPS}/{name}"), patch).await;
                    if done.code != 200 {
                        return;
                    }
                }
            }
        }
    });
    let key = directory.path().join("encryption.key");
    for round in 0..5 {
        let bytes = take(&router).await;
        let text = String::from_utf8(bytes.clone()).unwrap();
        assert!(!text.contains("plain-text-of-the-secret"));
        assert!(!text.contains("cGxhaW4tdGV4dC1vZi10aGUtc2VjcmV0"));
        let file = directory.path().join(format!("backup-{round}"));
        std::fs::write(&file, &bytes).unwrap();
        let (revision, objects) = verify_backup(&bytes[..], &file).unwrap();
        assert!(objects > 300);

        let elsewhere = tempfile::tempdir().unwrap();
        let data = elsewhere.path().join("apiserver");
        assert_eq!(restore_backup(&file, &data, Some(&key)).unwrap(), objects);
        for name in ["store.redb", "encryption.key"] {
            let mode = std::fs::metadata(data.join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        assert!(
            restore_backup(&file, &data, Some(&key)).is_err(),
            "a store that is there is left alone"
        );
        let restored = server_in(&data).await;
        let again = api(&restored);
        assert_eq!(keyed(&again, WIDGETS).await, keyed(&router, WIDGETS).await);
        let secret = get(&again, &format!("{SECRETS}/s")).await;
        assert_eq!(secret.text("/data/k"), "cGxhaW4tdGV4dC1vZi10aGUtc2VjcmV0");
        let number = async |name: &str| {
            let map = get(&again, &format!("{MAPS}/{name}")).await;
            map.text("/data/n").parse::<u64>().unwrap()
        };
        let (first, second) = (number("first").await, number("second").await);
        assert!(
            first == second || first == second + 1,
            "{first}, {second}: not one moment"
        );
        let newest = get(&again, MAPS)
            .await
            .text("/metadata/resourceVersion")
            .parse::<u64>()
            .unwrap();
        assert!(
            newest >= revision + 1_000_000,
            "clients of the old store cannot take its revisions for ours"
        );
        let stale = get(
            &again,
            &format!("{MAPS}?watch=1&resourceVersion={}&timeoutSeconds=1", revision + 5),
        )
        .await;
        assert!(stale.body.to_string().contains("410"), "{:?}", stale.body);
        restored.close().await;
    }
    writer.abort();
    server.close().await;
}

#[tokio::test]
async fn a_backup_that_is_not_whole_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let server = server_in(&directory.path().join("one")).await;
    let bytes = take(&api(&server)).await;
    server.close().await;
    let key = directory.path().join("one/encryption.key");
    let path = directory.path().join("backup");
    let restore = |bytes: &[u8], key: &Path| {
        std::fs::write(&path, bytes).unwrap();
        let data = directory.path().join("two");
        let error = restore_backup(&path, &data, Some(key)).unwrap_err().to_string();
        assert!(!data.join("store.redb").exists(), "{error}");
        error
    };
    let mut middle = bytes.clone();
    let at = middle.len() / 2;
    middle[at] ^= 1;
    for cut in [0, 1, bytes.len() / 3, bytes.len() - 1] {
        assert!(
            restore(&bytes[..cut], &key).contains("no whole backup"),
            "cut at {cut}"
        );
    }
    assert!(restore(&middle, &key).contains("no whole backup"));
    let other = server_in(&directory.path().join("three")).await;
    other.close().await;
    let error = restore(&bytes, &directory.path().join("three/encryption.key"));
    assert!(error.contains("another one"), "{error}");
    assert!(restore(&bytes, &directory.path().join("nowhere")).contains("is missing"));
}

#[tokio::test]
async fn only_who_may_can_take_one() {
    let server = server().await;
    let nobody = server.router_as(Identity::new("jane", &[]));
    assert_eq!(get(&nobody, "/backup").await.code, 403);
    let admin = api(&server);
    let memory = get(&admin, "/backup").await;
    assert_eq!(memory.code, 500, "nothing to seal it with: {:?}", memory.body);
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "backup"},
        "rules": [{"nonResourceURLs": ["/backup"], "verbs": ["get"]}]});
    assert_eq!(
        send(&admin, "POST", &format!("{rbac}/clusterroles"), role)
            .await
            .code,
        201
    );
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": "backup"}, "subjects": [{"kind": "User", "name": "jane", "apiGroup": "rbac.authorization.k8s.io"}],
        "roleRef": {"kind": "ClusterRole", "name": "backup", "apiGroup": "rbac.authorization.k8s.io"}});
    assert_eq!(
        send(&admin, "POST", &format!("{rbac}/clusterrolebindings"), binding)
            .await
            .code,
        201
    );
    assert_eq!(get(&nobody, "/backup").await.code, 500, "allowed now");
    assert_eq!(get(&nobody, SECRETS).await.code, 403, "and nothing else");
}
