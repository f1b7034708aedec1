//! Watches: in order, none lost, none twice.

use std::{collections::BTreeMap, time::Duration};

use axum::{Router, body::Body};
use futures::{StreamExt as _, TryStreamExt as _};
use http::Request;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    runtime::{WatchStreamExt as _, reflector, watcher},
};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::support::{PATIENCE, WIDGETS, api, client, get, send, server, widget, widget_crd, widget_server};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// The lines of a watch as they come.
struct Lines {
    body: axum::body::BodyDataStream,
    buffer: Vec<u8>,
}

impl Lines {
    async fn open(router: &Router, path: &str) -> Self {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        Self {
            body: response.into_body().into_data_stream(),
            buffer: Vec::new(),
        }
    }

    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let chunk = tokio::time::timeout(PATIENCE, self.body.next())
                .await
                .expect("an event in time")?;
            self.buffer.extend_from_slice(&chunk.unwrap());
        }
    }
}

fn map(name: &str, label: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"l": label}}})
}

fn seen(event: &Value) -> (String, String) {
    let text = |pointer: &str| {
        event
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    (text("/type"), text("/object/metadata/name"))
}

#[tokio::test]
async fn selectors_give_the_right_events_at_their_border() {
    let server = server().await;
    let router = api(&server);
    let start = get(&router, MAPS)
        .await
        .text("/metadata/resourceVersion")
        .to_owned();
    let mut lines = Lines::open(
        &router,
        &format!("{MAPS}?watch=1&labelSelector=l%3Din&resourceVersion={start}"),
    )
    .await;
    send(&router, "POST", MAPS, map("a", "out")).await;
    let path = format!("{MAPS}/a");
    send(
        &router,
        "PATCH",
        &path,
        json!({"metadata": {"labels": {"l": "in"}}}),
    )
    .await;
    send(&router, "PATCH", &path, json!({"data": {"x": "1"}})).await;
    let out = send(
        &router,
        "PATCH",
        &path,
        json!({"metadata": {"labels": {"l": "out"}}}),
    )
    .await;
    send(
        &router,
        "PATCH",
        &path,
        json!({"metadata": {"labels": {"l": "in"}}}),
    )
    .await;
    send(&router, "DELETE", &path, Value::Null).await;
    let mut kinds = Vec::new();
    for index in 0..5 {
        let event = lines.next().await.unwrap();
        if index == 2 {
            assert_eq!(
                event["object"]["metadata"]["labels"]["l"], "in",
                "the state the client knew"
            );
            assert_eq!(
                event["object"]["metadata"]["resourceVersion"],
                out.text("/metadata/resourceVersion")
            );
        }
        kinds.push(seen(&event).0);
    }
    assert_eq!(kinds, ["ADDED", "MODIFIED", "DELETED", "ADDED", "DELETED"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_writers_are_seen_in_order_and_once() {
    const WRITERS: usize = 8;
    const WRITES: usize = 100;
    let server = server().await;
    let router = api(&server);
    let start = get(&router, MAPS)
        .await
        .text("/metadata/resourceVersion")
        .to_owned();
    let mut watches = Vec::new();
    for _ in 0..4 {
        watches.push(Lines::open(&router, &format!("{MAPS}?watch=1&resourceVersion={start}")).await);
    }
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let router = router.clone();
        writers.spawn(async move {
            let mut revisions = Vec::new();
            let name = format!("w{writer}");
            let made = send(&router, "POST", MAPS, map(&name, "x")).await;
            revisions.push(made.text("/metadata/resourceVersion").parse::<u64>().unwrap());
            for write in 1..WRITES {
                let done = send(
                    &router,
                    "PATCH",
                    &format!("{MAPS}/{name}"),
                    json!({"data": {"n": write.to_string()}}),
                )
                .await;
                revisions.push(done.text("/metadata/resourceVersion").parse::<u64>().unwrap());
            }
            revisions
        });
    }
    let mut written: Vec<u64> = writers.join_all().await.into_iter().flatten().collect();
    written.sort_unstable();
    for mut lines in watches {
        let mut revisions = Vec::new();
        while revisions.len() < WRITERS * WRITES {
            let event = lines.next().await.unwrap();
            revisions.push(
                event["object"]["metadata"]["resourceVersion"]
                    .as_str()
                    .unwrap()
                    .parse::<u64>()
                    .unwrap(),
            );
        }
        assert_eq!(revisions, written);
    }
}

#[tokio::test]
async fn the_past_is_gone_and_says_so() {
    let server = server().await;
    let router = api(&server);
    send(&router, "POST", MAPS, map("a", "0")).await;
    for index in 0..5000 {
        send(
            &router,
            "PATCH",
            &format!("{MAPS}/a"),
            json!({"data": {"n": index.to_string()}}),
        )
        .await;
    }
    let mut lines = Lines::open(&router, &format!("{MAPS}?watch=1&resourceVersion=2")).await;
    let event = lines.next().await.unwrap();
    assert_eq!(
        (
            &event["type"],
            &event["object"]["code"],
            &event["object"]["reason"]
        ),
        (&json!("ERROR"), &json!(410), &json!("Expired"))
    );
    assert!(lines.next().await.is_none());
    let exact = get(
        &router,
        &format!("{MAPS}?resourceVersion=2&resourceVersionMatch=Exact"),
    )
    .await;
    assert_eq!((exact.code, exact.text("/reason")), (410, "Expired"));
}

#[tokio::test]
async fn a_streaming_list_ends_with_its_bookmark() {
    let server = server().await;
    let router = api(&server);
    send(&router, "POST", MAPS, map("a", "0")).await;
    let query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&labelSelector=l";
    let mut lines = Lines::open(&router, &format!("{MAPS}?{query}")).await;
    assert_eq!(seen(&lines.next().await.unwrap()), ("ADDED".into(), "a".into()));
    let bookmark = lines.next().await.unwrap();
    assert_eq!(bookmark["type"], "BOOKMARK");
    assert_eq!(
        bookmark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"],
        "true"
    );
    send(&router, "POST", MAPS, map("b", "0")).await;
    assert_eq!(seen(&lines.next().await.unwrap()), ("ADDED".into(), "b".into()));
    let refused = get(&router, &format!("{MAPS}?watch=1&sendInitialEvents=true")).await;
    assert_eq!(refused.code, 422);
}

#[tokio::test]
async fn a_watch_ends_when_its_time_is_over() {
    let server = server().await;
    let router = api(&server);
    let mut lines = Lines::open(
        &router,
        &format!("{MAPS}?watch=1&timeoutSeconds=1&fieldSelector=metadata.name=none"),
    )
    .await;
    assert!(lines.next().await.is_none());
}

#[tokio::test]
async fn kubes_reflector_follows() {
    let server = server().await;
    let router = api(&server);
    for streaming in [false, true] {
        let maps: Api<ConfigMap> = Api::namespaced(client(&server), "default");
        let config = watcher::Config::default().labels("l");
        let config = if streaming {
            config.streaming_lists()
        } else {
            config
        };
        let (store, writer) = reflector::store();
        let stream = watcher(maps, config)
            .default_backoff()
            .reflect(writer)
            .applied_objects();
        let task = tokio::spawn(async move { stream.try_for_each(|_| async { Ok(()) }).await });
        tokio::time::timeout(PATIENCE, store.wait_until_ready())
            .await
            .unwrap()
            .unwrap();
        let mut expected = BTreeMap::new();
        for index in 0..20 {
            let name = format!("r{index}");
            send(&router, "POST", MAPS, map(&name, "1")).await;
            send(
                &router,
                "PATCH",
                &format!("{MAPS}/{name}"),
                json!({"data": {"i": index.to_string()}}),
            )
            .await;
            if index % 2 == 0 {
                send(&router, "DELETE", &format!("{MAPS}/{name}"), Value::Null).await;
            } else {
                expected.insert(name, index.to_string());
            }
        }
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let found: BTreeMap<String, String> = store
                .state()
                .iter()
                .filter_map(|map| Some((map.metadata.name.clone()?, map.data.as_ref()?.get("i")?.clone())))
                .collect();
            if found == expected {
                break;
            }
            assert!(tokio::time::Instant::now() < deadline, "{found:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        task.abort();
        send(&router, "DELETE", &format!("{MAPS}?labelSelector=l"), Value::Null).await;
    }
}

#[tokio::test]
async fn pages_that_are_too_old_go_on_with_what_is_there() {
    let server = server().await;
    let router = api(&server);
    for name in ["a", "b", "c", "d"] {
        send(&router, "POST", MAPS, map(name, "page")).await;
    }
    let query = "labelSelector=l%3Dpage&limit=2";
    let first = get(&router, &format!("{MAPS}?{query}")).await;
    let token = first.text("/metadata/continue").to_owned();
    assert_eq!(names(&first), ["a", "b"]);
    // Meanwhile the second page changes, and the log forgets how it was.
    send(&router, "DELETE", &format!("{MAPS}/c"), Value::Null).await;
    for name in ["b2", "e", "f"] {
        send(&router, "POST", MAPS, map(name, "page")).await;
    }
    let second = get(&router, &format!("{MAPS}?{query}&continue={token}")).await;
    assert_eq!(names(&second), ["c", "d"], "as it was");
    for index in 0..5000 {
        let patch = json!({"data": {"n": index.to_string()}});
        send(&router, "PATCH", &format!("{MAPS}/a"), patch).await;
    }
    let gone = get(&router, &format!("{MAPS}?{query}&continue={token}")).await;
    assert_eq!(
        (gone.code, gone.text("/reason"), gone.text("/kind")),
        (410, "Expired", "Status")
    );
    assert!(gone.text("/message").contains("results in an inconsistent list"));
    let token = gone.text("/metadata/continue").to_owned();
    let rest = get(&router, &format!("{MAPS}?{query}&continue={token}")).await;
    assert_eq!((rest.code, names(&rest)), (200, vec!["d".to_owned(), "e".into()]));
    // From here on the pages are of one state again.
    let token = rest.text("/metadata/continue").to_owned();
    send(&router, "DELETE", &format!("{MAPS}/f"), Value::Null).await;
    let last = get(&router, &format!("{MAPS}?{query}&continue={token}")).await;
    assert_eq!(names(&last), ["f"]);
    assert_eq!(
        last.text("/metadata/resourceVersion"),
        rest.text("/metadata/resourceVersion")
    );
}

fn names(answer: &crate::support::Answer) -> Vec<String> {
    let items = answer.body["items"].as_array().cloned().unwrap_or_default();
    let name = |item: &Value| item["metadata"]["name"].as_str().unwrap().to_owned();
    items.iter().map(name).collect()
}

/// A definition changes, and then goes, while its objects are watched: no event is lost and no watch hangs.
#[tokio::test]
async fn watches_end_with_the_definition_that_they_began_with() {
    let (server, router) = widget_server().await;
    send(&router, "POST", WIDGETS, widget("a", json!({}))).await;
    let start = get(&router, WIDGETS)
        .await
        .text("/metadata/resourceVersion")
        .to_owned();
    let mut lines = Lines::open(&router, &format!("{WIDGETS}?watch=1&resourceVersion={start}")).await;
    send(
        &router,
        "PATCH",
        &format!("{WIDGETS}/a"),
        json!({"spec": {"size": 2}}),
    )
    .await;
    let event = lines.next().await.unwrap();
    assert_eq!(
        (seen(&event).0.as_str(), &event["object"]["spec"]["size"]),
        ("MODIFIED", &json!(2))
    );
    let mut wider = widget_crd();
    wider["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["extra"] =
        json!({"type": "string", "default": "new"});
    server.install_crds(&[wider]).await.unwrap();
    assert!(lines.next().await.is_none(), "the old form is not shown on");

    // Where it broke off it goes on, in the new form.
    let from = event["object"]["metadata"]["resourceVersion"].as_str().unwrap();
    let mut lines = Lines::open(&router, &format!("{WIDGETS}?watch=1&resourceVersion={from}")).await;
    send(
        &router,
        "PATCH",
        &format!("{WIDGETS}/a"),
        json!({"spec": {"size": 3}}),
    )
    .await;
    let event = lines.next().await.unwrap();
    assert_eq!(
        (
            &event["object"]["spec"]["size"],
            &event["object"]["spec"]["extra"]
        ),
        (&json!(3), &json!("new"))
    );
    let crd = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.com";
    assert_eq!(send(&router, "DELETE", crd, Value::Null).await.code, 200);
    assert_eq!(seen(&lines.next().await.unwrap()), ("DELETED".into(), "a".into()));
    assert!(lines.next().await.is_none(), "nothing comes any more");
}

/// A revision that the server has not come to: the watch says so, as upstream's does, and does not wait for ever.
#[tokio::test]
async fn a_streaming_list_of_the_future_says_that_it_is() {
    let server = server().await;
    let router = api(&server);
    let query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&resourceVersion=99999999";
    let mut lines = Lines::open(&router, &format!("{MAPS}?{query}")).await;
    let event = lines.next().await.unwrap();
    assert_eq!(
        (
            &event["type"],
            &event["object"]["code"],
            &event["object"]["reason"]
        ),
        (&json!("ERROR"), &json!(504), &json!("Timeout"))
    );
    assert!(lines.next().await.is_none());
}
