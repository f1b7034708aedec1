//! Answers of the API server as errors of a runtime. Pure.

use kube::Error;
use kube::core::Status;

use super::progress::creation;
use crate::error::chain;
use crate::runtime::RuntimeError;

/// What the API server answered to `doing`.
pub fn error(doing: &'static str, error: &Error) -> RuntimeError {
    match error {
        Error::Api(status) => refusal(doing, status),
        other => RuntimeError::Engine {
            doing,
            message: chain(other),
        },
    }
}

fn refusal(doing: &'static str, status: &Status) -> RuntimeError {
    let message = status.message.clone();
    let lower = message.to_ascii_lowercase();
    match status.code {
        403 if lower.contains("being terminated") => RuntimeError::Engine { doing, message },
        403 if lower.contains("cannot ") => RuntimeError::Forbidden { doing, message },
        403 => creation(&message),
        400 if lower.contains("denied the request") => creation(&message),
        422 => RuntimeError::Rejected {
            message,
            fields: None,
        },
        _ => RuntimeError::Engine { doing, message },
    }
}

/// The object, or `None` if it does not exist.
///
/// # Errors
/// Any other answer.
pub fn unless_gone<T>(doing: &'static str, result: Result<T, Error>) -> Result<Option<T>, RuntimeError> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(Error::Api(status)) if status.code == 404 => Ok(None),
        Err(other) => Err(error(doing, &other)),
    }
}
