//! The subresource `token` of service accounts: issues tokens.

use axum::body::Body;
use http::Response;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::Call;
use crate::{
    auth::{claims::Named, identity::account_user, tokens::ISSUER},
    field::FieldError,
    fieldmanager::qualified,
    http::response::{document, parse_body},
    json_pointer::text,
    object_meta,
    status::{ApiError, ApiResult},
    store::{GroupResource, Object, ObjectKey},
};

/// How long a token lasts when nothing is asked for, in seconds.
const DEFAULT_SECONDS: i64 = 3600;
/// The shortest that may be asked for.
const LEAST_SECONDS: i64 = 600;
/// The longest that may be asked for.
const MOST_SECONDS: i64 = 1 << 32;

/// What a token is bound to must be there; here that can only be a Secret.
fn bound(call: &Call, account: &Object, bound: Option<&Value>) -> ApiResult<Option<Named>> {
    let Some(bound) = bound.filter(|bound| !bound.is_null()) else {
        return Ok(None);
    };
    let text = |key: &str| bound.get(key).and_then(Value::as_str).unwrap_or_default();
    let (version, kind, name) = (text("apiVersion"), text("kind"), text("name"));
    // Tokens can also be bound to Pods and Nodes, which do not exist here.
    if let ("v1", "Pod" | "Node") = (version, kind) {
        let resource = GroupResource::new("", if kind == "Pod" { "pods" } else { "nodes" });
        return Err(ApiError::not_found(&resource, name));
    }
    if (version, kind) != ("v1", "Secret") {
        let version = qualified(version);
        return Err(ApiError::bad_request(format!(
            "cannot bind token to object of type {version}, Kind={kind}"
        )));
    }
    let secrets = GroupResource::new("", "secrets");
    let key = ObjectKey::new(&account.key.namespace, name);
    let found = call.server.store.view().get(&secrets, &key);
    let found = found.ok_or_else(|| ApiError::not_found(&secrets, name))?;
    let uid = text("uid");
    if uid.is_empty() || *uid == *found.uid {
        return Ok(Some(Named {
            name: name.to_owned(),
            uid: found.uid.to_string(),
        }));
    }
    let why = format!(
        "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
    );
    Err(ApiError::conflict(&GroupResource::new("", kind), name, &why))
}

/// 422 for one field of a TokenRequest.
fn refused(name: &str, field: &str, value: &Value, why: &str) -> ApiError {
    let errors = [FieldError::invalid(field, value, why)];
    ApiError::invalid("authentication.k8s.io", "TokenRequest", name, &errors)
}

/// Answers a TokenRequest for `account`.
pub fn create(call: &Call, account: &Object) -> ApiResult<Response<Body>> {
    let mut request = parse_body(&call.content_type, &call.body)?;
    let (given, within) = (
        text(&request, "/metadata/name"),
        text(&request, "/metadata/namespace"),
    );
    if !given.is_empty() && *given != *account.key.name {
        let why = "must match the service account name if specified";
        return Err(refused(&account.key.name, "metadata.name", &given.into(), why));
    }
    if !within.is_empty() && *within != *account.key.namespace {
        let why = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(ApiError::bad_request(why));
    }
    let wanted = request.pointer("/spec/expirationSeconds").and_then(Value::as_i64);
    let seconds = wanted.unwrap_or(DEFAULT_SECONDS);
    let why = match seconds {
        _ if seconds < LEAST_SECONDS => Some("may not specify a duration less than 10 minutes"),
        _ if seconds > MOST_SECONDS => Some("may not specify a duration larger than 2^32 seconds"),
        _ => None,
    };
    if let Some(why) = why {
        return Err(refused("", "spec.expirationSeconds", &seconds.into(), why));
    }
    let audiences: Vec<Value> = request
        .pointer("/spec/audiences")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let mut written = json!({"f:spec": {"f:expirationSeconds": {}}});
    if !audiences.is_empty() {
        written["f:spec"]["f:audiences"] = json!({});
    }
    let parts = request.pointer("/spec/boundObjectRef").and_then(Value::as_object);
    for (key, _) in parts.into_iter().flatten() {
        written["f:spec"]["f:boundObjectRef"][format!("f:{key}")] = json!({});
    }
    let audiences = if audiences.is_empty() {
        vec![ISSUER.into()]
    } else {
        audiences
    };
    let secret = bound(call, account, request.pointer("/spec/boundObjectRef"))?;
    let now = Timestamp::now();
    let until = now
        .checked_add(SignedDuration::from_secs(seconds))
        .map_err(|_| ApiError::bad_request("expirationSeconds is too large"))?;
    let (namespace, name) = (&account.key.namespace, &account.key.name);
    let mut claims = json!({"iss": ISSUER, "sub": account_user(namespace, name), "aud": audiences,
        "iat": now.as_second(), "nbf": now.as_second(), "exp": until.as_second(),
        "jti": uuid::Uuid::new_v4().to_string(),
        "kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": name, "uid": account.uid}}});
    if let Some(secret) = secret {
        claims["kubernetes.io"]["secret"] = json!(secret);
    }
    let token = call.server.keys.sign(&claims)?;
    if let Some(request) = request.as_object_mut() {
        request.insert("kind".into(), "TokenRequest".into());
        request.insert("apiVersion".into(), "authentication.k8s.io/v1".into());
        request.insert(
            "metadata".into(),
            json!({"name": name, "namespace": namespace, "uid": account.uid, "creationTimestamp": object_meta::now(),
                "managedFields": [call.entry(&written)]}),
        );
        let bound = request
            .get("spec")
            .and_then(|spec| spec.get("boundObjectRef"))
            .cloned();
        request.insert(
            "spec".into(),
            json!({"audiences": audiences, "expirationSeconds": seconds, "boundObjectRef": bound}),
        );
        let expires = until.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        request.insert(
            "status".into(),
            json!({"token": token, "expirationTimestamp": expires}),
        );
    }
    Ok(document(
        call.accept.plain(),
        201,
        request.to_string().into(),
        &call.warnings,
    ))
}
