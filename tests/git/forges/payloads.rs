//! Deliveries that forges published: each is accepted with its signature, refused with one byte changed, and read.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use davit::forge::webhook::{Event, PushedRef, Refusal, Sender, parse, verify};
use davit::redact::Secret;
use serde_json::Value;

use crate::common::recorded::{Recorded, recorded};
use crate::common::{peers, signature};

const SECRET: &str = "correct horse battery staple";
/// GitHub.com and every GitHub Enterprise Server that is published.
const SERVERS: [&str; 6] = [
    "api.github.com",
    "ghes-31",
    "ghes-32",
    "ghes-33",
    "ghes-34",
    "ghes-35",
];

fn header(headers: &mut HeaderMap, name: &'static str, value: &str) {
    let value = HeaderValue::from_str(value).unwrap();
    headers.insert(HeaderName::from_static(name), value);
}

/// The events of a delivery that is signed; the same delivery with one byte changed is refused.
fn read(sender: Sender, event: &str, body: &[u8]) -> Result<Vec<Event>, Refusal> {
    let mut headers = HeaderMap::new();
    let signed = signature(SECRET, body);
    header(&mut headers, "x-github-event", event);
    header(&mut headers, "x-hub-signature-256", &format!("sha256={signed}"));
    if sender == Sender::Gitea {
        header(&mut headers, "x-gitea-event", event);
        header(&mut headers, "x-gitea-signature", &signed);
    }
    assert_eq!(Sender::of(&headers), sender);
    let (secrets, now) = ([Secret::from(SECRET)], jiff::Timestamp::now());
    assert_eq!(verify(sender, &headers, body, &secrets, now), Ok(()), "{event}");
    let mut changed = body.to_vec();
    changed[body.len() / 2] ^= 1;
    let refused = verify(sender, &headers, &changed, &secrets, now);
    assert_eq!(refused, Err(Refusal::WrongSignature), "{event}");
    parse(sender, &headers, body)
}

#[test]
fn every_delivery_that_github_published_is_accepted_and_refused_with_one_byte_changed() {
    let mut count = 0;
    let (mut pushes, mut pull_requests) = (0, 0);
    for server in SERVERS {
        let file = format!("webhooks-examples-7.6.1/package/{server}/index.json");
        let text = std::fs::read_to_string(peers::file(&file)).unwrap();
        let events: Vec<Value> = serde_json::from_str(&text).unwrap();
        for event in &events {
            let name = event["name"].as_str().unwrap();
            for payload in event["examples"].as_array().unwrap() {
                count += 1;
                let found = read(Sender::GitHub, name, payload.to_string().as_bytes());
                let found = found.unwrap_or_else(|refusal| panic!("{server} {name}: {refusal}: {payload}"));
                if name.starts_with("pull_request") {
                    let full_name = &payload["repository"]["full_name"];
                    for event in &found {
                        let Event::PullRequest { repository, .. } = event else {
                            panic!("{server} {name}: {event:?}");
                        };
                        assert_eq!(*full_name, repository.to_string(), "{server} {name}");
                        pull_requests += 1;
                    }
                    continue;
                }
                if name != "push" {
                    assert_eq!(found, [], "{server} {name}");
                    continue;
                }
                pushes += 1;
                let [Event::Push(push)] = found.as_slice() else {
                    panic!("{server}: {found:?}");
                };
                assert_eq!(payload["ref"], push.reference.to_string());
                assert_eq!(payload["repository"]["full_name"], push.repository.to_string());
                let deleted = payload["deleted"].as_bool().unwrap();
                assert_eq!(push.commit.is_none(), deleted, "{payload}");
            }
        }
    }
    assert!(
        count > 500 && pushes > 10 && pull_requests > 20,
        "{count} deliveries, {pushes} pushes, {pull_requests} about pull requests"
    );
}

/// Checks the signature of a recorded delivery, and that one changed byte is refused; GitLab's plain token signs nothing, so a
/// changed token is refused. Returns the events.
fn read_recorded(delivery: &Recorded) -> Result<Vec<Event>, Refusal> {
    let mut headers = HeaderMap::new();
    for (name, value) in &delivery.headers {
        header(&mut headers, name, value);
    }
    let (sender, body) = (Sender::of(&headers), delivery.body());
    let of_forge = match delivery.forge {
        "github" => Sender::GitHub,
        "gitlab" => Sender::GitLab,
        "bitbucket" => Sender::Bitbucket,
        _ => Sender::Gitea,
    };
    assert_eq!(sender, of_forge);
    let (secrets, now) = ([Secret::from(SECRET)], jiff::Timestamp::now());
    assert_eq!(
        verify(sender, &headers, &body, &secrets, now),
        Ok(()),
        "{delivery:?}"
    );
    let mut changed = body.clone();
    if sender == Sender::GitLab {
        header(&mut headers, "x-gitlab-token", "correct horse battery stable");
    } else {
        changed[body.len() / 2] ^= 1;
    }
    let refused = verify(sender, &headers, &changed, &secrets, now);
    assert_eq!(refused, Err(Refusal::WrongSignature), "{delivery:?}");
    parse(sender, &headers, &body)
}

#[test]
fn recorded_deliveries_of_every_forge_are_verified_and_read() {
    for (forge, pushes, pulls) in [
        ("github", 5, 7),
        ("gitlab", 6, 5),
        ("bitbucket", 5, 4),
        ("gitea", 1, 6),
    ] {
        let (mut pushed, mut pulled) = (0, 0);
        for delivery in recorded(forge, SECRET) {
            let name = format!("{forge} {}", delivery.name);
            let events = read_recorded(&delivery).unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
            for event in &events {
                match event {
                    Event::Push(push) => {
                        pushed += 1;
                        assert_eq!(push.repository.to_string(), delivery.repository(), "{name}");
                        let is_tag = delivery.name.contains("tag");
                        assert_eq!(matches!(push.reference, PushedRef::Tag(_)), is_tag, "{name}");
                        let is_deleted = delivery.name.contains("delete");
                        assert_eq!(push.commit.is_none(), is_deleted, "{name}");
                    }
                    Event::PullRequest { repository, .. } => {
                        pulled += 1;
                        assert_eq!(repository.to_string(), delivery.repository(), "{name}");
                    }
                    other => panic!("{name}: {other:?}"),
                }
            }
            let is_event = events
                .iter()
                .any(|event| matches!(event, Event::PullRequest { .. }));
            assert!(is_event || !delivery.is_pull_request(), "{name}: {events:?}");
        }
        assert!(
            pushed >= pushes && pulled >= pulls,
            "{forge}: {pushed} pushes, {pulled} about pull requests"
        );
    }
}
