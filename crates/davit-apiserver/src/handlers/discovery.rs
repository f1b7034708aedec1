//! Discovery: what is served, in the plain and in the aggregated form; the version; OpenAPI.

use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderValue, Response, header, request::Parts};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha512};

use super::issuer_discovery;
use crate::{
    backup,
    http::{
        health,
        negotiation::{Accept, SPOKEN_BUILTIN, Shape},
        request::Path,
        response::{document, etag, plain, with_etag},
    },
    mounts::Mount,
    openapi::handler,
    registry::{Registry, Resource, Version, api_version, builtin::Builtin},
    state::Server,
    status::{ApiError, ApiResult},
};

/// The Kubernetes version whose API this is; clients read the numbers.
pub const GIT_VERSION: &str = "v1.36.3";

/// Answers everything that is not a resource.
pub fn answer(
    server: &Server,
    path: &Path,
    parts: &Parts,
    accept: ApiResult<Accept>,
) -> ApiResult<Response<Body>> {
    let registry = server.registry();
    if *path == Path::Other {
        if let Some(answer) = issuer_discovery::answer(server, parts, &host(parts)) {
            return Ok(answer);
        }
        return other(server, &registry, parts, accept);
    }
    let accept = accept.map_err(|error| match error.details {
        Some(_) => ApiError::not_available(SPOKEN_BUILTIN),
        None => ApiError::not_acceptable(SPOKEN_BUILTIN),
    })?;
    let listed = matches!(path, Path::CoreVersions | Path::Groups);
    let accept = match (accept.shape, accept.instead) {
        (Shape::Discovery(_), Some(format)) if !listed => Accept {
            format,
            ..accept.plain()
        },
        (Shape::Discovery(_), None) if !listed => {
            return Err(ApiError::not_acceptable(SPOKEN_BUILTIN));
        }
        _ => accept,
    };
    let mounts: Vec<Arc<Mount>> = server.mounts.read().iter().cloned().collect();
    let body = match (path, accept.shape) {
        (Path::CoreVersions, Shape::Discovery(version)) => {
            return Ok(aggregated(&registry, &[], accept, version, true, parts));
        }
        (Path::Groups, Shape::Discovery(version)) => {
            return Ok(aggregated(&registry, &mounts, accept, version, false, parts));
        }
        (Path::CoreVersions, _) => json!({"kind": "APIVersions", "versions": ["v1"],
            "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": host(parts)}]}),
        (Path::Groups, _) => {
            let groups: Vec<Value> = groups(&registry, &mounts)
                .iter()
                .filter(|(name, _)| !name.is_empty())
                .map(group)
                .collect();
            json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
        }
        (Path::Group(name), _) => {
            let found = groups(&registry, &mounts)
                .into_iter()
                .find(|(group, _)| group == name && !name.is_empty());
            let Some(found) = found else {
                return Ok(plain(404, "404 page not found\n"));
            };
            let mut body = group(&found);
            body["kind"] = "APIGroup".into();
            body["apiVersion"] = "v1".into();
            body
        }
        (Path::Resources(group, version), _) => {
            if let Some(mount) = server.mounts.read().find(group, version) {
                return Ok(document(accept.plain(), 200, mount.list.to_string().into(), &[]));
            }
            if !registry.serves(group, version) {
                if group.is_empty() {
                    return Err(ApiError::no_such_path());
                }
                return Ok(plain(404, "404 page not found\n"));
            }
            resources(&registry, group, version)
        }
        (Path::Other | Path::Resource(_), _) => return Err(ApiError::no_such_path()),
    };
    Ok(document(accept.plain(), 200, body.to_string().into(), &[]))
}

fn host(parts: &Parts) -> String {
    let header = parts
        .headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    header
        .or_else(|| parts.uri.authority().map(http::uri::Authority::as_str))
        .unwrap_or_default()
        .to_owned()
}

/// All paths that are no resources, in order.
fn index(server: &Server, registry: &Registry) -> Vec<String> {
    let fixed = [
        "/api",
        "/api/v1",
        "/apis",
        "/apis/",
        "/metrics",
        "/openapi/v2",
        "/openapi/v3",
        "/openapi/v3/",
        "/version",
        backup::PATH,
        issuer_discovery::CONFIGURATION,
        issuer_discovery::KEYS,
    ];
    let mut paths: Vec<String> = fixed.into_iter().map(ToOwned::to_owned).collect();
    let mounts: Vec<Arc<Mount>> = server.mounts.read().iter().cloned().collect();
    for (group, versions) in groups(registry, &mounts) {
        if !group.is_empty() {
            paths.extend(versions.iter().map(|version| format!("/apis/{group}/{version}")));
            paths.push(format!("/apis/{group}"));
        }
    }
    for name in health::NAMES {
        paths.extend(
            health::checks(name)
                .iter()
                .map(|check| format!("/{name}/{check}")),
        );
        paths.push(format!("/{name}"));
    }
    paths.sort();
    paths
}

fn other(
    server: &Server,
    registry: &Registry,
    parts: &Parts,
    accept: ApiResult<Accept>,
) -> ApiResult<Response<Body>> {
    match parts.uri.path().trim_end_matches('/') {
        "/version" => {
            let accept = accept.map_err(|_| ApiError::not_available(&["application/json"]))?;
            // Upstream always indents it.
            let accept = Accept {
                pretty: true,
                ..accept.plain()
            };
            Ok(document(accept, 200, version().to_string().into(), &[]))
        }
        "" => {
            let paths = json!({"paths": index(server, registry)});
            Ok(document(accept?.plain(), 200, paths.to_string().into(), &[]))
        }
        path if path == "/openapi/v2" || path.starts_with("/openapi/v3") => {
            Ok(handler::answer(registry, parts, accept.ok()))
        }
        path if path.starts_with("/api/") => Err(ApiError::no_such_path()),
        _ => Ok(plain(404, "404 page not found\n")),
    }
}

/// The body of `/version`.
pub fn version() -> Value {
    json!({"major": "1", "minor": "36", "emulationMajor": "1", "emulationMinor": "36", "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "35", "gitVersion": GIT_VERSION, "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, architecture())})
}

/// Go's name of the architecture.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Each group with its versions: those of the registry and those that are mounted, by name.
fn groups(registry: &Registry, mounts: &[Arc<Mount>]) -> Vec<(String, Vec<String>)> {
    let mut all = registry.groups();
    all.extend(
        mounts
            .iter()
            .map(|mount| (mount.group.clone(), vec![mount.version.clone()])),
    );
    all.sort();
    all
}

fn group((name, versions): &(String, Vec<String>)) -> Value {
    let listed: Vec<Value> = versions
        .iter()
        .map(|version| json!({"groupVersion": api_version(name, version), "version": version}))
        .collect();
    let preferred = listed.first().cloned().unwrap_or_default();
    json!({"name": name, "versions": listed, "preferredVersion": preferred})
}

fn served<'a>(
    registry: &'a Registry,
    group: &'a str,
    version: &'a str,
) -> impl Iterator<Item = (&'a Arc<Resource>, Arc<Version>)> {
    registry
        .iter()
        .filter(move |resource| resource.group == group)
        .filter_map(move |resource| Some((resource, resource.version(version)?)))
}

/// A subresource: its name, the group, version and kind of what it takes, and its verbs.
type Sub = (
    &'static str,
    Option<(&'static str, &'static str, &'static str)>,
    &'static [&'static str],
);

const CHANGE: &[&str] = &["get", "patch", "update"];

fn subresources(resource: &Resource, version: &Version) -> Vec<Sub> {
    let mut found: Vec<Sub> = Vec::new();
    match resource.builtin {
        Builtin::Namespace => found.push(("finalize", None, &["update"])),
        Builtin::ServiceAccount => {
            found.push((
                "token",
                Some(("authentication.k8s.io", "v1", "TokenRequest")),
                &["create"],
            ));
        }
        _ => {}
    }
    if version.status {
        found.push(("status", None, CHANGE));
    }
    if version.scale.is_some() {
        found.push(("scale", Some(("autoscaling", "v1", "Scale")), CHANGE));
    }
    found
}

fn resources(registry: &Registry, group: &str, version: &str) -> Value {
    let mut listed = Vec::new();
    for (resource, served) in served(registry, group, version) {
        let names = &resource.names;
        let mut entry = json!({"name": names.plural, "singularName": names.singular, "namespaced": resource.namespaced,
            "kind": names.kind, "verbs": resource.verbs()});
        if !names.short.is_empty() {
            entry["shortNames"] = json!(names.short);
        }
        if !names.categories.is_empty() {
            entry["categories"] = json!(names.categories);
        }
        if !resource.builtin.is_review() {
            entry["storageVersionHash"] = hash(resource).into();
        }
        listed.push(entry);
        for (sub, takes, verbs) in subresources(resource, &served) {
            let mut entry = json!({"name": format!("{}/{sub}", names.plural), "singularName": "",
                "namespaced": resource.namespaced, "kind": names.kind, "verbs": verbs});
            if let Some((group, version, kind)) = takes {
                entry["group"] = group.into();
                entry["version"] = version.into();
                entry["kind"] = kind.into();
            }
            listed.push(entry);
        }
    }
    let mut list =
        json!({"kind": "APIResourceList", "groupVersion": api_version(group, version), "resources": listed});
    // The list of the core group is older than its own version, and does not say it.
    if !group.is_empty() {
        list["apiVersion"] = "v1".into();
    }
    list
}

/// Tells whether two servers store a resource in the same version.
fn hash(resource: &Resource) -> String {
    use base64::Engine as _;
    use sha2::Digest as _;
    // Where upstream stores a resource otherwise than it is served, the hash is of what is stored.
    let (group, version) = match resource.builtin {
        Builtin::EventsEvent => ("", "v1"),
        Builtin::Crd => ("apiextensions.k8s.io", "v1beta1"),
        _ => (resource.group.as_str(), resource.storage_version.as_str()),
    };
    let text = format!("{group}/{version}/{}", resource.names.kind);
    let digest = sha2::Sha256::digest(text.as_bytes());
    base64::engine::general_purpose::STANDARD.encode(digest.iter().take(8).copied().collect::<Vec<u8>>())
}

fn aggregated(
    registry: &Registry,
    mounts: &[Arc<Mount>],
    accept: Accept,
    list_version: &str,
    core: bool,
    parts: &Parts,
) -> Response<Body> {
    let items: Vec<Value> = groups(registry, mounts)
        .iter()
        .filter(|(name, _)| name.is_empty() == core)
        .map(|(name, versions)| {
            let versions: Vec<Value> = versions
                .iter()
                .map(|version| {
                    let mounted = mounts
                        .iter()
                        .find(|mount| mount.group == *name && mount.version == *version);
                    let resources: Vec<Value> = match mounted {
                        Some(mount) => mount.discovered(),
                        None => served(registry, name, version)
                            .map(|(resource, served)| aggregated_resource(resource, &served, name, version))
                            .collect(),
                    };
                    json!({"version": version, "freshness": "Current", "resources": resources})
                })
                .collect();
            let metadata = if core { json!({}) } else { json!({"name": name}) };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    let body =
        json!({"kind": "APIGroupDiscoveryList", "apiVersion": format!("apidiscovery.k8s.io/{list_version}"),
        "metadata": {}, "items": items})
        .to_string();
    let body: Bytes = body.into();
    let tag = etag(&Sha512::digest(&body));
    let mut response = with_etag(&tag, parts, || document(accept, 200, body, &[]));
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
    headers.append(header::VARY, HeaderValue::from_static("Accept"));
    response
}

fn aggregated_resource(resource: &Resource, served: &Version, group: &str, version: &str) -> Value {
    let names = &resource.names;
    // Of a built-in kind upstream says only what differs from the group and version around it.
    let kind = match resource.builtin {
        Builtin::Custom => json!({"group": group, "version": version, "kind": names.kind}),
        _ => json!({"group": "", "version": "", "kind": names.kind}),
    };
    let mut entry = json!({"resource": names.plural, "responseKind": kind,
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": names.singular, "verbs": resource.verbs()});
    if !names.short.is_empty() {
        entry["shortNames"] = json!(names.short);
    }
    if !names.categories.is_empty() {
        entry["categories"] = json!(names.categories);
    }
    let subs: Vec<Value> = subresources(resource, served)
        .into_iter()
        .map(|(sub, takes, verbs)| {
            let response = takes.map_or_else(
                || kind.clone(),
                |(group, version, kind)| json!({"group": group, "version": version, "kind": kind}),
            );
            json!({"subresource": sub, "responseKind": response, "verbs": verbs})
        })
        .collect();
    if !subs.is_empty() {
        entry["subresources"] = json!(subs);
    }
    entry
}
