//! patch, in its forms.

use axum::body::Body;
use http::Response;
use serde_json::Value;

use super::{Call, update::change};
use crate::apiserver::{
    builtin::Builtin,
    meta::{self, Fields},
    patch::{self as pure, PatchError},
    respond::parse_body,
    status::{ApiError, ApiResult},
    store::Object,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Merge,
    Strategic,
    Apply,
}

pub(super) async fn patch(call: &mut Call) -> ApiResult<Response<Body>> {
    let form = form(call)?;
    let body = parse_body(&call.content_type, &call.body)?;
    if call.subresource() == "scale" {
        return super::scale::patch(call, |value| apply(form, "Scale", value, &body)).await;
    }
    if form == Form::Apply {
        return super::apply::apply(call, body).await;
    }
    // A patch that names a resourceVersion is meant for exactly that state.
    let names_version = match &body {
        Value::Object(_) => body.pointer("/metadata/resourceVersion").is_some(),
        _ => false,
    };
    let scope_call: &Call = call;
    let mut warnings = Vec::new();
    let next = {
        let presenter = scope_call.presenter();
        let kind = scope_call.resource.names.kind.clone();
        let resource = scope_call.resource.clone();
        let version = scope_call.version.clone();
        let registry = scope_call.registry.clone();
        let field_validation = scope_call.query.field_validation;
        let subresource = scope_call.subresource().to_owned();
        let warnings = &mut warnings;
        move |current: &Object| -> ApiResult<Fields> {
            let mut value: Value =
                serde_json::from_slice(&presenter.whole(current)).map_err(ApiError::internal)?;
            apply(form, &kind, &mut value, &body)?;
            let Value::Object(mut object) = value else {
                return Err(ApiError::bad_request("the patch does not leave an object"));
            };
            let scope = crate::apiserver::admission::Scope {
                resource: &resource,
                version: &version,
                registry: &registry,
                subresource: &subresource,
                field_validation,
            };
            warnings.clear();
            scope.normalise(&mut object, warnings)?;
            if meta::text(&object, "name") != &*current.key.name {
                let why = format!(
                    "the name of the object ({}) does not match the name on the URL ({})",
                    meta::text(&object, "name"),
                    current.key.name
                );
                return Err(ApiError::bad_request(why));
            }
            Ok(object)
        }
    };
    let done = change(call, names_version, next).await;
    let mut response = done?;
    super::warn(&mut response, &warnings);
    Ok(response)
}

fn form(call: &Call) -> ApiResult<Form> {
    let custom = call.resource.builtin == Builtin::Custom;
    match call.content_type.as_str() {
        "application/json-patch+json" => Ok(Form::Json),
        "application/merge-patch+json" => Ok(Form::Merge),
        "application/strategic-merge-patch+json" if !custom => Ok(Form::Strategic),
        "application/apply-patch+yaml" => Ok(Form::Apply),
        _ if custom => Err(ApiError::unsupported_media_type(&[
            "application/json-patch+json",
            "application/merge-patch+json",
            "application/apply-patch+yaml",
        ])),
        _ => Err(ApiError::unsupported_media_type(&[
            "application/json-patch+json",
            "application/merge-patch+json",
            "application/strategic-merge-patch+json",
            "application/apply-patch+yaml",
        ])),
    }
}

fn apply(form: Form, kind: &str, value: &mut Value, body: &Value) -> ApiResult<()> {
    let patched = match form {
        Form::Json => pure::json_patch(value, body),
        Form::Merge | Form::Apply => {
            pure::merge_patch(value, body);
            Ok(())
        }
        Form::Strategic => pure::strategic_merge_patch(kind, value, body),
    };
    patched.map_err(|error| match error {
        PatchError::Malformed(why) => ApiError::bad_request(why),
        PatchError::Unprocessable(why) => ApiError::unprocessable(why),
    })
}
