//! Lists that are streamed.

use std::io::Read as _;

use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::support::{api, send, server};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_list_is_complete_in_every_encoding_and_form() {
    let server = server().await;
    let router = api(&server);
    for index in 0..40 {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("m{index:02}")},
            "data": {"text": "x".repeat(50_000)}});
        assert_eq!(send(&router, "POST", MAPS, map).await.code, 201);
    }
    for (accept, encoding) in [
        ("application/json", ""),
        ("application/json", "gzip"),
        (
            "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
            "",
        ),
        ("application/yaml", ""),
    ] {
        let request = http::Request::get(format!("{MAPS}?labelSelector=!none"))
            .header("accept", accept)
            .header("accept-encoding", encoding)
            .body(axum::body::Body::empty())
            .unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let coded = response.headers().get("content-encoding").is_some();
        assert_eq!(coded, encoding == "gzip", "{accept} {encoding}");
        let mut body = response.into_body();
        let (mut bytes, mut largest) = (Vec::new(), 0);
        while let Some(frame) = body.frame().await {
            let data = frame.unwrap().into_data().unwrap();
            largest = largest.max(data.len());
            bytes.extend_from_slice(&data);
        }
        if coded {
            let mut plain = Vec::new();
            flate2::read::GzDecoder::new(&*bytes)
                .read_to_end(&mut plain)
                .unwrap();
            bytes = plain;
        }
        let list: Value = if accept == "application/yaml" {
            serde_saphyr::from_str(std::str::from_utf8(&bytes).unwrap()).unwrap()
        } else {
            assert!(
                largest < 300_000,
                "{accept} {encoding}: a chunk of {largest} bytes"
            );
            serde_json::from_slice(&bytes).unwrap()
        };
        let names: Vec<&str> = list["items"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|item| item["metadata"]["name"].as_str())
            .filter(|name| name.starts_with('m'))
            .collect();
        let wanted: Vec<String> = (0..40).map(|index| format!("m{index:02}")).collect();
        assert_eq!(names, wanted, "{accept} {encoding}");
    }
}
