//! get

use axum::body::Body;
use http::Response;

use super::Call;
use crate::{
    registry::builtin::Builtin,
    status::{ApiError, ApiResult},
};

/// One object, never older than asked for: what is in memory is always the newest.
pub(super) fn get(call: &mut Call) -> ApiResult<Response<Body>> {
    let wanted = call.query.resource_version.as_deref().unwrap_or("0");
    let wanted: u64 = wanted
        .parse()
        .map_err(|_| {
            ApiError::plain_internal(format!(
                "resourceVersion: Invalid value: \"{wanted}\": strconv.ParseUint: parsing \"{wanted}\": invalid syntax"
            ))
        })?;
    let newest = call.server.store.view().revision();
    if wanted > newest {
        return Err(ApiError::too_large_revision(wanted, newest));
    }
    let object = call.current()?;
    if call.accept.many {
        return Err(no_list(call));
    }
    if call.subresource() == "scale" {
        return super::scale::get(call, &object);
    }
    Ok(call.answer(200, &object))
}

/// The refusal of a list's form for one object.
fn no_list(call: &Call) -> ApiError {
    if call.resource.builtin == Builtin::Custom {
        return ApiError::plain_internal("content is not a list");
    }
    let kind = &call.resource.names.kind;
    let mut error = ApiError::not_acceptable(&[]);
    error.message = format!(
        "you requested PartialObjectMetadataList, but the requested object is not a list (*core.{kind})"
    );
    error
}
