//! `/metrics`: which requests the API server counts, and which users may read the counts.

use davit_apiserver::Identity;
use serde_json::json;

use crate::support::{WIDGETS, get, send, widget, widget_server};

#[tokio::test]
async fn metrics_count_requests_and_objects_under_upstream_names() {
    let (_server, router) = widget_server().await;
    assert_eq!(
        send(&router, "POST", WIDGETS, widget("a", json!({}))).await.code,
        201
    );
    assert_eq!(
        send(&router, "POST", WIDGETS, widget("a", json!({}))).await.code,
        409
    );
    assert_eq!(get(&router, WIDGETS).await.code, 200);
    assert_eq!(get(&router, "/apis/example.com/v1/widgets").await.code, 200);
    assert_eq!(get(&router, &format!("{WIDGETS}/none")).await.code, 404);
    let status = send(
        &router,
        "PATCH",
        &format!("{WIDGETS}/a/status?dryRun=All"),
        json!({"status": {}}),
    )
    .await;
    assert_eq!(status.code, 200);
    // A resource that does not exist makes no series.
    assert_eq!(get(&router, "/apis/example.com/v1/gadgets").await.code, 404);
    let answer = get(&router, "/metrics").await;
    let text = answer.body.as_str().unwrap();
    let series = |code: u16, dry: &str, scope: &str, subresource: &str, verb: &str| {
        format!(
            "apiserver_request_total{{code=\"{code}\",component=\"apiserver\",dry_run=\"{dry}\",group=\"example.com\",\
             resource=\"widgets\",scope=\"{scope}\",subresource=\"{subresource}\",verb=\"{verb}\",version=\"v1\"}} 1\n"
        )
    };
    for wanted in [
        series(201, "", "resource", "", "POST"),
        series(409, "", "resource", "", "POST"),
        series(200, "", "namespace", "", "LIST"),
        series(200, "", "cluster", "", "LIST"),
        series(404, "", "resource", "", "GET"),
        series(200, "All", "resource", "status", "PATCH"),
        "apiserver_resource_objects{group=\"example.com\",resource=\"widgets\"} 1\n".to_owned(),
        "apiserver_current_inflight_requests{request_kind=\"readOnly\"} 1\n".to_owned(),
    ] {
        assert!(text.contains(&wanted), "no {wanted} in {text}");
    }
    assert!(!text.contains("gadgets"), "{text}");
    assert!(text.ends_with("# EOF\n"), "{text}");
}

#[tokio::test]
async fn metrics_show_a_watch_while_it_is_read() {
    use tower::ServiceExt as _;
    let (_server, router) = widget_server().await;
    let request = http::Request::get(format!("{WIDGETS}?watch=1"))
        .body(axum::body::Body::empty())
        .unwrap();
    let watch = router.clone().oneshot(request).await.unwrap();
    let series = "apiserver_longrunning_requests{component=\"apiserver\",dry_run=\"\",group=\"example.com\",\
                  resource=\"widgets\",scope=\"namespace\",subresource=\"\",verb=\"WATCH\",version=\"v1\"}";
    let has = async |number: u8| {
        let answer = get(&router, "/metrics").await;
        let text = answer.body.as_str().unwrap().to_owned();
        assert!(text.contains(&format!("{series} {number}\n")), "{text}");
    };
    has(1).await;
    drop(watch);
    has(0).await;
}

#[tokio::test]
async fn metrics_are_refused_to_users_without_the_right() {
    let (server, _router) = widget_server().await;
    let router = server.router_as(Identity::new("jane", &["system:authenticated"]));
    let answer = get(&router, "/metrics").await;
    assert_eq!(answer.code, 403);
    assert!(
        answer.text("/message").contains("cannot get path \"/metrics\""),
        "{}",
        answer.body
    );
}
