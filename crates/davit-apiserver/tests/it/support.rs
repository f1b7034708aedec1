//! What the tests share: a server, a plain request, a client, a CRD.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use axum::{Router, body::Body};
use davit_apiserver::{ApiServer, Identity, Options};
use http::{HeaderMap, Request};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tower::ServiceExt as _;

/// How long anything that should happen may take.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A server that forgets.
pub async fn server() -> ApiServer {
    ApiServer::open(Options::default()).await.unwrap()
}

/// A server that keeps what it is given in `directory`.
pub async fn server_in(directory: &Path) -> ApiServer {
    let options = Options {
        data_dir: Some(directory.to_owned()),
        ..Options::default()
    };
    ApiServer::open(options).await.unwrap()
}

/// A server that keeps what it is given below `directory`, over TLS on a loopback port, and an administrator's
/// kubeconfig for it.
pub async fn served(directory: &Path) -> (ApiServer, PathBuf) {
    let server = server_in(&directory.join("data")).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    server.serve(listener).unwrap();
    let kubeconfig = directory.join("kubeconfig");
    std::fs::write(&kubeconfig, server.kubeconfig(address)).unwrap();
    (server, kubeconfig)
}

/// Its API, as somebody who may do everything.
pub fn api(server: &ApiServer) -> Router {
    server.router_as(Identity::trusted("test"))
}

/// A kube client on it, in process.
pub fn client(server: &ApiServer) -> kube::Client {
    kube::Client::new(api(server), "default")
}

/// An answer.
pub struct Answer {
    pub code: u16,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Answer {
    pub fn text(&self, pointer: &str) -> &str {
        self.body
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }
}

/// One request.
pub async fn send(router: &Router, method: &str, path: &str, body: Value) -> Answer {
    let content_type = match method {
        "PATCH" if body.is_array() => "application/json-patch+json",
        "PATCH" => "application/merge-patch+json",
        _ => "application/json",
    };
    send_as(router, method, path, &[("content-type", content_type)], body).await
}

/// One request with headers of its own.
pub async fn send_as(
    router: &Router,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Value,
) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = if body.is_null() {
        Body::empty()
    } else {
        Body::from(body.to_string())
    };
    let response = router.clone().oneshot(request.body(body).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let body = serde_json::from_slice(&bytes)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
    Answer {
        code: parts.status.as_u16(),
        headers: parts.headers,
        body,
    }
}

pub async fn get(router: &Router, path: &str) -> Answer {
    send(router, "GET", path, Value::Null).await
}

/// Asks until `fits`, and says what was seen last when it never does.
pub async fn until(router: &Router, path: &str, fits: impl Fn(&Answer) -> bool) -> Answer {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let answer = get(router, path).await;
        if fits(&answer) {
            return answer;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "{path}: {} {}",
            answer.code,
            answer.body
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub const WIDGETS: &str = "/apis/example.com/v1/namespaces/default/widgets";

/// A CRD with what CRDs can have.
pub fn widget_crd() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList",
                "shortNames": ["wd"], "categories": ["all"]},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "properties": {
                        "size": {"type": "integer", "minimum": 0},
                        "colour": {"type": "string", "default": "red"},
                        "parts": {"type": "array", "items": {"type": "string"}}},
                        "x-kubernetes-validations": [
                            {"rule": "!has(self.size) || self.size != 13", "message": "not thirteen"}]},
                    "status": {"type": "object", "default": {"observedGeneration": -1}, "properties": {
                        "observedGeneration": {"type": "integer"},
                        "replicas": {"type": "integer"},
                        "phase": {"type": "string"}}}}}},
                "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.size",
                    "statusReplicasPath": ".status.replicas"}},
                "selectableFields": [{"jsonPath": ".spec.colour"}],
                "additionalPrinterColumns": [
                    {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
                    {"name": "Colour", "type": "string", "jsonPath": ".spec.colour", "priority": 1}]
            }]
        }
    })
}

pub fn widget(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec})
}

/// A server that serves widgets.
pub async fn widget_server() -> (ApiServer, Router) {
    let server = server().await;
    server.install_crds(&[widget_crd()]).await.unwrap();
    let router = api(&server);
    (server, router)
}
