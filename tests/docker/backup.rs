//! `davit backup` and `davit restore`, as programs.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "the test starts the program and panics where something is wrong"
)]

use std::os::unix::fs::PermissionsExt as _;

use davit_apiserver::{ApiServer, Identity, Options};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client, api::PostParams};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn restore_of_a_backup_creates_a_data_directory() {
    let davit = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_davit"));
        let done = command.args(arguments).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (done.status.success(), text(&done.stdout) + &text(&done.stderr))
    };
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let open = |folder: &str| {
        let data_dir = Some(directory.path().join(folder).join("apiserver"));
        async {
            ApiServer::open(Options {
                data_dir,
                ..Options::default()
            })
            .await
            .unwrap()
        }
    };
    let server = open("old").await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    std::fs::write(
        path("old/kubeconfig"),
        server.kubeconfig(listener.local_addr().unwrap()),
    )
    .unwrap();
    let served = server.serve(listener).unwrap();
    let maps = |server: &ApiServer| {
        let client = Client::new(server.router_as(Identity::trusted("test")), "default");
        Api::<ConfigMap>::default_namespaced(client)
    };
    let map = serde_json::from_value(json!({"metadata": {"name": "kept"}, "data": {"n": "0"}})).unwrap();
    maps(&server).create(&PostParams::default(), &map).await.unwrap();

    let (good, said) = davit(&["backup", &path("file"), "--data-dir", &path("old")]);
    assert!(good && said.contains("objects at revision"), "{said}");
    let mode = std::fs::metadata(path("file")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    server.close().await;
    served.await.unwrap();
    let (good, said) = davit(&["backup", &path("file"), "--data-dir", &path("old")]);
    assert!(!good && said.contains("take a backup"), "{said}");
    let (good, said) = davit(&["backup", &path("file"), "--data-dir", &path("nowhere")]);
    assert!(
        !good && said.contains("start davit up with this data directory"),
        "{said}"
    );

    let (good, said) = davit(&["restore", &path("file"), "--data-dir", &path("new")]);
    assert!(!good && said.contains("encryption.key"), "{said}");
    let key = path("old/apiserver/encryption.key");
    let (good, said) = davit(&[
        "restore",
        &path("file"),
        "--data-dir",
        &path("new"),
        "--key",
        &key,
    ]);
    assert!(good && said.contains("davit up --data-dir"), "{said}");
    let (good, said) = davit(&[
        "restore",
        &path("file"),
        "--data-dir",
        &path("new"),
        "--key",
        &key,
    ]);
    assert!(!good && said.contains("is there already"), "{said}");
    let restored = open("new").await;
    maps(&restored).get("kept").await.unwrap();
}
