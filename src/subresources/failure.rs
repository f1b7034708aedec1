//! Refusals as `metav1.Status`, so that kubectl prints their message.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::{Value, json};

use super::group::GROUP;
use super::target::Target;
use crate::api::Reason;
use crate::error::{Class, Problem};

/// Why a request is not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    code: StatusCode,
    reason: &'static str,
    message: String,
    details: Value,
}

impl Failure {
    fn new(code: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            details: Value::Null,
        }
    }

    /// The path leads nowhere.
    pub fn no_such_path() -> Self {
        let message = "the server could not find the requested resource";
        Self::new(StatusCode::NOT_FOUND, "NotFound", message)
    }

    /// An object or subresource does not exist.
    pub fn not_found(message: &str, target: &Target) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NotFound", message).about(target)
    }

    /// The subresource has another verb.
    pub fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message)
    }

    /// The request does not come from the API server.
    pub fn unauthorized() -> Self {
        let message = "only the API server may ask here, with its front-proxy certificate: send the request to the API server";
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized", message)
    }

    /// The API server does not permit it to the user.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "Forbidden", message)
    }

    /// A parameter is missing or invalid.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    /// The object is in a state in which the request cannot be answered.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "Conflict", message)
    }

    /// The controller does not run yet.
    pub fn starting() -> Self {
        Self::unavailable("the controller is starting: try again in a moment")
    }

    /// A part of the system does not answer now. Without `Retry-After`, so that no client tries again by itself for hours.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", message)
    }

    fn about(mut self, target: &Target) -> Self {
        self.details = json!({"name": target.name, "group": GROUP, "kind": target.resource});
        self
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        match (problem.reason, problem.class) {
            (Reason::GitRepositoryNotFound, _) => {
                Self::new(StatusCode::NOT_FOUND, "NotFound", problem.message)
            }
            // No client tries again by itself.
            (Reason::DiskFull, _) => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "InsufficientStorage",
                problem.message,
            ),
            (_, Class::Terminal) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", problem.message),
            (_, Class::Waiting | Class::Transient) => Self::unavailable(problem.message),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code.as_u16()});
        if !self.details.is_null() {
            status["details"] = self.details;
        }
        (self.code, Json(status)).into_response()
    }
}
