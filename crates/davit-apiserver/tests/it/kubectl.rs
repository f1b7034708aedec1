//! The real kubectl as client, over TLS on a loopback port.

use std::{
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use davit_apiserver::ApiServer;
use tokio::{io::AsyncWriteExt as _, net::TcpListener};

use crate::support::{served, server_in, widget_crd};

/// A server with a kubeconfig for it.
struct Cluster {
    server: ApiServer,
    directory: tempfile::TempDir,
    kubectl: PathBuf,
}

impl Cluster {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (server, _) = served(directory.path()).await;
        Self {
            server,
            directory,
            kubectl: "kubectl".into(),
        }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    async fn output(&self, arguments: &[&str], input: &str) -> Output {
        #[allow(clippy::disallowed_methods, reason = "a test starts the client it is about")]
        let mut command = tokio::process::Command::new(&self.kubectl);
        command
            .args(arguments)
            .env("KUBECONFIG", self.path().join("kubeconfig"))
            .env("HOME", self.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).await.unwrap();
        drop(stdin);
        tokio::time::timeout(crate::support::PATIENCE, child.wait_with_output())
            .await
            .expect("kubectl in time")
            .unwrap()
    }

    /// Runs kubectl, which must succeed, and gives what it printed.
    async fn run(&self, arguments: &[&str], input: &str) -> String {
        let output = self.output(arguments, input).await;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            output.status.success(),
            "kubectl {arguments:?}: {}{}",
            text(&output.stdout),
            text(&output.stderr)
        );
        text(&output.stdout)
    }

    /// Runs kubectl, which must fail, and gives its complaint.
    async fn fail(&self, arguments: &[&str], input: &str) -> String {
        let output = self.output(arguments, input).await;
        assert!(!output.status.success(), "kubectl {arguments:?} succeeded");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

const OBJECTS: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: team}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: conf, namespace: team}
data: {a: '1'}
---
apiVersion: v1
kind: Secret
metadata: {name: pass, namespace: team}
stringData: {password: x}
---
apiVersion: example.com/v1
kind: Widget
metadata: {name: shop, namespace: team}
spec: {size: 3}
";

#[tokio::test(flavor = "multi_thread")]
async fn a_day_with_kubectl() {
    let cluster = Cluster::start().await;
    cluster
        .run(&["apply", "-f", "-"], &widget_crd().to_string())
        .await;
    cluster
        .run(
            &[
                "wait",
                "--for=condition=Established",
                "crd/widgets.example.com",
                "--timeout=5s",
            ],
            "",
        )
        .await;
    let applied = cluster.run(&["apply", "-f", "-"], OBJECTS).await;
    assert!(applied.contains("widget.example.com/shop created"), "{applied}");
    let again = cluster.run(&["apply", "-f", "-"], OBJECTS).await;
    // A Secret given as stringData is patched again every time, by upstream's kubectl too.
    assert_eq!(again.matches("unchanged").count(), 3, "{again}");
    let changed = cluster
        .run(&["apply", "-f", "-"], &OBJECTS.replace("size: 3", "size: 4"))
        .await;
    assert!(
        changed.contains("widget.example.com/shop configured"),
        "{changed}"
    );
    let table = cluster.run(&["get", "wd", "-A"], "").await;
    let row: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(&row[..3], ["team", "shop", "4"], "{table}");
    let wide = cluster
        .run(&["get", "widgets", "-n", "team", "-o", "wide"], "")
        .await;
    assert!(wide.contains("COLOUR") && wide.contains("red"), "{wide}");
    let all = cluster.run(&["get", "all", "-n", "team"], "").await;
    assert!(all.contains("widget.example.com/shop"), "{all}");
    let value = cluster
        .run(
            &[
                "get",
                "secret",
                "pass",
                "-n",
                "team",
                "-o",
                "jsonpath={.data.password}",
            ],
            "",
        )
        .await;
    assert_eq!(value, "eA==");
    cluster
        .run(
            &[
                "patch",
                "widget",
                "shop",
                "-n",
                "team",
                "--type=merge",
                "-p",
                r#"{"spec":{"size":5}}"#,
            ],
            "",
        )
        .await;
    cluster
        .run(
            &[
                "patch",
                "widget",
                "shop",
                "-n",
                "team",
                "--subresource=status",
                "--type=merge",
                "-p",
                r#"{"status":{"phase":"done"}}"#,
            ],
            "",
        )
        .await;
    cluster
        .run(
            &[
                "wait",
                "widget/shop",
                "-n",
                "team",
                "--for=jsonpath={.status.phase}=done",
                "--timeout=5s",
            ],
            "",
        )
        .await;
    cluster
        .run(&["label", "widget", "shop", "-n", "team", "a=b"], "")
        .await;
    cluster
        .run(&["annotate", "configmap", "conf", "-n", "team", "note=hello"], "")
        .await;
    cluster
        .run(&["scale", "widget/shop", "-n", "team", "--replicas=7"], "")
        .await;
    let described = cluster
        .run(&["describe", "widget", "shop", "-n", "team"], "")
        .await;
    assert!(
        described.contains("Size:    7") && described.contains("Events:"),
        "{described}"
    );
    let resources = cluster.run(&["api-resources"], "").await;
    assert!(
        resources.contains("widgets") && !resources.contains("pods"),
        "{resources}"
    );
    assert_eq!(
        cluster
            .run(&["auth", "can-i", "delete", "secrets"], "")
            .await
            .trim(),
        "yes"
    );
    let who = cluster.run(&["auth", "whoami"], "").await;
    assert!(who.contains("kubernetes-admin"), "{who}");
    let typed = [
        &["create", "configmap", "typed", "-n", "team", "--from-literal=a=b"][..],
        &[
            "create",
            "secret",
            "generic",
            "typed",
            "-n",
            "team",
            "--from-literal=a=b",
        ],
        &["create", "serviceaccount", "robot", "-n", "team"],
        &[
            "create",
            "role",
            "reader",
            "-n",
            "team",
            "--verb=get,list",
            "--resource=configmaps",
        ],
        &[
            "create",
            "rolebinding",
            "reader",
            "-n",
            "team",
            "--role=reader",
            "--serviceaccount=team:robot",
        ],
    ];
    for arguments in typed {
        cluster.run(arguments, "").await;
    }
    let token = cluster.run(&["create", "token", "robot", "-n", "team"], "").await;
    let with_token = |verb: &'static str, resource: &'static str| {
        let flag = format!("--token={}", token.trim());
        let cluster = &cluster;
        async move {
            let server = cluster
                .run(
                    &[
                        "config",
                        "view",
                        "--raw",
                        "-o",
                        "jsonpath={.clusters[0].cluster.server}",
                    ],
                    "",
                )
                .await;
            let ca = cluster.path().join("data/pki/ca.crt");
            let ca = format!("--certificate-authority={}", ca.display());
            let server = format!("--server={server}");
            cluster
                .output(
                    &[
                        "--kubeconfig=/dev/null",
                        &server,
                        &ca,
                        &flag,
                        verb,
                        resource,
                        "-n",
                        "team",
                    ],
                    "",
                )
                .await
        }
    };
    let allowed = with_token("get", "configmaps").await;
    assert!(
        allowed.status.success(),
        "{}",
        String::from_utf8_lossy(&allowed.stderr)
    );
    let refused = with_token("get", "secrets").await;
    assert!(
        String::from_utf8_lossy(&refused.stderr)
            .contains(r#"User "system:serviceaccount:team:robot" cannot list resource "secrets""#)
    );
    assert!(cluster.run(&["version"], "").await.contains("v1.36"));
    assert!(cluster.run(&["cluster-info"], "").await.contains("is running at"));
    let missing = cluster.fail(&["get", "widget", "none", "-n", "team"], "").await;
    assert_eq!(
        missing.trim(),
        r#"Error from server (NotFound): widgets.example.com "none" not found"#
    );
    let invalid = cluster
        .fail(&["apply", "-f", "-"], &OBJECTS.replace("size: 3", "size: 13"))
        .await;
    assert!(invalid.contains("not thirteen"), "{invalid}");
    let pods = cluster.fail(&["get", "pods"], "").await;
    assert!(
        pods.contains("the server doesn't have a resource type \"pods\""),
        "{pods}"
    );
    cluster
        .run(&["delete", "widget", "shop", "-n", "team", "--timeout=10s"], "")
        .await;
    cluster
        .run(&["delete", "namespace", "team", "--timeout=10s"], "")
        .await;
    cluster
        .run(&["delete", "crd", "widgets.example.com", "--timeout=10s"], "")
        .await;
    cluster.server.close().await;
}

/// Serves until it is killed, to try things by hand: `cargo test --test apiserver -- --ignored by_hand --nocapture`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "for trying things by hand"]
async fn by_hand() {
    let data = std::env::temp_dir().join("apiserver-by-hand");
    let server = server_in(&data).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = server.serve(listener).unwrap();
    let config = data.join("kubeconfig");
    std::fs::write(&config, server.kubeconfig(address)).unwrap();
    println!("KUBECONFIG={}", config.display());
    task.await.unwrap();
}
