//! Requests for the groups that the embedding program serves: authorized here, answered there.

use axum::body::Body;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, header, request::Parts};
use tower::ServiceExt as _;

use super::{
    authorization::authorize_mounted,
    negotiation::{Accept, JSON},
    request::{Target, asks_to_watch},
};
use crate::{
    auth::identity::Identity,
    mounts::Mount,
    state::Server,
    status::{ApiError, ApiResult},
};

/// The headers in which upstream's aggregator reports the caller to another server.
const REMOTE: &str = "x-remote-";
const IMPERSONATE: &str = "impersonate-";

/// Passes the request on if the caller may make it. The router sees the caller as its [`Identity`] extension and in the
/// `X-Remote-` headers, and no credential.
pub async fn answer(
    server: &Server,
    mut parts: Parts,
    body: &mut Body,
    identity: Identity,
    target: &Target,
    mount: &Mount,
    accept: ApiResult<Accept>,
) -> Result<Response<Body>, (ApiError, Accept)> {
    let form = accept.unwrap_or(JSON);
    let watch = target.watch || asks_to_watch(parts.uri.query());
    let verb = verb(&parts.method, target.name.is_some(), watch);
    authorize_mounted(server, &identity, target, verb).map_err(|error| (error, form))?;
    // A WebSocket begins as `get`, and does what `create` permits: upstream asks for both since 1.35.
    if verb == "get" && parts.headers.contains_key(header::UPGRADE) {
        authorize_mounted(server, &identity, target, "create").map_err(|error| (error, form))?;
    }
    report(&mut parts.headers, &identity);
    parts.extensions.insert(identity);
    let request = Request::from_parts(parts, std::mem::take(body));
    match mount.router.clone().oneshot(request).await {
        Ok(response) => Ok(response),
        Err(never) => match never {},
    }
}

/// The verb of a request, as upstream's RequestInfo derives it.
fn verb(method: &Method, named: bool, watch: bool) -> &'static str {
    match *method {
        Method::GET | Method::HEAD if named => "get",
        Method::GET | Method::HEAD if watch => "watch",
        Method::GET | Method::HEAD => "list",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE if named => "delete",
        Method::DELETE => "deletecollection",
        _ => "",
    }
}

/// Replaces the credential and everything that a client could say of itself by the authenticated caller.
fn report(headers: &mut HeaderMap, identity: &Identity) {
    let dropped: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().starts_with(REMOTE) || name.as_str().starts_with(IMPERSONATE))
        .cloned()
        .collect();
    for name in dropped {
        headers.remove(name);
    }
    headers.remove(header::AUTHORIZATION);
    let user = std::iter::once(("x-remote-user", &identity.user));
    let groups = identity.groups.iter().map(|group| ("x-remote-group", group));
    for (name, value) in user.chain(groups) {
        // A name that no header can hold is left to the extension.
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.append(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caller_replaces_credential_and_forged_headers() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("authorization", "Bearer x"),
            ("x-remote-user", "root"),
            ("x-remote-extra-scopes", "all"),
            ("impersonate-user", "root"),
            ("accept", "text/plain"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        report(&mut headers, &Identity::new("jane", &["staff"]));
        let mut all: Vec<_> = headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        all.sort();
        let expected = [
            "accept: text/plain",
            "x-remote-group: staff",
            "x-remote-group: system:authenticated",
            "x-remote-user: jane",
        ];
        assert_eq!(all, expected);
    }

    #[test]
    fn verbs_are_upstreams() {
        let rows = [
            (Method::GET, true, false, "get"),
            (Method::HEAD, true, false, "get"),
            (Method::GET, true, true, "get"),
            (Method::GET, false, false, "list"),
            (Method::GET, false, true, "watch"),
            (Method::POST, true, false, "create"),
            (Method::DELETE, false, false, "deletecollection"),
            (Method::OPTIONS, true, false, ""),
        ];
        for (method, named, watch, expected) in rows {
            assert_eq!(verb(&method, named, watch), expected, "{method} {named} {watch}");
        }
    }
}
