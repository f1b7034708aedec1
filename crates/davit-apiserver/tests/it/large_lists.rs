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
        ("application/vnd.kubernetes.protobuf", ""),
        ("application/vnd.kubernetes.protobuf", "gzip"),
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
        assert!(
            accept == "application/yaml" || largest < 300_000,
            "{accept} {encoding}: a chunk of {largest} bytes"
        );
        let mut names = match accept {
            "application/vnd.kubernetes.protobuf" => protobuf_names(&bytes),
            "application/yaml" => {
                json_names(&serde_saphyr::from_str(std::str::from_utf8(&bytes).unwrap()).unwrap())
            }
            _ => json_names(&serde_json::from_slice(&bytes).unwrap()),
        };
        names.retain(|name| name.starts_with('m'));
        let wanted: Vec<String> = (0..40).map(|index| format!("m{index:02}")).collect();
        assert_eq!(names, wanted, "{accept} {encoding}");
    }
}

fn json_names(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().unwrap().iter();
    items
        .map(|item| item["metadata"]["name"].as_str().unwrap().to_owned())
        .collect()
}

/// The fields of a message, all of which have a length, with their numbers.
fn fields(mut message: &[u8]) -> Vec<(u64, &[u8])> {
    let varint = |message: &mut &[u8]| {
        let (mut number, mut shift) = (0, 0);
        loop {
            let (byte, rest) = message.split_first().unwrap();
            *message = rest;
            number |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return number;
            }
        }
    };
    let mut found = Vec::new();
    while !message.is_empty() {
        let tag = varint(&mut message);
        let length = varint(&mut message);
        if tag & 7 == 2 {
            let (content, rest) = message.split_at(usize::try_from(length).unwrap());
            message = rest;
            found.push((tag >> 3, content));
        }
    }
    found
}

fn protobuf_names(bytes: &[u8]) -> Vec<String> {
    let field = |message: &[u8], number: u64| -> Vec<u8> {
        let found = fields(message).into_iter().find(|(known, _)| *known == number);
        found.unwrap().1.to_owned()
    };
    let envelope = fields(bytes.strip_prefix(b"k8s\0").unwrap());
    let numbers: Vec<u64> = envelope.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [1, 2, 3, 4], "nothing follows the envelope");
    let items = fields(envelope[1].1)
        .into_iter()
        .filter(|(number, _)| *number == 2);
    items
        .map(|(_, item)| String::from_utf8(field(&field(item, 1), 1)).unwrap())
        .collect()
}
