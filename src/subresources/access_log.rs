//! `applications/NAME/log?access=true`: the requests to the routes of an Application, from the reverse proxy.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse as _, Response};
use futures::StreamExt as _;
use futures::stream;
use http::header;
use jiff::Timestamp;

use super::failure::Failure;
use crate::controller::context::Context;
use crate::controller::routes::AccessLines;
use crate::model::AppId;
use crate::runtime::{LogLine, LogOptions};

/// The most lines of the end that are kept while they are looked for.
const MOST: u64 = 10_000;

/// Answers with the access log of an Application.
pub(super) async fn respond(
    controller: &Arc<Context>,
    id: &AppId,
    options: LogOptions,
    (timestamps, prefix): (bool, bool),
) -> Result<Response, Failure> {
    let Some(routes) = &controller.routes else {
        return Err(Failure::bad_request(
            "this Davit has no reverse proxy, so no access log: start davit with --traefik and --access-log",
        ));
    };
    let open = |options: LogOptions| async move {
        let lines = routes.access_log(id, &options).await;
        lines.map_err(|why| Failure::bad_request(&*why))
    };
    let lines: AccessLines = match options.tail {
        None => open(options).await?,
        Some(0) if options.follow => open(from_now(&options, Timestamp::now())).await?,
        Some(0) => stream::empty().boxed(),
        // The engine counts the lines of all Applications.
        Some(tail) => {
            let all = open(LogOptions {
                follow: false,
                tail: None,
                ..options.clone()
            })
            .await?;
            let last = last(all, tail.min(MOST)).await;
            let since = last
                .back()
                .map(|line| line.at)
                .or(options.since)
                .or_else(|| Some(Timestamp::now()));
            let more = if options.follow {
                open(LogOptions {
                    tail: None,
                    since,
                    ..options
                })
                .await?
            } else {
                stream::empty().boxed()
            };
            stream::iter(last.into_iter().map(Ok)).chain(more).boxed()
        }
    };
    let body = lines.map(move |line| {
        line.map(|line| {
            let time = if timestamps {
                format!("{:.9} ", line.at)
            } else {
                String::new()
            };
            let prefix = if prefix { "[proxy] " } else { "" };
            Bytes::from(format!("{prefix}{time}{}\n", line.text))
        })
    });
    let body = Body::from_stream(body);
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response())
}

/// Only what comes from now on.
fn from_now(options: &LogOptions, now: Timestamp) -> LogOptions {
    LogOptions {
        tail: None,
        since: options.since.max(Some(now)),
        ..options.clone()
    }
}

/// The last lines of a log that ends.
async fn last(mut lines: AccessLines, most: u64) -> VecDeque<LogLine> {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let mut kept = VecDeque::new();
    while let Some(Ok(line)) = lines.next().await {
        kept.push_back(line);
        if kept.len() > most {
            kept.pop_front();
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follower_without_a_tail_sees_only_what_is_new() {
        let at = |second| Some(Timestamp::from_second(second).unwrap());
        for (since, expected) in [(None, at(5)), (at(3), at(5)), (at(7), at(7))] {
            let options = LogOptions {
                follow: true,
                tail: Some(0),
                since,
                ..LogOptions::default()
            };
            let found = from_now(&options, at(5).unwrap());
            assert_eq!((found.follow, found.tail, found.since), (true, None, expected));
        }
    }

    #[tokio::test]
    async fn only_the_last_lines_are_kept() {
        let line = |number: i64| LogLine {
            at: Timestamp::from_second(number).unwrap(),
            text: number.to_string(),
        };
        let lines = || stream::iter((0..5).map(move |number| Ok(line(number)))).boxed();
        let texts = |lines: VecDeque<LogLine>| lines.into_iter().map(|line| line.text).collect::<Vec<_>>();
        assert_eq!(texts(last(lines(), 2).await), ["3", "4"]);
        assert_eq!(texts(last(lines(), 9).await).len(), 5);
        assert!(last(lines(), 0).await.is_empty());
    }
}
