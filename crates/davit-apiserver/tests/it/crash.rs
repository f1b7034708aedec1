//! What was acknowledged is there after the end; what is secret is not readable without the key.

use std::fs;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use davit_apiserver::{ApiServer, Options};
use serde_json::{Value, json};

use crate::support::{WIDGETS, api, get, send, server_in, widget, widget_crd};

const SECRETS: &str = "/api/v1/namespaces/default/secrets";

fn secret(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"k": "plain-text-of-the-secret"}})
}

#[tokio::test]
async fn everything_acknowledged_is_there_again() {
    let directory = tempfile::tempdir().unwrap();
    let (uid, revision) = {
        let server = server_in(directory.path()).await;
        server.install_crds(&[widget_crd()]).await.unwrap();
        let router = api(&server);
        for index in 0..50 {
            assert_eq!(
                send(
                    &router,
                    "POST",
                    WIDGETS,
                    widget(&format!("w{index}"), json!({"size": index + 20}))
                )
                .await
                .code,
                201
            );
        }
        assert_eq!(
            send(&router, "DELETE", &format!("{WIDGETS}/w7"), Value::Null)
                .await
                .code,
            200
        );
        let last = send(&router, "POST", SECRETS, secret("s")).await;
        let uid = get(&router, "/api/v1/namespaces/default")
            .await
            .text("/metadata/uid")
            .to_owned();
        drop(router);
        server.close().await;
        (
            uid,
            last.text("/metadata/resourceVersion").parse::<u64>().unwrap(),
        )
    };
    let server = server_in(directory.path()).await;
    let router = api(&server);
    let list = get(&router, WIDGETS).await;
    assert_eq!(list.body["items"].as_array().unwrap().len(), 49);
    assert_eq!(
        get(&router, &format!("{SECRETS}/s")).await.text("/data/k"),
        "cGxhaW4tdGV4dC1vZi10aGUtc2VjcmV0"
    );
    assert_eq!(
        get(&router, "/api/v1/namespaces/default")
            .await
            .text("/metadata/uid"),
        uid
    );
    let next = send(&router, "POST", WIDGETS, widget("next", json!({}))).await;
    assert!(next.text("/metadata/resourceVersion").parse::<u64>().unwrap() > revision);
}

#[tokio::test]
async fn secrets_are_sealed_and_a_wrong_key_stops_the_start() {
    let directory = tempfile::tempdir().unwrap();
    // Whether a Secret, or else a ConfigMap, is somewhere in the store's files.
    let written = |name: &str| {
        let files = ["store.redb", "store.log"].map(|file| fs::read(directory.path().join(file)).unwrap());
        let holds = |plain: &[u8]| {
            let mut all = files.iter().flat_map(|file| file.windows(plain.len()));
            all.any(|window| window == plain)
        };
        holds(name.as_bytes()) || holds(STANDARD.encode(name).as_bytes())
    };
    {
        let server = server_in(directory.path()).await;
        let router = api(&server);
        assert_eq!(send(&router, "POST", SECRETS, secret("s")).await.code, 201);
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "s"}, "data": {"k": "text-for-everybody"}});
        let made = send(&router, "POST", "/api/v1/namespaces/default/configmaps", map).await;
        assert_eq!(made.code, 201);
        assert!(written("text-for-everybody") && !written("plain-text-of-the-secret"));
        drop(router);
        server.close().await;
        assert!(written("text-for-everybody") && !written("plain-text-of-the-secret"));
    }
    let open = || {
        ApiServer::open(Options {
            data_dir: Some(directory.path().to_owned()),
            ..Options::default()
        })
    };
    let key = directory.path().join("encryption.key");
    for name in ["encryption.key", "store.redb", "store.log"] {
        let mode = fs::metadata(directory.path().join(name)).unwrap().permissions();
        assert_eq!(
            std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777,
            0o600,
            "{name}"
        );
    }
    let kept = fs::read(&key).unwrap();
    fs::write(&key, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").unwrap();
    let refusal = async || {
        let Err(error) = open().await else {
            panic!("it opened");
        };
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(why) = cause {
            text = format!("{text}: {why}");
            cause = why.source();
        }
        text
    };
    let another = refusal().await;
    assert!(
        another.contains("encryption.key") && another.contains("another one"),
        "{another}"
    );
    fs::remove_file(&key).unwrap();
    let none = refusal().await;
    assert!(
        none.contains("encryption.key") && none.contains("is missing"),
        "{none}"
    );
    assert!(!key.exists(), "no new key is made for an old store");
    fs::write(&key, kept).unwrap();
    let open_to_all = refusal().await;
    assert!(open_to_all.contains("must be 0600"), "{open_to_all}");
    fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let server = open().await.unwrap();
    assert_eq!(get(&api(&server), &format!("{SECRETS}/s")).await.code, 200);
}
