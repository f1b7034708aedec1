//! Servers that are down, slow, or answer nonsense; rate limits; conditional requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use davit::api::Reason;
use davit::error::{Class, Explain as _, Problem};
use davit::forge::HttpOptions;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::forge::loopback_options;
use crate::forges::servers::{Answer, Asked, Service, serve};
use crate::forges::{connected, path, try_connect};

pub const TOKEN: &str = "token-of-a-test-4d0f";

/// A server that sends these bytes to each connection and closes it; `None`: it never answers.
async fn raw(bytes: Option<&'static str>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            // The request fits into one read; what it asks does not matter.
            let mut request = [0; 4096];
            let _length = stream.read(&mut request).await.unwrap_or_default();
            match bytes {
                Some(bytes) => {
                    stream.write_all(bytes.as_bytes()).await.ok();
                }
                None => open.push(stream),
            }
        }
    });
    url
}

/// The spec of each forge at `url`.
pub fn specs(url: &str) -> [Value; 4] {
    [
        json!({"github": {"url": url, "tokenSecretRef": {"name": "s"}}}),
        json!({"gitlab": {"url": url, "tokenSecretRef": {"name": "s"}}}),
        json!({"bitbucket": {"workspace": "acme", "accessTokenSecretRef": {"name": "s"}}}),
        json!({"gitea": {"url": url, "tokenSecretRef": {"name": "s"}}}),
    ]
}

pub fn options(url: &str) -> HttpOptions {
    let mut options = loopback_options();
    options.timeout = Duration::from_millis(300);
    url.clone_into(&mut options.bitbucket_api);
    url.clone_into(&mut options.bitbucket_web);
    options
}

#[tokio::test]
async fn bad_answer_has_a_reason_of_its_own_at_every_forge() {
    let html = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 6\r\n\r\n<html>";
    let half = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 600\r\n\r\n{\"ver";
    let elsewhere = "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/login\r\ncontent-length: 0\r\n\r\n";
    let broken = "HTTP/1.1 502 Bad Gateway\r\ncontent-type: text/html\r\ncontent-length: 6\r\n\r\n<html>";
    for (name, bytes, reasons, class, words) in [
        (
            "slow",
            None,
            &[Reason::ForgeTimeout][..],
            Class::Transient,
            "no answer within",
        ),
        (
            "HTML",
            Some(html),
            &[Reason::ForgeNotRecognised],
            Class::Terminal,
            "answers",
        ),
        (
            "half a body",
            Some(half),
            &[Reason::ForgeResponseIncomplete],
            Class::Transient,
            "ended early",
        ),
        (
            "a redirect",
            Some(elsewhere),
            &[Reason::ForgeRedirected],
            Class::Terminal,
            "http://127.0.0.1:1",
        ),
        (
            "a broken proxy",
            Some(broken),
            &[Reason::ForgeFailed, Reason::ForgeNotRecognised],
            Class::Transient,
            "",
        ),
    ] {
        let url = raw(bytes).await;
        for spec in specs(&url) {
            let forge = try_connect(&spec, TOKEN, &options(&url)).unwrap();
            let error = forge.check().await.unwrap_err();
            let found = Problem::of(&error);
            assert!(reasons.contains(&found.reason), "{name}, {spec}: {found:?}");
            assert!(
                found.class == class || reasons.len() > 1,
                "{name}, {spec}: {found:?}"
            );
            assert!(found.message.contains(words), "{name}, {spec}: {found:?}");
        }
    }
    let port = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let url = format!("http://{port}");
    for spec in specs(&url) {
        let forge = try_connect(&spec, TOKEN, &options(&url)).unwrap();
        let error = forge.check().await.unwrap_err();
        assert_eq!(error.reason(), Reason::ForgeUnreachable, "{spec}: {error}");
    }
}

/// Recognised as each forge, and everything else as `answer` says.
pub struct Scripted<F>(pub F);

impl<F: Fn(&Asked) -> Answer + Send + Sync + 'static> Service for Scripted<F> {
    fn answer(&self, asked: &Asked) -> Answer {
        match asked.segments().last() {
            Some(&"version" | &"meta") => {
                Answer::ok(json!({"version": "1.27.0"})).with("x-github-request-id", "1")
            }
            _ => (self.0)(asked),
        }
    }
}

#[tokio::test]
async fn invalid_json_is_no_other_shape() {
    let server = serve(
        Scripted(|_: &Asked| Answer::ok(json!({"unexpected": true}))),
        None,
    )
    .await;
    for spec in specs(&server.url) {
        if spec.get("bitbucket").is_some() {
            // Everything in a page of Bitbucket may be absent.
            continue;
        }
        let forge = try_connect(&spec, TOKEN, &options(&server.url)).unwrap();
        let error = forge.all_repositories().await.unwrap_err();
        assert_eq!(error.reason(), Reason::ForgeNotRecognised, "{spec}: {error}");
    }
    let url = raw(Some(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 3\r\n\r\nnul",
    ))
    .await;
    for spec in specs(&url) {
        let forge = try_connect(&spec, TOKEN, &options(&url)).unwrap();
        let error = forge.all_repositories().await.unwrap_err();
        assert_eq!(error.reason(), Reason::ForgeResponseInvalid, "{spec}: {error}");
    }
}

#[tokio::test]
async fn credential_is_not_sent_to_a_server_that_is_no_forge() {
    struct Shop(Arc<AtomicUsize>);
    impl Service for Shop {
        fn answer(&self, asked: &Asked) -> Answer {
            let signed = asked.header("authorization").or(asked.header("private-token"));
            self.0.fetch_add(usize::from(signed.is_some()), Ordering::SeqCst);
            Answer::ok(json!({"status": "ok"}))
        }
    }
    let signed = Arc::new(AtomicUsize::new(0));
    let server = serve(Shop(Arc::clone(&signed)), None).await;
    for spec in specs(&server.url) {
        if spec.get("bitbucket").is_some() {
            continue;
        }
        let error = connected(&spec, TOKEN).check().await.unwrap_err();
        assert_eq!(error.reason(), Reason::ForgeNotRecognised, "{spec}: {error}");
    }
    assert_eq!(signed.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn rate_limit_stops_the_connection_until_its_end() {
    let now = jiff::Timestamp::now().as_second();
    let primary = Answer::new(403, json!({"message": "API rate limit exceeded"}))
        .with("x-ratelimit-remaining", "0")
        .with("x-ratelimit-reset", (now + 900).to_string());
    let secondary = Answer::new(
        403,
        json!({"message": "You have exceeded a secondary rate limit"}),
    );
    let asked_to_wait = Answer::new(429, json!({"message": "Retry later"})).with("retry-after", "900");
    for (name, limited, seconds) in [
        ("primary", primary, 900),
        ("secondary", secondary, 60),
        ("429", asked_to_wait, 900),
    ] {
        let server = serve(
            Scripted(move |_: &Asked| Answer {
                status: limited.status,
                headers: limited.headers.clone(),
                body: limited.body.clone(),
            }),
            None,
        )
        .await;
        let spec = json!({"github": {"url": server.url, "tokenSecretRef": {"name": "s"}}});
        let forge = connected(&spec, TOKEN);
        let found = Problem::of(&forge.check().await.unwrap_err());
        assert_eq!(
            (found.reason, found.class),
            (Reason::ForgeRateLimited, Class::Transient),
            "{name}"
        );
        let requests = server.requests().len();
        let again = Problem::of(&forge.branches(&path("acme/shop"), None).await.unwrap_err());
        assert_eq!(again.message, found.message, "{name}: one pause, one end");
        assert_eq!(
            server.requests().len(),
            requests,
            "{name}: nothing is sent in the pause"
        );
        let (_, until) = found.message.split_once("until ").unwrap();
        let until: jiff::Timestamp = until.parse().unwrap();
        let rest = until.as_second() - now;
        assert!((seconds - 5..=seconds + 5).contains(&rest), "{name}: {rest} s");
    }
}

#[tokio::test]
async fn unchanged_answer_is_confirmed_by_its_etag() {
    let server = serve(
        Scripted(|asked: &Asked| {
            if asked.header("if-none-match") == Some("\"7\"") {
                return Answer::new(304, Value::Null);
            }
            let body = match asked.segments().last() {
                Some(&"user") => json!({"login": "jane"}),
                _ => json!([{"full_name": "acme/shop"}]),
            };
            Answer::ok(body).with("etag", "\"7\"")
        }),
        None,
    )
    .await;
    let spec = json!({"github": {"url": server.url, "tokenSecretRef": {"name": "s"}}});
    let forge = connected(&spec, TOKEN);
    let first = forge.check().await.unwrap();
    assert_eq!((first.name.as_str(), first.repositories), ("jane", 1));
    assert_eq!(forge.check().await.unwrap(), first, "from what was kept");
}

#[tokio::test]
async fn renamed_repository_is_followed_on_the_same_host_only() {
    let server = serve(
        Scripted(|asked: &Asked| match asked.segments().as_slice() {
            [.., "old", "branches"] => {
                Answer::new(301, Value::Null).with("location", "/api/v3/repositories/7/branches")
            }
            [.., "away", "branches"] => Answer::new(301, Value::Null).with("location", "http://127.0.0.1:1/"),
            [.., "repositories", "7", "branches"] => Answer::ok(json!([{"name": "main"}])),
            _ => Answer::new(404, json!({"message": "Not Found"})),
        }),
        None,
    )
    .await;
    let spec = json!({"github": {"url": server.url, "tokenSecretRef": {"name": "s"}}});
    let forge = connected(&spec, TOKEN);
    let found = forge.all_branches(&path("acme/old")).await.unwrap();
    assert_eq!(found, ["main"]);
    let error = forge.all_branches(&path("acme/away")).await.unwrap_err();
    assert_eq!(error.reason(), Reason::ForgeRedirected, "{error}");
}
