//! The scale subresource: autoscaling/v1 Scale, read from and written to the paths that the CRD names.

use axum::body::Body;
use http::Response;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Call, change::change};
use crate::{
    http::{negotiation::Shape, response},
    object_meta::{self, Fields},
    registry::Scale,
    status::{ApiError, ApiResult},
    store::Object,
    table::{scale_columns, table},
};

fn pointer(path: &str) -> String {
    path.replace('.', "/")
}

fn paths(call: &Call) -> ApiResult<Scale> {
    call.version.scale.clone().ok_or_else(ApiError::no_such_path)
}

/// The object as it is read: with the defaults that came after it.
fn read(call: &Call, object: &Object) -> Value {
    Value::Object(call.resource.in_version(object, &call.version))
}

/// The object's Scale, from what is read of it.
fn scale_of(value: &Value, object: &Object, scale: &Scale) -> Value {
    let number = |path: &str| {
        value
            .pointer(&pointer(path))
            .and_then(Value::as_i64)
            .unwrap_or_default()
    };
    let mut status = json!({"replicas": number(&scale.status)});
    if let Some(path) = &scale.selector
        && let Some(selector) = value.pointer(&pointer(path))
    {
        status["selector"] = selector.clone();
    }
    json!({"kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {"name": value.pointer("/metadata/name"), "namespace": value.pointer("/metadata/namespace"),
            "uid": value.pointer("/metadata/uid"), "resourceVersion": object.revision.to_string(),
            "creationTimestamp": value.pointer("/metadata/creationTimestamp")},
        "spec": {"replicas": number(&scale.spec)}, "status": status})
}

pub(super) fn get(call: &Call, object: &Object) -> ApiResult<Response<Body>> {
    let paths = paths(call)?;
    let value = read(call, object);
    if value.pointer(&pointer(&paths.spec)).is_none() {
        let why = format!("the spec replicas field \"{}\" does not exist", paths.spec);
        return Err(ApiError::internal(why));
    }
    let scale = scale_of(&value, object, &paths);
    let body = match call.accept.shape {
        Shape::Table(version) => {
            let mut table = table(
                &scale_columns(),
                &[scale],
                Timestamp::now(),
                call.query.include_object,
                version,
            );
            table["metadata"]["resourceVersion"] = object.revision.to_string().into();
            table.to_string()
        }
        _ => scale.to_string(),
    };
    Ok(response::document(call.accept, 200, body.into(), &call.warnings))
}

pub(super) async fn update(call: &mut Call) -> ApiResult<Response<Body>> {
    let body = Value::Object(call.body_object()?);
    set(call, move |_| Ok(body.clone())).await
}

pub(super) async fn patch(
    call: &mut Call,
    change: impl Fn(&mut Value) -> ApiResult<()>,
) -> ApiResult<Response<Body>> {
    set(call, move |mut scale| {
        change(&mut scale)?;
        Ok(scale)
    })
    .await
}

async fn set(call: &mut Call, next: impl Fn(Value) -> ApiResult<Value>) -> ApiResult<Response<Body>> {
    let scale = paths(call)?;
    let current = call.current()?;
    let wanted = next(scale_of(&read(call, &current), &current, &scale))?;
    let replicas = wanted
        .pointer("/spec/replicas")
        .and_then(Value::as_i64)
        .unwrap_or_default();
    let given = wanted
        .pointer("/metadata/resourceVersion")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    call.target.subresource = None;
    // As upstream: an update of Scale of a custom resource gives no ownership, an apply does.
    call.tracked = !call.content_type.contains("apply");
    let path = pointer(&scale.spec);
    let answer = change(call, true, move |current| {
        let mut object = current.value();
        if !given.is_empty() {
            object_meta::set(&mut object, "resourceVersion", given.as_str());
        }
        put(&mut object, &path, replicas.into());
        Ok(object)
    })
    .await;
    call.target.subresource = Some("scale".into());
    answer?;
    let object = call.current()?;
    get(call, &object)
}

fn put(object: &mut Fields, path: &str, value: Value) {
    let mut parts = path.trim_start_matches('/').split('/').peekable();
    let mut at = object;
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            at.insert(part.to_owned(), value);
            return;
        }
        let next = at.entry(part).or_insert_with(|| json!({}));
        let Some(map) = next.as_object_mut() else { return };
        at = map;
    }
}
