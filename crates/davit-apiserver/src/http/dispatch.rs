//! From a request to the verb that answers it: authentication, authorization, content negotiation.

use std::{sync::Arc, time::Instant};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, header, request::Parts};

use super::{
    authorization::authorize,
    health,
    keeping::Keeping,
    metrics, mounted,
    negotiation::{Accept, JSON, Shape},
    request::{Path, Query, Target, check_timeout, has_valid_escapes, parse_path},
    request_body,
    response::{error_response, plain},
};
use crate::{
    auth::{
        identity::Identity,
        impersonation::impersonated,
        rbac::{self, Attributes},
    },
    backup,
    handlers::{Call, Verb, discovery},
    metrics::Labels,
    registry::{Resource, builtin::Builtin, crd},
    state::Server,
    status::{ApiError, ApiResult},
};

/// The media type of an apply.
const APPLY: &str = "application/apply-patch+yaml";

pub async fn dispatch(server: Arc<Server>, request: Request<Body>) -> Response<Body> {
    let (parts, mut body) = request.into_parts();
    let begun = Instant::now();
    let mut labels = Labels::other(&parts.method);
    let running = server.metrics.started(&parts.method);
    let answer = decide(server.clone(), parts, &mut body, &mut labels).await;
    request_body::drain(body);
    let code = answer.status();
    // A watch is not one of those that are worked on, and goes on behind this.
    drop(running);
    let watches = labels.is_long() && code.is_success();
    let watch = watches.then(|| server.metrics.long_running(&labels));
    server.metrics.answered(labels, code.as_u16(), begun.elapsed());
    match watch {
        Some(watch) => answer.map(|body| Body::new(Keeping::new(body, watch))),
        None => answer,
    }
}

async fn decide(server: Arc<Server>, parts: Parts, body: &mut Body, labels: &mut Labels) -> Response<Body> {
    if !has_valid_escapes(parts.uri.path()) {
        return plain(400, "400 Bad Request");
    }
    let known = parts.extensions.get::<Identity>().is_some();
    // An invalid token is refused everywhere; an anonymous request may read the health.
    let refused = !known && parts.headers.contains_key(header::AUTHORIZATION);
    if !refused && let Some(answer) = health::answer(&server, &parts).await {
        return answer;
    }
    let accept =
        Accept::parse(&parts.headers).map(|accept| accept.for_whom(parts.uri.query(), &parts.headers));
    let Some(identity) = parts.extensions.get::<Identity>().cloned() else {
        return error_response(&ApiError::unauthorized(), accept.unwrap_or(JSON), &[]);
    };
    let identity = match impersonated(&server, identity, &parts.headers) {
        Ok(identity) => identity,
        Err(error) => {
            let mut answer = error_response(&error, accept.unwrap_or(JSON), &[]);
            let headers = answer.headers_mut();
            headers.insert(
                header::X_CONTENT_TYPE_OPTIONS,
                HeaderValue::from_static("nosniff"),
            );
            return answer;
        }
    };
    let answered = match parse_path(parts.uri.path()) {
        Path::Resource(target) => {
            let mount = server.mounts.read().find(&target.group, &target.version);
            match mount {
                Some(mount) => mounted::answer(&server, parts, body, identity, &target, &mount, accept).await,
                None => resource(&server, &parts, body, identity, target, accept, labels).await,
            }
        }
        other => discover(&server, &parts, &identity, &other, accept),
    };
    answered.unwrap_or_else(|(error, accept)| turned_away(&error, accept))
}

/// A refusal from before the request came to a verb; one for lack of rights is marked as upstream's filters do it.
fn turned_away(error: &ApiError, accept: Accept) -> Response<Body> {
    let mut answer = error_response(error, accept, &[]);
    if error.code == 403 {
        let headers = answer.headers_mut();
        headers.insert(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        );
    }
    answer
}

type Failed = (ApiError, Accept);

fn discover(
    server: &Server,
    parts: &Parts,
    identity: &Identity,
    path: &Path,
    accept: ApiResult<Accept>,
) -> Result<Response<Body>, Failed> {
    let form = *accept.as_ref().unwrap_or(&JSON);
    let failed = |error| (error, form);
    check_timeout(parts.uri.query().unwrap_or_default()).map_err(failed)?;
    let attributes = Attributes::Path {
        verb: parts.method.as_str().to_lowercase(),
        path: parts.uri.path().to_owned(),
    };
    if !rbac::decide(server, identity, &attributes).allowed {
        let why = format!(
            "User \"{}\" cannot {} path \"{}\"",
            identity.user,
            parts.method.as_str().to_lowercase(),
            parts.uri.path()
        );
        let none = crate::store::GroupResource::new("", "");
        return Err(failed(ApiError::forbidden(&none, "", &why)));
    }
    // Upstream's aggregator looks at no method where it lists the groups.
    if parts.method != Method::GET && *path != Path::Groups {
        return Err(failed(ApiError::method_not_allowed()));
    }
    match parts.uri.path() {
        backup::PATH => return backup::answer(server).map_err(failed),
        metrics::PATH => return Ok(metrics::answer(server)),
        _ => {}
    }
    discovery::answer(server, path, parts, accept).map_err(failed)
}

async fn resource(
    server: &Arc<Server>,
    parts: &Parts,
    body: &mut Body,
    identity: Identity,
    target: Target,
    accept: ApiResult<Accept>,
    labels: &mut Labels,
) -> Result<Response<Body>, Failed> {
    let form = *accept.as_ref().unwrap_or(&JSON);
    let failed = |error| (error, form);
    if parts.method == Method::HEAD {
        return Err(failed(ApiError::method_not_allowed()));
    }
    let options = match parts.method {
        Method::POST => "CreateOptions",
        Method::PUT => "UpdateOptions",
        Method::PATCH => "PatchOptions",
        Method::DELETE => "DeleteOptions",
        _ => "ListOptions",
    };
    let query = Query::parse(parts.uri.query().unwrap_or_default(), options).map_err(failed)?;
    let wanted = verb(&parts.method, &target, &query);
    if wanted != Some(Verb::Watch) {
        query.check_timeout().map_err(failed)?;
    }
    let registry = server.registry();
    let found = registry.get(&target.group, &target.resource).cloned();
    let version = found
        .as_ref()
        .and_then(|resource| resource.version(&target.version));
    let content_type = content_type(parts);
    if let (Some(resource), Some(_), Some(verb)) = (&found, &version, wanted) {
        let applies = content_type == APPLY;
        *labels = metrics::labels(resource, &target, verb, applies, query.dry_run);
    }
    authorize(server, &identity, &target, &query, wanted).map_err(failed)?;
    let (Some(resource), Some(version)) = (found, version) else {
        let builtin = registry
            .iter()
            .any(|known| known.builtin != Builtin::Custom && known.group == target.group);
        return if builtin {
            Err(failed(ApiError::no_such_path()))
        } else {
            Ok(plain(404, "404 page not found\n"))
        };
    };
    if resource.builtin == Builtin::Custom && !in_place(&resource, &target, wanted) {
        return Ok(plain(404, "404 page not found\n"));
    }
    check_target(&resource, &version, &target).map_err(failed)?;
    let custom = resource.builtin == Builtin::Custom;
    check_table(&resource, &target, wanted, &accept)?;
    let verb = wanted
        .filter(|verb| allowed(&resource, &target, *verb))
        .or_else(|| odd(&parts.method, &resource, &target))
        .ok_or_else(|| {
            failed(match wanted {
                None if custom && matches!(parts.method, Method::PUT | Method::PATCH) => {
                    ApiError::bad_request("name must be provided")
                }
                Some(verb) if custom => ApiError::method_not_supported(&resource.gr(), verb.as_str()),
                _ => ApiError::method_not_allowed(),
            })
        })?;
    let refusals = *accept.as_ref().unwrap_or(&JSON);
    let accept = form_of(accept, custom)?;
    if matches!(accept.shape, Shape::Table(_)) {
        query.check_include_object().map_err(failed)?;
    }
    let body = match verb {
        Verb::Get | Verb::List | Verb::Watch => Bytes::new(),
        _ => request_body::read(body, |_| Ok(())).await.map_err(failed)?,
    };
    let user_agent = parts
        .headers
        .get(header::USER_AGENT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    let call = Call {
        server: server.clone(),
        identity,
        registry,
        resource,
        version,
        target,
        query,
        accept,
        refusals,
        content_type,
        body,
        warnings: Vec::new(),
        user_agent,
        tracked: false,
        known: parts.extensions.get::<crd::Known>().is_some(),
        duplicates: super::duplicate_fields::DuplicateFields::default(),
    };
    Ok(call.run(verb).await)
}

/// The media type of the body, without parameters.
fn content_type(parts: &Parts) -> String {
    let value = parts.headers.get(header::CONTENT_TYPE);
    // One with other characters than ASCII is a media type that no server has.
    let value = value.map(|value| String::from_utf8_lossy(value.as_bytes()));
    let kind = value.as_deref().and_then(|value| value.split(';').next());
    kind.unwrap_or_default().trim().to_ascii_lowercase()
}

/// Reviews and tokens have no table.
fn check_table(
    resource: &Resource,
    target: &Target,
    verb: Option<Verb>,
    accept: &ApiResult<Accept>,
) -> Result<(), Failed> {
    let without = resource.builtin.is_review() || target.subresource.as_deref() == Some("token");
    match accept {
        Ok(accept) if without && verb == Some(Verb::Create) && matches!(accept.shape, Shape::Table(_)) => {
            let spoken = super::negotiation::SPOKEN_BUILTIN;
            Err((ApiError::not_acceptable(spoken), accept.plain()))
        }
        _ => Ok(()),
    }
}

/// In which form a resource's answer is given.
fn form_of(accept: ApiResult<Accept>, custom: bool) -> Result<Accept, Failed> {
    let accept = accept.map_err(|error| match error.details {
        _ if custom => (ApiError::not_acceptable(super::negotiation::SPOKEN_BUILTIN), JSON),
        Some(_) => (ApiError::not_available(super::negotiation::SPOKEN_BUILTIN), JSON),
        None => (ApiError::not_acceptable(super::negotiation::SPOKEN_BUILTIN), JSON),
    })?;
    // Of a custom resource only the metadata has a protobuf form.
    let accept = match accept.shape {
        Shape::Whole if custom => match accept.without_protobuf() {
            Some(other) => other,
            None => {
                return Err((
                    ApiError::not_acceptable(super::negotiation::SPOKEN_BUILTIN),
                    accept,
                ));
            }
        },
        _ => accept,
    };
    if matches!(accept.shape, Shape::Discovery(_)) {
        let spoken = if custom {
            super::negotiation::SPOKEN
        } else {
            super::negotiation::SPOKEN_BUILTIN
        };
        return Err((ApiError::not_acceptable(spoken), JSON));
    }
    Ok(accept)
}

fn verb(method: &Method, target: &Target, query: &Query) -> Option<Verb> {
    let one = target.name.is_some();
    Some(match *method {
        Method::GET if target.watch => Verb::Watch,
        // An object that is named is read, whatever the query says.
        Method::GET if one => Verb::Get,
        Method::GET if query.watch => Verb::Watch,
        Method::GET => Verb::List,
        Method::POST if !one => Verb::Create,
        Method::POST if target.subresource.as_deref() == Some("token") => Verb::Create,
        Method::PUT if one => Verb::Update,
        Method::PATCH if one => Verb::Patch,
        Method::DELETE if one => Verb::Delete,
        Method::DELETE => Verb::DeleteCollection,
        _ => return None,
    })
}

fn check_target(resource: &Resource, version: &crate::registry::Version, target: &Target) -> ApiResult<()> {
    let fits = match (&target.namespace, resource.namespaced) {
        (Some(_), namespaced) => namespaced,
        (None, true) => target.name.is_none(),
        (None, false) => true,
    };
    let sub = match target.subresource.as_deref() {
        None => true,
        Some("status") => version.status,
        Some("scale") => version.scale.is_some(),
        Some("finalize") => resource.builtin == Builtin::Namespace,
        Some("token") => resource.builtin == Builtin::ServiceAccount,
        Some(_) => false,
    };
    if resource.builtin.is_review() && target.name.is_some() {
        return Err(ApiError::no_such_path());
    }
    match (fits && sub, &target.name) {
        (true, _) => Ok(()),
        (false, Some(name)) if fits && resource.builtin == Builtin::Custom => {
            Err(ApiError::not_found(&resource.gr(), name))
        }
        _ => Err(ApiError::no_such_path()),
    }
}

/// Whether the path of a custom resource has the namespace that its scope and the verb want.
fn in_place(resource: &Resource, target: &Target, verb: Option<Verb>) -> bool {
    match (&target.namespace, resource.namespaced) {
        (Some(_), namespaced) => namespaced,
        (None, true) => matches!(verb, Some(Verb::List | Verb::Watch)),
        (None, false) => true,
    }
}

/// What upstream's handler of custom objects takes beyond what their paths say: the name of a new object is in its body.
fn odd(method: &Method, resource: &Resource, target: &Target) -> Option<Verb> {
    let fits = *method == Method::POST && target.subresource.is_none() && target.namespace.is_some();
    (resource.builtin == Builtin::Custom && fits && target.name.is_some()).then_some(Verb::Create)
}

fn allowed(resource: &Resource, target: &Target, verb: Verb) -> bool {
    match target.subresource.as_deref() {
        Some("token") => verb == Verb::Create,
        Some("finalize") => verb == Verb::Update,
        Some(_) => matches!(verb, Verb::Get | Verb::Update | Verb::Patch),
        // What is in a namespace is made there.
        None if resource.namespaced && target.namespace.is_none() => {
            matches!(verb, Verb::List | Verb::Watch) || (verb == Verb::Create && !resource.namespaced)
        }
        None => resource.verbs().contains(&verb.as_str()),
    }
}
