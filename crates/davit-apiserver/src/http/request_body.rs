//! Request bodies: read whole, or drained.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Body as _;

use crate::status::{ApiError, ApiResult};

/// How large a body may be: upstream's limit.
const BODY_BYTES: usize = 3 << 20;

/// How much of an unwanted body is drained, as by Go's server, and for how long.
const UNWANTED_BYTES: usize = 256 << 10;
const UNWANTED_FOR: Duration = Duration::from_secs(5);

/// Reads what is left of a body while the answer goes out: a connection that closes while its client still writes is
/// reset, and the answer is lost.
pub fn drain(body: Body) {
    if body.is_end_stream() {
        return;
    }
    tokio::spawn(tokio::time::timeout(UNWANTED_FOR, async move {
        let mut rest = Limited::new(body, UNWANTED_BYTES);
        // A client that sends more, or takes longer, gets the reset.
        while let Some(Ok(_)) = rest.frame().await {}
    }));
}

pub async fn read(body: &mut Body) -> ApiResult<Bytes> {
    match Limited::new(body, BODY_BYTES).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(ApiError::too_large(BODY_BYTES)),
        Err(error) => Err(ApiError::bad_request(format!(
            "the body could not be read: {error}"
        ))),
    }
}
