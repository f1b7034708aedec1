//! `/openapi/v2` and `/openapi/v3`: the documents, made when they are asked for.

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderValue, Response, header, request::Parts};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::Described;
use crate::{
    http::{
        negotiation::{Accept, JSON},
        response::{document, etag, plain, with_etag},
    },
    registry::{Registry, Resource, Version, builtin::Builtin},
};

/// The media type of the second version in protobuf, in the words of newer clients and of older ones.
const PROTOBUF: [&str; 2] = [
    "com.github.proto-openapi.spec.v2.v1.0+protobuf",
    "com.github.proto-openapi.spec.v2@v1.0+protobuf",
];

/// Answers a path below `/openapi`; `accept` is `None` if the client accepts none of the usual media types.
pub fn answer(registry: &Registry, parts: &Parts, accept: Option<Accept>) -> Response<Body> {
    let path = parts.uri.path().trim_end_matches('/');
    let pairs: Vec<(&Resource, &Version)> = registry
        .iter()
        .flat_map(|resource| {
            let served = resource.versions.iter().filter(|version| version.served);
            served.map(move |version| (&**resource, &**version))
        })
        .collect();
    let subresources: Vec<Vec<&str>> = pairs.iter().map(|(_, version)| subresources(version)).collect();
    // The index and the second version describe all kinds, a document those of its group and version.
    let only = path.strip_prefix("/openapi/v3/apis/");
    let schemas: Vec<Option<Value>> = pairs
        .iter()
        .map(|(resource, version)| {
            let defined = version.defined.as_ref()?;
            let described = only.is_none_or(|only| only == resource.api_version(&version.name));
            described.then(|| defined.raw())
        })
        .collect();
    let described: Vec<Described<'_>> = pairs
        .iter()
        .zip(&subresources)
        .zip(&schemas)
        .map(|(((resource, version), subresources), schema)| Described {
            group: &resource.group,
            version: &version.name,
            kind: &resource.names.kind,
            plural: &resource.names.plural,
            namespaced: resource.namespaced,
            verbs: resource.verbs(),
            subresources,
            schema: schema.as_ref(),
            custom: resource.builtin == Builtin::Custom,
        })
        .collect();
    match path {
        "/openapi/v2" => second(&described, parts, accept),
        "/openapi/v3" => tagged(super::v3_index(&described), parts, accept.unwrap_or(JSON)),
        _ => {
            let name = path.strip_prefix("/openapi/v3/").unwrap_or_default();
            let (group, version) = match name.split('/').collect::<Vec<_>>().as_slice() {
                ["api", version] => (String::new(), (*version).to_owned()),
                ["apis", group, version] => ((*group).to_owned(), (*version).to_owned()),
                _ => return without_a_word(404),
            };
            if !registry.serves(&group, &version) {
                return without_a_word(404);
            }
            let document = super::v3_document(&group, &version, &described);
            tagged(document, parts, accept.unwrap_or(JSON))
        }
    }
}

/// A refusal as upstream gives it here.
fn without_a_word(code: u16) -> Response<Body> {
    let mut answer = plain(code, "");
    let headers = answer.headers_mut();
    headers.remove(header::CONTENT_TYPE);
    headers.remove(header::X_CONTENT_TYPE_OPTIONS);
    answer
}

fn subresources(version: &Version) -> Vec<&'static str> {
    let mut found = Vec::new();
    if version.status {
        found.push("status");
    }
    if version.scale.is_some() {
        found.push("scale");
    }
    found
}

fn second(described: &[Described<'_>], parts: &Parts, accept: Option<Accept>) -> Response<Body> {
    let wanted = parts
        .headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let text = wanted.collect::<Vec<_>>().join(",");
    let protobuf = PROTOBUF.iter().any(|name| text.contains(name));
    if accept.is_none() && !protobuf {
        let mut answer = without_a_word(406);
        for name in ["Accept-Encoding", "Accept"] {
            answer
                .headers_mut()
                .append(header::VARY, HeaderValue::from_static(name));
        }
        return answer;
    }
    let accept = accept.unwrap_or(JSON);
    let made = super::v2_document(described);
    if !protobuf {
        return tagged(made, parts, accept);
    }
    let bytes: Bytes = super::v2_protobuf(&made).into();
    let tag = etag(&Sha256::digest(&bytes));
    let mut response = with_etag(&tag, parts, || {
        let mut response = document(accept, 200, bytes, &[]);
        // The older name is no media type that a strict parser takes: the answer bears the newer one.
        if let Ok(value) = format!("application/{}", PROTOBUF[0]).parse() {
            response.headers_mut().insert(header::CONTENT_TYPE, value);
        }
        response
    });
    response
        .headers_mut()
        .append(header::VARY, HeaderValue::from_static("Accept"));
    response
}

fn tagged(value: Value, parts: &Parts, accept: Accept) -> Response<Body> {
    let bytes: Bytes = value.to_string().into();
    // A large tree: it goes before the answer is made.
    drop(value);
    let tag = etag(&Sha256::digest(&bytes));
    with_etag(&tag, parts, || document(accept.plain(), 200, bytes, &[]))
}
