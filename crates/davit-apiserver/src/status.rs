//! Every refusal as a `metav1.Status`, worded and numbered as `k8s.io/apimachinery/pkg/api/errors` does it.

use std::fmt;

use serde_json::{Map, Value, json};

use crate::{field::FieldError, store::GroupResource};

/// A refusal: what a client gets as `Status`.
#[derive(Debug, Clone)]
pub struct ApiError {
    /// The HTTP status code.
    pub code: u16,
    /// The machine-readable reason; empty for none.
    pub reason: &'static str,
    /// The sentence for people.
    pub message: String,
    /// `details`, where there are any.
    pub details: Option<Value>,
    /// `metadata`, where there is something in it.
    pub metadata: Option<Box<Value>>,
}

/// The result of anything that may be refused.
pub type ApiResult<T> = Result<T, ApiError>;

impl ApiError {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            details: None,
            metadata: None,
        }
    }

    fn about(mut self, resource: &GroupResource, name: &str) -> Self {
        self.details = Some(details(name, &resource.group, &resource.resource));
        self
    }

    /// 404: that object is not there.
    pub fn not_found(resource: &GroupResource, name: &str) -> Self {
        Self::new(404, "NotFound", format!("{resource} \"{name}\" not found")).about(resource, name)
    }

    /// 404: nothing is served at that path.
    pub fn no_such_path() -> Self {
        let mut error = Self::new(
            404,
            "NotFound",
            "the server could not find the requested resource",
        );
        error.details = Some(json!({}));
        error
    }

    /// 405: that verb is not for this resource.
    pub fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        let mut error = Self::new(405, "MethodNotAllowed", message);
        error.details = Some(json!({}));
        error
    }

    /// 409: the name is taken.
    pub fn already_exists(resource: &GroupResource, name: &str) -> Self {
        Self::new(
            409,
            "AlreadyExists",
            format!("{resource} \"{name}\" already exists"),
        )
        .about(resource, name)
    }

    /// 409: `why` it cannot be done to the object as it is now.
    pub fn conflict(resource: &GroupResource, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {resource} \"{name}\": {why}");
        Self::new(409, "Conflict", message).about(resource, name)
    }

    /// 409: the object has changed.
    pub fn changed(resource: &GroupResource, name: &str) -> Self {
        let why =
            "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(resource, name, why)
    }

    /// 422: the object breaks these rules.
    pub fn invalid(group: &str, kind: &str, name: &str, errors: &[FieldError]) -> Self {
        let texts: Vec<String> = {
            let mut seen = std::collections::HashSet::new();
            errors
                .iter()
                .map(ToString::to_string)
                .filter(|text| seen.insert(text.clone()))
                .collect()
        };
        let text = match texts.as_slice() {
            [] => "<nil>".to_owned(),
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let qualified = if group.is_empty() {
            kind.to_owned()
        } else {
            format!("{kind}.{group}")
        };
        let mut error = Self::new(
            422,
            "Invalid",
            format!("{qualified} \"{name}\" is invalid: {text}"),
        );
        let mut about = details(name, group, kind);
        let causes = errors
            .iter()
            .map(|error| json!({"reason": error.reason.as_str(), "message": error.message, "field": error.field}))
            .collect();
        if let Some(map) = about.as_object_mut()
            && !errors.is_empty()
        {
            map.insert("causes".into(), Value::Array(causes));
        }
        error.details = Some(about);
        error
    }

    /// 400: the request makes no sense.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 401: not authenticated.
    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// 403: `why` this may not be done to the object.
    pub fn forbidden(resource: &GroupResource, name: &str, why: &str) -> Self {
        let message = if name.is_empty() && resource.resource.is_empty() {
            format!("forbidden: {why}")
        } else if name.is_empty() {
            format!("{resource} is forbidden: {why}")
        } else {
            format!("{resource} \"{name}\" is forbidden: {why}")
        };
        Self::new(403, "Forbidden", message).about(resource, name)
    }

    /// 410: the revision, or the continue token, is no longer known.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// 410: the state that the pages were of is no longer known; `token` goes on with what is there now.
    pub fn expired_page(token: &str) -> Self {
        let mut error = Self::expired(
            "The provided continue parameter is too old to display a consistent list result. You can start a new list \
             without the continue parameter, or use the continue token in this response to retrieve the remainder of \
             the results. Continuing with the provided token results in an inconsistent list - objects that were \
             created, modified, or deleted between the time the first chunk was returned and now may show up in the \
             list.",
        );
        error.metadata = Some(Box::new(json!({"continue": token})));
        error
    }

    /// 504 with a hint to come back: a revision of the future was asked for.
    pub fn too_large_revision(wanted: u64, current: u64) -> Self {
        let message = format!("Timeout: Too large resource version: {wanted}, current: {current}");
        let mut error = Self::new(504, "Timeout", message);
        let cause = json!({"reason": "ResourceVersionTooLarge", "message": "Too large resource version"});
        error.details = Some(json!({"causes": [cause], "retryAfterSeconds": 1}));
        error
    }

    /// 406: none of the media types asked for is spoken.
    pub fn not_acceptable(spoken: &[&str]) -> Self {
        let message = format!(
            "only the following media types are accepted: {}",
            spoken.join(", ")
        );
        Self::new(406, "NotAcceptable", message)
    }

    /// 406 as built-in resources answer it.
    pub fn not_available(spoken: &[&str]) -> Self {
        let message = format!(
            "406: Not Acceptable\n\nAvailable representations: {}",
            spoken.join(", ")
        );
        let mut error = Self::new(406, "NotAcceptable", message);
        error.details = Some(json!({}));
        error
    }

    /// 415: the body's media type is not spoken.
    pub fn unsupported_media_type(spoken: &[&str]) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            spoken.join(", ")
        );
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// 415 as built-in resources answer an unknown kind of patch.
    pub fn unsupported_patch() -> Self {
        let mut error = Self::new(415, "UnsupportedMediaType", "415: Unsupported Media Type");
        error.details = Some(json!({}));
        error
    }

    /// 413: the body is larger than `limit` bytes.
    pub fn too_large(limit: usize) -> Self {
        let message = format!("Request entity too large: limit is {limit}");
        Self::new(413, "RequestEntityTooLarge", message)
    }

    /// 413: there is more to do than one request may ask for.
    pub fn too_large_to_do(why: &str) -> Self {
        let message = format!("Request entity too large: {why}");
        Self::new(413, "RequestEntityTooLarge", message)
    }

    /// 422 without an object: the patch cannot be applied.
    pub fn unprocessable(message: impl Into<String>) -> Self {
        let mut error = Self::new(422, "Invalid", message);
        error.details = Some(json!({}));
        error
    }

    /// 500: not the client's fault.
    pub fn internal(message: impl fmt::Display) -> Self {
        let text = message.to_string();
        let mut error = Self::new(500, "InternalError", format!("Internal error occurred: {text}"));
        error.details = Some(json!({"causes": [{"message": text}]}));
        error
    }

    /// 500 with nothing but this message.
    pub fn plain_internal(message: impl Into<String>) -> Self {
        Self::new(500, "", message)
    }

    /// 409: other managers own what an apply wants to change; the causes say which.
    pub fn apply_conflict(message: impl Into<String>) -> Self {
        let mut error = Self::new(409, "Conflict", message);
        error.details = Some(json!({}));
        error
    }

    /// 405 as custom resources answer it.
    pub fn method_not_supported(resource: &GroupResource, verb: &str) -> Self {
        let message = format!("{verb} is not supported on resources of kind \"{resource}\"");
        Self::new(405, "MethodNotAllowed", message).about(resource, "")
    }

    /// Adds a cause to the details.
    pub fn with_cause(mut self, reason: &str, message: &str, field: &str) -> Self {
        let mut cause = Map::new();
        for (key, text) in [("reason", reason), ("message", message), ("field", field)] {
            if !text.is_empty() {
                cause.insert(key.into(), text.into());
            }
        }
        let details = self.details.get_or_insert_with(|| json!({}));
        if let Some(map) = details.as_object_mut()
            && let Some(list) = map.entry("causes").or_insert_with(|| json!([])).as_array_mut()
        {
            list.push(Value::Object(cause));
        }
        self
    }

    /// The body.
    pub fn to_value(&self) -> Value {
        let mut status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "code": self.code});
        if let Some(map) = status.as_object_mut() {
            if !self.reason.is_empty() {
                map.insert("reason".into(), self.reason.into());
            }
            if let Some(details) = &self.details {
                map.insert("details".into(), details.clone());
            }
            if let Some(metadata) = &self.metadata {
                map.insert("metadata".into(), (**metadata).clone());
            }
        }
        status
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ApiError {}

fn details(name: &str, group: &str, kind: &str) -> Value {
    let mut map = Map::new();
    for (key, text) in [("name", name), ("group", group), ("kind", kind)] {
        if !text.is_empty() {
            map.insert(key.into(), text.into());
        }
    }
    Value::Object(map)
}

/// The `Status` that answers a deletion that is complete.
pub fn deleted(resource: &GroupResource, name: &str, uid: &str) -> Value {
    let mut about = details(name, &resource.group, &resource.resource);
    if let Some(map) = about.as_object_mut() {
        map.insert("uid".into(), uid.into());
    }
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": about})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_upstreams() {
        let secrets = GroupResource::new("", "secrets");
        let widgets = GroupResource::new("example.com", "widgets");
        let rows = [
            (
                ApiError::not_found(&secrets, "a"),
                404,
                r#"secrets "a" not found"#,
            ),
            (
                ApiError::not_found(&widgets, "a"),
                404,
                r#"widgets.example.com "a" not found"#,
            ),
            (
                ApiError::already_exists(&widgets, "a"),
                409,
                r#"widgets.example.com "a" already exists"#,
            ),
            (
                ApiError::invalid(
                    "example.com",
                    "Widget",
                    "a",
                    &[FieldError::required("spec.x", "")],
                ),
                422,
                r#"Widget.example.com "a" is invalid: spec.x: Required value"#,
            ),
            (
                ApiError::invalid(
                    "",
                    "Secret",
                    "a",
                    &[FieldError::required("a", ""), FieldError::required("b", "")],
                ),
                422,
                r#"Secret "a" is invalid: [a: Required value, b: Required value]"#,
            ),
        ];
        for (error, code, message) in rows {
            assert_eq!((error.code, error.message.as_str()), (code, message));
        }
    }
}
