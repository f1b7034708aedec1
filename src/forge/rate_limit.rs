//! The rate limit of one connection: one pause for all of its requests, so that one repository cannot use up the budget
//! of the others.

use http::StatusCode;
use http::header::{HeaderMap, RETRY_AFTER};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

/// The longest pause, in seconds. A forge that asks for more is asked again after this time.
const MAX_PAUSE: i64 = 3600;
/// The first pause after a limit that names no end: the least that GitHub asks for.
const FIRST_PAUSE: i64 = 60;

/// When a connection may send its next request.
#[derive(Debug, Default)]
pub(super) struct RateLimit {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    until: Option<Timestamp>,
    refusals: u32,
}

impl RateLimit {
    /// The end of the pause, if the connection is in one.
    pub fn paused(&self, now: Timestamp) -> Option<Timestamp> {
        self.state.lock().until.filter(|until| *until > now)
    }

    /// Reads the limits from a response. Returns the end of the pause if the response was a refusal for that reason.
    pub fn observe(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
        now: Timestamp,
    ) -> Option<Timestamp> {
        let exhausted = number(headers, &["x-ratelimit-remaining", "ratelimit-remaining"]) == Some(0);
        let limited = match status.as_u16() {
            429 => true,
            403 => exhausted || headers.contains_key(RETRY_AFTER) || names_secondary_limit(body),
            _ => false,
        };
        let mut state = self.state.lock();
        if !limited {
            // A request that was sent before the refusal may be answered after it, and does not end the pause.
            if state.until.is_none_or(|until| until <= now) {
                state.refusals = 0;
                state.until = reset(headers, now).filter(|_| exhausted);
            }
            return None;
        }
        let fallback = FIRST_PAUSE << state.refusals.min(6);
        let seconds = retry_after(headers, now)
            .or_else(|| seconds_to_reset(headers, now).filter(|_| exhausted || status.as_u16() == 429))
            .unwrap_or(fallback);
        let until = after(now, seconds);
        state.refusals = state.refusals.saturating_add(1);
        state.until = Some(until);
        Some(until)
    }
}

/// GitHub's secondary limits come without headers.
fn names_secondary_limit(body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(body).to_ascii_lowercase();
    text.contains("secondary rate limit") || text.contains("abuse detection")
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

fn number(headers: &HeaderMap, names: &[&str]) -> Option<i64> {
    names
        .iter()
        .find_map(|name| text(headers, name)?.trim().parse().ok())
}

/// `Retry-After` in seconds or as a date.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<i64> {
    let value = text(headers, RETRY_AFTER.as_str())?;
    let date = || jiff::fmt::rfc2822::parse(value).ok();
    value
        .parse()
        .ok()
        .or_else(|| Some(date()?.timestamp().as_second().saturating_sub(now.as_second())))
}

fn seconds_to_reset(headers: &HeaderMap, now: Timestamp) -> Option<i64> {
    number(headers, &["x-ratelimit-reset", "ratelimit-reset"])
        .map(|reset| reset.saturating_sub(now.as_second()))
}

fn reset(headers: &HeaderMap, now: Timestamp) -> Option<Timestamp> {
    seconds_to_reset(headers, now).map(|seconds| after(now, seconds))
}

/// A whole second, so that messages about one pause are equal.
fn after(now: Timestamp, seconds: i64) -> Timestamp {
    let whole = Timestamp::from_second(now.as_second()).unwrap_or(now);
    whole
        .checked_add(SignedDuration::from_secs(seconds.clamp(1, MAX_PAUSE)))
        .unwrap_or(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(rows: &[(&'static str, &str)]) -> HeaderMap {
        rows.iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    /// The pause in seconds after one response.
    fn pause(status: u16, rows: &[(&'static str, &str)], body: &str) -> Option<i64> {
        let now = Timestamp::from_second(1_000_000_000).unwrap();
        let limit = RateLimit::default();
        let status = StatusCode::from_u16(status).unwrap();
        let until = limit.observe(status, &headers(rows), body.as_bytes(), now);
        assert_eq!(until, limit.paused(now).filter(|_| until.is_some()));
        until.map(|until| until.as_second() - now.as_second())
    }

    #[test]
    fn limit_headers_give_a_bounded_pause() {
        for (rows, seconds) in [
            (&[("retry-after", "7")][..], 7),
            (&[("retry-after", "Sun, 09 Sep 2001 01:47:40 GMT")], 60),
            (&[("retry-after", "Sun, 09 Sep 2001 01:00:00 GMT")], 1),
            (&[("retry-after", "soon")], 60),
            (&[("retry-after", "999999999")], 3600),
            (&[("x-ratelimit-reset", "1000000030")], 30),
            (&[("ratelimit-reset", "1000000030")], 30),
            (&[], 60),
            (&[("x-ratelimit-reset", "-9223372036854775808")], 1),
            (&[("x-ratelimit-reset", "9223372036854775807")], 3600),
            (&[("retry-after", "-9223372036854775808")], 1),
        ] {
            assert_eq!(pause(429, rows, ""), Some(seconds), "{rows:?}");
        }
    }

    #[test]
    fn forbidden_is_a_limit_only_with_a_sign_of_one() {
        let spent = [
            ("x-ratelimit-remaining", "0"),
            ("x-ratelimit-reset", "1000000030"),
        ];
        assert_eq!(pause(403, &spent, ""), Some(30));
        let left = [
            ("x-ratelimit-remaining", "9"),
            ("x-ratelimit-reset", "1000000030"),
        ];
        assert_eq!(pause(403, &left, "Resource not accessible"), None);
        let said = r#"{"message":"You have exceeded a secondary rate limit."}"#;
        assert_eq!(pause(403, &left, said), Some(60));
        assert_eq!(pause(403, &[("retry-after", "5")], ""), Some(5));
    }

    #[test]
    fn repeated_limits_without_an_end_wait_longer() {
        let (limit, mut now) = (
            RateLimit::default(),
            Timestamp::from_second(1_000_000_000).unwrap(),
        );
        let mut pauses = Vec::new();
        for _ in 0..4 {
            let until = limit.observe(StatusCode::TOO_MANY_REQUESTS, &HeaderMap::new(), b"", now);
            let until = until.unwrap();
            pauses.push(until.as_second() - now.as_second());
            assert_eq!(limit.paused(now), Some(until));
            now = until;
            assert_eq!(limit.paused(now), None, "the pause has ended");
        }
        assert_eq!(pauses, [60, 120, 240, 480]);
        limit.observe(StatusCode::OK, &HeaderMap::new(), b"", now);
        let until = limit.observe(StatusCode::TOO_MANY_REQUESTS, &HeaderMap::new(), b"", now);
        assert_eq!(until.unwrap().as_second() - now.as_second(), 60);
    }

    #[test]
    fn success_after_a_refusal_does_not_end_the_pause() {
        let (limit, now) = (
            RateLimit::default(),
            Timestamp::from_second(1_000_000_000).unwrap(),
        );
        let asked = headers(&[("retry-after", "30")]);
        let until = limit.observe(StatusCode::TOO_MANY_REQUESTS, &asked, b"", now);
        limit.observe(StatusCode::OK, &HeaderMap::new(), b"", now);
        assert_eq!(limit.paused(now), until);
    }

    #[test]
    fn last_request_of_a_budget_pauses_the_next() {
        let (limit, now) = (
            RateLimit::default(),
            Timestamp::from_second(1_000_000_000).unwrap(),
        );
        let spent = headers(&[
            ("x-ratelimit-remaining", "0"),
            ("x-ratelimit-reset", "1000000030"),
        ]);
        assert_eq!(limit.observe(StatusCode::OK, &spent, b"", now), None);
        assert_eq!(limit.paused(now).unwrap().as_second(), 1_000_000_030);
    }
}
