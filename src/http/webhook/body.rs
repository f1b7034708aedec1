//! Bodies of deliveries. A small one is read as it comes; large ones wait for one of few places, so that their sizes together are
//! bounded and senders that are slow or silent hold up no small delivery.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::HeaderValue;
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::outcome::Rejection;
use crate::forge::webhook::MAX_BODY;

/// The largest body that needs no place, in bytes. The listener bounds how many there are at once.
const SMALL: usize = 32 << 10;
/// How many larger bodies are held at once.
const PLACES: usize = 4;
/// The time for one body.
const TIME: Duration = Duration::from_secs(8);
/// The time in which at least a part of it has to come.
const SILENCE: Duration = Duration::from_secs(2);
/// How many bytes of a body with a place have to come in each second, after the first one.
const RATE: f64 = 256.0 * 1024.0;

/// Reads bodies.
pub struct Bodies(Arc<Semaphore>);

impl Default for Bodies {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(PLACES)))
    }
}

/// A body whose place is free when this is dropped.
pub struct Read {
    /// The body.
    pub bytes: Bytes,
    _place: Option<OwnedSemaphorePermit>,
}

impl Bodies {
    /// Reads a body.
    pub async fn read(&self, length: Option<&HeaderValue>, mut body: Body) -> Result<Read, Rejection> {
        let declared = length.and_then(|value| value.to_str().ok()?.parse().ok());
        if declared.is_some_and(|size: usize| size > MAX_BODY) {
            return Err(Rejection::TooLarge);
        }
        let end = Instant::now() + TIME;
        let mut bytes = BytesMut::new();
        let mut place: Option<(OwnedSemaphorePermit, Instant)> = None;
        loop {
            let patience = end.min(Instant::now() + SILENCE);
            let frame = match timeout_at(patience, body.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(None) => break,
                Ok(Some(Err(_))) | Err(_) => return Err(Rejection::Incomplete),
            };
            let Ok(part) = frame.into_data() else { continue };
            if bytes.len() + part.len() > MAX_BODY {
                return Err(Rejection::TooLarge);
            }
            if place.is_none() && bytes.len() + part.len() > SMALL {
                let waited = timeout_at(end, Arc::clone(&self.0).acquire_owned()).await;
                let Ok(Ok(permit)) = waited else {
                    let message = "too many large deliveries at once";
                    return Err(Rejection::Unavailable(message.to_owned()));
                };
                place = Some((permit, Instant::now()));
            }
            bytes.extend_from_slice(&part);
            if let Some((_, since)) = &place {
                let seconds = since.elapsed().as_secs_f64() - 1.0;
                if seconds > 0.0 && is_less(bytes.len(), seconds * RATE) {
                    return Err(Rejection::Incomplete);
                }
            }
        }
        Ok(Read {
            bytes: bytes.freeze(),
            _place: place.map(|(permit, _)| permit),
        })
    }
}

fn is_less(length: usize, wanted: f64) -> bool {
    u32::try_from(length).is_ok_and(|length| f64::from(length) < wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    type Part = Result<Bytes, Infallible>;

    fn body(parts: impl futures::Stream<Item = Part> + Send + 'static) -> Body {
        Body::from_stream(parts)
    }

    /// A body that begins with so many bytes and never goes on.
    fn silent(length: usize) -> Body {
        use futures::StreamExt as _;
        let begin = futures::stream::iter([Ok(Bytes::from(vec![b' '; length]))]);
        body(begin.chain(futures::stream::pending()))
    }

    #[tokio::test(start_paused = true)]
    async fn silent_senders_hold_up_no_small_delivery() {
        let bodies = Arc::new(Bodies::default());
        let length = HeaderValue::from_static("3145728");
        let mut waiting = Vec::new();
        // Some announce much and send little, and some send much.
        for sent in [1, SMALL * 2].into_iter().cycle().take(64) {
            let (bodies, length) = (Arc::clone(&bodies), length.clone());
            waiting.push(tokio::spawn(async move {
                bodies
                    .read(Some(&length), silent(sent))
                    .await
                    .map(|read| read.bytes)
            }));
        }
        tokio::task::yield_now().await;
        let began = Instant::now();
        let read = bodies.read(None, Body::from("small")).await;
        assert_eq!(read.ok().map(|read| read.bytes), Some(Bytes::from("small")));
        assert_eq!(began.elapsed(), Duration::ZERO);
        for one in waiting {
            assert!(one.await.unwrap().is_err());
        }
        assert!(began.elapsed() < TIME + SILENCE, "{:?}", began.elapsed());
        let large = bodies.read(None, Body::from(vec![b' '; MAX_BODY])).await;
        assert!(large.is_ok(), "their places are free");
    }

    #[tokio::test(start_paused = true)]
    async fn sender_that_trickles_loses_its_place() {
        let parts = futures::stream::unfold(SMALL * 2, |length| async move {
            tokio::time::sleep(Duration::from_millis(500)).await;
            Some((Ok(Bytes::from(vec![b' '; length])), 1))
        });
        let (bodies, began) = (Bodies::default(), Instant::now());
        assert!(bodies.read(None, body(parts)).await.is_err());
        assert!(began.elapsed() < TIME / 2, "{:?}", began.elapsed());
        let too_large = HeaderValue::from_str(&(MAX_BODY + 1).to_string()).unwrap();
        let read = bodies.read(Some(&too_large), Body::empty()).await;
        assert!(matches!(read, Err(Rejection::TooLarge)));
    }
}
