//! One request made of arbitrary bytes: what `fuzz/` and the tests both throw at the server.
//!
//! The first byte says what kind of thing the rest is: a path, a selector, a body, a patch, a schema, a rule, …

use std::sync::OnceLock;

use axum::{Router, body::Body};
use davit_apiserver::{ApiServer, Identity, Options};
use http::Request;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tower::ServiceExt as _;

use super::SLOW;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const THINGS: &str = "/apis/fuzz.example.com/v1/namespaces/default/things";

struct Target {
    runtime: Runtime,
    _server: ApiServer,
    router: Router,
}

/// One request and its answer: nothing but an answer is acceptable.
async fn ask(
    router: &Router,
    method: &str,
    uri: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> (u16, String) {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    // What is no URI or header never comes so far.
    let Ok(request) = request.body(Body::from(body)) else {
        return (0, String::new());
    };
    let watched = request.uri().query().is_some_and(|query| query.contains("watch"))
        || request.uri().path().contains("/watch");
    let began = std::time::Instant::now();
    let answered = tokio::time::timeout(SLOW, router.clone().oneshot(request))
        .await
        .expect("an answer in time");
    let Ok(response) = answered;
    let code = response.status().as_u16();
    let body = response.into_body();
    let bytes = if watched {
        axum::body::Bytes::new()
    } else {
        let whole = tokio::time::timeout(SLOW, body.collect())
            .await
            .expect("the rest in time");
        whole.expect("a body").to_bytes()
    };
    assert!(
        began.elapsed() < SLOW,
        "{method} {uri} took {:?}",
        began.elapsed()
    );
    let text = String::from_utf8_lossy(&bytes).into_owned();
    assert!(!text.contains("the store is closed"), "the writer is gone");
    (code, text)
}

fn json_type() -> [(&'static str, &'static str); 1] {
    [("content-type", "application/json")]
}

fn crd(rule: Option<&str>, column: &str, schema: Value) -> Value {
    let mut thing = json!({"type": "object", "properties": {
        "text": {"type": "string", "maxLength": 100}, "number": {"type": "integer"},
        "list": {"type": "array", "maxItems": 20, "items": {"type": "string", "maxLength": 20}},
        "map": {"type": "object", "maxProperties": 20, "additionalProperties": {"type": "string", "maxLength": 20}},
        "time": {"type": "string", "format": "date-time"}}});
    if let Some(rule) = rule {
        thing["x-kubernetes-validations"] = json!([{"rule": rule}]);
    }
    let schema = match schema {
        Value::Null => json!({"type": "object", "properties": {"spec": thing}}),
        other => other,
    };
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.fuzz.example.com"},
        "spec": {"group": "fuzz.example.com", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
            "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "additionalPrinterColumns": [{"name": "C", "type": "string", "jsonPath": column}],
                "schema": {"openAPIV3Schema": schema}}]}})
}

fn thing() -> Value {
    json!({"apiVersion": "fuzz.example.com/v1", "kind": "Thing", "metadata": {"name": "t", "labels": {"a": "b"}},
        "spec": {"text": "some text", "number": 7, "list": ["a", "b", "c"], "map": {"k": "v", "l": "w"},
            "time": "2026-01-02T03:04:05Z"}})
}

fn target() -> &'static Target {
    static TARGET: OnceLock<Target> = OnceLock::new();
    TARGET.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (server, router) = runtime.block_on(async {
            let server = ApiServer::open(Options::default()).await.unwrap();
            let router = server.router_as(Identity::trusted("fuzz"));
            let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "labels": {"a": "b"}},
                "data": {"k": "v"}});
            let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"k": "dg=="}});
            for (path, body) in [
                (MAPS, map),
                (SECRETS, secret),
                (CRDS, crd(None, ".spec.text", Value::Null)),
                (THINGS, thing()),
            ] {
                let (code, text) = ask(&router, "POST", path, &json_type(), body.to_string().into_bytes()).await;
                assert_eq!(code, 201, "{text}");
            }
            (server, router)
        });
        Target {
            runtime,
            _server: server,
            router,
        }
    })
}

fn encoded(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::new(), |out, byte| out + &format!("%{byte:02X}"))
}

/// Puts another definition in the place of the present one.
async fn define(router: &Router, definition: Value, dry_run: bool) -> u16 {
    let path = format!("{CRDS}/things.fuzz.example.com");
    let (_, there) = ask(router, "GET", &path, &[], Vec::new()).await;
    let there: Value = serde_json::from_str(&there).unwrap();
    let mut wanted = definition;
    wanted["metadata"]["resourceVersion"] = there["metadata"]["resourceVersion"].clone();
    let path = if dry_run {
        format!("{path}?dryRun=All")
    } else {
        path
    };
    ask(
        router,
        "PUT",
        &path,
        &json_type(),
        wanted.to_string().into_bytes(),
    )
    .await
    .0
}

/// Answers one request of any kind.
pub fn respond(method: &str, uri: &str, headers: &[(&str, &str)], body: Vec<u8>) {
    let target = target();
    let answer = ask(&target.router, method, uri, headers, body);
    target.runtime.block_on(answer);
}

/// Answers the request that these bytes are.
pub fn run(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else {
        return;
    };
    let target = target();
    let router = &target.router;
    let body = || rest.to_vec();
    let text = String::from_utf8_lossy(rest).into_owned();
    let patch = async |path: &str, form: &str| {
        let kind = [("content-type", form)];
        ask(router, "PATCH", path, &kind, body()).await;
    };
    let map = format!("{MAPS}/m?dryRun=All");
    let table = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    target.runtime.block_on(async {
        match kind % 24 {
            0 => drop(ask(router, "GET", &format!("/{text}"), &[], Vec::new()).await),
            1 => drop(
                ask(
                    router,
                    "GET",
                    &format!("{MAPS}?labelSelector={}", encoded(rest)),
                    &[],
                    Vec::new(),
                )
                .await,
            ),
            2 => drop(
                ask(
                    router,
                    "GET",
                    &format!("{THINGS}?fieldSelector={}", encoded(rest)),
                    &[],
                    Vec::new(),
                )
                .await,
            ),
            3 => drop(ask(router, "GET", &format!("{MAPS}?{text}"), &[], Vec::new()).await),
            4 => drop(ask(router, "GET", MAPS, &[("accept", &text)], Vec::new()).await),
            5 => drop(
                ask(
                    router,
                    "POST",
                    &format!("{MAPS}?dryRun=All"),
                    &json_type(),
                    body(),
                )
                .await,
            ),
            6 => drop(
                ask(
                    router,
                    "POST",
                    &format!("{MAPS}?dryRun=All"),
                    &[("content-type", "application/yaml")],
                    body(),
                )
                .await,
            ),
            7 => {
                let kind = [("content-type", "application/vnd.kubernetes.protobuf")];
                drop(ask(router, "POST", &format!("{MAPS}?dryRun=All"), &kind, body()).await);
            }
            8 => patch(&map, "application/json-patch+json").await,
            9 => patch(&map, "application/merge-patch+json").await,
            10 => patch(&map, "application/strategic-merge-patch+json").await,
            11 => patch(&format!("{map}&fieldManager=f"), "application/apply-patch+yaml").await,
            12 => patch(&format!("{THINGS}/t?dryRun=All"), "application/json-patch+json").await,
            13 => {
                patch(
                    &format!("{THINGS}/t?dryRun=All&fieldManager=f&force=true"),
                    "application/apply-patch+yaml",
                )
                .await;
            }
            14 => {
                let schema = serde_json::from_slice(rest).unwrap_or(Value::Null);
                define(router, crd(None, ".spec.text", schema), true).await;
            }
            15 | 16 => {
                if define(router, crd(Some(&text), ".spec.text", Value::Null), false).await == 200 {
                    let path = format!("{THINGS}/t?dryRun=All");
                    let change = json!({"spec": {"number": 8}}).to_string().into_bytes();
                    ask(
                        router,
                        "PATCH",
                        &path,
                        &[("content-type", "application/merge-patch+json")],
                        change,
                    )
                    .await;
                }
            }
            17 => {
                if define(router, crd(None, &text, Value::Null), false).await == 200 {
                    ask(router, "GET", THINGS, &table, Vec::new()).await;
                }
            }
            18 => drop(
                ask(
                    router,
                    "DELETE",
                    &format!("{SECRETS}/s?dryRun=All"),
                    &json_type(),
                    body(),
                )
                .await,
            ),
            19 => drop(
                ask(
                    router,
                    "POST",
                    &format!("{SECRETS}?dryRun=All"),
                    &json_type(),
                    body(),
                )
                .await,
            ),
            20 => {
                let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
                drop(ask(router, "POST", path, &json_type(), body()).await);
            }
            21 => drop(
                ask(
                    router,
                    "PUT",
                    &format!("{THINGS}/t?dryRun=All"),
                    &json_type(),
                    body(),
                )
                .await,
            ),
            22 => drop(
                ask(
                    router,
                    "POST",
                    &format!("{CRDS}?dryRun=All"),
                    &json_type(),
                    body(),
                )
                .await,
            ),
            _ => {
                let path = "/apis/rbac.authorization.k8s.io/v1/clusterroles?dryRun=All";
                drop(ask(router, "POST", path, &json_type(), body()).await);
            }
        }
    });
}
