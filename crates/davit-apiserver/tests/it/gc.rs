//! Owners and dependents, namespaces and what is in them.

use serde_json::{Value, json};

use crate::support::{api, get, send, server, until};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn map(name: &str, owner: Option<&Value>) -> Value {
    let mut map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
    if let Some(owner) = owner {
        map["metadata"]["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "ConfigMap",
            "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"], "blockOwnerDeletion": true}]);
    }
    map
}

#[tokio::test]
async fn dependents_go_with_their_owner() {
    let server = server().await;
    let router = api(&server);
    let owner = send(&router, "POST", MAPS, map("owner", None)).await.body;
    let child = send(&router, "POST", MAPS, map("child", Some(&owner))).await.body;
    send(&router, "POST", MAPS, map("grandchild", Some(&child))).await;
    send(&router, "DELETE", &format!("{MAPS}/owner"), Value::Null).await;
    until(&router, &format!("{MAPS}/grandchild"), |answer| {
        answer.code == 404
    })
    .await;
    assert_eq!(get(&router, &format!("{MAPS}/child")).await.code, 404);
}

#[tokio::test]
async fn an_owner_deleted_in_the_foreground_waits_for_its_dependents() {
    let server = server().await;
    let router = api(&server);
    let owner = send(&router, "POST", MAPS, map("owner", None)).await.body;
    let mut child = map("child", Some(&owner));
    child["metadata"]["finalizers"] = json!(["example.com/hold"]);
    send(&router, "POST", MAPS, child).await;
    let marked = send(
        &router,
        "DELETE",
        &format!("{MAPS}/owner?propagationPolicy=Foreground"),
        Value::Null,
    )
    .await;
    assert_eq!(
        marked.body["metadata"]["finalizers"],
        json!(["foregroundDeletion"])
    );
    let path = format!("{MAPS}/child");
    until(&router, &path, |answer| {
        !answer.text("/metadata/deletionTimestamp").is_empty()
    })
    .await;
    assert_eq!(get(&router, &format!("{MAPS}/owner")).await.code, 200);
    send(&router, "PATCH", &path, json!({"metadata": {"finalizers": null}})).await;
    until(&router, &format!("{MAPS}/owner"), |answer| answer.code == 404).await;
}

#[tokio::test]
async fn orphans_stay_and_lose_the_reference() {
    let server = server().await;
    let router = api(&server);
    let owner = send(&router, "POST", MAPS, map("owner", None)).await.body;
    send(&router, "POST", MAPS, map("child", Some(&owner))).await;
    send(
        &router,
        "DELETE",
        &format!("{MAPS}/owner"),
        json!({"propagationPolicy": "Orphan"}),
    )
    .await;
    until(&router, &format!("{MAPS}/owner"), |answer| answer.code == 404).await;
    let child = get(&router, &format!("{MAPS}/child")).await;
    assert_eq!(
        (child.code, &child.body["metadata"]["ownerReferences"]),
        (200, &Value::Null)
    );
}

#[tokio::test]
async fn a_dependent_of_nobody_goes_at_once() {
    let server = server().await;
    let router = api(&server);
    let nobody = json!({"metadata": {"name": "nobody", "uid": "none"}});
    send(&router, "POST", MAPS, map("child", Some(&nobody))).await;
    until(&router, &format!("{MAPS}/child"), |answer| answer.code == 404).await;
}

#[tokio::test]
async fn a_deleted_namespace_is_emptied_first() {
    let server = server().await;
    let router = api(&server);
    let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}});
    send(&router, "POST", "/api/v1/namespaces", body).await;
    let maps = "/api/v1/namespaces/team/configmaps";
    let mut held = map("held", None);
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    send(&router, "POST", maps, held).await;
    for index in 0..100 {
        send(&router, "POST", maps, map(&format!("m{index}"), None)).await;
    }
    let marked = send(&router, "DELETE", "/api/v1/namespaces/team", Value::Null).await;
    assert_eq!(marked.text("/status/phase"), "Terminating");
    until(&router, maps, |answer| {
        answer.body["items"]
            .as_array()
            .is_some_and(|items| items.len() == 1)
    })
    .await;
    let refused = send(&router, "POST", maps, map("late", None)).await;
    assert_eq!(
        (refused.code, refused.text("/details/causes/0/reason")),
        (403, "NamespaceTerminating")
    );
    let path = "/api/v1/namespaces/team";
    until(&router, path, |answer| {
        answer.body.to_string().contains("NamespaceFinalizersRemaining")
    })
    .await;
    send(
        &router,
        "PATCH",
        &format!("{maps}/held"),
        json!({"metadata": {"finalizers": []}}),
    )
    .await;
    until(&router, path, |answer| answer.code == 404).await;
    let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}});
    assert_eq!(send(&router, "POST", "/api/v1/namespaces", body).await.code, 201);
}

/// `kubectl delete -f` deletes the namespace first, then each object in it by name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_of_a_deleted_namespace_can_still_be_deleted_by_name() {
    let server = server().await;
    let router = api(&server);
    let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}});
    assert_eq!(send(&router, "POST", "/api/v1/namespaces", body).await.code, 201);
    let maps = "/api/v1/namespaces/team/configmaps";
    let names = ["a", "b", "c"];
    for name in names {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
        assert_eq!(send(&router, "POST", maps, map).await.code, 201);
    }
    let deleted = send(&router, "DELETE", "/api/v1/namespaces/team", Value::Null).await;
    assert_eq!(deleted.code, 200);
    // The garbage collector has seen the deletion when a later write has been followed.
    let owned = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "orphaned",
        "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "none", "uid": "none"}]}});
    assert_eq!(send(&router, "POST", MAPS, owned).await.code, 201);
    until(&router, &format!("{MAPS}/orphaned"), |answer| answer.code == 404).await;
    for name in names {
        let deleted = send(&router, "DELETE", &format!("{maps}/{name}"), Value::Null).await;
        assert_eq!(deleted.code, 200, "{name}");
    }
    until(&router, "/api/v1/namespaces/team", |answer| answer.code == 404).await;
}
