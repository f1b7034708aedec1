//! The cause behind an answer that is no success, or behind no answer.

use std::error::Error as _;
use std::time::Duration;

use http::StatusCode;
use http::header::{CONTENT_TYPE, DATE, HeaderMap};
use jiff::Timestamp;
use serde_json::Value;

use super::ForgeError;
use super::call::Call;
use crate::error::{chain, cut, one_line};
use crate::redact::SafeUrl;

/// The longest text of a forge that a message repeats, in bytes.
const LONGEST_TEXT: usize = 300;

/// A text that a forge chose, on one line and not too long.
pub(super) fn words(text: &str) -> String {
    cut(&one_line(text), LONGEST_TEXT)
}

/// True for a page that is meant for people.
pub(super) fn is_page(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.starts_with("text/html"))
}

/// An answer that is no success.
pub(super) struct Refused<'a> {
    pub call: &'a Call,
    pub url: &'a SafeUrl,
    pub status: StatusCode,
    pub headers: &'a HeaderMap,
    pub body: &'a [u8],
}

impl Refused<'_> {
    /// The error; `mask` hides the credential in what the forge wrote.
    pub fn error(&self, mask: impl Fn(&str) -> String, now: Timestamp) -> ForgeError {
        let json: Option<Value> = serde_json::from_slice(self.body).ok();
        let message = json
            .as_ref()
            .and_then(message)
            .map(|message| words(&mask(&message)));
        let text = message.as_ref().map_or_else(
            || self.status.to_string(),
            |message| format!("{}: {message}", self.status),
        );
        let (url, doing) = (self.url.clone(), self.call.doing);
        match self.status.as_u16() {
            401 => match self.clock_skew(message.as_deref().unwrap_or_default(), now) {
                Some(seconds) => ForgeError::Clock { url, seconds },
                None => ForgeError::Auth { url, message },
            },
            403 => match self.missing_scope(json.as_ref(), message.as_deref().unwrap_or_default()) {
                Some(scope) => ForgeError::Scope {
                    doing,
                    url,
                    scope: words(&mask(&scope)),
                },
                None => ForgeError::Forbidden {
                    doing,
                    url,
                    message: text,
                },
            },
            404 => ForgeError::NotFound {
                what: self.call.what.clone(),
                url,
            },
            500..=599 => ForgeError::Other {
                doing,
                url,
                message: format!(
                    "{text}: check the forge and the proxies on the way to it; Davit tries again"
                ),
            },
            _ => ForgeError::Other {
                doing,
                url,
                message: text,
            },
        }
    }

    /// How far this machine's clock is ahead of the forge's, in seconds, if the forge refused the times in a JWT.
    fn clock_skew(&self, message: &str, now: Timestamp) -> Option<i64> {
        if !message.contains("claim ('exp')") && !message.contains("claim ('iat')") {
            return None;
        }
        let date = self.headers.get(DATE)?.to_str().ok()?;
        let there = jiff::fmt::rfc2822::parse(date).ok()?.timestamp();
        let ahead = now.as_second().saturating_sub(there.as_second());
        (ahead.saturating_abs() > 30).then_some(ahead)
    }

    /// The scope that a 403 is about, in the way of each forge.
    fn missing_scope(&self, json: Option<&Value>, message: &str) -> Option<String> {
        let header = |name: &str| {
            let value = self.headers.get(name)?.to_str().ok()?.trim();
            (!value.is_empty()).then(|| value.to_owned())
        };
        let known = (!self.call.scope.is_empty()).then(|| self.call.scope.to_owned());
        // GitHub: an App or a fine-grained token, then a classic one.
        if message.contains("not accessible by") {
            return header("x-accepted-github-permissions").or(known);
        }
        if let Some(needed) = header("x-accepted-oauth-scopes")
            && let Some(held) = self.headers.get("x-oauth-scopes")
        {
            let held = held.to_str().unwrap_or_default();
            let has = |scope: &str| held.split(',').any(|held| held.trim() == scope);
            if !needed.split(',').any(|scope| has(scope.trim())) {
                return Some(needed);
            }
        }
        // GitLab and OAuth in general; Bitbucket.
        let scopes = json.and_then(|json| {
            let gitlab = json.get("error").and_then(Value::as_str) == Some("insufficient_scope");
            let gitlab = json.get("scope").filter(|_| gitlab);
            gitlab.or_else(|| json.pointer("/error/detail/required"))
        });
        if let Some(scopes) = scopes {
            return match scopes {
                Value::String(scope) => Some(scope.clone()),
                Value::Array(all) => {
                    let all: Vec<_> = all.iter().filter_map(Value::as_str).collect();
                    Some(all.join(" or "))
                }
                _ => known,
            };
        }
        // Gitea names it in its text.
        if let Some((_, rest)) = message.split_once("required=[") {
            return rest.split_once(']').map(|(scope, _)| scope.to_owned());
        }
        (message.contains("scope") || message.contains("privilege"))
            .then_some(known)
            .flatten()
    }
}

/// The forge's own words, if there are any.
fn message(json: &Value) -> Option<String> {
    let found = [
        "/message",
        "/error/message",
        "/error_description",
        "/error",
        "/message/error",
    ]
    .iter()
    .find_map(|pointer| json.pointer(pointer)?.as_str().filter(|text| !text.is_empty()))?;
    Some(found.to_owned())
}

/// The error behind a request that got no complete answer.
pub(super) fn without_answer(
    kind: &'static str,
    doing: &'static str,
    url: &SafeUrl,
    timeout: Duration,
    error: reqwest::Error,
) -> ForgeError {
    let error = error.without_url();
    let url = url.clone();
    match tls_error(&error) {
        // Something answers there that is no web server with TLS.
        Some(rustls::Error::InvalidMessage(_)) => {
            return ForgeError::NotRecognised {
                kind,
                url,
                message: "it does not speak TLS".to_owned(),
            };
        }
        Some(tls) => {
            return ForgeError::Tls {
                url,
                message: tls.to_string(),
            };
        }
        None => {}
    }
    if error.is_timeout() && !error.is_connect() {
        return ForgeError::Timeout {
            doing,
            url,
            seconds: timeout.as_secs().max(1),
        };
    }
    if error.is_body() || error.is_decode() {
        return ForgeError::Incomplete {
            doing,
            url,
            message: chain(&error),
        };
    }
    let message = if error.is_timeout() {
        "no connection in time".to_owned()
    } else {
        chain(&error)
    };
    ForgeError::Unreachable { url, message }
}

/// The TLS error beneath an error, if that is what it is.
fn tls_error(error: &reqwest::Error) -> Option<&rustls::Error> {
    let mut next = error.source();
    while let Some(source) = next {
        if let Some(tls) = source.downcast_ref::<rustls::Error>() {
            return Some(tls);
        }
        // `source()` of an I/O error is that of the error it wraps, so the wrapped one itself would be skipped.
        let wrapped = source
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        next = match wrapped {
            Some(inner) => Some(inner),
            None => source.source(),
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Explain as _;

    fn error(status: u16, rows: &[(&'static str, &str)], body: &str) -> ForgeError {
        let headers = rows
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()))
            .collect();
        let call = Call::get("read the repository", ["repos"]).scope("repo");
        let refused = Refused {
            call: &call,
            url: &SafeUrl::parse("https://forge.example").unwrap(),
            status: StatusCode::from_u16(status).unwrap(),
            headers: &headers,
            body: body.as_bytes(),
        };
        refused.error(str::to_owned, Timestamp::from_second(1_000_000_000).unwrap())
    }

    #[test]
    fn missing_scope_is_read_from_the_words_of_each_forge() {
        for (rows, body, scope) in [
            (
                &[("x-accepted-github-permissions", "contents=read")][..],
                r#"{"message":"Resource not accessible by integration"}"#,
                "contents=read",
            ),
            (
                &[("x-accepted-oauth-scopes", "repo"), ("x-oauth-scopes", "gist")],
                r#"{"message":"Forbidden"}"#,
                "repo",
            ),
            (
                &[],
                r#"{"error":"insufficient_scope","error_description":"The request requires higher privileges","scope":"api read_api"}"#,
                "api read_api",
            ),
            (
                &[],
                r#"{"type":"error","error":{"message":"Your credentials lack one or more required privilege scopes.","detail":{"required":["repository"],"granted":["account"]}}}"#,
                "repository",
            ),
            (
                &[],
                r#"{"message":"token does not have at least one of required scope(s), required=[read:user], token scope=read:issue"}"#,
                "read:user",
            ),
        ] {
            let error = error(403, rows, body);
            let expected = format!("lacks the scope {scope}");
            assert!(error.to_string().contains(&expected), "{body}: {error}");
        }
    }

    #[test]
    fn refusal_without_a_scope_repeats_the_words() {
        let rows = [
            ("x-accepted-oauth-scopes", "repo"),
            ("x-oauth-scopes", "repo, gist"),
        ];
        let found = error(403, &rows, r#"{"message":"Account suspended"}"#);
        assert_eq!(
            found.to_string(),
            "cannot read the repository at https://forge.example/: 403 Forbidden: Account suspended"
        );
        let found = error(
            401,
            &[],
            r#"{"error":"invalid_token","error_description":"Token is expired."}"#,
        );
        assert!(
            found
                .to_string()
                .ends_with("refused the credential: Token is expired."),
            "{found}"
        );
        let date = ("date", "Sun, 09 Sep 2001 01:36:40 GMT");
        let message = r#"{"message":"'Expiration time' claim ('exp') is too far in the future"}"#;
        let found = error(401, &[date], message);
        assert!(
            found
                .to_string()
                .contains("is 600 s ahead of the clock of the forge"),
            "{found}"
        );
        let found = error(404, &[], "");
        assert_eq!(found.reason(), crate::api::Reason::GitRepositoryNotFound);
    }
}
