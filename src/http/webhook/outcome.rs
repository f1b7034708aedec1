//! What became of a delivery: the response, the count, and the line in the log. None of them has anything of its content.

use std::collections::HashMap;
use std::time::Duration;

use axum::response::{IntoResponse as _, Response};
use http::{StatusCode, header};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::forge::webhook::{Refusal, Sender};
use crate::metrics::Metrics;

/// The least time between two lines of the log for one reason: deliveries come from anywhere.
const QUIET: Duration = Duration::from_secs(10);

/// A delivery that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was recorded on this many Applications.
    Recorded(usize),
    /// It is genuine, and concerns no Application.
    Ignored,
    /// It was recorded before, and its commit was chosen.
    Repeated,
    /// It only asked whether it arrives.
    Pinged,
}

/// Why a delivery is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// No object has this address, or it has no webhook.
    #[error("no GitProvider or Application with a webhook has this address")]
    Unknown,
    /// It is from another kind of forge than the GitProvider.
    #[error("the delivery is from another kind of forge than the GitProvider")]
    Foreign,
    /// It is not signed as it must be, or cannot be read.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Its body is too large.
    #[error("the body is larger than 3 MiB")]
    TooLarge,
    /// Its body did not arrive whole and in time.
    #[error("the body did not arrive in time")]
    Incomplete,
    /// The caches are not filled yet.
    #[error("the controller has just started: send the delivery again")]
    Starting,
    /// It cannot be checked or recorded now.
    #[error("the delivery cannot be recorded now: send it again")]
    Unavailable(String),
}

impl Rejection {
    /// The status of the response, and the reason in the metric and the log.
    fn parts(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Unknown => (StatusCode::NOT_FOUND, "unknown"),
            Self::Foreign => (StatusCode::BAD_REQUEST, "foreign"),
            Self::Refused(Refusal::Unsigned) => (StatusCode::UNAUTHORIZED, "unsigned"),
            Self::Refused(Refusal::WrongSignature) => (StatusCode::UNAUTHORIZED, "wrong_signature"),
            Self::Refused(Refusal::Expired) => (StatusCode::UNAUTHORIZED, "expired"),
            Self::Refused(Refusal::NoSecret) => (StatusCode::SERVICE_UNAVAILABLE, "no_secret"),
            Self::Refused(Refusal::Malformed) => (StatusCode::BAD_REQUEST, "malformed"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            Self::Incomplete => (StatusCode::REQUEST_TIMEOUT, "incomplete"),
            Self::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting"),
            Self::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        }
    }
}

/// Counts and logs deliveries.
pub struct Journal {
    metrics: Metrics,
    /// When each reason was logged last, and how many were not logged since.
    logged: Mutex<HashMap<&'static str, (Instant, u64)>>,
}

impl Journal {
    /// Has logged nothing yet.
    pub fn new(metrics: Metrics) -> Self {
        Self {
            metrics,
            logged: Mutex::default(),
        }
    }

    /// Counts and logs a delivery to `about`, and returns the response.
    pub fn answer(
        &self,
        sender: Sender,
        about: impl Fn() -> String,
        result: Result<Outcome, Rejection>,
    ) -> Response {
        match result {
            Ok(outcome) => {
                let (status, result, text) = match outcome {
                    Outcome::Recorded(1) => (
                        StatusCode::ACCEPTED,
                        "recorded",
                        "recorded for 1 Application".to_owned(),
                    ),
                    Outcome::Recorded(number) => (
                        StatusCode::ACCEPTED,
                        "recorded",
                        format!("recorded for {number} Applications"),
                    ),
                    Outcome::Ignored => (
                        StatusCode::ACCEPTED,
                        "ignored",
                        "no Application follows what changed".to_owned(),
                    ),
                    Outcome::Repeated => (StatusCode::ACCEPTED, "repeated", "recorded before".to_owned()),
                    Outcome::Pinged => (StatusCode::OK, "ping", "the webhook works".to_owned()),
                };
                self.metrics.delivery(result);
                tracing::debug!(about = about(), ?sender, result, "received a delivery");
                respond(status, &text)
            }
            Err(rejection) => {
                let (status, reason) = rejection.parts();
                self.metrics.delivery(reason);
                if let Some(unlogged) = self.may_log(reason) {
                    // The name in an unknown address is content that anybody can send.
                    let is_known = !matches!(rejection, Rejection::Unknown | Rejection::Starting);
                    let about = if is_known { about() } else { String::new() };
                    let detail = match &rejection {
                        Rejection::Unavailable(detail) => detail.as_str(),
                        _ => "",
                    };
                    tracing::warn!(
                        reason,
                        about,
                        ?sender,
                        unlogged,
                        detail,
                        "refused a delivery: {rejection}"
                    );
                }
                respond(status, &rejection.to_string())
            }
        }
    }

    /// The number of deliveries with this reason that were not logged since the last line; `None` if it is too early for
    /// another line.
    fn may_log(&self, reason: &'static str) -> Option<u64> {
        let now = Instant::now();
        let mut logged = self.logged.lock();
        if let Some((last, unlogged)) = logged.get_mut(reason) {
            if now.duration_since(*last) < QUIET {
                *unlogged += 1;
                return None;
            }
            *last = now;
            return Some(std::mem::take(unlogged));
        }
        logged.insert(reason, (now, 0));
        Some(0)
    }
}

/// The response while the process starts.
pub fn starting() -> Response {
    respond(StatusCode::SERVICE_UNAVAILABLE, &Rejection::Starting.to_string())
}

fn respond(status: StatusCode, text: &str) -> Response {
    let kind = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    let mut response = (status, kind, format!("{text}\n")).into_response();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, http::HeaderValue::from_static("5"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn flood_of_one_reason_is_one_line_in_ten_seconds() {
        let journal = Journal::new(Metrics::default());
        assert_eq!(journal.may_log("unsigned"), Some(0));
        for _ in 0..1000 {
            assert_eq!(journal.may_log("unsigned"), None);
        }
        assert_eq!(journal.may_log("unknown"), Some(0), "each reason has its own");
        tokio::time::advance(QUIET).await;
        assert_eq!(journal.may_log("unsigned"), Some(1000));
        assert_eq!(journal.may_log("unsigned"), None);
    }

    #[test]
    fn metric_has_one_series_for_each_result() {
        let metrics = Metrics::default();
        let journal = Journal::new(metrics.clone());
        let about = || "GitProvider ns/gt".to_owned();
        for result in [
            Ok(Outcome::Recorded(2)),
            Ok(Outcome::Pinged),
            Err(Rejection::Unknown),
            Err(Refusal::Unsigned.into()),
            Err(Refusal::Unsigned.into()),
        ] {
            let _ = journal.answer(Sender::GitHub, about, result);
        }
        let text = metrics.encode().unwrap();
        for line in [
            r#"davit_webhook_deliveries_total{result="recorded"} 1"#,
            r#"davit_webhook_deliveries_total{result="ping"} 1"#,
            r#"davit_webhook_deliveries_total{result="unknown"} 1"#,
            r#"davit_webhook_deliveries_total{result="unsigned"} 2"#,
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is not in\n{text}"
            );
        }
    }
}
