//! CRDs and their objects: served at once, defaulted, pruned, checked; status, scale, generation, tables.

use serde_json::{Value, json};

use crate::support::{WIDGETS, get, send, send_as, until, widget, widget_crd, widget_server};

#[tokio::test]
async fn a_crd_is_served_the_moment_it_is_made() {
    let (_server, router) = widget_server().await;
    let crd = get(
        &router,
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.com",
    )
    .await;
    let conditions = crd.body["status"]["conditions"].as_array().unwrap();
    for kind in ["NamesAccepted", "Established"] {
        assert!(
            conditions
                .iter()
                .any(|condition| condition["type"] == kind && condition["status"] == "True")
        );
    }
    assert_eq!(crd.body["status"]["storedVersions"], json!(["v1"]));
    let made = send(
        &router,
        "POST",
        WIDGETS,
        widget("a", json!({"size": 1, "nonsense": 2})),
    )
    .await;
    assert_eq!(made.code, 201, "{}", made.body);
    assert_eq!(made.body["spec"], json!({"size": 1, "colour": "red"}));
    assert_eq!(made.body["status"], json!({"observedGeneration": -1}));
    assert_eq!(
        made.headers["warning"],
        r#"299 - "unknown field \"spec.nonsense\"""#
    );
    let resources = get(&router, "/apis/example.com/v1").await;
    assert_eq!(resources.body["resources"][0]["name"], "widgets");
}

#[tokio::test]
async fn what_the_schema_forbids_is_refused() {
    let (_server, router) = widget_server().await;
    let rows = [
        (
            json!({"size": "x"}),
            r#"spec.size: Invalid value: "string": spec.size in body must be of type integer: "string""#,
        ),
        (
            json!({"size": -1}),
            "spec.size: Invalid value: -1: spec.size in body should be greater than or equal to 0",
        ),
        (json!({"size": 13}), "spec: Invalid value: not thirteen"),
    ];
    for (spec, message) in rows {
        let refused = send(&router, "POST", WIDGETS, widget("a", spec)).await;
        assert_eq!((refused.code, refused.text("/reason")), (422, "Invalid"));
        assert!(
            refused.text("/message").contains(message),
            "{} / {message}",
            refused.body
        );
    }
    let strict = send(
        &router,
        "POST",
        &format!("{WIDGETS}?fieldValidation=Strict"),
        widget("a", json!({"x": 1})),
    )
    .await;
    assert_eq!(strict.code, 400);
    assert!(
        strict
            .text("/message")
            .contains(r#"strict decoding error: unknown field "spec.x""#)
    );
    let mut bad = widget_crd();
    bad["metadata"]["name"] = "wrong.example.com".into();
    let refused = send(
        &router,
        "POST",
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
        bad,
    )
    .await;
    assert_eq!(refused.code, 422);
}

#[tokio::test]
async fn status_and_spec_keep_apart_and_generation_counts_spec() {
    let (_server, router) = widget_server().await;
    let path = format!("{WIDGETS}/a");
    send(&router, "POST", WIDGETS, widget("a", json!({"size": 1}))).await;
    let main = send(
        &router,
        "PATCH",
        &path,
        json!({"status": {"phase": "no"}, "spec": {"size": 2}}),
    )
    .await;
    assert_eq!(main.body["status"]["phase"], Value::Null);
    assert_eq!(main.body["metadata"]["generation"], 2);
    let status = send(
        &router,
        "PATCH",
        &format!("{path}/status"),
        json!({"status": {"phase": "yes"}, "spec": {"size": 3}}),
    )
    .await;
    assert_eq!(status.code, 200, "{}", status.body);
    assert_eq!(
        (&status.body["status"]["phase"], &status.body["spec"]["size"]),
        (&json!("yes"), &json!(2))
    );
    assert_eq!(status.body["metadata"]["generation"], 2);
    let labelled = send(
        &router,
        "PATCH",
        &path,
        json!({"metadata": {"labels": {"a": "b"}}}),
    )
    .await;
    assert_eq!(labelled.body["metadata"]["generation"], 2);
    let again = send(
        &router,
        "PATCH",
        &format!("{path}/status"),
        json!({"status": {"phase": "yes"}}),
    )
    .await;
    assert_eq!(
        labelled.text("/metadata/resourceVersion"),
        again.text("/metadata/resourceVersion")
    );
    let strategic = [("content-type", "application/strategic-merge-patch+json")];
    assert_eq!(
        send_as(&router, "PATCH", &path, &strategic, json!({})).await.code,
        415
    );
    let ops = json!([{"op": "test", "path": "/spec/size", "value": 2}, {"op": "replace", "path": "/spec/size", "value": 5}]);
    assert_eq!(
        send(&router, "PATCH", &path, ops.clone()).await.body["spec"]["size"],
        5
    );
    assert_eq!(send(&router, "PATCH", &path, ops).await.code, 422);
}

#[tokio::test]
async fn scale_reads_and_writes_the_paths_of_the_crd() {
    let (_server, router) = widget_server().await;
    send(&router, "POST", WIDGETS, widget("a", json!({"size": 3}))).await;
    let path = format!("{WIDGETS}/a/scale");
    let scale = get(&router, &path).await;
    assert_eq!(
        (scale.text("/kind"), &scale.body["spec"]["replicas"]),
        ("Scale", &json!(3))
    );
    let scaled = send(&router, "PATCH", &path, json!({"spec": {"replicas": 5}})).await;
    assert_eq!(scaled.body["spec"]["replicas"], 5, "{}", scaled.body);
    assert_eq!(
        get(&router, &format!("{WIDGETS}/a")).await.body["spec"]["size"],
        5
    );
}

#[tokio::test]
async fn finalizers_hold_an_object() {
    let (_server, router) = widget_server().await;
    let mut held = widget("a", json!({}));
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    send(&router, "POST", WIDGETS, held).await;
    let path = format!("{WIDGETS}/a");
    let marked = send(&router, "DELETE", &path, Value::Null).await;
    assert_eq!(marked.code, 200);
    assert!(!marked.text("/metadata/deletionTimestamp").is_empty());
    assert_eq!(marked.body["metadata"]["generation"], 2);
    let refused = send(
        &router,
        "PATCH",
        &path,
        json!({"metadata": {"finalizers": ["example.com/hold", "example.com/b"]}}),
    )
    .await;
    assert_eq!(refused.code, 422);
    let gone = send(&router, "PATCH", &path, json!({"metadata": {"finalizers": null}})).await;
    assert_eq!(gone.code, 200, "{}", gone.body);
    assert_eq!(get(&router, &path).await.code, 404);
}

#[tokio::test]
async fn tables_metadata_and_yaml_are_given_to_who_asks() {
    let (_server, router) = widget_server().await;
    send(&router, "POST", WIDGETS, widget("a", json!({"size": 3}))).await;
    let table = [(
        "accept",
        "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
    )];
    let answer = send_as(&router, "GET", WIDGETS, &table, Value::Null).await;
    assert_eq!(answer.text("/kind"), "Table");
    assert_eq!(answer.body["rows"][0]["cells"], json!(["a", 3, "red"]));
    assert_eq!(answer.body["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    let partial = [(
        "accept",
        "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
    )];
    let answer = send_as(&router, "GET", WIDGETS, &partial, Value::Null).await;
    assert_eq!(answer.text("/kind"), "PartialObjectMetadataList");
    assert_eq!(answer.body["items"][0]["metadata"]["name"], "a");
    assert_eq!(answer.body["items"][0]["spec"], Value::Null);
    let yaml = send_as(
        &router,
        "GET",
        &format!("{WIDGETS}/a"),
        &[("accept", "application/yaml")],
        Value::Null,
    )
    .await;
    assert!(
        yaml.body.as_str().unwrap().contains("kind: Widget"),
        "{}",
        yaml.body
    );
}

#[tokio::test]
async fn a_deleted_crd_takes_its_objects_along() {
    let (_server, router) = widget_server().await;
    let crd = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.com";
    send(&router, "POST", WIDGETS, widget("a", json!({}))).await;
    assert_eq!(send(&router, "DELETE", crd, Value::Null).await.code, 200);
    until(&router, crd, |answer| answer.code == 404).await;
    until(&router, WIDGETS, |answer| answer.code == 404).await;
    assert_eq!(
        send(
            &router,
            "POST",
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
            widget_crd()
        )
        .await
        .code,
        201
    );
    assert_eq!(get(&router, WIDGETS).await.body["items"], json!([]));
}

#[tokio::test]
async fn selectable_fields_select() {
    let (_server, router) = widget_server().await;
    send(&router, "POST", WIDGETS, widget("a", json!({"colour": "blue"}))).await;
    send(&router, "POST", WIDGETS, widget("b", json!({}))).await;
    let blue = get(&router, &format!("{WIDGETS}?fieldSelector=spec.colour=blue")).await;
    assert_eq!(blue.body["items"].as_array().unwrap().len(), 1);
    assert_eq!(blue.body["items"][0]["metadata"]["name"], "a");
}

#[tokio::test]
async fn installing_the_same_crds_again_writes_nothing() {
    let (server, router) = widget_server().await;
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.com";
    let before = get(&router, path).await;
    server.install_crds(&[widget_crd()]).await.unwrap();
    let after = get(&router, path).await;
    assert_eq!(before.body, after.body);
    let mut wider = widget_crd();
    wider["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["extra"] =
        json!({"type": "string", "default": "new"});
    server.install_crds(&[wider]).await.unwrap();
    assert_eq!(get(&router, path).await.body["metadata"]["generation"], 2);
    let made = send(&router, "POST", WIDGETS, widget("a", json!({}))).await;
    assert_eq!(made.text("/spec/extra"), "new");
}

#[tokio::test]
async fn defaults_that_a_crd_gains_later_are_there_when_old_objects_are_read() {
    let (server, router) = widget_server().await;
    let made = send(&router, "POST", WIDGETS, widget("a", json!({}))).await;
    let mut wider = widget_crd();
    wider["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["extra"] =
        json!({"type": "string", "default": "new"});
    server.install_crds(&[wider]).await.unwrap();
    let read = get(&router, &format!("{WIDGETS}/a")).await;
    assert_eq!(read.text("/spec/extra"), "new");
    assert_eq!(
        read.text("/metadata/resourceVersion"),
        made.text("/metadata/resourceVersion")
    );
    assert_eq!(get(&router, WIDGETS).await.text("/items/0/spec/extra"), "new");
}
