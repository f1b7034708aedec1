//! Requests with paths, selectors and parameters that nearly make sense.

use std::fmt::Write as _;

use super::{requests::respond, source::Source};

const PREFIXES: [&str; 14] = [
    "/api/v1",
    "/apis/fuzz.example.com/v1",
    "/apis/apps/v1",
    "/apis/coordination.k8s.io/v1",
    "/apis/rbac.authorization.k8s.io/v1",
    "/apis/apiextensions.k8s.io/v1",
    "/apis/events.k8s.io/v1",
    "/api",
    "/apis",
    "",
    "/openapi/v3",
    "/openapi/v2",
    "/apis/authorization.k8s.io/v1",
    "/apis/discovery.k8s.io/v1",
];
const PLURALS: [&str; 18] = [
    "configmaps",
    "secrets",
    "things",
    "leases",
    "events",
    "services",
    "serviceaccounts",
    "namespaces",
    "roles",
    "clusterroles",
    "rolebindings",
    "customresourcedefinitions",
    "nodes",
    "pods",
    "selfsubjectaccessreviews",
    "subjectaccessreviews",
    "endpointslices",
    "none",
];
const SUBRESOURCES: [&str; 7] = ["status", "scale", "token", "finalize", "log", "proxy", "none"];
const PARAMETERS: [&str; 22] = [
    "labelSelector",
    "fieldSelector",
    "limit",
    "continue",
    "resourceVersion",
    "resourceVersionMatch",
    "dryRun",
    "watch",
    "timeoutSeconds",
    "allowWatchBookmarks",
    "sendInitialEvents",
    "fieldManager",
    "fieldValidation",
    "force",
    "pretty",
    "propagationPolicy",
    "gracePeriodSeconds",
    "orphanDependents",
    "includeObject",
    "timeout",
    "fieldSelector",
    "other",
];
const VALUES: [&str; 24] = [
    "1",
    "0",
    "-1",
    "true",
    "false",
    "All",
    "Strict",
    "Warn",
    "Exact",
    "NotOlderThan",
    "99999999999999999999",
    "a",
    "",
    "Background",
    "Orphan",
    "1s",
    "10h5x",
    "None",
    "Metadata",
    "a=b",
    "metadata.name=m",
    "f",
    "2",
    "18446744073709551615",
];
const TYPES: [&str; 9] = [
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "application/merge-patch+json",
    "application/json-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
    "text/plain",
    "",
];
const ACCEPTED: [&str; 9] = [
    "application/json",
    "*/*",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "application/json;as=Table;v=v1;g=meta.k8s.io",
    "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,*/*;q=0.1",
    "application/com.github.proto-openapi.spec.v3@v1.0+protobuf",
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
    "text/html;q=x",
];

fn encoded(text: &str) -> String {
    text.bytes()
        .fold(String::new(), |out, byte| out + &format!("%{byte:02X}"))
}

/// A selector of labels or fields, right or nearly.
fn selector(source: &mut Source<'_>) -> String {
    let mut text = String::new();
    for _ in 0..=source.below(5) {
        let key = match source.below(4) {
            0 => source
                .pick(&["metadata.name", "metadata.namespace", "spec.text", "type", "a"])
                .to_owned(),
            1 => "a".to_owned(),
            _ => source.word(),
        };
        let not = source.pick(&["", "", "!", "!!", " ! "]);
        let sign = source.pick(&[
            "=", "==", "!=", " in (", " notin (", "", " > ", "<", " exists", "\\=",
        ]);
        let (value, second) = (source.word(), source.word());
        let end = if sign.ends_with('(') {
            source.pick(&[")", ",b)", "", "))"])
        } else {
            ""
        };
        let comma = source.pick(&[",", ", ", ",,", ""]);
        let _ = write!(text, "{not}{key}{sign}{value}{second}{end}{comma}");
    }
    if source.rarely(2) {
        text.pop();
    }
    text
}

/// Sends the request that these bytes are.
pub fn run(data: &[u8]) {
    let mut source = Source::new(data);
    let mut uri = source.pick(&PREFIXES).to_owned();
    if source.rarely(3) {
        uri.push_str("/watch");
    }
    if !source.rarely(3) {
        let namespace = if source.rarely(4) {
            encoded(&source.word())
        } else {
            "default".to_owned()
        };
        let _ = write!(uri, "/namespaces/{namespace}");
    }
    if !source.rarely(6) {
        let _ = write!(uri, "/{}", source.pick(&PLURALS));
    }
    if source.rarely(2) {
        let name = if source.rarely(3) {
            encoded(&source.word())
        } else {
            source.pick(&["m", "s", "t", "default"]).to_owned()
        };
        let _ = write!(uri, "/{name}");
        if source.rarely(3) {
            let _ = write!(uri, "/{}", source.pick(&SUBRESOURCES));
        }
    }
    let method = source.pick(&[
        "GET", "GET", "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE",
    ]);
    let mut sign = '?';
    if !matches!(method, "GET" | "HEAD") {
        // The objects of the target stay as they are.
        uri.push_str("?dryRun=All");
        sign = '&';
    }
    for _ in 0..source.below(5) {
        let name = source.pick(&PARAMETERS);
        let value = match name {
            "labelSelector" | "fieldSelector" => selector(&mut source),
            _ if source.rarely(5) => source.word(),
            _ => source.pick(&VALUES).to_owned(),
        };
        let _ = write!(uri, "{sign}{name}={}", encoded(&value));
        sign = '&';
    }
    let headers = [
        ("content-type", source.pick(&TYPES)),
        ("accept", source.pick(&ACCEPTED)),
    ];
    let body = if method == "GET" || method == "HEAD" {
        String::new()
    } else if source.rarely(2) {
        source.rest()
    } else {
        source.value(4).to_string()
    };
    respond(method, &uri, &headers, body.into_bytes());
}
