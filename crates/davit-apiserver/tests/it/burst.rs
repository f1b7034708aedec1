//! Memory after many large answers at once.

use std::time::{Duration, Instant};

use futures::{StreamExt as _, future::join_all, stream};
use http::Request;
use http_body_util::BodyExt as _;
use kube::{api::PostParams, client::Body};

use crate::kill::{Server, map};

/// 43 MB of objects, listed by so many clients at once.
const OBJECTS: usize = 430;
const OBJECT_BYTES: usize = 100_000;
const CLIENTS: usize = 20;
/// The resident memory to which a server returns, in KiB, and how long it may take.
const AFTER: u64 = 100 << 10;
const PATIENCE: Duration = Duration::from_mins(1);

/// Lists all objects and reads the answer to its end without keeping it.
async fn list(server: &Server, accept: &str) -> usize {
    let request = Request::get("/api/v1/namespaces/default/configmaps")
        .header("accept", accept)
        .body(Body::empty())
        .unwrap();
    let mut body = server.client().clone().send(request).await.unwrap().into_body();
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        bytes += frame.unwrap().into_data().map_or(0, |data| data.len());
    }
    bytes
}

/// The resident memory of the server in KiB, without its code: that of a test is as large as all else.
fn resident(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.unwrap().split_whitespace().next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_returns_after_a_burst_of_large_lists() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path()).await;
    let text = "x".repeat(OBJECT_BYTES);
    let created = stream::iter(0..OBJECTS).map(|number| {
        let map = map(&format!("m{number}"), &text);
        let maps = server.maps();
        async move { maps.create(&PostParams::default(), &map).await.map(drop) }
    });
    let created: Vec<_> = created.buffer_unordered(8).collect().await;
    for result in created {
        result.unwrap();
    }
    for accept in ["application/json", "application/vnd.kubernetes.protobuf"] {
        // The objects of a protobuf list are parsed, each twice: fewer clients take as long.
        let clients = if accept == "application/json" { CLIENTS } else { 4 };
        let sizes = join_all((0..clients).map(|_| list(&server, accept))).await;
        assert!(
            sizes.iter().all(|size| *size > OBJECTS * OBJECT_BYTES),
            "{sizes:?}"
        );
    }
    let end = Instant::now() + PATIENCE;
    while resident(&server) > AFTER {
        assert!(Instant::now() < end, "{} KiB stay resident", resident(&server));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
