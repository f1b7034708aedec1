//! update

use axum::body::Body;
use http::Response;

use super::{Call, change::change, create::create_object};
use crate::{
    field::FieldError,
    object_meta,
    status::{ApiError, ApiResult},
};

pub(super) async fn update(call: &mut Call) -> ApiResult<Response<Body>> {
    if call.subresource() == "scale" {
        return super::scale::update(call).await;
    }
    let mut object = call.body_object()?;
    let mut warnings = Vec::new();
    call.scope().normalise(&mut object, &mut warnings)?;
    call.warnings.append(&mut warnings);
    call.check_namespace(&mut object)?;
    let name = object_meta::text(&object, "name");
    if name.is_empty() {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({} based on URL) was undeterminable: name must be provided",
            call.name()
        )));
    }
    if name != call.name() {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            call.name()
        )));
    }
    if object_meta::text(&object, "resourceVersion") == "0" {
        object_meta::remove(&mut object, "resourceVersion");
    }
    let given = object_meta::text(&object, "resourceVersion").to_owned();
    let absent = call
        .server
        .store
        .view()
        .get(&call.resource.collection, &call.key())
        .is_none();
    if absent && call.resource.builtin.create_on_update() && call.subresource().is_empty() {
        return create_object(call, object).await;
    }
    if given.is_empty() && !call.resource.builtin.unconditional_update() {
        call.current()?;
        return Err(unversioned(call));
    }
    change(call, !given.is_empty(), |_| Ok(object.clone())).await
}

/// 422: the kind requires `metadata.resourceVersion` in an update.
pub(super) fn unversioned(call: &Call) -> ApiError {
    let why = "must be specified for an update";
    let errors = [FieldError::invalid("metadata.resourceVersion", &0.into(), why)];
    let (group, plural) = (&call.resource.group, &call.resource.names.plural);
    ApiError::invalid(group, plural, call.name(), &errors)
}
