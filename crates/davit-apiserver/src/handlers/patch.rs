//! patch, in its forms.

use axum::body::Body;
use http::Response;
use serde_json::Value;

use super::{Call, change::change};
use crate::{
    field::FieldError,
    http::{request::FieldValidation, response::parse_body},
    object_meta::{self, Fields},
    patch::{self as pure, PatchError},
    registry::builtin::Builtin,
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
    if form != Form::Apply && call.query.force.is_some() {
        let error = FieldError::forbidden("force", "may not be specified for non-apply patch");
        return Err(ApiError::invalid("meta.k8s.io", "PatchOptions", "", &[error]));
    }
    let carrier = match form {
        Form::Apply => "application/yaml",
        Form::Json | Form::Merge | Form::Strategic => "application/json",
    };
    let body = parse_body(carrier, &call.body).map_err(|error| {
        let (json, yaml) = (
            "couldn't get version/kind; json parse error: ",
            "error converting YAML",
        );
        ApiError::bad_request(match error.message.strip_prefix(json) {
            Some(why) if form == Form::Strategic && why.starts_with("unexpected end") => why.to_owned(),
            Some(why) => format!("{DECODING}{why}"),
            None if error.message.starts_with(yaml) => format!("error decoding YAML: {}", error.message),
            None => return error,
        })
    })?;
    if call.subresource() == "scale" {
        return super::scale::patch(call, |value| apply(form, "Scale", value, &body)).await;
    }
    if form == Form::Apply {
        if call.query.field_validation == FieldValidation::Strict
            && let [first, ..] = call.duplicates.faults().as_slice()
        {
            let why = format!("error strict decoding YAML: error converting YAML to JSON: {first}");
            return Err(ApiError::bad_request(why));
        }
        let duplicates = std::mem::take(&mut call.duplicates);
        call.warnings.extend_from_slice(duplicates.warnings());
        return super::apply::apply(call, body).await;
    }
    // A patch that names a resourceVersion is meant for exactly that state.
    let names_version = match &body {
        Value::Object(_) => body
            .pointer("/metadata/resourceVersion")
            .and_then(Value::as_str)
            .is_some_and(|version| version != "0"),
        _ => false,
    };
    let mut warnings = Vec::new();
    let next = {
        let presenter = call.presenter();
        let scope = call.shared_scope();
        let kind = call.resource.names.kind.clone();
        let namespace = call.target.namespace.clone();
        let unversioned = if call.resource.builtin.unconditional_update() {
            None
        } else {
            Some(super::update::unversioned(call))
        };
        let warnings = &mut warnings;
        move |current: &Object| -> ApiResult<Fields> {
            let patched = || -> ApiResult<Value> {
                let mut value =
                    serde_json::from_slice(&presenter.whole(current)).map_err(ApiError::internal)?;
                apply(form, &kind, &mut value, &body)?;
                Ok(value)
            };
            let Value::Object(mut object) = patched()? else {
                return Err(ApiError::bad_request("the patch does not leave an object"));
            };
            warnings.clear();
            let scope = scope.as_scope();
            if scope.resource.builtin == Builtin::Custom {
                keeps_version(&object, &scope.resource.api_version(&scope.version.name))?;
            }
            scope
                .normalise(&mut object, warnings)
                .map_err(|error| match patched() {
                    Ok(patched) => unfit(error, form, &patched, &body),
                    Err(error) => error,
                })?;
            fits_path(&mut object, current, namespace.as_deref())?;
            if let Some(unversioned) = &unversioned
                && object_meta::text(&object, "resourceVersion").is_empty()
            {
                return Err(unversioned.clone());
            }
            Ok(object)
        }
    };
    let mut response = change(call, names_version, next).await?;
    super::call::warn(&mut response, &warnings);
    Ok(response)
}

/// What does not fit its type after the patch is an error of the patch. A strategic one shows itself, the others show
/// what came of them.
fn unfit(error: ApiError, form: Form, patched: &Value, body: &Value) -> ApiError {
    let why = match error.message.split_once("strict decoding error: ") {
        Some((_, unknown)) => format!("strict decoding error: {unknown}"),
        None => match error.message.split_once(" cannot be handled as a ") {
            Some((_, rest)) if error.code == 400 => {
                rest.split_once(": ").map_or(rest, |(_, why)| why).to_owned()
            }
            _ if error.code == 400 && error.message.contains("API version in the data") => error.message,
            _ if error.code == 400 && error.message.contains("Object 'Kind' is missing") => {
                format!("Object 'Kind' is missing in '{patched}'")
            }
            _ => return error,
        },
    };
    let shown = match form {
        Form::Strategic => pure::go_map(body),
        _ => patched.to_string(),
    };
    ApiError::invalid("", "", "", &[FieldError::invalid("patch", &shown.into(), &why)])
}

/// A patch may not give a custom resource another version.
fn keeps_version(object: &Fields, version: &str) -> ApiResult<()> {
    let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default();
    let (given, kind) = (text("apiVersion"), text("kind"));
    // That the kind is missing is told otherwise.
    if kind.is_empty() || given == version {
        return Ok(());
    }
    if given.is_empty() {
        let why = "Object 'apiVersion' is missing in 'object has no apiVersion field'";
        return Err(ApiError::internal(why));
    }
    let group = given.split_once('/').map_or("", |(group, _)| group);
    let error = FieldError::invalid("apiVersion", &given.into(), &format!("must be {version}"));
    Err(ApiError::invalid(
        group,
        kind,
        object_meta::text(object, "name"),
        &[error],
    ))
}

/// A patch may not move an object.
fn fits_path(object: &mut Fields, current: &Object, namespace: Option<&str>) -> ApiResult<()> {
    let name = object_meta::text(object, "name");
    if name.is_empty() {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({} based on URL) was undeterminable: name must be provided",
            current.key.name
        )));
    }
    if *name != *current.key.name {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            current.key.name
        )));
    }
    let Some(namespace) = namespace else {
        return Ok(());
    };
    if object_meta::text(object, "namespace").is_empty() {
        object_meta::set(object, "namespace", namespace);
    }
    if namespace != object_meta::text(object, "namespace") {
        return Err(ApiError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    Ok(())
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
        _ => Err(ApiError::unsupported_patch()),
    }
}

/// What stands before the reason why a patch cannot be read.
const DECODING: &str = "error decoding patch: ";

fn apply(form: Form, kind: &str, value: &mut Value, body: &Value) -> ApiResult<()> {
    // To Go's decoder `null` is an empty map, or an empty list.
    match (body, form) {
        (Value::Null, Form::Json | Form::Strategic) => return Ok(()),
        (Value::Null, Form::Merge) => return Err(ApiError::bad_request("Invalid JSON Patch")),
        _ => {}
    }
    if !body.is_object() && form != Form::Json {
        let kind = pure::go_kind(body);
        let during = match form {
            Form::Strategic => "",
            _ => DECODING,
        };
        return Err(ApiError::bad_request(format!(
            "{during}json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"
        )));
    }
    let patched = match form {
        Form::Json => pure::json_patch(value, body),
        Form::Merge | Form::Apply => {
            pure::merge_patch(value, body);
            Ok(())
        }
        Form::Strategic => pure::strategic_merge_patch(kind, value, body),
    };
    patched.map_err(|error| match error {
        PatchError::Unknown(why) => ApiError::plain_internal(why),
        PatchError::TooLarge(why) => ApiError::too_large_to_do(&why),
        PatchError::Malformed(why) if form != Form::Json || !body.is_array() => ApiError::bad_request(why),
        PatchError::Malformed(_) | PatchError::Unprocessable(_) => {
            ApiError::unprocessable("the server rejected our request due to an error in our request")
        }
    })
}
