//! Create, get, list, update, patch, delete of built-in kinds, and how refusals look.

use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::support::{api, client, get, send, send_as, server, until};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"n": name}}, "data": {"k": name}})
}

#[tokio::test]
async fn kube_reads_back_what_it_wrote() {
    let server = server().await;
    let client = client(&server);
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace: Namespace = serde_json::from_value(
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}}),
    )
    .unwrap();
    let made = namespaces
        .create(&PostParams::default(), &namespace)
        .await
        .unwrap();
    assert_eq!(made.status.unwrap().phase.unwrap(), "Active");
    let secrets: Api<Secret> = Api::namespaced(client, "team");
    let secret: Secret = serde_json::from_value(
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"a": "b"}}),
    )
    .unwrap();
    let made = secrets.create(&PostParams::default(), &secret).await.unwrap();
    assert_eq!(made.data.as_ref().unwrap()["a"].0, b"b");
    assert_eq!(made.type_.as_deref(), Some("Opaque"));
    let patch = json!({"stringData": {"c": "d"}});
    let patched = secrets
        .patch("s", &PatchParams::default(), &Patch::Merge(patch))
        .await
        .unwrap();
    assert_eq!(patched.data.as_ref().unwrap().len(), 2);
    assert_eq!(secrets.list(&ListParams::default()).await.unwrap().items.len(), 1);
    secrets.delete("s", &DeleteParams::default()).await.unwrap();
    assert!(secrets.get_opt("s").await.unwrap().is_none());
}

#[tokio::test]
async fn every_namespace_has_its_account_and_certificate() {
    let server = server().await;
    let router = api(&server);
    let answer = until(
        &router,
        "/api/v1/namespaces/default/configmaps/kube-root-ca.crt",
        |a| a.code == 200,
    )
    .await;
    assert!(answer.text("/data/ca.crt").starts_with("-----BEGIN CERTIFICATE"));
    let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}});
    assert_eq!(send(&router, "POST", "/api/v1/namespaces", body).await.code, 201);
    until(&router, "/api/v1/namespaces/team/serviceaccounts/default", |a| {
        a.code == 200
    })
    .await;
    until(
        &router,
        "/api/v1/namespaces/team/configmaps/kube-root-ca.crt",
        |a| a.code == 200,
    )
    .await;
}

#[tokio::test]
async fn refusals_are_worded_as_upstream_words_them() {
    let server = server().await;
    let router = api(&server);
    send(&router, "POST", MAPS, map("a")).await;
    let rows = [
        (
            "GET",
            format!("{MAPS}/b"),
            Value::Null,
            404,
            "NotFound",
            r#"configmaps "b" not found"#,
        ),
        (
            "POST",
            MAPS.to_owned(),
            map("a"),
            409,
            "AlreadyExists",
            r#"configmaps "a" already exists"#,
        ),
        (
            "POST",
            "/api/v1/namespaces/no/configmaps".into(),
            map("a"),
            404,
            "NotFound",
            r#"namespaces "no" not found"#,
        ),
        (
            "GET",
            "/api/v1/nothings".into(),
            Value::Null,
            404,
            "NotFound",
            "the server could not find the requested resource",
        ),
        (
            "PATCH",
            MAPS.to_owned(),
            json!({}),
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        ),
        (
            "DELETE",
            "/api/v1/namespaces".into(),
            Value::Null,
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        ),
        (
            "PUT",
            format!("{MAPS}/b"),
            map("a"),
            400,
            "BadRequest",
            "the name of the object (a) does not match the name on the URL (b)",
        ),
        (
            "POST",
            MAPS.to_owned(),
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}}),
            422,
            "Invalid",
            r#"ConfigMap "" is invalid: metadata.name: Required value: name or generateName is required"#,
        ),
        (
            "POST",
            MAPS.to_owned(),
            json!({"apiVersion": "v2", "kind": "ConfigMap", "metadata": {"name": "x"}}),
            400,
            "BadRequest",
            "the API version in the data (v2) does not match the expected API version (v1)",
        ),
        (
            "GET",
            format!("{MAPS}?labelSelector=a%20b"),
            Value::Null,
            400,
            "BadRequest",
            "",
        ),
        (
            "GET",
            format!("{MAPS}?fieldSelector=data.x=1"),
            Value::Null,
            400,
            "BadRequest",
            r#""data.x" is not a known field selector: only "metadata.name", "metadata.namespace""#,
        ),
    ];
    for (method, path, body, code, reason, message) in rows {
        let answer = send(&router, method, &path, body).await;
        assert_eq!(
            (answer.code, answer.text("/reason")),
            (code, reason),
            "{method} {path}: {}",
            answer.body
        );
        assert_eq!(answer.text("/kind"), "Status");
        if !message.is_empty() {
            assert_eq!(answer.text("/message"), message);
        }
    }
    assert_eq!(
        get(&router, "/apis/none.example.com/v1/things").await.body,
        "404 page not found\n"
    );
    let headers = [("accept", "text/html")];
    assert_eq!(
        send_as(&router, "GET", MAPS, &headers, Value::Null).await.code,
        406
    );
    let headers = [("content-type", "text/plain")];
    assert_eq!(send_as(&router, "POST", MAPS, &headers, map("z")).await.code, 415);
}

#[tokio::test]
async fn a_stale_write_is_a_conflict() {
    let server = server().await;
    let router = api(&server);
    let first = send(&router, "POST", MAPS, map("a")).await.body;
    let mut second = first.clone();
    second["data"]["k"] = "new".into();
    let path = format!("{MAPS}/a");
    assert_eq!(send(&router, "PUT", &path, second.clone()).await.code, 200);
    let stale = send(&router, "PUT", &path, second.clone()).await;
    assert_eq!((stale.code, stale.text("/reason")), (409, "Conflict"));
    second["metadata"]
        .as_object_mut()
        .unwrap()
        .remove("resourceVersion");
    assert_eq!(send(&router, "PUT", &path, second).await.code, 200);
    let named = json!({"metadata": {"resourceVersion": "1"}, "data": {"z": "1"}});
    assert_eq!(send(&router, "PATCH", &path, named).await.code, 409);
    let body = json!({"preconditions": {"uid": "other"}});
    assert_eq!(send(&router, "DELETE", &path, body).await.code, 409);
}

#[tokio::test]
async fn a_write_that_changes_nothing_is_none() {
    let server = server().await;
    let router = api(&server);
    let first = send(&router, "POST", MAPS, map("a")).await;
    let again = send(
        &router,
        "PATCH",
        &format!("{MAPS}/a"),
        json!({"data": {"k": "a"}}),
    )
    .await;
    assert_eq!(
        first.text("/metadata/resourceVersion"),
        again.text("/metadata/resourceVersion")
    );
    let dry = send(
        &router,
        "PATCH",
        &format!("{MAPS}/a?dryRun=All"),
        json!({"data": {"k": "b"}}),
    )
    .await;
    assert_eq!((dry.code, dry.text("/data/k")), (200, "b"));
    assert_eq!(get(&router, &format!("{MAPS}/a")).await.text("/data/k"), "a");
}

#[tokio::test]
async fn pages_show_one_revision() {
    let server = server().await;
    let router = api(&server);
    for index in 0..10 {
        send(&router, "POST", MAPS, map(&format!("m{index}"))).await;
    }
    let selector = "labelSelector=n";
    let first = get(&router, &format!("{MAPS}?limit=4&{selector}")).await;
    send(&router, "DELETE", &format!("{MAPS}/m9"), Value::Null).await;
    send(
        &router,
        "PATCH",
        &format!("{MAPS}/m8"),
        json!({"data": {"k": "late"}}),
    )
    .await;
    send(&router, "POST", MAPS, map("m85")).await;
    let mut names = Vec::new();
    let mut page = first;
    loop {
        for item in page.body["items"].as_array().unwrap() {
            names.push(item["metadata"]["name"].as_str().unwrap().to_owned());
            assert_ne!(item["data"]["k"], "late");
        }
        let next = page.text("/metadata/continue").to_owned();
        if next.is_empty() {
            break;
        }
        page = get(&router, &format!("{MAPS}?limit=4&{selector}&continue={next}")).await;
        assert_eq!(page.code, 200, "{}", page.body);
    }
    assert_eq!(
        names,
        (0..10).map(|index| format!("m{index}")).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn index_names_paths_that_are_there() {
    let server = server().await;
    let router = api(&server);
    let index = get(&router, "/").await;
    let paths = index.body["paths"].as_array().unwrap();
    let paths: Vec<&str> = paths.iter().map(|path| path.as_str().unwrap()).collect();
    assert!(paths.is_sorted(), "{paths:?}");
    for wanted in [
        "/apis/rbac.authorization.k8s.io/v1",
        "/apis/events.k8s.io",
        "/readyz/shutdown",
        "/openid/v1/jwks",
    ] {
        assert!(paths.contains(&wanted), "{wanted}: {paths:?}");
    }
    for path in paths.into_iter().filter(|path| *path != "/backup") {
        assert_eq!(get(&router, path).await.code, 200, "{path}");
    }
}

#[tokio::test]
async fn strangers_are_refused() {
    let server = server().await;
    let router = server.router();
    assert_eq!(get(&router, MAPS).await.code, 401);
    assert_eq!(get(&router, "/apis").await.code, 401);
    for path in ["/healthz", "/livez", "/readyz"] {
        assert_eq!(get(&router, path).await.body, "ok");
    }
    let somebody = server.router_as(davit_apiserver::Identity::new("jane", &[]));
    assert_eq!(get(&somebody, "/apis").await.code, 200);
    let refused = get(&somebody, MAPS).await;
    assert_eq!(refused.code, 403);
    assert_eq!(
        refused.text("/message"),
        r#"configmaps is forbidden: User "jane" cannot list resource "configmaps" in API group "" in the namespace "default""#
    );
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let router = api(&server);
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "r"},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}]});
    assert_eq!(
        send(&router, "POST", &format!("{rbac}/clusterroles"), role)
            .await
            .code,
        201
    );
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "b"},
        "subjects": [{"kind": "User", "name": "jane"}], "roleRef": {"apiGroup": "rbac.authorization.k8s.io",
        "kind": "ClusterRole", "name": "r"}});
    let answer = send(
        &router,
        "POST",
        &format!("{rbac}/namespaces/default/rolebindings"),
        binding,
    )
    .await;
    assert_eq!(answer.code, 201, "{}", answer.body);
    assert_eq!(get(&somebody, MAPS).await.code, 200);
    assert_eq!(
        get(&somebody, "/api/v1/namespaces/kube-system/configmaps")
            .await
            .code,
        403
    );
}
