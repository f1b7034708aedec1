//! Request bodies: read whole, or drained.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
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

/// Reads a body; `grow` allows the next bytes or refuses them.
pub async fn read(body: &mut Body, mut grow: impl FnMut(usize) -> ApiResult<()>) -> ApiResult<Bytes> {
    let mut limited = Limited::new(body, BODY_BYTES);
    let mut whole = BytesMut::new();
    while let Some(frame) = limited.frame().await {
        match frame {
            Ok(frame) => {
                let Ok(data) = frame.into_data() else { continue };
                grow(data.len())?;
                whole.extend_from_slice(&data);
            }
            Err(error) if error.is::<LengthLimitError>() => return Err(ApiError::too_large(BODY_BYTES)),
            Err(error) => {
                return Err(ApiError::bad_request(format!(
                    "the body could not be read: {error}"
                )));
            }
        }
    }
    Ok(whole.freeze())
}
