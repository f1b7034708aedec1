//! Server-side apply: owners, conflicts, force, what is left out, status.

use axum::Router;
use serde_json::{Value, json};

use crate::support::{Answer, WIDGETS, get, send_as, widget, widget_server};

async fn apply(router: &Router, path: &str, manager: &str, force: bool, body: Value) -> Answer {
    let path = format!("{path}?fieldManager={manager}&force={force}");
    send_as(
        router,
        "PATCH",
        &path,
        &[("content-type", "application/apply-patch+yaml")],
        body,
    )
    .await
}

fn managers(answer: &Answer) -> Vec<(String, String)> {
    let entries = answer.body["metadata"]["managedFields"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let text = |entry: &Value, key: &str| entry[key].as_str().unwrap_or_default().to_owned();
    entries
        .iter()
        .map(|entry| (text(entry, "manager"), text(entry, "operation")))
        .collect()
}

#[tokio::test]
async fn fields_have_owners() {
    let (_server, router) = widget_server().await;
    let path = format!("{WIDGETS}/a");
    let made = apply(
        &router,
        &path,
        "one",
        false,
        widget("a", json!({"size": 1, "parts": ["x"]})),
    )
    .await;
    assert_eq!(made.code, 201, "{}", made.body);
    assert_eq!(managers(&made), [("one".to_owned(), "Apply".to_owned())]);
    let again = apply(
        &router,
        &path,
        "one",
        false,
        widget("a", json!({"size": 1, "parts": ["x"]})),
    )
    .await;
    assert_eq!(
        again.text("/metadata/resourceVersion"),
        made.text("/metadata/resourceVersion")
    );
    let conflict = apply(&router, &path, "two", false, widget("a", json!({"size": 2}))).await;
    assert_eq!((conflict.code, conflict.text("/reason")), (409, "Conflict"));
    assert_eq!(conflict.text("/details/causes/0/field"), ".spec.size");
    assert_eq!(conflict.text("/details/causes/0/reason"), "FieldManagerConflict");
    let forced = apply(&router, &path, "two", true, widget("a", json!({"size": 2}))).await;
    assert_eq!((forced.code, &forced.body["spec"]["size"]), (200, &json!(2)));
    let less = apply(&router, &path, "one", false, widget("a", json!({}))).await;
    assert_eq!(
        less.body["spec"],
        json!({"size": 2, "colour": "red"}),
        "what only `one` owned is gone"
    );
}

#[tokio::test]
async fn status_is_applied_through_its_subresource() {
    let (_server, router) = widget_server().await;
    let path = format!("{WIDGETS}/a");
    apply(&router, &path, "user", false, widget("a", json!({"size": 1}))).await;
    let status = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "a"},
        "status": {"phase": "done"}});
    let done = apply(
        &router,
        &format!("{path}/status"),
        "controller",
        true,
        status.clone(),
    )
    .await;
    assert_eq!(
        (done.code, done.text("/status/phase")),
        (200, "done"),
        "{}",
        done.body
    );
    assert_eq!(done.body["spec"]["size"], 1);
    let again = apply(&router, &format!("{path}/status"), "controller", true, status).await;
    assert_eq!(
        again.text("/metadata/resourceVersion"),
        done.text("/metadata/resourceVersion")
    );
    let main = apply(&router, &path, "user", false, widget("a", json!({"size": 1}))).await;
    assert_eq!(main.text("/status/phase"), "done");
}

#[tokio::test]
async fn other_writes_are_tracked_by_the_clients_name() {
    let (_server, router) = widget_server().await;
    let agent = [
        ("user-agent", "tester/1.0 (linux)"),
        ("content-type", "application/json"),
    ];
    let made = send_as(&router, "POST", WIDGETS, &agent, widget("a", json!({"size": 1}))).await;
    assert_eq!(managers(&made), [("tester".to_owned(), "Update".to_owned())]);
    let owned = &made.body["metadata"]["managedFields"][0]["fieldsV1"];
    assert_eq!(owned["f:spec"]["f:size"], json!({}));
    let read = get(&router, &format!("{WIDGETS}/a")).await;
    assert_eq!(managers(&read), managers(&made));
}
