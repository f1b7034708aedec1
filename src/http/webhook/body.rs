//! Bodies of deliveries, whose sizes together are bounded.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::HeaderValue;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::outcome::Rejection;
use crate::forge::webhook::MAX_BODY;

/// Bytes of all bodies that are held at once.
const TOGETHER: usize = 12 << 20;
/// The unit in which bytes are counted.
const UNIT: usize = 1024;
/// The time for one body, and the time that it waits for others before.
const TIME: Duration = Duration::from_secs(8);

/// Reads bodies.
pub struct Bodies(Arc<Semaphore>);

impl Default for Bodies {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(TOGETHER / UNIT)))
    }
}

impl Bodies {
    /// Reads a body. Its place among all bodies is free when the permit is dropped.
    pub async fn read(
        &self,
        length: Option<&HeaderValue>,
        body: Body,
    ) -> Result<(Bytes, OwnedSemaphorePermit), Rejection> {
        let declared = length.and_then(|value| value.to_str().ok()?.parse().ok());
        let size: usize = declared.unwrap_or(MAX_BODY);
        if size > MAX_BODY {
            return Err(Rejection::TooLarge);
        }
        let units = u32::try_from(size.div_ceil(UNIT)).unwrap_or(u32::MAX);
        let place = tokio::time::timeout(TIME, Arc::clone(&self.0).acquire_many_owned(units)).await;
        let Ok(Ok(place)) = place else {
            return Err(Rejection::Unavailable(
                "too many large deliveries at once".to_owned(),
            ));
        };
        let read = tokio::time::timeout(TIME, Limited::new(body, MAX_BODY).collect()).await;
        match read {
            Ok(Ok(read)) => Ok((read.to_bytes(), place)),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Rejection::TooLarge),
            Ok(Err(_)) | Err(_) => Err(Rejection::Incomplete),
        }
    }
}
