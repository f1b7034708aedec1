//! Priority levels and flow schemas: what is there from the start, and what their objects change for requests over TLS.

use std::time::Duration;

use davit_apiserver::Limits;
use futures::future::join_all;
use http::{Request, Response};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{
    compare::client,
    support::{api, get, send, send_as, server, until},
};

const GROUP: &str = "/apis/flowcontrol.apiserver.k8s.io/v1";
const DANGLING: &str = "/status/conditions/0/status";

fn schemas() -> String {
    format!("{GROUP}/flowschemas")
}

fn levels() -> String {
    format!("{GROUP}/prioritylevelconfigurations")
}

/// A schema with which the requests of a user have that level.
fn schema(name: &str, user: &str, level: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"matchingPrecedence": 50, "priorityLevelConfiguration": {"name": level},
        "distinguisherMethod": {"type": "ByUser"}, "rules": [{"subjects": [{"kind": "User", "user": {"name": user}}],
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": true, "namespaces": ["*"]}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]}]}})
}

/// A level without seats.
fn jail(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 0,
        "borrowingLimitPercent": 0, "limitResponse": {"type": "Reject"}}}})
}

#[tokio::test]
async fn suggested_objects_are_there_and_come_back() {
    let server = server().await;
    let router = api(&server);
    let table = [("accept", "application/json;as=Table;g=meta.k8s.io;v=v1")];
    let listed = send_as(&router, "GET", &schemas(), &table, Value::Null).await;
    let cell = |row: &Value, index: usize| row["cells"][index].as_str().unwrap_or_default().to_owned();
    let rows = listed.body["rows"].as_array().unwrap();
    let rows: Vec<_> = rows.iter().map(|row| (cell(row, 0), cell(row, 1))).collect();
    let shown: Vec<_> = rows.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    assert_eq!(
        shown,
        [
            ("exempt", "exempt"),
            ("probes", "exempt"),
            ("system-leader-election", "leader-election"),
            ("system-node-high", "node-high"),
            ("system-nodes", "system"),
            ("kube-controller-manager", "workload-high"),
            ("kube-scheduler", "workload-high"),
            ("kube-system-service-accounts", "workload-high"),
            ("service-accounts", "workload-low"),
            ("global-default", "global-default"),
            ("catch-all", "catch-all"),
        ]
    );
    let path = format!("{}/probes", schemas());
    let probes = until(&router, &path, |answer| answer.text(DANGLING) == "False").await;
    assert_eq!(send(&router, "DELETE", &path, Value::Null).await.code, 200);
    until(&router, &path, |answer| {
        answer.code == 200 && answer.text("/metadata/uid") != probes.text("/metadata/uid")
    })
    .await;
    let path = format!("{}/workload-low", levels());
    let shares = "/spec/limited/nominalConcurrencyShares";
    let patch = json!({"spec": {"limited": {"nominalConcurrencyShares": 7}}});
    assert_eq!(send(&router, "PATCH", &path, patch.clone()).await.code, 200);
    until(&router, &path, |answer| {
        answer.body.pointer(shares) == Some(&json!(100))
    })
    .await;
    let own = json!({"metadata": {"annotations": {"apf.kubernetes.io/autoupdate-spec": "false"}}, "spec": patch["spec"]});
    assert_eq!(send(&router, "PATCH", &path, own).await.code, 200);
    let path = format!("{}/catch-all", levels());
    assert_eq!(send(&router, "PATCH", &path, patch).await.code, 422);
}

#[tokio::test]
async fn a_schema_says_whether_its_level_exists() {
    let server = server().await;
    let router = api(&server);
    let made = send(&router, "POST", &schemas(), schema("janes", "jane", "janes")).await;
    assert_eq!(made.code, 201, "{}", made.body);
    let path = format!("{}/janes", schemas());
    until(&router, &path, |answer| answer.text(DANGLING) == "True").await;
    let made = send(&router, "POST", &levels(), jail("janes")).await;
    assert_eq!(made.code, 201, "{}", made.body);
    let found = until(&router, &path, |answer| answer.text(DANGLING) == "False").await;
    let owner = found.body["metadata"]["managedFields"]
        .as_array()
        .unwrap()
        .iter()
        .find(|entry| entry["subresource"] == "status");
    assert_eq!(owner.unwrap()["operation"], "Apply");
    let level = format!("{}/janes", levels());
    assert_eq!(send(&router, "DELETE", &level, Value::Null).await.code, 200);
    until(&router, &path, |answer| answer.text(DANGLING) == "True").await;
}

fn uid<'a>(response: &'a Response<Body>, what: &str) -> &'a str {
    let name = format!("x-kubernetes-pf-{what}-uid");
    response.headers().get(name).unwrap().to_str().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_have_the_level_that_objects_give_them() {
    let directory = tempfile::tempdir().unwrap();
    let server = server().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let kubeconfig = directory.path().join("kubeconfig");
    std::fs::write(&kubeconfig, server.kubeconfig(listener.local_addr().unwrap())).unwrap();
    let limits = Limits {
        wait: Duration::from_millis(100),
        ..Limits::default()
    };
    server.serve_with(listener, limits).unwrap();
    let (router, client) = (api(&server), client(&kubeconfig).await);
    let ask = async |user: Option<&str>, path: &str| {
        let mut request = Request::get(path);
        if let Some(user) = user {
            request = request.header("impersonate-user", user);
        }
        client.send(request.body(Body::empty()).unwrap()).await.unwrap()
    };
    let known = async |path: String| get(&router, &path).await.text("/metadata/uid").to_owned();

    let admin = ask(None, "/version").await;
    assert_eq!(
        uid(&admin, "flowschema"),
        known(format!("{}/exempt", schemas())).await
    );
    assert_eq!(
        uid(&admin, "prioritylevel"),
        known(format!("{}/exempt", levels())).await
    );
    let jane = ask(Some("jane"), "/version").await;
    assert_eq!(jane.status(), 200);
    assert_eq!(
        uid(&jane, "flowschema"),
        known(format!("{}/global-default", schemas())).await
    );

    assert_eq!(send(&router, "POST", &levels(), jail("jail")).await.code, 201);
    assert_eq!(
        send(&router, "POST", &schemas(), schema("janes", "jane", "jail"))
            .await
            .code,
        201
    );
    let refused = ask(Some("jane"), "/version").await;
    assert_eq!(refused.status(), 429);
    assert_eq!(
        uid(&refused, "flowschema"),
        known(format!("{}/janes", schemas())).await
    );
    assert_eq!(
        uid(&refused, "prioritylevel"),
        known(format!("{}/jail", levels())).await
    );
    let others = join_all([Some("joe"), None].map(|user| ask(user, "/version"))).await;
    assert!(others.iter().all(|answer| answer.status() == 200));
    let metrics = get(&router, "/metrics").await;
    let text = metrics.body.as_str().unwrap();
    for series in [
        "apiserver_flowcontrol_nominal_limit_seats{priority_level=\"jail\"} 0\n",
        "apiserver_flowcontrol_nominal_limit_seats{priority_level=\"workload-low\"} 245\n",
        "apiserver_flowcontrol_rejected_requests_total{flow_schema=\"janes\",priority_level=\"jail\",reason=\"concurrency-limit\"} 1\n",
    ] {
        assert!(text.contains(series), "no {series} in {text}");
    }

    let gone = send(&router, "DELETE", &format!("{}/janes", schemas()), Value::Null).await;
    assert_eq!(gone.code, 200);
    assert_eq!(ask(Some("jane"), "/version").await.status(), 200);
}
