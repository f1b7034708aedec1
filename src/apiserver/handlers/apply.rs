//! Server-side apply.

use axum::body::Body;
use http::Response;
use serde_json::Value;

use super::{Call, create::create_object, update::change};
use crate::apiserver::{
    meta, patch,
    respond::Presenter,
    status::{ApiError, ApiResult},
};

pub(super) async fn apply(call: &mut Call, body: Value) -> ApiResult<Response<Body>> {
    if call.query.field_manager.is_none() {
        return Err(ApiError::bad_request("fieldManager is required for apply patch"));
    }
    let Value::Object(mut applied) = body else {
        return Err(ApiError::bad_request("the body is not an object"));
    };
    meta::set(&mut applied, "name", call.name());
    call.check_namespace(&mut applied)?;
    let absent = call
        .server
        .store
        .view()
        .get(&call.resource.collection, &call.key())
        .is_none();
    if absent && call.subresource().is_empty() {
        let mut warnings = Vec::new();
        call.scope().normalise(&mut applied, &mut warnings)?;
        call.warnings.append(&mut warnings);
        return create_object(call, applied).await;
    }
    let presenter: Presenter = call.presenter();
    let (resource, version, registry) = (call.resource.clone(), call.version.clone(), call.registry.clone());
    let (subresource, field_validation) = (call.subresource().to_owned(), call.query.field_validation);
    let body = Value::Object(applied);
    change(call, false, move |current| {
        let mut value: Value =
            serde_json::from_slice(&presenter.whole(current)).map_err(ApiError::internal)?;
        patch::merge_patch(&mut value, &body);
        let Value::Object(mut object) = value else {
            return Err(ApiError::bad_request("the body is not an object"));
        };
        let scope = crate::apiserver::admission::Scope {
            resource: &resource,
            version: &version,
            registry: &registry,
            subresource: &subresource,
            field_validation,
        };
        scope.normalise(&mut object, &mut Vec::new())?;
        Ok(object)
    })
    .await
}
