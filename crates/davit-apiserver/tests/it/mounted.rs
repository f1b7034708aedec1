//! An API group that the embedding program serves: the permissions that a user needs, its discovery, and the requests that its router gets.

use axum::{Extension, Json, Router, extract::Path, routing::get};
use davit_apiserver::{ApiServer, Identity, MountError};
use http::HeaderMap;
use serde_json::{Value, json};

use crate::support::{api, get as ask, send, send_as, server, until};

const GROUP: &str = "sub.example.com";
const LIGHT: &str = "/apis/sub.example.com/v1/namespaces/home/lamps/desk/light";

fn router() -> Router {
    let entry = json!({"name": "lamps/light", "singularName": "", "namespaced": true, "kind": "Lamp", "verbs": ["get"]});
    let list = json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "sub.example.com/v1",
        "resources": [entry]});
    let light = |Extension(caller): Extension<Identity>,
                 Path((namespace, name)): Path<(String, String)>,
                 headers: HeaderMap| async move {
        let user = headers.get("x-remote-user").and_then(|value| value.to_str().ok());
        Json(
            json!({"namespace": namespace, "name": name, "caller": caller.user, "user": user,
            "credential": headers.contains_key("authorization")}),
        )
    };
    Router::new()
        .route("/apis/sub.example.com/v1", get(move || async move { Json(list) }))
        .route(
            "/apis/sub.example.com/v1/namespaces/{namespace}/lamps/{name}/light",
            get(light),
        )
}

async fn mounted() -> ApiServer {
    let server = server().await;
    server.mount(GROUP, "v1", router()).await.unwrap();
    server
}

/// Lets jane do this in the namespace `home`.
async fn permit(server: &ApiServer, rule: Value) {
    let all = api(server);
    let rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/home";
    send(
        &all,
        "POST",
        "/api/v1/namespaces",
        json!({"metadata": {"name": "home"}}),
    )
    .await;
    let role = json!({"metadata": {"name": "r"}, "rules": [rule]});
    assert_eq!(send(&all, "POST", &format!("{rbac}/roles"), role).await.code, 201);
    let binding = json!({"metadata": {"name": "b"}, "subjects": [{"kind": "User", "name": "jane",
        "apiGroup": "rbac.authorization.k8s.io"}],
        "roleRef": {"kind": "Role", "name": "r", "apiGroup": "rbac.authorization.k8s.io"}});
    assert_eq!(
        send(&all, "POST", &format!("{rbac}/rolebindings"), binding)
            .await
            .code,
        201
    );
}

fn rule(resource: &str, verb: &str) -> Value {
    json!({"apiGroups": [GROUP], "resources": [resource], "verbs": [verb]})
}

#[tokio::test]
async fn router_sees_the_caller_and_no_credential() {
    let server = mounted().await;
    permit(&server, rule("lamps/light", "get")).await;
    let jane = server.router_as(Identity::new("jane", &[]));
    let forged = [("authorization", "Bearer x"), ("x-remote-user", "root")];
    let answer = send_as(&jane, "GET", LIGHT, &forged, Value::Null).await;
    assert_eq!(answer.code, 200, "{}", answer.body);
    let expected =
        json!({"namespace": "home", "name": "desk", "caller": "jane", "user": "jane", "credential": false});
    assert_eq!(answer.body, expected);
}

#[tokio::test]
async fn request_without_permission_is_refused_with_the_role_that_grants_it() {
    let server = mounted().await;
    // The resource without the subresource, another verb, another resource: none of them is enough.
    permit(&server, rule("lamps", "get")).await;
    let jane = server.router_as(Identity::new("jane", &[]));
    let refused = ask(&jane, LIGHT).await;
    assert_eq!((refused.code, refused.text("/reason")), (403, "Forbidden"));
    let expected = "lamps.sub.example.com \"desk\" is forbidden: User \"jane\" cannot get resource \"lamps/light\" in API \
                    group \"sub.example.com\" in the namespace \"home\"";
    assert_eq!(refused.text("/message"), expected);
    assert_eq!(send(&jane, "POST", LIGHT, json!({})).await.code, 403);

    let mut role = json!({"metadata": {"name": "lamp-reader"}, "rules": [rule("lamps/light", "get")]});
    let roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
    assert_eq!(send(&api(&server), "POST", roles, role.clone()).await.code, 201);
    let hinted = ask(&jane, LIGHT).await;
    let hint = ": a RoleBinding to the ClusterRole \"lamp-reader\" in this namespace permits it";
    assert_eq!(hinted.text("/message"), format!("{expected}{hint}"));
    // A role of users is preferred to one of any name.
    role["metadata"] =
        json!({"name": "a", "labels": {"rbac.authorization.k8s.io/aggregate-to-view": "true"}});
    assert_eq!(send(&api(&server), "POST", roles, role).await.code, 201);
    until(&jane, LIGHT, |answer| {
        answer.text("/message").contains("ClusterRole \"view\"")
    })
    .await;

    let anonymous = ask(&server.router(), LIGHT).await;
    assert_eq!(anonymous.code, 401);
}

#[tokio::test]
async fn group_is_discovered_like_any_other() {
    let server = mounted().await;
    let all = api(&server);
    let groups = ask(&all, "/apis").await.body;
    let group = json!({"name": GROUP, "versions": [{"groupVersion": "sub.example.com/v1", "version": "v1"}],
        "preferredVersion": {"groupVersion": "sub.example.com/v1", "version": "v1"}});
    assert!(groups["groups"].as_array().unwrap().contains(&group), "{groups}");
    assert_eq!(ask(&all, "/apis/sub.example.com").await.body["kind"], "APIGroup");
    let list = ask(&all, "/apis/sub.example.com/v1").await.body;
    assert_eq!(list["resources"][0]["name"], "lamps/light");
    let accept = [(
        "accept",
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
    )];
    let aggregated = send_as(&all, "GET", "/apis", &accept, Value::Null).await.body;
    let items = aggregated["items"].as_array().unwrap();
    let found = items
        .iter()
        .find(|item| item["metadata"]["name"] == GROUP)
        .unwrap();
    let subresource = &found["versions"][0]["resources"][0]["subresources"][0];
    assert_eq!(subresource["subresource"], "light", "{found}");
    // The kube client reads it too.
    let discovery = kube::discovery::Discovery::new(crate::support::client(&server));
    assert!(discovery.run().await.unwrap().has_group(GROUP));
}

#[tokio::test]
async fn group_without_a_description_or_with_a_taken_name_is_not_mounted() {
    let server = mounted().await;
    let taken = server.mount(GROUP, "v2", router()).await;
    assert!(matches!(taken, Err(MountError::Taken(_))));
    let taken = server.mount("apps", "v1", router()).await;
    assert!(
        matches!(taken, Err(MountError::NotDescribed { code: 404, .. })),
        "{taken:?}"
    );
    let taken = server.mount("rbac.authorization.k8s.io", "v1", router()).await;
    assert!(matches!(taken, Err(MountError::Taken(_))));
    assert_eq!(ask(&api(&server), "/apis/sub.example.com/v2").await.code, 404);
}
