//! What the headers and words of an answer say. Pure but for the clock's time, which is an argument.

use http::header::{CONTENT_TYPE, HeaderMap, LINK, RETRY_AFTER};

/// True where a person is meant to read the answer.
pub(super) fn is_page(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.starts_with("text/html"))
}

/// The count of the whole list, where the forge tells it.
pub(super) fn total(headers: &HeaderMap) -> Option<u64> {
    ["x-total-count", "x-total"]
        .iter()
        .find_map(|name| headers.get(*name)?.to_str().ok()?.parse().ok())
}

/// The query of the page that `Link` names as the next one (RFC 8288).
pub(super) fn next_page(headers: &HeaderMap) -> Option<Vec<(String, String)>> {
    let links = headers
        .get_all(LINK)
        .iter()
        .filter_map(|value| value.to_str().ok());
    for link in links.flat_map(|value| value.split(',')) {
        let Some((target, parameters)) = link
            .trim()
            .strip_prefix('<')
            .and_then(|rest| rest.split_once('>'))
        else {
            continue;
        };
        let is_next = parameters.split(';').any(|parameter| {
            let (key, value) = parameter.trim().split_once('=').unwrap_or_default();
            key.eq_ignore_ascii_case("rel")
                && value
                    .trim_matches('"')
                    .split(' ')
                    .any(|relation| relation == "next")
        });
        if is_next {
            let (_, query) = target.split_once('?')?;
            return Some(
                url::form_urlencoded::parse(query.as_bytes())
                    .into_owned()
                    .collect(),
            );
        }
    }
    None
}

/// The longest pause that is kept, in seconds: a forge that asks for more is asked again after this.
const LONGEST_PAUSE: i64 = 3600;

/// For how many seconds the forge wants to be left alone: `Retry-After` in seconds or as a date, else GitHub's
/// `X-RateLimit-Reset`, else a minute.
pub(super) fn pause(headers: &HeaderMap, now: jiff::Timestamp) -> u64 {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let now = now.as_second();
    let retry_after = text(RETRY_AFTER.as_str()).and_then(|value| {
        value
            .parse()
            .ok()
            .or_else(|| Some(jiff::fmt::rfc2822::parse(value).ok()?.timestamp().as_second() - now))
    });
    let reset = || text("x-ratelimit-reset").and_then(|value| Some(value.parse::<i64>().ok()? - now));
    let seconds = retry_after.or_else(reset).unwrap_or(60).clamp(1, LONGEST_PAUSE);
    u64::try_from(seconds).unwrap_or(1)
}

/// The scope in Gitea's `… required=[read:user], token scope=…`.
pub(super) fn required_scope(said: &str) -> Option<&str> {
    let (_, rest) = said.split_once("required=[")?;
    rest.split_once(']').map(|(scope, _)| scope)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(rows: &[(&'static str, &str)]) -> HeaderMap {
        rows.iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn the_next_page_is_read_from_the_links() {
        for (link, query) in [
            (
                r#"<https://h/a?page=2&limit=50>; rel="next",<https://h/a?page=9>; rel="last""#,
                Some("page=2&limit=50"),
            ),
            (
                r#"<https://h/a?page=1>; rel="prev", <https://h/a?cursor=x%26y>; title="n"; rel=next"#,
                Some("cursor=x&y"),
            ),
            (r#"<https://h/a?page=1>; rel="first""#, None),
            ("no link at all", None),
            (r#"<https://h/a>; rel="next""#, None),
        ] {
            let pairs = next_page(&headers(&[("link", link)]));
            let joined = pairs.map(|pairs| {
                pairs
                    .iter()
                    .map(|(key, value)| format!("{key}={value}"))
                    .collect::<Vec<_>>()
                    .join("&")
            });
            assert_eq!(joined.as_deref(), query, "{link}");
        }
    }

    #[test]
    fn a_pause_is_read_and_bounded() {
        let now = jiff::Timestamp::from_second(1_000_000_000).unwrap();
        for (rows, seconds) in [
            (&[("retry-after", "7")][..], 7),
            (&[("retry-after", "Sun, 09 Sep 2001 01:47:40 GMT")], 60),
            (&[("retry-after", "Sun, 09 Sep 2001 01:00:00 GMT")], 1),
            (&[("retry-after", "soon")], 60),
            (&[("retry-after", "999999999")], 3600),
            (&[("x-ratelimit-reset", "1000000030")], 30),
            (&[], 60),
        ] {
            assert_eq!(pause(&headers(rows), now), seconds, "{rows:?}");
        }
    }

    #[test]
    fn a_scope_is_read_from_what_gitea_says() {
        let said = "token does not have at least one of required scope(s), required=[read:user], token scope=read:issue";
        assert_eq!(required_scope(said), Some("read:user"));
        assert_eq!(required_scope("no scope"), None);
    }
}
