//! What the forges themselves published or answered: recorded responses of GitHub, and signatures of deliveries.

use std::path::PathBuf;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use davit::forge::webhook::{Sender, verify};
use davit::redact::Secret;
use serde_json::{Value, json};

use crate::forges::servers::{Answer, Asked, Service, not_found, serve};
use crate::forges::{connected, path};

/// A file below `../shared/oracles`, where that is present.
fn oracle(file: &str) -> Option<Value> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let found = ["../shared", "../../shared"]
        .iter()
        .find_map(|shared| std::fs::read_to_string(root.join(shared).join("oracles").join(file)).ok());
    if found.is_none() {
        eprintln!("SKIPPED: there is no oracles/{file} in ../shared");
    }
    Some(serde_json::from_str(&found?).unwrap())
}

/// GitHub with the recorded responses.
struct Recorded {
    user: Value,
    repositories: Value,
    branches: Value,
}

impl Service for Recorded {
    fn answer(&self, asked: &Asked) -> Answer {
        let answer = match asked.segments().as_slice() {
            [.., "meta"] => Answer::ok(json!({})),
            [.., "user"] => Answer::ok(self.user.clone()),
            [.., "user", "repos"] => Answer::ok(self.repositories.clone()),
            [.., "octocat", "Hello-World", "branches"] => Answer::ok(self.branches.clone()),
            _ => not_found(),
        };
        answer.with("x-github-request-id", "1")
    }
}

#[tokio::test]
async fn recorded_responses_of_github_are_read() {
    let recorded = |name: &str| oracle(&format!("recorded/github/{name}.json"));
    let (Some(user), Some(repositories), Some(branches)) =
        (recorded("user"), recorded("repos"), recorded("branches"))
    else {
        return;
    };
    let service = Recorded {
        user,
        repositories,
        branches,
    };
    let server = serve(service, None).await;
    let spec = json!({"github": {"url": server.url, "tokenSecretRef": {"name": "gh"}}});
    let forge = connected(&spec, "token-of-a-test-4d0f");
    let account = forge.check().await.unwrap();
    assert_eq!((account.name.as_str(), account.repositories), ("octocat", 1));
    let all = forge.all_repositories().await.unwrap();
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].path, path("octocat/Hello-World"));
    assert_eq!(
        (all[0].default_branch.as_deref(), all[0].private),
        (Some("master"), true)
    );
    let branches = forge.all_branches(&path("octocat/Hello-World")).await.unwrap();
    assert_eq!(branches, ["master"]);
}

#[test]
fn published_signatures_are_accepted_and_refused_as_published() {
    let Some(vectors) = oracle("webhooks/signature-vectors.json") else {
        return;
    };
    let vectors = vectors.as_array().unwrap();
    assert!(vectors.len() > 5);
    for vector in vectors {
        let text = |key: &str| vector[key].as_str().unwrap();
        let sender = match text("provider") {
            "github" => Sender::GitHub,
            "bitbucket" => Sender::Bitbucket,
            other => panic!("{other}"),
        };
        let name: HeaderName = text("header").to_ascii_lowercase().parse().unwrap();
        let headers = HeaderMap::from_iter([(name, HeaderValue::from_str(text("value")).unwrap())]);
        let secrets = [Secret::from(text("secret"))];
        let found = verify(
            sender,
            &headers,
            text("body").as_bytes(),
            &secrets,
            jiff::Timestamp::now(),
        );
        // SHA-1 is never accepted.
        assert_eq!(found.is_ok(), text("expect") == "accept", "{vector}: {found:?}");
        if found.is_ok() {
            let mut body = text("body").as_bytes().to_vec();
            body[0] ^= 1;
            let changed = verify(sender, &headers, &body, &secrets, jiff::Timestamp::now());
            assert!(changed.is_err(), "{vector}");
        }
    }
}
